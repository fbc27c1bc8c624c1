"""Dense features and targets on the scale that networks take.

Shapes: N rows, D features, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.data.column import Task
from thrifty.engines.features import Block
from thrifty.engines.trial import Trial
from thrifty.training.losses import dense_targets

TEACHERS_SHARE = 0.9  # of a student's targets; the labels have the rest
LARGEST = 8.0  # deviations from the mean; what is further off is taken as that


@dataclass(frozen=True)
class Scaling:
    """Features are (x - mean_D) / scale_D, clipped; NaN becomes 0."""

    mean_D: np.ndarray
    scale_D: np.ndarray

    @classmethod
    def of(cls, blocks: Sequence[Block], arrays: Sequence[Any]) -> Scaling:
        """Means and deviations of training rows; columns of blocks that are scaled already stay as they are."""
        means, scales = [], []
        for block, x_ND in zip(blocks, arrays, strict=True):
            mean_D, scale_D = np.zeros(block.width), np.ones(block.width)
            if not block.ready:
                seen = np.isfinite(x_ND)
                count_D = np.maximum(seen.sum(axis=0), 1)
                mean_D = np.where(seen, x_ND, 0.0).sum(axis=0, dtype=np.float64) / count_D
                variance_D = np.where(seen, (x_ND - mean_D) ** 2, 0.0).sum(axis=0) / count_D
                scale_D = np.where(variance_D > 1e-12, np.sqrt(variance_D), 1.0)
            means.append(mean_D)
            scales.append(scale_D)
        return cls(np.concatenate(means).astype(np.float32), np.concatenate(scales).astype(np.float32))

    def apply(self, x_ND: np.ndarray) -> np.ndarray:
        x_ND = np.nan_to_num((x_ND - self.mean_D) / self.scale_D, nan=0.0)
        return x_ND.clip(-LARGEST, LARGEST).astype(np.float32)


def network_targets(trial: Trial, rows: np.ndarray, label_smoothing: float) -> tuple[np.ndarray, float, float]:
    """Dense targets [N, K], and for regression the mean and scale that they were standardised with (else 0 and 1).

    A student's are in part what its teachers answer to the rows.
    """
    y, mean, scale = trial.dataset.targets(rows), 0.0, 1.0
    if trial.task == Task.REGRESSION:
        weights_N = trial.dataset.weights(rows)
        mean = float(np.average(y, weights=weights_N))
        scale = max(float(np.sqrt(np.average(np.square(y - mean), weights=weights_N))), 1e-9)
        y = (y - mean) / scale
    targets_NK = dense_targets(trial.task, y, trial.num_outputs, label_smoothing)
    if trial.taught is not None:
        targets_NK += TEACHERS_SHARE * ((trial.taught - mean) / scale - targets_NK)
    return targets_NK, mean, scale
