"""Hyperband whose promoted trials go on where they paused (https://arxiv.org/abs/1603.06560).

A bracket starts many trials with few epochs and goes on with the best third of them at each rung. A rung decides once
all its trials have arrived; while some are still out, those already sure to be in the best third of the arrived go on
(as in asynchronous successive halving, https://arxiv.org/abs/1810.05934), and then the next bracket begins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.tuning.policies.random import Fresh, Source
from thrifty.tuning.policies.rungs import Bracket, Rung, leftover, promotable, promotion
from thrifty.tuning.policy import Decision, Purchase

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

MOST_OPEN = 32  # brackets that wait for trials which are out; older ones are given up


class Hyperband:
    """Successive halving in brackets of many short and few long trials.

    eta: one in how many goes on. source: where new configurations come from, random ones by default.
    """

    def __init__(self, eta: int = 3, source: Source | None = None) -> None:
        if not isinstance(eta, int) or eta < 2:
            raise UsageError(f"Hyperband's eta is {eta!r}; it must be a whole number of at least 2")
        self.eta = eta
        self._source = source or Fresh()
        self._brackets: list[Bracket] = []
        self._num_brackets = 0
        self._ends = 0
        self._cursor = 0
        self._used_up = False

    def decide(self, study: Study, clock: Clock) -> Decision:
        self._observe(study)
        while True:
            for bracket in self._brackets:
                decision = self._in_bracket(study, bracket)
                if decision is not None:
                    return decision
            self._brackets = [b for b in self._brackets if not self._over(study, b)][-MOST_OPEN:]
            if self._used_up:
                return leftover(study)
            self._add_bracket(study)

    def _in_bracket(self, study: Study, bracket: Bracket) -> Decision | None:
        """The next purchase in one bracket: what was cut short, a promotion, a new configuration, a sure promotion."""
        if bracket.short:
            return bracket.cut_short()
        for at in reversed(range(len(bracket.rungs) - 1)):
            if self._complete(bracket, at):
                best = max(1, len(bracket.rungs[at].arrived) // self.eta)
                found = promotable(study, bracket.rungs[at], best, len(bracket.rungs[at].arrived))
                if found is not None:
                    return promotion(bracket, at, found)
        if not bracket.full and not self._used_up:
            config = self._source.draw(study)
            if config is not None:
                return Purchase(config=config, until=bracket.rungs[0].epoch, why=self._source.name)
            self._used_up = True
            bracket.size = len(bracket.rung_of)
            return self._in_bracket(study, bracket) if bracket.size else None
        for at in reversed(range(len(bracket.rungs) - 1)):
            if bracket.full and not self._complete(bracket, at):
                best = len(bracket.rungs[at].arrived) // self.eta
                found = promotable(study, bracket.rungs[at], best, best)
                if found is not None:
                    return promotion(bracket, at, found)
        return None

    def _complete(self, bracket: Bracket, at: int) -> bool:
        """Whether every trial that will ever enter a rung has arrived there."""
        below = bracket.full if at == 0 else self._complete(bracket, at - 1) and self._sent_all(bracket, at - 1)
        return below and len(bracket.rungs[at].arrived) == len(bracket.rungs[at].entered)

    def _sent_all(self, bracket: Bracket, at: int) -> bool:
        rung = bracket.rungs[at]
        fine = sum(score < math.inf for score, _ in rung.arrived)
        return len(rung.gone_on) >= min(fine, max(1, len(rung.arrived) // self.eta))

    def _over(self, study: Study, bracket: Bracket) -> bool:
        return bool(bracket.rung_of) and self._complete(bracket, len(bracket.rungs) - 1)

    def _add_bracket(self, study: Study) -> None:
        last = study.max_epochs or 1
        steepest = 0
        while self.eta ** (steepest + 1) <= last:
            steepest += 1
        s = steepest - self._num_brackets % (steepest + 1)
        size = math.ceil((steepest + 1) / (s + 1) * self.eta**s)
        epochs = sorted({max(1, round(last / self.eta ** (s - i))) for i in range(s + 1)})
        self._brackets.append(Bracket(self._ends, size, [Rung(epoch) for epoch in epochs]))
        self._num_brackets += 1
        self._ends += size

    def _observe(self, study: Study) -> None:
        """Takes in what changed: which bracket a trial is of follows from its id, its rung from its epochs."""
        changed, self._cursor = study.changes(self._cursor)
        for ident in dict.fromkeys(changed):
            while ident >= self._ends:
                self._add_bracket(study)
            bracket = next((b for b in self._brackets if b.first <= ident < b.first + b.size), None)
            if bracket is not None:
                bracket.place(study, study.trial(ident))
