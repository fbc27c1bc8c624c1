"""A trial that is taught: the best configuration that can be, trained once more on what others together answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from thrifty.tuning.policy import Purchase, Wait
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.policies.ladder import Arm, Offer, View

SHARE = 0.1  # of the budget, once nothing else is worth its price
AHEAD = 0.5  # of what the teachers are ahead of what keeps the limits, that a student is expected to make up
MOST_TRIES = 2


class Lesson(NamedTuple):
    """Who is taught, and by whom.

    student: the trial whose configuration is trained once more, for `seconds`. teachers: what its job is told of them.
    ahead: by how much their value is higher than that of what could be handed over without a student.
    """

    student: int
    teachers: Mapping[str, Any]
    seconds: float
    ahead: float = 0.0


def is_student(trial: Trial) -> bool:
    """Whether the trial is taught by others."""
    return "taught_by" in trial.extra


def student(
    view: View, arms: Mapping[str, Arm], best: Offer | None, lesson: Callable[[bool], Lesson | None], free_cores: int
) -> Purchase | Wait | None:
    """The student, where it is cheap and nothing else is on offer, or promises more a second than the best offer.

    Where its cores are not free they are waited for, if that takes no longer than it does itself.
    lesson: told whether the search is idle.
    """
    budget = view.clock.budget_seconds
    idle = best is None and not view.running
    if view.best is None or budget is None or not (idle or view.clock.elapsed() > budget / 2):
        return None
    tried = [t for t in view.trials if is_student(t)]
    if len(tried) >= MOST_TRIES or any(t.state in (State.RUNNING, State.DONE) for t in tried):
        return None
    found = lesson(idle)
    if found is None:
        return None
    origin = next(t for t in view.trials if t.id == found.student)
    gain = AHEAD * found.ahead / view.span
    rate = gain / max(found.seconds, 1e-3)
    if gain >= view.least_gain:
        most = view.left + (view.refit.seconds if view.before_refit(rate) else 0.0)
    else:
        most = min(SHARE * budget, view.left) if idle else 0.0
    if found.seconds > most or (best is not None and best.rate > rate):
        return None
    if arms[str(origin.config["candidate"])].cores > free_cores:
        waiting = view.seconds_running_left()
        return Wait() if waiting <= min(found.seconds, most - found.seconds) else None
    extra = {"started_seconds": round(view.clock.elapsed(), 3), "taught_by": found.teachers}
    return Purchase(config=origin.config, why=f"trial {origin.id} once more, taught by others", extra=extra)
