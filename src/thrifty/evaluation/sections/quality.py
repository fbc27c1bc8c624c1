"""How good the model is and where it fails: scores, confusions, classes, worst errors, slices, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thrifty.evaluation.metrics import METRICS
from thrifty.evaluation.sections import charts
from thrifty.evaluation.sections.markup import Child, Markup, section, table, tag
from thrifty.evaluation.sections.ranges import Bar, ranges
from thrifty.evaluation.slices import MIN_ROWS
from thrifty.evaluation.words import count_text, interval_texts, metric_title, number_text, value_text

MAX_MATRIX = 40
MANY = 16
MOST_COLUMNS = 40


def scores(report: Mapping[str, Any]) -> Markup | None:
    """Every metric of the task with its interval."""
    parts = [p for p in ("test", "validation") if report[p]]
    if not parts:
        return None
    rows = []
    for name in report[parts[0]]:
        line: list[Child] = [metric_title(name), METRICS[name].title]
        for part in parts:
            value, between = interval_texts(name, report[part][name])
            line += [value, tag("span", between, class_="soft")]
        rows.append(line)
    head = ["metric", "what it is", *[h for p in parts for h in (p, "95 % interval")]]
    reason = report.get("metric_reason")
    lead = f"Choices were made by {metric_title(report['metric'])} ({reason})." if reason else ""
    numeric = range(2, 2 + 2 * len(parts))
    return section("scores", "Scores", table(head, rows, numeric, wordy=(1,), aside=(1,)), lead=lead)


def confusion(report: Mapping[str, Any], examples: Mapping[str, Any] | None) -> Markup | None:
    """Which class is taken for which; behind each cell some of its rows."""
    closer = report.get("closer") or {}
    cells: list[list[int]] = closer.get("confusion") or []
    pairs = closer.get("confused") or []
    if not cells and not pairs:
        return None
    names = [line["class"] for line in closer["classes"]]
    behind = {(c["true"], c["answered"]): c["examples"] for c in (examples or {}).get("cells", [])}
    lead = f"Rows of the {closer['part']} part by true class (left) and answered class (top)."
    if behind:
        lead += " Press a number that is underlined to see rows behind it."
    parts: list[Child] = []
    popovers: list[Markup] = []
    if cells and len(names) <= MAX_MATRIX:
        parts.append(tag("div", _matrix(cells, names, behind), class_="scroll"))
        popovers = [_popover(t, a, cells[t][a], names, rows) for (t, a), rows in behind.items()]
    else:
        where = (
            f"The matrix of {len(names)} classes is in report.json; here" if cells else f"Of {len(names)} classes, here"
        )
        lead = f"{where} are the pairs most often confused, of the {closer['part']} part."
    if pairs:
        lines = [[p["true"], p["answered"], f"{p['rows']:,}", f"{100 * p['share']:.1f} %"] for p in pairs]
        head = ["true class", "answered", "rows", "of the class"]
        parts.append(tag("div", table(head, lines, numeric=(2, 3), caption="Most often confused")))
    split = tag("div", *parts, class_="split")
    return section("confusion", "What is taken for what", split, *popovers, lead=lead)


def values(report: Mapping[str, Any]) -> Markup | None:
    """For numbers: predicted against true."""
    found = (report.get("closer") or {}).get("values")
    if not found or not found["true"]:
        return None
    true, predicted = found["true"], found["predicted"]
    both = charts.padded([*true, *predicted], 0.03)

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        points: list[Child] = [charts.line(x(both[0]), y(both[0]), x(both[1]), y(both[1]), "ideal")]
        return points + [charts.dot(x(a), y(b), 2.5, "point") for a, b in zip(true, predicted)]

    error = found["absolute_error"]
    half, most, nearly_all = (number_text(error[name]) for name in ("p50", "p90", "p99"))
    sentence = (
        f"Half of the rows are off by at most {half}, 90 % by at most {most}, 99 % by at most {nearly_all}. The dashed "
        "line is where the two are equal."
    )
    plot = charts.chart(
        "predicted against true", both, both, marks, f"true {report['target']}", "predicted", height=380
    )
    return section("values", "Predicted against true", plot, lead=sentence)


def importance(report: Mapping[str, Any]) -> Markup | None:
    """What each column is worth to the model."""
    found = report.get("importance") or []
    if not found:
        return None
    metric = report["metric"]
    bars = [
        Bar(one["name"], one["value"], one["low"], one["high"], value_text(metric, one["value"]), colour=k)
        for k, kind in ((3, "kind"), (None, "column"))
        for one in found
        if one["kind"] == kind
    ]
    lead = (
        f"What {metric_title(metric)} loses when a column's cells change places among the rows. Of columns that say "
        "the same each may seem to be worth little."
    )
    if not report["test"]:
        lead += " There are no test rows: these figures are of rows that the model has learned from."
    body = ranges(bars[:MOST_COLUMNS], metric, reference=0.0)
    return section("importance", "What the columns are worth", body, lead=lead)


def classes(report: Mapping[str, Any]) -> Markup | None:
    """Precision, recall and F1 of each class, the weakest first."""
    lines = (report.get("closer") or {}).get("classes") or []
    if not lines:
        return None
    ordered = sorted(lines, key=lambda line: (line["f1"] is None, line["f1"] or 0.0))
    rows = [
        [line["class"], f"{line['rows']:,}", *[_meter(line[n]) for n in ("precision", "recall", "f1")]]
        for line in ordered
    ]
    body = table(["class", "rows", "precision", "recall", "F1"], rows, numeric=(1,))
    lead = "Precision: of the rows answered so, how many are. Recall: of those that are, how many are found."
    return section("classes", "Class by class", _folded(body, len(rows), "classes"), lead=lead)


def worst(report: Mapping[str, Any], examples: Mapping[str, Any] | None) -> Markup | None:
    """The errors the model was surest of."""
    rows = (examples or {}).get("worst") or []
    if not rows:
        return None
    part = (report.get("closer") or {}).get("part", "test")
    lead = f"Rows of the {part} part that are wrong by most. Look here first for wrong labels and for what is hard."
    return section("worst", "Worst errors", tag("div", [_card(row) for row in rows], class_="gallery"), lead=lead)


def slices(report: Mapping[str, Any]) -> Markup | None:
    """The metric within parts of the rows."""
    closer = report.get("closer") or {}
    found = [t for t in closer.get("slices") or [] if any(s["value"] is not None for s in t["slices"])]
    if not found:
        return None
    metric = closer.get("slice_metric", report["metric"])
    overall = (report[closer["part"]] or {}).get(metric, {}).get("value")
    blocks = []
    for one in found:
        bars = []
        for s in one["slices"]:
            mark = {"worse": " · worse", "better": " · better", None: ""}[s.get("differs")]
            style = {"worse": "bad", "better": "good", None: "soft"}[s.get("differs")]
            text = value_text(metric, s["value"]) if s["rows"] >= MIN_ROWS else "too few"
            shown = [text, tag("span", f" · {count_text(s['rows'], 'row')}{mark}", class_=style)]
            bars.append(Bar(s["slice"], s["value"], s["low"], s["high"], shown))
        blocks.append(tag("div", tag("h3", one["slicing"]), ranges(bars, metric, overall)))
    smaller = " (smaller is better)" if METRICS[metric].sign < 0 else ""
    lead = (
        f"{metric_title(metric)}{smaller} within parts of the rows, with 95 % intervals. The dashed line is all rows."
    )
    if metric != report["metric"]:
        lead += f" {metric_title(report['metric'])} of parts cannot be compared: it depends on which targets they have."
    return section("slices", "Slice by slice", tag("div", blocks, class_="columns"), lead=lead)


def reliability(report: Mapping[str, Any]) -> Markup | None:
    """Whether a stated probability comes true that often, before and after calibration."""
    found = (report.get("closer") or {}).get("reliability")
    if not found or not found.get("after"):
        return None
    before, after = found.get("before"), found["after"]
    most = max(b["rows"] for b in after)

    def marks(x: charts.Scale, y: charts.Scale) -> list[Child]:
        height = y(0) - y(0.25)
        drawn: list[Child] = [
            charts.bar(x(b["low"]) + 1, y(0) - height * b["rows"] / most, x(b["high"]) - x(b["low"]) - 2,
                       height * b["rows"] / most, "count", f"{b['rows']:,} answers")
            for b in after
        ]  # fmt: skip
        drawn.append(charts.line(x(0), y(0), x(1), y(1), "ideal"))
        for bins, class_ in ((before, "curve faint"), (after, "curve")):
            if bins:
                drawn.append(charts.path([(x(b["stated"]), y(b["came_true"])) for b in bins], class_))
        for b in after:
            title = f"stated {b['stated']:.2f}, came true {b['came_true']:.2f}, {b['rows']:,} answers"
            drawn.append(charts.dot(x(b["stated"]), y(b["came_true"]), 4, "mark", title))
        return drawn

    plot = charts.chart(
        "stated probability against how often it came true", (0.0, 1.0), (0.0, 1.0), marks, "stated probability",
        "how often it came true", height=360,
    )  # fmt: skip
    error = (report[report["closer"]["part"]] or {}).get("ece")
    lead = (
        "On the dashed diagonal a probability means what it says; below it the model is too sure. Bars: how many rows."
    )
    if before:
        lead += " The faint line is before calibration."
    if error and error["value"] is not None:
        lead += f" The mean gap (calibration error) is {error['value']:.3f}."
    return section("reliability", "Can its probabilities be trusted?", plot, lead=lead)


def _matrix(
    cells: Sequence[Sequence[int]], names: Sequence[str], behind: Mapping[tuple[int, int], Sequence[Any]]
) -> Markup:
    head = tag("tr", tag("th"), [tag("th", tag("span", name), title=name, scope="col") for name in names])
    lines = []
    for t, row in enumerate(cells):
        total = sum(row) or 1
        line: list[Child] = [tag("th", names[t], title=names[t], scope="row")]
        for a, count in enumerate(row):
            share = count / total
            strength = share if t == a else min(1.0, (share * 2) ** 0.5)
            text: Child = f"{count}"
            if count and (t, a) in behind:
                spoken = f"{count} rows of {names[t]} answered {names[a]}: see some"
                text = tag("button", text, type="button", popovertarget=f"cell-{t}-{a}", aria_label=spoken)
            class_ = " ".join(c for c, on in (("hit", t == a), ("none", not count)) if on) or None
            line.append(tag("td", text, class_=class_, style=f"--s:{strength:.3f}" if count else None))
        lines.append(tag("tr", line))
    return tag(
        "table", tag("thead", head), tag("tbody", lines), class_="confusion many" if len(names) > MANY else "confusion"
    )


def _popover(true: int, answered: int, count: int, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Markup:
    identity = f"cell-{true}-{answered}"
    what = f"{names[true]}, answered right" if true == answered else f"{names[true]}, answered {names[answered]}"
    close = tag("button", "×", type="button", class_="close", popovertarget=identity, popovertargetaction="hide",
                aria_label="close")  # fmt: skip
    title = tag("h3", f"{what}: {count_text(count, 'row')}")
    return tag(
        "div", close, title, tag("div", [_card(row) for row in rows], class_="gallery"), id=identity, popover=True
    )


def _card(row: Mapping[str, Any]) -> Markup:
    """One row: its inputs, what it is, what was answered."""
    shown: list[Child] = []
    small: list[Child] = []
    for given in row["inputs"]:
        if given["kind"] == "image":
            pixels = "pixels" if given["source"].startswith("data:image/png") else None
            shown.append(tag("img", src=given["source"], alt=given["column"], class_=pixels, loading="lazy"))
        elif given["kind"] == "audio":
            shown.append(tag("audio", controls=True, preload="metadata", src=given["source"]))
        elif given["kind"] == "text":
            shown.append(tag("q", given["text"]))
        else:
            small += [tag("dt", given["column"]), tag("dd", given["text"], title=given["text"])]
    sure = "" if "probability" not in row else f" ({_share(row['probability'])})"
    right = row["true"] == row["answered"]
    answer = tag("div", "answered ", tag("b", f"{row['answered']}{sure}", class_="good" if right else "bad"))
    was = None if right else tag("div", "is ", tag("b", row["true"]), _true_share(row))
    details = tag("dl", *small) if small else None
    return tag("div", *shown, answer, was, details, tag("small", row["origin"]), class_="card")


def _true_share(row: Mapping[str, Any]) -> str:
    return f" ({_share(row['true_probability'])})" if "true_probability" in row else ""


def _meter(value: float | None) -> Markup:
    if value is None:
        return tag("span", "–", class_="soft")
    track = tag("span", tag("i", class_="full", style=f"--a:0;--b:{100 * value:.1f}"), class_="track meter")
    return tag("span", track, f"{value:.3f}", class_="num")


def _folded(body: Markup, count: int, what: str, limit: int = 25) -> Markup:
    """Long tables open on demand."""
    return body if count <= limit else tag("details", tag("summary", f"all {count} {what}"), body)


def _share(probability: float) -> str:
    text = f"{100 * probability:.0f}" if 0.005 <= probability < 0.995 else f"{100 * probability:.2g}"
    return f"{text}\u00a0%"
