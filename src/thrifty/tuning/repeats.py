"""Noisy objectives: what the repeats of configurations say of each, and which one is best beyond luck.

The noise of one run is taken to be the same for all configurations, so that its variance is pooled over them. Means are
shrunken towards the middle of all by how much of their spread is noise (empirical Bayes, the normal case of
https://doi.org/10.1080/01621459.1973.10481350).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_SPARE = 3  # repeats beyond the first ones, before their differences count as the size of the noise
MAD_TO_SD = 1.4826  # of a normal distribution
WIDTH = 1.0  # posterior deviations that a bound is away from the mean


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed of one configuration; smaller is better.

    mean: of its `count` runs. error: the standard error of the mean, None while the noise is unknown.
    shrunken, deviation: mean and standard deviation of its expected value, given those of all configurations.
    """

    mean: float
    count: int
    error: float | None
    shrunken: float
    deviation: float

    @property
    def high(self) -> float:
        """No more than this, as far as can be told: what the winner is chosen by."""
        return self.shrunken + WIDTH * self.deviation

    @property
    def low(self) -> float:
        """No less than this, as far as can be told."""
        return self.shrunken - WIDTH * self.deviation


def noise_of(runs: Sequence[Sequence[float]]) -> float | None:
    """The pooled standard deviation of one run; None before there are three repeats beyond the first ones."""
    spare = sum(len(values) - 1 for values in runs)
    if spare < LEAST_SPARE:
        return None
    return math.sqrt(sum(len(values) * float(np.var(values)) for values in runs) / spare)


def estimates(runs: Mapping[int, Sequence[float]]) -> dict[int, Estimate]:
    """The estimate of each configuration from the scores of its runs (at least one; smaller is better)."""
    if not runs:
        return {}
    noise = noise_of(list(runs.values()))
    mean_N = np.array([np.mean(values) for values in runs.values()])
    count_N = np.array([len(values) for values in runs.values()])
    if noise is None:
        return {i: Estimate(float(m), int(n), None, float(m), 0.0) for i, m, n in zip(runs, mean_N, count_N)}
    error_N = noise / np.sqrt(count_N)
    middle = float(np.median(mean_N))
    spread = MAD_TO_SD * float(np.median(np.abs(mean_N - middle)))
    real = max(0.0, spread**2 - float(np.median(error_N**2)))  # the variance between configurations
    share_N = np.where(error_N > 0, real / np.maximum(real + error_N**2, 1e-300), 1.0)
    shrunken_N = middle + share_N * (mean_N - middle)
    deviation_N = np.sqrt(share_N) * error_N
    rows = zip(runs, *(column.tolist() for column in (mean_N, count_N, error_N, shrunken_N, deviation_N)))
    return {ident: Estimate(*row) for ident, *row in rows}


def winner(found: Mapping[int, Estimate]) -> int | None:
    """The configuration whose pessimistic bound is best; among equals the most often run, then the best mean."""
    return min(found, key=lambda i: (found[i].high, -found[i].count, found[i].mean, i), default=None)


def worth_repeating(found: Mapping[int, Estimate], most: int, busy: Sequence[int] = ()) -> int | None:
    """The configuration that is to be run once more: of those that can still be best, the one that may be the lowest.

    most: runs of a configuration. busy: those being run. None when what is left cannot change who wins.
    """
    best = winner(found)
    open_ = [i for i, estimate in found.items() if estimate.count < most and i not in busy]
    if best is None or not open_:
        return None
    if found[best].error is None:  # the noise is unknown: the best by their means, those with few runs first
        return min(open_, key=lambda i: (found[i].count, found[i].mean, i))
    bound = found[best].high
    race = [i for i in open_ if found[i].low < bound]
    return min(race, key=lambda i: (found[i].low, i), default=None)
