"""Arrow tables from Parquet, Feather and elsewhere, made flat: text, numbers, booleans, timestamps and bytes alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thrifty.data.formats import arrow_file
from thrifty.data.formats.archive import unused
from thrifty.data.formats.csv_text import renamed, unique_names
from thrifty.data.formats.kind import head_of, mismatch

if TYPE_CHECKING:
    import pyarrow as pa

_UTC = ("UTC", "Etc/UTC", "Z", "+00:00")  # for which no database of zones is asked
_RENAMED = b"thrifty.renamed"  # in a schema's metadata: JSON of the columns whose name came again
IN_MEMORY_BYTES = 256 << 20  # larger files go to an Arrow file in the workspace first


def read_parquet(path: Path, workspace: Path) -> pa.Table:
    """The table in a Parquet file; a large one is copied batch by batch into the workspace and memory-mapped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    head_of(path)
    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
            if sum(groups) <= IN_MEMORY_BYTES:
                return flat(_sound(file.read()))
            first = flat(pa.Table.from_batches([next(file.iter_batches(1))]))
            target = unused(workspace, f"{path.name}.arrow")
            parts = (
                batch
                for raw in file.iter_batches(arrow_file.BATCH_ROWS)
                for batch in flat(_sound(pa.Table.from_batches([raw]))).cast(first.schema).to_batches()
            )
            arrow_file.write(target, first.schema, parts)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise mismatch(path, f"a Parquet file that can be read ({in_brief(error)})", head_of(path)) from error
    return arrow_file.open_mapped(target)


def read_arrow(path: Path) -> pa.Table:
    """The table in an Arrow IPC file, Arrow stream or Feather file."""
    import pyarrow as pa
    import pyarrow.feather

    head = head_of(path)
    try:
        if head.startswith(b"ARROW1"):
            with pa.memory_map(str(path)) as source:
                return flat(_sound(pa.ipc.open_file(source).read_all()))
        if head.startswith(b"FEA1"):
            return flat(_sound(pyarrow.feather.read_table(path)))
        with pa.memory_map(str(path)) as source:
            return flat(_sound(pa.ipc.open_stream(source).read_all()))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise mismatch(path, f"an Arrow or Feather file that can be read ({in_brief(error)})", head) from error


def _sound(arrow: pa.Table) -> pa.Table:
    """The table when its offsets stay inside its buffers and its texts are UTF-8; raises ArrowInvalid otherwise."""
    arrow.validate(full=True)
    return arrow


def in_brief(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).strip().split("\n")[0][:160]


def flat(arrow: pa.Table) -> pa.Table:
    """The table with unique names and plain types: string, int64, float64, bool, timestamp[us], date32, binary.

    A struct of `bytes` and `path` (an image or sound of Hugging Face) becomes bytes, or the path; lists and other
    structs become JSON text. Points in time keep the clock of their zone. `renamed_in` tells of names that came again.
    """
    import pyarrow as pa

    columns = [_flat_column(column) for column in arrow.columns]
    names = [str(name) for name in arrow.column_names]
    again = {**renamed_in(arrow), **renamed(names)}
    metadata = {_RENAMED: json.dumps(again).encode()} if again else None
    schema = pa.schema(list(zip(unique_names(names), (c.type for c in columns), strict=True)), metadata)
    return pa.table(columns, schema=schema)


def renamed_in(arrow: pa.Table) -> dict[str, str]:
    """The columns of a flat table whose name had come before, {name: the name as it was given}."""
    found: dict[str, str] = json.loads((arrow.schema.metadata or {}).get(_RENAMED, b"{}"))
    return found


def _flat_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    kind, types = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _flat_column(_storage(column))
    if types.is_dictionary(kind):
        return _flat_column(column.cast(kind.value_type))
    for test, cast in _casts():
        if test(kind):
            return column if column.type == cast else _cast(column, cast)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _times(column)
    if types.is_duration(kind):
        return _seconds(column)
    if types.is_time(kind) or types.is_interval(kind):
        return _as_text(column, str)
    if types.is_struct(kind) and {f.name for f in kind} >= {"bytes", "path"}:
        return _media(column)
    return _as_text(column, _json_text)


def _casts() -> list[tuple[Callable[[Any], bool], Any]]:
    import pyarrow as pa

    types = pa.types
    return [
        (types.is_string, pa.string()),
        (lambda kind: types.is_large_string(kind) or types.is_string_view(kind), pa.string()),
        (types.is_boolean, pa.bool_()),
        (types.is_null, pa.string()),
        (types.is_uint64, pa.float64()),
        (types.is_integer, pa.int64()),
        (types.is_floating, pa.float64()),
        (types.is_decimal, pa.float64()),
        (types.is_binary, pa.binary()),
        (lambda kind: types.is_large_binary(kind) or types.is_binary_view(kind), pa.binary()),
        (types.is_fixed_size_binary, pa.binary()),
    ]


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return column.cast(kind, safe=False)
    except pa.ArrowInvalid:  # more than 2 GB of text in one chunk
        parts = [chunk.slice(i, 10_000).cast(kind) for chunk in column.chunks for i in range(0, len(chunk), 10_000)]
        return pa.chunked_array(parts, kind)


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Points in time by the clock of their zone, as single values are read; those beyond the year 9999 are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    zone = getattr(column.type, "tz", None)
    if zone in _UTC:
        column = column.cast(pa.timestamp(column.type.unit))
    elif zone is not None:
        column = pc.local_timestamp(column)
    times = column.cast(pa.timestamp("us"), safe=False)
    first, last = (pa.scalar(at, pa.timestamp("us")) for at in (datetime.min, datetime.max))
    beyond = pc.or_(pc.less(times, first), pc.greater(times, last))
    return pc.if_else(beyond, None, times) if pc.any(beyond).as_py() else times


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), per_second)


def _media(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of structs of bytes and path: the bytes, or the path of those that have none, or of all when none has bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    payload, path = pc.struct_field(column, "bytes"), pc.struct_field(column, "path")
    if payload.null_count == len(payload):
        return path.cast(pa.string())
    cells = payload.to_pylist()
    for place in pc.indices_nonzero(pc.and_(pc.is_null(payload), pc.is_valid(path))).to_pylist():
        file = Path(path[place].as_py())
        if file.is_file():
            cells[place] = file.read_bytes()
    return pa.chunked_array([pa.array(cells, pa.binary())])


def _as_text(column: pa.ChunkedArray, text: Callable[[Any], str]) -> pa.ChunkedArray:
    import pyarrow as pa

    cells = [None if cell is None else text(cell) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _json_text(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, default=str)
