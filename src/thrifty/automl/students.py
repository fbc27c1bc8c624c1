"""One model in the place of several: a network taught by an ensemble (Hinton et al. 2015, arXiv:1503.02531).

The teachers are the best ensemble without a look at the limits. A student is a trial like any other: it is chosen where
it keeps limits that the ensemble does not, and in the place of an ensemble where it alone scores no worse.
"""

from __future__ import annotations

from typing import Any

from thrifty.automl.members import Library, fits_limits, mix_of
from thrifty.automl.session import Session
from thrifty.evaluation.metrics import signed
from thrifty.evaluation.words import metric_title, value_text
from thrifty.tuning.policies.ladder import again_seconds, is_aside, worth
from thrifty.tuning.policies.student import Lesson, is_student


def lesson_of(session: Session, library: Library) -> Lesson | None:
    """Who could be taught by whom, if anybody.

    With cross-validation nobody is: what models say of rows that they learned from is of little use where these are
    few, and what they say of others holds the labels of the rows that a student would be judged on.
    """
    rounds = session.dataset.splits.rounds()
    if len(rounds) > 1:
        return None
    able = [t for t in session.done() if session.can_be_taught(t) and not t.cut_short and not is_aside(t)]
    student = next((t for t in able if fits_limits(session, [library.scale(t.id)])), None)
    if student is None:
        return None
    scored = library.all()
    teachers = mix_of(session, scored, lambda scales: True)
    if [member.trial for member in teachers.members] == [student.id]:
        return None
    ahead = 0.0
    if session.is_limited:
        within = mix_of(session, scored, lambda scales: fits_limits(session, scales))
        value = session.scorer()
        ahead = value(teachers.outputs) - value(within.outputs)
    models = [{"trial": m.trial, "weight": m.weight, "temperature": m.temperature} for m in teachers.members]
    row_seconds = sum(session.seconds_of_row([m.trial]) for m in teachers.members)
    if not session.candidate_of(student).all_cores:
        row_seconds *= session.facts.cores
    seconds = again_seconds(student) + len(rounds[0][0]) * row_seconds
    teaching = {"models": models, "temperature": teachers.temperature, "repeats": student.id}
    return Lesson(student.id, teaching, seconds, max(0.0, ahead))


def told_of(session: Session) -> list[str]:
    """A sentence for each trial that was taught: by whom, and what that made of it."""
    notes = []
    for trial in session.done():
        if is_student(trial):
            taught_by: dict[str, Any] = trial.extra["taught_by"]
            origin = session.study.trial(taught_by["repeats"])
            teachers = ", ".join(str(model["trial"]) for model in taught_by["models"])
            many = "s" * (len(taught_by["models"]) > 1)
            before, after = (value_text(session.metric, signed(session.metric, worth(t))) for t in (origin, trial))
            notes.append(
                f"trial {trial.id}, {trial.config['candidate']}, was taught by trial{many} {teachers} (distillation): "
                f"{metric_title(session.metric)} {after}, without teachers (trial {origin.id}) {before}"
            )
    return notes
