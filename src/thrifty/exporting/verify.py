"""Whether an artifact gives what the trained model gave, alone and in batches of several sizes.

Shapes: N rows, K classes or labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.runtime.predictor import Predictor

BATCH_SIZES = (1, 7, 64)


@dataclass(frozen=True)
class Parity:
    """max_abs_difference: the largest of any probability (or value) in any batch size.

    max_relative_difference: the largest difference over the largest of 1 and the expected value's size.
    changed: answers that differ. rows: how many were compared. problems: rows that could not be read.
    """

    max_abs_difference: float
    max_relative_difference: float
    changed: int
    rows: int
    batch_sizes: tuple[int, ...]
    problems: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "max_abs_difference": self.max_abs_difference,
            "max_relative_difference": self.max_relative_difference,
            "changed": self.changed,
            "rows": self.rows,
            "batch_sizes": list(self.batch_sizes),
        }


def parity(
    predictor: Predictor,
    expected_NK: np.ndarray,
    columns: Mapping[str, Sequence[Any]],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    alone: int = 16,
) -> Parity:
    """Compares an artifact with the probabilities (or values) [N,K] that the trained model gave for the same rows.

    columns: the N rows' raw values. All rows are predicted at once and in batches of each size; in batches of 1 only
    the first `alone` rows are, to save time. Rows that cannot be read are left out.
    """
    expected_NK = np.asarray(expected_NK, np.float64).reshape(len(expected_NK), -1)
    num_rows = len(expected_NK)
    whole_NK, bad = predictor.values(columns, num_rows)
    readable_N = np.ones(num_rows, bool)
    readable_N[sorted({problem.row for problem in bad})] = False
    sizes = tuple(size for size in batch_sizes if size < num_rows)
    found = [(np.arange(num_rows), whole_NK)]
    for size in sizes:
        rows = np.arange(min(num_rows, alone) if size == 1 else num_rows)
        parts = []
        for start in range(0, len(rows), size):
            stop = min(start + size, len(rows))
            some = {name: values[start:stop] for name, values in columns.items()}
            parts.append(predictor.values(some, stop - start)[0])
        found.append((rows, np.concatenate(parts)))
    largest = relative = 0.0
    for rows, values_NK in found:
        some_N = readable_N[rows]
        difference_NK = np.abs(values_NK - expected_NK[rows])[some_N]
        scale_NK = np.maximum(1.0, np.abs(expected_NK[rows]))[some_N]
        if difference_NK.size:
            worst = float("inf") if not np.isfinite(difference_NK).all() else float(difference_NK.max())
            largest = max(largest, worst)
            relative = max(relative, worst if worst == float("inf") else float((difference_NK / scale_NK).max()))
    changed = 0
    if predictor.task != "regression":
        differ = predictor.decide(whole_NK) != predictor.decide(expected_NK)
        changed = int((differ if differ.ndim == 1 else differ.any(axis=1))[readable_N].sum())
    return Parity(largest, relative, changed, int(readable_N.sum()), (*sizes, num_rows), int((~readable_N).sum()))
