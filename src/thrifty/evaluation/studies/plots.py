"""The charts of a study's page, as inline SVG: value against cost, curves, parallel coordinates, shares, beliefs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from thrifty.core.space import Choice, Domain, Float, Space
from thrifty.evaluation.sections import charts
from thrifty.evaluation.sections.markup import Child, Markup, section, table, tag
from thrifty.evaluation.studies.spans import Span
from thrifty.evaluation.words import metric_title, number_text, seconds_text

MOST_LINES = 200
MOST_COLOURED = 5
MOST_OPTIONS = 8
MOST_AXES = 12
MOST_FRONT = 24


def ranked(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Trials with a value, best first."""
    of = {t["trial"]: t for t in report["trials"]}
    return [of[ident] for ident in report["ranking"]]


def bought(report: Mapping[str, Any]) -> Markup | None:
    """The best value against what was spent: epochs, or seconds in a study without epochs."""
    steps = report["steps"]
    if not steps:
        return None
    with_epochs = report["max_epochs"] is not None
    key = "spent" if with_epochs else "seconds"
    until = max(report["epochs_spent"] if with_epochs else report["spent_seconds"], steps[-1][key], 1e-3)
    shown = [step["value"] for step in steps]
    span = Span.of(shown, shown[:1], report["direction"])  # from the first step on, all are seen

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        points = [(x(s[key]), y(span.at(s["value"]))) for s in steps]
        drawn: list[Child] = [charts.steps([*points, (x(until), points[-1][1])], "curve")]
        for step, (a, b) in zip(steps, points):
            title = f"trial {step['trial']}: {number_text(step['value'])} after {_spent(step, with_epochs)}"
            drawn.append(charts.dot(a, b, 4.5, "mark", title))
        return drawn

    label = span.named(f"best {metric_title(report['metric'])} so far")
    x_label = "epochs of all trials" if with_epochs else "time since the start"
    ticks = None if with_epochs else charts.time_ticks(until)
    y_range, y_ticks = charts.padded([span.low, span.high]), span.ticks() if span.log else None
    plot = charts.chart(
        "best value against cost", (0.0, until), y_range, marks, x_label, label, ticks, y_ticks=y_ticks
    )  # fmt: skip
    last = steps[-1]
    lead = f"The last of {len(steps)} steps came after {_spent(last, with_epochs)}, by trial {last['trial']}."
    return section("bought", "What the cost bought", plot, lead=lead)


def _spent(step: Mapping[str, Any], with_epochs: bool) -> str:
    seconds = seconds_text(step["seconds"])
    return f"{step['spent']:,} epochs ({seconds})" if with_epochs else seconds


def front(report: Mapping[str, Any]) -> Markup | None:
    """The first two of several metrics against each other: every trial, and the front with its table."""
    if len(report["metrics"]) < 2:
        return None
    if not report["front"]:
        return section("front", "The front", tag("p", "No trial gave its metrics and kept the limits."))
    first, second = report["metrics"][:2]
    on_front = {point["trial"] for point in report["front"]}
    others = [t for t in report["trials"] if t["metrics"] and t["trial"] not in on_front]
    shown = [t["metrics"] for t in others] + [point["metrics"] for point in report["front"]]
    x_range, y_range = (
        charts.padded(_near_of([told[n] for told in shown], [p["metrics"][n] for p in report["front"]], way))
        for n, way in ((first, report["directions"][0]), (second, report["directions"][1]))
    )
    edges = {first: x_range, second: y_range}

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        def at(told: Mapping[str, float]) -> tuple[float, float]:
            inside = [min(max(told[n], low), high) for n, (low, high) in edges.items()]
            return x(inside[0]), y(inside[1])

        def title(trial: int, told: Mapping[str, float]) -> str:
            return f"trial {trial}: " + ", ".join(f"{n} {number_text(v)}" for n, v in told.items())

        drawn: list[Child] = [
            charts.dot(*at(t["metrics"]), 3, "mark hollow", title(t["trial"], t["metrics"])) for t in others
        ]
        drawn += [charts.dot(*at(p["metrics"]), 4.5, "mark", title(p["trial"], p["metrics"])) for p in report["front"]]
        return drawn

    plot = charts.chart(
        "the front", x_range, y_range, marks, metric_title(first), metric_title(second)
    )  # fmt: skip
    told = list(report["front"][0]["metrics"])
    epochs = [] if report["max_epochs"] is None else ["epoch"]
    rows = [
        [str(p["trial"]), *([str(p["epoch"])] if epochs else []), *(number_text(p["metrics"][n]) for n in told)]
        for p in report["front"][:MOST_FRONT]
    ]
    head = ["trial", *epochs, *map(metric_title, told)]
    lead = f"{len(report['front'])} points that no other beats in every metric (filled); hollow: the other trials."
    if report["limits"]:
        lead += f" They keep {', '.join(report['limits'])}."
    if any(not low <= t["metrics"][n] <= high for t in others for n, (low, high) in edges.items()):
        lead += " What lies beyond an axis is drawn at its end."
    if len(report["front"]) > MOST_FRONT:
        lead += f" The table has the first {MOST_FRONT}; all are in report.json."
    return section("front", "The front", plot, table(head, rows, numeric=range(len(head))), lead=lead)


