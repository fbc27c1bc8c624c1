"""Rungs: epochs at which trials pause, are ranked, and the best of them are promoted to the next one."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thrifty.tuning.policies.random import used_up
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study


def epochs_of(last: int, first: int, eta: int) -> list[int]:
    """The rungs' epochs, each about `eta` times as far as the one before, from `first` or a little more to `last`."""
    epochs = [last]
    while epochs[-1] >= eta * first:
        epochs.append(max(first, round(last / eta ** len(epochs))))
    return sorted(set(epochs))


@dataclass
class Rung:
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
class Bracket:
    """`size` trials from the id `first` on, and their rungs."""

    first: int
    size: int
    rungs: list[Rung]
    rung_of: dict[int, int] = field(default_factory=dict)
    short: dict[int, None] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.rung_of) >= self.size

    def cut_short(self) -> Purchase:
        """Sends the first trial that was cut short on to its rung."""
        ident = min(self.short)
        return Purchase(ident, until=self.rungs[self.rung_of[ident]].epoch, why="goes on to its rung")

    def place(self, study: Study, trial: Trial) -> None:
        """Takes in where a trial is: which rungs it has reached follows from its epochs."""
        self.short.pop(trial.id, None)
        reach = trial.until if trial.until is not None else trial.epoch
        at = self.rung_of.get(trial.id, 0)
        self.rungs[at].entered.add(trial.id)
        self.rung_of[trial.id] = at
        while True:
            rung = self.rungs[at]
            if trial.epoch >= rung.epoch or not trial.open:
                rung.arrive(score(study, trial, rung.epoch), trial.id)
            if reach <= rung.epoch or at == len(self.rungs) - 1:
                break
            rung.gone_on.add(trial.id)
            at += 1
            self.rungs[at].entered.add(trial.id)
            self.rung_of[trial.id] = at
        if trial.state in (State.PAUSED, State.WAITING) and trial.epoch < self.rungs[self.rung_of[trial.id]].epoch:
            self.short[trial.id] = None


def promotable(study: Study, rung: Rung, best: int, among: int) -> int | None:
    """The best of the first `among` arrived that can go on, while fewer than `best` have; those that ended count."""
    for score, ident in rung.arrived[:among]:
        if len(rung.gone_on) >= best or score == math.inf:
            return None
        if ident not in rung.gone_on:
            if study.trial(ident).state is State.PAUSED:
                return ident
            rung.gone_on.add(ident)
    return None


def promotion(bracket: Bracket, at: int, ident: int) -> Purchase:
    here, above = bracket.rungs[at], bracket.rungs[at + 1]
    place = next(i for i, (_, other) in enumerate(here.arrived, start=1) if other == ident)
    return Purchase(ident, until=above.epoch, why=f"number {place} of {len(here.arrived)} at epoch {here.epoch}")


def score(study: Study, trial: Trial, epoch: int) -> float:
    """The best value up to `epoch`, smaller is better; inf for a trial that failed or has none."""
    if trial.state in (State.FAILED, State.SKIPPED):
        return math.inf
    known = [study.score(v) for v in trial.values[:epoch] if v is not None]
    return min(known, default=math.inf)


def leftover(study: Study) -> Decision:
    """With no new configuration left, the paused trials go on to the end, best first."""
    paused = [t for t in study.trials if t.state in (State.PAUSED, State.WAITING)]
    if not paused:
        return used_up(study)
    best = min(paused, key=lambda t: (score(study, t, study.max_epochs or 1), t.id))
    return Purchase(best.id, until=study.max_epochs, why="every configuration has been started")
