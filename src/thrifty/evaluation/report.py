"""report.json: everything a run found, in plain JSON values.

Scores carry 95 % intervals. All metric values are plain (a log loss is positive), whatever the search compared. What is
undefined is null.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thrifty.evaluation.decisions import Decision, certain
from thrifty.evaluation.findings import ArtifactFinding, CandidateFinding, Findings, Part
from thrifty.evaluation.intervals import Interval, intervals
from thrifty.evaluation.metrics import METRICS, confidences, confusion, metrics_of, positive_of, signed
from thrifty.evaluation.slices import class_table, confused, reliability, slice_metric, slice_table

MAX_CONFUSION_CLASSES = 100
MAX_LISTED_BAD_ROWS = 100
MAX_POINTS = 1000


class Evaluation(dict[str, Any]):
    """{"rows", "bad_rows", "metrics": {name: {"value", "low", "high"}}}.

    `unscored` says of the first rows that could not be scored where they are and why.
    """

    unscored: Sequence[str] = ()


def build(findings: Findings, seconds: float = 3.0) -> dict[str, Any]:
    """The report as the dict that becomes report.json; `seconds` is about how long its intervals may take."""
    started = time.monotonic()
    test = scores(findings, findings.test, seconds * 0.5)
    validation = scores(findings, findings.validation, max(0.0, seconds * 0.75 - (time.monotonic() - started)))
    closer = _closer(findings, max(0.05, seconds - (time.monotonic() - started)))
    report = {
        "version": findings.version,
        "name": findings.name,
        "run": findings.run,
        "task": str(findings.task),
        "target": findings.target,
        "metric": findings.metric,
        "metric_reason": findings.metric_reason,
        "metric_direction": METRICS[findings.metric].direction,
        "budget_seconds": findings.budget_seconds,
        "spent_seconds": findings.spent_seconds,
        "stopped_because": findings.stopped_because,
        "data": _data(findings),
        "candidates": [_candidate(c, findings.metric) for c in findings.candidates],
        "best": findings.best,
        "validation": validation,
        "test": test,
        "artifact": None if findings.artifact is None else _artifact(findings.artifact),
        "limits": {name: dict(vars(limit)) for name, limit in findings.limits.items()},
        "environment": dict(findings.environment),
        "trials": _trials(findings),
        "members": [dict(vars(member)) for member in findings.members],
        "temperature": findings.temperature,
        "decision": None if findings.decision is None else findings.decision.to_json(),
        "decision_reason": findings.decision_reason,
        "closer": closer,
        "importance": [dict(vars(one)) for one in findings.importance],
        "augmentation": [dict(vars(one)) for one in findings.augmentation],
        "symmetries": [dict(vars(one)) for one in findings.symmetries],
        "phases": dict(findings.phases),
        "command": list(findings.command),
        "seed": findings.seed,
        "folds": findings.folds,
        "started": findings.started,
        "notes": list(findings.notes),
    }
    plain: dict[str, Any] = plain_json(report)
    return plain


def evaluation(
    task: str,
    metric: str,
    part: Part,
    num_bad_rows: int,
    decision: Decision | None = None,
    positive: int | None = None,
    seconds: float | None = None,
    unscored: Sequence[str] = (),
) -> Evaluation:
    """What `thrifty evaluate --json` prints: {rows, bad_rows, metrics {name: {value, low, high}}}, `metric` first."""
    found = _intervals(task, metric, part, decision, positive, seconds)
    metrics = {name: interval.to_json() for name, interval in found.items()}
    made = Evaluation(rows=len(part.y), bad_rows=num_bad_rows, metrics=metrics)
    made.unscored = tuple(unscored)
    return made


def scores(findings: Findings, part: Part | None, seconds: float | None = None) -> dict[str, Any] | None:
    """{metric: {value, low, high}} of one part, the run's metric first; None without the part."""
    if part is None or not len(part.y):
        return None
    positive = positive_of(findings.class_counts)
    found = _intervals(findings.task, findings.metric, part, findings.decision, positive, seconds)
    return {name: interval.to_json() for name, interval in found.items()}


def plain_json(value: Any) -> Any:
    """`value` in JSON's own types: numpy's unwrapped, tuples as lists, nan and infinities null, text made UTF-8."""
    if isinstance(value, Mapping):
        return {plain_json(str(k)): plain_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain_json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain_json(v) for v in value]
    if isinstance(value, np.generic):
        return plain_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _intervals(
    task: str, metric: str, part: Part, decision: Decision | None, positive: int | None, seconds: float | None
) -> dict[str, Interval]:
    names = [metric, *[name for name in metrics_of(task) if name != metric]]
    return intervals(
        names, task, part.y, part.outputs, decision=decision, answers=part.answers, weights=part.weights,
        groups=part.groups, positive=positive, seconds=seconds,
    )  # fmt: skip


