"""What a study is for: its metrics, whether each is minimized or maximized, and the limits that others must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.tuning.metric import direction_of, number

_LIMIT = re.compile(r"\s*(\S+?)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """`name` is at most (`most`) or at least `bound`."""

    name: str
    most: bool
    bound: float

    @classmethod
    def of(cls, text: Any) -> Limit:
        """A limit written as "latency_ms <= 20" or "accuracy >= 0.9". Raises UsageError."""
        found = _LIMIT.fullmatch(text) if isinstance(text, str) else None
        try:
            bound = math.nan if found is None else float(found[3])
        except ValueError:
            bound = math.nan
        if found is None or not math.isfinite(bound):
            raise UsageError(f"the limit {text!r} must be written like 'latency_ms <= 20' or 'accuracy >= 0.9'")
        return cls(found[1], found[2] == "<=", bound)

    def violation(self, value: float) -> float:
        """By how much `value` breaks it; 0 where it is kept."""
        return max(0.0, self.excess(value))

    def excess(self, value: float) -> float:
        """By how much `value` is beyond the bound, negative where it is within."""
        return value - self.bound if self.most else self.bound - value

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.most else '>='} {self.bound:.12g}"


@dataclass(frozen=True, slots=True)
class Goals:
    """metrics and directions: what is optimized, in order. limits: what must hold, of these metrics or of others."""

    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(
        cls, metric: str | Sequence[str], direction: str | Sequence[str | None] | None, limits: Sequence[str] = ()
    ) -> Goals:
        """Goals as the user writes them. Raises UsageError."""
        if isinstance(limits, str):
            limits = [limits]
        names: list[Any] = list(metric) if isinstance(metric, (list, tuple)) else [metric]
        ways: list[Any] = list(direction) if isinstance(direction, (list, tuple)) else [direction]
        ways = [None] * len(names) if direction is None else ways
        if not names or len({*map(str, names)}) < len(names):
            raise UsageError(f"metric is {metric!r}; it must be one name or a list of names that differ")
        if len(ways) != len(names):
            raise UsageError(f"direction is {direction!r}; give one direction for each metric: {_listed(names)}")
        return cls(
            tuple(names), tuple(direction_of(n, way) for n, way in zip(names, ways)), tuple(Limit.of(t) for t in limits)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All that is to be told: the metrics, then what is only limited."""
        return tuple(dict.fromkeys((*self.metrics, *(limit.name for limit in self.limits))))

    @property
    def plain(self) -> bool:
        """Whether there is one metric and no limit."""
        return len(self.metrics) == 1 and not self.limits

    def header(self) -> dict[str, Any]:
        """As a study's store keeps it: one metric as its name alone."""
        one = len(self.metrics) == 1
        kept: dict[str, Any] = {
            "metric": self.metrics[0] if one else list(self.metrics),
            "direction": self.directions[0] if one else list(self.directions),
        }
        return kept | ({"limits": [str(limit) for limit in self.limits]} if self.limits else {})

    def scores(self, told: Mapping[str, float]) -> tuple[float, ...]:
        """The metrics so that smaller is better."""
        return tuple(told[n] if d == "minimize" else -told[n] for n, d in zip(self.metrics, self.directions))

    def violations(self, told: Mapping[str, float]) -> tuple[float, ...]:
        """By how much each limit is broken."""
        return tuple(limit.violation(told[limit.name]) for limit in self.limits)

    def row(self, told: Any, what: str) -> dict[str, float]:
        """One number of each name. what: "trial 3", for messages. Raises UsageError."""
        if not isinstance(told, Mapping) or self.plain:
            if len(self.names) > 1:
                raise UsageError(f"{what} was told {told!r}; tell a dict with {_listed(self.names)}")
            return {self.metrics[0]: number(told, f"{self.metrics[0]} of {what}")}
        self.check(told, what)
        return {name: number(told[name], f"{name} of {what}") for name in self.names}

    def check(self, told: Mapping[str, Any], what: str) -> None:
        """Raises UsageError when a name is missing from what was told, or has none of the study's names."""
        for name in self.names:
            if name not in told:
                raise UsageError(f"{what} was told {_listed(told)}, without the metric {name!r}")
        more = [name for name in told if name not in self.names]
        if more:
            raise UsageError(
                f"{what} was told {_listed(more)}, which the study has no metric of; keep it with extra={{...}}"
            )


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "an empty dict"
