"""Predictions for data of any size, written as CSV, JSON lines or Parquet."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from thrifty.core.errors import ExternalError, UsageError
from thrifty.core.files import replacing
from thrifty.runtime.predictor import Predictions, Predictor

ENDINGS = (".csv", ".jsonl", ".parquet")


def predict_to(
    predictor: Predictor,
    data: Any,
    out: Path | TextIO | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Predictions | None:
    """Predicts `data` and writes a line for each row, in order, to a file (by its ending) or as CSV to a text stream.

    Without `out` nothing is written and the predictions are returned. A file is written whole or not at all. watch: see
    `Predictor.predict`. Raises UsageError for another ending and for a file that is read, ExternalError when it cannot
    be written.
    """
    if out is None:
        return predictor.predict(data, watch)
    if not isinstance(out, Path):
        _write_csv(predictor.batches(data, watch), columns_of(predictor), out)
        return None
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"--out {out}: predictions are written to files that end in {', '.join(ENDINGS)}")
    if _is_read(data, out):
        raise UsageError(f"--out {out} is data to predict, which would be overwritten; name another file")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    try:
        with replacing(out) as temporary:
            _write(predictor, predictor.batches(data, watch), temporary, ending)
    except OSError as error:
        raise ExternalError(f"{out} cannot be written: {error.strerror or error}") from error
    return None


def _is_read(data: Any, out: Path) -> bool:
    """Whether `out` is a file that `data`, a path or a glob, stands for."""
    if not isinstance(data, (str, PathLike)) or not out.exists():
        return False
    path = Path(data).expanduser()
    found: Iterable[Path] = [path]
    if path.is_dir():
        found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    elif not path.exists():
        found = map(Path, glob.glob(str(path), recursive=True))
    return any(file.exists() and file.samefile(out) for file in found)


def columns_of(predictor: Predictor) -> tuple[str, ...]:
    """The columns of the predictions."""
    probabilities = [f"probability:{name}" for name in predictor.classes]
    return (*(["file"] if predictor.of_folder else []), "prediction", *probabilities, "error")


def _write(predictor: Predictor, batches: Iterator[Predictions], path: Path, ending: str) -> None:
    if ending == ".parquet":
        _write_parquet(batches, predictor, path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if ending == ".csv":
            _write_csv(batches, columns_of(predictor), file)
        else:
            for batch in batches:
                file.writelines(json.dumps(_cells(row), ensure_ascii=False) + "\n" for row in batch)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what JSON cannot hold: a file given as bytes."""
    return {name: None if isinstance(value, bytes) else value for name, value in row.items()}


def _write_csv(batches: Iterator[Predictions], columns: Sequence[str], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    first = next(batches, Predictions([], None))  # before the header, so that data in error leaves no output
    writer.writerow(columns)
    for batch in chain((first,), batches):
        writer.writerows([_text(row[name]) for name in columns] for row in batch)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if isinstance(value, bytes) else value


def _write_parquet(batches: Iterator[Predictions], predictor: Predictor, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    answer = {"regression": pa.float64(), "multilabel": pa.list_(pa.string())}.get(predictor.task, pa.string())
    kinds = {"prediction": answer, "file": pa.string(), "error": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in columns_of(predictor)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist([_cells(row) for row in batch], schema))
