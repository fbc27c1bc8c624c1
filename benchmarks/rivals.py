"""Other tuners behind one face, for benchmarks/tuning.py and benchmarks/functions.py.

`ask()` says which trial runs which epochs, `tell` what came.

Each needs its own package, which Thrifty does not: optuna (with torch for its Gaussian process), hyperopt, smac.
A task's `space` is {name: (low, high, log, integer), or [option, ...]}; values are minimised. A task without epochs is
one of a single epoch.
"""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import numpy as np


class Asked(NamedTuple):
    """Trial `trial` of `config` is to run the epochs from `start` + 1 to `until`."""

    trial: int
    config: dict[str, Any]
    start: int
    until: int


class Tuner(Protocol):
    def ask(self) -> Asked: ...

    def tell(self, asked: Asked, values: list[float]) -> None: ...


class Optuna:
    """Optuna's sampler of that name; a trial runs to the end, or by epochs until the Hyperband pruner stops it."""

    def __init__(self, task: Any, seed: int, workers: int, sampler: str, pruned: bool = False) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        options = {"constant_liar": True} if sampler == "TPESampler" and workers > 1 else {}
        self._study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=seed, **options),
            pruner=optuna.pruners.HyperbandPruner(1, task.max_epochs, 3) if pruned else optuna.pruners.NopPruner(),
        )
        self._pruned_state = optuna.trial.TrialState.PRUNED
        self._domains = {name: self._domain(optuna.distributions, domain) for name, domain in task.space.items()}
        self._last, self._pruned = task.max_epochs, pruned
        self._trials: dict[int, Any] = {}
        self._waiting: list[Asked] = []
        self._best: dict[int, float] = {}

    def _domain(self, kinds: Any, domain: Any) -> Any:
        if isinstance(domain, list):
            return kinds.CategoricalDistribution(domain)
        low, high, log, whole = domain
        if whole:
            return kinds.IntDistribution(int(low), int(high), bool(log))
        return kinds.FloatDistribution(float(low), float(high), bool(log))

    def ask(self) -> Asked:
        if self._waiting:
            return self._waiting.pop(0)
        trial = self._study.ask(self._domains)
        self._trials[trial.number] = trial
        return Asked(trial.number, dict(trial.params), 0, 1 if self._pruned else self._last)

    def tell(self, asked: Asked, values: list[float]) -> None:
        trial = self._trials[asked.trial]
        best = self._best[asked.trial] = min([*values, self._best.get(asked.trial, np.inf)])
        if asked.until < self._last:
            trial.report(best, asked.until)
            if not trial.should_prune():
                self._waiting.append(asked._replace(start=asked.until, until=asked.until + 1))
                return
        if asked.until < self._last:
            self._study.tell(trial, state=self._pruned_state)
        else:
            self._study.tell(trial, best)


class Hyperopt:
    """Hyperopt's TPE; each trial runs to the end."""

    def __init__(self, task: Any, seed: int, workers: int) -> None:
        import hyperopt

        self._hyperopt = hyperopt
        self._options = {name: domain for name, domain in task.space.items() if isinstance(domain, list)}
        numbers = {name: domain for name, domain in task.space.items() if name not in self._options}
        self._space = {name: self._domain(name, *domain) for name, domain in numbers.items()}
        self._space |= {name: hyperopt.hp.choice(name, options) for name, options in self._options.items()}
        self._whole = [name for name, (_, _, _, whole) in numbers.items() if whole]
        self._domain_of = hyperopt.base.Domain(lambda config: 0.0, self._space)
        self._trials = hyperopt.Trials()
        self._rng, self._last = np.random.default_rng(seed), task.max_epochs

    def _domain(self, name: str, low: float, high: float, log: bool, whole: bool) -> Any:
        hp = self._hyperopt.hp
        if log:
            ends = float(np.log(low)), float(np.log(high))
            return hp.qloguniform(name, *ends, 1) if whole else hp.loguniform(name, *ends)
        return hp.quniform(name, int(low), int(high), 1) if whole else hp.uniform(name, float(low), float(high))

    def ask(self) -> Asked:
        ids = self._trials.new_trial_ids(1)
        self._trials.refresh()
        made = self._hyperopt.tpe.suggest(ids, self._domain_of, self._trials, int(self._rng.integers(2**31 - 1)))
        self._trials.insert_trial_docs(made)
        self._trials.refresh()
        config = {name: found[0] for name, found in made[0]["misc"]["vals"].items()}
        config |= {name: round(config[name]) for name in self._whole}
        config |= {name: options[config[name]] for name, options in self._options.items()}
        return Asked(ids[0], config, 0, self._last)

    def tell(self, asked: Asked, values: list[float]) -> None:
        for document in self._trials._dynamic_trials:
            if document["tid"] == asked.trial:
                document["state"] = self._hyperopt.JOB_STATE_DONE
                document["result"] = {"loss": min(values), "status": self._hyperopt.STATUS_OK}
        self._trials.refresh()


