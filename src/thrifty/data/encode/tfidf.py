"""Text as weighted words and character runs (TF-IDF), of any script, without a vocabulary of strings.

Terms are known by 32-bit hashes; those most frequent in the training texts are kept. Counts are damped (1 + log), each
of the two blocks, words and characters, is scaled to length 1.

Shapes: N rows, V terms kept, T terms of a text or corpus, K terms of the row with the most.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State
from thrifty.data.encode.ngrams import char_terms, corpus, parts_of, word_terms
from thrifty.data.encode.sample import some_of
from thrifty.data.encode.sparse import SparseRows
from thrifty.data.encode.values import text_of

_SHORTEST = 2  # characters in a run
_BUCKET_BITS = 20
_FIT_CHARS = 12_000_000  # of a larger corpus an even sample of this size chooses the terms


@dataclass(frozen=True, eq=False)
class Tfidf:
    """Text columns, joined by a space, as `indices` int64 [N,K] and `weights` float32 [N,K], padded with zeros.

    words: longest run of words, 0 for none. chars: longest run of characters, 0 for none.
    keys: the hashes of the kept words, then of the kept character runs, each part rising, uint32 [V].
    num_words: how many of them are words. idf: float32 [V].
    """

    kind: ClassVar[str] = "tfidf"
    columns: tuple[str, ...]
    words: int
    chars: int
    num_words: int
    keys: np.ndarray
    idf: np.ndarray

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("indices", "weights")

    @property
    def num_columns(self) -> int:
        return len(self.keys)

    @classmethod
    def fit(
        cls,
        columns: Columns,
        names: Sequence[str],
        words: int = 2,
        chars: int = 5,
        max_features: int = 100_000,
        min_rows: int = 2,
        threads: int = 1,
    ) -> Self:
        """Keeps the `max_features` most frequent terms that at least `min_rows` texts have."""
        return cls.fit_encode(columns, names, words, chars, max_features, min_rows, threads)[0]

    @classmethod
    def fit_encode(
        cls,
        columns: Columns,
        names: Sequence[str],
        words: int = 2,
        chars: int = 5,
        max_features: int = 100_000,
        min_rows: int = 2,
        threads: int = 1,
    ) -> tuple[Self, SparseRows]:
        """`fit`, and what `encode_sparse` then gives for the same rows, in less time than both."""
        texts = _texts(columns, names)
        sample = _sample(texts)
        found = _in_parts(sample, lambda part: [hashes for _, hashes in _terms(part, words, chars)], threads)
        blocks = [np.concatenate(block) for block in zip(*found)] if found else [np.zeros(0, np.uint32)] * 2
        keys, num_words = _most_frequent(blocks, max_features, min(min_rows, len(sample)))
        every = cls(tuple(names), words, chars, num_words, keys, np.ones(len(keys), np.float32))
        counted = _in_parts(sample, every._count, threads)
        rows_V = sum((np.bincount(part.columns, minlength=len(keys)) for part in counted), np.zeros(len(keys), int))
        kept_V = rows_V >= min(min_rows, len(sample))
        idf = (np.log((1 + len(sample)) / (1 + rows_V)) + 1).astype(np.float32)[kept_V]
        encoder = cls(tuple(names), words, chars, int(kept_V[:num_words].sum()), keys[kept_V], idf)
        if len(sample) < len(texts):
            return encoder, encoder.encode_sparse(columns, threads)
        return encoder, encoder._joined([encoder._weighted(part.keep(kept_V)) for part in counted])

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        indices_NK, weights_NK = self.encode_sparse(columns, threads).padded()
        return {"indices": indices_NK, "weights": weights_NK}, []

    def encode_sparse(self, columns: Columns, threads: int = 1) -> SparseRows:
        """The same as compressed rows."""
        texts = _texts(columns, self.columns)
        return self._joined(_in_parts(texts, lambda part: self._weighted(self._count(part)), threads))

    def _count(self, texts: Sequence[str]) -> "_Counts":
        bits = max(1, self.num_columns.bit_length())
        kind = np.uint32 if len(texts) << bits < 1 << 32 else np.uint64  # 32 bits sort twice as fast
        pairs = []
        blocks = zip(_terms(texts, self.words, self.chars), self._lookups)
        for (text_T, hash_T), lookup in blocks:
            column_T, hit_T = lookup.find(hash_T)
            pairs.append((text_T[hit_T].astype(kind) << kind(bits)) | column_T.astype(kind))
        pair_T, count_T = _unique(np.concatenate(pairs))
        column_T = (pair_T & kind((1 << bits) - 1)).astype(np.int32)
        return _Counts(len(texts), (pair_T >> kind(bits)).astype(np.int32), column_T, _damped(count_T))

    def _weighted(self, counts: "_Counts") -> "_Counts":
        value_T = self.idf[counts.columns] * counts.values
        block_T = 2 * counts.rows + (counts.columns >= self.num_words)
        squares = np.bincount(block_T, value_T.astype(np.float64) ** 2, minlength=2 * counts.num_rows)
        value_T /= np.sqrt(squares).astype(np.float32)[block_T]
        return _Counts(counts.num_rows, counts.rows, counts.columns, value_T)

    def _joined(self, parts: "list[_Counts]") -> SparseRows:
        lengths = [np.zeros(1, np.int64), *(np.bincount(part.rows, minlength=part.num_rows) for part in parts)]
        columns = [np.zeros(0, np.int32), *(part.columns for part in parts)]
        values = [np.zeros(0, np.float32), *(part.values for part in parts)]
        indptr = np.cumsum(np.concatenate(lengths), dtype=np.int64)
        return SparseRows(indptr, np.concatenate(columns), np.concatenate(values), self.num_columns)

    @cached_property
    def _lookups(self) -> "tuple[_Lookup, _Lookup]":
        split = self.num_words
        return _Lookup(self.keys[:split], 0), _Lookup(self.keys[split:], split)

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind, "columns": list(self.columns), "words": self.words}
        return value | {"chars": self.chars, "num_words": self.num_words}

    def state(self) -> dict[str, np.ndarray | str]:
        return {"keys": self.keys, "idf": self.idf}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        keys, idf = np.asarray(state["keys"]), np.asarray(state["idf"])
        return cls(tuple(value["columns"]), value["words"], value["chars"], value["num_words"], keys, idf)


@dataclass(frozen=True, eq=False)
class _Counts:
    """Terms of some texts, sorted by row, then column: rows int32 [T], columns int32 [T], values float32 [T]."""

    num_rows: int
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def keep(self, kept_V: np.ndarray) -> "_Counts":
        """Without the columns that are not kept, and those renumbered."""
        if kept_V.all():
            return self
        kept_T = kept_V[self.columns]
        new_V = np.cumsum(kept_V, dtype=np.int32) - np.int32(1)
        return _Counts(self.num_rows, self.rows[kept_T], new_V[self.columns[kept_T]], self.values[kept_T])


class _Lookup:
    """Finds hashes among rising keys; many at once by a table of where each hash prefix begins."""

    def __init__(self, keys: np.ndarray, offset: int) -> None:
        self._keys, self._offset = keys, offset

    @cached_property
    def _begins(self) -> np.ndarray:
        prefixes = np.arange((1 << _BUCKET_BITS) + 1, dtype=np.uint64) << np.uint64(32 - _BUCKET_BITS)
        return np.searchsorted(self._keys.astype(np.uint64), prefixes).astype(np.int32)

    def find(self, hash_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The columns of those found, and where in `hash_T` they stand."""
        if not len(self._keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if len(hash_T) < 20_000:
            at_T = np.searchsorted(self._keys, hash_T)
            at_T[at_T == len(self._keys)] = 0
            hit_T = np.flatnonzero(self._keys[at_T] == hash_T)
            return at_T[hit_T] + self._offset, hit_T
        prefix_T = hash_T >> np.uint32(32 - _BUCKET_BITS)
        at_T, end_T = self._begins[prefix_T], self._begins[prefix_T + np.uint32(1)]
        open_T = np.flatnonzero(at_T < end_T)
        at_T, end_T, wanted_T = at_T[open_T], end_T[open_T], hash_T[open_T]
        columns, hits = [], []
        while len(open_T):
            key_T = self._keys[at_T]
            same_T = key_T == wanted_T
            columns.append(at_T[same_T])
            hits.append(open_T[same_T])
            more_T = np.flatnonzero((key_T < wanted_T) & (at_T + 1 < end_T))
            open_T, at_T, end_T, wanted_T = open_T[more_T], at_T[more_T] + 1, end_T[more_T], wanted_T[more_T]
        if not columns:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(columns).astype(np.int64) + self._offset, np.concatenate(hits)


def _texts(columns: Columns, names: Sequence[str]) -> list[str]:
    parts = [[text_of(value) for value in columns[name]] for name in names]
    return parts[0] if len(parts) == 1 else [" ".join(row) for row in zip(*parts)]


def _terms(texts: Sequence[str], words: int, chars: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The terms of the two blocks, words and characters."""
    codes_C, starts = corpus(texts)
    none = np.zeros(0, np.int32), np.zeros(0, np.uint32)
    return [
        word_terms(codes_C, starts, words) if words else none,
        char_terms(codes_C, starts, _SHORTEST, chars) if chars >= _SHORTEST else none,
    ]


def _in_parts(texts: Sequence[str], function: Any, threads: int) -> list[Any]:
    """The function's results for consecutive parts of the texts."""
    parts = [texts[part] for part in parts_of(texts)]
    if threads <= 1 or len(parts) < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))


