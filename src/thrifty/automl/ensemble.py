"""Greedy weighted ensembles of finished trials (Caruana et al. 2004, "Ensemble selection from libraries of models").

Members are added one at a time, with replacement, each time the one that raises the validated metric most; done on
several random halves of the validation rows and averaged, which keeps a small validation part from being fitted.
Shapes: V validation rows, K classes or 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from thrifty.core.seeds import generator

MAX_ROWS = 4000
NUM_HALVES = 4
MAX_ROUNDS = 12


@dataclass(frozen=True)
class Scored:
    """A finished trial: calibrated probabilities [V, K] (values [V] for regression) and the validated value."""

    trial: int
    predictions: np.ndarray
    value: float
    temperature: float
    size_bytes: int = 0
    latency_ms: float = 0.0


@dataclass(frozen=True)
class Member:
    """One trial of the ensemble with its weight; weights sum to 1."""

    trial: int
    weight: float
    temperature: float


def single(scored: Scored) -> list[Member]:
    return [Member(scored.trial, 1.0, scored.temperature)]


def select(
    scored: Sequence[Scored],
    scorer_of: Callable[[np.ndarray], Callable[[np.ndarray], float]],
    *,
    fits: Callable[[Sequence[Scored]], bool],
    min_gain: float,
    max_members: int = 5,
    most: int = 16,
    seed: int = 0,
) -> tuple[list[Member], float]:
    """The members and the value of the best ensemble on all validation rows; the best single one unless it wins.

    scorer_of: row numbers -> a function of the predictions of those rows, higher is better. fits: whether a set of
    trials keeps the limits. min_gain: what an ensemble must gain over the best single trial that fits.
    """
    ranked = sorted((s for s in scored if fits([s])), key=lambda s: -s.value)[:most]
    if not ranked:
        return [], -np.inf
    everything = np.arange(len(ranked[0].predictions))
    best = ranked[0]
    score = scorer_of(everything)
    alone = score(best.predictions)
    if len(ranked) == 1:
        return single(best), alone
    counts: Counter[int] = Counter()
    rng = generator(seed, "ensemble")
    for _ in range(NUM_HALVES):
        size = min(MAX_ROWS, max(1, (3 * len(everything)) // 4))
        rows = np.sort(rng.permutation(everything)[:size])
        counts.update(_greedy(ranked, rows, scorer_of(rows), fits, max_members))
    kept = [index for index, _ in counts.most_common(max_members)]
    while len(kept) > 1 and not fits([ranked[i] for i in kept]):
        kept.pop()
    total = sum(counts[i] for i in kept)
    mixed = np.sum([ranked[i].predictions * (counts[i] / total) for i in kept], axis=0)
    value = score(mixed)
    if len(kept) < 2 or value < alone + min_gain:
        return single(best), alone
    return [Member(ranked[i].trial, counts[i] / total, ranked[i].temperature) for i in sorted(kept)], value


def _greedy(
    ranked: Sequence[Scored],
    rows: np.ndarray,
    score: Callable[[np.ndarray], float],
    fits: Callable[[Sequence[Scored]], bool],
    max_members: int,
) -> list[int]:
    """Indices of the chosen trials, repeated as often as chosen."""
    values = [s.predictions[rows] for s in ranked]
    chosen: list[int] = []
    total = np.zeros_like(values[0])
    best = -np.inf
    for _ in range(MAX_ROUNDS):
        distinct = set(chosen)
        trials = [
            i
            for i in range(len(ranked))
            if i in distinct or (len(distinct) < max_members and fits([ranked[j] for j in {*distinct, i}]))
        ]
        gains = [score((total + values[i]) / (len(chosen) + 1)) for i in trials]
        top = int(np.argmax(gains))
        if gains[top] <= best:
            break
        best = gains[top]
        chosen.append(trials[top])
        total = total + values[trials[top]]
    return chosen
