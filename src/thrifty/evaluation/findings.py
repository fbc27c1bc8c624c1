"""What a run found, as the report takes it: plain values and arrays, no engine, no trial object.

Values of trials are as searches compare them (larger is better); what people see is made plain by `report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thrifty.evaluation.decisions import Decision, decide
from thrifty.evaluation.slices import Slicing


@dataclass(frozen=True)
class Part:
    """One part of the data (validation or test) with the final model's outputs, in one order of rows.

    y: class codes [N], 0/1 [N, K], or numbers [N]. outputs: calibrated probabilities [N, K], or values [N].
    uncalibrated: probabilities before the temperature, for the reliability plot. groups: codes [N] of rows that belong
    together. slicings: ways to cut the rows. answers: class codes [N] or 0/1 [N, K] of rows that the decision was
    fitted to, each by one that was fitted without it; None for other rows.
    """

    y: np.ndarray
    outputs: np.ndarray
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    uncalibrated: np.ndarray | None = None
    slicings: Sequence[Slicing] = ()
    answers: np.ndarray | None = None

    def answered(self, task: str, decision: Decision | None) -> np.ndarray:
        """What is answered: `answers`, or what the decision makes of the outputs."""
        return decide(task, self.outputs, decision) if self.answers is None else self.answers


@dataclass(frozen=True)
class ColumnFinding:
    """One column of the data and what it was taken for."""

    name: str
    meaning: str
    reason: str = ""
    num_missing: int = 0
    num_distinct: int | None = None


@dataclass(frozen=True)
class BadRowFinding:
    """A row that was set aside; `row` as a user counts it, None where the file has no rows."""

    file: str
    row: int | None
    reason: str
    column: str | None = None


@dataclass(frozen=True)
class TrialFinding:
    """One trial. value: on validation, larger is better, None without one. Times are seconds since the run began.

    curve: value after each epoch, larger is better. status: done, failed, stopped. notes: what its engine said.
    """

    trial: int
    status: str
    value: float | None
    started_seconds: float
    ended_seconds: float
    cost_seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    curve: Sequence[float] = ()
    why: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateFinding:
    """One candidate of the plan. status: done (at least one validated trial), failed, skipped; reason in words."""

    name: str
    status: str
    reason: str
    trials: Sequence[TrialFinding] = ()


@dataclass(frozen=True)
class MemberFinding:
    """One model of the artifact, its share of the answer and the temperature of its logits."""

    candidate: str
    trial: int
    weight: float = 1.0
    temperature: float = 1.0


@dataclass(frozen=True)
class LimitFinding:
    """A limit that the artifact must keep; `limit` None where none was asked for, `measured` None where unknown."""

    limit: float | None
    measured: float | None
    kept: bool = True


@dataclass(frozen=True)
class ArtifactFinding:
    """The artifact as it was measured. parity: at least {max_abs_difference, rows}. pretrained: weights' cards.

    int8: what came of quantization, e.g. {tried, kept, loss, reason}.
    """

    path: str
    size_bytes: int
    precision: str
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    parity: Mapping[str, Any] | None
    threads: int = 1
    pretrained: Sequence[Mapping[str, Any]] = ()
    int8: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ImportanceFinding:
    """What the metric loses, larger is worse, when the cells of a column (or of a kind of columns) change places.

    kind: `column` or `kind`.
    """

    kind: str
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AugmentationFinding:
    """What augmentation brought a candidate: the metric of a trial minus that of one that differs in it alone.

    strength, mixing: of the trial with it. other_trial: the one without it, on the same validation rows. value, low,
    high: None where there is no such pair, and then `reason` says why.
    """

    candidate: str
    strength: float
    mixing: float
    trial: int
    other_trial: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class SymmetryFinding:
    """Whether a change of images keeps labels. before, after: a quick model's score of images as they are, and changed.

    error: standard error of their difference. score: `accuracy`, or `R2` for numbers and several labels.
    """

    name: str
    keeps: bool
    score: str
    before: float
    after: float
    error: float
    rows: int


@dataclass(frozen=True)
class Findings:
    """All that the report shows of one run.

    best: the name of the best candidate, or `ensemble`. decision: as in the artifact. num_rows: of each part, as the
    data had them after bad rows were set aside (test 0 where there is none). class_counts: rows per class in train and
    validation together. problems: sentences about the data (duplicates, leaks, a sample taken), most important first.
    phases: seconds by what they went to (data, search, refit, export, test), in order. command: the words to run again.
    notes: sentences for the summary (a warm cache, an int8 that was refused).
    """

    name: str
    run: str
    version: str
    task: str
    target: str
    metric: str
    metric_reason: str
    budget_seconds: float | None
    spent_seconds: float
    stopped_because: str
    num_rows: Mapping[str, int]
    columns: Sequence[ColumnFinding]
    candidates: Sequence[CandidateFinding]
    best: str | None
    classes: Sequence[str] = ()
    class_counts: Sequence[int] = ()
    bad_rows: Sequence[BadRowFinding] = ()
    num_bad_rows: int | None = None
    problems: Sequence[str] = ()
    members: Sequence[MemberFinding] = ()
    temperature: float = 1.0
    decision: Decision | None = None
    decision_reason: str = ""
    validation: Part | None = None
    test: Part | None = None
    artifact: ArtifactFinding | None = None
    importance: Sequence[ImportanceFinding] = ()
    augmentation: Sequence[AugmentationFinding] = ()
    symmetries: Sequence[SymmetryFinding] = ()
    limits: Mapping[str, LimitFinding] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    command: Sequence[str] = ()
    seed: int = 0
    folds: int | None = None
    started: str = ""
    notes: Sequence[str] = ()
