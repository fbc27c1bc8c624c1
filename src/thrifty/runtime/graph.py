"""A model's nodes, run on rows: the same code when an engine computes features and when an artifact predicts.

Shapes: N rows, K scores.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
_BATCH_OF: Mapping[str, int] = {"image": 64, "waveform": 64, "log_mel": 64, "tfidf": 128, "tokens": 32}
_BY_LENGTH = ("tfidf", "tokens")  # padded to the longest row of a batch, so rows of like length go together


class _EncoderStep(NamedTuple):
    encoder: Encoder
    arrays: tuple[tuple[str, str], ...]  # (output, NODE.OUTPUT)


class _OnnxStep(NamedTuple):
    session: Session
    inputs: tuple[tuple[str, str], ...]  # (input, NODE.OUTPUT)
    outputs: tuple[str, ...]
    arrays: tuple[str, ...]


class Graph:
    """Nodes ready to run. `columns`: the columns that its encoders read."""

    def __init__(self, nodes: Sequence[Node], folder: Path, wanted: Sequence[str], threads: int = 1) -> None:
        """Loads what the wanted arrays (NODE.OUTPUT) depend on, from `folder`. Raises StoreError."""
        self.wanted = tuple(wanted)
        self._threads = threads
        self._steps = [_step(node, folder, threads) for node in needed(nodes, wanted)]
        _check_order(self._steps, wanted)
        encoders = [step.encoder for step in self._steps if isinstance(step, _EncoderStep)]
        self.columns = tuple(dict.fromkeys(name for encoder in encoders for name in encoder.columns))
        self._batch_rows = min((_BATCH_OF.get(e.kind, _BATCH_ROWS) for e in encoders), default=_BATCH_ROWS)
        by_length = [name for e in encoders if e.kind in _BY_LENGTH for name in e.columns]
        self._by_length = tuple(dict.fromkeys(by_length))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Self:
        """The model of a folder with a model.json; its one wanted array is the scores. Raises StoreError."""
        nodes, output = read_model(folder)
        return cls(nodes, folder, (output,), threads)

    def scores(self, columns: Columns, num_rows: int) -> np.ndarray:
        """The one wanted array, float32 [N,K]."""
        return self.run(columns, num_rows)[0][self.wanted[0]]

    def run(self, columns: Columns, num_rows: int) -> tuple[Arrays, list[Problem]]:
        """The wanted arrays of any number of rows, computed in batches, and the values that could not be read."""
        if num_rows <= self._batch_rows:
            return self._run_batch(columns)
        order_N = self._order(columns, num_rows)
        arrays: Arrays = {}
        problems: list[Problem] = []
        for start in range(0, num_rows, self._batch_rows):
            rows = order_N[start : start + self._batch_rows]
            picked = rows.tolist()
            part = {name: [columns[name][row] for row in picked] for name in self.columns}
            found, bad = self._run_batch(part)
            problems += [Problem(picked[row], column, reason) for row, column, reason in bad]
            for name, array in found.items():
                arrays[name] = _place(arrays.get(name), array, rows, num_rows)
        return arrays, sorted(problems)

    def _order(self, columns: Columns, num_rows: int) -> np.ndarray:
        if not self._by_length:
            return np.arange(num_rows)
        lengths = np.zeros(num_rows, np.int64)
        for name in self._by_length:
            lengths += [len(value) if isinstance(value, str) else 8 for value in columns[name]]
        return np.argsort(lengths, kind="stable")

    def _run_batch(self, columns: Columns) -> tuple[Arrays, list[Problem]]:
        made: Arrays = {}
        problems: list[Problem] = []
        for step in self._steps:
            if isinstance(step, _EncoderStep):
                encoded, bad = step.encoder.encode(columns, self._threads)
                problems += bad
                for output, array in step.arrays:
                    made[array] = encoded[output]
            else:
                results = step.session.run(step.outputs, {name: made[array] for name, array in step.inputs})
                made.update(zip(step.arrays, results))
        return {array: made[array] for array in self.wanted}, problems


def _step(node: Node, folder: Path, threads: int) -> _EncoderStep | _OnnxStep:
    name = node["name"]
    if node["kind"] == "encoder":
        encoder = load_encoder(folder, node["encoder"])
        return _EncoderStep(encoder, tuple((output, f"{name}.{output}") for output in encoder.outputs))
    if node["kind"] != "onnx":
        raise StoreError(f"a node of unknown kind {node['kind']!r}; this version has encoder and onnx")
    session = Session(folder / node["file"], threads)
    outputs = tuple(node["outputs"])
    arrays = tuple(f"{name}.{output}" for output in outputs)
    unknown = sorted({*node["inputs"]} ^ {*session.inputs}) + sorted({*outputs} - {*session.outputs})
    if unknown:
        raise StoreError(f"the node {name!r} and its file {node['file']} differ in {', '.join(unknown)}")
    return _OnnxStep(session, tuple(node["inputs"].items()), outputs, arrays)


def _check_order(steps: Iterable[_EncoderStep | _OnnxStep], wanted: Iterable[str]) -> None:
    """That every array which is read or wanted was made before. Raises StoreError."""
    made: set[str] = set()
    for step in steps:
        if isinstance(step, _EncoderStep):
            made.update(array for _, array in step.arrays)
            continue
        for name, array in step.inputs:
            if array not in made:
                raise StoreError(f"the input {name} of a node is {array!r}, which no node before it gives")
        made.update(step.arrays)
    for array in wanted:
        if array not in made:
            raise StoreError(f"the array {array!r} is wanted, which no node gives")


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
    threads: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """The wanted arrays (NODE.OUTPUT) of the given rows of a Dataset, memory-mapped, computed when not in the cache.

    folder: where the nodes' files lie. report(done, of): told after each chunk of rows that is computed.
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
        compute = _computer(nodes, folder, arrays, source, rows, threads, report)
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
    threads: int,
    report: Callable[[int, int], None] | None,
) -> Callable[[slice], dict[str, np.ndarray]]:
    """A function that computes the arrays of a slice of the rows; it loads the nodes when first called."""
    loaded: list[Graph] = []

    def compute(part: slice) -> dict[str, np.ndarray]:
        if not loaded:
            loaded.append(Graph(nodes, folder, arrays, threads))
        some = rows[part]
        made, _ = loaded[0].run(source.columns(some, loaded[0].columns), len(some))
        if report is not None:
            report(min(part.stop, len(rows)), len(rows))
        return {array.rpartition(".")[2]: made[array] for array in arrays}

    return compute
