"""The median stopping rule (Golovin et al. 2017, https://research.google/pubs/pub46180/).

A trial pauses at a few epochs on its way. There it goes on if its best value so far is not worse than the median, over
the trials that have come as far, of the mean value up to that epoch. One that is worse stays paused: it goes on should
later trials make it look better, or when no configuration is left to start.
"""

from __future__ import annotations

import math
import statistics
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thrifty.core.budget import Clock
from thrifty.tuning.policies.freeze_thaw import levels_of
from thrifty.tuning.policies.random import Fresh, Source
from thrifty.tuning.policies.rungs import leftover, score
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

GROWTH = 1.5  # how much further each stop is than the last
LEAST_OTHERS = 5  # trials that have come as far, before any is stopped


@dataclass
class _Level:
    """The mean scores of all trials that have come to `epoch`, and (best score, id) of those paused there; sorted."""

    epoch: int
    means: list[float] = field(default_factory=list)
    counted: set[int] = field(default_factory=set)
    paused: list[tuple[float, int]] = field(default_factory=list)

    @property
    def median(self) -> float:
        middle = len(self.means) // 2
        return (self.means[middle] + self.means[~middle]) / 2


class Median:
    """Runs configurations of `source` (random ones by default) by the median stopping rule."""

    def __init__(self, source: Source | None = None) -> None:
        self._source = source or Fresh()
        self._levels: list[_Level] = []
        self._short: dict[int, int] = {}
        self._paused_at: dict[int, tuple[_Level, float]] = {}
        self._cursor = 0

    def decide(self, study: Study, clock: Clock) -> Decision:
        if not self._levels:
            self._levels = [_Level(epoch) for epoch in levels_of(study.max_epochs or 1, GROWTH)]
        changed, self._cursor = study.changes(self._cursor)
        for ident in dict.fromkeys(changed):
            self._place(study, study.trial(ident))
        if self._short:
            ident = min(self._short)
            return Purchase(ident, until=self._short[ident], why="goes on to where it was sent")
        for at in reversed(range(len(self._levels) - 1)):
            level = self._levels[at]
            if level.paused and (len(level.means) <= LEAST_OTHERS or level.paused[0][0] <= level.median):
                why = f"not worse than the median at epoch {level.epoch}"
                return Purchase(level.paused[0][1], until=self._levels[at + 1].epoch, why=why)
        config = self._source.draw(study)
        if config is None:
            return leftover(study)
        return Purchase(config=config, until=self._levels[0].epoch, why=self._source.name)

    def _place(self, study: Study, trial: Trial) -> None:
        """Takes in how far a trial has come, and whether it is paused there."""
        self._short.pop(trial.id, None)
        if trial.id in self._paused_at:
            level, best = self._paused_at.pop(trial.id)
            level.paused.remove((best, trial.id))
        for level in self._levels:
            if trial.epoch >= level.epoch and trial.id not in level.counted:
                level.counted.add(trial.id)
                known = [study.score(v) for v in trial.values[: level.epoch] if v is not None]
                insort(level.means, statistics.fmean(known) if known else math.inf)
        if trial.state not in (State.PAUSED, State.WAITING):
            return
        level = next(level for level in self._levels if level.epoch >= max(trial.epoch, 1))
        if level.epoch > trial.epoch:
            self._short[trial.id] = level.epoch
        else:
            best = score(study, trial, level.epoch)
            insort(level.paused, (best, trial.id))
            self._paused_at[trial.id] = level, best
