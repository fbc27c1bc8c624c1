"""Rows of which most numbers are zero.

Shapes: N rows, Z numbers that are not zero, K of them in the fullest row.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A matrix [N, num_columns] in compressed rows: row i has `values` float32 at `indices` int32 from indptr[i] on.

    Indices rise within a row. indptr is int64 [N+1].
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    num_columns: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: np.ndarray) -> "SparseRows":
        """The given rows, in their order."""
        lengths_N = np.diff(self.indptr)[rows]
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths_N, out=indptr[1:])
        where_Z = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][rows] - indptr[:-1], lengths_N)
        return SparseRows(indptr, self.indices[where_Z], self.values[where_Z], self.num_columns)

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """`indices` int64 [N,K] and `weights` float32 [N,K], with zeros after each row's end."""
        lengths_N = np.diff(self.indptr)
        widest = max(1, int(lengths_N.max(initial=0)))
        indices_NK = np.zeros((len(self), widest), np.int64)
        weights_NK = np.zeros((len(self), widest), np.float32)
        inside_NK = np.arange(widest) < lengths_N[:, None]
        indices_NK[inside_NK] = self.indices
        weights_NK[inside_NK] = self.values
        return indices_NK, weights_NK

    def dense(self) -> np.ndarray:
        """The whole matrix, float32 [N, num_columns]."""
        dense = np.zeros((len(self), self.num_columns), np.float32)
        dense[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.values
        return dense
