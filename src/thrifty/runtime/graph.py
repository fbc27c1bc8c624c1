"""A model's nodes, run on rows: the same code when an engine computes features and when an artifact predicts.

Shapes: N rows, K scores.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from thrifty.core.errors import StoreError
from thrifty.data.cache import CHUNK_ROWS, Cache
from thrifty.data.encode.encoder import Arrays, Columns, Encoder, Problem
from thrifty.data.encode.registry import load_encoder
from thrifty.runtime.nodes import Node, needed, node_keys, read_model
from thrifty.runtime.sessions import Session

_BATCH_ROWS = 1024
_BATCH_OF: Mapping[str, int] = {
    "image": 64, "image_statistics": 64, "waveform": 64, "log_mel": 64, "log_mel_statistics": 64, "tfidf": 128,
    "tokens": 32,
}  # fmt: skip
_MOST_AT_ONCE = 4  # batches of that size, or as many rows in more of them
_LEAST_ROWS = 128  # of a batch, that rows are divided into for several workers
_GOLDEN = 0.618034
_BY_LENGTH = ("tfidf", "tokens")  # padded to the longest row of a batch, so rows of like length go together


class _EncoderStep(NamedTuple):
    encoder: Encoder
    outputs: tuple[str, ...]
    arrays: tuple[str, ...]  # NODE.OUTPUT of each output
    inputs: tuple[tuple[str, str], ...] = ()


class _OnnxStep(NamedTuple):
    session: Session
    outputs: tuple[str, ...]
    arrays: tuple[str, ...]
    inputs: tuple[tuple[str, str], ...]  # (input, NODE.OUTPUT)


_Step = _EncoderStep | _OnnxStep


class Graph:
    """Nodes ready to run.

    columns: the columns that its encoders read; sources: those that each array (NODE.OUTPUT) is made of.
    """

    def __init__(
        self, nodes: Sequence[Node], folder: Path, wanted: Sequence[str], threads: int = 1, workers: int = 1
    ) -> None:
        """Loads what the wanted arrays (NODE.OUTPUT) depend on, from `folder`. Raises StoreError.

        threads: of each batch of rows. workers: how many batches are computed at once.
        """
        self.wanted = tuple(wanted)
        self._threads, self._workers = threads, workers
        self._steps: list[_Step] = [_step(node, folder, threads) for node in needed(nodes, wanted)]
        self.sources = _sources(self._steps, wanted)
        self.columns = tuple(dict.fromkeys(name for e in _encoders(self._steps) for name in e.columns))

    @classmethod
    def load(cls, folder: Path, threads: int = 1, workers: int = 1) -> Self:
        """The model of a folder with a model.json; its one wanted array is the scores. Raises StoreError."""
        nodes, output = read_model(folder)
        return cls(nodes, folder, (output,), threads, workers)

    def scores(self, columns: Columns, num_rows: int) -> np.ndarray:
        """The one wanted array, float32 [N,K]."""
        return self.run(columns, num_rows)[0][self.wanted[0]]

    def run(
        self, columns: Columns, num_rows: int, watch: Callable[[int], None] | None = None
    ) -> tuple[Arrays, list[Problem]]:
        """The wanted arrays of any number of rows, computed in batches, and the values that could not be read.

        watch: is told how many rows each batch had.
        """
        return self._run(self._steps, self.wanted, columns, num_rows, {}, watch)

    def parts(self, columns: Columns, num_rows: int) -> Arrays:
        """The arrays that steps put together with what other columns give, and the wanted ones."""
        mixed = [a for step in self._steps for _, a in step.inputs if self.sources[a] != self.sources[step.arrays[0]]]
        parts = tuple(dict.fromkeys((*mixed, *self.wanted)))
        return self._run(self._steps, parts, columns, num_rows, {})[0]

    def run_from(self, given: Arrays, columns: Columns, num_rows: int) -> Arrays:
        """The wanted arrays, where some arrays of all rows are known; only what these do not give is computed."""
        steps: list[_Step] = []
        missing = {*self.wanted} - {*given}
        for step in reversed(self._steps):
            if missing & {*step.arrays}:
                steps.insert(0, step)
                missing |= {array for _, array in step.inputs} - {*given}
        return self._run(steps, self.wanted, columns, num_rows, given)[0]

    def _run(
        self,
        steps: Sequence[_Step],
        wanted: Sequence[str],
        columns: Columns,
        num_rows: int,
        given: Arrays,
        watch: Callable[[int], None] | None = None,
    ) -> tuple[Arrays, list[Problem]]:
        encoders = _encoders(steps)
        batch_rows = _batch_rows(encoders, num_rows, self._workers)
        if num_rows <= batch_rows:
            made = self._run_batch(steps, wanted, columns, given)
            if watch is not None:
                watch(num_rows)
            return made
        names = tuple(dict.fromkeys(name for e in encoders for name in e.columns))
        order_N = _order(encoders, columns, num_rows)
        arrays: Arrays = {}
        problems: list[Problem] = []

        def compute(start: int) -> tuple[np.ndarray, Arrays, list[Problem]]:
            rows = order_N[start : start + batch_rows]
            picked = rows.tolist()
            part = {name: [columns[name][row] for row in picked] for name in names}
            known = {name: array[rows] for name, array in given.items()}
            found, bad = self._run_batch(steps, wanted, part, known)
            return rows, found, [Problem(picked[row], column, reason) for row, column, reason in bad]

        starts = _spread(range(0, num_rows, batch_rows))
        pool = ThreadPoolExecutor(self._workers)
        try:
            for rows, found, bad in (map if self._workers == 1 else pool.map)(compute, starts):
                problems += bad
                for name, array in found.items():
                    arrays[name] = _place(arrays.get(name), array, rows, num_rows)
                if watch is not None:
                    watch(len(rows))
        finally:
            pool.shutdown(cancel_futures=True)
        return arrays, sorted(problems)

    def _run_batch(
        self, steps: Sequence[_Step], wanted: Sequence[str], columns: Columns, given: Arrays
    ) -> tuple[Arrays, list[Problem]]:
        made = dict(given)
        problems: list[Problem] = []
        for step in steps:
            if isinstance(step, _EncoderStep):
                encoded, bad = step.encoder.encode(columns, self._threads)
                problems += bad
                made.update((array, encoded[output]) for output, array in zip(step.outputs, step.arrays))
            else:
                results = step.session.run(step.outputs, {name: made[array] for name, array in step.inputs})
                made.update(zip(step.arrays, results))
        return {array: made[array] for array in wanted}, problems


def _encoders(steps: Iterable[_Step]) -> list[Encoder]:
    return [step.encoder for step in steps if isinstance(step, _EncoderStep)]


def _batch_rows(encoders: Iterable[Encoder], num_rows: int, workers: int) -> int:
    """Rows of a batch: fewer where several are computed at once, for memory, and so that each worker has some."""
    most = min((_BATCH_OF.get(e.kind, _BATCH_ROWS) for e in encoders), default=_BATCH_ROWS)
    if workers == 1:
        return most
    return max(1, min(most, _MOST_AT_ONCE * most // workers, max(_LEAST_ROWS, math.ceil(num_rows / (4 * workers)))))


def _order(encoders: Iterable[Encoder], columns: Columns, num_rows: int) -> np.ndarray:
    """Rows of like length together, where some encoder pads."""
    names = {name for e in encoders if e.kind in _BY_LENGTH for name in e.columns}
    if not names:
        return np.arange(num_rows)
    lengths = np.zeros(num_rows, np.int64)
    for name in names:
        lengths += [len(value) if isinstance(value, str) else 8 for value in columns[name]]
    return np.argsort(lengths, kind="stable")


def _spread(starts: range) -> list[int]:
    """The starts in an order in which short and long rows take turns: what is done tells how long the rest takes."""
    return sorted(starts, key=lambda start: (start // starts.step * _GOLDEN) % 1.0)


def _step(node: Node, folder: Path, threads: int) -> _Step:
    name = node["name"]
    if node["kind"] == "encoder":
        encoder = load_encoder(folder, node["encoder"])
        return _EncoderStep(encoder, tuple(encoder.outputs), tuple(f"{name}.{output}" for output in encoder.outputs))
    if node["kind"] != "onnx":
        raise StoreError(f"a node of unknown kind {node['kind']!r}; this version has encoder and onnx")
    session = Session(folder / node["file"], threads)
    outputs = tuple(node["outputs"])
    arrays = tuple(f"{name}.{output}" for output in outputs)
    unknown = sorted({*node["inputs"]} ^ {*session.inputs}) + sorted({*outputs} - {*session.outputs})
    if unknown:
        raise StoreError(f"the node {name!r} and its file {node['file']} differ in {', '.join(unknown)}")
    return _OnnxStep(session, outputs, arrays, tuple(node["inputs"].items()))


def _sources(steps: Iterable[_Step], wanted: Iterable[str]) -> dict[str, frozenset[str]]:
    """The columns that each array is made of. Raises StoreError for one that is read or wanted but not made before."""
    made: dict[str, frozenset[str]] = {}
    for step in steps:
        columns = frozenset(step.encoder.columns) if isinstance(step, _EncoderStep) else frozenset()
        for name, array in step.inputs:
            if array not in made:
                raise StoreError(f"the input {name} of a node is {array!r}, which no node before it gives")
            columns |= made[array]
        made.update(dict.fromkeys(step.arrays, columns))
    for array in wanted:
        if array not in made:
            raise StoreError(f"the array {array!r} is wanted, which no node gives")
    return made


def _place(whole: np.ndarray | None, part: np.ndarray, rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Puts a batch's rows into the array of all rows, made or widened (with zeros) as needed."""
    if whole is None:
        whole = np.zeros((num_rows, *part.shape[1:]), part.dtype)
    more = [(0, max(0, wanted - there)) for there, wanted in zip(whole.shape[1:], part.shape[1:])]
    if any(right for _, right in more):
        whole = np.pad(whole, [(0, 0), *more])
    where: Any = (rows, *map(slice, part.shape[1:]))
    whole[where] = part
    return whole


