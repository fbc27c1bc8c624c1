"""What a study found: its trials, the best of them, the front, and figures about them."""

from __future__ import annotations

import hashlib
import operator
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.errors import UsageError
from thrifty.core.events import json_text
from thrifty.core.space import Space
from thrifty.tuning.front import Point, add
from thrifty.tuning.goals import Goals
from thrifty.tuning.repeats import Estimate, estimates, winner
from thrifty.tuning.trial import Best, Proposal, State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.scalarisation import Scale


class Results:
    """The trials of one search in memory, to look at; a `Study` adds to them.

    space: None when configurations are free dicts. max_epochs: None when a trial has one value and no epochs.
    repeats: how often a configuration may be run, its value being the mean.
    """

    def __init__(self, space: Space | None, goals: Goals, max_epochs: int | None, repeats: int = 1) -> None:
        self.space, self.goals, self.max_epochs, self.repeats = space, goals, max_epochs, repeats
        self.metric, self.direction = goals.metrics[0], goals.directions[0]
        self._sign = 1.0 if self.direction == "minimize" else -1.0
        self._trials: list[Trial] = []
        self._keys: set[int] = set()
        self._running: set[int] = set()
        self._changes = array("q")
        self._epochs_spent = 0
        self._best: tuple[float, int, int] | None = None
        self._front: list[Point] = []
        self._newest: dict[int, Point] = {}
        self._scale: tuple[int, Scale] | None = None
        self._estimates: tuple[int, dict[int, Estimate]] | None = None

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._trials)

    @property
    def num_trials(self) -> int:
        return len(self._trials)

    @property
    def running(self) -> tuple[int, ...]:
        """The ids of trials that were handed out and not told, in order."""
        return tuple(sorted(self._running))

    @property
    def best(self) -> Best | None:
        """The best value of any epoch of any trial that keeps the limits, the earlier trial on a tie; None without one.

        Of several metrics, the point of the front whose worst metric is best, each metric on its scale of the study.
        """
        if self.repeats > 1:
            return self._best_repeated()
        if self.goals.plain:
            if self._best is None:
                return None
            score, trial, epoch = self._best
            return Best(trial, dict(self._trials[trial].config), self._sign * score, epoch)
        return self._best_at(min(self._front, key=self._rank)) if self._front else None

    @property
    def front(self) -> list[Best]:
        """The Pareto front of what keeps the limits, by the first metric, best first; of one metric the best alone."""
        if self.goals.plain:
            return [self.best] if self.best is not None else []
        return [self._best_at(point) for point in sorted(self._front, key=lambda p: (p.scores, p.trial, p.epoch))]

    @property
    def estimates(self) -> dict[int, Estimate]:
        """With repeats, what is believed of each trial that has a value and has not failed, as scores."""
        if self._estimates is None or self._estimates[0] != len(self._changes):
            runs = {
                trial.id: [self._sign * value for value in trial.values if value is not None]
                for trial in self._trials
                if trial.values and trial.state is not State.FAILED
            }
            self._estimates = len(self._changes), estimates(runs)
        return self._estimates[1]

    @property
    def scale(self) -> Scale:
        """How the metrics compare with each other by now. Raises UsageError before there is a value."""
        from thrifty.tuning.scalarisation import Scale

        if not self._newest:
            raise UsageError("the study has no value yet, so no scale of its metrics")
        if self._scale is None or self._scale[0] != len(self._changes):
            self._scale = len(self._changes), Scale.of(list(self._newest.values()), self._front)
        return self._scale[1]

    @property
    def epochs_spent(self) -> int:
        """The epochs of all trials, for a study without epochs the runs that gave a value."""
        return self._epochs_spent

    def trial(self, trial: int) -> Trial:
        """The trial with this id, as it is now."""
        return self._of(trial)

    def value_of(self, trial: Trial) -> float | None:
        """A trial's value: of its best epoch, or without epochs the one it ended with; None while it has none.

        With repeats the mean of its runs.
        """
        if not self.goals.plain:
            return self.metrics_of(trial).get(self.metric)
        if self.repeats > 1:
            return None if trial.id not in self.estimates else self._sign * self.estimates[trial.id].mean
        if self.max_epochs is None:
            return trial.values[-1] if trial.state is State.DONE else None
        told = [value for value in trial.values if value is not None]
        if not told:
            return None
        return min(told) if self.direction == "minimize" else max(told)

    def error_of(self, trial: Trial) -> float | None:
        """The standard error of a trial's mean, None where there are no repeats or too few to know the noise."""
        return self.estimates[trial.id].error if self.repeats > 1 and trial.id in self.estimates else None

    def metrics_of(self, trial: Trial) -> dict[str, float]:
        """All that was told of a trial, at the epoch that is best; empty while it has none.

        The best epoch is the one that breaks the limits least and then, of several metrics, as for `best`.
        """
        if self.goals.plain:
            value = self.value_of(trial)
            return {} if value is None else {self.metric: value}
        points = self.points_of(trial)
        return self._row_at(trial, min(points, key=self._rank).epoch) if points else {}

    def points_of(self, trial: Trial) -> list[Point]:
        """What counts of a trial: each epoch that was told, or the one value that it ended with."""
        if self.max_epochs is None:
            epochs: Sequence[int] = (trial.epoch,) if trial.state is State.DONE else ()
        else:
            epochs = [epoch for epoch, value in enumerate(trial.values, 1) if value is not None]
        return [self._point(trial, epoch) for epoch in epochs]

    def rank_of(self, trial: Trial) -> tuple[float, ...]:
        """Sorts trials that have a value, best first: by their best epochs as for `best`, then by their numbers."""
        if self.repeats > 1:
            return self.estimates[trial.id].high, -trial.epoch, self.estimates[trial.id].mean, trial.id
        if self.goals.plain:
            return 0.0, self._sign * (self.value_of(trial) or 0.0), trial.id
        return min(map(self._rank, self.points_of(trial)))

    def keeps_limits(self, trial: Trial) -> bool:
        """Whether a trial keeps the limits at its best epoch."""
        told = self.metrics_of(trial) if self.goals.limits else {}
        return not self.goals.limits or (bool(told) and not any(self.goals.violations(told)))

    def score(self, value: float) -> float:
        """`value` so that smaller is better."""
        return self._sign * value

    def seen(self, config: Mapping[str, Any]) -> bool:
        """Whether a trial of this configuration was started from the beginning."""
        return self._key(config) in self._keys

    def lineage(self, trial: int) -> list[Proposal]:
        """What to run, one after the other, to train a trial anew: its ancestors up to where it began, then it."""
        found, until = [], self._of(trial).epoch
        at: Trial | None = self._of(trial)
        while at is not None:
            begun = 0 if at.parent is None else at.parent.epoch
            found.append(Proposal(at.id, dict(at.config), begun, until, at.parent))
            until, at = begun, None if at.parent is None else self._trials[at.parent.trial]
        return found[::-1]

    def changes(self, after: int = 0) -> tuple[Sequence[int], int]:
        """The ids of trials that changed since the cursor `after`, in order, and the cursor for the next call."""
        return self._changes[after:], len(self._changes)

    def _row_at(self, trial: Trial, epoch: int) -> dict[str, float]:
        """What was told of an epoch that was told."""
        curves = {self.metric: trial.values, **trial.others}
        return {name: curves[name][epoch - 1] or 0.0 for name in self.goals.names}

    def _point(self, trial: Trial, epoch: int) -> Point:
        row = self._row_at(trial, epoch)
        return Point(trial.id, epoch, self.goals.scores(row), self.goals.violations(row))

    def _rank(self, point: Point) -> tuple[float, float, int, int]:
        """Sorts points: by what they break, then by the metric, or by several of them alike."""
        count = len(point.scores)
        broken = 0.0 if point.feasible else float(self.scale.violations([point])[0])
        kept = replace(point, violations=(0.0,) * len(point.violations))
        number = point.scores[0] if count == 1 else float(self.scale.numbers([kept], np.full(count, 1 / count))[0])
        return broken, number, point.trial, point.epoch

    def _best_repeated(self) -> Best | None:
        won = winner(self.estimates)
        if won is None:
            return None
        found = self.estimates[won]
        config = dict(self._trials[won].config)
        return Best(won, config, self._sign * found.mean, found.count, runs=found.count, error=found.error)

    def _best_at(self, point: Point) -> Best:
        trial = self._trials[point.trial]
        told = self._row_at(trial, point.epoch)
        return Best(trial.id, dict(trial.config), told[self.metric], point.epoch, told)

    def _best_said(self, trial: Trial) -> dict[str, float]:
        """The best value of a trial's epochs that keep the limits, where there is one; with repeats the mean."""
        epochs = [epoch for epoch, value in enumerate(trial.values, 1) if value is not None]
        if self.goals.limits:
            epochs = [epoch for epoch in epochs if self._point(trial, epoch).feasible]
        known = [trial.values[epoch - 1] or 0.0 for epoch in epochs]
        if self.repeats > 1 and known:
            return {"best": sum(known) / len(known)}
        return {"best": min(known) if self._sign > 0 else max(known)} if known else {}

    def _remember(self, trial: Trial) -> None:
        """Takes a trial's new state into memory."""
        before = self._trials[trial.id] if trial.id < len(self._trials) else None
        if before is None:
            self._trials.append(trial)
            if trial.parent is None:
                self._keys.add(self._key(trial.config))
        else:
            self._trials[trial.id] = trial
        self._changes.append(trial.id)
        (self._running.add if trial.state is State.RUNNING else self._running.discard)(trial.id)
        begun = 0 if trial.parent is None or not trial.values else trial.parent.epoch
        known = max(begun, 0 if before is None else len(before.values))
        if self.max_epochs is None and self.repeats == 1:  # what counts is the value it was finished with
            known = len(trial.values) - (trial.state is State.DONE)
        self._epochs_spent += len(trial.values) - known
        for epoch, value in enumerate(trial.values[known:], start=known + 1):
            if value is not None and self.goals.plain and self.repeats == 1:
                found = (self._sign * value, trial.id, epoch)
                self._best = found if self._best is None else min(self._best, found)
            elif value is not None and self.repeats == 1:
                self._newest[trial.id] = self._point(trial, epoch)
                add(self._front, self._newest[trial.id])

    def _key(self, config: Mapping[str, Any]) -> int:
        text = self.space.key(config) if self.space is not None else json_text(config)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def _of(self, trial: int) -> Trial:
        try:
            at = operator.index(trial)
        except TypeError as error:
            raise UsageError(f"a trial is named by its number, not by {trial!r}") from error
        if isinstance(trial, bool) or not 0 <= at < len(self._trials):
            raise UsageError(f"there is no trial {trial!r}; the study has {len(self._trials)}")
        return self._trials[at]
