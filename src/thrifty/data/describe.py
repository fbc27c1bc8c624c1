"""What `thrifty inspect` prints, as plain values: the task, the columns, the splits and every problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.data.column import Task
from thrifty.data.dataset import Dataset
from thrifty.data.findings import Findings, place
from thrifty.data.split import ASIDE

_MOST_BAD = 5


@dataclass(frozen=True)
class Description:
    """task: the first line of output. columns: {name, meaning, reason, missing, distinct, examples} each.

    splits: {train, validation, test, set_aside, folds}. classes: (class, rows), most frequent first. problems: lines.
    """

    task: str
    columns: tuple[dict[str, Any], ...]
    splits: dict[str, int]
    splits_line: str
    classes: tuple[tuple[str, int], ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "columns": [dict(column) for column in self.columns],
            "splits": dict(self.splits),
            "classes": [list(item) for item in self.classes],
            "problems": list(self.problems),
        }


def describe(dataset: Dataset, findings: Findings) -> Description:
    """Puts a dataset and what was noticed about it into words."""
    schema = dataset.schema
    columns = tuple(
        {
            "name": c.name,
            "meaning": c.meaning.value,
            "reason": c.reason,
            "missing": c.num_missing,
            "distinct": c.num_distinct,
            "examples": list(c.examples),
        }
        for c in schema.columns
    )
    splits = split_sizes(dataset)
    bad = [f"  {place(row)}: {row.reason}" for row in findings.bad_rows[:_MOST_BAD]]
    if len(findings.bad_rows) > _MOST_BAD:
        bad.append(f"  and {len(findings.bad_rows) - _MOST_BAD:,} more, in bad_rows.csv")
    problems: list[str] = []
    for item in findings.items:
        problems.append(item.message)
        if item.kind == "bad_rows" and bad:
            problems[-1] = "\n".join([item.message, *bad])
            bad = []
    return Description(
        task=f"{schema.target}: {schema.task.value}, because it holds {schema.target_reason}",
        columns=columns,
        splits=splits,
        splits_line=splits_line(dataset, splits),
        classes=class_counts(dataset),
        problems=tuple(problems),
    )


def split_sizes(dataset: Dataset) -> dict[str, int]:
    """Rows per part; with cross-validation `train` holds all development rows and `validation` is 0."""
    part, splits = dataset.splits.part, dataset.splits
    return {
        "train": int((part == 0).sum()),
        "validation": int((part == 1).sum()),
        "test": int((part == 2).sum()),
        "set_aside": int((part == ASIDE).sum()),
        "folds": splits.num_folds,
    }


def splits_line(dataset: Dataset, sizes: dict[str, int]) -> str:
    """The splits in one line."""
    schema = dataset.schema
    how = f" by group {schema.group}" if schema.group else f" by time {schema.time}" if schema.time else ""
    if sizes["folds"]:
        line = f"{sizes['train']:,} rows to learn from, validated in {sizes['folds']} folds{how}"
    else:
        line = f"{sizes['train']:,} train and {sizes['validation']:,} validation rows{how}"
    line += f", {sizes['test']:,} test rows" if sizes["test"] else ", no test rows (too few to hold some out)"
    return line + (f", {sizes['set_aside']:,} set aside" if sizes["set_aside"] else "")


def class_counts(dataset: Dataset) -> tuple[tuple[str, int], ...]:
    """(class, development rows that have it), most frequent first; empty for regression."""
    schema = dataset.schema
    if schema.task is Task.REGRESSION:
        return ()
    targets = dataset.targets(dataset.splits.development_rows)
    if schema.task is Task.MULTILABEL:
        counts = targets.sum(axis=0).astype(np.int64)
    else:
        counts = np.bincount(targets, minlength=len(schema.classes))
    order = np.argsort(-counts, kind="stable")
    return tuple((schema.classes[i], int(counts[i])) for i in order)