class Source(Protocol):
    """What rows come from: a Dataset."""

    def columns(self, rows: np.ndarray, names: Iterable[str]) -> Mapping[str, Sequence[Any]]: ...

    def fingerprint(self, names: Iterable[str], rows: np.ndarray) -> str: ...


def evaluate(
    nodes: Sequence[Node],
    folder: Path,
    wanted: Iterable[str],
    source: Source,
    rows: np.ndarray,
    cache: Cache,
    *,
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """The wanted arrays (NODE.OUTPUT) of the given rows of a Dataset, memory-mapped, computed when not in the cache.

    folder: where the nodes' files lie. workers: how many batches are computed at once. report(done, of): told after
    each chunk of rows that is computed.
    A value that cannot be read counts as missing. Raises StoreError.
    """
    keys = node_keys(nodes, folder)
    names = list(dict.fromkeys(array.rpartition(".")[0] for array in wanted))
    found: dict[str, np.ndarray] = {}
    for name in names:
        arrays = tuple(array for array in dict.fromkeys(wanted) if array.rpartition(".")[0] == name)
        used = _columns_of(needed(nodes, arrays))
        outputs = ",".join(array.rpartition(".")[2] for array in arrays)
        key = f"node {keys[name]} {outputs} {source.fingerprint(used, rows)}"
        compute = _computer(nodes, folder, arrays, source, rows, workers, report)
        entry = cache.arrays(key, len(rows), compute, CHUNK_ROWS)
        found |= {array: entry[array.rpartition(".")[2]] for array in arrays}
    return found


def _columns_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    encoders = [node["encoder"] for node in nodes if node["kind"] == "encoder"]
    return tuple(sorted({name for encoder in encoders for name in encoder["columns"]}))


def _computer(
    nodes: Sequence[Node],
    folder: Path,
    arrays: tuple[str, ...],
    source: Source,
    rows: np.ndarray,
    workers: int,
    report: Callable[[int, int], None] | None,
) -> Callable[[slice], dict[str, np.ndarray]]:
    """A function that computes the arrays of a slice of the rows; it loads the nodes when first called."""
    loaded: list[Graph] = []

    def compute(part: slice) -> dict[str, np.ndarray]:
        if not loaded:
            loaded.append(Graph(nodes, folder, arrays, workers=workers))
        some = rows[part]
        made, _ = loaded[0].run(source.columns(some, loaded[0].columns), len(some))
        if report is not None:
            report(min(part.stop, len(rows)), len(rows))
        return {array.rpartition(".")[2]: made[array] for array in arrays}

    return compute
