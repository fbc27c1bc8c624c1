"""What stands for an image, a text or a sound that a row lacks.

Encoders give zeros there, and a frozen network something of them, of which a model knows nothing when no training row
lacked the value. So a block takes its mean over the training rows that have the value instead, and tells which rows
lack it where some training rows did. A network of one such column alone answers with what holds of all rows.

Shapes: N rows, D columns of a block, G values that can be missing by themselves, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx

from thrifty.data.column import Task
from thrifty.engines import balance
from thrifty.engines.trial import Trial
from thrifty.exporting import graphs

Sign = Literal["present", "mask", "weights", "values"]
"""How a row's encoded value says that it is there: a flag [N, 1] above 0, a mask [N, L] or weights [N, L] that sum to
more than `least`, or a column of the block itself that differs from what it is where the value is missing."""


@dataclass(frozen=True)
class Fill:
    """Rows that lack value g have `mean_D` in its columns, and `flagged` appends 1 or 0 for each g that is there.

    group_D: the g of each column. flags_G: with sign "values" the column that tells, and missing_G what it then is.
    least: with the other signs what a present value exceeds.
    """

    name: str
    sign: Sign
    mean_D: np.ndarray
    group_D: np.ndarray
    flagged: bool
    flags_G: np.ndarray
    missing_G: np.ndarray
    least: float = 0.0

    @classmethod
    def fit(
        cls, name: str, sign: Sign, values_ND: np.ndarray, present_NG: np.ndarray,
        flags: Sequence[int] = (), missing: float = 0.0, least: float = 0.0,
    ) -> Fill:  # fmt: skip
        """From training rows; equal shares of the columns belong to each g."""
        num_columns, num_groups = values_ND.shape[1], present_NG.shape[1]
        group_D = np.repeat(np.arange(num_groups), num_columns // num_groups)
        there_ND = present_NG[:, group_D]
        total_D = np.where(there_ND, values_ND, 0.0).sum(axis=0, dtype=np.float64)
        mean_D = (total_D / np.maximum(there_ND.sum(axis=0), 1)).astype(np.float32)
        lacked_G = np.asarray((~present_NG).any(axis=0))
        for group, column in enumerate(flags):
            if lacked_G[group]:
                mean_D[column] = missing
        flagged = not flags and bool(lacked_G.any())
        missing_G = np.full(len(flags), missing, np.float32)
        return cls(name, sign, mean_D, group_D, flagged, np.asarray(flags, np.int64), missing_G, least)

    @property
    def width(self) -> int:
        return len(self.mean_D) + (self.flagged and int(self.group_D[-1]) + 1)

    def apply(self, values_ND: np.ndarray, present_NG: np.ndarray) -> np.ndarray:
        filled_ND = np.where(present_NG[:, self.group_D], values_ND, self.mean_D).astype(np.float32)
        return np.concatenate([filled_ND, present_NG.astype(np.float32)], axis=1) if self.flagged else filled_ND

    def graph(self) -> onnx.ModelProto:
        """Inputs `NAME`, and `NAME_SIGN` but for the sign "values"; output `features`."""
        return graphs.filled(
            self.name, self.sign, self.mean_D, self.group_D, self.flagged, self.flags_G, self.missing_G, self.least
        )


def usual_scores(task: Task, num_outputs: int, y: Any, weights_N: np.ndarray) -> np.ndarray:
    """Scores [K] that hold of all rows: log shares of the classes (labels: their log odds), half a row added to each.

    Or the mean. weights_N: of the rows, with a mean of 1.
    """
    if task == Task.REGRESSION:
        return np.array([np.average(y, weights=weights_N)])
    if task == Task.MULTILABEL:
        shares_K = (weights_N @ y + 0.5) / (weights_N.sum() + 1.0)
        return np.asarray(np.log(shares_K / (1.0 - shares_K)))
    counts_K = np.bincount(y, weights_N, num_outputs) + 0.5
    return np.asarray(np.log(counts_K / counts_K.sum()))


@dataclass(frozen=True)
class Usual:
    """What a network of one column answers for rows that lack it. sign, least: as a Fill has them."""

    sign: Sign
    least: float
    scores_K: np.ndarray

    @classmethod
    def fit(cls, trial: Trial, rows: np.ndarray, sign: Sign, least: float) -> Usual:
        weights = trial.dataset.weights(rows)
        weights_N = np.ones(len(rows)) if weights is None else weights / max(float(weights.mean()), 1e-12)
        scores_K = usual_scores(trial.task, trial.num_outputs, trial.dataset.targets(rows), weights_N)
        shift_K = balance.shift(trial, rows)
        scores_K = scores_K if shift_K is None else scores_K - shift_K  # as the network's own scores are
        return cls(sign, least, scores_K.astype(np.float32))

    def apply(self, scores_NK: np.ndarray, sign_NL: np.ndarray) -> np.ndarray:
        return np.where(sign_NL.sum(axis=1, keepdims=True) > self.least, scores_NK, self.scores_K)

    def graph(self) -> onnx.ModelProto:
        """Inputs `learned` and `SIGN`, output `scores`."""
        return graphs.usual(self.sign, self.least, self.scores_K)
