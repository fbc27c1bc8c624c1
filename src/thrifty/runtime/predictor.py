"""An artifact that predicts from raw rows: artifact.json, the files that its nodes name, requirements.txt, a card.

Shapes: N rows, K classes or labels.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from thrifty.core.errors import DataError, StoreError, UsageError
from thrifty.data.encode.encoder import UnreadableError
from thrifty.runtime.graph import Graph
from thrifty.runtime.manifest import MAX_THREADS, check_files, read_manifest
from thrifty.runtime.scores import decided, mixed

if TYPE_CHECKING:
    from thrifty.data.read import Rows

_BATCH_ROWS = 4096


class Predictions(list[dict[str, Any]]):
    """A dict for each row, in order: `file` (data that is a folder), `prediction`, `probability:CLASS`, `error`.

    `prediction` is a class's text, a list of them (multilabel) or a number, None where `error` says why. `error` is
    None for a row that could be read. `probabilities` is float64 [N,K] in the order of `classes`, NaN in rows with an
    error, and None for regression.
    """

    def __init__(
        self, rows: Sequence[dict[str, Any]], probabilities: np.ndarray | None, classes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(rows)
        self.probabilities = probabilities
        self.classes = classes


class Predictor:
    """A loaded artifact. `manifest` is its artifact.json, `columns` {name: meaning} what a row must have."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], threads: int, workers: int = 1) -> None:
        self.folder = folder
        self.manifest = manifest
        self.task = str(manifest["task"])
        self.classes = tuple(manifest["classes"])
        self.columns: dict[str, str] = dict(manifest["columns"])
        self.of_folder = manifest["rows"] == "folder"
        self._num_scores = len(self.classes) if self.task != "regression" else 1
        self._members = list(manifest["members"])
        self._temperature = float(manifest.get("temperature", 1.0))
        self._decision = manifest["decision"]
        outputs = tuple(dict.fromkeys(member["output"] for member in self._members))
        self._graph = Graph(manifest["nodes"], folder, outputs, threads, workers)
        self._keys = tuple(f"probability:{name}" for name in self.classes)
        self._no_probabilities = dict.fromkeys(self._keys)

    @classmethod
    def load(cls, path: Path | str, threads: int | None = None, workers: int = 1) -> Self:
        """The predictor of an artifact, or of a run directory's artifact, on `threads` threads (None: the artifact's).

        workers: how many batches of rows are computed at once, each on so many threads.
        Raises StoreError when there is none, when it is damaged, or when it is of a newer format; UsageError for a
        path or a number of threads that is none.
        """
        folder = _artifact_folder(path)
        _check_threads(threads)
        manifest = read_manifest(folder)
        with ThreadPoolExecutor(1) as aside:  # hashing takes no time of its own while onnxruntime loads
            checked = aside.submit(check_files, manifest, folder)
            try:
                threads = manifest["threads"] if threads is None else operator.index(threads)
                found = cls(folder, manifest, threads, workers)
            except (KeyError, TypeError, AttributeError) as error:
                checked.result()
                raise StoreError(f"{folder / 'artifact.json'} is damaged: {error!r}") from error
            except StoreError as error:
                checked.result()  # a file that is another than it was says more than what came of it
                if str(folder) in str(error):
                    raise
                raise StoreError(f"{folder / 'artifact.json'} is damaged: {error}") from error
            checked.result()
        return found

    def predict(self, rows: Any, watch: Callable[[int, int], None] | None = None) -> Predictions:
        """A prediction for each row, in order.

        rows: a list of dicts of plain values, or anything that data is read from: a path, a pandas or polars table,
        Arrow, a Hugging Face Dataset. watch: is told how many rows of how many are done. Raises DataError naming a
        column that is missing, UsageError for one row alone.
        """
        if isinstance(rows, (list, tuple)):
            return self._predict_dicts(rows, counting(len(rows), watch))
        parts = list(self.batches(rows, watch))
        if len(parts) == 1:
            return parts[0]
        probabilities = None
        if self._keys:
            some = [part.probabilities for part in parts if part.probabilities is not None]
            probabilities = np.concatenate([np.zeros((0, len(self._keys))), *some])
        return Predictions([row for part in parts for row in part], probabilities, self.classes)

    def batches(self, source: Any, watch: Callable[[int, int], None] | None = None) -> Iterator[Predictions]:
        """What `predict` gives, some thousand rows at a time, for data of any size."""
        if isinstance(source, (list, tuple)):
            counted = counting(len(source), watch)
            for start in range(0, len(source), _BATCH_ROWS):
                yield self._predict_dicts(source[start : start + _BATCH_ROWS], counted)
            return
        _check_rows(source)
        from thrifty.data.column import Meaning
        from thrifty.data.read import read_rows

        meanings = {name: Meaning(meaning) for name, meaning in self.columns.items()}
        with TemporaryDirectory(prefix="thrifty-") as workspace:
            rows = read_rows(source, meanings, Path(workspace))
            listed = _files_of(rows) if self.of_folder else rows.files
            counted = counting(rows.num_rows, watch)
            for start in range(0, rows.num_rows, _BATCH_ROWS):
                stop = min(start + _BATCH_ROWS, rows.num_rows)
                errors = {row - start: reason for row, reason in rows.errors.items() if start <= row < stop}
                files = listed[start:stop] if listed is not None else None
                yield self._predict_columns(rows.columns(start, stop), stop - start, errors, files, counted)

    def _predict_dicts(
        self, rows: Sequence[Mapping[str, Any]], watch: Callable[[int], None] | None = None
    ) -> Predictions:
        try:
            columns = {name: [row.get(name) for row in rows] for name in self.columns}
        except AttributeError:
            raise UsageError("rows must be dicts, {column: value}, or a table, or a path") from None
        for name in columns:
            if rows and not any(name in row for row in rows):
                raise _missing_column(name, rows)
        files = columns["file"] if self.of_folder else None
        try:
            return self._predict_columns(columns, len(rows), {}, files, watch)
        except UnreadableError:  # numbers that are lists, as many in every row
            errors = self._lists_taken_out(columns)
            return self._predict_columns(columns, len(rows), errors, files, watch)

    def _lists_taken_out(self, columns: dict[str, list[Any]]) -> dict[int, str]:
        """Puts None for lists and arrays in the columns of numbers; {row: why it cannot be read}."""
        errors: dict[int, str] = {}
        for name in (name for name, meaning in self.columns.items() if meaning == "number"):
            for row, cell in enumerate(columns[name]):
                if isinstance(cell, (list, tuple)) or np.shape(cell):
                    errors.setdefault(row, f"{name}: {str(cell)[:60]!r} is not a number")
                    columns[name][row] = None
        return errors

    def _predict_columns(
        self,
        columns: Mapping[str, Sequence[Any]],
        num_rows: int,
        errors: dict[int, str],
        files: Sequence[Any] | None,
        watch: Callable[[int], None] | None = None,
    ) -> Predictions:
        """errors: {row: why it could not be read before}."""
        if num_rows == 0:
            return Predictions([], np.zeros((0, len(self._keys))) if self._keys else None, self.classes)
        values_NK, problems = self.values(columns, num_rows, watch)
        if problems or errors:
            errors = dict(errors)
            for row, column, reason in problems:
                errors.setdefault(row, reason if self.of_folder else f"{column}: {reason}")
            values_NK[list(errors)] = np.nan
        answers = self._answers(values_NK)
        lists = values_NK.tolist() if self._keys else ()
        found = []
        for row in range(num_rows):
            out: dict[str, Any] = {} if files is None else {"file": files[row]}
            if row in errors:
                out["prediction"] = None
                out.update(self._no_probabilities)
                out["error"] = errors[row]
            else:
                out["prediction"] = answers[row]
                if self._keys:
                    out.update(zip(self._keys, lists[row]))
                out["error"] = None
            found.append(out)
        return Predictions(found, values_NK if self._keys else None, self.classes)

    def values(
        self, columns: Mapping[str, Sequence[Any]], num_rows: int, watch: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, list[Any]]:
        """Probabilities, or regression's values, float64 [N,K], and the Problems of values that could not be read.

        watch: is told how many rows each batch had.
        """
        arrays, problems = self._graph.run(columns, num_rows, watch)
        return self._mixed(arrays), problems

    def calibration(self, columns: Mapping[str, Sequence[Any]], num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """`values`, and what they would be with every temperature at 1."""
        arrays, _ = self._graph.run(columns, num_rows)
        members = [{**member, "temperature": 1.0} for member in self._members]
        parts = [arrays[member["output"]] for member in members]
        return self._mixed(arrays), mixed(self.task, parts, members)

    def shuffler(
        self, columns: Mapping[str, Sequence[Any]], num_rows: int
    ) -> Callable[[Sequence[str], np.ndarray], np.ndarray]:
        """A function (names, order) that gives `values` as if the named columns' cells were in that order.

        What one column alone gives, such as the features of an image, is computed once and then put in order.
        """
        parts = self._graph.parts(columns, num_rows)

        def values(names: Sequence[str], order_N: np.ndarray) -> np.ndarray:
            known = {}
            for array, found in parts.items():
                sources = self._graph.sources[array]
                if sources <= {*names}:
                    known[array] = found[order_N]
                elif sources.isdisjoint(names):
                    known[array] = found
            order = order_N.tolist()
            cells = {name: [columns[name][row] for row in order] for name in names if name in columns}
            return self._mixed(self._graph.run_from(known, {**columns, **cells}, num_rows))

        return values

    def _mixed(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [arrays[member["output"]] for member in self._members]
        for part, member in zip(parts, self._members):
            if part.ndim != 2 or part.shape[1] != self._num_scores:
                raise StoreError(
                    f"{self.folder / 'artifact.json'} is damaged: the task {self.task} with {len(self.classes)} classes"
                    f" needs scores of shape [rows, {self._num_scores}], but {member['output']} gives "
                    f"{list(part.shape)}. Copy the artifact again from where it was made"
                )
        return mixed(self.task, parts, self._members, self._temperature)

    def decide(self, probabilities_NK: np.ndarray) -> np.ndarray:
        """Class codes int64 [N], or for multilabel bool [N,K], by the artifact's decision."""
        return decided(self.task, probabilities_NK, self._decision)

    def _answers(self, values_NK: np.ndarray) -> list[Any]:
        if self.task == "regression":
            with np.errstate(over="ignore"):
                return [float(text) for text in values_NK[:, 0].astype(np.float32).astype(str)]  # no digits of noise
        with np.errstate(invalid="ignore"):
            decided_N = self.decide(values_NK)
        if self.task == "multilabel":
            return [[name for name, on in zip(self.classes, row) if on] for row in decided_N.tolist()]
        return [self.classes[code] for code in decided_N.tolist()]


def counting(total: int, watch: Callable[[int, int], None] | None) -> Callable[[int], None] | None:
    """What is told of further rows, and tells `watch` how many of all are done; it is told of none at once."""
    if watch is None:
        return None
    done = 0

    def counted(more: int) -> None:
        nonlocal done
        done = min(done + more, total)  # some rows are computed again where others could not be read
        watch(done, total)

    counted(0)
    return counted


def _artifact_folder(given: Path | str) -> Path:
    try:
        path = Path(given)
    except TypeError:
        raise UsageError(f"{given!r} is no path of a run directory or an artifact") from None
    for folder in (path, path / "artifact"):
        if (folder / "artifact.json").is_file():
            return folder
    if not path.exists():
        raise StoreError(f"there is no run directory or artifact {path}")
    if (path / "request.json").is_file():
        raise StoreError(f"the run in {path} has no model yet; go on with it by: thrifty resume {path} --minutes 1")
    raise StoreError(f"{path} holds no artifact: neither artifact.json nor artifact/artifact.json is there")


def _check_threads(threads: Any) -> None:
    whole = hasattr(threads, "__index__") and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MAX_THREADS):
        raise UsageError(f"threads must be a whole number of 1 to {MAX_THREADS}, or None, not {threads!r}")


def _check_rows(source: Any) -> None:
    """Raises UsageError for one row that is not in a list: a dict of plain values, a Series."""
    if isinstance(source, Mapping) and type(source).__module__.split(".")[0] != "datasets":
        name = next(
            (name for name, cells in source.items() if isinstance(cells, (str, bytes)) or not _has_size(cells)), None
        )
        if name is not None:
            raise UsageError(
                f"rows must be a list of dicts, but this is one dict whose {name!r} is a "
                f"{type(source[name]).__name__}: put it in a list, predict([row])"
            )
    elif type(source).__name__ == "Series":
        raise UsageError("rows must be a list of dicts or a table, not a Series: predict([series.to_dict()]) for a row")
    elif source is None or isinstance(source, (bool, int, float)):
        raise UsageError(f"rows must be a list of dicts, a table or a path, not {source!r}")


def _has_size(cells: Any) -> bool:
    return hasattr(cells, "__len__") and getattr(cells, "shape", None) != ()


def _files_of(rows: "Rows") -> list[Any]:
    """The file of each row as it was named: of a folder relative to it, of a table as in its column `file`."""
    from thrifty.data.table import plain

    files: list[Any] = [None] * rows.num_rows
    for place, file in zip(rows.places.tolist(), plain(rows.table.arrow.column("file"))):
        files[place] = file if file is None or isinstance(file, (str, bytes)) else str(file)
    return files


def _missing_column(name: str, rows: Sequence[Mapping[str, Any]]) -> DataError:
    there = ", ".join(map(repr, list(rows[0])[:12])) or "no columns"
    return DataError(f"the data has no column {name!r}, which the model needs; it has {there}")