def _near_of(values: Sequence[float], ends: Sequence[float], direction: str) -> list[float]:
    """The range of a metric: all of the front, and of the others at most as much again on the worse side."""
    low, high = min(ends), max(ends)
    reach = (high - low) or abs(high) or 1.0
    if direction == "minimize":
        return [low, min(max(values), high + reach)]
    return [max(min(values), low - reach), high]


def curves(report: Mapping[str, Any]) -> Markup | None:
    """The metric over epochs: every trial a thin line, the best ones coloured."""
    trials = [t for t in ranked(report) if sum(v is not None for v in t["values"]) > 1]
    if report["max_epochs"] is None or not trials:
        return None
    shown = trials[:MOST_LINES]
    told = [v for t in shown for v in t["values"] if v is not None]
    span = Span.of(told, [t["value"] for t in shown], report["direction"])

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        lines: list[Child] = []
        for k, t in reversed(list(enumerate(shown))):
            known = [(e, v) for e, v in enumerate(t["values"], 1) if v is not None]
            places = [(x(e), y(span.at(v))) for e, v in known]
            lines.append(charts.path(places, f"thin s{k}" if k < MOST_COLOURED else "faded"))
        return lines

    plot = charts.chart(
        "learning curves", (1.0, float(report["max_epochs"])), charts.padded([span.low, span.high]), marks, "epoch",
        span.named(metric_title(report["metric"])), y_ticks=span.ticks() if span.log else None,
    )  # fmt: skip
    entries = [
        tag("li", tag("i", class_=f"f{k}"), f"trial {t['trial']}: {number_text(t['value'])}")
        for k, t in enumerate(shown[:MOST_COLOURED])
    ]
    lead = f"{len(shown)} trials that had two epochs or more, the best {len(entries)} coloured."
    if len(trials) > len(shown):
        lead = f"The best {len(shown)} of {len(trials)} trials that had two epochs or more; {len(entries)} coloured."
    return section("curves", "Learning curves", plot, tag("ul", entries, class_="legend"), lead=lead + span.note)


def parallel(report: Mapping[str, Any]) -> Markup | None:
    """A line a trial through its parameters to its value, on axes one under the other so that it fits a phone."""
    trials = ranked(report)[:MOST_LINES]
    if report["space"] is None or len(trials) < 2:
        return None
    space = Space.from_json(report["space"])
    names = [n for n, d in space.items() if d.size != 1]
    order = list((report["importance"] or {"shares": {}})["shares"])
    names = sorted(names, key=lambda n: order.index(n) if n in order else len(order))[:MOST_AXES]
    if not names:
        return None
    row, left, width = 62.0, 16.0, charts.WIDTH - 32.0
    height = row * (len(names) + 1) + 6
    parts: list[Child] = [tag("title", "parallel coordinates")]
    values = [t["value"] for t in trials]
    span = Span.of(values, values, report["direction"])
    for k, t in reversed(list(enumerate(trials))):
        places = [
            (left + width * _place(space[n], t["config"].get(n)), 30 + row * i)
            for i, n in enumerate(names)
        ] + [(left + width * span.share(t["value"]), 30 + row * len(names))]  # fmt: skip
        share = (1 - k / len(trials)) ** 2
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        text = f"trial {t['trial']}: {number_text(t['value'])}"
        parts.append(tag("polyline", tag("title", text), points=points, class_="par", style=f"--s:{share:.2f}"))
    for i, name in enumerate(names):
        parts += _axis(name, space[name], 30 + row * i, left, width, any(name not in t["config"] for t in trials))
    parts += _value_axis(span, metric_title(report["metric"]), 30 + row * len(names), left, width)
    svg = tag(
        "svg", *parts, viewBox=f"0 0 {charts.WIDTH:g} {height:g}", role="img", aria_label="parallel coordinates"
    )  # fmt: skip
    caption = tag("figcaption", "strong: the best trials; pale: the worst. Read from top to bottom.")
    lead = "Each line is a trial, through its parameters down to its value"
    lead += "; a trial without a parameter passes through none." if space.conditional else "."
    lead += span.note
    return section("parameters", "Which values went well", tag("figure", caption, svg, class_="chart"), lead=lead)


