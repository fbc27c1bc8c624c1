"""Offsets on the log-probabilities of K classes that raise a mean over classes (macro-F1, balanced accuracy).

Legend: N rows, K classes, G grid points. Log-probabilities are held as [K, N]: a class is one stretch of memory.
"""

from __future__ import annotations

import math

import numpy as np

from thrifty.evaluation.decisions import SMALLEST_PROBABILITY
from thrifty.evaluation.metrics import of_counts, score_codes

TAUS = np.linspace(-1.0, 1.2, 23)
GRID = np.linspace(-1.5, 1.5, 31)
NUM_SWEEPS = 2
# Of a value on N rows, times the root of N: taus that differ by less are as good as each other.
VALUE_NOISE = 0.5
# Before any row is seen, tau is likely to be about this: a mean recall is best near the shares evened out whole, of
# which training does a half; F1 lies between that and the likeliest class.
USUAL_TAU = {"balanced_accuracy": 0.75, "recall_macro": 0.75}
OTHER_TAU = 0.25
TAU_SPREAD = 0.35
# Rows that a class adds to its own evidence before its offset may move freely.
PRIOR_ROWS = 20.0


def prior_offsets(name: str, y_N: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> np.ndarray:
    """-tau times log shares of the classes, for the mean of the TAUS that do best: one number, right when calibrated.

    Few rows leave tau near the usual one. Below 0 it takes back what training gave the rare classes.
    """
    shares_K = np.bincount(y_N, w_N, minlength=p_NK.shape[1]) + 1.0
    direction_K = -np.log(shares_K / shares_K.sum())
    direction_K -= direction_K.mean()
    logs_KN = _logs(p_NK)
    values = []
    for tau in TAUS:
        codes_N = _others(logs_KN + (tau * direction_K[:, None]).astype(np.float32), None)[1]
        values.append(score_codes(name, y_N, codes_N, len(logs_KN), w_N))
    value_T = np.asarray(values)
    usual_T = (TAUS - USUAL_TAU.get(name, OTHER_TAU)) / TAU_SPREAD
    weight_T = np.exp((value_T - value_T.max()) * math.sqrt(len(y_N)) / VALUE_NOISE - 0.5 * usual_T**2)
    return float(np.average(TAUS, weights=weight_T)) * direction_K


def coordinate_offsets(name: str, y_N: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> np.ndarray:
    """From `prior_offsets` on, one class after the other to the best of a grid, by less where its rows are few."""
    num_classes = p_NK.shape[1]
    offsets_K = prior_offsets(name, y_N, p_NK, w_N)
    counts_K = np.bincount(y_N, minlength=num_classes)
    trust_K = counts_K / (counts_K + PRIOR_ROWS)
    adjusted_KN = _logs(p_NK) + offsets_K[:, None].astype(np.float32)
    for _ in range(NUM_SWEEPS):
        for k in np.argsort(-counts_K):
            value_G = _values_along(name, y_N, adjusted_KN, int(k), w_N)
            step = np.float32(_best_step(value_G) * trust_K[k])
            adjusted_KN[k] += step
            offsets_K[k] += step
    return offsets_K - offsets_K.mean()


def _logs(p_NK: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.ascontiguousarray(p_NK.T, dtype=np.float32), np.float32(SMALLEST_PROBABILITY)))


def _others(adjusted_KN: np.ndarray, left_out: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The largest value and its class for each row, one class left out."""
    best_N = np.full(adjusted_KN.shape[1], -np.inf, dtype=np.float32)
    class_N = np.zeros(adjusted_KN.shape[1], dtype=np.int64)
    for k, row_N in enumerate(adjusted_KN):
        if k != left_out:
            better_N = row_N > best_N
            np.copyto(best_N, row_N, where=better_N)
            np.copyto(class_N, k, where=better_N)
    return best_N, class_N


def _values_along(name: str, y_N: np.ndarray, adjusted_KN: np.ndarray, k: int, w_N: np.ndarray | None) -> np.ndarray:
    """The metric [G] when class k's offset moves by each step of GRID: rows go from their best other class to k."""
    num_classes, num_steps = len(adjusted_KN), len(GRID)
    best_N, other_N = _others(adjusted_KN, k)
    needed_N = best_N - adjusted_KN[k]
    # The first step at which a row is answered k; num_steps where it never is.
    first_N = np.floor((needed_N - GRID[0]) / (GRID[1] - GRID[0])) + 1
    first_N = np.clip(first_N, 0, num_steps).astype(np.int64)

    def table(mask_N: np.ndarray | None, class_N: np.ndarray) -> np.ndarray:
        chosen = slice(None) if mask_N is None else mask_N
        cells = first_N[chosen] * num_classes + class_N[chosen]
        flat = np.bincount(cells, None if w_N is None else w_N[chosen], minlength=(num_steps + 1) * num_classes)
        return flat.reshape(num_steps + 1, num_classes)

    left_GK = table(None, other_N)
    answered_GK = left_GK.sum(axis=0) - np.cumsum(left_GK, axis=0)[:-1]
    right_left_GK = table(y_N == other_N, other_N)
    right_GK = right_left_GK.sum(axis=0) - np.cumsum(right_left_GK, axis=0)[:-1]
    answered_GK[:, k] = np.cumsum(left_GK.sum(axis=1))[:-1]
    right_GK[:, k] = np.cumsum(table(y_N == k, other_N).sum(axis=1))[:-1]
    true_GK = np.broadcast_to(np.bincount(y_N, w_N, minlength=num_classes), answered_GK.shape)
    return of_counts(name, right_GK, true_GK, answered_GK, (true_GK + answered_GK) > 0)


def _best_step(value_G: np.ndarray) -> float:
    """The mean of the steps at the best value, 0 where staying is as good."""
    best = value_G.max()
    if value_G[len(GRID) // 2] >= best - 1e-9:
        return 0.0
    return float(GRID[value_G >= best - 1e-9].mean())
