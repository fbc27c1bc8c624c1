"""Every metric on many resamples of the rows at once, without scoring any resample row by row.

A resample is how often each row was drawn; B of them are the columns of draws [N, B], times the rows' weights. Rows are
brought into an order once (by class, by score, by bin); then each metric is a few sums over runs of rows for all
resamples together. Legend: N rows, B resamples, K classes, R runs of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thrifty.evaluation.decisions import Decision, decide
from thrifty.evaluation.metrics import (
    METRICS,
    NUM_ECE_BINS,
    confidence_bins,
    confidences,
    moments_value,
    of_counts,
    positive_of,
    row_losses,
)
from thrifty.evaluation.ranking import UNDEFINED

Replicate = Callable[[np.ndarray], np.ndarray]


def replicator(
    name: str,
    task: str,
    y: np.ndarray,
    outputs: np.ndarray,
    decision: Decision | None = None,
    positive: int | None = None,
) -> Replicate:
    """A function from draws float32 [N, B] to the metric of each resample float64 [B], nan where undefined."""
    outputs = np.asarray(outputs)
    if task == "regression":
        y_N, z_N = np.asarray(y, dtype=np.float64).reshape(-1), outputs.astype(np.float64).reshape(-1)
        return _rank_correlation(y_N, z_N) if name == "spearman" else _moments(name, y_N, z_N)
    y = np.asarray(y).astype(np.int64)
    if METRICS[name].needs == "labels":
        codes = decide(task, outputs, decision)
        if name == "accuracy" or (name == "f1_micro" and task != "multilabel"):
            right = y == codes
            return _mean((right.all(axis=1) if right.ndim == 2 else right).astype(np.float64))
        if task == "multilabel":
            return _multilabel_counts(name, y, codes)
        return _class_counts(name, y, codes, outputs.shape[1])
    if name in ("log_loss", "brier"):
        return _mean(row_losses(name, task, y, outputs))
    if name == "ece":
        return _calibration_error(task, y, outputs)
    if task == "binary":
        k = 1 if name == "roc_auc" else positive
        k = positive_of(np.bincount(y, minlength=2)[:2].tolist()) if k is None else k
        return _ranked(name, [(y == k, outputs[:, k])])
    columns = range(outputs.shape[1])
    return _ranked(name, [(y[:, k] > 0 if y.ndim == 2 else y == k, outputs[:, k]) for k in columns])


def _mean(losses_N: np.ndarray) -> Replicate:
    losses_N = losses_N.astype(np.float32)

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        return (losses_N @ draws_NB).astype(np.float64) / draws_NB.sum(axis=0)

    return replicate


def _class_counts(name: str, y_N: np.ndarray, codes_N: np.ndarray, num_classes: int) -> Replicate:
    """Rows are grouped by (true, answered) cell; only cells that hold rows are summed."""
    cells_C, cell_N = np.unique(y_N * num_classes + codes_N, return_inverse=True)
    true_C, answered_C = np.divmod(cells_C, num_classes)
    order_N, starts_C = _runs(cell_N)
    classes_K = np.union1d(true_C, answered_C)
    true_CK = (true_C[:, None] == classes_K).astype(np.float32)
    answered_CK = (answered_C[:, None] == classes_K).astype(np.float32)
    right_CK = true_CK * answered_CK

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        sums_BC = np.add.reduceat(draws_NB[order_N], starts_C, axis=0).T
        right_BK, true_BK, answered_BK = (sums_BC @ m for m in (right_CK, true_CK, answered_CK))
        return of_counts(name, right_BK, true_BK, answered_BK, (true_BK + answered_BK) > 0).astype(np.float64)

    return replicate


def _multilabel_counts(name: str, y_NK: np.ndarray, codes_NK: np.ndarray) -> Replicate:
    parts = [a.astype(np.float32) for a in (y_NK * codes_NK, y_NK, codes_NK)]
    counted_K = np.ones(y_NK.shape[1], dtype=bool)

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        right_BK, true_BK, answered_BK = (draws_NB.T @ part for part in parts)
        return of_counts(name, right_BK, true_BK, answered_BK, counted_K).astype(np.float64)

    return replicate


def _calibration_error(task: str, y: np.ndarray, p_NK: np.ndarray) -> Replicate:
    confidence, true = confidences(task, y, p_NK)
    rows = np.repeat(np.arange(len(y)), len(true) // len(y))
    gaps_bins = np.zeros((NUM_ECE_BINS, len(y)), dtype=np.float32)
    np.add.at(gaps_bins, (confidence_bins(confidence), rows), confidence - true)
    per_row = len(true) // len(y)

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        gaps = np.abs(gaps_bins @ draws_NB).sum(axis=0)
        return gaps.astype(np.float64) / (per_row * draws_NB.sum(axis=0))

    return replicate


def _moments(name: str, y_N: np.ndarray, z_N: np.ndarray) -> Replicate:
    center = y_N.mean() if len(y_N) else 0.0
    y_N, z_N = y_N - center, z_N - center
    scale = max(float(np.abs(y_N).max(initial=0)), float(np.abs(z_N).max(initial=0))) or 1.0
    y_N, z_N = y_N / scale, z_N / scale
    e_N = np.abs(y_N - z_N)
    rows = {"w": np.ones_like(y_N), "y": y_N, "yy": y_N**2, "z": z_N, "zz": z_N**2, "yz": y_N * z_N}
    rows |= {"e": e_N, "ee": e_N**2}
    unit = scale if name in ("rmse", "mae") else 1.0
    stacked = np.stack(list(rows.values())).astype(np.float32)

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        sums = dict(zip(rows, (stacked @ draws_NB).astype(np.float64)))
        return moments_value(name, sums) * unit

    return replicate


def _rank_correlation(y_N: np.ndarray, z_N: np.ndarray) -> Replicate:
    """Midranks of each resample are running sums of its draws over rows sorted once."""
    sides = []
    for values_N in (y_N, z_N):
        _, group_N = np.unique(values_N, return_inverse=True)
        order_N, starts_G = _runs(group_N)
        sides.append((order_N, starts_G, group_N))

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        total_B = draws_NB.sum(axis=0)
        ranks = []
        for order_N, starts_G, group_N in sides:
            mass_GB = np.add.reduceat(draws_NB[order_N], starts_G, axis=0)
            rank_GB = np.cumsum(mass_GB, axis=0) - 0.5 * (mass_GB + total_B)
            ranks.append((rank_GB / total_B)[group_N])
        y_NB, z_NB = ranks
        sums = {"w": total_B, "ee": total_B, "e": total_B}
        weighted_NB = draws_NB * y_NB
        sums |= {"y": weighted_NB.sum(axis=0), "yy": np.einsum("nb,nb->b", weighted_NB, y_NB)}
        sums["yz"] = np.einsum("nb,nb->b", weighted_NB, z_NB)
        weighted_NB = draws_NB * z_NB
        sums |= {"z": weighted_NB.sum(axis=0), "zz": np.einsum("nb,nb->b", weighted_NB, z_NB)}
        return moments_value("pearson", {k: v.astype(np.float64) for k, v in sums.items()})

    return replicate


def _ranked(name: str, columns: list[tuple[np.ndarray, np.ndarray]]) -> Replicate:
    """The mean over columns of area under ROC or average precision, over the columns where it is defined."""
    of_runs = _area_under_roc if name == "roc_auc" else _average_precision
    orders = [_score_runs(positive_N, scores_N) for positive_N, scores_N in columns if positive_N.any()]

    def replicate(draws_NB: np.ndarray) -> np.ndarray:
        sums_B, counts_B = np.zeros(draws_NB.shape[1]), np.zeros(draws_NB.shape[1])
        for order_N, starts_R, positive_R, tie_R in orders:
            runs_RB = np.add.reduceat(draws_NB[order_N], starts_R, axis=0)
            value_B = of_runs(runs_RB, positive_R, tie_R)
            defined_B = ~np.isnan(value_B)
            sums_B += np.where(defined_B, value_B, 0)
            counts_B += defined_B
        return np.where(counts_B > 0, sums_B / np.maximum(counts_B, 1), UNDEFINED)

    return replicate


def _score_runs(positive_N: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows by falling score, negative before positive where equal, cut into runs that no metric needs apart.

    Negative rows with no positive row between them are one run: only their number matters. Gives the order of rows, the
    start of each run, whether the run is of positive rows, and for positive runs how many runs before it share its
    score (0 or 1; the negatives it ties with come just before).
    """
    order_N = np.lexsort((positive_N, -scores_N))
    kind_N, value_N = positive_N[order_N], scores_N[order_N]
    new_N = np.ones(len(order_N), dtype=bool)
    new_N[1:] = (kind_N[1:] != kind_N[:-1]) | (kind_N[1:] & (value_N[1:] != value_N[:-1]))
    # A run of negatives is cut where its last rows tie with the positives that follow.
    follows_N = np.zeros(len(order_N), dtype=bool)
    follows_N[:-1] = kind_N[1:] & ~kind_N[:-1] & (value_N[1:] == value_N[:-1])
    new_N[np.searchsorted(-value_N, -value_N[follows_N], side="left")] = True
    starts_R = np.flatnonzero(new_N)
    positive_R, value_R = kind_N[starts_R], value_N[starts_R]
    tie_R = np.zeros(len(starts_R), dtype=bool)
    tie_R[1:] = positive_R[1:] & ~positive_R[:-1] & (value_R[1:] == value_R[:-1])
    return order_N, starts_R, positive_R, tie_R