def _data(findings: Findings) -> dict[str, Any]:
    num_bad = len(findings.bad_rows) if findings.num_bad_rows is None else findings.num_bad_rows
    notes = {c.name: {k: v for k, v in vars(c).items() if k not in ("name", "meaning")} for c in findings.columns}
    counts = dict(zip(findings.classes, map(int, findings.class_counts))) if findings.classes else None
    return {
        "rows": {part: int(findings.num_rows.get(part, 0)) for part in ("train", "validation", "test")},
        "columns": {c.name: str(c.meaning) for c in findings.columns},
        "bad_rows": num_bad,
        "classes": counts or None,
        "problems": list(findings.problems),
        "column_notes": notes,
        "bad_row_list": [dict(vars(row)) for row in findings.bad_rows[:MAX_LISTED_BAD_ROWS]],
    }


def _candidate(candidate: CandidateFinding, metric: str) -> dict[str, Any]:
    valued = [t for t in candidate.trials if t.value is not None and math.isfinite(t.value)]
    best = max(valued, key=lambda t: t.value or 0.0, default=None)
    return {
        "name": candidate.name,
        "status": candidate.status,
        "validation": None if best is None or best.value is None else signed(metric, best.value),
        "seconds": sum(t.cost_seconds for t in candidate.trials),
        "reason": candidate.reason,
        "trials": len(candidate.trials),
        "best_trial": None if best is None else best.trial,
    }


def _trials(findings: Findings) -> list[dict[str, Any]]:
    rows = []
    for candidate in findings.candidates:
        for t in candidate.trials:
            value = None if t.value is None else signed(findings.metric, t.value)
            rows.append(
                {
                    "trial": t.trial,
                    "candidate": candidate.name,
                    "status": t.status,
                    "validation": value,
                    "started_seconds": max(0.0, t.started_seconds),
                    "ended_seconds": max(0.0, t.ended_seconds),
                    "seconds": max(0.0, t.cost_seconds),
                    "why": t.why,
                    "config": dict(t.config),
                    "curve": [signed(findings.metric, v) for v in t.curve],
                    "notes": dict(t.notes),
                }
            )
    return sorted(rows, key=lambda row: (row["ended_seconds"], row["trial"]))


def _artifact(artifact: ArtifactFinding) -> dict[str, Any]:
    return {
        "path": artifact.path,
        "size_bytes": artifact.size_bytes,
        "precision": artifact.precision,
        "latency_ms": {"p50": artifact.latency_p50_ms, "p95": artifact.latency_p95_ms},
        "parity": None if artifact.parity is None else dict(artifact.parity),
        "threads": artifact.threads,
        "pretrained": [dict(weights) for weights in artifact.pretrained],
        "int8": None if artifact.int8 is None else dict(artifact.int8),
    }


def _closer(findings: Findings, seconds: float) -> dict[str, Any] | None:
    """A closer look at the test part, or at validation where there is none."""
    name, part = ("test", findings.test) if findings.test is not None else ("validation", findings.validation)
    if part is None or not len(part.y):
        return None
    task = str(findings.task)
    found: dict[str, Any] = {"part": name, "rows": len(part.y), "classes": [], "confusion": None, "confused": []}
    found |= {"reliability": None, "values": None}
    if task == "regression":
        found["values"] = _values(part)
    else:
        y = part.y.astype(np.int64)
        codes = part.answered(task, findings.decision)
        found["classes"] = class_table(findings.classes, y, codes, part.weights)
        if task != "multilabel":
            found["confused"] = confused(findings.classes, y, codes)
            if len(findings.classes) <= MAX_CONFUSION_CLASSES:
                found["confusion"] = confusion(y, codes, len(findings.classes))
        weights = None if part.weights is None else np.repeat(part.weights, y[0].size)
        found["reliability"] = {
            when: None if p is None or not np.isfinite(p).all() else reliability(*confidences(task, y, p), weights)
            for when, p in (("before", part.uncalibrated), ("after", part.outputs))
        }
    found["slice_metric"] = slice_metric(findings.metric, task)
    found["slices"] = slice_table(
        part.slicings, found["slice_metric"], task, part.y, _outputs_for(found["slice_metric"], task, part, findings),
        part.weights, part.groups, positive_of(findings.class_counts), seconds,
    )  # fmt: skip
    return found


def _outputs_for(metric: str, task: str, part: Part, findings: Findings) -> np.ndarray:
    """The outputs that a metric is computed from, answers as certain ones where it counts answers alone."""
    if METRICS[metric].needs != "labels" or not np.isfinite(part.outputs).all():
        return part.outputs
    return certain(part.answered(task, findings.decision), part.outputs.shape[1])


def _values(part: Part) -> dict[str, Any] | None:
    """For a plot of true against predicted: at most MAX_POINTS rows, evenly taken, and quantiles of the error."""
    y_N, z_N = part.y.reshape(-1).astype(np.float64), part.outputs.reshape(-1).astype(np.float64)
    known_N = np.isfinite(z_N)
    y_N, z_N = y_N[known_N], z_N[known_N]
    if not len(z_N):
        return None
    rows = np.unique(np.linspace(0, len(y_N) - 1, min(len(y_N), MAX_POINTS)).astype(np.int64))
    errors = np.quantile(np.abs(y_N - z_N), (0.5, 0.9, 0.99))
    return {
        "true": [float(f"{y:.7g}") for y in y_N[rows]],
        "predicted": [float(f"{z:.7g}") for z in z_N[rows]],
        "absolute_error": {"p50": errors[0], "p90": errors[1], "p99": errors[2]},
    }
