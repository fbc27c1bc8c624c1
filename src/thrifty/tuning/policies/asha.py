"""Asynchronous successive halving (https://arxiv.org/abs/1810.05934) whose promoted trials go on where they paused.

Every trial starts with few epochs. Whenever one may be bought, the highest rung that has a trial among its best third,
not promoted yet, promotes it; where there is none, a new configuration starts. Nobody waits for a rung to fill.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.tuning.policies.random import Fresh, Source
from thrifty.tuning.policies.rungs import Bracket, Rung, epochs_of, leftover, promotion
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import State

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

ENDLESS = 1 << 62  # trials of the one bracket


class Asha:
    """Successive halving without waiting.

    eta: one in how many is promoted, and how many times as long it then runs. min_epochs: of the first rung.
    source: where new configurations come from, random ones by default.
    """

    def __init__(self, eta: int = 3, min_epochs: int = 1, source: Source | None = None) -> None:
        if not isinstance(eta, int) or eta < 2:
            raise UsageError(f"asha's eta is {eta!r}; it must be a whole number of at least 2")
        if not isinstance(min_epochs, int) or min_epochs < 1:
            raise UsageError(f"asha's min_epochs is {min_epochs!r}; it must be a whole number of at least 1")
        self.eta, self.min_epochs = eta, min_epochs
        self._source = source or Fresh()
        self._bracket: Bracket | None = None
        self._cursor = 0

    def decide(self, study: Study, clock: Clock) -> Decision:
        if self._bracket is None:
            epochs = epochs_of(study.max_epochs or 1, self.min_epochs, self.eta)
            self._bracket = Bracket(0, ENDLESS, [Rung(epoch) for epoch in epochs])
        bracket = self._bracket
        changed, self._cursor = study.changes(self._cursor)
        for ident in dict.fromkeys(changed):
            bracket.place(study, study.trial(ident))
        if bracket.short:
            return bracket.cut_short()
        for at in reversed(range(len(bracket.rungs) - 1)):
            found = self._promotable(study, bracket.rungs[at])
            if found is not None:
                return promotion(bracket, at, found)
        config = self._source.draw(study)
        if config is None:
            return leftover(study)
        return Purchase(config=config, until=bracket.rungs[0].epoch, why=self._source.name)

    def _promotable(self, study: Study, rung: Rung) -> int | None:
        """The best of the rung's best third that was not promoted; those that ended are passed over for good."""
        for score, ident in rung.arrived[: len(rung.arrived) // self.eta]:
            if score == math.inf:
                return None
            if ident not in rung.gone_on:
                if study.trial(ident).state is State.PAUSED:
                    return ident
                rung.gone_on.add(ident)
        return None