def _area_under_roc(runs_RB: np.ndarray, positive_R: np.ndarray, tie_R: np.ndarray) -> np.ndarray:
    negative_RB = runs_RB * ~positive_R[:, None]
    above_RB = np.cumsum(negative_RB, axis=0, dtype=np.float64)
    total_B = above_RB[-1]
    above_PB = above_RB[positive_R]
    above_PB[tie_R[positive_R]] -= 0.5 * negative_RB[np.flatnonzero(tie_R) - 1]
    found_PB = runs_RB[positive_R].astype(np.float64)
    found_B = found_PB.sum(axis=0)
    mass_B = found_B * total_B
    wrong_B = np.einsum("pb,pb->b", found_PB, above_PB)
    return np.where(mass_B > 0, 1 - wrong_B / np.where(mass_B > 0, mass_B, 1), UNDEFINED)


def _average_precision(runs_RB: np.ndarray, positive_R: np.ndarray, tie_R: np.ndarray) -> np.ndarray:
    admitted_PB = np.cumsum(runs_RB, axis=0, dtype=np.float64)[positive_R]
    run_PB = runs_RB[positive_R].astype(np.float64)
    found_PB = np.cumsum(run_PB, axis=0)
    total_B = found_PB[-1]
    precision_PB = found_PB / np.maximum(admitted_PB, 1e-30)
    return np.where(total_B > 0, (run_PB * precision_PB).sum(axis=0) / np.where(total_B > 0, total_B, 1), UNDEFINED)


def _runs(group_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that brings equal groups (0, 1, … without gaps) together, and where each begins."""
    counts_G = np.bincount(group_N)
    return np.argsort(group_N, kind="stable"), np.cumsum(counts_G) - counts_G
