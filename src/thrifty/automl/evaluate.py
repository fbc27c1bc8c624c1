"""Scoring a finished model on labelled data, with intervals; needs no training library."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import DataError, StoreError
from thrifty.core.run_directory import open_run
from thrifty.data.column import Meaning, Task
from thrifty.data.read import PART_CODES, Read, Rows, read, rows_of
from thrifty.data.roles import BAD_WEIGHT, groups_of, weights_of
from thrifty.data.table import Table
from thrifty.data.target import Labels, read_labels
from thrifty.evaluation.decisions import Decision
from thrifty.evaluation.findings import Part
from thrifty.evaluation.metrics import choose_metric, metrics_of
from thrifty.evaluation.report import Evaluation, evaluation
from thrifty.execution.resources import prediction_workers
from thrifty.runtime.predictor import Predictor, counting

BATCH = 1024
MOST_TOLD = 5


def evaluate(path: Path, data: Any, watch: Callable[[int, int], None] | None = None) -> Evaluation:
    """{"rows", "bad_rows", "metrics": {name: {"value", "low", "high"}}} of the artifact at `path` on labelled rows.

    Rows that cannot be read, or whose label is missing or of an unknown class, are counted as bad and not scored. Rows
    are weighed and kept together as the run did. Warns when the data lacks the column for it, and when the rows are
    those that the run at `path` learnt from. watch: is told how many rows of how many are done.
    """
    predictor = Predictor.load(path, threads=1, workers=prediction_workers())
    manifest = predictor.manifest
    task, target = Task(manifest["task"]), manifest["target"]
    with tempfile.TemporaryDirectory(prefix="thrifty-evaluate-") as workspace:
        found = read(data, Path(workspace), part="test")
        column = found.target or target
        if column not in found.table.names:
            raise DataError(f"the data has no column {target!r} with the labels to compare with")
        rows = rows_of(found, {name: Meaning(meaning) for name, meaning in predictor.columns.items()})
        labels = read_labels(found.table, column, task, tuple(manifest["classes"]))
        outputs, wrong = _outputs(predictor, rows, counting(rows.num_rows, watch))
        if _learnt_from(path, data, Path(workspace)):
            warnings.warn("these rows were learnt from: the figures say nothing about new rows", stacklevel=3)
        weights, groups = _roles(found.table, manifest, labels.problems)
        places = rows.places
        bad = _reasons(labels, wrong, places)
        unscored = _told(found, bad)
    good = [i for i in range(len(places)) if i not in bad]
    if not good:
        why = f"; {unscored[0]}" if unscored else ""
        raise DataError(
            f"none of the {rows.num_rows} rows can be scored: no readable row has a label that is known{why}"
        )
    part = Part(
        np.asarray(labels.values)[good], outputs[places[good]], None if weights is None else weights[good],
        None if groups is None else groups[good],
    )  # fmt: skip
    decision = Decision.from_json(manifest["decision"])
    num_bad = len(found.bad_rows) + len(places) - len(good)
    metric = _metric(manifest.get("metric"), task, part.y)
    positive = manifest.get("positive")
    return evaluation(str(task), metric, part, num_bad, decision, positive, unscored=unscored)


def _roles(
    table: Table, manifest: Mapping[str, Any], problems: dict[int, str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The weights and groups [N] of the rows, None for what the run had none of; bad weights go into `problems`."""
    weight, group = manifest.get("weight"), manifest.get("group")
    for name, so in ((weight, "every row counts the same"), (group, "intervals take every row to be independent")):
        if name is not None and name not in table.names:
            warnings.warn(f"the data has no column {name!r}, which the run used: {so}", stacklevel=4)
    weights = None
    if weight in table.names:
        weights, wrong = weights_of(table, weight)
        for row in wrong.tolist():
            problems.setdefault(row, BAD_WEIGHT)
    return weights, groups_of(table, group) if group in table.names else None


def _learnt_from(path: Path, data: Any, workspace: Path) -> bool:
    """Whether `data` is what the run at `path` learnt from, and has no test part that alone is scored."""
    try:
        _, request = open_run(path)
    except StoreError:
        return False
    if not isinstance(data, (str, Path)):
        return False
    source = Path(data).expanduser()
    given = [str(Path(request[name]).expanduser()) for name in ("data", "validation") if request.get(name)]
    if os.path.realpath(source) not in [os.path.realpath(path) for name in given for path in (name, *glob(name))]:
        return False
    if not source.is_dir() and source.suffix.lower() != ".zip":
        return True
    again = workspace / "again"
    again.mkdir()
    parts = read(data, again).parts
    return parts is None or not (parts == PART_CODES["test"]).any()


def _reasons(labels: Labels, wrong: dict[int, str], places: np.ndarray) -> dict[int, str]:
    """{row of the table: why it cannot be scored}."""
    reasons = {i: f"{cell[:40]!r} is not a class of the model" for i, cell in labels.unseen.items()}
    reasons.update(labels.problems)
    if wrong:
        unread = np.flatnonzero(np.isin(places, list(wrong)))
        reasons.update({int(i): wrong[int(places[i])] for i in unread})
    return reasons


def _told(found: Read, bad: dict[int, str]) -> list[str]:
    """Where the first rows are that cannot be scored, and why."""
    table = found.table
    said = [_place(row.file, row.row, row.reason) for row in found.bad_rows[:MOST_TOLD]]
    for i in islice(sorted(bad), MOST_TOLD - len(said)):
        file, row = table.origins.of(i)
        if table.file_column is not None:
            file, row = table.columns([table.file_column], np.array([i]))[table.file_column][0], None
        said.append(_place(file, row, bad[i]))
    return said


def _place(file: str, row: int | None, reason: str) -> str:
    names = ([file] if file else []) + ([f"row {row}"] if row is not None else [])
    return f"{' '.join(names)}: {reason}" if names else reason


def _outputs(
    predictor: Predictor, rows: Rows, watch: Callable[[int], None] | None
) -> tuple[np.ndarray, dict[int, str]]:
    """Probabilities or values of all rows, and {place: why it cannot be read}."""
    outputs, wrong = [], dict(rows.errors)
    for start in range(0, rows.num_rows, BATCH):
        stop = min(start + BATCH, rows.num_rows)
        values, problems = predictor.values(rows.columns(start, stop), stop - start, watch)
        for row, column, reason in problems:
            wrong.setdefault(start + row, reason if predictor.of_folder else f"{column}: {reason}")
        outputs.append(values)
    found = np.concatenate(outputs) if outputs else np.zeros((0, 1))
    return (found[:, 0] if predictor.task == Task.REGRESSION else found), wrong


def _metric(name: str | None, task: Task, y: np.ndarray) -> str:
    """The metric that the run was for; without one that is known the one that the labels suggest."""
    if name is not None and name in metrics_of(str(task)):
        return name
    counts = [] if task == Task.REGRESSION or y.ndim == 2 else np.bincount(y.astype(int)).tolist()
    return choose_metric(str(task), counts)[0]
