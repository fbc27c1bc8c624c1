"""Kernel least squares: a radial-basis-function model on landmarks (Nyström), several L2 strengths from one pass.

With landmarks z and K_zz = L L^T the features are phi(x) = L^-1 k(z, x), of which the normal matrix is summed over
chunks of rows; each strength then costs one Cholesky factorisation. Whitened like this, float32 suffices.
See FALKON, https://arxiv.org/abs/1705.10958, for why some thousand landmarks are enough. The axes that distances are
measured along can be learned, as recursive feature machines do, https://arxiv.org/abs/2212.13881: along what hardly
changes a first model's outputs, all rows are near to each other for a second one.

Shapes: N rows, D columns, P axes, M landmarks, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, eigh, solve_triangular

CHUNK = 2048  # rows
JITTER = 1e-6  # of K_zz's diagonal, which is 1
SAMPLE = 1000  # rows whose distances give the median
MAX_AXES = 256  # principal axes that wider rows are reduced to: on img_fashion 0.917 where all 899 columns gave 0.915
MAX_AXES_ROWS = 20_000  # rows that the axes are found from
FIT_SPEED = 0.55  # of the speed of a product of matrices
FIT_SHARE = 0.75  # of the seconds given, that the equations and some strengths should take
TURN_CENTERS = 500  # of the model whose gradients new axes are learned from
EVEN_SHARE = 0.1  # of the new axes' squared lengths, that is the same in all directions
MOST_GRADIENTS = 60_000  # that are looked at: rows times outputs


@dataclass(frozen=True)
class KernelModel:
    """scores = exp(-gamma |x axes_DP - center|^2) @ weights_MK + bias_K; no axes: x as it is. Arrays are float32."""

    axes_DP: np.ndarray | None
    centers_MP: np.ndarray
    gamma: float
    weights_MK: np.ndarray
    bias_K: np.ndarray

    def scores(self, x_ND: np.ndarray) -> np.ndarray:
        """float64 [N, K], as the exported graph computes it: weights of some hundreds nearly cancel."""
        scores_NK = np.zeros((len(x_ND), len(self.bias_K)))
        for start in range(0, len(x_ND), CHUNK):
            rows = slice(start, start + CHUNK)
            x_NP = along(x_ND[rows].astype(np.float64), self.axes_DP)
            scores_NK[rows] = similarity(x_NP, self.centers_MP.astype(np.float64), self.gamma) @ self.weights_MK
        return scores_NK + self.bias_K

    def products_of_gradients(self, x_NP: np.ndarray) -> np.ndarray:
        """The sum over outputs of gradient gradient^T along the axes, its mean over rows; float64 [P, P]."""
        total_PP, centers_MP = np.zeros((x_NP.shape[1], x_NP.shape[1])), self.centers_MP.astype(np.float64)
        for start in range(0, len(x_NP), CHUNK):
            part_NP = x_NP[start : start + CHUNK].astype(np.float64)
            near_NM = similarity(part_NP, centers_MP, self.gamma)
            for weights_M in self.weights_MK.T:
                pull_NM = near_NM * weights_M
                gradient_NP = pull_NM @ centers_MP - pull_NM.sum(axis=1, keepdims=True) * part_NP
                total_PP += gradient_NP.T @ gradient_NP
        return total_PP * (2.0 * self.gamma) ** 2 / max(len(x_NP), 1)


def along(x_ND: np.ndarray, axes_DP: np.ndarray | None) -> np.ndarray:
    return x_ND if axes_DP is None else x_ND @ axes_DP.astype(x_ND.dtype)


def principal_axes(x_ND: np.ndarray, num_axes: int = MAX_AXES) -> np.ndarray | None:
    """The directions of the largest spread, float32 [D, num_axes]; None where there are no more columns than that."""
    if x_ND.shape[1] <= num_axes:
        return None
    sample_ND = x_ND[:: max(1, len(x_ND) // MAX_AXES_ROWS)]
    centered_ND = sample_ND - sample_ND.mean(axis=0)
    _, axes_DD = eigh(centered_ND.T @ centered_ND, check_finite=False)
    return np.ascontiguousarray(axes_DD[:, ::-1][:, :num_axes], np.float32)


def similarity(x_NP: np.ndarray, centers_MP: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma |x - center|^2) [N, M], as precise as what is given."""
    exponent_NM = x_NP @ (2.0 * gamma * centers_MP.T)
    exponent_NM -= gamma * np.square(x_NP).sum(axis=1, keepdims=True)
    exponent_NM -= gamma * np.square(centers_MP).sum(axis=1)
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


