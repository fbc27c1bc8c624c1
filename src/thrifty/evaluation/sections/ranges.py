"""Values with their intervals as bars on one common scale, drawn in HTML so that text keeps its size on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thrifty.evaluation.metrics import METRICS
from thrifty.evaluation.sections.markup import Child, Markup, tag


@dataclass(frozen=True)
class Bar:
    """One line: a name, a value with an interval or without, and the text to its right."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    text: Child
    colour: int | None = None


def ranges(bars: Sequence[Bar], metric: str, reference: float | None = None, few: bool = False) -> Markup:
    """The bars under one another; `reference` is drawn through all of them as a dashed line."""
    low, high = _scale(bars, metric, reference)
    span = (high - low) or 1.0
    cells: list[Child] = []
    for bar in bars:
        marks: list[Child] = []
        if reference is not None:
            marks.append(tag("u", style=f"--v:{_percent(reference, low, span)}"))
        if bar.low is not None and bar.high is not None:
            marks.append(tag("i", style=f"--a:{_percent(bar.low, low, span)};--b:{_percent(bar.high, low, span)}"))
        if bar.value is not None:
            marks.append(tag("b", style=f"--v:{_percent(bar.value, low, span)}"))
        cells.append(tag("div", bar.name, class_="label", title=bar.name))
        cells.append(tag("div", *marks, class_="track" if bar.colour is None else f"track f{bar.colour}"))
        cells.append(tag("div", bar.text, class_="num"))
    return tag("div", *cells, class_="ranges few" if few else "ranges")


def _scale(bars: Sequence[Bar], metric: str, reference: float | None) -> tuple[float, float]:
    """From the smallest to the largest with room, no further than the metric can go; whole where half is needed."""
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None]
    values += [] if reference is None else [reference]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    bounds = METRICS[metric]
    low, high = max(bounds.low, low - room), min(bounds.high, high + room)
    if bounds.low == 0 and bounds.high == 1 and high - low > 0.5:
        return 0.0, 1.0
    return low, high


def _percent(value: float, low: float, span: float) -> str:
    return f"{min(100.0, max(0.0, 100 * (value - low) / span)):.2f}"
