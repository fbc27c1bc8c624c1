"""The Pareto front: the points that no other is at least as good as in every metric and better in one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """What a trial gave at an epoch: `scores`, smaller is better, and by how much each limit is broken."""

    trial: int
    epoch: int
    scores: tuple[float, ...]
    violations: tuple[float, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether it keeps every limit."""
        return not any(self.violations)

    def covers(self, other: Point) -> bool:
        """Whether it is at least as good in every metric."""
        return all(mine <= theirs for mine, theirs in zip(self.scores, other.scores))


def add(front: list[Point], point: Point) -> None:
    """Puts a point into a front, if it belongs there, in place of those that it covers; the earlier of equals stays."""
    if point.feasible and not any(other.covers(point) for other in front):
        front[:] = [other for other in front if not point.covers(other)]
        front.append(point)
