"""Which values an axis of a study's page shows: on a logarithmic scale where that shows more, or not the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thrifty.evaluation.sections import charts

MOST_SPREADS = 6  # from the best to the edge, in distances from the best to the median
MOST_DECADES = 6  # that have a mark


@dataclass(frozen=True)
class Span:
    """Which values are shown, `low` and `high` on the scale: values, or with `log` their decimal logarithms.

    edge: the value at which worse ones are drawn; None where all are seen.
    """

    low: float
    high: float
    log: bool = False
    edge: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], ends: Sequence[float], direction: str) -> Span:
        """The span of `values` without the worst that would flatten the rest; `ends` are one of each trial.

        The scale is logarithmic where all are positive, two decades or more apart, and most are a decade from the best.
        """
        if min(values) > 0 and math.log10(max(values)) - math.log10(min(values)) > 2:
            low, high, median = _near([math.log10(v) for v in values], [math.log10(v) for v in ends], direction)
            best, worst = (low, high) if direction == "minimize" else (high, low)
            if abs(median - best) > 1:
                cut = worst != math.log10((max if direction == "minimize" else min)(values))
                return cls(low, high, True, 10**worst if cut else None)
        low, high, _ = _near(values, ends, direction)
        worst, of_all = (high, max(values)) if direction == "minimize" else (low, min(values))
        return cls(low, high, False, worst if worst != of_all else None)

    def at(self, value: float) -> float:
        """Where on the scale a value is drawn."""
        return min(max(self._scaled(value), self.low), self.high)

    def share(self, value: float) -> float:
        """Where a value is drawn, from 0 at the low end to 1."""
        return (self.at(value) - self.low) / ((self.high - self.low) or 1.0)

    def beyond(self, value: float) -> bool:
        return not self.low <= self._scaled(value) <= self.high

    def ticks(self) -> list[tuple[float, str]]:
        """Marks on the scale with their texts."""
        if not self.log:
            return [(v, charts.tick_text(v)) for v in charts.ticks(self.low, self.high)]
        powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        return [(float(k), charts.tick_text(10.0**k)) for k in powers[:: math.ceil(len(powers) / MOST_DECADES)]]

    def named(self, name: str) -> str:
        return f"{name}, log" if self.log else name

    @property
    def note(self) -> str:
        """What a reader must know of what is not where it would be, as a sentence; empty where all is."""
        return "" if self.edge is None else f" Values worse than {self.edge_text} are drawn at the edge."

    @property
    def edge_text(self) -> str:
        """The edge with the digits that tell it from the best; empty where there is none."""
        if self.edge is None:
            return ""
        range_of = 1.0 if self.log else (self.high - self.low) / max(abs(self.edge), self.high - self.low)
        return f"{self.edge:.{3 - math.floor(math.log10(range_of))}g}"

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _near(values: Sequence[float], ends: Sequence[float], direction: str) -> tuple[float, float, float]:
    """The range without the worst values, and the median of the ends."""
    sign = 1 if direction == "minimize" else -1
    ordered = sorted(sign * v for v in ends)
    best, median = min(sign * v for v in values), ordered[len(ordered) // 2]
    worst = max(sign * v for v in values)
    edge = min(worst, best + MOST_SPREADS * (median - best)) if median > best else worst
    low, high = sorted((sign * best, sign * edge))
    return low, high, sign * median