class Smac:
    """SMAC3's multi-fidelity search (random forest and Hyperband, eta 3); promoted trials go on where they paused."""

    def __init__(self, task: Any, seed: int, workers: int) -> None:
        import smac

        space = _config_space(task, seed)
        self._info = smac.runhistory.dataclasses.TrialValue
        facade = smac.MultiFidelityFacade
        scenario = smac.Scenario(
            space,
            n_trials=1_000_000,
            min_budget=1,
            max_budget=task.max_epochs,
            seed=seed,
            deterministic=True,
            output_directory=tempfile.mkdtemp(),
        )
        self._smac = facade(
            scenario,
            lambda config, seed, budget: 0.0,
            intensifier=facade.get_intensifier(scenario, eta=3),
            overwrite=True,
            logging_level=50,
        )
        self._ids: dict[Any, int] = {}
        self._epoch: dict[int, int] = {}
        self._best: dict[int, float] = {}
        self._asked: dict[int, Any] = {}

    def ask(self) -> Asked:
        while True:
            info = self._smac.ask()
            trial = self._ids.setdefault(info.config, len(self._ids))
            start, until = self._epoch.get(trial, 0), max(1, round(info.budget))
            if until > start:
                self._asked[trial] = info
                return Asked(trial, dict(info.config), start, until)
            self._smac.tell(info, self._info(cost=self._best[trial], time=0.0))  # its epochs were paid for before

    def tell(self, asked: Asked, values: list[float]) -> None:
        self._epoch[asked.trial] = asked.until
        best = self._best[asked.trial] = min([*values, self._best.get(asked.trial, np.inf)])
        self._smac.tell(self._asked.pop(asked.trial), self._info(cost=best, time=0.0))


class SmacBlackBox:
    """SMAC3's search by a Gaussian process, which its manual advises for numbers without epochs."""

    def __init__(self, task: Any, seed: int, evaluations: int) -> None:
        import smac

        self._value = smac.runhistory.dataclasses.TrialValue
        scenario = smac.Scenario(
            _config_space(task, seed),
            n_trials=evaluations,
            seed=seed,
            deterministic=True,
            output_directory=tempfile.mkdtemp(),
        )
        self._smac = smac.BlackBoxFacade(scenario, lambda config, seed: 0.0, overwrite=True, logging_level=50)
        self._count = 0

    def ask(self) -> Asked:
        self._info = self._smac.ask()
        self._count += 1
        return Asked(self._count, dict(self._info.config), 0, 1)

    def tell(self, asked: Asked, values: list[float]) -> None:
        self._smac.tell(self._info, self._value(cost=values[0], time=0.0))


def _config_space(task: Any, seed: int) -> Any:
    import ConfigSpace

    space = ConfigSpace.ConfigurationSpace(seed=seed)
    for name, domain in task.space.items():
        if isinstance(domain, list):
            space.add(ConfigSpace.Categorical(name, domain))
            continue
        low, high, log, whole = domain
        kind, number = (ConfigSpace.Integer, int) if whole else (ConfigSpace.Float, float)
        space.add(kind(name, (number(low), number(high)), log=bool(log)))
    return space


RIVALS: dict[str, tuple[str, Any]] = {
    "optuna-tpe": ("optuna", lambda task, seed, workers: Optuna(task, seed, workers, "TPESampler")),
    "optuna-tpe-hyperband": ("optuna", lambda task, seed, workers: Optuna(task, seed, workers, "TPESampler", True)),
    "optuna-gp": ("optuna", lambda task, seed, workers: Optuna(task, seed, workers, "GPSampler")),
    "hyperopt-tpe": ("hyperopt", Hyperopt),
    "smac": ("smac", Smac),
}
WITHOUT_EPOCHS: dict[str, tuple[str, Any]] = {
    "optuna-tpe": RIVALS["optuna-tpe"],
    "optuna-gp": RIVALS["optuna-gp"],
    "optuna-cmaes": ("optuna", lambda task, seed, workers: Optuna(task, seed, workers, "CmaEsSampler")),
    "hyperopt-tpe": RIVALS["hyperopt-tpe"],
    "smac": ("smac", lambda task, seed, workers: SmacBlackBox(task, seed, 100)),
}


def version_of(rival: str) -> str:
    """The version of the rival's package. Raises PackageNotFoundError when it is not installed."""
    return version({**RIVALS, **WITHOUT_EPOCHS}[rival][0])
