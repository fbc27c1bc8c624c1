"""Policies by name: one name, or a pair "SCHEDULER+SAMPLER" of who runs and who proposes configurations."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from thrifty.core.errors import UsageError
from thrifty.tuning.policies.asha import Asha
from thrifty.tuning.policies.freeze_thaw import FreezeThaw
from thrifty.tuning.policies.gaussian_process import Bayesian, GaussianProcess
from thrifty.tuning.policies.grid import Grid
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policies.hyperopt import Hyperopt
from thrifty.tuning.policies.median import Median
from thrifty.tuning.policies.optuna import Optuna
from thrifty.tuning.policies.pbt import Pbt
from thrifty.tuning.policies.random import Fresh, Source, Straight
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policy import Policy

SAMPLERS: dict[str, Callable[[], Source]] = {
    "random": Fresh,
    "sobol": Sobol,
    "grid": Grid,
    "optuna-tpe": lambda: Optuna("tpe"),
    "optuna-gp": lambda: Optuna("gp"),
    "optuna-cmaes": lambda: Optuna("cmaes"),
    "optuna-nsga2": lambda: Optuna("nsga2"),
    "hyperopt-tpe": lambda: Hyperopt("tpe"),
    "hyperopt-anneal": lambda: Hyperopt("anneal"),
    "gaussian-process": GaussianProcess,
}
SCHEDULERS: dict[str, Callable[[Source], Policy]] = {
    "hyperband": lambda source: Hyperband(source=source),
    "asha": lambda source: Asha(source=source),
    "median": lambda source: Median(source=source),
    "pbt": lambda source: Pbt(source=source),
}
POLICIES: dict[str, Callable[[], Policy]] = {
    "freeze-thaw": FreezeThaw,
    "gaussian-process": Bayesian,
}
NEED_EPOCHS = ("freeze-thaw", *SCHEDULERS)


def policy_of(policy: str | Policy, max_epochs: int | None) -> Policy:
    """A policy itself, or the one of that name; "auto" is the default for a study with or without epochs.

    A sampler's name alone runs each of its configurations to the end; a scheduler's alone takes random ones.
    """
    if not isinstance(policy, str):
        if not callable(getattr(policy, "decide", None)):
            raise UsageError(f"policy is {policy!r}; it must be a name or have decide(study, clock)")
        return policy
    if policy == "auto":
        if max_epochs is not None:
            return FreezeThaw()
        return Bayesian() if find_spec("scipy") is not None else Straight(Fresh())
    scheduler, plus, sampler = policy.partition("+")
    if plus:
        _check_pair(policy, scheduler, sampler)
    elif policy not in (*POLICIES, *SCHEDULERS, *SAMPLERS):
        names = ", ".join(dict.fromkeys((*SAMPLERS, *SCHEDULERS, *POLICIES)))
        raise UsageError(f"policy is {policy!r}; it must be one of auto, {names}, or a pair such as asha+sobol")
    if scheduler in NEED_EPOCHS and max_epochs is None:
        raise UsageError(f"the policy {policy!r} needs epochs; give the study max_epochs")
    if scheduler in SCHEDULERS:
        return SCHEDULERS[scheduler](SAMPLERS[sampler or "random"]())
    return POLICIES[policy]() if policy in POLICIES else Straight(SAMPLERS[policy]())


def needs_epochs(policy: str | Policy) -> bool:
    """Whether it decides how many epochs a trial has."""
    if isinstance(policy, str):
        return policy.partition("+")[0] in NEED_EPOCHS
    return isinstance(policy, (FreezeThaw, Hyperband, Asha, Median, Pbt))


def needs_checkpoints(policy: str | Policy) -> bool:
    """Whether trials begin from checkpoints of others."""
    return policy.partition("+")[0] == "pbt" if isinstance(policy, str) else hasattr(policy, "branches")


def _check_pair(policy: str, scheduler: str, sampler: str) -> None:
    if scheduler in SAMPLERS and sampler in SCHEDULERS:
        raise UsageError(f"policy is {policy!r}; the scheduler comes first: {sampler}+{scheduler}")
    if scheduler not in SCHEDULERS:
        raise UsageError(f"policy is {policy!r}; before the + comes one of {', '.join(SCHEDULERS)}")
    if sampler not in SAMPLERS:
        raise UsageError(f"policy is {policy!r}; after the + comes one of {', '.join(SAMPLERS)}")
