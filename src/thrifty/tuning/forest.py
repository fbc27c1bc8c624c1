"""A forest of extremely randomised regression trees (https://doi.org/10.1007/s10994-006-6226-1), in numpy alone.

Shapes: N observations, M points, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_LEAF = 2


@dataclass(frozen=True)
class Tree:
    """Node k sends rows with x[column_k] < cut_k to left_k, others to right_k; a leaf (column -1) holds value_k."""

    column_K: np.ndarray
    cut_K: np.ndarray
    left_K: np.ndarray
    right_K: np.ndarray
    value_K: np.ndarray

    def predict(self, x_MC: np.ndarray) -> np.ndarray:
        at_M = np.zeros(len(x_MC), int)
        rows = np.arange(len(x_MC))
        while True:
            column_M = self.column_K[at_M]
            if (column_M < 0).all():
                return self.value_K[at_M]
            below_M = x_MC[rows, column_M] < self.cut_K[at_M]
            at_M = np.where(column_M < 0, at_M, np.where(below_M, self.left_K[at_M], self.right_K[at_M]))


def grow(x_NC: np.ndarray, y_N: np.ndarray, rng: np.random.Generator) -> Tree:
    """A tree whose every split is the best of one random cut in each column."""
    nodes: list[list[float]] = []
    waiting = [(np.arange(len(y_N)), -1, 0)]
    while waiting:
        rows, parent, side = waiting.pop()
        if parent >= 0:
            nodes[parent][side] = len(nodes)
        nodes.append([-1, 0.0, 0, 0, float(y_N[rows].mean())])
        split = _split(x_NC[rows], y_N[rows], rng)
        if split is not None:
            column, cut = split
            nodes[-1][:2] = [column, cut]
            below = x_NC[rows, column] < cut
            here = len(nodes) - 1
            waiting += [(rows[~below], here, 3), (rows[below], here, 2)]
    table = np.array(nodes)
    return Tree(table[:, 0].astype(int), table[:, 1], table[:, 2].astype(int), table[:, 3].astype(int), table[:, 4])


def _split(x_NC: np.ndarray, y_N: np.ndarray, rng: np.random.Generator) -> tuple[int, float] | None:
    """The column and the cut that leave the least variance, or None where nothing is left to split."""
    count = len(y_N)
    if count < 2 * MIN_LEAF or np.ptp(y_N) == 0:
        return None
    low_C, high_C = x_NC.min(0), x_NC.max(0)
    cut_C = low_C + (high_C - low_C) * (0.001 + 0.998 * rng.random(len(low_C)))
    below_NC = x_NC < cut_C
    num_C = below_NC.sum(0)
    fits_C = (num_C >= MIN_LEAF) & (count - num_C >= MIN_LEAF)
    if not fits_C.any():
        return None
    centred_N = y_N - y_N.mean()
    sum_C = centred_N @ below_NC
    gain_C = np.where(fits_C, sum_C**2 / np.maximum(num_C, 1) + sum_C**2 / np.maximum(count - num_C, 1), -1.0)
    column = int(np.argmax(gain_C))
    return column, float(cut_C[column])
