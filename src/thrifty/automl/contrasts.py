"""What augmentation brought each candidate, from pairs of trials that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thrifty.automl.plan import AUGMENTATION
from thrifty.automl.session import Session
from thrifty.core.files import read_json
from thrifty.evaluation.findings import AugmentationFinding
from thrifty.evaluation.intervals import difference
from thrifty.evaluation.words import seconds_text
from thrifty.tuning.policies.student import is_student
from thrifty.tuning.trial import Trial

INTERVAL_SECONDS = 0.3  # for all candidates together


def augmentation_of(session: Session, hurry: bool = False) -> list[AugmentationFinding]:
    """For every candidate that was trained with augmentation, the difference that it made, or why it is not known."""
    by_candidate: dict[str, list[Trial]] = {}
    for trial in session.done():
        if not trial.cut_short and not is_student(trial):
            by_candidate.setdefault(trial.config["candidate"], []).append(trial)
    found = []
    for name, trials in by_candidate.items():
        if any(_is_augmented(session, trial) for trial in trials):
            found.append(_of(session, name, trials, 0.0 if hurry else INTERVAL_SECONDS / len(by_candidate)))
    return found


def _of(session: Session, name: str, trials: Sequence[Trial], seconds: float) -> AugmentationFinding:
    """trials: of one candidate, best first."""
    for trial in trials:
        for other in trials:
            alike = _settings(trial) == _settings(other)
            if not alike or _is_augmented(session, other) or not _is_augmented(session, trial):
                continue
            rows = session.dataset.splits.validation_rows
            made = difference(
                session.metric, session.task, session.y_validation, session.outputs(trial.id, 1.0),
                session.outputs(other.id, 1.0), weights=session.weights_validation,
                groups=session.dataset.groups(rows), positive=session.positive, seconds=seconds,
            )  # fmt: skip
            return AugmentationFinding(
                name, *_strengths(session, trial), trial.id, other.id, made.value, made.low, made.high
            )
    best = next(trial for trial in trials if _is_augmented(session, trial))
    why = f"not measured: the same training without it would have taken {seconds_text(best.cost_seconds)} more"
    return AugmentationFinding(name, *_strengths(session, best), best.id, reason=why)


def _strengths(session: Session, trial: Trial) -> tuple[float, float]:
    """(strength, share of mixed batches) of a trial's recipe; 0 where it has none."""
    training = _training(session, trial)
    return float(training.get("augmentation", 0.0)), float(training.get("mixing", 0.0))


def _settings(trial: Trial) -> dict[str, object]:
    """A trial's configuration without its augmentation."""
    return {path: value for path, value in trial.config.items() if path not in AUGMENTATION}


def _is_augmented(session: Session, trial: Trial) -> bool:
    """Whether anything is changed at random."""
    return _strengths(session, trial) != (0.0, 0.0) or bool(_training(session, trial).get("symmetries"))


def _training(session: Session, trial: Trial) -> dict[str, Any]:
    training: dict[str, Any] | None = read_json(session.directory.trial(trial.id) / "recipe.json")["training"]
    return training or {}
