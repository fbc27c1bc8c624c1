"""Whether a search has anything left to run, for what is said at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thrifty.tuning.trial import State

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

MOST_LISTED = 100_000  # configurations of a finite space that are gone through
BUDGET, WAITED = "budget", "nothing to wait for"
"""Reasons of a search's end that say nothing of what is left; the others come from the policy that stopped it."""


def nothing_left(study: Study) -> str | None:
    """Why no more time would bring another trial; None where it may."""
    if study.running:
        return None
    why = ""
    for event in study.events():
        if event.kind == "search_finished":
            why = str(event.payload["why"])
        elif event.trial is not None:
            why = ""
    return why if why not in ("", BUDGET, WAITED) else _all_tried(study)


def tried_text(count: int, where: str = "space") -> str:
    if count == 1:
        return f"the only configuration of the {where} has been tried"
    return f"all {count} configurations of the {where} have been tried"


def _all_tried(study: Study) -> str | None:
    """That a finite space is used up, where the budget ended with it; a policy with checkpoints may begin anew."""
    space, branches = study.space, getattr(study.policy, "branches", None)
    if space is None or space.size is None or space.size > MOST_LISTED or (branches is not None and branches(study)):
        return None
    if any(t.state in (State.WAITING, State.PAUSED) for t in study.trials):
        return None
    count = 0
    for config in space.configurations():
        if not study.seen(config):
            return None
        count += 1
    return tried_text(count)
