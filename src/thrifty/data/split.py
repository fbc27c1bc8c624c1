"""Train, validation and test rows: stratified, by group, by time, or as given.

Rows of one cluster (equal or nearly equal rows, rows of one group) stay on one side. A class that only one cluster has
is always in train, so that every model has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thrifty.core.errors import DataError, UsageError
from thrifty.core.seeds import generator
from thrifty.data.codes import dense
from thrifty.data.column import Task

TRAIN, VALIDATION, TEST, ASIDE = 0, 1, 2, 3
MIN_ROWS_FOR_TEST = 500
TEST_SHARE = 0.10
MIN_ROWS_FOR_ONE_ROUND = 1000
DEFAULT_FOLDS = 5
_ONE_BY_ONE = 2000  # of the largest clusters that are placed one after the other


@dataclass(frozen=True, eq=False)
class Splits:
    """Which row is used for what.

    part: int8 [rows], 0 train, 1 validation, 2 test, 3 set aside. fold: int8 [rows] with cross-validation, of the
    train rows the round that validates on them, -1 for rows that always train; None without.
    """

    part: np.ndarray
    fold: np.ndarray | None = None

    def rounds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train rows, validation rows) of each round, sorted: one round, or one per fold."""
        if self.fold is None:
            return [(self.train_rows, self.validation_rows)]
        development = self.development_rows
        fold = self.fold[development]
        return [(development[fold != k], development[fold == k]) for k in range(self.num_folds)]

    @property
    def num_folds(self) -> int:
        """The number of rounds with cross-validation, 0 without."""
        return 0 if self.fold is None else int(self.fold.max(initial=-1)) + 1

    @cached_property
    def train_rows(self) -> np.ndarray:
        """Rows that are train in every round's eyes: with cross-validation all development rows."""
        return np.flatnonzero(self.part == TRAIN)

    @cached_property
    def validation_rows(self) -> np.ndarray:
        """The rows that some round validates on, sorted int64."""
        if self.fold is not None:
            return np.flatnonzero((self.part == TRAIN) & (self.fold >= 0))
        return np.flatnonzero(self.part == VALIDATION)

    @cached_property
    def development_rows(self) -> np.ndarray:
        """Train and validation rows, sorted int64."""
        return np.flatnonzero((self.part == TRAIN) | (self.part == VALIDATION))

    @cached_property
    def test_rows(self) -> np.ndarray:
        """Sorted int64; empty when there is no test part."""
        return np.flatnonzero(self.part == TEST)


@dataclass(frozen=True)
class Wishes:
    """How a person wants the rows split. folds: rounds of cross-validation; None lets the number of rows decide."""

    folds: int | None = None
    seed: int = 0


def split(
    given: np.ndarray,
    strata: np.ndarray,
    clusters: np.ndarray,
    wishes: Wishes,
    time: np.ndarray | None = None,
) -> Splits:
    """Splits the rows.

    given: int8 [N]: 0 to be split, 1 and 2 given as validation and test, 3 set aside. strata: int64 [N] that each part
    shall hold alike (`strata_of`). clusters: int64 [N], rows with one number stay together. time: float64 [N]; the
    latest rows are tested on, those before them validated on, NaN counts as earliest.
    Raises UsageError and DataError for wishes that cannot be met.
    """
    part = given.astype(np.int8).copy()
    clusters, strata = dense(clusters), dense(strata)
    free = np.flatnonzero(part == TRAIN)
    folds = wishes.folds
    if folds is not None and not 2 <= folds <= 20:
        raise UsageError(f"--folds is {folds}; it must be between 2 and 20")
    if folds is not None and ((given == VALIDATION).any() or time is not None):
        raise UsageError("--folds cannot be joined with " + ("--time" if time is not None else "a validation part"))
    if time is not None:
        return Splits(_by_time(part, free, time, clusters))
    if not (part == TEST).any() and len(free) >= MIN_ROWS_FOR_TEST and _num_clusters(clusters[free]) >= 3:
        side = _assign(clusters[free], strata[free], (1 - TEST_SHARE, TEST_SHARE), generator(wishes.seed, "test"))
        part[free[side == 1]] = TEST
        free = np.flatnonzero(part == TRAIN)
    if (part == VALIDATION).any():
        return Splits(part)
    num_clusters = _num_clusters(clusters[free])
    if num_clusters < 2:
        raise DataError("all rows belong to one group; at least 2 groups are needed to validate on one")
    if folds is None and len(free) < MIN_ROWS_FOR_ONE_ROUND:
        folds = DEFAULT_FOLDS
    rng = generator(wishes.seed, "validation")
    if folds is None:
        share = validation_share(len(free))
        side = _assign(clusters[free], strata[free], (1 - share, share), rng)
        part[free[side == 1]] = VALIDATION
        return Splits(part)
    folds = min(folds, num_clusters)
    fold = np.full(len(part), -1, np.int8)
    fold[free] = _assign(clusters[free], strata[free], (1 / folds,) * folds, rng)
    fold[free[_always_train(clusters[free], strata[free])]] = -1
    return Splits(part, _renumbered(fold))


