"""Figures of merit that look at order alone: ranks, area under the ROC curve, average precision.

Legend: N rows. Weights are None or positive numbers. Ties are shared exactly as scikit-learn and scipy share them.
"""

from __future__ import annotations

import numpy as np

UNDEFINED = float("nan")


def midranks(values_N: np.ndarray, weights_N: np.ndarray | None = None) -> np.ndarray:
    """Ranks from 1 on, equal values sharing the mean of theirs; a row of weight w counts as w rows."""
    if weights_N is None:
        sorted_N = np.sort(values_N)
        below_N = np.searchsorted(sorted_N, values_N, side="left")
        upto_N = np.searchsorted(sorted_N, values_N, side="right")
        return 0.5 * (below_N + upto_N + 1)
    _, group_N = np.unique(values_N, return_inverse=True)
    mass_G = np.bincount(group_N, weights=weights_N)
    return (np.cumsum(mass_G) - mass_G + 0.5 * (mass_G + 1))[group_N]


def area_under_roc(positive_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The probability that a positive row scores above a negative one, ties counting half; nan without both kinds."""
    if weights_N is None:
        scores_P = np.sort(scores_N[positive_N])
        num_positive, num_negative = len(scores_P), len(scores_N) - len(scores_P)
        if not num_positive or not num_negative:
            return UNDEFINED
        sorted_N = np.sort(scores_N)
        twice = np.searchsorted(sorted_N, scores_P, side="left").sum(dtype=np.int64)
        twice += np.searchsorted(sorted_N, scores_P, side="right").sum(dtype=np.int64)
        return float((0.5 * (twice - num_positive * num_positive)) / (num_positive * num_negative))
    _, group_N = np.unique(scores_N, return_inverse=True)
    positive_G = np.bincount(group_N, weights=weights_N * positive_N)
    negative_G = np.bincount(group_N, weights=weights_N * ~positive_N)
    mass = positive_G.sum() * negative_G.sum()
    below_G = np.cumsum(negative_G) - 0.5 * negative_G
    return float((positive_G * below_G).sum() / mass) if mass > 0 else UNDEFINED


def average_precision(positive_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The mean precision at the thresholds that admit each positive row; nan without a positive row."""
    if weights_N is None:
        sorted_P = np.sort(scores_N[positive_N])
        if not len(sorted_P):
            return UNDEFINED
        admitted_P = len(scores_N) - np.searchsorted(np.sort(scores_N), sorted_P, side="left")
        found_P = len(sorted_P) - np.searchsorted(sorted_P, sorted_P, side="left")
        return float((found_P / admitted_P).mean())
    _, group_N = np.unique(-scores_N, return_inverse=True)
    positive_G = np.bincount(group_N, weights=weights_N * positive_N)
    all_G = np.bincount(group_N, weights=weights_N)
    if not positive_G.sum() > 0:
        return UNDEFINED
    precision_G = np.cumsum(positive_G) / np.maximum(np.cumsum(all_G), np.finfo(float).tiny)
    return float((positive_G * precision_G).sum() / positive_G.sum())
