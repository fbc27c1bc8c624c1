"""Columns as their meanings ask for: numbers as float64, paths absolute; other cells as they stood."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thrifty.data.column import MEDIA, Meaning, Schema
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.number import parse_number
from thrifty.data.encode.timestamp import find_format, parse_timestamp
from thrifty.data.formats import arrow_file
from thrifty.data.read import resolved
from thrifty.data.table import plain

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = np.datetime64("1970-01-01T00:00:00", "us")


def numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """A column as float64, and how many cells are texts that are no numbers (they become missing)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        return column.cast(pa.float64(), safe=False), 0
    try:
        return pc.utf8_trim_whitespace(column).cast(pa.float64()), 0
    except pa.ArrowInvalid:
        pass
    values, junk = [], 0
    known: dict[str, float | None] = {}
    for cell in plain(column):
        if cell not in known:
            try:
                known[cell] = parse_number(cell)
            except UnreadableError:
                known[cell] = None
        value = known[cell]
        junk += value is None
        values.append(value)
    return pa.chunked_array([pa.array(values, pa.float64(), from_pandas=True)]), junk


def seconds(column: pa.ChunkedArray) -> np.ndarray:
    """A time column as float64 seconds (or plain numbers as they are), NaN where missing or unreadable."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        cells = plain(column)
        form = find_format([cell for cell in cells if cell])
        if form is not None:
            return np.array([_seconds_of(cell, form) for cell in cells])
    return np.array(numbers(column)[0].to_numpy(), np.float64)


def _seconds_of(cell: str | None, form: str) -> float:
    try:
        at = parse_timestamp(cell, form)
    except UnreadableError:
        return float("nan")
    return float("nan") if at is None else float((np.datetime64(at, "us") - _EPOCH) / np.timedelta64(1, "s"))


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


def batches(arrow: pa.Table, schema: Schema, root: Path | None, junk: dict[str, int]) -> Iterator[pa.RecordBatch]:
    """The input columns in batches; `junk` counts the cells of number columns that are no numbers."""
    import pyarrow as pa

    target = typed_schema(arrow, schema)
    for start in range(0, arrow.num_rows, arrow_file.BATCH_ROWS):
        piece = arrow.slice(start, arrow_file.BATCH_ROWS)
        arrays = []
        for (name, meaning), field in zip(schema.inputs.items(), target, strict=True):
            column = piece.column(name)
            if meaning is Meaning.NUMBER:
                column, found = numbers(column)
                junk[name] = junk.get(name, 0) + found
            elif meaning in MEDIA and pa.types.is_string(column.type):
                column = pa.chunked_array([pa.array(resolved(plain(column), root), pa.string())])
            elif column.type != field.type:
                column = column.cast(field.type)
            whole = column.combine_chunks()
            arrays.append(pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole)
        yield pa.RecordBatch.from_arrays(arrays, schema=target)


def write(path: Path, arrow: pa.Table, schema: Schema, root: Path | None) -> tuple[pa.Table, dict[str, int]]:
    """Writes the input columns to a file; gives them back memory-mapped, and the junk per number column."""
    junk: dict[str, int] = {}
    arrow_file.write(path, typed_schema(arrow, schema), batches(arrow, schema, root, junk))
    return arrow_file.open_mapped(path), {name: count for name, count in junk.items() if count}