def _sample(texts: Sequence[str]) -> Sequence[str]:
    total = sum(map(len, texts))
    return texts if total <= _FIT_CHARS else some_of(texts, len(texts) * _FIT_CHARS // total)


def _most_frequent(blocks: list[np.ndarray], max_features: int, min_count: int) -> tuple[np.ndarray, int]:
    """The most frequent hashes of both blocks together, each block's rising, and how many are of the first."""
    keys, counts = [], []
    for hash_T in blocks:
        unique, count = _unique(hash_T)
        keys.append(unique[count >= min_count])
        counts.append(count[count >= min_count])
    all_counts, all_keys = np.concatenate(counts), np.concatenate(keys)
    best = np.lexsort((all_keys, -all_counts))[:max_features] if len(all_keys) > max_features else slice(None)
    kept = np.zeros(len(all_keys), bool)
    kept[best] = True
    return all_keys[kept], int(kept[: len(keys[0])].sum())


def _unique(values_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values rising, each once, and how often each stands there. Sorts in place."""
    values_T.sort()
    new_T = np.ones(len(values_T), bool)
    np.not_equal(values_T[1:], values_T[:-1], out=new_T[1:])
    first = np.flatnonzero(new_T)
    return values_T[first], np.diff(first, append=len(values_T))


def _damped(count_T: np.ndarray) -> np.ndarray:
    """1 + log(count), float32."""
    return _DAMPED[count_T] if count_T.max(initial=0) < len(_DAMPED) else (1 + np.log(count_T)).astype(np.float32)


_DAMPED = (1 + np.log(np.maximum(1, np.arange(1024)))).astype(np.float32)
