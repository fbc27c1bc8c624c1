"""What samplers of other libraries are told of a study: one score a trial, and the epoch that all scores are of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

ENOUGH = 20  # trials that have come to an epoch, for scores to be of that epoch
LARGEST = 1e100  # the largest size of a score, whose square is still finite


class Told:
    """Follows a study. In one with epochs, scores are best values up to one epoch, so that they compare.

    It is the last epoch that `ENOUGH` trials, or half of those there are, have come to (as BOHB trains its model,
    https://arxiv.org/abs/1807.01774). Failed and skipped trials score inf. Trials with a parent are left out: what came
    of them is of its configuration too.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._epochs: dict[int, int] = {}
        self._cursor = 0

    def changes(self, study: Study) -> tuple[list[int], bool]:
        """The trials that changed since the last call, and whether the epoch did: then all, for their scores did."""
        ids, self._cursor = study.changes(self._cursor)
        changed = [ident for ident in dict.fromkeys(ids) if study.trial(ident).parent is None]
        if study.max_epochs is None:
            return changed, False
        for ident in changed:
            self._epochs[ident] = study.trial(ident).epoch
        reached = sorted((epoch for epoch in self._epochs.values() if epoch), reverse=True)
        epoch = reached[min(ENOUGH, math.ceil(len(reached) / 2)) - 1] if reached else 0
        moved, self.epoch = epoch != self.epoch, epoch
        return list(self._epochs) if moved else changed, moved

    def score(self, study: Study, trial: Trial) -> float | None:
        """Smaller is better; None while nothing is known at the epoch."""
        if trial.state in (State.FAILED, State.SKIPPED):
            return math.inf
        if study.max_epochs is None:
            value = study.value_of(trial)
            return None if value is None else bounded(study.score(value))
        if not trial.values or (trial.epoch < self.epoch and trial.state is not State.DONE):
            return None
        known = [study.score(v) for v in trial.values[: self.epoch] if v is not None]
        return bounded(min(known, default=math.inf))


def bounded(score: float) -> float:
    """A finite score small enough to calculate with; inf stays inf."""
    return score if math.isinf(score) else min(max(score, -LARGEST), LARGEST)
