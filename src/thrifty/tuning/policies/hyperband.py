"""Hyperband whose promoted trials go on where they paused (https://arxiv.org/abs/1603.06560).

A bracket starts many trials with few epochs and goes on with the best third of them at each rung. A rung decides once
all its trials have arrived; while some are still out, those already sure to be in the best third of the arrived go on
(as in asynchronous successive halving, https://arxiv.org/abs/1810.05934), and then the next bracket begins.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.tuning.policies.random import Fresh, Source, used_up
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

MOST_OPEN = 32  # brackets that wait for trials which are out; older ones are given up


@dataclass
class _Rung:
    """Trials that run to `epoch`. `arrived` has (score, id) of those there, best first; a failed one scores inf."""

    epoch: int
    entered: set[int] = field(default_factory=set)
    arrived: list[tuple[float, int]] = field(default_factory=list)
    gone_on: set[int] = field(default_factory=set)
    there: set[int] = field(default_factory=set)

    def arrive(self, score: float, trial: int) -> None:
        if trial not in self.there:
            self.there.add(trial)
            insort(self.arrived, (score, trial))


@dataclass
class _Bracket:
    """`size` trials from the id `first` on, and their rungs."""

    first: int
    size: int
    rungs: list[_Rung]
    rung_of: dict[int, int] = field(default_factory=dict)
    short: dict[int, None] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.rung_of) >= self.size


class Hyperband:
    """Successive halving in brackets of many short and few long trials.

    eta: one in how many goes on. source: where new configurations come from, random ones by default.
    """

    def __init__(self, eta: int = 3, source: Source | None = None) -> None:
        if not isinstance(eta, int) or eta < 2:
            raise UsageError(f"Hyperband's eta is {eta!r}; it must be a whole number of at least 2")
        self.eta = eta
        self._source = source or Fresh()
        self._brackets: list[_Bracket] = []
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
                return self._leftover(study)
            self._add_bracket(study)

    def _in_bracket(self, study: Study, bracket: _Bracket) -> Decision | None:
        """The next purchase in one bracket: what was cut short, a promotion, a new configuration, a sure promotion."""
        for ident in bracket.short:
            return Purchase(ident, until=bracket.rungs[bracket.rung_of[ident]].epoch, why="goes on to its rung")
        for at in reversed(range(len(bracket.rungs) - 1)):
            if self._complete(bracket, at):
                best = max(1, len(bracket.rungs[at].arrived) // self.eta)
                found = _promotable(study, bracket.rungs[at], best, len(bracket.rungs[at].arrived))
                if found is not None:
                    return _promotion(bracket, at, found)
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
                found = _promotable(study, bracket.rungs[at], best, best)
                if found is not None:
                    return _promotion(bracket, at, found)
        return None

    def _complete(self, bracket: _Bracket, at: int) -> bool:
        """Whether every trial that will ever enter a rung has arrived there."""
        below = bracket.full if at == 0 else self._complete(bracket, at - 1) and self._sent_all(bracket, at - 1)
        return below and len(bracket.rungs[at].arrived) == len(bracket.rungs[at].entered)

    def _sent_all(self, bracket: _Bracket, at: int) -> bool:
        rung = bracket.rungs[at]
        fine = sum(score < math.inf for score, _ in rung.arrived)
        return len(rung.gone_on) >= min(fine, max(1, len(rung.arrived) // self.eta))

    def _over(self, study: Study, bracket: _Bracket) -> bool:
        return bool(bracket.rung_of) and self._complete(bracket, len(bracket.rungs) - 1)

    def _leftover(self, study: Study) -> Decision:
        """With no new configuration left, the paused trials go on to the end, best first."""
        paused = [t for t in study.trials if t.state in (State.PAUSED, State.WAITING)]
        if not paused:
            return used_up(study)
        best = min(paused, key=lambda t: (_score(study, t, study.max_epochs or 1), t.id))
        return Purchase(best.id, until=study.max_epochs, why="every configuration has been started")

    def _add_bracket(self, study: Study) -> None:
        last = study.max_epochs or 1
        steepest = 0
        while self.eta ** (steepest + 1) <= last:
            steepest += 1
        s = steepest - self._num_brackets % (steepest + 1)
        size = math.ceil((steepest + 1) / (s + 1) * self.eta**s)
        epochs = sorted({max(1, round(last / self.eta ** (s - i))) for i in range(s + 1)})
        self._brackets.append(_Bracket(self._ends, size, [_Rung(epoch) for epoch in epochs]))
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
                self._place(study, bracket, study.trial(ident))

    def _place(self, study: Study, bracket: _Bracket, trial: Trial) -> None:
        bracket.short.pop(trial.id, None)
        reach = trial.until if trial.until is not None else trial.epoch
        at = bracket.rung_of.get(trial.id, 0)
        bracket.rungs[at].entered.add(trial.id)
        bracket.rung_of[trial.id] = at
        while True:
            rung = bracket.rungs[at]
            if trial.epoch >= rung.epoch or not trial.open:
                rung.arrive(_score(study, trial, rung.epoch), trial.id)
            if reach <= rung.epoch or at == len(bracket.rungs) - 1:
                break
            rung.gone_on.add(trial.id)
            at += 1
            bracket.rungs[at].entered.add(trial.id)
            bracket.rung_of[trial.id] = at
        if (
            trial.state in (State.PAUSED, State.WAITING)
            and trial.epoch < bracket.rungs[bracket.rung_of[trial.id]].epoch
        ):
            bracket.short[trial.id] = None


def _promotable(study: Study, rung: _Rung, best: int, among: int) -> int | None:
    """The best of the first `among` arrived that can go on, while fewer than `best` have; those that ended count."""
    for score, ident in rung.arrived[:among]:
        if len(rung.gone_on) >= best or score == math.inf:
            return None
        if ident not in rung.gone_on:
            if study.trial(ident).state is State.PAUSED:
                return ident
            rung.gone_on.add(ident)
    return None


def _promotion(bracket: _Bracket, at: int, ident: int) -> Purchase:
    here, above = bracket.rungs[at], bracket.rungs[at + 1]
    place = next(i for i, (_, other) in enumerate(here.arrived, start=1) if other == ident)
    return Purchase(ident, until=above.epoch, why=f"number {place} of {len(here.arrived)} at epoch {here.epoch}")


def _score(study: Study, trial: Trial, epoch: int) -> float:
    """The best value up to `epoch`, smaller is better; inf for a trial that failed or has none."""
    if trial.state in (State.FAILED, State.SKIPPED):
        return math.inf
    known = [study.score(v) for v in trial.values[:epoch] if v is not None]
    return min(known, default=math.inf)
