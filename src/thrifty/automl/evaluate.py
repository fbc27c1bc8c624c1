"""Scoring a finished model on labelled data, with intervals; needs no training library."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import DataError
from thrifty.core.files import read_json
from thrifty.data.column import Meaning, Task
from thrifty.data.read import read, rows_of
from thrifty.data.target import read_labels
from thrifty.evaluation.decisions import Decision
from thrifty.evaluation.findings import Part
from thrifty.evaluation.metrics import choose_metric
from thrifty.evaluation.report import evaluation
from thrifty.runtime.predictor import Predictor

BATCH = 1024


def evaluate(path: Path, data: Any) -> dict[str, Any]:
    """{"rows", "bad_rows", "metrics": {name: {"value", "low", "high"}}} of the artifact at `path` on labelled rows.

    Rows that cannot be read, or whose label is missing or of an unknown class, are counted as bad and not scored.
    """
    predictor = Predictor.load(path)
    manifest = predictor.manifest
    task, target = Task(manifest["task"]), manifest["target"]
    with tempfile.TemporaryDirectory(prefix="thrifty-evaluate-") as workspace:
        found = read(data, Path(workspace), part="test")
        column = found.target or target
        if column not in found.table.names:
            raise DataError(f"the data has no column {target!r} with the labels to compare with")
        rows = rows_of(found, {name: Meaning(meaning) for name, meaning in predictor.columns.items()})
        labels = read_labels(found.table, column, task, tuple(manifest["classes"]))
        outputs, wrong = _outputs(predictor, rows)
    places = rows.places
    bad_labels = set(labels.problems) | set(labels.unseen)
    good = [i for i, place in enumerate(places) if i not in bad_labels and int(place) not in wrong]
    if not good:
        raise DataError(f"none of the {rows.num_rows} rows can be scored: no readable row has a label that is known")
    part = Part(y=np.asarray(labels.values)[good], outputs=outputs[places[good]])
    decision = Decision.from_json(manifest["decision"])
    num_bad = len(found.bad_rows) + len(places) - len(good)
    return evaluation(str(task), _metric(path, task, part.y), part, num_bad, decision, manifest.get("positive"))


def _outputs(predictor: Predictor, rows: Any) -> tuple[np.ndarray, set[int]]:
    """Probabilities or values of all rows, and the places of those that could not be read."""
    outputs, wrong = [], set(rows.errors)
    for start in range(0, rows.num_rows, BATCH):
        stop = min(start + BATCH, rows.num_rows)
        values, problems = predictor.values(rows.columns(start, stop), stop - start)
        wrong |= {start + problem.row for problem in problems}
        outputs.append(values)
    found = np.concatenate(outputs) if outputs else np.zeros((0, 1))
    return (found[:, 0] if predictor.task == Task.REGRESSION else found), wrong


def _metric(path: Path, task: Task, y: np.ndarray) -> str:
    """The metric that the run was for; for an artifact alone the one that the labels suggest."""
    for folder in (path, path.parent):
        if (folder / "report.json").exists():
            return str(read_json(folder / "report.json")["metric"])
    counts = [] if task == Task.REGRESSION or y.ndim == 2 else np.bincount(y.astype(int)).tolist()
    return choose_metric(str(task), counts)[0]
