"""What Gaussian processes compute with."""

from __future__ import annotations

import numpy as np


def inverse_root(k_NN: np.ndarray, diagonal: float) -> np.ndarray:
    """The inverse of k_NN's Cholesky factor, with `diagonal` added to its diagonal or as much more as it takes."""
    for more in (0.0, 1e-6, 1e-4, 1e-2):
        try:
            return np.linalg.inv(np.linalg.cholesky(k_NN + (diagonal + more) * np.eye(len(k_NN))))
        except np.linalg.LinAlgError:
            continue
    return np.linalg.inv(np.linalg.cholesky(k_NN + (diagonal + 1) * np.eye(len(k_NN))))


def square_distance(one_NC: np.ndarray, two_MC: np.ndarray) -> np.ndarray:
    """The squares [N, M] of the distances between rows."""
    squares = (one_NC * one_NC).sum(1)[:, None] + (two_MC * two_MC).sum(1)[None]
    return np.maximum(squares - 2 * one_NC @ two_MC.T, 0)