def learned_axes(
    x_NP: np.ndarray,
    target_NK: np.ndarray,
    weights_N: np.ndarray,
    length: float,
    strength: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """New axes, float32 [P, P]: the root of the mean product of gradients of a model on a few landmarks.

    Directions in which that model's outputs change most become the longest ones; the squares of the lengths have a mean
    of 1, of which EVEN_SHARE is the same in all directions. Axes stay as they are where outputs do not change or no row
    has weight. length, strength: see `Equations`.
    """
    same_PP = np.eye(x_NP.shape[1], dtype=np.float32)
    seen = np.flatnonzero(weights_N)
    if not len(seen):
        return same_PP
    equations = Equations.of(x_NP[seen], None, target_NK[seen], weights_N[seen], length, TURN_CENTERS, rng)
    most = max(1, MOST_GRADIENTS // target_NK.shape[1])
    products_PP = equations.model(strength).products_of_gradients(x_NP[rng.permutation(seen)[:most]])
    mean = float(np.trace(products_PP)) / len(products_PP)
    if not 0.0 < mean < math.inf:
        return same_PP
    products_PP = (1.0 - EVEN_SHARE) * products_PP / mean + EVEN_SHARE * same_PP
    squares_P, axes_PP = eigh(products_PP, check_finite=False)
    return ((axes_PP * np.sqrt(np.maximum(squares_P, 0.0))) @ axes_PP.T).astype(np.float32)


def affordable_centers(wanted: int, num_rows: int, seconds: float, speed: float) -> int:
    """How many landmarks can be fitted in most of the seconds, where products run at `speed` operations a second."""
    num_centers = min(wanted, num_rows)
    if seconds == math.inf:
        return num_centers
    most = FIT_SHARE * max(seconds, 0.0) * FIT_SPEED * speed
    while num_centers > 100 and 2.0 * num_centers**2 * (num_rows + 2.0 * num_centers) > most:
        num_centers = int(num_centers * 0.9)
    return num_centers


@dataclass(frozen=True)
class Equations:
    """The normal equations of rows seen through landmarks, for every L2 strength."""

    axes_DP: np.ndarray | None
    centers_MP: np.ndarray
    gamma: float
    bias_K: np.ndarray
    num_rows: int
    lower_MM: np.ndarray
    normal_MM: np.ndarray
    right_MK: np.ndarray

    @classmethod
    def of(
        cls,
        x_NP: np.ndarray,
        axes_DP: np.ndarray | None,
        target_NK: np.ndarray,
        weights_N: np.ndarray,
        length: float,
        num_centers: int,
        rng: np.random.Generator,
    ) -> Equations:
        """x_NP: rows along the axes. length: the distance of a similarity of exp(-0.5). Landmarks are random rows."""
        gamma = 0.5 / length**2
        centers_MP = x_NP[np.sort(rng.choice(len(x_NP), min(num_centers, len(x_NP)), replace=False))]
        own_MM = similarity(centers_MP.astype(np.float64), centers_MP.astype(np.float64), gamma)
        own_MM[np.diag_indices_from(own_MM)] = 1.0 + JITTER
        lower_MM = cholesky(own_MM, lower=True, overwrite_a=True, check_finite=False)
        bias_K = np.average(target_NK, axis=0, weights=weights_N)
        normal_MM, right_MK = _normal_equations(
            x_NP, target_NK - bias_K, weights_N, centers_MP, gamma, lower_MM.astype(np.float32)
        )
        return cls(axes_DP, centers_MP, gamma, bias_K, len(x_NP), lower_MM, normal_MM, right_MK)

    def model(self, strength: float) -> KernelModel:
        """The model with an L2 strength, of the mean squared error over rows weighted to a mean of 1."""
        inner_MK = _solved(self.normal_MM, self.right_MK, strength * self.num_rows)
        outer_MK = solve_triangular(self.lower_MM, inner_MK, lower=True, trans="T", check_finite=False)
        bias_K = self.bias_K.astype(np.float32)
        return KernelModel(self.axes_DP, self.centers_MP, self.gamma, outer_MK.astype(np.float32), bias_K)


def _solved(normal_MM: np.ndarray, right_MK: np.ndarray, ridge: float) -> np.ndarray:
    """(normal + ridge I)^-1 right. Where float32's noise makes that indefinite the ridge grows until it is not."""
    while True:
        ridged_MM = normal_MM.copy()
        ridged_MM[np.diag_indices_from(ridged_MM)] += ridge
        try:
            factor = cho_factor(ridged_MM, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            ridge = max(4.0 * ridge, 1e-9 * float(np.trace(normal_MM)))
            continue
        return cho_solve(factor, right_MK, check_finite=False)


def _normal_equations(
    x_NP: np.ndarray,
    target_NK: np.ndarray,
    weights_N: np.ndarray,
    centers_MP: np.ndarray,
    gamma: float,
    lower_MM: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over rows of phi phi^T [M, M] and of phi target^T [M, K], as float64."""
    normal_MM = np.zeros((len(centers_MP), len(centers_MP)), np.float64)
    right_MK = np.zeros((len(centers_MP), target_NK.shape[1]), np.float64)
    for start in range(0, len(x_NP), CHUNK):
        rows = slice(start, start + CHUNK)
        root_N1 = np.sqrt(weights_N[rows, None]).astype(np.float32)
        near_NM = similarity(x_NP[rows], centers_MP, gamma) * root_N1
        phi_MN = solve_triangular(lower_MM, near_NM.T, lower=True, overwrite_b=True, check_finite=False)
        normal_MM += phi_MN @ phi_MN.T
        right_MK += phi_MN @ (target_NK[rows] * root_N1).astype(np.float32)
    return normal_MM, right_MK
