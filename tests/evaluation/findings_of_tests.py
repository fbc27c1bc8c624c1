"""Findings of a run that never was, for the tests of reports."""

import numpy as np

from thrifty.evaluation.decisions import Decision, probabilities_of
from thrifty.evaluation.findings import (
    ArtifactFinding,
    BadRowFinding,
    CandidateFinding,
    ColumnFinding,
    Findings,
    LimitFinding,
    MemberFinding,
    Part,
    TrialFinding,
)
from thrifty.evaluation.metrics import signed
from thrifty.evaluation.slices import by_category


def part_of(task, num_rows, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    if task == "regression":
        y = rng.normal(60, 20, num_rows)
        return Part(y, y + rng.normal(0, 9, num_rows))
    if task == "multilabel":
        y = (rng.random((num_rows, num_classes)) < 0.3).astype(int)
        z = 2 * y - 1 + rng.normal(size=y.shape)
    else:
        y = rng.integers(0, num_classes, num_rows)
        z = rng.normal(size=(num_rows, num_classes))
        z[np.arange(num_rows), y] += 2
    slicing = by_category("shop", rng.choice(["Berlin", "Osaka"], num_rows).tolist())
    return Part(y, probabilities_of(task, z), uncalibrated=probabilities_of(task, 2 * z), slicings=[slicing])


def findings_of(task="multiclass", metric="accuracy", values=(0.3, 0.8), with_test=True, **changes):
    """Two candidates that finished with the plain `values`, one that failed, one skipped."""
    num_classes = {"regression": 0, "binary": 2}.get(task, 3)
    classes = ("<b>cat</b>", "狗", "bird & bee")[:num_classes]

    def trial(number, value, start, end):
        internal = signed(metric, value)
        return TrialFinding(number, "done", internal, start, end, end - start, {"model.width": 8}, [internal])

    given = {
        "name": "pets",
        "run": "runs/my pets-1",
        "version": "0.1.0",
        "task": task,
        "target": "label",
        "metric": metric,
        "metric_reason": "classes are about equally frequent",
        "budget_seconds": 60.0,
        "spent_seconds": 58.2,
        "stopped_because": "budget",
        "num_rows": {"train": 800, "validation": 100, "test": 300 if with_test else 0},
        "columns": [ColumnFinding("file", "image", "paths of images", 0, 1200), ColumnFinding("id", "ignored")],
        "candidates": [
            CandidateFinding("baseline", "done", "what to beat", [trial(0, values[0], 1.0, 1.5)]),
            CandidateFinding("trees", "done", "cheap", [trial(1, values[1], 1.5, 9.0)]),
            CandidateFinding("kernel", "failed", "out of memory", [TrialFinding(2, "failed", None, 9, 12, 3.0)]),
            CandidateFinding("text_tfidf", "skipped", "no text column"),
        ],
        "best": "trees",
        "classes": classes,
        "class_counts": [300] * num_classes,
        "bad_rows": [BadRowFinding("cats/1.png", None, "truncated")],
        "problems": ["3 near duplicates were moved to train"],
        "members": [MemberFinding("trees", 1)],
        "decision": Decision("threshold", (0.45,)) if task == "binary" else None,
        "validation": part_of(task, 100, num_classes, seed=1),
        "test": part_of(task, 300, num_classes, seed=2) if with_test else None,
        "artifact": ArtifactFinding(
            "runs/my pets-1/artifact", 3_412_000, "float32", 2.13, 2.9, {"max_abs_difference": 1e-6, "rows": 128}
        ),
        "limits": {"max_latency_ms": LimitFinding(5.0, 2.13), "max_size_mb": LimitFinding(3.0, 3.41, False)},
        "environment": {"cpu": "2 cores"},
        "phases": {"data": 5.0, "search": 40.0, "export": 8.0},
        "command": ["thrifty", "run", "my pets", "--minutes", "1"],
        "started": "2026-11-24 08:10",
        "notes": ["int8 was refused: it lost 1.2 points"],
    }  # fmt: skip
    return Findings(**(given | changes))
