"""Feature blocks: encoders fitted to training rows, frozen networks behind them, and the arrays that they give.

Used by every engine: `build` reads a recipe's preparation and the schema, `Features.arrays` gives what a model is
fitted on, `Features.write` the nodes of model.json. What does not depend on the fitted rows (image and sound
statistics, embeddings) is computed once for all development rows and kept in the cache.

Shapes: N rows, D columns of a block, F terms of a text block, C components.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from scipy.sparse import csr_matrix

from thrifty.core.errors import DataError, UsageError
from thrifty.core.seeds import generator
from thrifty.data.column import Meaning
from thrifty.data.encode.category import Category
from thrifty.data.encode.encoder import Encoder
from thrifty.data.encode.image import Image, channels_of
from thrifty.data.encode.image_statistics import ImageStatistics
from thrifty.data.encode.log_mel_statistics import LogMelStatistics
from thrifty.data.encode.number import Number
from thrifty.data.encode.sparse import SparseRows
from thrifty.data.encode.text_statistics import STATISTICS, TextStatistics
from thrifty.data.encode.tfidf import Tfidf
from thrifty.data.encode.timestamp import Timestamp
from thrifty.data.encode.tokens import Tokens
from thrifty.data.encode.values import is_missing, text_of
from thrifty.data.encode.waveform import Waveform
from thrifty.engines.absence import Fill, Sign
from thrifty.engines.backbones import embedding
from thrifty.engines.trial import Trial
from thrifty.exporting import graphs
from thrifty.models.weights import Kind as WeightsKind
from thrifty.models.weights import find
from thrifty.recipe import Linear
from thrifty.runtime.graph import evaluate
from thrifty.runtime.nodes import encoder_node, files_of, onnx_node

NUM_COMPONENTS = 64  # that texts are reduced to for models that take dense columns alone
MAX_REDUCED_TERMS = 20_000  # whose weights on the components the artifact carries
MAX_TOKENS = 256  # of a text that a pretrained network reads
MAX_ONE_HOT = 200  # values of a category with an indicator of its own


class Style(StrEnum):
    """What a model takes.

    SPARSE: scaled numbers, indicators of categories, text as sparse terms. DENSE: the same, text reduced to components.
    RAW (for trees): numbers as they are with NaN for missing, categories as codes, text reduced.
    """

    SPARSE = "sparse"
    DENSE = "dense"
    RAW = "raw"


Kind = Literal["dense", "codes", "text"]
Array: TypeAlias = np.ndarray | csr_matrix


@dataclass(frozen=True)
class Block:
    """Columns that belong together, and the node outputs ("node.output") that hold them.

    kind: `dense` float32 [N, width]; `codes` int64 [N, width], each below its entry in `sizes`; `text` sparse rows
        [N, width] from two sources, indices and weights.
    ready: whether the numbers are scaled already. importance: how many plain numbers the block counts as.
    """

    name: str
    kind: Kind
    sources: tuple[str, ...]
    width: int
    importance: float
    sizes: tuple[int, ...] = ()
    ready: bool = False


@dataclass(frozen=True)
class Features:
    """Fitted nodes, whose files lie in `folder`, the blocks that they give, and a function of rows for each block."""

    folder: Path
    nodes: list[dict[str, Any]]
    blocks: list[Block]
    sources: dict[str, Callable[[np.ndarray], Array]] = field(repr=False)

    def arrays(self, rows: np.ndarray) -> list[Array]:
        """Each block's values of the given development rows, float32 or int64 [N, width], or sparse."""
        return [self.sources[block.name](rows) for block in self.blocks]

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Puts the nodes' files into a model's folder and gives the nodes."""
        for node in self.nodes:
            for name in files_of(node).values():
                _link(self.folder / name, folder / name)
        return list(self.nodes)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def build(trial: Trial, rows: np.ndarray, style: Style) -> Features:
    """Fits the encoders of the recipe's blocks to the given rows.

    Columns that a block needs and the schema has not are passed over. Raises UsageError for a block of an unknown
    name, DataError when no block has a column.
    """
    builder = _Builder(trial, rows, style)
    try:
        for name in trial.recipe.preparation.blocks:
            if name not in _BLOCKS:
                raise UsageError(f"preparation.blocks has {name!r}; it may have {', '.join(_BLOCKS)}")
            _BLOCKS[name](builder)
    except BaseException:
        builder.features.remove()
        raise
    if not builder.features.blocks:
        builder.features.remove()
        raise DataError(
            f"none of the blocks {', '.join(trial.recipe.preparation.blocks) or '(none)'} has a column with something "
            "in it; add a block that fits the columns, or set a column's meaning with --set schema.COLUMN=..."
        )
    return builder.features


def placeholder(trial: Trial) -> Features:
    """One column of codes that are all the same, for a model that looks at nothing."""
    builder = _Builder(trial, np.zeros(0, np.int64), Style.RAW)
    name = next(iter(trial.dataset.schema.inputs), None)
    if name is None:
        raise DataError(
            "there is no column to predict from: all are ignored; set one's meaning with --set schema.X=..."
        )
    builder.encoder("row", Category((name,), ((),)))
    builder.block("row", "codes", "row.codes", 1, 1.0, lambda rows: np.ones((len(rows), 1), np.int64), sizes=(2,))
    return builder.features


class _Builder:
    """Collects nodes and blocks; `rows` are those that encoders are fitted to."""

    def __init__(self, trial: Trial, rows: np.ndarray, style: Style) -> None:
        self.trial, self.rows, self.style = trial, rows, style
        folder = Path(tempfile.mkdtemp(prefix=".features.", dir=trial.folder))
        self.features = Features(folder, [], [], {})

    @property
    def threads(self) -> int:
        return self.trial.channel.cores

    @property
    def raw(self) -> bool:
        return self.style is Style.RAW

    def names(self, *meanings: Meaning) -> tuple[str, ...]:
        return self.trial.dataset.schema.names_of(*meanings)

    def columns(self, names: Sequence[str], rows: np.ndarray | None = None) -> dict[str, list[Any]]:
        return self.trial.dataset.columns(self.rows if rows is None else rows, names)

    def encoder(self, name: str, encoder: Encoder) -> None:
        self.features.nodes.append(encoder_node(name, encoder, self.features.folder))

    def network(self, name: str, model: onnx.ModelProto | Path, inputs: dict[str, str], output: str) -> None:
        """Adds an ONNX node from a graph or from a file kept elsewhere."""
        path = self.features.folder / f"{name}.onnx"
        if isinstance(model, Path):
            _link(model, path)
        else:
            path.write_bytes(model.SerializeToString())
        self.features.nodes.append(onnx_node(name, path.name, inputs, (output,)))

    def block(
        self,
        name: str,
        kind: Kind,
        source: str | tuple[str, ...],
        width: int,
        importance: float,
        values: Callable[[np.ndarray], Array],
        sizes: tuple[int, ...] = (),
        ready: bool = False,
    ) -> None:
        sources = (source,) if isinstance(source, str) else source
        self.features.blocks.append(Block(name, kind, sources, width, importance, sizes, ready))
        self.features.sources[name] = values

    def encoded(self, encoder: Encoder, output: str) -> Callable[[np.ndarray], np.ndarray]:
        """A function of rows that encodes them; what costs little is not kept."""

        def values(rows: np.ndarray) -> np.ndarray:
            return encoder.encode(self.columns(encoder.columns, rows), self.threads)[0][output]

        return values

    def present(self, *names: str) -> Callable[[np.ndarray], np.ndarray]:
        """A function of rows to which of the columns' values are there, bool [N, columns]."""
        texts = set(self.names(Meaning.TEXT))

        def there(rows: np.ndarray) -> np.ndarray:
            columns = self.columns(names, rows)
            found = [[bool(text_of(v)) if n in texts else not is_missing(v) for v in columns[n]] for n in names]
            return np.array(found, bool).reshape(len(names), len(rows)).T

        return there

    def filled(
        self, name: str, sign: Sign, sources: Sequence[str], importance: float,
        values: Callable[[np.ndarray], np.ndarray], present: Callable[[np.ndarray], np.ndarray], **how: Any,
    ) -> None:  # fmt: skip
        """Adds a dense block whose values may be missing, with what stands for them then (`absence.Fill`).

        sources: of the block, and of its sign unless that is "values". present: bool [N, G] of rows. how: `flags`,
        `missing` or `least` for `Fill.fit`.
        """
        fill = Fill.fit(name, sign, values(self.rows), present(self.rows), **how)
        self.network(f"{name}_filled", fill.graph(), dict(zip((name, f"{name}_{sign}"), sources)), "features")
        self.block(
            name, "dense", f"{name}_filled.features", fill.width, importance,
            lambda rows: fill.apply(values(rows), present(rows)),
        )  # fmt: skip

    def kept(self, source: str) -> Callable[[np.ndarray], np.ndarray]:
        """A function of rows; all development rows are computed at once and kept in the cache."""
        trial, features = self.trial, self.features
        every = trial.dataset.splits.development_rows
        found = evaluate(
            features.nodes, features.folder, (source,), trial.dataset, every, trial.cache, workers=self.threads
        )
        whole = found[source]
        return lambda rows: np.asarray(whole[np.searchsorted(every, rows)], np.float32)


