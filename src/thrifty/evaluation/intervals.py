"""95 % bootstrap intervals of every metric, and of the difference between two models on the same rows.

Rows are drawn with replacement (whole groups, where rows belong together); the interval is between the 2.5 % and 97.5 %
quantiles of the resamples' values, a little further out the fewer rows or groups there are (Hesterberg 2015,
https://arxiv.org/abs/1411.5279). With few resamples, very few groups, or a sample of very many rows, it is the normal
interval from their spread. A sample without any error has none to resample: there the lower end is what errors as rare
as may still be missed with a probability of 2.5 % would leave (Clopper and Pearson 1934), and the upper end where
nothing is right likewise. Legend: N rows, U units that are drawn (rows, or groups), B resamples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from thrifty.evaluation.decisions import Decision, certain
from thrifty.evaluation.metrics import METRICS, score
from thrifty.evaluation.resampling import replicator

NUM_RESAMPLES = 1000
MIN_RESAMPLES = 40
ENOUGH_FOR_QUANTILES = 300
MAX_ROWS = 100_000
MAX_CELLS = 5_000_000  # rows times classes: ranking metrics sort the rows once for each class
FEWEST_GROUPS = 50  # of which a sample of very many rows is made
FEW_UNITS = 5  # below that resamples reach no further than from the worst to the best unit
# Metrics that resampling itself moves (gaps add up, rows drawn twice tie with themselves, rare classes go missing):
# only the spread of their resamples counts. Intervals of the macro-F1 of 100 classes with 6 rows each so hold the truth
# for 88 of 100 samples instead of 50.
MOVED = ("ece", "average_precision", "f1_macro")
_CHUNK = 2_000_000
_NORMAL_975 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; nan where undefined. `resamples` is how many it rests on."""

    value: float
    low: float
    high: float
    resamples: int = 0

    def to_json(self) -> dict[str, Any]:
        """{value, low, high}, null where undefined."""
        return {
            k: v if math.isfinite(v) else None
            for k, v in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def intervals(
    names: Sequence[str],
    task: str,
    y: np.ndarray,
    outputs: np.ndarray,
    *,
    decision: Decision | None = None,
    answers: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    positive: int | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    seconds: float | None = None,
) -> dict[str, Interval]:
    """Each metric's value with its interval, in the order of `names`; the first gets a third of the time.

    outputs: probabilities or values. answers: class codes [N] or 0/1 [N, K], in place of what the decision makes of
    outputs. groups: int codes [N] of rows that belong together. seconds: about how long it may
    take; costly metrics then rest on fewer resamples, at least MIN_RESAMPLES.
    """
    given: dict[str, tuple[np.ndarray, Decision | None]] = dict.fromkeys(names, (outputs, decision))
    if answers is not None:
        sure = certain(answers, outputs.shape[1])
        given |= {n: (sure, None) for n in names if METRICS[n].needs == "labels"}
    values = {n: score(n, task, y, *given[n], weights, positive) for n in names}
    sample = _Sample.of(outputs, weights, groups, seed)
    if sample is None:
        return {n: Interval(v, math.nan, math.nan) for n, v in values.items()}
    rows = sample.rows
    statistics = [replicator(n, task, y[rows], of[rows], by, positive) for n, (of, by) in given.items()]
    found = sample.replicate(statistics, num_resamples, _shares(len(names), seconds))
    made = {n: _interval(values[n], v, n, sample) for n, v in zip(names, found)}
    return {n: _with_width(n, task, interval, y[rows], sample) for n, interval in made.items()}


def difference(
    name: str,
    task: str,
    y: np.ndarray,
    outputs: np.ndarray,
    other_outputs: np.ndarray,
    *,
    decision: Decision | None = None,
    other_decision: Decision | None = None,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    positive: int | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    seconds: float | None = None,
) -> Interval:
    """The metric of `outputs` minus that of `other_outputs` with its paired interval: both on the same resamples."""
    value = score(name, task, y, outputs, decision, weights, positive)
    value -= score(name, task, y, other_outputs, other_decision, weights, positive)
    sample = _Sample.of(outputs, weights, groups, seed)
    if sample is None or not np.isfinite(other_outputs).all():
        return Interval(value, math.nan, math.nan)
    rows = sample.rows
    first = replicator(name, task, y[rows], outputs[rows], decision, positive)
    second = replicator(name, task, y[rows], other_outputs[rows], other_decision, positive)
    statistics = [lambda draws_NB: first(draws_NB) - second(draws_NB)]
    found = sample.replicate(statistics, num_resamples, _shares(1, seconds))
    return _interval(value, found[0], None, sample)


@dataclass(frozen=True)
class _Sample:
    """The rows that are resampled, and how. `shrink` scales deviations where they are a sample of all rows."""

    rows: np.ndarray
    num_rows: int
    weights: np.ndarray | None
    groups: np.ndarray | None
    shrink: float
    seed: int

    @staticmethod
    def of(outputs: np.ndarray, weights: np.ndarray | None, groups: np.ndarray | None, seed: int) -> _Sample | None:
        """None where there is nothing to resample: fewer than two rows (or groups) that weigh something, or outputs not
        finite.
        """
        rows = np.arange(len(outputs)) if weights is None else np.flatnonzero(np.asarray(weights).reshape(-1) > 0)
        units = np.arange(len(rows)) if groups is None else _codes(np.asarray(groups)[rows])
        num_units = int(units.max(initial=-1)) + 1
        if num_units < 2 or not np.isfinite(outputs).all():
            return None
        limit = max(2_000, min(MAX_ROWS, MAX_CELLS // (outputs.shape[1] if outputs.ndim == 2 else 1)))
        shrink = 1.0
        if len(rows) > limit:
            order_U = np.random.default_rng(seed).permutation(num_units)
            ends_U = np.cumsum(np.bincount(units)[order_U])
            num_kept = max(FEWEST_GROUPS, int(np.searchsorted(ends_U, limit, side="right")))
            kept = np.isin(units, order_U[:num_kept])
            rows, units = rows[kept], units[kept]
            shrink = math.sqrt(min(num_kept, num_units) / num_units)
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float32).reshape(-1)[rows]
        return _Sample(rows, len(rows), weights, None if groups is None else _codes(units), shrink, seed)

    @property
    def num_units(self) -> int:
        """How many rows or groups are drawn."""
        return self.num_rows if self.groups is None else int(self.groups.max()) + 1

    def replicate(self, statistics: Sequence[Any], num_resamples: int, shares: Sequence[float]) -> list[np.ndarray]:
        """The values of each statistic on its resamples; a statistic whose share of seconds is spent gets no more."""
        rng = np.random.default_rng(self.seed)
        found: list[list[np.ndarray]] = [[] for _ in statistics]
        spent = [0.0] * len(statistics)
        done, size = 0, max(1, min(MIN_RESAMPLES, _CHUNK // self.num_rows))
        while done < num_resamples:
            open_ = [i for i, s in enumerate(spent) if s < shares[i] or done < MIN_RESAMPLES]
            if not open_:
                break
            size = min(size, num_resamples - done)
            started = time.perf_counter()
            draws_NB = self._draws(rng, size)
            drawing = (time.perf_counter() - started) / len(open_)
            for i in open_:
                started = time.perf_counter()
                found[i].append(statistics[i](draws_NB))
                spent[i] += drawing + time.perf_counter() - started
            done += size
            size = max(1, _CHUNK // self.num_rows)
        return [np.concatenate(values) for values in found]

    def _draws(self, rng: np.random.Generator, num_resamples: int) -> np.ndarray:
        """How often each row is drawn, times its weight, float32 [N, B]."""
        num_units = self.num_units
        picks_BU = rng.integers(0, num_units, size=(num_resamples, num_units), dtype=np.int32)
        draws_UB = np.empty((num_units, num_resamples), dtype=np.float32)
        for b, picks_U in enumerate(picks_BU):
            draws_UB[:, b] = np.bincount(picks_U, minlength=num_units)
        draws_NB = draws_UB if self.groups is None else draws_UB[self.groups]
        if self.weights is not None:
            draws_NB = draws_NB * self.weights[:, None]
        return draws_NB


def _shares(num_metrics: int, seconds: float | None) -> list[float]:
    if seconds is None:
        return [math.inf] * num_metrics
    if num_metrics == 1:
        return [seconds]
    return [seconds / 3] + [seconds * 2 / 3 / (num_metrics - 1)] * (num_metrics - 1)


def _with_width(name: str, task: str, interval: Interval, y: np.ndarray, sample: _Sample) -> Interval:
    """The interval as wide as a sample without errors, or with nothing right, allows, where resampling gives none."""
    metric, value = METRICS[name], interval.value
    extreme = interval.low == interval.high == value and value in (metric.low, metric.high)
    if task == "regression" or metric.sign < 0 or not extreme:
        return interval
    units = sample.num_units
    share = 1.0
    if name not in ("accuracy", "f1_micro"):  # errors may all be in the smallest class
        counts = y.sum(axis=0) if y.ndim == 2 else np.unique(y, return_counts=True)[1]
        counts = counts[counts > 0]
        units = max(1, round(units * float(counts.min()) / len(y)))
        share = 1.0 if name in ("roc_auc", "average_precision") and len(counts) == 2 else 1.0 / len(counts)
    reach = share * (1.0 - 0.025 ** (1.0 / units))
    return Interval(value, max(metric.low, value - reach), min(metric.high, value + reach), interval.resamples)


def _codes(values: np.ndarray) -> np.ndarray:
    """0, 1, ... without gaps, in place of each value [N]."""
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _reach(num_units: int) -> float:
    """How many standard deviations of resamples of so many units a 95 % interval reaches: 1.96 for very many."""
    z, v = _NORMAL_975, num_units - 1
    student = {1: 12.706, 2: 4.303}.get(v) or (  # its 97.5 % quantile; Abramowitz and Stegun 26.7.5
        z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )  # fmt: skip
    return student * math.sqrt(num_units / v)


def _interval(value: float, found_B: np.ndarray, name: str | None, sample: _Sample) -> Interval:
    defined = found_B[np.isfinite(found_B)]
    if not math.isfinite(value) or len(defined) < max(2, len(found_B) // 2):
        return Interval(value, math.nan, math.nan, len(defined))
    reach = _reach(sample.num_units)
    if sample.shrink < 1 or sample.num_units < FEW_UNITS or len(defined) < ENOUGH_FOR_QUANTILES:
        half = reach * float(defined.std(ddof=1)) * sample.shrink
        low, high = value - half, value + half
    else:
        tail = NormalDist().cdf(-reach)
        low, middle, high = (float(q) for q in np.quantile(defined, (tail, 0.5, 1 - tail)))
        if name in MOVED:
            low, high = value + low - middle, value + high - middle
    if name is not None:
        low, high = max(low, METRICS[name].low), min(high, METRICS[name].high)
    return Interval(value, min(low, value), max(high, value), len(defined))
