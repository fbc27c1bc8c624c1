"""What came of a trial: the values that were told, where they stop being numbers, what it cost and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.tuning.goals import Goals
from thrifty.tuning.metric import is_number, number, numbers
from thrifty.tuning.trial import State, Trial

Told = tuple[int, dict[str, float]]  # an epoch and what was told of it, by name


def is_one(goals: Goals, values: Any) -> bool:
    """Whether one number was told of each metric, rather than a list."""
    if isinstance(values, Mapping) and not goals.plain:
        return all(map(is_number, values.values()))
    return is_number(values)


def rows(goals: Goals, values: Any, what: str) -> list[dict[str, float]]:
    """What was told of each epoch, where at least one metric has a list. what: "trial 3". Raises UsageError."""
    if not isinstance(values, Mapping) or goals.plain:
        if len(goals.names) > 1:
            goals.row(values, what)  # says what to tell instead
        return [{goals.metrics[0]: value} for value in numbers(values, f"{goals.metrics[0]} of {what}")]
    goals.check(values, what)
    lists = {n: numbers(v, f"{n} of {what}") for n, v in values.items() if not is_number(v)}
    count = len(next(iter(lists.values())))
    if any(len(told) != count for told in lists.values()):
        lengths = ", ".join(f"{len(told)} of {n!r}" for n, told in lists.items())
        raise UsageError(f"{what} was told {lengths}; tell as many of each metric")
    fixed = {n: number(v, f"{n} of {what}") for n, v in values.items() if n not in lists}
    return [{n: fixed[n] if n in fixed else lists[n][i] for n in goals.names} for i in range(count)]


def finite(told: Sequence[Told], *, with_epochs: bool) -> tuple[list[Told], str | None]:
    """What was told up to the first value that is no finite number, and where that is."""
    for at, (epoch, row) in enumerate(told):
        wrong = next((name for name, value in row.items() if not math.isfinite(value)), None)
        if wrong is not None:
            return list(told[:at]), f"{wrong} was {row[wrong]}" + (f" at epoch {epoch}" if with_epochs else "")
    return list(told), None


def with_values(trial: Trial, told: Sequence[Told], goals: Goals) -> Trial:
    """The trial with more epochs."""
    first, *rest = goals.names
    values = _extended(trial.values, [(epoch, row[first]) for epoch, row in told])
    others = trial.others
    if told and rest:
        others = {n: _extended(others.get(n, ()), [(epoch, row[n]) for epoch, row in told]) for n in rest}
    return changed(trial, values=values, others=others)


def state_after(trial: Trial, length: int | None) -> State:
    """What a trial is that was told what it was asked for, or a part of it. length: of a full one in epochs or runs."""
    done = length is None or len(trial.values) == length
    return State.DONE if done else State.PAUSED if trial.values else State.WAITING


def said(row: Mapping[str, float], metric: str) -> dict[str, Any]:
    """What an event says of an epoch."""
    return {"value": row[metric], **({"metrics": dict(row)} if len(row) > 1 else {})}


def changed(trial: Trial, **fields: Any) -> Trial:
    """The trial with other fields."""
    # dataclasses.replace, which this is, costs three times as much.
    names = ("id", "config", "state", "values", "cost_seconds", "until", "why", "inputs", "extra", "others", "parent")
    return Trial(*(fields[n] if n in fields else getattr(trial, n) for n in names))


def cost_of(cost_seconds: float | None, trial: int) -> float:
    """The seconds that were told, 0 for none. Raises UsageError."""
    if cost_seconds is None:
        return 0.0
    cost = number(cost_seconds, f"cost_seconds of trial {trial}")
    if not 0 <= cost < math.inf:
        raise UsageError(f"cost_seconds of trial {trial} is {cost_seconds!r}; it must be a number of at least 0")
    return cost


def _extended(values: tuple[float | None, ...], told: Sequence[tuple[int, float]]) -> tuple[float | None, ...]:
    curve = list(values)
    for epoch, value in told:
        curve += [None] * (epoch - 1 - len(curve))
        curve.append(value)
    return tuple(curve)
