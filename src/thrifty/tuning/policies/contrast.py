"""Trials that tell what a setting brings: the best configuration of an arm once more, with the setting switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from thrifty.tuning.policies.student import is_student
from thrifty.tuning.policy import Purchase
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.policies.ladder import Arm, View

SHARE = 0.08  # of the budget, for all such trials, once nothing else is worth its price
EARLY_SHARE = 0.05  # and from half of the budget on
MOST_TRIES = 2


def contrast(view: View, arms: Mapping[str, Arm], *, idle: bool, free_cores: int) -> Purchase | None:
    """The best trial of the best arm that has a contrast not yet known, where it is cheap; None without one.

    idle: whether nothing else is worth its price.
    """
    budget = view.clock.budget_seconds
    if view.best is None or budget is None or not (idle or view.clock.elapsed() > budget / 2):
        return None
    spent = sum(t.cost_seconds for t in view.trials if "contrast_of" in t.extra)
    most = min((SHARE if idle else EARLY_SHARE) * budget - spent, view.left)
    bests = []
    for arm in arms.values():
        whole = [t for t in view.done_of(arm.name) if not t.cut_short and not is_student(t)]
        if arm.contrast and whole and arm.cores <= free_cores:
            bests.append(max(whole, key=_value))
    for trial in sorted(bests, key=_value, reverse=True):
        arm = arms[str(trial.config["candidate"])]
        config = {**trial.config, **arm.contrast}
        known = _is_known(view.trials_of(arm.name), config)
        used = any(trial.config.get(path, arm.first.get(path)) != off for path, off in arm.contrast.items())
        if used and not known and trial.cost_seconds <= most:
            extra = {"started_seconds": round(view.clock.elapsed(), 3), "contrast_of": trial.id}
            return Purchase(config=config, why=f"what is lost without {', '.join(arm.contrast)}", extra=extra)
    return None


def _is_known(trials: Sequence[Trial], config: Mapping[str, object]) -> bool:
    """Whether a contrast is running or was whole, or was tried in vain too often."""
    tried = [t for t in trials if "contrast_of" in t.extra or (t.config == config and not is_student(t))]
    whole = [t for t in tried if t.state is State.RUNNING or (t.state is State.DONE and not t.cut_short)]
    return bool(whole) or len(tried) >= MOST_TRIES


def _value(trial: Trial) -> float:
    return float(trial.values[-1] or 0.0)
