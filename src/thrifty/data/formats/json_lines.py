"""JSON lines, and files that hold one JSON list of objects."""

from __future__ import annotations

import gzip
import io
import json
import random
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from thrifty.core.errors import DataError
from thrifty.data.formats.csv_text import BadLine, Read, as_utf8
from thrifty.data.table import Table, concatenated

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 50_000
_TRIED_BYTES = 4 << 20


class _Numbered(NamedTuple):
    row: int
    value: Mapping[str, Any] | str  # an object, or why the line is bad


def read_json(data: bytes, path: Path) -> Read:
    """Reads the bytes of a whole file. Raises DataError when hardly a line is a JSON object."""
    data, notes = as_utf8(data, path)
    body = data.lstrip()
    items: Iterable[_Numbered]
    if body.startswith(b"["):
        items = _list(body, path)
    elif body.startswith(b"{") and (whole := _whole(body)) is not None:
        items = [_Numbered(1, whole)]
    else:
        items = _lines(io.BytesIO(data))
    return _gathered(items, path, notes)


def read_large_json(path: Path, gzipped: bool, seconds: float | None = None) -> Read:
    """Reads a large file line by line; one list of objects is read whole.

    seconds: how long reading may take at most; when all would take longer a random sample of the lines is read.
    """
    opener = gzip.open if gzipped else open
    try:
        with opener(path, "rb") as file:
            head = file.read(_TRIED_BYTES)
            if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"[" or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return read_json(head + file.read(), path)
            as_utf8(head, path)
            size = path.stat().st_size * (len(head) / max(1, _position(file)) if gzipped else 1)
            share = _share(head, size, seconds)
            file.seek(0)
            notes = []
            if share < 1:
                notes.append(f"a sample of {share:.1%} of the lines was read, to keep the budget")
            read = _gathered(_lines(file, share), path, notes)
            read.sampled = share < 1
            return read
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}") from error


def _position(file: Any) -> int:
    """How many compressed bytes were read."""
    return int(file.fileobj.tell())


def _share(head: bytes, size: float, seconds: float | None) -> float:
    """The share of the lines that can be read in the seconds, as timed on the head; 1 when it is all."""
    if seconds is None:
        return 1.0
    started = time.time()
    from_objects([item.value for item in _lines(io.BytesIO(head)) if not isinstance(item.value, str)])
    whole = (time.time() - started) * size / len(head)
    return min(1.0, max(0.001, seconds / max(whole, 1e-9)))


def _gathered(items: Iterable[_Numbered], path: Path, notes: list[str]) -> Read:
    """The objects as one table, the bad lines beside it."""
    read = Read(from_objects(()), [], notes)
    tables, batch = [], []
    for item in items:
        if isinstance(item.value, str):
            read.bad.append(BadLine(item.row, item.value))
            continue
        batch.append(item.value)
        if len(batch) == _BATCH_ROWS:
            tables.append(Table(from_objects(batch)))
            batch = []
    if batch:
        tables.append(Table(from_objects(batch)))
    if not tables:
        raise DataError(f"{path} is not JSON lines: {read.bad[0].reason if read.bad else 'it holds no object'}")
    read.arrow = concatenated(tables).arrow
    return read


def _whole(body: bytes) -> Mapping[str, Any] | None:
    """The one object that a file of several lines holds, None when it is anything else."""
    first_line = body.split(b"\n", 1)[0]
    try:
        json.loads(first_line)
        return None
    except ValueError:
        pass
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _list(body: bytes, path: Path) -> Iterator[_Numbered]:
    try:
        rows = json.loads(body)
    except ValueError as error:
        try:
            json.loads(body.split(b"\n", 1)[0])
        except ValueError:
            raise DataError(f"{path} is not JSON: {error}") from error
        yield from _lines(io.BytesIO(body))  # lines of lists: every line is bad
        return
    for number, row in enumerate(rows, 1):
        yield _Numbered(number, row if isinstance(row, dict) else f"row {number}: not an object but {_what(row)}")


def _lines(file: Iterable[bytes], share: float = 1.0) -> Iterator[_Numbered]:
    """The objects of a file's lines, of a random `share` of them."""
    row, chosen = 0, random.Random(0)
    for number, line in enumerate(file, 1):
        line = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not line:
            continue
        row += 1
        if share < 1 and chosen.random() >= share:
            continue
        try:
            value = json.loads(line)
        except UnicodeDecodeError as error:
            yield _Numbered(row, f"line {number}: wrong encoding: byte at place {error.start + 1} is not UTF-8")
            continue
        except (ValueError, RecursionError) as error:
            yield _Numbered(row, f"line {number}: not JSON: {error}")
            continue
        yield _Numbered(row, value if isinstance(value, dict) else f"line {number}: not an object but {_what(value)}")


def _what(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def from_objects(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table: a column per name in the order of first use; cells of mixed types become text, lists JSON."""
    import pyarrow as pa

    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    columns = [column_of([row.get(name) for row in rows]) for name in names]
    return pa.table(columns, names=[_text(str(name)) or "" for name in names])


def column_of(cells: list[Any]) -> pa.Array:
    """Cells as a column; such of mixed types become text, lists JSON."""
    import pyarrow as pa

    kinds = {type(cell) for cell in cells} - {type(None)}
    if not kinds:
        return pa.nulls(len(cells), pa.string())
    try:
        if kinds == {str}:
            return pa.array(cells, pa.string())
        if kinds == {bool}:
            return pa.array(cells, pa.bool_())
        if kinds == {int}:
            return pa.array(cells, pa.int64())
        if kinds <= {int, float}:
            return pa.array(cells, pa.float64())
        if kinds == {bytes}:
            return pa.array(cells, pa.binary())
    except (OverflowError, pa.ArrowInvalid, UnicodeEncodeError):
        pass
    return pa.array([_text(cell) for cell in cells], pa.string())


def _text(cell: Any) -> str | None:
    if cell is None:
        return None
    plain = (bool, int, float, list, tuple, dict)
    text = json.dumps(cell, ensure_ascii=False, default=str) if isinstance(cell, plain) else str(cell)
    return text.encode("utf-8", errors="replace").decode("utf-8")
