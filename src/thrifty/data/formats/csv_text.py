"""Delimited text: CSV, TSV, semicolons; every cell comes out as the text that stood there.

Arrow's reader goes first. When it fails, or when the lines do not add up to the rows, a slower pass finds each bad
line: another number of cells, a quote that is never closed, bytes that are not UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from thrifty.core.errors import DataError
from thrifty.data.formats.decimal_commas import decimal_points
from thrifty.data.formats.kind import described, mismatch

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = ",\t;|"
MAX_RECORD_LINES = 5_000
_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Dialect:
    """How a file is written. `start`: bytes before the header line (a byte order mark, a `sep=` line).

    renamed: as `renamed` gives it.
    """

    delimiter: str
    names: tuple[str, ...]
    start: int
    header_lines: int
    renamed: Mapping[str, str] = field(default_factory=dict)


class BadLine(NamedTuple):
    """A row that could not be read: its number from 1 without the header, and why."""

    row: int
    reason: str


@dataclass
class Read:
    """Text columns, the rows left out, and notes on how the file was read; `sampled` when not all of it was.

    renamed: the columns whose name came again, {new name: name in the file}.
    """

    arrow: pa.Table
    bad: list[BadLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sampled: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)


def read_csv(data: bytes, path: Path) -> Read:
    """Reads the bytes of a whole file; `path` is for messages and its ending. Raises DataError."""
    data, notes = as_utf8(data, path)
    refuse_json(data, path)
    dialect = sniff(data[: 1 << 20], path)
    arrow = _fast(data, dialect)
    if arrow is not None:
        return Read(decimal_points(arrow, dialect.delimiter), [], notes, renamed=dialect.renamed)
    read = Read(empty_table(dialect), [], notes, renamed=dialect.renamed)
    batches = list(careful(io.BytesIO(data), dialect, read))
    import pyarrow as pa

    read.arrow = decimal_points(pa.Table.from_batches(batches, text_schema(dialect)), dialect.delimiter)
    return read


def as_utf8(data: bytes, path: Path) -> tuple[bytes, list[str]]:
    """The bytes without a byte order mark and, where a mark or NULs tell of UTF-16, as UTF-8; notes say so."""
    if not data.strip(b"\r\n\t \0\xef\xbb\xbf"):
        raise DataError(f"{path} is empty: it holds no row")
    head = data[:4096]
    for mark, encoding in ((codecs.BOM_UTF8, ""), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            if not encoding:
                return data[len(mark) :], []
            try:
                return data.decode(encoding).lstrip("\ufeff").encode(), ["the file is UTF-16"]
            except UnicodeDecodeError as error:
                raise DataError(f"{path} starts as UTF-16 text, but {error.reason} at byte {error.start}") from error
    if described(head) or b"\0" in head:
        raise mismatch(path, "a text table", head)
    if b"\n" not in head and b"\r" in head:
        return data.replace(b"\r", b"\n"), []
    return data, []


def refuse_json(data: bytes, path: Path) -> None:
    """Raises DataError when the first line is a JSON object."""
    line = data.lstrip()[: 1 << 20].split(b"\n", 1)[0]
    if line.startswith(b"{"):
        try:
            json.loads(line)
        except ValueError:
            return
        raise DataError(f"{path} is not a table of cells but JSON lines; give it the ending .jsonl")


def sniff(head: bytes, path: Path) -> Dialect:
    """Finds the delimiter and reads the header from the first bytes (UTF-8, without a byte order mark)."""
    csv.field_size_limit((1 << 31) - 1)
    start = 0
    named = re.match(rb"sep=(.)\r?\n", head)
    if named:
        start = named.end()
    text = head[start:].decode("utf-8", errors="replace")
    lines = text.split("\n")[:50]
    if len(lines) > 1 and len(head) >= 1 << 20:
        lines = lines[:-1]
    lines = [line for line in lines if line.strip()]
    delimiter = named.group(1).decode() if named else _delimiter(lines, path)
    skipped = len(text[: len(text) - len(text.lstrip("\r\n"))].split("\n")) - 1
    reader = csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=delimiter)
    try:
        names = next(reader)
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{path} has no header line that can be read: {error}") from error
    if reader.line_num > 100:
        raise DataError(f"{path}: a quote is opened in the header and not closed")
    if any("\ufffd" in name for name in names):
        raw = next((line for line in head[start:].split(b"\n") if line.strip()), b"")
        names = next(csv.reader([raw.decode("cp1252", errors="replace").replace("\r", "")], delimiter=delimiter))
    return Dialect(delimiter, unique_names(names), start, skipped + reader.line_num, renamed(names))


def _delimiter(lines: list[str], path: Path) -> str:
    """The delimiter that splits the first lines into the same number of cells, and into the most of them."""
    preferred = "\t" if ".tsv" in path.name.lower() or ".tab" in path.name.lower() else ","
    best, best_score = preferred, (0.0, 0)
    for delimiter in sorted(DELIMITERS, key=lambda d: d != preferred):
        cells = _widths(lines, delimiter)
        if not cells or cells[0] < 2:
            continue
        agree = sum(n == cells[0] for n in cells) / len(cells)
        score = (round(agree, 1), cells[0])
        if score > best_score and (delimiter == preferred or agree > 0.6):
            best, best_score = delimiter, score
    return best


def _widths(lines: list[str], delimiter: str) -> list[int]:
    """The number of cells of each row, up to the first that cannot be read."""
    widths = []
    try:
        for row in csv.reader([line.replace("\r", "") for line in lines], delimiter=delimiter):
            widths.append(len(row))
    except csv.Error:
        pass
    return widths


def unique_names(names: list[str]) -> tuple[str, ...]:
    """Stripped names; an empty one becomes column1 (its place), a repeated one gets _2, _3."""
    taken: set[str] = set()
    out = []
    for place, raw in enumerate(names, 1):
        name = raw.strip() or f"column{place}"
        number, unique = 2, name
        while unique in taken or (unique != name and unique in names):
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        out.append(unique)
    return tuple(out)


def renamed(names: list[str]) -> dict[str, str]:
    """What `unique_names` calls the columns whose name came before, {new name: name}."""
    return {
        new: raw.strip() for raw, new in zip(names, unique_names(names), strict=True) if raw.strip() not in ("", new)
    }


def text_schema(dialect: Dialect) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in dialect.names])


def empty_table(dialect: Dialect) -> pa.Table:
    return text_schema(dialect).empty_table()


def arrow_options(dialect: Dialect, block_size: int) -> dict[str, object]:
    """The options with which pyarrow.csv reads everything below the header as text, empty cells as nulls."""
    import pyarrow as pa
    import pyarrow.csv as pc

    return {
        "read_options": pc.ReadOptions(
            column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=block_size
        ),
        "parse_options": pc.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=False),
        "convert_options": pc.ConvertOptions(
            column_types={name: pa.string() for name in dialect.names}, strings_can_be_null=True, null_values=[""]
        ),
    }


def _fast(data: bytes, dialect: Dialect) -> pa.Table | None:
    """All rows by Arrow's reader; None when it fails or a cell may have swallowed a line."""
    import pyarrow as pa
    import pyarrow.csv as pc

    body = memoryview(data)[dialect.start :]
    lines = num_lines(data)
    if lines <= dialect.header_lines + (1 if dialect.start else 0):
        return empty_table(dialect)
    options = arrow_options(dialect, block_size=max(1 << 20, min(len(body) + 1, 16 << 20)))
    try:
        arrow = pc.read_csv(pa.BufferReader(pa.py_buffer(body)), **options)
    except pa.ArrowInvalid:
        return None
    return arrow if arrow.num_rows + dialect.header_lines + (1 if dialect.start else 0) == lines else None


