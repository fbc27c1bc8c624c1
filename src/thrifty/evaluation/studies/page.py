"""The page of a study: the answer, what it cost, the curves, the parameters, what was believed, the trials."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from thrifty.core.files import replacing, write_json
from thrifty.core.run_directory import RunDirectory
from thrifty.core.space import Space
from thrifty.evaluation.sections.document import document
from thrifty.evaluation.sections.markup import Child, Markup, section, table, tag
from thrifty.evaluation.studies import plots
from thrifty.evaluation.studies.report import build
from thrifty.evaluation.words import count_text, metric_title, number_text, seconds_text
from thrifty.tuning.study import Study

MOST_BEST, MOST_FAILED = 12, 30


def write(study: Study, directory: RunDirectory, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Writes report.json and report.html of a search into its directory; gives what report.json holds."""
    report = build(study, directory.path, _command(asked))
    write_json(directory.report, report)
    with replacing(directory.page) as temporary:
        temporary.write_text(html(report), encoding="utf-8")
    return report


def _command(asked: Mapping[str, Any]) -> list[str]:
    """What to type to search again."""
    words = ["thrifty", "tune", str(asked["objective"]), "--space", str(asked.get("space_file", "space.yaml"))]
    for name, value in asked["options"].items():
        for one in value if isinstance(value, list) else [value]:
            words += [] if one is None else [f"--{name.replace('_', '-')}", str(one)]
    return words


def html(report: Mapping[str, Any]) -> str:
    """report.html: one self-contained file from the content of a study's report.json."""
    best = report["best"]
    said = number_text(best["value"]) if best else "nothing found"
    return document(
        f"{report['name']}: {metric_title(report['metric'])} {said}",
        report["version"],
        _header(report),
        _answer(report),
        _schedule(report),
        plots.front(report),
        _again(report),
        plots.bought(report),
        plots.curves(report),
        plots.parallel(report),
        plots.importance(report),
        plots.beliefs(report),
        _trials(report),
        _failures(report),
        _environment(report),
    )


def _header(report: Mapping[str, Any]) -> Markup:
    words = {"paused": "may be run again"} if report["repeats"] > 1 else {}
    states = ", ".join(f"{n:,} {words.get(state, state)}" for state, n in report["states"].items())
    runs = f", {count_text(report['epochs_spent'], 'run')}" if report["repeats"] > 1 else ""
    told = f"{count_text(report['num_trials'], 'trial')}{runs}: {states}" if states else "no trials"
    return tag("header", tag("h1", report["name"]), tag("p", told), tag("p", report["written"], class_="soft"))


def _answer(report: Mapping[str, Any]) -> Markup:
    best = report["best"]
    smaller = ", smaller is better" if report["direction"] == "minimize" else ""
    at = ""
    if best and report["max_epochs"] is not None:
        at = f", after epoch {best['epoch']} of {report['max_epochs']}"
    score = tag(
        "div",
        tag("div", f"best {metric_title(report['metric'])}{smaller}", class_="soft"),
        tag("div", number_text(best["value"]) if best else "none", class_="big"),
        tag("p", f"trial {best['trial']}{at}" if best else _none(report), class_="soft"),
        tag("p", _beside(report), class_="soft") if best and best["metrics"] else None,
        tag("p", _repeated(best), class_="soft") if best and report["repeats"] > 1 else None,
        tag("p", "The best of many values is a little luckier than a new run of it will be.", class_="soft")
        if best and report["repeats"] == 1
        else None,
        class_="panel score",
    )
    config = [[name, _plain(value)] for name, value in (best or {"config": {}})["config"].items()]
    inside: list[Child] = (
        [tag("div", table(["best configuration", "value"], config, numeric=(1,)), class_="wide")] if config else []
    )
    return tag("div", score, tag("div", inside, _facts(report), class_="panel facts"), class_="answer", id="answer")


def _schedule(report: Mapping[str, Any]) -> Markup | None:
    """How the best trial was trained, where it began from another one."""
    parts = report["lineage"]
    if not parts:
        return None
    names = list(dict.fromkeys(name for part in parts for name in part["config"]))
    rows = [
        [
            f"{part['from_epoch'] + 1} to {part['until_epoch']}", str(part["trial"]),
            *(_plain(part["config"][n]) if n in part["config"] else "–" for n in names),
        ]
        for part in parts
    ]  # fmt: skip
    lead = "Its configuration changed on the way: each part began from the checkpoint of the one before."
    head = ["epochs", "trial", *names]
    return section("schedule", "How the best was trained", table(head, rows, numeric=range(len(head))), lead=lead)


def _repeated(best: Mapping[str, Any]) -> str:
    error = "" if best["error"] is None else f" ± {number_text(best['error'])} (standard error)"
    return f"mean of {count_text(best['runs'], 'run')}{error}; chosen by the upper end of what its mean may be"


def _none(report: Mapping[str, Any]) -> str:
    """Why there is no best trial."""
    limits = ", ".join(report["limits"])
    return f"no trial keeps {limits}" if limits and report["ranking"] else "no trial gave a value"


