"""A model of values: a Gaussian process over encoded configurations (https://gaussianprocess.org/gpml/).

cov(x, x') = a kx(x, x') + c + noise. kx is Matérn 5/2 with a length for each parameter. Its settings are the most
probable ones under log-normal priors; that of the lengths grows with the square root of the number of parameters, so
that many parameters do not make every place a stranger to all others (https://arxiv.org/abs/2402.02229).

Shapes: N observations, M points, C columns, P parameters, S settings.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from thrifty.core.errors import MissingExtraError
from thrifty.tuning.covariance import inverse_root, square_distance

JITTER = 1e-8
LEAST_VARIANCE = 1e-12
START_NOISE = 0.01
MOST_SPREADS = 6.0  # from the centre of a setting's prior
MOST_EXPONENT = 300.0
LOG_TWO_PI = math.log(2 * math.pi)


class ValueModel:
    """The process over standardised values. Raises MissingExtraError without scipy.

    settings_S: logarithms of the P lengths, then of a, c and the noise variance.
    """

    def __init__(self, parameter_C: np.ndarray, num_parameters: int) -> None:
        try:
            import scipy.optimize
        except ModuleNotFoundError as error:
            raise MissingExtraError("tuning by a model of the values", "tune", "scipy") from error
        self._optimize = scipy.optimize
        self._threads = import_module("threadpoolctl").ThreadpoolController() if find_spec("threadpoolctl") else None
        self.parameter_C, self.num_parameters = parameter_C, num_parameters
        length = np.log(0.7 * (num_parameters / 4) ** 0.5)
        self.prior_mean_S = np.r_[np.full(num_parameters, length), np.log([1.0, 1.0, 1e-5])]
        self.prior_spread_S = np.r_[np.full(num_parameters, 0.8), 1.0, 1.0, 3.0]
        ends = [self.prior_mean_S + k * self.prior_spread_S for k in (-MOST_SPREADS, MOST_SPREADS)]
        self._bounds = list(zip(*(end.tolist() for end in ends)))
        self.settings_S = self.prior_mean_S.copy()

    def one_thread(self) -> AbstractContextManager[object]:
        """Keeps BLAS to one thread, which is faster on small matrices; without threadpoolctl it changes nothing."""
        return nullcontext() if self._threads is None else self._threads.limit(limits=1, user_api="blas")

    def fit(self, x_NC: np.ndarray, y_N: np.ndarray, steps: int) -> None:
        """Moves the settings towards the most probable ones; they stay where they were when that fails.

        The noise starts from `START_NOISE` at least: below it is too small for its gradient to say anything.
        """
        start_S = np.r_[self.settings_S[:-1], max(self.settings_S[-1], math.log(START_NOISE))]
        found = self._optimize.minimize(
            self._loss,
            start_S,
            (x_NC, y_N),
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds,
            options={"maxiter": steps},
        )
        if np.isfinite(found.fun) and found.fun < 1e9:
            self.settings_S = found.x

    def condition(self, x_NC: np.ndarray, y_N: np.ndarray) -> None:
        """Takes in the observations that predictions build on; `observed_N` is what they are without their noise."""
        self._scale_C = np.exp(self.settings_S[: self.num_parameters])[self.parameter_C]
        self._a, self._c, noise = np.exp(self.settings_S[self.num_parameters :]).tolist()
        self._diagonal = noise + JITTER
        self._z_NC = x_NC / self._scale_C
        k_NN = self._covariance(self._z_NC, self._z_NC)
        self._root_NN = inverse_root(k_NN, self._diagonal)
        self._alpha_N = self._root_NN.T @ (self._root_NN @ y_N)
        self.observed_N = k_NN @ self._alpha_N

    def expect(self, x_MC: np.ndarray) -> np.ndarray:
        """Takes in points as if their values were those expected, and gives these [M]: no mean changes by it."""
        z_MC = x_MC / self._scale_C
        k_NM = self._covariance(self._z_NC, z_MC)
        v_NM = self._root_NN @ k_NM
        mean_M = k_NM.T @ self._alpha_N
        root_MM = inverse_root(self._covariance(z_MC, z_MC) - v_NM.T @ v_NM, self._diagonal)
        self._z_NC = np.vstack([self._z_NC, z_MC])
        upper_NM = np.zeros(v_NM.shape)
        self._root_NN = np.block([[self._root_NN, upper_NM], [-root_MM @ v_NM.T @ self._root_NN, root_MM]])
        self._alpha_N = np.r_[self._alpha_N, np.zeros(len(z_MC))]
        return mean_M

    def predict(self, x_MC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [M] of the noiseless values at `x_MC`."""
        k_NM = self._covariance(self._z_NC, x_MC / self._scale_C)
        v_NM = self._root_NN @ k_NM
        variance_M = self._a + self._c - (v_NM * v_NM).sum(0)
        return k_NM.T @ self._alpha_N, np.sqrt(np.maximum(variance_M, LEAST_VARIANCE))

    def gains_at(self, x_MC: np.ndarray, best: float) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm [M] of the expected improvement on `best` at some points, and its gradient [M, C].

        With s = (best - mean) / spread, E = spread (s Phi(s) + phi(s)), so dE = phi(s) d_spread - Phi(s) d_mean.
        """
        from scipy.special import log_ndtr

        d_MNC = (x_MC / self._scale_C)[:, None] - self._z_NC
        r_MN = np.sqrt(5 * np.einsum("mnc,mnc->mn", d_MNC, d_MNC))
        e_MN = self._a * np.exp(-r_MN)
        k_MN = (1 + r_MN + r_MN * r_MN / 3) * e_MN + self._c
        v_MN = k_MN @ self._root_NN.T
        spread_M = np.sqrt(np.maximum(self._a + self._c - np.einsum("mn,mn->m", v_MN, v_MN), LEAST_VARIANCE))
        s_M = (best - k_MN @ self._alpha_N) / spread_M
        gain_M = log_improvement(s_M)
        by_mean_M = np.exp(np.minimum(log_ndtr(s_M) - gain_M, MOST_EXPONENT)) / spread_M
        by_spread_M = np.exp(np.minimum(-0.5 * (s_M * s_M + LOG_TWO_PI) - gain_M, MOST_EXPONENT)) / spread_M**2
        by_k_MN = by_mean_M[:, None] * self._alpha_N + by_spread_M[:, None] * (v_MN @ self._root_NN)
        slope_MC = 5 / 3 * np.einsum("mn,mnc->mc", by_k_MN * (1 + r_MN) * e_MN, d_MNC) / self._scale_C
        return np.log(spread_M) + gain_M, slope_MC

    def _covariance(self, one_NC: np.ndarray, two_MC: np.ndarray) -> np.ndarray:
        """Of noiseless values, [N, M]; places are in lengths."""
        r_NM = square_distance(one_NC, two_MC)
        r_NM *= 5
        np.sqrt(r_NM, out=r_NM)
        e_NM = np.exp(-r_NM)
        e_NM *= self._a
        r_NM *= 1 + r_NM / 3
        r_NM += 1
        r_NM *= e_NM
        r_NM += self._c
        return r_NM

    def _loss(self, settings_S: np.ndarray, x_NC: np.ndarray, y_N: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior of the settings, and its gradient."""
        p = self.num_parameters
        z_NC = x_NC / np.exp(settings_S[:p])[self.parameter_C]
        a, c, noise = np.exp(settings_S[p:]).tolist()
        r_NN = np.sqrt(5 * square_distance(z_NC, z_NC))
        e_NN = np.exp(-r_NN)
        kx_NN = (1 + r_NN + r_NN * r_NN / 3) * e_NN
        k_NN = a * kx_NN + c
        k_NN[np.diag_indices(len(y_N))] += noise + JITTER
        try:
            chol_NN = np.linalg.cholesky(k_NN)
            inverse_NN = np.linalg.inv(k_NN)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(settings_S)
        alpha_N = inverse_NN @ y_N
        off_S = (settings_S - self.prior_mean_S) / self.prior_spread_S
        value = 0.5 * y_N @ alpha_N + np.log(np.diag(chol_NN)).sum() + 0.5 * (off_S**2).sum()
        w_NN = inverse_NN - np.outer(alpha_N, alpha_N)
        g_NN = w_NN * (a * 5 / 3) * (1 + r_NN) * e_NN
        by_column_C = g_NN.sum(1) @ (z_NC * z_NC) - (z_NC * (g_NN @ z_NC)).sum(0)
        gradient_S = np.empty_like(settings_S)
        gradient_S[:p] = np.bincount(self.parameter_C, by_column_C, p)
        gradient_S[p:] = 0.5 * a * (w_NN * kx_NN).sum(), 0.5 * c * w_NN.sum(), 0.5 * noise * np.trace(w_NN)
        return float(value), gradient_S + off_S / self.prior_spread_S


def log_expected_improvement(mean_M: np.ndarray, spread_M: np.ndarray, best: float) -> np.ndarray:
    """The logarithm of how far below `best` values are expected to fall, exact far above it too.

    There the improvement itself is 0 in floating point, and nothing says where to look (https://arxiv.org/abs/2310.20708).
    """
    return np.log(spread_M) + log_improvement((best - mean_M) / spread_M)


def log_improvement(s_M: np.ndarray) -> np.ndarray:
    """log(s Phi(s) + phi(s))."""
    from scipy.special import erfcx, ndtr

    near_M, far_M = np.maximum(s_M, -1.0), np.minimum(s_M, -1.0)
    log_near_M = np.log(near_M * ndtr(near_M) + np.exp(-0.5 * near_M * near_M) / math.sqrt(2 * math.pi))
    rest_M = 1 + math.sqrt(math.pi / 2) * far_M * erfcx(far_M / -math.sqrt(2))
    rest_M = np.where(far_M < -1e3, far_M**-2.0, np.maximum(rest_M, 1e-300))
    return np.where(s_M > -1, log_near_M, -0.5 * (far_M * far_M + LOG_TWO_PI) + np.log(rest_M))
