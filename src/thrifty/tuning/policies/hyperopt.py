"""Hyperopt's algorithms as sources of configurations (https://proceedings.mlr.press/v28/bergstra13.html).

Numbers and ordered choices are told by their place in 0..1 (uniform, or normal round a belief), plain choices by their
index with their weights. A trial has no values for the parameters that do not exist in it, and each parameter is
learned from the trials that have it. What breaks a constraint or was tried is asked for again, a few times, and then
drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from thrifty.core.domain import SHARE_OF_BELIEF
from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.seeds import derive
from thrifty.core.space import Choice, Domain, Float, Int, Space
from thrifty.tuning.policies.random import Fresh, space_of
from thrifty.tuning.policies.told import Told

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

TRIES = 12
ALGORITHMS = ("tpe", "anneal")


class Hyperopt:
    """An algorithm of Hyperopt's: "tpe" or "anneal". Raises MissingExtraError without the package.

    Running trials, and with epochs those that paused before the epoch that scores are of, count as the worst, as failed
    ones do.
    """

    def __init__(self, algorithm: str = "tpe") -> None:
        if algorithm not in ALGORITHMS:
            raise UsageError(f"Hyperopt's algorithm is {algorithm!r}; it must be one of {', '.join(ALGORITHMS)}")
        self.name = f"hyperopt-{algorithm}"
        if find_spec("hyperopt") is None:
            raise MissingExtraError(f"the policy {self.name!r}", "hyperopt", "hyperopt")
        self._algorithm = algorithm
        self._fresh = Fresh()
        self._told = Told()
        self._place: dict[int, int] = {}  # of a trial in the library
        self._domain: Any = None
        self._docs: Any = None

    def draw(self, study: Study) -> dict[str, Any] | None:
        """A configuration that no trial has had; None when there is none left."""
        space = space_of(study)
        if all(domain.size == 1 for domain in space.values()):
            return self._fresh.draw(study)
        if self._docs is None:
            self._domain, self._docs = _domain(space), _no_trials()
        self._observe(study)
        for attempt in range(TRIES):
            config = self._propose(study, derive(study.seed, self.name, study.num_trials, attempt))
            if config is not None and not study.seen(config):
                return config
        return self._fresh.draw(study)

    def _observe(self, study: Study) -> None:
        """Takes in the trials that changed; all of them when scores are of another epoch than before."""
        changed, _ = self._told.changes(study)
        new = [ident for ident in changed if ident not in self._place]
        if new:
            self._place |= {ident: place for place, ident in enumerate(new, len(self._place))}
            self._docs.insert_trial_docs([_doc(space_of(study), i, study.trial(i).config) for i in new])
            self._docs.refresh()
        for ident in changed:
            score = self._told.score(study, study.trial(ident))
            known = score is not None and score < math.inf
            self._docs.trials[self._place[ident]]["result"] = (
                {"status": "ok", "loss": score} if known else {"status": "new"}
            )

    def _propose(self, study: Study, seed: int) -> dict[str, Any] | None:
        """A configuration, or None when it breaks a constraint."""
        from hyperopt import anneal, tpe

        new = [study.num_trials]
        if self._algorithm == "tpe":
            found = tpe.suggest(new, self._domain, self._docs, seed, verbose=False)
        else:
            found = anneal.suggest(new, self._domain, self._docs, seed)
        values = found[0]["misc"]["vals"]

        def value_of(name: str, domain: Domain) -> Any:
            if domain.size == 1:
                return domain.from_unit(0.0)
            if _is_nominal(domain):
                return domain.from_unit(int(values[name][0]))
            return domain.from_unit(_folded(float(values[name][0])))

        try:
            return space_of(study).build(value_of)
        except UsageError:
            return None


def _domain(space: Space) -> Any:
    from hyperopt.base import Domain as Problem

    return Problem(lambda config: 0.0, {n: _prior(n, d) for n, d in space.items() if d.size != 1})


def _no_trials() -> Any:
    from hyperopt import Trials

    return Trials()


def _prior(name: str, domain: Domain) -> Any:
    from hyperopt import hp

    if isinstance(domain, Choice):
        count = len(domain.options)
        if domain.ordered:
            return hp.uniform(name, 0.0, 1.0)
        weights = domain.weights or (1.0,) * count
        shares = [SHARE_OF_BELIEF * w / sum(weights) + (1 - SHARE_OF_BELIEF) / count for w in weights]
        return hp.pchoice(name, [(share, i) for i, share in enumerate(shares)])
    if domain.belief is None:
        return hp.uniform(name, 0.0, 1.0)
    return hp.normal(name, _centre(domain), domain.belief.spread)


def _centre(domain: Float | Int) -> float:
    assert domain.belief is not None
    return Float(domain.low, domain.high, domain.log).to_unit(domain.belief.value)


def _is_nominal(domain: Domain) -> bool:
    return isinstance(domain, Choice) and not domain.ordered


def _folded(place: float) -> float:
    """A place within 0..1: what a normal draw has beyond an end is folded back."""
    place = abs(place)
    return min(max(2 - place if place > 1 else place, 0.0), 1.0)


def _doc(space: Space, ident: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as the library keeps it, not told yet."""
    values: dict[str, list[Any]] = {}
    for name, domain in space.items():
        if domain.size != 1:
            there = name in config
            place = domain.to_unit(config[name]) if there else 0
            values[name] = [int(place) if _is_nominal(domain) else float(place)] if there else []
    return {
        "state": 2,
        "tid": ident,
        "spec": None,
        "result": {"status": "new"},
        "misc": {
            "tid": ident,
            "cmd": None,
            "workdir": None,
            "idxs": {name: [ident] * len(value) for name, value in values.items()},
            "vals": values,
        },
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
