"""Optuna's samplers as sources of configurations (https://arxiv.org/abs/1907.10902).

Floats are told to Optuna by their place in 0..1, ints as ints, ordered choices by their index, plain choices as
categories. Conditional parameters are asked for where they exist. What breaks a constraint or was tried is asked for
again, a few times, and then drawn at random.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.seeds import derive, generator
from thrifty.core.space import Choice, Domain, Float, Int, Space
from thrifty.tuning.policies.random import Fresh, space_of
from thrifty.tuning.policies.told import Told, bounded

if TYPE_CHECKING:
    from thrifty.core.events import Event
    from thrifty.tuning.study import Study

TRIES = 12
MOST_VALUES = 100_000  # of an Int, above which it is told by its place
STARTUP = 10  # trials drawn by the beliefs first, in a space that has any; then a share of the others
SHARE_BY_BELIEF = 0.2
SAMPLERS = ("tpe", "gp", "cmaes", "nsga2")
IN_ORDER = ("cmaes", "nsga2")
"""They go by generations, so that it matters in which order trials were asked for and told."""


class Optuna:
    """A sampler of Optuna's: "tpe", "gp", "cmaes" or "nsga2". Raises MissingExtraError without its packages.

    In a study with epochs "tpe" and "gp" see the values of the last epoch that enough trials have come to; "cmaes" and
    "nsga2" see each trial's best value where it first paused or ended. Running trials are known to "tpe" and "gp".
    """

    def __init__(self, sampler: str = "tpe") -> None:
        if sampler not in SAMPLERS:
            raise UsageError(f"Optuna's sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
        self.name = f"optuna-{sampler}"
        needed = {"gp": ("torch", "train"), "cmaes": ("cmaes", "optuna")}
        for package, extra in (("optuna", "optuna"), *([needed[sampler]] if sampler in needed else [])):
            if find_spec(package) is None:
                raise MissingExtraError(f"the policy {self.name!r}", extra, package)
        self._sampler = sampler
        self._fresh = Fresh()
        self._told = Told()
        self._seq = 0
        self._until: dict[int, int | None] = {}
        self._library: Any = None
        self._count = 0
        self._number_of: dict[int, int] = {}
        self._scored: set[int] = set()
        self._pending: tuple[dict[str, Any], int] | None = None

    def draw(self, study: Study) -> dict[str, Any] | None:
        """A configuration that no trial has had; None when there is none left."""
        with _quiet():
            if self._library is None:
                self._library = _new_study()
            self._observe_events(study) if self._sampler in IN_ORDER else self._observe(study)
            if self._pending is not None:  # it was drawn and not started, or added as it is in the study
                self._drop(self._pending[1])
                self._pending = None
            at = study.num_trials
            for attempt in range(0 if self._by_belief(study, at) else TRIES):
                found = self._propose(study, at, attempt)
                if found is not None and not study.seen(found[0]):
                    self._pending = found
                    return dict(found[0])
                if found is not None:
                    self._drop(found[1])
        return self._fresh.draw(study)

    def _by_belief(self, study: Study, at: int) -> bool:
        if not _has_beliefs(space_of(study)):
            return False
        return at < STARTUP or generator(study.seed, self.name, "belief", at).random() < SHARE_BY_BELIEF

    def _propose(self, study: Study, at: int, attempt: int) -> tuple[dict[str, Any], int] | None:
        """A configuration and its number in the library; None when it breaks a constraint."""
        self._library.sampler = _sampler(self._sampler, space_of(study), derive(study.seed, self.name, at, attempt))
        trial = self._library.ask()
        self._count += 1
        try:
            return space_of(study).build(lambda name, domain: _suggested(trial, name, domain)), trial.number
        except UsageError:
            self._drop(trial.number)
            return None

    def _drop(self, number: int) -> None:
        self._library.tell(number, state=_states().FAIL)

    def _observe(self, study: Study) -> None:
        """Takes in the trials that changed; all of them when scores are of another epoch than before."""
        changed, moved = self._told.changes(study)
        if moved:
            self._library, self._count, self._pending = _new_study(), 0, None
            self._number_of, self._scored = {}, set()
        for ident in sorted(changed):
            trial = study.trial(ident)
            if ident not in self._number_of:
                self._add(study, ident, trial.config)
            score = self._told.score(study, trial)
            if score is not None and ident not in self._scored:
                self._tell(ident, score)

    def _observe_events(self, study: Study) -> None:
        """Does again, in order, what a study that was opened again had asked and told; then what is new."""
        for event in study.events(self._seq):
            self._seq = event.seq
            if event.trial is None or study.trial(event.trial).parent is not None:
                continue
            if event.kind == "trial_started":
                self._until[event.trial] = event.payload.get("until_epoch")
                config = dict(study.trial(event.trial).config)
                if not self._bind(event.trial, config) and not self._redo(study, event, config):
                    self._enqueue(study, event.trial, config)
            elif event.kind == "trial_continued":
                self._until[event.trial] = event.payload.get("until_epoch")
            elif event.kind in ("trial_finished", "trial_paused", "trial_failed", "trial_skipped"):
                score = self._score_of(study, event)
                if score is not None and event.trial not in self._scored:
                    self._tell(event.trial, score)

    def _score_of(self, study: Study, event: Event) -> float | None:
        if event.kind in ("trial_failed", "trial_skipped"):
            return math.inf
        reached = event.payload.get("epoch", 0)
        if event.kind == "trial_paused" and reached < (self._until.get(event.trial or 0) or math.inf):
            return None
        value = event.payload["best" if study.max_epochs is not None else "value"]
        return bounded(study.score(value))

    def _bind(self, ident: int, config: Mapping[str, Any]) -> bool:
        """Whether the trial is what was proposed last."""
        if self._pending is None or self._pending[0] != config:
            return False
        self._number_of[ident] = self._pending[1]
        self._pending = None
        return True

    def _redo(self, study: Study, event: Event, config: dict[str, Any]) -> bool:
        """Proposes again what the trial came from, with the same seeds; False when it came from elsewhere."""
        at = event.trial or 0
        if event.payload.get("why") != self.name or self._by_belief(study, at):
            return False
        for attempt in range(TRIES):
            found = self._propose(study, at, attempt)
            if found is not None and found[0] == config:
                self._number_of[at] = found[1]
                return True
            if found is not None:
                self._drop(found[1])
        return False

    def _enqueue(self, study: Study, ident: int, config: Mapping[str, Any]) -> None:
        """Adds a configuration that came from elsewhere as one of the sampler's own."""
        space = space_of(study)
        self._library.enqueue_trial({n: _internal(space[n], v) for n, v in config.items() if not _is_single(space[n])})
        self._library.sampler = _sampler(self._sampler, space, derive(study.seed, self.name, ident, "given"))
        trial = self._library.ask()
        self._count += 1
        for name in config:
            _suggested(trial, name, space[name])
        self._number_of[ident] = trial.number

    def _add(self, study: Study, ident: int, config: Mapping[str, Any]) -> None:
        import optuna

        space = space_of(study)
        told = {n: v for n, v in config.items() if not _is_single(space[n])}
        self._library.add_trial(
            optuna.trial.create_trial(
                state=_states().RUNNING,
                params={n: _internal(space[n], v) for n, v in told.items()},
                distributions={n: _distribution(space[n]) for n in told},
            )
        )
        self._number_of[ident] = self._count
        self._count += 1

    def _tell(self, ident: int, score: float) -> None:
        self._library.tell(self._number_of[ident], score)
        self._scored.add(ident)