def _value_axis(span: Span, name: str, y: float, left: float, width: float) -> list[Child]:
    """The metric's axis, its ends below; an end that worse values are drawn at says so."""
    parts: list[Child] = [
        charts.line(left, y, left + width, y, "axis"),
        charts.label(left, y - 8, span.named(name), "start", "tick halo name"),
    ]
    for anchor, share, scaled, words in (("start", 0.0, span.low, "or less"), ("end", 1.0, span.high, "or more")):
        value = 10**scaled if span.log else scaled
        text = f"{span.edge_text} {words}" if value == span.edge else number_text(value)
        parts.append(charts.label(left + width * share, y + 15, text, anchor, "tick halo"))
    if span.log:
        for scaled, text in span.ticks():
            share = (scaled - span.low) / (span.high - span.low)
            x = left + width * share
            parts.append(charts.line(x, y - 3, x, y + 3, "axis"))
            if 0.2 < share < 0.8:
                parts.append(charts.label(x, y + 15, text, "middle", "tick halo"))
    return parts


def _place(domain: Domain, value: Any) -> float:
    """Where a value lies on its axis, 0 to 1; an absent one at the right end, behind what exists."""
    if isinstance(domain, Choice):
        index = len(domain.options) if value is None and not domain.contains(None) else domain.index(value)
        return (index + 0.5) / (len(domain.options) + 1)
    return 1.0 if value is None else 0.88 * domain.to_unit(value)


def _axis(name: str, domain: Domain, y: float, left: float, width: float, absent: bool) -> list[Child]:
    """A parameter's axis with its name above and its ends, options or decades below."""
    log = ", log" if not isinstance(domain, Choice) and domain.log else ""
    parts: list[Child] = [
        charts.line(left, y, left + width * (0.88 if not isinstance(domain, Choice) else 1.0), y, "axis"),
        charts.label(left, y - 8, f"{name}{log}", "start", "tick halo name"),
    ]
    for value, text in _marks(domain):
        place = _place(domain, value)
        anchor = "middle" if 0.04 < place < 0.84 or isinstance(domain, Choice) else "start" if place < 0.5 else "end"
        parts += [
            charts.line(left + width * place, y - 3, left + width * place, y + 3, "axis"),
            charts.label(left + width * place, y + 15, text, anchor, "tick halo"),
        ]
    if absent:
        at = left + width * (1.0 if not isinstance(domain, Choice) else _place(domain, None))
        parts += [charts.dot(at, y, 2.5, "mark hollow"), charts.label(at, y + 15, "none", "end", "tick halo")]
    return parts


