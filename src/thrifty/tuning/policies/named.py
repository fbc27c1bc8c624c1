"""Policies by name."""

from __future__ import annotations

from collections.abc import Callable

from thrifty.core.errors import UsageError
from thrifty.tuning.policies.freeze_thaw import FreezeThaw
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
}
NEED_EPOCHS = ("hyperband", "freeze-thaw")


def policy_of(policy: str | Policy, max_epochs: int | None) -> Policy:
    """A policy itself, or the one of that name; "auto" is the default for a study with or without epochs."""
    if not isinstance(policy, str):
        if not callable(getattr(policy, "decide", None)):
            raise UsageError(f"policy is {policy!r}; it must be a name or have decide(study, clock)")
        return policy
    if policy == "auto":
        return Random() if max_epochs is None else FreezeThaw()
    if policy not in POLICIES:
        raise UsageError(f"policy is {policy!r}; it must be one of auto, {', '.join(POLICIES)}")
    if policy in NEED_EPOCHS and max_epochs is None:
        raise UsageError(f"the policy {policy!r} needs epochs; give the study max_epochs")
    return POLICIES[policy]()
