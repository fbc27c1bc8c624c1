"""A grid: every combination of evenly spaced values, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from thrifty.core.errors import UsageError
from thrifty.core.space import Choice, Domain, Int, Space, When
from thrifty.tuning.policies.random import space_of

if TYPE_CHECKING:
    from thrifty.tuning.study import Study


POINTS = 5  # values of each float, and of ints that have many


class Grid:
    """Lists a space whose floats, and ints of many values, have `points` values each, their ends among them."""

    name = "grid"

    def __init__(self, points: int = POINTS) -> None:
        if not isinstance(points, int) or points < 1:
            raise UsageError(f"a grid's points are {points!r}; they must be a whole number of at least 1")
        self.points = points
        self._left: Iterator[dict[str, Any]] | None = None

    def draw(self, study: Study) -> dict[str, Any] | None:
        """The next combination that no trial has had, the last parameter changing fastest; None at the end."""
        if self._left is None:
            self._left = grid_of(space_of(study), self.points).configurations()
        return next((config for config in self._left if not study.seen(config)), None)


def grid_of(space: Space, points: int) -> Space:
    """The space with at most `points` values for each number."""
    entries = {}
    for name, entry in space.entries.items():
        chosen = Choice(*values_of(space[name], points))
        entries[name] = When(chosen, dict(entry.conditions)) if isinstance(entry, When) else chosen
    return Space(entries, space.constraints)


def values_of(domain: Domain, points: int) -> list[Any]:
    """The values of a parameter in a grid."""
    if isinstance(domain, Choice):
        return list(domain.options)
    if isinstance(domain, Int) and domain.high - domain.low < points:
        return list(range(domain.low, domain.high + 1))
    at = [0.5] if points == 1 else [i / (points - 1) for i in range(points)]
    return list(dict.fromkeys(domain.from_unit(u) for u in at))