def _numbers(builder: _Builder) -> None:
    names = builder.names(Meaning.NUMBER)
    if not names:
        return
    scale = "none" if builder.raw else "standard"
    encoder = Number.fit(builder.columns(names), names, scale)
    width = len(names) + len(encoder.indicated)
    builder.encoder("numbers", encoder)
    values = builder.encoded(encoder, "values")
    builder.block("numbers", "dense", "numbers.values", width, len(names), values, ready=True)


def _categories(builder: _Builder) -> None:
    names = builder.names(Meaning.CATEGORY)
    if not names:
        return
    least = 1 if len(builder.rows) < 200 else 2 if len(builder.rows) < 2000 else 5
    form = "codes" if builder.raw else "one_hot"
    most = 1000 if builder.raw else MAX_ONE_HOT
    encoder = Category.fit(builder.columns(names), names, form, max_values=most, min_rows=least)
    builder.encoder("categories", encoder)
    values = builder.encoded(encoder, form)
    source, importance = f"categories.{form}", float(len(names))
    if builder.raw:
        builder.block("categories", "codes", source, len(names), importance, values, sizes=encoder.sizes)
    else:
        builder.block("categories", "dense", source, sum(encoder.sizes), importance, values, ready=True)


def _timestamps(builder: _Builder) -> None:
    names = builder.names(Meaning.TIMESTAMP)
    if not names:
        return
    encoder = Timestamp.fit(builder.columns(names), names, "none" if builder.raw else "standard")
    values = builder.encoded(encoder, "values")
    width = values(builder.rows[:1]).shape[1]
    builder.encoder("timestamps", encoder)
    builder.block("timestamps", "dense", "timestamps.values", width, 3.0 * len(names), values, ready=True)


