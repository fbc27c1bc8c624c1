"""Findings about cells, times and labels, in words.

Nothing is changed here: what a finding tells of is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.data.encode.number import MISSING_TEXTS
from thrifty.data.encode.values import is_missing
from thrifty.data.findings import Finding, counted, places
from thrifty.data.infer import written_numbers
from thrifty.data.split import ASIDE, Splits
from thrifty.data.table import Table, plain
from thrifty.data.target import alike, extremes
from thrifty.data.typed import Lost, num_unread_times

if TYPE_CHECKING:
    import pyarrow as pa


def of_lost_cells(table: Table, lost: Mapping[str, Lost]) -> list[Finding]:
    """Cells of number columns that count as missing."""
    found = []
    for name, of in lost.items():
        if of.junk:
            found.append(_unread(name, of.junk, "number"))
        if of.infinite:
            cells = counted(len(of.infinite), "cell", "cells")
            count = "is infinite and counts" if len(of.infinite) == 1 else "are infinite and count"
            said = f"{cells} of {name!r} {count} as missing: {places(table, of.infinite)}"
            found.append(Finding("column", name, len(of.infinite), said))
    return found


def of_unread_times(arrow: pa.Table, schema: Schema) -> list[Finding]:
    """Cells of columns of times that count as missing; `of_times` tells of those that rows are split by."""
    found = []
    for name in schema.names_of(Meaning.TIMESTAMP):
        unread = num_unread_times(arrow.column(name)) if name != schema.time else 0
        if unread:
            found.append(_unread(name, unread, "point in time"))
    return found


def _unread(name: str, cells: int, what: str) -> Finding:
    count = "counts" if cells == 1 else "count"
    said = f"{counted(cells, 'cell', 'cells')} of {name!r} can be read as no {what} and {count} as missing"
    return Finding("column", name, cells, said)


def of_written_numbers(table: Table, schema: Schema, settled: Sequence[str]) -> list[Finding]:
    """Columns, and the target, of numbers in a form that is not read as one. settled: columns with a meaning set."""
    columns = [column for column in schema.columns if column.name not in settled]
    if schema.classes and schema.target not in settled:
        columns.append(Column(schema.target, Meaning.CATEGORY, ""))
    return [
        Finding(
            "target" if name == schema.target else "column",
            name,
            0,
            f"the column {name!r} holds numbers written as text ({text}): write them as plain numbers, such as 1200.5",
        )
        for name, text in written_numbers(table, columns).items()
    ]


def of_times(table: Table, name: str, without: np.ndarray, grouped: bool) -> Finding:
    """Rows of a time column that have no time. grouped: whether rows of a group stay together."""
    cells = plain(table.arrow.column(name), without)
    unread = [place for place, cell in enumerate(cells) if not _is_missing_time(cell)]
    said = []
    if len(unread) < len(without):
        said.append(f"{counted(len(without) - len(unread), 'is', 'are')} missing")
    if unread:
        shown = "; ".join(f"{places(table, [int(without[i])])}: {str(cells[i])[:40]!r}" for i in unread[:3])
        more = "; ..." if len(unread) > 3 else ""
        said.append(f"{len(unread):,} cannot be read as a point in time ({shown}{more})")
    rows, count = counted(len(without), "row has", "rows have"), "counts" if len(without) == 1 else "count"
    return Finding(
        "time",
        name,
        len(without),
        f"{rows} no time in {name!r} and {count} as the earliest{'' if grouped else ', to learn from'} "
        f"({places(table, without.tolist())}): {' and '.join(said)}",
    )


def _is_missing_time(cell: object) -> bool:
    return is_missing(cell) or str(cell).strip().lower() in MISSING_TEXTS


def of_target(table: Table, schema: Schema, targets: np.ndarray, splits: Splits) -> list[Finding]:
    """Labels far from all others; classes that are written nearly alike, and such as are never validated on."""
    if schema.task is Task.REGRESSION:
        return _of_extremes(table, schema, targets, splits)
    return [*_of_alike(schema), *_of_unscored(schema, targets, splits)]


def _of_extremes(table: Table, schema: Schema, targets: np.ndarray, splits: Splits) -> list[Finding]:
    rows = np.flatnonzero(splits.part != ASIDE)
    low, high = np.quantile(targets[rows], (0.25, 0.75))
    rows = rows[extremes(targets[rows])]
    if not len(rows):
        return []
    shown = ", ".join(f"{targets[row]:g}" for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    said = (
        f"{counted(len(rows), 'label lies', 'labels lie')} far from all others: {shown} in "
        f"{places(table, rows.tolist())}, where half of the labels lie between {low:g} and {high:g}. They are kept, "
        "and can rule the model and its figures: correct them, or take the rows out, if they are wrong"
    )
    return [Finding("target", schema.target, len(rows), said)]


def _of_alike(schema: Schema) -> list[Finding]:
    groups = alike(schema.classes)
    if not groups:
        return []
    same = all(len({" ".join(text.split()).casefold() for text in group}) == 1 for group in groups)
    how = "case or spaces" if same else "how a number is written"
    shown = "; ".join(" and ".join(map(repr, group[:4])) for group in groups[:3]) + ("; ..." if groups[3:] else "")
    said = f"classes differ only in {how} and are learnt as different ones: {shown}. Write them alike if they are one"
    return [Finding("classes", schema.target, 0, said)]


def _of_unscored(schema: Schema, targets: np.ndarray, splits: Splits) -> list[Finding]:
    """Classes with rows to learn from, of which no row is validated on: a class of one row cannot be split."""

    def counts(rows: np.ndarray) -> np.ndarray:
        if schema.task is Task.MULTILABEL:
            return np.asarray(targets[rows].sum(axis=0), np.int64)
        return np.bincount(targets[rows], minlength=len(schema.classes))

    learnt = counts(splits.development_rows)
    missing = np.flatnonzero((learnt > 0) & (counts(splits.validation_rows) == 0))
    if not len(missing):
        return []
    names = ", ".join(f"{schema.classes[i]!r} ({counted(int(learnt[i]), 'row', 'rows')})" for i in missing[:5])
    classes = counted(len(missing), "class is", "classes are")
    only = splits.development_rows[~np.isin(splits.development_rows, splits.validation_rows)]
    num_rows = len(only) if splits.fold is not None else int(learnt[missing].sum())
    said = (
        f"{classes} learnt but never validated on: {names}{', ...' if len(missing) > 5 else ''}; "
        f"{counted(num_rows, 'row takes', 'rows take')} part in learning but not in validation for that"
    )
    return [Finding("classes", schema.target, num_rows, said)]