def _marks(domain: Domain) -> list[tuple[Any, str]]:
    if isinstance(domain, Choice):
        room = max(4, 56 // (len(domain.options) + 1))
        options = domain.options if len(domain.options) <= MOST_OPTIONS else domain.options[:: len(domain.options) // 4]
        return [(o, str(o) if len(str(o)) <= room else f"{str(o)[: room - 1]}…") for o in options]
    low, high = float(domain.low), float(domain.high)
    middle = domain.from_unit(0.5)
    if domain.log and high / low > 100:
        middle = 10.0 ** round(math.log10(low * high) / 2)
        middle = middle if isinstance(domain, Float) else int(middle)
    ends = [(domain.low, f"{low:.4g}"), (domain.high, f"{high:.4g}")]
    if not low < middle < high:
        return ends
    return [ends[0], (middle, f"{middle:.4g}"), ends[1]]


def importance(report: Mapping[str, Any]) -> Markup | None:
    """The share of each parameter with its interval, or why it cannot be told."""
    found = report["importance"]
    if found is None:
        return None
    if not found["shares"]:
        return section("importance", "Which parameters matter", tag("p", f"It cannot be told: {found['why']}."))
    cells: list[Child] = []
    for name, share in found["shares"].items():
        low, high = found["low"][name], found["high"][name]
        between = tag("i", style=f"--a:{100 * low:.2f};--b:{100 * high:.2f}")
        cells += [tag("div", name, class_="label", title=name)]
        cells += [tag("div", between, tag("b", style=f"--v:{100 * share:.2f}"), class_="track")]
        cells.append(tag("div", f"{100 * share:.0f} % ({100 * low:.0f}–{100 * high:.0f})", class_="num"))
    lead = (
        "The share of the differences in the metric that each parameter causes over the whole space, with its 90 % "
        f"interval. The model behind it explains {100 * found['explained']:.0f} % of trials that it has not seen."
    )
    return section("importance", "Which parameters matter", tag("div", cells, class_="ranges"), lead=lead)


def beliefs(report: Mapping[str, Any]) -> Markup | None:
    """For the trials that went furthest: the interval that was predicted early, and what came."""
    told = report["beliefs"]
    if len(told) < 3:
        return None
    sign = 1 if report["direction"] == "minimize" else -1
    told = sorted(told, key=lambda b: sign * b["came"])
    inside = sum(b["low"] <= b["came"] <= b["high"] for b in told)
    span = Span.of(
        [v for b in told for v in (b["low"], b["mean"], b["high"], b["came"])], [b["came"] for b in told],
        report["direction"],
    )  # fmt: skip
    height = 30.0 + 17.0 * len(told) + 34
    left, width = 62.0, charts.WIDTH - 62.0 - 14.0

    def x(value: float) -> float:
        return left + width * span.share(value)

    parts: list[Child] = [tag("title", "predicted and reached values")]
    for scaled, text in span.ticks():
        place = left + width * (scaled - span.low) / ((span.high - span.low) or 1.0)
        parts += [
            charts.line(place, 10, place, height - 36, "grid"),
            charts.label(place, height - 20, text, "middle"),
        ]
    for k, b in enumerate(told):
        y = 20 + 17.0 * k
        text = (
            f"trial {b['trial']}: predicted {number_text(b['mean'])} ({number_text(b['low'])} to "
            f"{number_text(b['high'])}) for epoch {b['epoch']}, came {number_text(b['came'])}"
        )
        parts += [
            charts.label(left - 8, y + 4, f"trial {b['trial']}", "end"),
            charts.bar(x(b["low"]), y - 4, x(b["high"]) - x(b["low"]), 8, "count", text),
            charts.line(x(b["mean"]), y - 5, x(b["mean"]), y + 5, "axis"),
            charts.dot(x(b["came"]), y, 4, "came", text),
        ]
        if span.beyond(b["came"]):
            side, anchor = (-8, "end") if span.share(b["came"]) > 0.5 else (8, "start")
            parts.append(charts.label(x(b["came"]) + side, y + 4, number_text(b["came"]), anchor, "tick halo"))
    name = span.named(metric_title(report["metric"]))
    parts.append(charts.label(left + width / 2, height - 3, name, "middle", "name"))
    svg = tag("svg", *parts, viewBox=f"0 0 {charts.WIDTH:g} {height:g}", role="img", aria_label="beliefs")
    known = "without its own value" if report["max_epochs"] is None else "from its first epochs"
    caption = tag("figcaption", "band: 90 % interval, stroke: prediction, dot: what came")
    lead = (
        f"What the model of the search predicts for a trial {known} and all other trials, worked out at the end of the "
        f"search: {inside} of {len(told)} came within the 90 % interval.{span.note}"
    )
    return section("beliefs", "What the tuner believed", tag("figure", caption, svg, class_="chart"), lead=lead)
