"""Random search, and the drawing of configurations that were not tried before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.ended import MOST_LISTED, tried_text
from thrifty.tuning.policy import Decision, Purchase, Stop, Wait
from thrifty.tuning.trial import State

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

TRIES = 64
MOST_DRAWS = 10_000  # for one configuration that meets the constraints


class Source(Protocol):
    """Gives new configurations."""

    name: str

    def draw(self, study: Study) -> dict[str, Any] | None:
        """A configuration that no trial has had, the same for the same trials; None when there is none left."""


class Straight:
    """Runs each configuration of a source to its last epoch."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._unfinished = Unfinished()

    def decide(self, study: Study, clock: Clock) -> Decision:
        trial = self._unfinished.first(study)
        if trial is not None:
            return Purchase(trial=trial, until=study.max_epochs, why="goes on where it was interrupted")
        config = self._source.draw(study)
        if config is not None:
            return Purchase(config=config, until=study.max_epochs, why=self._source.name)
        return used_up(study, "grid" if self._source.name == "grid" else "space")


class Random(Straight):
    """Draws every configuration anew, none twice."""

    def __init__(self) -> None:
        super().__init__(Fresh())


def used_up(study: Study, where: str = "space") -> Decision:
    """What to say when no new configuration is left."""
    why = tried_text(study.num_trials, where)
    return Wait(why) if study.running else Stop(why)


class Unfinished:
    """Finds trials that wait or are paused, in the order of their ids."""

    def __init__(self) -> None:
        self._cursor = 0
        self._ids: dict[int, None] = {}

    def first(self, study: Study) -> int | None:
        changed, self._cursor = study.changes(self._cursor)
        for ident in changed:
            if study.trial(ident).state in (State.WAITING, State.PAUSED):
                self._ids[ident] = None
            else:
                self._ids.pop(ident, None)
        return min(self._ids, default=None)


class Fresh:
    """Draws random configurations that no trial has had; of a small finite space the rest in a random order."""

    name = "random"

    def __init__(self) -> None:
        self._rest: Iterator[dict[str, Any]] | None = None

    def draw(self, study: Study, rng: np.random.Generator | None = None) -> dict[str, Any] | None:
        """A new configuration, or None when all have been tried."""
        if self._rest is None:
            space = space_of(study)
            rng = rng if rng is not None else generator(study.seed, "configuration", study.num_trials)
            try:
                for _ in range(TRIES):
                    config = space.sample(rng, MOST_DRAWS)
                    if not study.seen(config):
                        return config
            except UsageError:
                if space.size is None:
                    raise  # what is left of a finite one is listed below
            if space.size is None:
                return config
            self._rest = self._remaining(study)
        return next((config for config in self._rest if not study.seen(config)), None)

    def _remaining(self, study: Study) -> Iterator[dict[str, Any]]:
        space = space_of(study)
        if (space.size or 0) > MOST_LISTED:
            return space.configurations()
        listed = [c for c in space.configurations() if not study.seen(c)]
        return iter([listed[i] for i in generator(study.seed, "rest").permutation(len(listed))])


def space_of(study: Study) -> Space:
    """The study's space. Raises UsageError when it has none."""
    if study.space is None:
        raise UsageError("this study has no space to draw configurations from")
    return study.space
