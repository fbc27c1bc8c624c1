"""What the seconds bought, what the data is, and how to use and repeat the result."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from thrifty.evaluation.sections import charts
from thrifty.evaluation.sections.markup import Child, Markup, section, table, tag
from thrifty.evaluation.words import count_text, metric_title, rows_text, seconds_text, shares_text, value_text

MAX_NUMBERED = 12
MAX_CURVES = 24


def bought(report: Mapping[str, Any]) -> Markup | None:
    """The best validated score over the seconds, and what each improvement was."""
    trials = [t for t in report.get("trials") or [] if t["validation"] is not None]
    parts: list[Child] = [_phases(report)]
    if trials:
        better = _improvements(trials, report)
        chart = _score_chart(trials, better, report)
        metric = report["metric"]
        rows = [
            [str(n), t["candidate"], seconds_text(t["ended_seconds"]), value_text(metric, t["validation"])]
            for n, t in enumerate(better[-MAX_NUMBERED:], 1)
        ]
        steps = table(["", "candidate", "after", metric_title(metric)], rows, numeric=(2, 3), caption="Each step up")
        parts.append(tag("div", chart, tag("div", steps), class_="columns"))
        parts.append(_timeline(report))
    if not any(parts):
        return None
    lead = f"{seconds_text(report['spent_seconds'])} in all, from the start of the process to the report."
    return section("bought", "What the seconds bought", *parts, lead=lead)


def candidates(report: Mapping[str, Any]) -> Markup | None:
    """Every candidate, what came of it and why."""
    if not report["candidates"]:
        return None
    metric = report["metric"]
    sign = -1 if report.get("metric_direction") == "minimize" else 1
    order = {"done": 0, "failed": 1, "skipped": 2}
    used = {m["candidate"]: m for m in report.get("members") or []}

    def rank(c: Mapping[str, Any]) -> tuple[int, float]:
        return order[c["status"]], -sign * (c["validation"] or 0.0)

    rows = []
    for c in sorted(report["candidates"], key=rank):
        name: Child = tag("b", c["name"]) if c["name"] in used else c["name"]
        status = tag("span", c["status"], class_={"done": "good", "failed": "bad", "skipped": "soft"}[c["status"]])
        value = "" if c["validation"] is None else value_text(metric, c["validation"])
        rows.append([name, status, value, f"{c['seconds']:,.1f}" if c["seconds"] else "", c["reason"]])
    lead = ""
    if len(report.get("members") or []) > 1:
        lead = f"The artifact is an ensemble: {shares_text(report['members'])}."
    elif used:
        lead = f"The artifact is {next(iter(used))}."
    head = ["candidate", "status", metric_title(metric), "seconds", "reason"]
    return section("candidates", "What was tried", table(head, rows, numeric=(2, 3), wordy=(4,)), lead=lead)


def curves(report: Mapping[str, Any]) -> Markup | None:
    """The metric over epochs of trials that have them; with cross-validation what they report are rounds."""
    if report.get("folds"):
        return None
    trials = [t for t in report.get("trials") or [] if len([v for v in t["curve"] if v is not None]) > 1]
    if not trials:
        return None
    sign = -1 if report.get("metric_direction") == "minimize" else 1
    trials = sorted(
        trials, key=lambda t: -sign * (t["validation"] if t["validation"] is not None else -sign * math.inf)
    )
    trials = trials[:MAX_CURVES]
    names = list(dict.fromkeys(t["candidate"] for t in trials))
    colour = {name: k % charts.NUM_COLOURS for k, name in enumerate(names)}
    longest = max(len(t["curve"]) for t in trials)
    values = sorted(v for t in trials for v in t["curve"] if v is not None)
    trimmed = values[len(values) // 20 :] if sign > 0 else values[: len(values) - len(values) // 20]

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        low, high = min(trimmed), max(trimmed)
        lines: list[Child] = []
        for t in trials:
            points = [(x(e), y(min(max(v, low), high))) for e, v in enumerate(t["curve"], 1) if v is not None]
            lines.append(charts.path(points, f"thin s{colour[t['candidate']]}"))
        return lines

    label = metric_title(report["metric"])
    plot = charts.chart("learning curves", (1.0, float(longest)), charts.padded(trimmed), marks, "epoch", label)
    return section("curves", "Learning curves", plot, _legend([(n, colour[n]) for n in names]), lead="On validation.")


def data(report: Mapping[str, Any]) -> Markup:
    """What the data was taken for, and everything wrong with it."""
    found = report["data"]
    notes = found.get("column_notes") or {}
    problems = [tag("li", text, class_="warn") for text in found.get("problems") or []]
    if found["bad_rows"]:
        listed = f"{count_text(found['bad_rows'], 'row')} that could not be used: set aside, listed in bad_rows.csv"
        problems.append(tag("li", listed, class_="warn"))
    parts: list[Child] = [tag("ul", problems, class_="plain") if problems else tag("p", "No problem was found.")]
    parts.append(_bad_rows(found))
    rows = []
    for name, meaning in found["columns"].items():
        note = notes.get(name, {})
        missing, distinct = note.get("num_missing"), note.get("num_distinct")
        rows.append([name, meaning, note.get("reason", ""), _count(distinct), _count(missing)])
    body = table(["column", "taken for", "because", "distinct", "missing"], rows, numeric=(3, 4), wordy=(2,))
    parts.append(body if len(rows) <= 30 else tag("details", tag("summary", f"all {len(rows)} columns"), body))
    counts = found.get("classes") or {}
    if counts:
        total = sum(counts.values()) or 1
        shares = [[c, f"{n:,}", f"{100 * n / total:.1f} %"] for c, n in sorted(counts.items(), key=lambda i: -i[1])]
        body = table(["class", "rows", "share"], shares, numeric=(1, 2))
        parts.append(tag("details", tag("summary", f"the {len(counts)} classes of {report['target']}"), body))
    return section("data", "The data", *parts, lead=rows_text(report))


def predict(report: Mapping[str, Any]) -> Markup | None:
    """The lines to type."""
    if report["artifact"] is None:
        return None
    run = report.get("run") or "RUN"
    columns = [c for c, meaning in report["data"]["columns"].items() if meaning != "ignored"][:3]
    more = ", …" if len([m for m in report["data"]["columns"].values() if m != "ignored"]) > 3 else ""
    row = ", ".join(f"{json.dumps(c, ensure_ascii=False)}: …" for c in columns)
    shell = f"thrifty predict {shlex.quote(run)} DATA --out predictions.csv"
    python = (
        f"import thrifty\n\nmodel = thrifty.load({json.dumps(run, ensure_ascii=False)})\n"
        f'predictions = model.predict([{{{row}{more}}}])\npredictions[0]["prediction"]'
    )
    lead = f"The folder {report['artifact']['path']} is all that is needed; no training library is."
    return section("predict", "How to predict", tag("pre", shell), tag("pre", python), lead=lead)


def reproduce(report: Mapping[str, Any]) -> Markup:
    """The command, the winner's settings, the machine."""
    command = " ".join(shlex.quote(word) for word in report.get("command") or [])
    facts = {"seed": report.get("seed"), "thrifty": report["version"], **report["environment"]}
    artifact = report["artifact"] or {}
    tables = [table(["what", "value"], _rows(facts), wordy=(1,))]
    for title, what in (("checked against the trained model", "parity"), ("int8", "int8")):
        if artifact.get(what):
            tables.append(table([title, ""], _rows(artifact[what]), wordy=(1,)))
    tables += [table(["pretrained weights", ""], _rows(card), wordy=(1,)) for card in artifact.get("pretrained") or []]
    parts: list[Child] = [tag("pre", command) if command else None, tag("div", tables, class_="columns")]
    if report.get("decision"):
        parts.append(
            tag("p", "Decision: ", tag("code", json.dumps(report["decision"])), f" {report['decision_reason']}")
        )
    if len(report.get("members") or []) > 1:
        parts.append(_mix(report))
    configs = {t["trial"]: t for t in report.get("trials") or []}
    for member in report.get("members") or []:
        config = configs.get(member["trial"], {}).get("config") or {}
        summary = f"settings of {member['candidate']}, trial {member['trial']}"
        shown = tag("pre", json.dumps(config, indent=1, ensure_ascii=False))
        parts.append(tag("details", tag("summary", summary), shown))
    return section("reproduce", "How to get it again", *parts)


