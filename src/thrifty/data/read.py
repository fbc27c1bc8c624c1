"""Any source becomes one table: files, folders, archives, globs and values in memory."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import MEDIA, Meaning
from thrifty.data.formats import archive, folder
from thrifty.data.formats.kind import (
    GZIP_ENDINGS,
    described,
    head_of,
    medium_of_bytes,
    medium_of_name,
    mismatch,
    nearest,
    table_kind,
)
from thrifty.data.table import BadRow, Origins, Table, concatenated, file_names, plain

PART_CODES = {"train": 0, "validation": 1, "test": 2}
FILE, LABEL = "file", "label"


@dataclass(frozen=True)
class Read:
    """What was read.

    target: the column with the labels, where the source says so (class folders, labels beside the inputs).
    parts: int8 per row (0 train, 1 validation, 2 test), None when the source has no parts. notes: what to tell people.
    renamed: the columns whose name came again in their file, {new name: name}.
    """

    table: Table
    target: str | None = None
    parts: np.ndarray | None = None
    bad_rows: list[BadRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    renamed: Mapping[str, str] = field(default_factory=dict)


def read(
    source: Any, workspace: Path, *, part: str = "train", labelled: bool = True, seconds: float | None = None
) -> Read:
    """Reads a source of labelled rows, or with `labelled=False` of rows to predict on.

    workspace: an existing folder for what must be unpacked; the table may point into it.
    part: what the rows are for; of a source that has a part of that name (not train) only that part is taken.
    seconds: how long a file may take to read; of one that would take longer a sample is read, and a note says so.
    Raises DataError; UsageError when no source is named.
    """
    if source is None or (isinstance(source, str) and not source.strip()):
        raise UsageError(
            "no data is named: the path is empty. Give a file, a folder, a glob such as 'parts/*.csv', or a table"
        )
    found = _read_path(str(source), workspace, labelled, seconds) if _is_path(source) else _read_memory(source, part)
    if part != "train" and found.parts is not None and (found.parts == PART_CODES[part]).any():
        rows = np.flatnonzero(found.parts == PART_CODES[part])
        found = replace(found, table=found.table.take(rows), parts=None)
    return found


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, Path)) or hasattr(source, "__fspath__")


def _read_memory(source: Any, part: str) -> Read:
    from thrifty.data.formats.arrow_table import renamed_in
    from thrifty.data.formats.memory import from_memory

    found = from_memory(source, part)
    tables = [Table(item.arrow) for item in found]
    parts = None
    if len(found) > 1:
        parts = np.concatenate([np.full(t.arrow.num_rows, PART_CODES[t.part], np.int8) for t in found])
    renamed = {new: old for item in found for new, old in renamed_in(item.arrow).items()}
    return Read(concatenated(tables), found[0].target, parts, renamed=renamed)


def _read_path(source: str, workspace: Path, labelled: bool, seconds: float | None = None) -> Read:
    path = Path(source).expanduser()
    if not path.exists():
        if any(c in source for c in "*?["):
            return _read_glob(source, workspace, labelled, seconds)
        raise DataError(f"there is no file or folder {source}")
    if folder.shown(source) != source:
        raise DataError(f"the path {folder.shown(source)} is not UTF-8; rename it, or link to it by another name")
    if not path.is_dir() and not path.is_file():
        raise DataError(
            f"{source} is a pipe or a device, and data is read from files alone, since it is read more than once; "
            "write it to a file first (... > data.csv) and give that file"
        )
    if path.is_dir():
        return _read_folder(path, path, workspace, labelled, seconds)
    if path.suffix.lower() == ".zip":
        unpacked = archive.unpack(path, workspace)
        return _read_folder(unpacked, path, workspace, labelled, seconds)
    if medium_of_name(path.name) is not None:
        if labelled:
            raise DataError(f"{path} is one image or sound without a label; give a folder per class, or a table")
        return _of_files(path.parent, [path.name])
    return _read_table(path, workspace, seconds)


def _read_glob(pattern: str, workspace: Path, labelled: bool, seconds: float | None = None) -> Read:
    found = [Path(name) for name in sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))]
    files = [file for file in found if file.is_file()]
    if not files:
        raise DataError(f"no file matches {pattern}")
    media = [file for file in files if medium_of_name(file.name) is not None]
    if media and not labelled:
        return _of_globbed(media)
    if media:
        raise DataError(f"{pattern} matches images or sounds, which have no label; give the folder of class folders")
    zips = [file for file in files if file.suffix.lower() == ".zip"]
    reads = [_read_path(str(file), workspace, labelled, seconds) for file in zips]
    reads += [_read_table(file, workspace, seconds) for file in files if file not in zips]
    return _joined(reads, None)


def _joined(reads: list[Read], parts: list[str] | None) -> Read:
    """Several reads below each other; `parts`: the part of each."""
    if len(reads) == 1 and parts in (None, ["train"]):
        return reads[0]
    roots = {read.table.root for read in reads}
    tables = [read.table if len(roots) == 1 else with_absolute_paths(read.table) for read in reads]
    codes = None
    if parts is not None:
        codes = np.concatenate([np.full(len(r.table), PART_CODES[p], np.int8) for r, p in zip(reads, parts)])
    elif any(r.parts is not None for r in reads):
        given = [r.parts if r.parts is not None else np.zeros(len(r.table), np.int8) for r in reads]
        codes = np.concatenate(given)
    bad = [row for read in reads for row in read.bad_rows]
    notes = [note for read in reads for note in read.notes]
    renamed = {new: old for read in reads for new, old in read.renamed.items()}
    return Read(concatenated(tables), reads[0].target, codes, bad, notes, renamed)


def with_absolute_paths(table: Table, force: str | None = None) -> Table:
    """The table with absolute paths in `force` and in the columns whose first texts name images or sounds."""
    import pyarrow as pa

    if table.root is None:
        return table
    arrow = table.arrow
    for place, column in enumerate(arrow.columns):
        if pa.types.is_string(column.type):
            sample = [cell for cell in plain(column.slice(0, 200)) if cell]
            named = sum(medium_of_name(cell) is not None for cell in sample)
            if arrow.column_names[place] == force or (sample and named > 0.8 * len(sample)):
                cells = pa.array(resolved(plain(column), table.root), pa.string())
                arrow = arrow.set_column(place, arrow.column_names[place], cells)
    return replace(table, arrow=arrow, root=None)


def _read_folder(path: Path, shown: Path, workspace: Path, labelled: bool, seconds: float | None = None) -> Read:
    tables = folder.tables_in(path)
    if tables:
        if not labelled and "train" not in tables and len(tables) == 1:
            tables = {"train": next(iter(tables.values()))}
        order = [(part, file) for part in PART_CODES for file in tables.get(part, ())]
        reads = [_read_table(file, workspace, seconds) for _, file in order]
        parts = [part for part, _ in order]
        return _joined(reads, parts if set(parts) != {"train"} else None)
    if not labelled:
        listing = folder.media(path)
        found = _of_files(path, listing.files, _passed_over(listing))
        found.bad_rows.extend(BadRow(file, None, "", folder.NAME_REASON) for file in sorted(listing.unnamed))
        return found
    listing = folder.labelled(path)
    import pyarrow as pa

    arrow = pa.table({FILE: pa.array(listing.files, pa.string()), LABEL: pa.array(listing.labels, pa.string())})
    codes = np.array([PART_CODES[p] for p in listing.parts], np.int8)
    bad = [BadRow(file, None, "", reason) for file, reason in listing.left_out]
    table = Table(arrow, listing.root, Origins((str(shown),)), FILE)
    return Read(table, LABEL, codes if codes.any() else None, bad, _passed_over(listing))


def _passed_over(listing: folder.Listing) -> list[str]:
    if not listing.others:
        return []
    shown = ", ".join(listing.others[:3]) + (", ..." if len(listing.others) > 3 else "")
    plural = "file is" if len(listing.others) == 1 else "files are"
    return [f"{len(listing.others)} {plural} neither image nor sound and passed over: {shown}"]


def _of_files(root: Path, files: list[str], notes: list[str] | None = None) -> Read:
    import pyarrow as pa

    return Read(Table(pa.table({FILE: pa.array(files, pa.string())}), root, file_column=FILE), notes=notes or [])


def _of_globbed(files: list[Path]) -> Read:
    root = Path(os.path.commonpath([str(file.parent) for file in files]))
    names = [str(file.relative_to(root)) for file in files]
    found = _of_files(root, [folder.shown(name) for name in names])
    unnamed = [folder.shown(name) for name in names if folder.shown(name) != name]
    found.bad_rows.extend(BadRow(file, None, "", folder.NAME_REASON) for file in unnamed)
    return found


def _read_table(path: Path, workspace: Path, seconds: float | None) -> Read:
    """One file of a table, by its ending, or by its bytes when the ending says nothing."""
    kind = table_kind(path)
    head = head_of(path)
    name, gzipped = kind if kind is not None else _guessed(path, head)
    if name in ("csv", "json"):
        return _read_text(path, name, gzipped, workspace, seconds)
    if gzipped:
        unpacked = archive.unused(workspace, path.stem)
        unpacked.write_bytes(archive.gunzip(path))
        return _read_columnar(unpacked, name, workspace, path)
    return _read_columnar(path, name, workspace, path)


def _read_columnar(path: Path, kind: str, workspace: Path, named: Path) -> Read:
    """A Parquet, Arrow or Feather file; `named`: the file that people know."""
    from thrifty.data.formats import arrow_table

    arrow = arrow_table.read_parquet(path, workspace) if kind == "parquet" else arrow_table.read_arrow(path)
    table = Table(arrow, named.parent, Origins((str(named),)))
    return Read(table, renamed=arrow_table.renamed_in(arrow))


def _guessed(path: Path, head: bytes) -> tuple[str, bool]:
    """What a file without a known ending is, by its bytes. Raises DataError when it is nothing that can be read."""
    if head[:4] == b"PAR1":
        return "parquet", False
    if head[:6] == b"ARROW1":
        return "arrow", False
    gzipped = head[:2] == b"\x1f\x8b"
    if path.suffix.lower() in GZIP_ENDINGS and not gzipped:
        raise mismatch(path, "a gzip file", head)
    body = archive.gunzip(path)[:4096] if gzipped else head
    if medium_of_bytes(body) or described(body) or (b"\0" in body and body[:2] not in (b"\xff\xfe", b"\xfe\xff")):
        if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
            raise DataError(f"{path} is a spreadsheet; save its sheet as CSV")
        raise mismatch(path, "data that can be read", body)
    return ("json" if body.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{",) else "csv"), gzipped


def _read_text(path: Path, kind: str, gzipped: bool, workspace: Path, seconds: float | None) -> Read:
    from thrifty.data.formats import csv_text, json_lines, large

    if large.is_large(path):
        if kind == "csv":
            found = large.read_csv(path, gzipped, workspace, seconds)
        else:
            found = json_lines.read_large_json(path, gzipped, seconds)
    else:
        data = archive.gunzip(path) if gzipped else path.read_bytes()
        found = csv_text.read_csv(data, path) if kind == "csv" else json_lines.read_json(data, path)
    skipped = np.array([line.row for line in found.bad], np.int64)
    table = Table(
        found.arrow, path.parent, Origins((str(path),), (0,), (skipped,), known=not found.sampled), json=kind == "json"
    )
    bad = [BadRow(str(path), line.row, "", line.reason) for line in found.bad]
    notes = [f"{path.name}: {note}" for note in found.notes]
    return Read(table, bad_rows=bad, notes=notes, renamed=found.renamed)


def resolved(cells: list[Any], root: Path | None) -> list[Any]:
    """Cells of an image or sound column: paths absolute and without blanks around them, None for blank ones."""
    base = "" if root is None else str(root.resolve()) + "/"
    return [_path(cell, base) if isinstance(cell, str) else cell for cell in cells]


def _path(cell: str, base: str) -> str | None:
    bare = cell.strip()
    if bare != cell and not os.path.lexists(cell if cell.startswith("/") else base + cell):
        cell = bare
    return None if not cell else cell if cell.startswith("/") else base + cell


@dataclass(frozen=True)
class Rows:
    """Rows to predict on, in the order given; a row that could not be read keeps its place.

    num_rows: all of them. places[i]: the place of the table's row i. errors: {place: why it cannot be read}.
    files: for a folder, the file of each row relative to it.
    """

    table: Table
    num_rows: int
    places: np.ndarray
    errors: Mapping[int, str]
    meanings: Mapping[str, Meaning]
    files: list[str] | None = None

    def columns(self, start: int = 0, stop: int | None = None) -> dict[str, list[Any]]:
        """The columns that were asked for, of the rows from `start` to `stop`; None in rows that have an error."""
        stop = self.num_rows if stop is None else min(stop, self.num_rows)
        low, high = np.searchsorted(self.places, [start, stop])
        whole = high - low == stop - start
        at = (self.places[low:high] - start).tolist()
        out = {}
        for name, meaning in self.meanings.items():
            cells = plain(self.table.arrow.column(name).slice(low, high - low))
            if meaning in MEDIA:
                cells = resolved(cells, self.table.root)
            if not whole:
                spread: list[Any] = [None] * (stop - start)
                for place, cell in zip(at, cells, strict=True):
                    spread[place] = cell
                cells = spread
            out[name] = cells
        return out


def read_rows(source: Any, meanings: Mapping[str, Meaning], workspace: Path) -> Rows:
    """Reads rows to predict on, with at least the columns of `meanings`, in any order.

    Raises DataError naming a column that is missing.
    """
    found = read(source, workspace, labelled=False)
    return rows_of(found, meanings)


def refuse_ambiguous(found: Read, names: Iterable[str], what: str) -> None:
    """Raises DataError when a column of `names` stands in the source more than once, and not all of them are asked for.

    What was learnt from data with such columns needs each of them, by the names they were given.
    """
    wanted = set(names)
    for new, old in found.renamed.items():
        if old in wanted and new not in wanted:
            named = file_names(found.table) or what
            raise DataError(
                f"{named} has more than one column {old!r}, so that it is not clear which is meant; "
                "rename or remove the others"
            )


def rows_of(found: Read, meanings: Mapping[str, Meaning]) -> Rows:
    """What was read as rows in the order given, the bad ones in their places. Raises DataError for a missing column."""
    names = found.table.names
    for name in meanings:
        if name not in names:
            raise DataError(f"the data has no column {name!r}, which the model needs; {nearest(name, names)}")
    refuse_ambiguous(found, meanings, "the data")
    origins = found.table.origins
    if origins.rows is not None:
        return Rows(found.table, len(found.table), np.arange(len(found.table)), {}, dict(meanings), _files(found.table))
    if (files := _files(found.table)) is not None:
        unread = {bad.file: bad.reason for bad in found.bad_rows}
        failed = {place: unread[file] for place, file in enumerate(files) if file in unread}
        return Rows(found.table, len(files), np.arange(len(files)), failed, dict(meanings), files)
    reasons = {(bad.file, bad.row): bad.reason for bad in found.bad_rows if bad.row is not None}
    pieces, errors, offset = [], {}, 0
    ends = [*origins.starts[1:], len(found.table)]
    for file, start, end, skipped in zip(origins.files, origins.starts, ends, origins.skipped, strict=True):
        total = end - start + len(skipped)
        pieces.append(np.delete(np.arange(total), skipped - 1) + offset)
        errors.update({offset + int(row) - 1: reasons.get((file, int(row)), "cannot be read") for row in skipped})
        offset += total
    places = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
    return Rows(found.table, offset, places, errors, dict(meanings))


def _files(table: Table) -> list[str] | None:
    return None if table.file_column is None else plain(table.arrow.column(table.file_column))
