"""One model in the place of several: a network taught by an ensemble (Hinton et al. 2015, arXiv:1503.02531).

The teachers are the best ensemble without a look at the limits. A student is a trial like any other: it is chosen where
it keeps limits that the ensemble does not, and in the place of an ensemble where it alone scores no worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thrifty.automl.ensemble import Member, Scale, select
from thrifty.automl.members import Library, fits_limits, mixed, warmth
from thrifty.automl.session import Session
from thrifty.evaluation.metrics import signed
from thrifty.evaluation.words import metric_title, value_text
from thrifty.tuning.policies.ladder import again_seconds, is_aside, worth
from thrifty.tuning.policies.student import Lesson


def lesson_of(session: Session, library: Library, idle: bool) -> Lesson | None:
    """Who could be taught by whom, if anybody; looked for when the search is idle, and before only under limits.

    With cross-validation nobody is: what models say of rows that they learned from is of little use where these are
    few, and what they say of others holds the labels of the rows that a student would be judged on.
    """
    rounds = session.dataset.splits.rounds()
    if not (idle or session.is_limited) or len(rounds) > 1:
        return None
    able = [t for t in session.done() if session.can_be_taught(t) and not t.cut_short and not is_aside(t)]
    student = next((t for t in able if fits_limits(session, [library.scored(t.id).scale])), None)
    if student is None:
        return None
    teachers = _best(session, library, lambda scales: True)
    if [member.trial for member in teachers] == [student.id]:
        return None
    heat = warmth(session, teachers)
    ahead = 0.0
    if session.is_limited:
        within = _best(session, library, lambda scales: fits_limits(session, scales))
        value = session.scorer()
        ahead = value(mixed(session, teachers, heat)) - value(mixed(session, within, warmth(session, within)))
    models = [{"trial": m.trial, "weight": m.weight, "temperature": m.temperature} for m in teachers]
    row_seconds = sum(session.seconds_of_row([m.trial]) for m in teachers)
    seconds = again_seconds(student) + len(rounds[0][0]) * row_seconds
    teaching = {"models": models, "temperature": heat, "repeats": student.id}
    return Lesson(student.id, teaching, seconds, max(0.0, ahead))


def _best(session: Session, library: Library, fits: Callable[[Sequence[Scale]], bool]) -> list[Member]:
    return select(library.all(), session.judge, fits=fits, seed=session.request.seed)[0]


def told_of(session: Session) -> list[str]:
    """A sentence for each trial that was taught: by whom, and what that made of it."""
    notes = []
    for trial in session.done():
        taught_by: dict[str, Any] | None = trial.extra.get("taught_by")
        if taught_by is not None:
            origin = session.study.trial(taught_by["repeats"])
            teachers = ", ".join(str(model["trial"]) for model in taught_by["models"])
            many = "s" * (len(taught_by["models"]) > 1)
            before, after = (value_text(session.metric, signed(session.metric, worth(t))) for t in (origin, trial))
            notes.append(
                f"trial {trial.id}, {trial.config['candidate']}, was taught by trial{many} {teachers}: "
                f"{metric_title(session.metric)} {after}, without teachers (trial {origin.id}) {before}"
            )
    return notes