def num_lines(data: bytes) -> int:
    """The lines of a text, those that end it and are blank not counted."""
    end = len(data)
    while end and data[end - 1] in b"\r\n":
        end -= 1
    return data.count(b"\n", 0, end) + (end > 0)


def careful(file: BinaryIO, dialect: Dialect, read: Read) -> Iterator[pa.RecordBatch]:
    """The rows in batches, line by line; bad ones go to `read.bad`, notes to `read.notes`."""
    import pyarrow as pa

    file.seek(dialect.start)
    latin = _is_latin(file)
    if latin:
        read.notes.append("the file is not UTF-8; it was read as Windows-1252 (Latin-1)")
    file.seek(dialect.start)
    schema = text_schema(dialect)
    rows: list[list[str]] = []
    for number, item in enumerate(_records(file, dialect, latin), 1):
        if isinstance(item, str):
            read.bad.append(BadLine(number, item))
            continue
        rows.append(item)
        if len(rows) == _BATCH_ROWS:
            yield _batch(rows, schema)
            rows = []
    if rows:
        yield pa.RecordBatch.from_arrays(_batch(rows, schema).columns, schema=schema)


def _batch(rows: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array([cell or None for cell in cells], pa.string()) for cells in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _is_latin(file: BinaryIO) -> bool:
    """Whether the file is Windows-1252: some lines are not UTF-8, and none that holds more than ASCII is."""
    invalid = False
    for line in file:
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            invalid = True
            continue
        return False
    return invalid


def _records(file: BinaryIO, dialect: Dialect, latin: bool) -> Iterator[list[str] | str]:
    """The cells of each row below the header, or why it cannot be read."""
    lines = _Lines(file, "cp1252" if latin else "utf-8")
    for _ in range(dialect.header_lines):
        lines.take()
    while (line := lines.take()) is not None:
        if not line.strip(b"\r\n \t\0" if dialect.delimiter != "\t" else b"\r\n \0"):
            continue
        yield _record(line, lines, dialect)


class _Lines:
    """The lines of a file, numbered from 1, with a look ahead."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._ahead: deque[bytes] = deque()
        self.encoding = encoding
        self.number = 0

    def take(self) -> bytes | None:
        self.number += 1
        return self._ahead.popleft() if self._ahead else (self._file.readline() or None)

    def ahead(self, place: int) -> bytes | None:
        while len(self._ahead) <= place:
            line = self._file.readline()
            if not line:
                return None
            self._ahead.append(line)
        return self._ahead[place]

    def drop(self, count: int) -> None:
        for _ in range(count):
            self._ahead.popleft()
        self.number += count


def _record(line: bytes, lines: _Lines, dialect: Dialect) -> list[str] | str:
    """The cells of the row that starts with `line` (later lines of a quoted cell are taken), or why it is bad."""
    first, width = lines.number, len(dialect.names)
    try:
        text = line.decode(lines.encoding, errors="replace" if lines.encoding == "cp1252" else "strict")
    except UnicodeDecodeError as error:
        return f"line {first}: wrong encoding: byte {line[error.start]:#04x} at place {error.start + 1} is not UTF-8"
    text = text.rstrip("\r\n")
    if '"' not in text:
        return _fitted(text.split(dialect.delimiter), width, first)
    reader = csv.reader(iter((text, "", "")), delimiter=dialect.delimiter)
    try:
        cells = next(reader)
    except csv.Error as error:
        return f"line {first}: {error}"
    if reader.line_num == 1:
        return _fitted(cells, width, first)
    long = _long_record(text, lines, dialect)
    if long is not None:
        return long
    if dialect.delimiter == "\t" and text.count("\t") == width - 1:  # a quote in TSV is often a mere character
        return text.split("\t")
    return f"line {first}: a quote is opened and not closed"


def _long_record(text: str, lines: _Lines, dialect: Dialect) -> list[str] | None:
    """A row with a quoted cell that goes on over the next lines; None when it does not close as it should."""
    taken = 0

    def following() -> Iterator[str]:
        nonlocal taken
        yield text + "\n"
        while taken < MAX_RECORD_LINES and (line := lines.ahead(taken)) is not None:
            taken += 1
            try:
                yield line.decode(lines.encoding, errors="replace" if lines.encoding == "cp1252" else "strict")
            except UnicodeDecodeError:
                return

    try:
        cells = next(csv.reader(following(), delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return None
    if len(cells) != len(dialect.names):
        return None
    lines.drop(taken)
    return cells


def _fitted(cells: list[str], width: int, line: int) -> list[str] | str:
    """The cells when there are as many as the header has, spare empty ones at the end left off; else why not."""
    if len(cells) > width and not any(cells[width:]):
        return cells[:width]
    if len(cells) != width:
        plural = "cell" if len(cells) == 1 else "cells"
        return f"line {line}: ragged: {len(cells)} {plural} where the header has {width}"
    return cells