def _new_study() -> Any:
    import optuna

    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize")


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _sampler(name: str, space: Space, seed: int) -> Any:
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, group=space.conditional, constant_liar=True)
    if name == "gp":
        return samplers.GPSampler(seed=seed)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.NSGAIISampler(seed=seed)


def _is_single(domain: Domain) -> bool:
    return domain.size == 1


def _by_place(domain: Domain) -> bool:
    return isinstance(domain, Float) or (isinstance(domain, Int) and (domain.size or 0) > MOST_VALUES)


def _distribution(domain: Domain) -> Any:
    from optuna import distributions

    if _by_place(domain):
        return distributions.FloatDistribution(0.0, 1.0)
    if isinstance(domain, Int):
        return distributions.IntDistribution(domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Choice)
    if domain.ordered:
        return distributions.IntDistribution(0, len(domain.options) - 1)
    return distributions.CategoricalDistribution(tuple(range(len(domain.options))))


def _suggested(trial: Any, name: str, domain: Domain) -> Any:
    """The value that the library wants for a parameter."""
    if _is_single(domain):
        return domain.from_unit(0.0)
    if _by_place(domain):
        return domain.from_unit(trial.suggest_float(name, 0.0, 1.0))
    if isinstance(domain, Int):
        return int(trial.suggest_int(name, domain.low, domain.high, log=domain.log))
    assert isinstance(domain, Choice)
    if domain.ordered:
        return domain.options[trial.suggest_int(name, 0, len(domain.options) - 1)]
    return domain.options[trial.suggest_categorical(name, tuple(range(len(domain.options))))]


def _internal(domain: Domain, value: Any) -> Any:
    """What the library is told for a value."""
    if _by_place(domain):
        return min(max(float(domain.to_unit(value)), 0.0), 1.0)
    return domain.index(value) if isinstance(domain, Choice) else int(value)


def _has_beliefs(space: Space) -> bool:
    return any((d.weights if isinstance(d, Choice) else d.belief) is not None for d in space.values())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the library logs and warns of from a user who never asked it anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna

        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(verbosity)