def _beside(report: Mapping[str, Any]) -> str:
    """The other metrics of the best trial, the limits, and what best means."""
    rest = {n: v for n, v in report["best"]["metrics"].items() if n != report["metric"]}
    told = ", ".join(f"{metric_title(n)} {number_text(v)}" for n, v in rest.items())
    said = f"with {told}" if told else ""
    if report["limits"]:
        said += f"; within {', '.join(report['limits'])}"
    if len(report["metrics"]) > 1:
        said += ". Of the front, the point whose worst metric is best"
    return said.removeprefix("; ")


def _facts(report: Mapping[str, Any]) -> list[Markup]:
    epochs = "" if report["max_epochs"] is None else count_text(report["epochs_spent"], "epoch") + ", "
    why = report["nothing_left"] or {"budget": "the budget is spent", None: "not ended yet"}.get(
        report["stopped_because"], report["stopped_because"]
    )
    more = f"{epochs}{seconds_text(report['cost_seconds'])} of trials; {why}"
    return [tag("div", tag("span", "cost"), tag("b", seconds_text(report["spent_seconds"])), tag("span", more))]


def _again(report: Mapping[str, Any]) -> Markup:
    parts: list[Child] = []
    if report["lineage"]:
        schedule = "".join(f"    ({p['until_epoch']}, {p['config']!r}),\n" for p in report["lineage"])
        parts.append(tag("pre", f"schedule = [  # until which epoch, and with which configuration\n{schedule}]"))
    elif report["best"]:
        parts.append(tag("pre", f"config = {_python(report['best']['config'])}"))
    if report["command"]:
        parts.append(tag("pre", " ".join(shlex.quote(word) for word in report["command"]), class_="wrap"))
        if report["space"] is not None:
            text = Space.from_json(report["space"]).to_yaml()
            parts.append(tag("details", tag("summary", "the space, as it was read"), tag("pre", text)))
    lead = "The best configuration, and the search from its beginning (the same seed)"
    if report["nothing_left"] is not None:
        return section("again", "How to use it", *parts, lead=f"{lead}; {report['nothing_left']}.")
    if report["command"]:
        more = f"thrifty resume {shlex.quote(report['folder'])} --minutes 10"
        parts.append(tag("pre", more, class_="wrap"))
    return section("again", "How to use it and go on", *parts, lead=f"{lead}, and how to go on with it.")


def _trials(report: Mapping[str, Any]) -> Markup | None:
    ranked = plots.ranked(report)[:MOST_BEST]
    if not ranked:
        return None
    names = list(dict.fromkeys(name for t in ranked for name in t["config"]))
    epochs = [] if report["max_epochs"] is None else ["epochs"]
    others = [n for n in ranked[0]["metrics"] if n != report["metric"]]
    runs = ["±", "runs"] if report["repeats"] > 1 else []
    head = ["trial", metric_title(report["metric"]), *runs, *map(metric_title, others), *epochs, "seconds", *names]
    rows = [
        [
            str(t["trial"]), number_text(t["value"]), *(_runs(t) if runs else ()),
            *(number_text(t["metrics"][n]) for n in others),
            *([str(t["epochs"])] if epochs else []),
            f"{t['cost_seconds']:,.1f}", *(_plain(t["config"][n]) if n in t["config"] else "–" for n in names),
        ]
        for t in ranked
    ]  # fmt: skip
    lead = f"The best {len(ranked)} of {count_text(report['num_trials'], 'trial')}; all are in report.json."
    return section("trials", "The best trials", table(head, rows, numeric=range(len(head))), lead=lead)


def _runs(trial: Mapping[str, Any]) -> list[str]:
    """The standard error of a trial's mean, and of how many runs it is."""
    error = trial["standard_error"]
    return ["–" if error is None else number_text(error), str(len(trial["values"]))]


def _failures(report: Mapping[str, Any]) -> Markup | None:
    failed = [t for t in report["trials"] if t["state"] == "failed"]
    if not failed:
        return None
    rows = [
        [
            str(t["trial"]),
            t["why"].removeprefix("failed: "),
            ", ".join(f"{k}={_plain(v)}" for k, v in t["config"].items()),
        ]
        for t in failed[:MOST_FAILED]
    ]
    lead = f"{count_text(len(failed), 'trial')} of {report['num_trials']:,} gave no value to the end."
    if len(failed) > MOST_FAILED:
        lead += f" The first {MOST_FAILED}:"
    return section("failures", "What failed", table(["trial", "why", "configuration"], rows, wordy=(1, 2)), lead=lead)


def _environment(report: Mapping[str, Any]) -> Markup:
    facts = {"policy": report["policy"], "seed": report["seed"], "folder": report["folder"], **report["environment"]}
    rows = [[k.replace("_", " "), _plain(v)] for k, v in facts.items()]
    return section("environment", "Where and how", table(["what", "value"], rows, wordy=(1,)))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _python(config: Mapping[str, Any]) -> str:
    inside = "".join(f"    {name!r}: {value!r},\n" for name, value in config.items())
    return f"{{\n{inside}}}"
