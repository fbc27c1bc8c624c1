"""What is wrong with the rows: equal and nearly equal ones, leaks between parts, columns that give the target away.

Everything is vectorised: hashes per column, sorted neighbours for near duplicates, connected components.
Shapes: N rows, P bytes of a print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thrifty.core.seeds import generator
from thrifty.data import typed
from thrifty.data.codes import dense
from thrifty.data.column import MEDIA, Meaning, Schema, Task
from thrifty.data.formats import arrow_file
from thrifty.data.media import HASH_BYTES
from thrifty.data.table import taken

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CLUSTER_SHARE = 0.10
MIN_CLUSTER_LIMIT = 10
NEAR = 0.04  # mean difference of brightness, in units of an image's own spread, between copies of one picture
NEAR_COLOUR = 16
GIVEN_AWAY = 0.99
BY_CHANCE = 0.02  # of the pairs of equal rows, as many as there would be if the columns knew nothing of each other
_MIN_BY_CHANCE = 10  # equal rows, below which it cannot be told and matters little
_ROWS_PER_VALUE = 10  # at least, for values to be few
_SAMPLE = 20_000
_LARGE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which rows belong together; -1 in `equal` and `clusters` is a row that was not looked at.

    equal: int64 [N], rows with equal inputs have one number. clusters: int64 [N], rows that are equal or nearly equal,
    or share an image, a sound or a long text, have one number; those that come again too often are alone.
    repeated: how many rows come again too often. by_chance: whether the columns have so few values that rows are equal
    without being copies; then all are alone.
    """

    equal: np.ndarray
    clusters: np.ndarray
    repeated: int
    by_chance: bool = False

    @property
    def num_equal(self) -> int:
        """Rows that are equal to an earlier one."""
        return _num_later(self.equal)

    @property
    def num_near(self) -> int:
        """Rows that are not equal to an earlier one, but nearly, or in part."""
        return max(0, _num_later(self.clusters) - self.num_equal)


def duplicates(arrow: pa.Table, schema: Schema, prints: Mapping[str, np.ndarray], rows: np.ndarray) -> Duplicates:
    """Finds equal and nearly equal rows.

    prints: of each image and sound column, uint8 [N,P]. rows: bool [N], which rows to look at.
    """
    size = arrow.num_rows
    keys: list[np.ndarray] = []  # of which each alone keeps rows together
    exact: list[np.ndarray] = []  # keys of columns where equal and nearly equal differ
    near = np.zeros(size, np.uint64)
    for name, meaning in schema.inputs.items():
        column = arrow.column(name)
        if meaning in MEDIA:
            same, alike = _media_keys(prints[name], near=meaning is Meaning.IMAGE)
            keys.append(np.where(rows & prints[name].any(axis=1), alike, -1))
            exact.append(same)
        elif meaning is Meaning.TEXT:
            alike, long = _text_keys(column)
            if long and len(schema.inputs) <= 4:
                keys.append(np.where(rows, alike, -1))
            if column.nbytes <= _LARGE_BYTES:
                exact.append(column_keys(column))
        else:
            alike = column_keys(column)
        near = _folded(near, alike)
        arrow_file.give_back()
    total = near
    for same in exact:  # rows that are equal are nearly equal too, so that these columns alone are added
        total = _folded(total, same)
    limit = max(MIN_CLUSTER_LIMIT, int(MAX_CLUSTER_SHARE * rows.sum()))
    whole = np.where(rows, dense(_as_keys(near)), -1)
    equal = whole if total is near else np.where(rows, dense(_as_keys(total)), -1)
    if _are_by_chance(arrow, schema, whole):
        return Duplicates(equal, np.where(rows, np.arange(size), -1), 0, by_chance=True)
    counts = _sizes_of(whole)
    repeated = int((counts > limit).sum())
    alone = ~rows | (counts > limit)
    if not keys:
        clusters = dense(np.where(alone, size + np.arange(size), whole))
    else:
        edges = [links(np.where(alone, -1, whole))]
        edges += [links(np.where(_sizes_of(key) <= limit, key, -1)) for key in keys]
        joined = components(size, *map(np.concatenate, zip(*edges, strict=True)))
        too_large = _sizes_of(joined) > limit  # a chain of parts: only equal rows are kept together
        if too_large.any():
            joined = np.where(too_large, size + components(size, *edges[0]), joined)
        clusters = dense(joined)
    return Duplicates(equal, np.where(rows, clusters, -1), repeated)


