"""The page as a whole: the answer first, then why, then what it cost, then how to use it and how to get it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrifty.evaluation.sections import augmentation, quality, search
from thrifty.evaluation.sections.document import document
from thrifty.evaluation.sections.markup import Markup, section, tag
from thrifty.evaluation.sections.ranges import Bar, ranges
from thrifty.evaluation.words import (
    STOPPED,
    bytes_text,
    count_text,
    interval_texts,
    limit_texts,
    metric_title,
    milliseconds_text,
    rows_text,
    scored_text,
    seconds_text,
    shown_limits,
    task_text,
    value_text,
)


def html(report: Mapping[str, Any], examples: Mapping[str, Any] | None = None) -> str:
    """report.html: one self-contained file from report.json's content and what `examples.gather` gave."""
    name = report.get("name") or "run"
    title = f"{name}: {metric_title(report['metric'])} {_headline(report)[0]}"
    return document(
        title,
        report["version"],
        _header(report),
        _answer(report),
        _notes(report),
        quality.scores(report),
        quality.confusion(report, examples),
        quality.values(report),
        quality.classes(report),
        quality.worst(report, examples),
        quality.importance(report),
        quality.slices(report),
        quality.reliability(report),
        search.bought(report),
        search.candidates(report),
        search.curves(report),
        augmentation.section_of(report),
        search.data(report),
        search.predict(report),
        search.reproduce(report),
    )


def _header(report: Mapping[str, Any]) -> Markup:
    facts = " · ".join(text for text in (report.get("started"), rows_text(report)) if text)
    return tag(
        "header",
        tag("h1", report.get("name") or "run"),
        tag("p", task_text(report)),
        tag("p", facts, class_="soft"),
    )


def _headline(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """The value, its interval and the part that it is of; empty where there is none."""
    for part in ("test", "validation"):
        found = (report[part] or {}).get(report["metric"])
        if found is not None:
            return (*interval_texts(report["metric"], found), part)
    return "none", "", ""


def _answer(report: Mapping[str, Any]) -> Markup:
    value, between, part = _headline(report)
    what = {
        "test": f"on {scored_text(report, 'test', 'test')} that no choice was made on",
        "validation": "on validation, where choices were made too: expect it to be a little worse on new rows",
        "": "no model was validated",
    }[part]
    smaller = ", smaller is better" if report.get("metric_direction") == "minimize" else ""
    score = tag(
        "div",
        tag("div", f"{metric_title(report['metric'])}{smaller}", class_="soft"),
        tag("div", value, tag("small", f"95 % interval {between}") if between else None, class_="big"),
        tag("p", what, class_="soft"),
        _compared(report),
        class_="panel score",
    )
    return tag("div", score, tag("div", _facts(report), class_="panel facts"), class_="answer", id="answer")


def _notes(report: Mapping[str, Any]) -> Markup | None:
    """What else a reader should know, in words."""
    notes = report.get("notes") or []
    return section("notes", "Worth knowing", tag("ul", [tag("li", note) for note in notes])) if notes else None


def _compared(report: Mapping[str, Any]) -> Markup | None:
    """Test, validation and the simplest candidate on one scale."""
    metric = report["metric"]
    bars = []
    for part in ("test", "validation"):
        found = (report[part] or {}).get(metric)
        if found is not None and found["value"] is not None:
            bars.append(Bar(part, found["value"], found["low"], found["high"], value_text(metric, found["value"])))
    for candidate in report["candidates"]:
        if candidate["name"] == "baseline" and candidate["validation"] is not None:
            text = value_text(metric, candidate["validation"])
            bars.append(Bar("baseline", candidate["validation"], None, None, text, colour=7))
    return ranges(bars, metric, few=True) if len(bars) > 1 else None


def _facts(report: Mapping[str, Any]) -> list[Markup]:
    artifact = report["artifact"]
    budget = f" of {seconds_text(report['budget_seconds'])}" if report["budget_seconds"] else ""
    cost = _fact("cost", f"{seconds_text(report['spent_seconds'])}{budget}", STOPPED[report["stopped_because"]])
    if artifact is None:
        return [_fact("model", "none", "no model was written"), cost]
    latency = artifact["latency_ms"]
    slow = "" if latency["p95"] is None else f"; 95 % within {milliseconds_text(latency['p95'])}"
    threads = count_text(artifact.get("threads", 1), "thread")
    facts = [
        _fact("latency", milliseconds_text(latency["p50"]), f"one raw row on {threads}{slow}"),
        _fact("size", bytes_text(artifact["size_bytes"]), f"the whole artifact, {artifact['precision']}"),
        cost,
    ]
    limits = [
        tag("span", f"limit: {asked}, ", tag("strong", outcome, class_="good" if limit["kept"] else "bad"))
        for name, limit in shown_limits(report).items()
        for asked, outcome in (limit_texts(name, limit),)
    ]
    return [*facts, tag("div", limits)] if limits else facts


def _fact(name: str, value: str, more: str) -> Markup:
    return tag("div", tag("span", name), tag("b", value), tag("span", more))