def _tfidf(builder: _Builder) -> None:
    names = builder.names(Meaning.TEXT)
    if not names:
        return
    model = builder.trial.recipe.model
    sizes = {"words": 2, "chars": 4, "max_features": MAX_REDUCED_TERMS}
    if isinstance(model, Linear):
        sizes = {"words": model.word_ngrams, "chars": model.char_ngrams, "max_features": model.max_features}
    encoder, fitted = Tfidf.fit_encode(builder.columns(names), names, **sizes, threads=builder.threads)
    if not encoder.num_columns:
        return
    builder.encoder("tfidf", encoder)
    own = _csr(fitted)
    known = [(builder.rows, own)]  # the encoder's own rows, and those asked for last

    def terms(rows: np.ndarray) -> csr_matrix:
        for seen, matrix in known:
            if rows is seen or np.array_equal(rows, seen):
                return matrix
        known[1:] = [(rows, _csr(encoder.encode_sparse(builder.columns(names, rows), builder.threads)))]
        return known[1][1]

    sources = ("tfidf.indices", "tfidf.weights")
    if builder.style is Style.SPARSE:
        builder.block("tfidf", "text", sources, encoder.num_columns, 0.0, terms)
        return
    weights_FC = principal_terms(own, NUM_COMPONENTS, generator(builder.trial.recipe.seed, "components"))
    inputs = {"tfidf_indices": sources[0], "tfidf_weights": sources[1]}
    builder.network("text_components", graphs.components("tfidf", weights_FC), inputs, "features")
    exact_FC = weights_FC.astype(np.float64)
    builder.filled(
        "text_components", "weights", ("text_components.features", sources[1]), 10.0,
        lambda rows: (terms(rows).astype(np.float64) @ exact_FC).astype(np.float32),
        lambda rows: np.asarray(terms(rows).sum(axis=1) > 0).reshape(-1, 1),
    )  # fmt: skip


def _text_statistics(builder: _Builder) -> None:
    names = builder.names(Meaning.TEXT)
    if names:
        builder.encoder("text_statistics", TextStatistics(names))
        flags = [number * len(STATISTICS) for number in range(len(names))]
        source = "text_statistics.values"
        builder.filled(
            "text_statistics", "values", (source,), 1.0 * len(names), builder.kept(source), builder.present(*names),
            flags=flags, missing=1.0,
        )  # fmt: skip


def _image_statistics(builder: _Builder) -> None:
    small: dict[str, Any] = {"small": 8, "cells": (8,)} if builder.raw else {}
    for name, column in _numbered("image_statistics", builder.names(Meaning.IMAGE)):
        dataset = builder.trial.dataset
        channels = channels_of(dataset.cells(column, dataset.splits.development_rows))
        builder.encoder(name, ImageStatistics((column,), channels=channels, **small))
        _statistics(builder, name, column)


