"""Kernel least squares: a radial-basis-function model on landmarks (Nyström), several L2 strengths from one pass.

With landmarks z and K_zz = L L^T the features are phi(x) = L^-1 k(z, x), of which the normal matrix is summed over
chunks of rows; each strength then costs one Cholesky factorisation. Whitened like this, float32 suffices.
See FALKON, https://arxiv.org/abs/1705.10958, for why some thousand landmarks are enough.

Shapes: N rows, D columns, M landmarks, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

CHUNK = 2048  # rows
JITTER = 1e-6  # of K_zz's diagonal, which is 1
SAMPLE = 1000  # rows whose distances give the median


@dataclass(frozen=True)
class KernelModel:
    """scores = exp(-gamma |x - center|^2) @ weights_MK + bias_K."""

    centers_MD: np.ndarray
    gamma: float
    weights_MK: np.ndarray
    bias_K: np.ndarray

    def scores(self, x_ND: np.ndarray) -> np.ndarray:
        """In float64 inside, as the exported graph is: weights of some hundreds nearly cancel."""
        scores_NK = np.zeros((len(x_ND), len(self.bias_K)), np.float32)
        for start in range(0, len(x_ND), CHUNK):
            rows = slice(start, start + CHUNK)
            near_NM = similarity(x_ND[rows].astype(np.float64), self.centers_MD.astype(np.float64), self.gamma)
            scores_NK[rows] = near_NM @ self.weights_MK
        return scores_NK + self.bias_K


def similarity(x_ND: np.ndarray, centers_MD: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma |x - center|^2) [N, M], as precise as what is given."""
    exponent_NM = x_ND @ (2.0 * gamma * centers_MD.T)
    exponent_NM -= gamma * np.square(x_ND).sum(axis=1, keepdims=True)
    exponent_NM -= gamma * np.square(centers_MD).sum(axis=1)
    np.minimum(exponent_NM, 0.0, out=exponent_NM)
    return np.exp(exponent_NM, out=exponent_NM)


def median_distance(x_ND: np.ndarray, rng: np.random.Generator) -> float:
    """The median distance between two different rows of a sample; 1 where more than half of them are equal."""
    sample_ND = x_ND[np.sort(rng.choice(len(x_ND), min(SAMPLE, len(x_ND)), replace=False))].astype(np.float64)
    norms = np.square(sample_ND).sum(axis=1)
    squares = norms[:, None] + norms[None, :] - 2.0 * sample_ND @ sample_ND.T
    upper = squares[np.triu_indices(len(sample_ND), 1)]
    median = float(np.sqrt(max(np.median(upper), 0.0))) if len(upper) else 0.0
    return median if median > 1e-6 else 1.0


def affordable_centers(wanted: int, num_rows: int, seconds: float, speed: float = 1.5e10) -> int:
    """How many landmarks can be fitted in about half of the seconds, at `speed` multiplications a second."""
    num_centers = min(wanted, num_rows)
    while num_centers > 100 and 2.0 * num_centers**2 * (num_rows + 2.0 * num_centers) > 0.5 * max(seconds, 0.0) * speed:
        num_centers = int(num_centers * 0.8)
    return num_centers


def path(
    x_ND: np.ndarray,
    target_NK: np.ndarray,
    weights_N: np.ndarray,
    length_scale: float,
    strengths: Sequence[float],
    num_centers: int,
    rng: np.random.Generator,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[float, KernelModel]]:
    """Yields (strength, model) for each L2 strength, of the mean squared error over rows weighted to a mean of 1.

    length_scale multiplies the median distance. Ends early when `should_stop` says so, but not before the first.
    """
    gamma = 0.5 / (length_scale * median_distance(x_ND, rng)) ** 2
    centers_MD = x_ND[np.sort(rng.choice(len(x_ND), min(num_centers, len(x_ND)), replace=False))]
    own_MM = similarity(centers_MD.astype(np.float64), centers_MD.astype(np.float64), gamma)
    own_MM[np.diag_indices_from(own_MM)] = 1.0 + JITTER
    lower_MM = cholesky(own_MM, lower=True, overwrite_a=True, check_finite=False)
    bias_K = np.average(target_NK, axis=0, weights=weights_N)
    normal_MM, right_MK = _normal_equations(
        x_ND, target_NK - bias_K, weights_N, centers_MD, gamma, lower_MM.astype(np.float32)
    )
    diagonal = np.diag_indices_from(normal_MM)
    plain_M = normal_MM[diagonal].copy()
    for strength in strengths:
        normal_MM[diagonal] = plain_M + strength * len(x_ND)
        inner_MK = cho_solve(cho_factor(normal_MM, lower=True, check_finite=False), right_MK, check_finite=False)
        outer_MK = solve_triangular(lower_MM, inner_MK, lower=True, trans="T", check_finite=False)
        yield strength, KernelModel(centers_MD, gamma, outer_MK.astype(np.float32), bias_K.astype(np.float32))
        if should_stop():
            return


def _normal_equations(
    x_ND: np.ndarray,
    target_NK: np.ndarray,
    weights_N: np.ndarray,
    centers_MD: np.ndarray,
    gamma: float,
    lower_MM: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over rows of phi phi^T [M, M] and of phi target^T [M, K], as float64."""
    normal_MM = np.zeros((len(centers_MD), len(centers_MD)), np.float64)
    right_MK = np.zeros((len(centers_MD), target_NK.shape[1]), np.float64)
    for start in range(0, len(x_ND), CHUNK):
        rows = slice(start, start + CHUNK)
        root_N1 = np.sqrt(weights_N[rows, None]).astype(np.float32)
        near_NM = similarity(x_ND[rows], centers_MD, gamma) * root_N1
        phi_MN = solve_triangular(lower_MM, near_NM.T, lower=True, overwrite_b=True, check_finite=False)
        normal_MM += phi_MN @ phi_MN.T
        right_MK += phi_MN @ (target_NK[rows] * root_N1).astype(np.float32)
    return normal_MM, right_MK
