"""Greedy weighted ensembles of finished trials (Caruana et al. 2004, "Ensemble selection from libraries of models").

Members are added one at a time, with replacement, each time the one that raises the validated metric most; done on
many random parts of the validation rows and averaged, which keeps a small validation part from being fitted. The mix is
not held against the best single trial on those rows: there that one was chosen to look good.
Shapes: V validation rows, K classes or 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from thrifty.core.seeds import generator

MAX_ROWS = 4000
NUM_PARTS = 16
LEAST_WEIGHT = 0.1  # below which a member is not worth what it costs
MAX_ROUNDS = 12
LEAST_GAIN = 1e-7  # of the value; what is less is rounding, as of a correlation with a constant member
MAX_SHARES = 3  # of the limits: ensembles are also made of models that keep a half and a third of them


@dataclass(frozen=True)
class Scale:
    """What limits are about: the bytes of a model, and the milliseconds of a row (0: not limited, not measured)."""

    size_bytes: int = 0
    latency_ms: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A finished trial: calibrated probabilities [V, K] (values [V] for regression) and the validated value."""

    trial: int
    predictions: np.ndarray
    value: float
    temperature: float
    scale: Scale = Scale()


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
    fits: Callable[[Sequence[Scale]], bool],
    max_members: int = 5,
    most: int = 16,
    seed: int = 0,
) -> tuple[list[Member], float]:
    """The members of the best ensemble, which may be one, and its value on all validation rows.

    A single model that fills the limits leaves no room for a second: ensembles of lighter ones are tried beside it.

    scorer_of: row numbers -> a function of the predictions of those rows, higher is better. fits: whether models of
    these scales together keep the limits.
    """
    ranked = sorted((s for s in scored if fits([s.scale])), key=lambda s: -s.value)
    members: list[Member] = []
    best = -np.inf
    pools: list[list[int]] = []
    for share in range(1, MAX_SHARES + 1):
        pool = [s for s in ranked if fits([s.scale] * share)][:most]
        trials = [s.trial for s in pool]
        if pool and trials not in pools:
            pools.append(trials)
            mix, value = _averaged(pool, scorer_of, fits, max_members, generator(seed, "ensemble"))
            if not members or value > best:
                members, best = mix, value
    return members, best


def _averaged(
    pool: Sequence[Scored],
    scorer_of: Callable[[np.ndarray], Callable[[np.ndarray], float]],
    fits: Callable[[Sequence[Scale]], bool],
    max_members: int,
    rng: np.random.Generator,
) -> tuple[list[Member], float]:
    """The mean of the greedy ensembles of several parts of the rows, and its value on all of them."""
    everything = np.arange(len(pool[0].predictions))
    counts: Counter[int] = Counter()
    for _ in range(NUM_PARTS):
        size = min(MAX_ROWS, max(1, (3 * len(everything)) // 4))
        rows = np.sort(rng.permutation(everything)[:size])
        counts.update(_greedy(pool, rows, scorer_of(rows), fits, max_members))
    kept = [index for index, _ in counts.most_common(max_members)]
    while len(kept) > 1 and not fits([pool[i].scale for i in kept]):
        kept.pop()
    total = sum(counts[i] for i in kept)
    kept = [i for i in kept if counts[i] >= LEAST_WEIGHT * total]
    total = sum(counts[i] for i in kept)
    mixed = np.sum([pool[i].predictions * (counts[i] / total) for i in kept], axis=0)
    members = [Member(pool[i].trial, counts[i] / total, pool[i].temperature) for i in sorted(kept)]
    return members, scorer_of(everything)(mixed)


def _greedy(
    ranked: Sequence[Scored],
    rows: np.ndarray,
    score: Callable[[np.ndarray], float],
    fits: Callable[[Sequence[Scale]], bool],
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
            if i in distinct or (len(distinct) < max_members and fits([ranked[j].scale for j in {*distinct, i}]))
        ]
        gains = [score((total + values[i]) / (len(chosen) + 1)) for i in trials]
        top = int(np.argmax(gains))
        if chosen and gains[top] <= best + LEAST_GAIN * abs(best):
            break
        best = gains[top]
        chosen.append(trials[top])
        total = total + values[trials[top]]
    return chosen