def _log_mel_statistics(builder: _Builder) -> None:
    for name, column in _numbered("log_mel_statistics", builder.names(Meaning.AUDIO)):
        builder.encoder(name, LogMelStatistics((column,)))
        _statistics(builder, name, column)


def _statistics(builder: _Builder, name: str, column: str) -> None:
    """The block of an encoder of images or sounds whose first number says whether there is one."""
    source = f"{name}.values"
    builder.filled(name, "values", (source,), 10.0, builder.kept(source), builder.present(column), flags=(0,))


def _embeddings(kind: WeightsKind, meaning: Meaning) -> Callable[[_Builder], None]:
    """Frozen pretrained features of every column of one meaning; none where no weights are found."""

    def add(builder: _Builder) -> None:
        preparation = builder.trial.recipe.preparation
        weights = find(kind, preparation.backbone(kind))
        if weights is None:
            return
        for name, column in _numbered(f"{kind}_embedding", builder.names(meaning)):
            made = embedding(weights, builder.trial.cache, preparation.image_size, preparation.audio_seconds)
            encoder: Encoder
            sign: Sign = "present"
            least = 0.0
            if kind == "image":
                encoder = Image((column,), preparation.image_size)
            elif kind == "text":
                tokenizer = (weights.folder / "tokenizer.json").read_text(encoding="utf-8")
                encoder, sign = Tokens((column,), tokenizer, MAX_TOKENS), "mask"
                least = float(encoder.encode({column: [""]})[0]["mask"].sum())  # special tokens alone
            else:
                encoder = Waveform((column,), preparation.audio_seconds)
            builder.encoder(f"{name}_input", encoder)
            builder.network(name, made.path, {i: f"{name}_input.{i}" for i in made.inputs}, "features")
            sources = (f"{name}.features", f"{name}_input.{sign}")
            builder.filled(
                name, sign, sources, 20.0, builder.kept(sources[0]), builder.present(column), least=least
            )  # fmt: skip

    return add


_BLOCKS: dict[str, Callable[[_Builder], None]] = {
    "numbers": _numbers,
    "categories": _categories,
    "timestamps": _timestamps,
    "tfidf": _tfidf,
    "text_statistics": _text_statistics,
    "image_statistics": _image_statistics,
    "log_mel_statistics": _log_mel_statistics,
    "image_embedding": _embeddings("image", Meaning.IMAGE),
    "text_embedding": _embeddings("text", Meaning.TEXT),
    "speech_embedding": _embeddings("speech", Meaning.AUDIO),
}


def principal_terms(x_NF: csr_matrix, num_components: int, rng: np.random.Generator) -> np.ndarray:
    """The first right singular vectors of sparse rows, scaled so that rows have components of about 1, float32 [F, C].

    Randomised, with power iterations on the side of the rows (Halko et al. 2011, https://arxiv.org/abs/0909.4061).
    """
    num_components = max(1, min(num_components, min(x_NF.shape) - 1))
    x_FN = x_NF.T.tocsr()
    found_NC = rng.normal(size=(x_NF.shape[0], min(num_components + 8, x_NF.shape[0]))).astype(np.float32)
    for _ in range(4):
        found_NC, _ = np.linalg.qr(x_NF @ (x_FN @ found_NC))
    back_FC = (x_FN @ found_NC).astype(np.float64)
    squares_C, turn_CC = np.linalg.eigh(back_FC.T @ back_FC)
    squares_C, turn_CC = squares_C[::-1][:num_components], turn_CC[:, ::-1][:, :num_components]
    lengths_C = np.sqrt(np.maximum(squares_C, 1e-12 * max(float(squares_C[0]), 1e-12)))
    spread = max(float(lengths_C[0]) / np.sqrt(x_NF.shape[0]), 1e-6)
    return np.ascontiguousarray(back_FC @ (turn_CC / lengths_C) / spread, np.float32)


def _numbered(name: str, columns: Sequence[str]) -> list[tuple[str, str]]:
    """A node name for each column: NAME, NAME_2, ..."""
    return [(name if i == 0 else f"{name}_{i + 1}", column) for i, column in enumerate(columns)]


def _csr(rows: SparseRows) -> csr_matrix:
    index = np.int32 if len(rows.values) < 2**31 else np.int64
    parts = (rows.values, rows.indices.astype(index), rows.indptr.astype(index))
    return csr_matrix(parts, shape=(len(rows), rows.num_columns))


def _link(source: Path, target: Path) -> None:
    """A second name for a file where the disk allows it, else a copy."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
