"""Policies by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from thrifty.core.errors import UsageError
from thrifty.tuning.policies.freeze_thaw import WITHOUT_EPOCHS, FreezeThaw
from thrifty.tuning.policies.grid import Grid
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policies.random import Random, Straight
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policy import Policy

POLICIES: dict[str, Callable[[], Policy]] = {
    "random": Random,
    "sobol": lambda: Straight(Sobol()),
    "grid": lambda: Straight(Grid()),
    "hyperband": Hyperband,
    "freeze-thaw": FreezeThaw,
    "gaussian-process": lambda: FreezeThaw(WITHOUT_EPOCHS),
}
NEED_EPOCHS = ("hyperband", "freeze-thaw")


def policy_of(policy: str | Policy, max_epochs: int | None) -> Policy:
    """A policy itself, or the one of that name; "auto" is the default for a study with or without epochs."""
    if not isinstance(policy, str):
        if not callable(getattr(policy, "decide", None)):
            raise UsageError(f"policy is {policy!r}; it must be a name or have decide(study, clock)")
        return policy
    if policy == "auto":
        if max_epochs is not None:
            return FreezeThaw()
        return FreezeThaw(WITHOUT_EPOCHS) if find_spec("scipy") is not None else Random()
    if policy not in POLICIES:
        raise UsageError(f"policy is {policy!r}; it must be one of auto, {', '.join(POLICIES)}")
    if policy in NEED_EPOCHS and max_epochs is None:
        raise UsageError(f"the policy {policy!r} needs epochs; give the study max_epochs")
    if policy == "gaussian-process" and max_epochs is not None:
        raise UsageError("the policy 'gaussian-process' is for studies without epochs; freeze-thaw is for those with")
    return POLICIES[policy]()
