"""Columns as their meanings ask for: numbers as float64, paths absolute; other cells as they stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from thrifty.core.errors import DataError
from thrifty.data.column import MEDIA, Meaning, Schema
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.number import as_float, parse_number
from thrifty.data.encode.timestamp import find_format, parse_timestamp
from thrifty.data.formats import arrow_file
from thrifty.data.read import resolved
from thrifty.data.table import plain

if TYPE_CHECKING:
    import pyarrow as pa

_TIMES_SHARE = 0.5  # of the texts in a column that is named as the time, to be points in time
_SAMPLE = 2000
_EPOCH = np.datetime64("1970-01-01T00:00:00", "us")


class Numbers(NamedTuple):
    """A column as float64, and what became missing in it.

    junk: how many cells are texts that are no numbers. infinite: the rows of infinite cells, int64.
    """

    values: pa.ChunkedArray
    junk: int
    infinite: np.ndarray


@dataclass
class Lost:
    """What became missing in one number column: texts that are no numbers, and the rows of infinite cells."""

    junk: int = 0
    infinite: list[int] = field(default_factory=list)


def numbers(column: pa.ChunkedArray) -> Numbers:
    """A column as numbers; infinite ones and texts that are no numbers become missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        return _finite(column.cast(pa.float64(), safe=False), 0)
    try:
        return _finite(pc.utf8_trim_whitespace(column).cast(pa.float64()), 0)
    except pa.ArrowInvalid:
        pass
    values, junk = [], 0
    known: dict[str, float | None] = {}
    for cell in plain(column):
        if cell not in known:
            known[cell] = _read(cell)
        value = known[cell]
        junk += value is None
        values.append(value)
    return _finite(pa.chunked_array([pa.array(values, pa.float64(), from_pandas=True)]), junk)


def _finite(values: pa.ChunkedArray, junk: int) -> Numbers:
    """The values with missing ones in the place of infinite ones."""
    import pyarrow.compute as pc

    infinite = pc.is_inf(values)
    if not pc.any(infinite).as_py():
        return Numbers(values, junk, np.zeros(0, np.int64))
    rows = np.flatnonzero(pc.fill_null(infinite, False).to_numpy())
    return Numbers(pc.if_else(infinite, None, values), junk, rows)


def _read(cell: str | None) -> float | None:
    """A text as a number, infinite ones as they are; None when it is none."""
    try:
        return as_float(cell) if cell is not None else float("nan")
    except ValueError:
        pass
    try:
        return parse_number(cell)
    except UnreadableError:
        return None


def seconds(column: pa.ChunkedArray) -> np.ndarray:
    """A time column as float64 seconds (or plain numbers as they are), NaN where missing or unreadable."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        cells = plain(column)
        form = find_format([cell for cell in cells if cell], share=_TIMES_SHARE)
        if form is not None:
            return np.array([_seconds_of(cell, form) for cell in cells])
    return np.array(numbers(column).values.to_numpy(), np.float64)


def _seconds_of(cell: str | None, form: str) -> float:
    try:
        at = parse_timestamp(cell, form)
    except UnreadableError:
        return float("nan")
    return float("nan") if at is None else float((np.datetime64(at, "us") - _EPOCH) / np.timedelta64(1, "s"))


def num_unread_times(column: pa.ChunkedArray) -> int:
    """How many texts of a column of times are none; 0 where an even sample of them has no such text."""
    import pyarrow as pa

    if not pa.types.is_string(column.type):
        return 0
    cells = plain(column)
    form = find_format(cells) or ""
    if not any(_is_unread(cell, form) for cell in cells[:: max(1, len(cells) // _SAMPLE)]):
        return 0
    return sum(count for cell, count in Counter(cells).items() if _is_unread(cell, form))


def _is_unread(cell: str | None, form: str) -> bool:
    try:
        parse_timestamp(cell, form)
    except UnreadableError:
        return True
    return False


def typed_schema(arrow: pa.Table, schema: Schema) -> pa.Schema:
    """The types of the input columns on disk."""
    import pyarrow as pa

    fields = []
    for name, meaning in schema.inputs.items():
        kind = arrow.schema.field(name).type
        if meaning is Meaning.NUMBER:
            kind = pa.float64()
        elif meaning is Meaning.TEXT:
            kind = pa.string()
        fields.append((name, kind))
    return pa.schema(fields)


def batches(arrow: pa.Table, schema: Schema, root: Path | None, lost: dict[str, Lost]) -> Iterator[pa.RecordBatch]:
    """The input columns in batches; `lost` gathers what becomes missing in number columns."""
    import pyarrow as pa

    target = typed_schema(arrow, schema)
    for start in range(0, arrow.num_rows, arrow_file.BATCH_ROWS):
        piece = arrow.slice(start, arrow_file.BATCH_ROWS)
        arrays = []
        for (name, meaning), wanted in zip(schema.inputs.items(), target, strict=True):
            column = piece.column(name)
            if meaning is Meaning.NUMBER:
                column, junk, infinite = numbers(column)
                told = lost.setdefault(name, Lost())
                told.junk += junk
                told.infinite += (infinite + start).tolist()
            elif meaning in MEDIA and pa.types.is_string(column.type):
                column = pa.chunked_array([pa.array(resolved(plain(column), root), pa.string())])
            elif column.type != wanted.type:
                column = _as_text(column, name)
            whole = column.combine_chunks()
            arrays.append(pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole)
        yield pa.RecordBatch.from_arrays(arrays, schema=target)


def _as_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        raise DataError(
            f"the column {name!r} is set to be text, but holds bytes that are not UTF-8; set another meaning with "
            f"--set schema.{name}=..."
        ) from None


def write(path: Path, arrow: pa.Table, schema: Schema, root: Path | None) -> tuple[pa.Table, dict[str, Lost]]:
    """Writes the input columns to a file; gives them back memory-mapped, and what became missing per number column."""
    lost: dict[str, Lost] = {}
    arrow_file.write(path, typed_schema(arrow, schema), batches(arrow, schema, root, lost))
    return arrow_file.open_mapped(path), lost
