"""A table of undecoded values, and where each of its rows came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class BadRow(NamedTuple):
    """A row that was set aside.

    file: as the user knows it; "" for a table in memory. row: counted from 1 without a header, None for a file that is
    one row. column: "" when the row as a whole is meant.
    """

    file: str
    row: int | None
    column: str
    reason: str


@dataclass(frozen=True)
class Origins:
    """Which file and row each row of a table came from.

    files[i] gave the rows from starts[i] on. skipped[i]: the numbers (from 1, ascending) of its rows that are not in
    the table. rows: for a table whose rows were picked, their places before picking. known: False when the file was
    sampled, so that numbers cannot be told.
    """

    files: tuple[str, ...] = ("",)
    starts: tuple[int, ...] = (0,)
    skipped: tuple[np.ndarray, ...] = (np.zeros(0, np.int64),)
    rows: np.ndarray | None = None
    known: bool = True

    def of(self, row: int) -> tuple[str, int | None]:
        """(file, number of the row in it, from 1)."""
        place = int(self.rows[row]) if self.rows is not None else row
        which = bisect_right(self.starts, place) - 1
        number = place - self.starts[which] + 1
        skipped = self.skipped[which]
        if len(skipped):  # the number-th of those that are not skipped
            kept_before = skipped - np.arange(1, len(skipped) + 1)
            number += int(np.searchsorted(kept_before, number, side="left"))
        return self.files[which], number if self.known else None


@dataclass(frozen=True)
class Table:
    """Columns of undecoded values in Arrow; a cell of an image or sound is a path or bytes.

    root: the folder that relative paths start from. file_column: the column whose value names the row's own file, for
    data that is a folder of files. json: whether booleans are written as JSON writes them.
    """

    arrow: pa.Table
    root: Path | None = None
    origins: Origins = Origins()
    file_column: str | None = None
    json: bool = False

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arrow.column_names)

    def take(self, rows: np.ndarray) -> Table:
        """The table of the given rows, in their order."""
        import pyarrow as pa

        picked = rows if self.origins.rows is None else self.origins.rows[rows]
        origins = replace(self.origins, rows=np.asarray(picked, np.int64))
        columns = [taken(column, rows) for column in self.arrow.columns]
        return replace(self, arrow=pa.table(columns, schema=self.arrow.schema), origins=origins)

    def columns(self, names: Iterable[str] | None = None, rows: np.ndarray | None = None) -> dict[str, list[Any]]:
        """The columns as lists of plain values, `None` where missing; of the given rows, in their order."""
        wanted = self.names if names is None else tuple(names)
        return {name: plain(self.arrow.column(name), rows) for name in wanted}

    def origin(self, row: int) -> tuple[str, int | None]:
        """(file, row in it from 1); a row that is a file of its own gives (that file, None)."""
        if self.file_column is not None:
            return str(self.arrow.column(self.file_column)[row].as_py()), None
        return self.origins.of(row)


def file_names(table: Table, most: int = 2) -> str:
    """The files that the table's rows are from, in words; "" for values in memory."""
    origins = table.origins
    if origins.rows is None:
        used = [file for file, start in zip(origins.files, origins.starts, strict=True) if start <= len(table)]
    else:
        which = np.unique(np.searchsorted(origins.starts, origins.rows, side="right") - 1)
        used = [origins.files[i] for i in which.tolist()]
    used = [file for file in used if file]
    more = f" and {len(used) - most:,} more" if len(used) > most else ""
    return ", ".join(used[:most]) + more


def said_of(table: Table, message: str) -> str:
    """A message about a table with its files before it."""
    names = file_names(table)
    return f"{names}: {message}" if names else message


def taken(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """The values of the given rows, in their order; unlike Arrow's own it does not first copy the whole column.

    Rows that follow each other are not copied at all.
    """
    import pyarrow as pa

    rows = np.asarray(rows, np.int64)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return column.slice(rows[0], len(rows))
    if column.num_chunks < 2:
        return column.take(pa.array(rows))
    order = None
    if len(rows) > 1 and (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    cuts = np.searchsorted(rows, ends)
    pieces = []
    for place, chunk in enumerate(column.chunks):
        low, start = (int(cuts[place - 1]), int(ends[place - 1])) if place else (0, 0)
        if cuts[place] > low:
            pieces.append(chunk.take(pa.array(rows[low : cuts[place]] - start)))
    found = pa.chunked_array(pieces, column.type)
    if order is None:
        return found
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return found.take(pa.array(back))


class Cells(Sequence[Any]):
    """An Arrow column, or some of its rows, as a sequence that makes each value when asked for it, None if missing."""

    def __init__(self, column: pa.ChunkedArray, rows: np.ndarray | None = None) -> None:
        self._chunks, self._rows = column.chunks, rows
        self._ends = np.cumsum([len(chunk) for chunk in column.chunks], dtype=np.int64)

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < len(self):
            raise IndexError(place)
        row = int(place if self._rows is None else self._rows[place])
        which = int(np.searchsorted(self._ends, row, side="right"))
        return self._chunks[which][row - (int(self._ends[which - 1]) if which else 0)].as_py()


def plain(column: pa.ChunkedArray, rows: np.ndarray | None = None) -> list[Any]:
    """An Arrow column as a list of plain Python values, `None` for nulls and NaN."""
    import pyarrow as pa

    if rows is not None:
        column = taken(column, rows)
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        holes = np.isnan(values)
        if not holes.any():
            return list(values.tolist())
        items = values.astype(object)
        items[holes] = None
        return list(items.tolist())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return list(column.to_numpy(zero_copy_only=False).tolist()) if len(column) else []
    return list(column.to_pylist())


def concatenated(tables: Sequence[Table]) -> Table:
    """The tables below each other, columns matched by name; a column that one lacks is missing there.

    A column whose types differ becomes text. The root is the first table's.
    """
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    types: dict[str, pa.DataType] = {}
    for table in tables:
        for column in table.arrow.schema:
            before = types.get(column.name, pa.null())
            types[column.name] = column.type if pa.types.is_null(before) else _common(before, column.type)
    parts = [_as_types(table.arrow, types) for table in tables]
    files: list[str] = []
    starts: list[int] = []
    skipped: list[np.ndarray] = []
    picked: list[np.ndarray] = []
    offset = 0
    for table in tables:
        base = table.origins
        size = len(table) if base.rows is None else int(base.rows.max(initial=-1)) + 1
        files += base.files
        starts += [start + offset for start in base.starts]
        skipped += base.skipped
        picked.append((np.arange(len(table)) if base.rows is None else base.rows) + offset)
        offset += size
    rows = np.concatenate(picked) if any(t.origins.rows is not None for t in tables) else None
    origins = Origins(tuple(files), tuple(starts), tuple(skipped), rows, all(t.origins.known for t in tables))
    return replace(tables[0], arrow=pa.concat_tables(parts), origins=origins)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if one == other or pa.types.is_null(other):
        return one
    numeric = (pa.types.is_integer, pa.types.is_floating)
    if all(any(test(kind) for test in numeric) for kind in (one, other)):
        return pa.float64()
    if pa.types.is_binary(one) or pa.types.is_binary(other):
        return pa.binary()
    return pa.string()


def _as_types(arrow: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    columns = []
    for name, kind in types.items():
        if name not in arrow.column_names:
            columns.append(pa.nulls(arrow.num_rows, kind))
        else:
            column = arrow.column(name)
            columns.append(column if column.type == kind else column.cast(kind, safe=not pa.types.is_floating(kind)))
    return pa.table(columns, names=list(types))
