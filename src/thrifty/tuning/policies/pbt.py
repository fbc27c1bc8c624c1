"""Population-based training (https://arxiv.org/abs/1711.09846): configurations change while they are trained.

A population of trials is trained in rounds of some epochs. After a round a trial among the worst quarter of those that
have come to the same epoch is replaced by a child: a new trial that begins from the newest checkpoint of one of the
best quarter, with its configuration a little changed. The trial that is furthest behind is next, and none waits for a
round to fill: one that is ahead of the others is judged by an earlier epoch. When a population has come to the last
epoch, the next one begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.domain import Choice, Domain, Float
from thrifty.core.errors import UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.metric import whole
from thrifty.tuning.policies.random import Fresh, Source, space_of
from thrifty.tuning.policies.rungs import leftover
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import Parent, State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

ROUNDS = 20  # of a full training, by default
ONE_IN = 4  # is among the worst, or the best
RESAMPLED = 0.1  # of the values of a child
FACTORS = (0.8, 1.2)  # of a number on a logarithmic scale
STEP = 0.1  # of the range, of another number: what the factors are in the middle of a range from 0
TRIES = 1000  # draws of a child, to differ from its parent and meet the constraints
REPLACES = "replaces"  # in a trial's `extra`: whose place it takes


@dataclass
class _Population:
    """All its trials, and those that are not replaced, by id in order."""

    trials: list[Trial] = field(default_factory=list)
    members: dict[int, Trial] = field(default_factory=dict)
    size: int = 0  # how many began it, rather than replace others


class Pbt:
    """Trains populations whose members copy each other.

    size: of a population. interval: epochs of a round, by default a twentieth of a full training. fixed: parameters
    that children have as their parents do, since they cannot change during training. source: where the configurations
    come from that a population begins with, random ones by default.
    """

    def __init__(
        self, size: int = 10, interval: int | None = None, fixed: Sequence[str] = (), source: Source | None = None
    ) -> None:
        self.size = whole("pbt's size", size, ONE_IN)
        self.interval = None if interval is None else whole("pbt's interval", interval, 1)
        self.fixed = tuple(fixed)
        self._source = source or Fresh()

    @property
    def _least(self) -> int:
        """Trials that must have come to an epoch before one is judged by it."""
        return max(ONE_IN, self.size // 2)

    def branches(self, study: Study) -> range:
        """The epochs between rounds."""
        last = study.max_epochs or 1
        interval = self.interval or math.ceil(last / ROUNDS)
        return range(interval, last, interval)

    def decide(self, study: Study, clock: Clock) -> Decision:
        self._check(study)
        for population in self._populations(study):
            decision = self._within(study, population)
            if decision is not None:
                return decision
        return self._newcomer(study) or leftover(study)

    def drop(self, study: Study, clock: Clock) -> list[tuple[int, str]]:
        """Gives up trials that were replaced."""
        children = {trial.extra[REPLACES]: trial.id for trial in study.trials if REPLACES in trial.extra}
        return [
            (ident, f"replaced by trial {child}")
            for ident, child in children.items()
            if study.trial(ident).state is State.PAUSED
        ]

    def _check(self, study: Study) -> None:
        """Raises UsageError for a study that cannot be trained so."""
        space = space_of(study)
        if study.max_epochs is None:
            raise UsageError("population-based training needs epochs; give the study max_epochs")
        if self.interval is not None and self.interval >= study.max_epochs:
            raise UsageError(
                f"pbt's interval is {self.interval} epochs and a full training has {study.max_epochs}, so no round "
                "would end before it; give a smaller interval"
            )
        unknown = [name for name in self.fixed if name not in space]
        if unknown:
            raise UsageError(f"pbt's fixed names {unknown[0]!r}, which is not in the space; it has {', '.join(space)}")
        if all(name in self.fixed or domain.size == 1 for name, domain in space.items()):
            raise UsageError(
                "population-based training changes configurations, and in this space nothing can change; give a "
                "parameter more than one value, or choose another policy"
            )

    def _populations(self, study: Study) -> list[_Population]:
        """Who is in which follows from the order of the trials and from whose place they take."""
        found: list[_Population] = []
        of: dict[int, _Population] = {}
        for trial in study.trials:
            replaced = trial.extra.get(REPLACES)
            if replaced is not None:
                population = of[replaced]
                del population.members[replaced]
            else:
                if not found or found[-1].size == self.size:
                    found.append(_Population())
                population = found[-1]
                population.size += 1
            of[trial.id] = population
            population.members[trial.id] = trial
            population.trials.append(trial)
        return found

    def _within(self, study: Study, population: _Population) -> Decision | None:
        """The next purchase for one population, None while there is nothing to do."""
        branches = self.branches(study)
        members = population.members.values()
        for trial in members:
            if trial.state is State.WAITING or (trial.state is State.PAUSED and trial.epoch not in branches):
                return Purchase(trial.id, until=self._next(study, trial.epoch), why="goes on to the end of its round")
        for trial in members:
            if trial.state in (State.FAILED, State.SKIPPED):
                decision = self._in_place_of(study, population, trial)
                if decision is not None:
                    return decision
        if population.size < self.size:
            decision = self._newcomer(study)
            if decision is None and population.size < self._least:
                decision = self._begun_again(study)
            if decision is not None:
                return decision
        paused = [trial for trial in members if trial.state is State.PAUSED]
        if not paused:
            return None
        return self._judged(study, population, min(paused, key=lambda trial: (trial.epoch, trial.id)))

    def _next(self, study: Study, epoch: int) -> int:
        """Where the round ends that a trial at `epoch` is in or begins."""
        return next((at for at in self.branches(study) if at > epoch), study.max_epochs or 1)

    def _newcomer(self, study: Study, **extra: Any) -> Purchase | None:
        config = self._source.draw(study)
        if config is None:
            return None
        return Purchase(config=config, until=self._next(study, 0), why=self._source.name, extra=extra)

    def _begun_again(self, study: Study) -> Purchase:
        """A configuration once more, in a space that has too few for a population."""
        begun = [trial.config for trial in study.trials if trial.parent is None]
        rng = generator(study.seed, "pbt", study.num_trials)
        config = dict(begun[int(rng.integers(len(begun)))])
        return Purchase(config=config, until=self._next(study, 0), why="begun again: the space has no other")

    def _judged(self, study: Study, population: _Population, trial: Trial) -> Purchase:
        """A child in place of a trial between two rounds that is among the worst, or the trial's next round.

        It is judged by its last epoch that at least half of the population has come to: by the end of the round where
        it is not ahead of the others.
        """
        why = "too few have come as far"
        for epoch in reversed([at for at in self.branches(study) if at <= trial.epoch]):
            scores = _scores_at(study, population.trials, epoch)
            if trial.id not in scores or len(scores) < self._least:
                continue
            place = sorted((score, ident) for ident, score in scores.items()).index((scores[trial.id], trial.id))
            worst = place >= len(scores) - len(scores) // ONE_IN
            child = self._child(study, population, trial, epoch) if worst else None
            if child is not None:
                return child
            why = f"number {place + 1} of {len(scores)} at epoch {epoch}"
            break
        return Purchase(trial.id, until=self._next(study, trial.epoch), why=why)

    def _in_place_of(self, study: Study, population: _Population, failed: Trial) -> Purchase | None:
        """A child or, where none is possible or it failed before its first epoch, a new configuration."""
        branches = self.branches(study)
        if failed.parent is None or failed.values:
            for epoch in reversed([at for at in branches if at <= failed.epoch] or branches[:1]):
                child = self._child(study, population, failed, epoch)
                if child is not None:
                    return child
        return self._newcomer(study, **{REPLACES: failed.id})

    def _child(self, study: Study, population: _Population, replaced: Trial, epoch: int) -> Purchase | None:
        """A child of one of those that are best at `epoch` and can go on; None where none is better."""
        scores = _scores_at(study, population.trials, epoch)
        bound = math.inf if replaced.state in (State.FAILED, State.SKIPPED) else scores[replaced.id]
        able = [
            (scores[member.id], member.id)
            for member in population.members.values()
            if member.id in scores and member.state in (State.PAUSED, State.RUNNING)
        ]
        best = [ident for score, ident in sorted(able)[: max(1, len(scores) // ONE_IN)] if score < bound]
        if not best:
            return None
        rng = generator(study.seed, "pbt", study.num_trials)
        able_one = population.members[best[int(rng.integers(len(best)))]]
        parent = Parent(able_one.id, max(at for at in self.branches(study) if at <= able_one.epoch))
        there = [able_one.config, *(trial.config for trial in population.trials if trial.parent == parent)]
        config = perturbed(space_of(study), there, rng, self.fixed)
        if config is None:
            return None
        why = f"from trial {parent.trial} at epoch {parent.epoch}, in place of trial {replaced.id}"
        until, extra = self._next(study, parent.epoch), {REPLACES: replaced.id}
        return Purchase(config=config, until=until, why=why, extra=extra, parent=parent)


def _scores_at(study: Study, trials: Sequence[Trial], epoch: int) -> dict[int, float]:
    """The scores after `epoch` of the trials that have one, by id; smaller is better."""
    told = {trial.id: trial.values[epoch - 1] for trial in trials if len(trial.values) >= epoch}
    return {ident: study.score(value) for ident, value in told.items() if value is not None}


def perturbed(
    space: Space, there: Sequence[Mapping[str, Any]], rng: np.random.Generator, fixed: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The first of the configurations `there`, with numbers and ordered choices moved by a step, some values anew.

    What it lacks and then needs is drawn. None when none was found that is not there and meets the constraints.
    """
    config = there[0]

    def value_of(name: str, domain: Domain) -> Any:
        if name in config and name in fixed:
            return config[name]
        if name not in config or rng.random() < RESAMPLED:
            return domain.sample(rng)
        return _moved(domain, config[name], bool(rng.random() < 0.5))

    for _ in range(TRIES):
        try:
            found = space.build(value_of)
        except UsageError:  # it breaks a constraint
            continue
        if found not in there:
            return found
    return None


def _moved(domain: Domain, value: Any, up: bool) -> Any:
    """The value a step up or down, or at an end the other way; plain choices stay."""
    if domain.size == 1 or (isinstance(domain, Choice) and not domain.ordered):
        return value
    if isinstance(domain, Choice):
        at = domain.index(value)
        return domain.options[at + (1 if (up and at + 1 < len(domain.options)) or at == 0 else -1)]
    if domain.log:
        moved = value * FACTORS[up]
    else:
        moved = value + (1 if up else -1) * STEP * (domain.high - domain.low)
    if not isinstance(domain, Float):
        moved = max(value + 1, round(moved)) if up else min(value - 1, round(moved))
    if domain.low <= moved <= domain.high:
        return moved
    end = domain.high if up else domain.low
    return end if value != end else _moved(domain, value, not up)
