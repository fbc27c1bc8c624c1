"""How rare classes are made to count in training where the metric counts classes alike (`metrics.CLASSES_ALIKE`).

Linear models, kernels and trees weight the rows of class k by (N / (K n_k))^POWER. Networks and heads learn scores to
which POWER times the log of the classes' shares is added in the loss alone: logit adjustment, Menon et al. 2021,
https://arxiv.org/abs/2007.07314. Both aim at log p(k | x) - POWER log p(k), the scores of classes whose shares are
evened out in part: a power of 1 is right for the mean recall, 0 for the accuracy, F1 lies between. Temperature and
offsets are fitted afterwards, to validation rows with their true shares; offsets begin along the log shares to either
side, so they add what is missing and take back what was too much. Labels are K pairs of classes, each with its own.

Shapes: N rows, K classes or labels.
"""

from __future__ import annotations

import numpy as np

from thrifty.data.column import Task
from thrifty.engines.trial import Trial
from thrifty.evaluation.metrics import CLASSES_ALIKE

POWER = 0.5


def class_weights(y_N: np.ndarray, num_classes: int, weights_N: np.ndarray, power: float = POWER) -> np.ndarray:
    """Weights [K] that make the classes of `y_N` count alike, to a power: (N / (K n_k))^power, n_k of 1 at least."""
    counts_K = np.bincount(y_N, weights_N, num_classes)
    return (counts_K.sum() / (np.count_nonzero(counts_K) * np.maximum(counts_K, 1.0))) ** power


def shift(trial: Trial, rows: np.ndarray) -> np.ndarray | None:
    """What the loss adds to a network's scores, float32 [K], from the rows it is trained on; None for nothing.

    A student needs none: it learns scores of teachers that were made even.
    """
    if trial.metric not in CLASSES_ALIKE or trial.task == Task.REGRESSION or trial.taught is not None:
        return None
    y, given = trial.dataset.targets(rows), trial.dataset.weights(rows)
    weights_N = np.ones(len(rows)) if given is None else given / max(float(given.mean()), 1e-12)
    if not weights_N.any():
        return None
    if trial.task == Task.MULTILABEL:
        return _of_labels(weights_N @ y, len(rows))
    return _of_classes(np.bincount(y, weights_N, trial.num_outputs))


def _of_classes(counts_K: np.ndarray) -> np.ndarray:
    """POWER log n_k, n_k of 1 at least, its mean 0 over the classes that have rows; one without has the largest of all.

    So nothing raises a class that there is nothing to learn of.
    """
    there_K = counts_K > 0
    logs_K = np.log(np.maximum(counts_K, 1.0))
    logs_K = np.where(there_K, logs_K, logs_K[there_K].max()) - logs_K[there_K].mean()
    return (POWER * logs_K).astype(np.float32)


def _of_labels(counts_K: np.ndarray, num_rows: int) -> np.ndarray:
    """POWER times the log odds of each label, of one row's at least; 0 for one that no row has, or every row."""
    told_K = (counts_K > 0) & (counts_K < num_rows * (1 - 1e-9))
    shares_K = np.where(told_K, np.clip(counts_K, 1.0, max(1.0, num_rows - 1.0)) / num_rows, 0.5)
    return (POWER * np.log(shares_K / (1.0 - shares_K))).astype(np.float32)