def _mix(report: Mapping[str, Any]) -> Markup:
    """The members' shares and temperatures, and the temperature of what they give together."""
    rows = [
        [f"{m['candidate']}, trial {m['trial']}", f"{m['weight']:.3f}", f"{m['temperature']:.3f}"]
        for m in report["members"]
    ]
    rows.append(["the mean of them", "", f"{report.get('temperature', 1.0):.3f}"])
    return table(["member", "share", "temperature"], rows, numeric=(1, 2))


def _improvements(trials: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sign = -1 if report.get("metric_direction") == "minimize" else 1
    best, steps = -math.inf, []
    for t in sorted(trials, key=lambda t: t["ended_seconds"]):
        if sign * t["validation"] > best:
            best = sign * t["validation"]
            steps.append(t)
    return steps


def _score_chart(
    trials: Sequence[Mapping[str, Any]], better: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> Markup:
    """All trials as dots, improvements numbered. What is far below the better half sits on the edge."""
    sign = -1 if report.get("metric_direction") == "minimize" else 1
    ordered = sorted((sign * t["validation"] for t in trials), reverse=True)
    spread = ordered[0] - ordered[len(ordered) // 2]
    floor = max(ordered[-1], ordered[0] - 4 * spread) if spread > 0 else ordered[-1]
    low, high = charts.padded(sorted((sign * floor, sign * ordered[0])), 0.1)
    until = max(report["spent_seconds"], max(t["ended_seconds"] for t in trials)) or 1.0
    numbered = {t["trial"]: n for n, t in enumerate(better[-MAX_NUMBERED:], 1)}
    below = [t for t in better[-MAX_NUMBERED:] if sign * t["validation"] < floor]

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        def place(t: Mapping[str, Any]) -> tuple[float, float]:
            return x(t["ended_seconds"]), y(sign * max(sign * t["validation"], floor))

        line = [place(t) for t in better]
        drawn: list[Child] = [charts.steps([*line, (x(until), line[-1][1])], "curve")]
        for t in sorted(trials, key=lambda t: t["trial"] in numbered):
            value = value_text(report["metric"], t["validation"])
            title = f"{t['candidate']} {value} after {seconds_text(t['ended_seconds'])}"
            cut = sign * t["validation"] < floor
            if t["trial"] in numbered:
                a, b = place(t)
                number = str(numbered[t["trial"]])
                drawn.append(charts.dot(a, b, 8, "mark hollow" if cut else "mark", title))
                drawn.append(charts.label(a, b + 3.5, number, "middle", "tick" if cut else "inside"))
                if cut and t is below[-1]:
                    said = f"at {value_text(report['metric'], t['validation'])}, off the scale"
                    drawn.append(charts.label(a + 12, b + 4, said))
            else:
                drawn.append(charts.dot(*place(t), 4, "mark hollow" if cut else "mark small", title))
        return drawn

    label = f"best {metric_title(report['metric'])} on validation" + (" (smaller is better)" if sign < 0 else "")
    ticks = charts.time_ticks(until)
    return charts.chart("score against seconds", (0.0, until), (low, high), marks, "time since the start", label, ticks)


def _timeline(report: Mapping[str, Any]) -> Markup:
    """What ran when: one line per candidate."""
    until = max(report["spent_seconds"], max(t["ended_seconds"] for t in report["trials"])) or 1.0
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for t in sorted(report["trials"], key=lambda t: t["started_seconds"]):
        lines.setdefault(t["candidate"], []).append(t)
    cells: list[Child] = []
    for name, trials in lines.items():
        bars = []
        for t in trials:
            a, b = (100 * t[k] / until for k in ("started_seconds", "ended_seconds"))
            text = value_text(report["metric"], t["validation"]) if t["validation"] is not None else t["status"]
            title = f"trial {t['trial']}: {text}, {seconds_text(t['seconds'])}{_waited(t)}"
            failed = ";--c:var(--bad)" if t["status"] == "failed" else ""
            bars.append(tag("i", class_="full", style=f"--a:{a:.2f};--b:{b:.2f}{failed}", title=title))
        cells += [tag("div", name, class_="label", title=name), tag("div", bars, class_="track")]
        cells.append(tag("div", seconds_text(sum(t["seconds"] for t in trials)), class_="num"))
    return tag("div", tag("h3", "What ran when"), tag("div", cells, class_="ranges"))


def _waited(trial: Mapping[str, Any]) -> str:
    """What a network waited for its data, where that is known."""
    share = (trial.get("notes") or {}).get("waiting_share")
    return "" if share is None else f", {100 * share:.0f} % of its training waiting for data"


def _phases(report: Mapping[str, Any]) -> Markup | None:
    phases = {k: v for k, v in (report.get("phases") or {}).items() if v >= 0.05}
    if not phases:
        return None
    colours = [(name, k % charts.NUM_COLOURS) for k, name in enumerate(phases)]
    strip = [tag("i", class_=f"f{k}", style=f"--w:{phases[name]:.3f}", title=name) for name, k in colours]
    named = [(f"{name} {seconds_text(phases[name])}", k) for name, k in colours]
    return tag("div", tag("div", strip, class_="phases"), _legend(named))


def _legend(entries: Sequence[tuple[str, int]]) -> Markup:
    return tag("ul", [tag("li", tag("i", class_=f"f{k}"), text) for text, k in entries], class_="legend")


def _bad_rows(found: Mapping[str, Any]) -> Markup | None:
    listed = found.get("bad_row_list") or []
    if not listed:
        return None
    rows = [[r["file"], "" if r["row"] is None else str(r["row"]), r.get("column") or "", r["reason"]] for r in listed]
    body = table(["file", "row", "column", "reason"], rows, numeric=(1,), wordy=(3,))
    return tag(
        "details",
        tag("summary", f"the first {len(rows)} rows set aside" if len(rows) > 1 else "the row set aside"),
        body,
    )


def _rows(values: Mapping[str, Any]) -> list[list[Child]]:
    return [[str(k).replace("_", " "), _plain(v)] for k, v in values.items()]


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
