"""Plots as inline SVG, coloured by the page's style sheet so that they follow light and dark.

A chart is drawn on 460 units of width, about as many as a phone has pixels, so that its text stays readable there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from thrifty.evaluation.sections.markup import Child, Markup, tag

WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 40.0
NUM_COLOURS = 8

Scale = Callable[[float], float]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about as many as asked."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """The number in full, or with an exponent where that is shorter and it is long: 0.25, 500,000, 1.25e7."""
    plain = f"{value:,.10g}"
    if len(plain) < 9:
        return plain
    digits, _, power = f"{value:.9e}".partition("e")
    return min(plain, f"{digits.rstrip('0').rstrip('.')}e{int(power)}", key=len)


def time_ticks(high: float, about: int = 5) -> list[tuple[float, str]]:
    """Marks on an axis of seconds from 0, in words: 30 s, 2 min, 1 h."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((s for s in steps if high / s <= about + 1), 86400 * math.ceil(high / 86400 / about))
    unit, size = ("h", 3600) if step >= 3600 else ("min", 60) if step >= 60 else ("s", 1)
    return [(k * step, f"{k * step / size:g} {unit}" if k else "0") for k in range(math.floor(high / step + 1e-9) + 1)]


def chart(
    title: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    marks: Callable[[Scale, Scale], Sequence[Child]],
    x_label: str,
    y_label: str,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    height: float = HEIGHT,
    y_ticks: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    """Axes with a grid, and what `marks(x, y)` draws on them, where x and y turn values into places."""
    (x_low, x_high), (y_low, y_high) = _open(*x_range), _open(*y_range)

    def x(value: float) -> float:
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return height - BOTTOM - (value - y_low) / (y_high - y_low) * (height - TOP - BOTTOM)

    parts: list[Child] = [tag("title", title)]
    for value, text in y_ticks or [(v, tick_text(v)) for v in ticks(y_low, y_high)]:
        parts.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), "grid"))
        parts.append(label(LEFT - 7, y(value) + 4, text, "end"))
    for value, text in x_ticks or [(v, tick_text(v)) for v in ticks(x_low, x_high)]:
        if x_low <= value <= x_high:
            parts.append(line(x(value), height - BOTTOM, x(value), height - BOTTOM + 4, "axis"))
            parts.append(label(x(value), height - BOTTOM + 17, text, "middle"))
    parts.append(line(LEFT, height - BOTTOM, WIDTH - RIGHT, height - BOTTOM, "axis"))
    parts.append(label((LEFT + WIDTH - RIGHT) / 2, height - 5, x_label, "middle", "name"))
    parts.extend(marks(x, y))
    plot = tag("svg", *parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=title)
    return tag("figure", tag("figcaption", y_label), plot, class_="chart")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=_r(x1), y1=_r(y1), x2=_r(x2), y2=_r(y2), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    return tag("polyline", points=" ".join(f"{_r(a)},{_r(b)}" for a, b in points), class_=class_)


def steps(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line that goes to the right first, then up or down."""
    places: list[tuple[float, float]] = []
    for a, b in points:
        if places:
            places.append((a, places[-1][1]))
        places.append((a, b))
    return path(places, class_)


def dot(x: float, y: float, radius: float, class_: str, title: str = "") -> Markup:
    return tag("circle", tag("title", title) if title else None, cx=_r(x), cy=_r(y), r=_r(radius), class_=class_)


def label(x: float, y: float, text: str, anchor: str = "start", class_: str = "tick") -> Markup:
    return tag("text", text, x=_r(x), y=_r(y), text_anchor=anchor, class_=class_)


def bar(x: float, y: float, width: float, height: float, class_: str, title: str = "") -> Markup:
    given = {"x": _r(x), "y": _r(y), "width": _r(max(0.0, width)), "height": _r(max(0.0, height)), "class_": class_}
    return tag("rect", tag("title", title) if title else None, **given)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of the values with some room on both sides."""
    low, high = min(values), max(values)
    room = share * (high - low) or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _open(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _r(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