def validation_share(num_rows: int) -> float:
    """The share of rows to validate on: 20 % up to 5,000 rows, 15 % up to 50,000, then 7,500 and 5 % of the rest."""
    if num_rows <= 5_000:
        return 0.20
    return 0.15 if num_rows <= 50_000 else (7_500 + 0.05 * (num_rows - 50_000)) / num_rows


def strata_of(task: Task, targets: np.ndarray) -> np.ndarray:
    """Strata [N] of targets: the class; the rarest of a row's classes; ten ranges of numbers."""
    if task is Task.MULTILABEL:
        rarity = np.argsort(np.argsort(targets.sum(axis=0))) if len(targets) else np.zeros(targets.shape[1])
        rank = np.where(targets > 0, rarity[None, :], targets.shape[1])
        return rank.min(axis=1).astype(np.int64)
    if task is Task.REGRESSION:
        edges = np.unique(np.quantile(targets, np.linspace(0, 1, 11)[1:-1])) if len(targets) else np.zeros(0)
        return np.searchsorted(edges, targets, side="right").astype(np.int64)
    return targets.astype(np.int64)


def _num_clusters(clusters: np.ndarray) -> int:
    return int((np.bincount(clusters) > 0).sum())


def _always_train(clusters: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The rows of clusters that alone hold a stratum, bool [N]; none where these would be most of the rows."""
    lowest = np.full(int(strata.max()) + 1, np.iinfo(np.int64).max)
    highest = np.full(int(strata.max()) + 1, -1)
    np.minimum.at(lowest, strata, clusters)
    np.maximum.at(highest, strata, clusters)
    holds = np.zeros(int(clusters.max()) + 1, bool)
    holds[clusters[(lowest == highest)[strata]]] = True
    held = holds[clusters]
    return held if held.mean() <= 0.5 else np.zeros(len(held), bool)


def _renumbered(fold: np.ndarray) -> np.ndarray:
    """Folds without gaps, -1 as it is."""
    values = np.unique(fold[fold >= 0])
    table = np.full(int(fold.max(initial=-1)) + 2, -1, np.int8)
    table[values] = np.arange(len(values), dtype=np.int8)
    return np.where(fold >= 0, table[fold], -1).astype(np.int8)


def _assign(clusters: np.ndarray, strata: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """A side for each row, so that each stratum is shared out as `shares` and no cluster is cut, int64 [N].

    With two sides the first is train: a cluster that alone holds a stratum goes there. No side stays empty when there
    are as many clusters as sides.
    """
    cluster, stratum = dense(clusters), dense(strata)
    num_strata, num_sides = int(stratum.max()) + 1, len(shares)
    sizes = np.bincount(cluster)
    side = np.full(len(cluster), -1, np.int64)
    quota = np.outer(np.bincount(stratum, minlength=num_strata), shares)
    if num_sides == 2:
        held = _always_train(cluster, stratum)
        side[held] = 0
        quota[:, 0] -= np.bincount(stratum[held], minlength=num_strata)
    _assign_clusters(side, cluster, stratum, sizes, quota, rng)
    _assign_singles(side, stratum, (sizes[cluster] == 1) & (side < 0), quota, rng)
    _fill_empty_sides(side, cluster, num_sides)
    return side


def _assign_clusters(
    side: np.ndarray, cluster: np.ndarray, stratum: np.ndarray, sizes: np.ndarray, quota: np.ndarray,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Gives clusters of several rows, the largest first, to the side where most is still wanted."""
    many = np.flatnonzero(sizes > 1)
    if not len(many):
        return
    order = np.argsort(cluster, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    many = rng.permutation(many)
    many = many[np.argsort(-sizes[many], kind="stable")]
    for c in many[:_ONE_BY_ONE]:
        rows = order[starts[c] : starts[c + 1]]
        if side[rows[0]] >= 0:
            continue
        strata, counts = np.unique(stratum[rows], return_counts=True)
        missing = quota[strata]
        fits = np.minimum(missing, counts[:, None]).sum(axis=0)
        over = np.maximum(counts[:, None] - missing, 0).sum(axis=0)
        best = int(np.argmax(fits - over + 1e-3 * missing.sum(axis=0) / max(1.0, quota.sum())))
        side[rows] = best
        quota[strata, best] -= counts
    rest = rng.permutation(many[_ONE_BY_ONE:])
    rest = rest[side[order[starts[rest]]] < 0]
    if len(rest):
        _deal_clusters(rest, side, cluster, stratum, sizes, quota, stratum[order[starts[rest]]])


def _deal_clusters(
    rest: np.ndarray, side: np.ndarray, cluster: np.ndarray, stratum: np.ndarray, sizes: np.ndarray,
    quota: np.ndarray, first: np.ndarray,
) -> None:  # fmt: skip
    """Deals many small clusters at once: those whose first row has one stratum are cut where the sides' shares end."""
    side_of = np.full(len(sizes), -1, np.int64)
    for s in np.unique(first):
        these = rest[first == s]
        want = np.maximum(quota[s], 0)
        want = want / want.sum() if want.sum() > 0 else np.full(quota.shape[1], 1 / quota.shape[1])
        middle = np.cumsum(sizes[these]) - sizes[these] / 2
        ends = np.cumsum(want) * sizes[these].sum()
        side_of[these] = np.minimum(np.searchsorted(ends, middle), quota.shape[1] - 1)
    dealt = side_of[cluster] >= 0
    side[dealt] = side_of[cluster[dealt]]
    np.subtract.at(quota, (stratum[dealt], side[dealt]), 1)


def _assign_singles(
    side: np.ndarray, stratum: np.ndarray, single: np.ndarray, quota: np.ndarray, rng: np.random.Generator
) -> None:
    """Deals rows that are clusters of their own, stratum by stratum, by what each side still wants."""
    rows = rng.permutation(np.flatnonzero(single))
    rows = rows[np.argsort(stratum[rows], kind="stable")]
    counts = np.bincount(stratum[rows], minlength=len(quota))
    owed = np.zeros(quota.shape[1])  # what rounding took from each side so far
    start = 0
    for s in np.flatnonzero(counts):
        count = int(counts[s])
        want = np.maximum(quota[s], 0)
        want = want * (count / want.sum()) if want.sum() > 0 else np.full(len(want), count / len(want))
        exact = want + owed
        take = np.maximum(np.floor(exact), 0).astype(np.int64)
        while take.sum() > count:
            take[np.argmax(np.where(take > 0, take - exact, -np.inf))] -= 1
        for _ in range(count - int(take.sum())):
            take[np.argmax(exact - take + 1e-9 * rng.random(len(take)))] += 1
        owed = exact - take
        if take[0] == 0 and len(take) == 2 and not (side[stratum == s] == 0).any():
            take[0], take[1] = 1, take[1] - 1
        side[rows[start : start + count]] = rng.permutation(np.repeat(np.arange(len(take)), take))
        start += count


def _fill_empty_sides(side: np.ndarray, cluster: np.ndarray, num_sides: int) -> None:
    """Moves a cluster to each empty side from the side with the most clusters: the smallest there."""
    for empty in range(num_sides):
        if (side == empty).any():
            continue
        first = np.unique(cluster, return_index=True)[1]
        per_side = np.bincount(side[first], minlength=num_sides)
        donor = int(np.argmax(per_side))
        if per_side[donor] < 2:
            return
        sizes = np.bincount(cluster).astype(float)
        sizes[side[first] != donor] = np.inf
        side[cluster == int(np.argmin(sizes))] = empty


def _by_time(part: np.ndarray, free: np.ndarray, time: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The latest rows as test (from 500 rows on), those before as validation, cut between different times."""
    known = time[free][~np.isnan(time[free])]
    distinct = len(np.unique(known))
    if distinct < 3:
        said = ("no point in time that can be read", "one point in time only", "2 different points in time")[distinct]
        without = len(free) - len(known)
        more = f", and {without:,} of them have none that can be read" if without and distinct else ""
        raise DataError(
            f"the time column has {said} among the {len(free):,} rows to split{more}; at least 3 are needed. "
            "Name another column with --time, or mend its cells"
        )
    at = np.nan_to_num(time, nan=-np.inf)
    place = dense(clusters)
    latest = np.full(int(place.max()) + 1, -np.inf)
    np.maximum.at(latest, place[free], at[free])
    at = latest[place]  # a cluster counts as its latest row
    if not (part == TEST).any() and len(free) >= MIN_ROWS_FOR_TEST:
        free = _cut_latest(part, free, at, TEST_SHARE, TEST)
    if not (part == VALIDATION).any():
        free = _cut_latest(part, free, at, validation_share(len(free)), VALIDATION)
    for rows, what in ((free, "train"), (np.flatnonzero(part == VALIDATION), "validate")):
        if not len(rows):
            raise DataError(
                f"the time column leaves no row to {what} on: the rows of a group stay together, and all groups have "
                "rows of the latest times. Split by --time or by --group alone"
            )
    return part


def _cut_latest(part: np.ndarray, free: np.ndarray, at: np.ndarray, share: float, code: int) -> np.ndarray:
    """Gives about `share` of the free rows, the latest, to a part; returns the rest."""
    times = np.sort(at[free])
    values, first = np.unique(times, return_index=True)
    if len(values) < 2:
        return free
    cut = 1 + int(np.argmin(np.abs(first[1:] - (1 - share) * len(free))))
    later = at[free] >= values[cut]
    part[free[later]] = code
    return free[~later]