def _are_by_chance(arrow: pa.Table, schema: Schema, equal: np.ndarray) -> bool:
    """Whether rows of numbers, categories and times are equal as often as columns of so few values would have it.

    A new row is then likely to equal one that was learnt from, so that rows must not be kept apart for being equal.
    """
    if _num_later(equal) < _MIN_BY_CHANCE or schema.names_of(*MEDIA, Meaning.TEXT):
        return False
    sample = generator(0, "by chance").permutation(np.flatnonzero(equal != -1))[:_SAMPLE]
    expected = 1.0
    for name in schema.inputs:
        keys = column_keys(taken(arrow.column(name), np.sort(sample)))
        if len(np.unique(keys)) * _ROWS_PER_VALUE > len(keys):  # copies make even what is measured come again
            return False
        expected *= _equal_share(keys)
    return expected >= BY_CHANCE * _equal_share(equal[equal != -1])


def _equal_share(keys: np.ndarray) -> float:
    """The share of the pairs of values that are equal."""
    counts = np.bincount(dense(keys)).astype(np.float64)
    return float((counts * (counts - 1)).sum() / max(1, len(keys) * (len(keys) - 1)))


def _num_later(codes: np.ndarray) -> int:
    """How many rows have the code of an earlier one."""
    counts = np.bincount(codes[codes != -1])
    return int(counts.sum() - (counts > 0).sum())


def _sizes_of(keys: np.ndarray) -> np.ndarray:
    """How many rows have each row's key, int64 [N]; -1 counts as alone."""
    codes = dense(keys)
    return np.where(keys == -1, 1, np.bincount(codes)[codes])


