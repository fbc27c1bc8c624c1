"""CSV files too large for memory: streamed into an Arrow file in the workspace, whole or as an even sample.

A sample is made of stretches spread over the file, each from line to line, so that a file in the order of its classes
still gives all of them.
"""

from __future__ import annotations

import gzip
import io
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from thrifty.core.errors import DataError, ExternalError
from thrifty.data.formats import arrow_file, csv_text
from thrifty.data.formats.archive import unused
from thrifty.data.formats.decimal_commas import with_decimal_points
from thrifty.data.formats.kind import head_of

if TYPE_CHECKING:
    import pyarrow as pa

LARGE_BYTES = 64 << 20
_BLOCK = 8 << 20
_STRETCH = 256 << 10


def is_large(path: Path) -> bool:
    """Whether a text file, gzipped or not, is read by streaming."""
    return path.stat().st_size > (LARGE_BYTES // 4 if path.suffix.lower() in (".gz", ".gzip") else LARGE_BYTES)


def read_csv(path: Path, gzipped: bool, workspace: Path, seconds: float | None = None) -> csv_text.Read:
    """Reads a large file into `workspace`; its table is memory-mapped.

    seconds: how long reading may take at most; when the whole would take longer a sample is read and a note says how
    large it is. Raises DataError, ExternalError.
    """
    started = time.time()
    plain = _unpacked(path, workspace) if gzipped else path
    head = head_of(plain, 1 << 20)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (b"\n" not in head and b"\r" in head):
        return csv_text.read_csv(plain.read_bytes(), path)
    body, _ = csv_text.as_utf8(head, path)
    dialect = csv_text.sniff(body, path)
    mark = len(head) - len(body)
    target = unused(workspace, f"{path.name}.arrow")
    size = plain.stat().st_size
    ranges = [(mark, size)]
    notes = []
    if seconds is not None:
        share = _share(plain, mark, dialect, seconds - (time.time() - started), size)
        if share < 1:
            ranges = _stretches(plain, mark, share, size)
            notes.append(f"a sample of {share:.1%} of the file was read ({size / 1e6:,.0f} MB) to keep the budget")
    read = csv_text.Read(csv_text.empty_table(dialect), [], notes, bool(notes), dialect.renamed)
    if not _stream(plain, ranges, dialect, target, read):
        with plain.open("rb") as file:
            source: Any = io.BufferedReader(_Ranges(file, ranges), 1 << 20)
            batches = with_decimal_points(csv_text.careful(source, dialect, read), dialect.delimiter)
            arrow_file.write(target, csv_text.text_schema(dialect), batches)
    read.arrow = arrow_file.open_mapped(target)
    return read


def _unpacked(path: Path, workspace: Path) -> Path:
    target = unused(workspace, path.stem)
    try:
        with gzip.open(path) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise ExternalError(f"{path} cannot be unpacked to {target}: {error.strerror or error}") from error
    return target


class _Ranges(io.RawIOBase):
    """Parts of a file as one, with the count of the lines that were read."""

    def __init__(self, file: BinaryIO, ranges: list[tuple[int, int]]) -> None:
        super().__init__()
        self._file, self._ranges, self._which, self._at = file, ranges, 0, ranges[0][0]
        self.num_lines, self._last = 0, b"\n"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Only back to (near) the start."""
        self._which, self._at = 0, self._ranges[0][0] + offset
        self.num_lines, self._last = 0, b"\n"
        return offset

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        while self._which < len(self._ranges):
            end = self._ranges[self._which][1]
            want = end - self._at if size < 0 else min(size, end - self._at)
            if want > 0:
                self._file.seek(self._at)
                data = self._file.read(want)
                if data:
                    self._at += len(data)
                    self.num_lines += data.count(b"\n")
                    self._last = data[-1:]
                    return data
            self._which += 1
            if self._which < len(self._ranges):
                self._at = self._ranges[self._which][0]
        if self._last != b"\n":  # the last line has no end
            self.num_lines += 1
            self._last = b"\n"
        return b""


def _stream(
    path: Path, ranges: list[tuple[int, int]], dialect: csv_text.Dialect, target: Path, read: csv_text.Read
) -> bool:
    """Writes the rows by Arrow's reader; False when that fails or rows and lines do not add up."""
    import pyarrow as pa
    import pyarrow.csv as pc

    options = csv_text.arrow_options(dialect, _BLOCK)
    rows = 0

    def counted(reader: Any) -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in reader:
            rows += batch.num_rows
            yield batch

    with path.open("rb") as file:
        source = _Ranges(file, ranges)
        source.seek(dialect.start)
        try:
            with pc.open_csv(pa.PythonFile(source, mode="r"), **options) as reader:
                arrow_file.write(target, reader.schema, with_decimal_points(counted(reader), dialect.delimiter))
        except pa.ArrowInvalid:
            return False
        source.read(1)
        return read.sampled or rows + dialect.header_lines == source.num_lines


def _share(path: Path, mark: int, dialect: csv_text.Dialect, seconds: float, size: int) -> float:
    """The share of the file that can be read in the seconds, as timed on its first 16 MB; 1 when it is all."""
    import pyarrow as pa
    import pyarrow.csv as pc

    with path.open("rb") as file:
        started, tried = time.time(), _line_start(file, min(size, 16 << 20))
        source = _Ranges(file, [(mark, tried)])
        source.seek(dialect.start)
        options = csv_text.arrow_options(dialect, _BLOCK)
        try:
            with pc.open_csv(pa.PythonFile(source, mode="r"), **options) as reader:
                for _ in reader:
                    pass
            factor = 2.0  # writing the Arrow file, and inferring from it
        except pa.ArrowInvalid:
            factor = 12.0  # the careful pass
    spent = max(time.time() - started, 1e-6)
    return min(1.0, max(0.001, max(seconds - spent, 0.2) / (factor * spent * size / tried)))


def _stretches(path: Path, mark: int, share: float, size: int) -> list[tuple[int, int]]:
    """Ranges of about `share` of the file, evenly spread, each from the start of a line to the end of one."""
    num = max(8, min(2000, int(size * share / _STRETCH)))
    length, step = int(size * share / num), size / num
    ranges: list[tuple[int, int]] = []
    with path.open("rb") as file:
        for i in range(num):
            start = mark if i == 0 else _line_start(file, max(int(i * step), ranges[-1][1]))
            end = _line_start(file, min(size, start + length))
            if end > start:
                ranges.append((start, end))
    return ranges


def _line_start(file: BinaryIO, at: int) -> int:
    if at > 0:
        file.seek(at - 1)
        file.readline()
        return file.tell()
    return 0
