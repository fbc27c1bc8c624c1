"""A Dataset on disk: a typed table, its targets, schema and splits, opened through memory maps.

The folder holds table.arrow (the input columns), target.npy, part.npy, and perhaps fold.npy, weight.npy and group.npy;
dataset.json comes last, so that a folder with one is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.errors import ExternalError, StoreError
from thrifty.core.files import read_json, replacing, write_json
from thrifty.data.column import Schema, Task
from thrifty.data.formats import arrow_file
from thrifty.data.split import Splits
from thrifty.data.table import Cells, Origins, Table

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows ready for training: `columns(rows)` are the inputs as plain values, `targets(rows)` what to learn.

    A number is a float, a category text, a whole number or a boolean, a point in time text or a datetime, an image or
    sound an absolute path or bytes; missing is None. fingerprints: a hash of each column's content.
    """

    folder: Path
    table: Table
    schema: Schema
    splits: Splits
    target_values: np.ndarray
    weight_values: np.ndarray | None = None
    group_codes: np.ndarray | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def columns(self, rows: np.ndarray | None = None, names: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """The input columns (or those named) of the rows (or all), in their order."""
        return self.table.columns(self.schema.inputs if names is None else names, rows)

    def cells(self, name: str, rows: np.ndarray) -> Cells:
        """A column's values of the rows, each made when it is asked for: images may be larger than memory together."""
        return Cells(self.table.arrow.column(name), rows)

    def numbers(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """A column of numbers as float64, NaN where missing."""
        values = self.table.arrow.column(name).to_numpy()
        return values if rows is None else values[rows]

    def targets(self, rows: np.ndarray | None = None) -> np.ndarray:
        """int64 [N] class codes, float64 [N] numbers, or float32 [N,K] with multilabel."""
        values = self.target_values if rows is None else self.target_values[rows]
        kinds = {Task.MULTILABEL: np.float32, Task.REGRESSION: np.float64}
        return np.asarray(values, dtype=kinds.get(self.schema.task, np.int64))

    def weights(self, rows: np.ndarray | None = None) -> np.ndarray | None:
        """float32 [N] row weights with mean 1 over the development rows; None without a weight column."""
        if self.weight_values is None:
            return None
        return np.asarray(self.weight_values if rows is None else self.weight_values[rows])

    def groups(self, rows: np.ndarray | None = None) -> np.ndarray | None:
        """int64 [N] codes of the rows that belong together; None without a group column."""
        if self.group_codes is None:
            return None
        return np.asarray(self.group_codes if rows is None else self.group_codes[rows])

    def fingerprint(self, names: Iterable[str], rows: np.ndarray | None = None) -> str:
        """A hash of what the named columns hold in the rows; files count by path, size and time of change."""
        digest = hashlib.blake2b(digest_size=20)
        for name in names:
            digest.update(f"{name}\0{self.fingerprints[name]}\0".encode())
        if rows is not None and not (len(rows) == len(self) and (rows == np.arange(len(self))).all()):
            digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
        return digest.hexdigest()

    @staticmethod
    def open(folder: Path) -> Dataset:
        """The dataset that `save` wrote, through memory maps. Raises StoreError."""
        try:
            head = read_json(folder / "dataset.json")
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder} holds no data set: {error}") from error
        if head.get("format") != FORMAT:
            raise StoreError(f"{folder} has a data set of format {head.get('format')}; this version reads {FORMAT}")
        schema = Schema.from_json(head["schema"])
        origins = _origins(head["origins"], folder)
        arrow = arrow_file.open_mapped(folder / "table.arrow")
        table = Table(arrow, None, origins, head["file_column"])
        splits = Splits(np.asarray(_load(folder, "part")), _load_if(folder, "fold"))
        target, weight, group = _load(folder, "target"), _load_if(folder, "weight"), _load_if(folder, "group")
        return Dataset(folder, table, schema, splits, target, weight, group, head["fingerprints"])

    def save(self) -> Dataset:
        """Writes everything but the table, which is there; returns the dataset. Raises ExternalError."""
        try:
            _store(self.folder, "target", self.target_values)
            _store(self.folder, "part", self.splits.part)
            beside = {"fold": self.splits.fold, "weight": self.weight_values, "group": self.group_codes}
            for name, array in beside.items():
                if array is not None:
                    _store(self.folder, name, array)
            origins = self.table.origins
            if origins.rows is not None:
                _store(self.folder, "origin", origins.rows)
            head = {
                "format": FORMAT,
                "schema": self.schema.to_json(),
                "file_column": self.table.file_column,
                "fingerprints": dict(self.fingerprints),
                "origins": {
                    "files": list(origins.files),
                    "starts": list(origins.starts),
                    "skipped": [skipped.tolist() for skipped in origins.skipped],
                    "known": origins.known,
                },
            }
            write_json(self.folder / "dataset.json", head)
        except OSError as error:
            raise ExternalError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        return self

    def origin(self, row: int) -> tuple[str, int | None]:
        """(file, row in it from 1) of a row; a row that is a file of its own gives (that file, None)."""
        return self.table.origin(row)

    def origin_text(self, row: int) -> str:
        """`row 12 of reviews.csv`, or the last two parts of the path of a row that is a file of its own."""
        file, number = self.origin(row)
        name = "/".join(Path(file).parts[-1:] if number is not None else Path(file).parts[-2:])
        return name if number is None else f"row {number:,} of {name}" if name else f"row {number:,}"


def _origins(head: Mapping[str, Any], folder: Path) -> Origins:
    return Origins(
        tuple(head["files"]),
        tuple(head["starts"]),
        tuple(np.array(skipped, np.int64) for skipped in head["skipped"]),
        _load_if(folder, "origin"),
        head["known"],
    )


def _store(folder: Path, name: str, array: np.ndarray) -> None:
    with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _load(folder: Path, name: str) -> np.ndarray:
    try:
        return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{folder / name}.npy cannot be read: {error}") from error


def _load_if(folder: Path, name: str) -> np.ndarray | None:
    return np.asarray(_load(folder, name)) if (folder / f"{name}.npy").exists() else None


def column_fingerprint(column: pa.ChunkedArray, media: bool) -> str:
    """A hash of a column's values, the same however it is cut into chunks."""
    import pyarrow as pa

    from thrifty.data.media import content_key

    if media:
        return content_key(Cells(column))
    digest = hashlib.blake2b(str(column.type).encode(), digest_size=20)
    step = arrow_file.BATCH_ROWS
    for start in range(0, len(column), step):
        piece = column.slice(start, step).combine_chunks()
        pieces = piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece]
        for part in pieces:
            batch = pa.RecordBatch.from_arrays([part], names=["x"])
            digest.update(batch.serialize())
        arrow_file.give_back()
    return digest.hexdigest()