def links(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges from each row to the first with the same key; -1 has none."""
    rows = np.flatnonzero(keys != -1)
    codes = dense(keys[rows])
    first = np.full(int(codes.max(initial=-1)) + 1, len(keys))
    np.minimum.at(first, codes, rows)
    return rows, first[codes]


def components(size: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Connected components of `size` nodes by the edges (one[i], other[i]): the smallest node of each, int64 [size]."""
    label = np.arange(size)
    while True:
        low = np.minimum(label[one], label[other])
        before = label.copy()
        np.minimum.at(label, label[one], low)
        np.minimum.at(label, label[other], low)
        label = label[label]
        if (label == before).all():
            return label


def _mixed(codes: np.ndarray) -> np.ndarray:
    """A 64-bit mix of codes (splitmix64)."""
    x = codes.astype(np.uint64, copy=True)
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _folded(total: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Hashes of rows so far with one more column's keys in them, uint64 [N]."""
    return _mixed(total ^ _mixed(key.view(np.uint64)))


def _as_keys(total: np.ndarray) -> np.ndarray:
    """Hashes as keys, int64 [N], never -1."""
    return (total >> np.uint64(1)).astype(np.int64)


def column_keys(column: pa.ChunkedArray) -> np.ndarray:
    """A number per value, the same for equal values, int64 [N]; missing values are equal to each other."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        values = column.to_numpy().astype(np.float64)
        values = np.where(np.isnan(values), np.nan, values + 0.0)
        return values.view(np.int64)
    if column.nbytes <= _LARGE_BYTES:
        return _codes(column)
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return np.concatenate([_hashes(chunk) for chunk in column.chunks])
    return column.cast(pa.int64()).fill_null(-(1 << 62)).to_numpy()


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers of the values in the order of their first use, int64 [N]."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    chunks = getattr(encoded, "chunks", [encoded])
    codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(codes).astype(np.int64) if codes else np.zeros(0, np.int64)


def _hashes(array: pa.Array) -> np.ndarray:
    """A 64-bit hash of each text or bytes, int64 [N]: the sum of its bytes, each times a random number of its place."""
    if not len(array):
        return np.zeros(0, np.int64)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    weights = generator(0, "hashes").integers(1, 1 << 63, int(lengths.max()) + 1, dtype=np.uint64) | np.uint64(1)
    out = np.zeros(len(array), np.uint64)
    start = 0
    while start < len(array):  # pieces of about 1 MB of text
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + (1 << 20))))
        stop = min(stop, len(array))
        low, high = offsets[start], offsets[stop]
        places = np.arange(low, high) - np.repeat(offsets[start:stop], lengths[start:stop])
        terms = (data[low:high].astype(np.uint64) + np.uint64(1)) * weights[places]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
        out[start:stop] = sums[offsets[start + 1 : stop + 1] - low] - sums[offsets[start:stop] - low]
        start = stop
    missing = np.asarray(array.is_null().to_numpy(zero_copy_only=False), bool)
    return np.where(missing, np.uint64(0), _mixed(out ^ lengths.view(np.uint64))).view(np.int64)


def _text_keys(column: pa.ChunkedArray) -> tuple[np.ndarray, bool]:
    """Keys of texts without case, marks and spaces, -1 where missing; and whether they are long on average.

    In a large column texts must be the same to the letter.
    """
    import pyarrow.compute as pc

    missing = pc.equal(pc.fill_null(pc.binary_length(column), 0), 0).to_numpy().astype(bool)
    long = (pc.mean(pc.binary_length(column)).as_py() or 0) >= 20
    if column.nbytes > _LARGE_BYTES:
        keys = column_keys(column).copy()
    else:
        plain = pc.utf8_trim(pc.replace_substring_regex(pc.utf8_lower(column), r"[^\p{L}\p{N}]+", " "), " ")
        keys = _codes(pc.if_else(pc.equal(pc.binary_length(plain), 0), column, plain))
    keys[missing] = -1
    return keys, long


def _media_keys(prints: np.ndarray, near: bool) -> tuple[np.ndarray, np.ndarray]:
    """Keys by equal and by nearly equal content, int64 [N] each; a missing one is equal to another."""
    hashes = np.ascontiguousarray(prints[:, :HASH_BYTES]).view(np.uint64).ravel()
    same = np.unique(hashes, return_inverse=True)[1].astype(np.int64)
    if not near or len(prints) < 2:
        return same, same
    first = np.unique(same, return_index=True)[1]
    one, other = near_pairs(prints[first])
    return same, components(len(first), one, other)[same]


def near_pairs(prints: np.ndarray, tables: int = 6, neighbours: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that differ little: (int64 [M], int64 [M]).

    Brightness on 8 x 8 places, without its mean and scaled to spread 1, must differ by NEAR on average, and the mean
    colour by NEAR_COLOUR in each channel. Candidates share a bucket of random projections (locality-sensitive hashing)
    in one of `tables` tables, and are among the `neighbours` next ones there. Flat images are near none.
    """
    small = prints[:, HASH_BYTES:-3].astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    spread = small.std(axis=1, keepdims=True)
    rows = np.flatnonzero(spread[:, 0] > 2)
    small = small[rows] / spread[rows]
    colour = prints[rows, -3:].astype(np.int16)
    rng = generator(0, "near pairs")
    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for _ in range(tables):
        directions = rng.normal(size=(small.shape[1], 7)).astype(np.float32) / np.float32(np.sqrt(small.shape[1]))
        projected = small @ directions
        cells = np.floor(projected[:, :6] / 0.6 + rng.random(6)).astype(np.int64)
        hashed = np.zeros(len(rows), np.uint64)
        for place in range(cells.shape[1]):
            hashed = _folded(hashed, np.ascontiguousarray(cells[:, place]))
        bucket = _as_keys(hashed)
        order = np.lexsort((projected[:, 6], bucket))
        for step in range(1, neighbours + 1):
            a, b = order[:-step], order[step:]
            together = bucket[a] == bucket[b]
            a, b = a[together], b[together]
            alike = (np.abs(colour[a] - colour[b]) <= NEAR_COLOUR).all(axis=1)
            a, b = a[alike], b[alike]
            close = np.abs(small[a] - small[b]).mean(axis=1) <= NEAR
            ones.append(rows[a[close]])
            others.append(rows[b[close]])
    return np.concatenate(ones), np.concatenate(others)


def conflicts(equal: np.ndarray, targets: np.ndarray, task: Task, rows: np.ndarray) -> int:
    """How many rows have the same inputs as others, but another class."""
    if task in (Task.REGRESSION, Task.MULTILABEL):
        return 0
    group = dense(equal[rows])
    labels = np.asarray(targets)[rows].astype(np.int64)
    size = int(group.max(initial=-1)) + 1
    lowest, highest = np.full(size, np.iinfo(np.int64).max), np.full(size, np.iinfo(np.int64).min)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    return int((lowest != highest)[group].sum())


def leaks(keys: np.ndarray, part: np.ndarray, into: int, learnt: tuple[int, ...]) -> int:
    """How many rows of the part `into` have a key that rows of the parts `learnt` have too; -1 is no key."""
    codes = dense(keys)
    seen = np.zeros(int(codes.max(initial=-1)) + 1, bool)
    for code in learnt:
        seen[codes[(part == code) & (keys != -1)]] = True
    return int(seen[codes[(part == into) & (keys != -1)]].sum())


def giveaways(arrow: pa.Table, schema: Schema, targets: np.ndarray, rows: np.ndarray, seed: int) -> dict[str, float]:
    """Columns from which alone the target can be told, {name: share of rows told right, or R2}.

    Half of a sample of the rows is looked at, the other half told by it: by the nearest number, or the same value.
    """
    rng = generator(seed, "giveaways")
    sample = rng.permutation(rows)[:_SAMPLE]
    if len(sample) < 20 or schema.task is Task.MULTILABEL:
        return {}
    seen, told = np.sort(sample[: len(sample) // 2]), np.sort(sample[len(sample) // 2 :])
    guess = _constant_score(schema.task, targets[seen], targets[told])
    found = {}
    for name, meaning in schema.inputs.items():
        if meaning in (Meaning.NUMBER, Meaning.TIMESTAMP):
            told_as = _nearest(arrow, name, targets, seen, told)
        elif meaning is Meaning.CATEGORY:
            told_as = _same_value(arrow, name, targets, seen, told, schema.task)
        else:
            continue
        score = _score(schema.task, told_as, targets[told])
        if score >= (0.999 if schema.task is Task.REGRESSION else GIVEN_AWAY) and 1 - score < 0.1 * (1 - guess):
            found[name] = score
    return found


def _constant_score(task: Task, seen: np.ndarray, told: np.ndarray) -> float:
    if task is Task.REGRESSION:
        return 0.0
    values, counts = np.unique(seen, return_counts=True)
    return float((told == values[np.argmax(counts)]).mean())


def _score(task: Task, told_as: np.ndarray, truth: np.ndarray) -> float:
    if task is not Task.REGRESSION:
        return float((told_as == truth).mean())
    truth = truth.astype(np.float64)
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((told_as - truth) ** 2).sum()) / spread if spread > 0 else 0.0


def _taken(arrow: pa.Table, name: str, rows: np.ndarray) -> pa.ChunkedArray:
    return taken(arrow.column(name), rows)


def _nearest(arrow: pa.Table, name: str, targets: np.ndarray, seen: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The target of the seen row whose number or time is nearest; missing ones count as one far number."""
    seen_x, told_x = (np.nan_to_num(typed.seconds(_taken(arrow, name, rows)), nan=-1e300) for rows in (seen, told))
    order = np.argsort(seen_x, kind="stable")
    sorted_x, sorted_y = seen_x[order], targets[seen][order]
    right = np.searchsorted(sorted_x, told_x).clip(0, len(sorted_x) - 1)
    left = (right - 1).clip(0)
    closer = np.abs(sorted_x[left] - told_x) < np.abs(sorted_x[right] - told_x)
    return sorted_y[np.where(closer, left, right)]


def _same_value(
    arrow: pa.Table, name: str, targets: np.ndarray, seen: np.ndarray, told: np.ndarray, task: Task
) -> np.ndarray:
    """The most frequent class, or the mean, of the seen rows with the same value; unseen values are told wrong."""
    keys = _codes(_taken(arrow, name, np.concatenate([seen, told])))
    seen_keys, told_keys = keys[: len(seen)], keys[len(seen) :]
    size = int(keys.max(initial=0)) + 1
    counts = np.bincount(seen_keys, minlength=size)
    if task is Task.REGRESSION:
        means = np.bincount(seen_keys, weights=targets[seen], minlength=size) / np.maximum(counts, 1)
        return np.where(counts > 0, means, targets[seen].mean())[told_keys]
    values, classes = np.unique(targets[seen], return_inverse=True)
    pairs, pair_counts = np.unique(seen_keys * len(values) + classes, return_counts=True)
    best = np.full(size, -1, np.int64)
    order = np.argsort(pair_counts, kind="stable")
    best[pairs[order] // len(values)] = values[pairs[order] % len(values)]
    return best[told_keys]
