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
        """Takes in the observations that predictions build on."""
        self._scale_C = np.exp(self.settings_S[: self.num_parameters])[self.parameter_C]
        self._a, self._c, noise = np.exp(self.settings_S[self.num_parameters :]).tolist()
        self._z_NC = x_NC / self._scale_C
        k_NN = self._covariance(self._z_NC)
        self._root_NN = inverse_root(k_NN, noise + JITTER)
        self._alpha_N = self._root_NN.T @ (self._root_NN @ y_N)

    def predict(self, x_MC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [M] of the noiseless values at `x_MC`."""
        k_NM = self._covariance(x_MC / self._scale_C)
        v_NM = self._root_NN @ k_NM
        variance_M = self._a + self._c - (v_NM * v_NM).sum(0)
        return k_NM.T @ self._alpha_N, np.sqrt(np.maximum(variance_M, LEAST_VARIANCE))

    def gain_at(self, x_C: np.ndarray, best: float) -> tuple[float, np.ndarray]:
        """The logarithm of the expected improvement on `best` at one point, and its gradient [C].

        With s = (best - mean) / spread, E = spread (s Phi(s) + phi(s)), so dE = phi(s) d_spread - Phi(s) d_mean.
        """
        from scipy.special import log_ndtr

        d_NC = x_C / self._scale_C - self._z_NC
        r_N = np.sqrt(5 * (d_NC * d_NC).sum(1))
        e_N = np.exp(-r_N)
        k_N = self._a * (1 + r_N + r_N * r_N / 3) * e_N + self._c
        dk_NC = (-self._a * 5 / 3 * (1 + r_N) * e_N)[:, None] * d_NC / self._scale_C
        v_N = self._root_NN @ k_N
        mean = float(k_N @ self._alpha_N)
        spread = math.sqrt(max(self._a + self._c - float(v_N @ v_N), LEAST_VARIANCE))
        gain = float(log_expected_improvement(np.array([mean]), np.array([spread]), best)[0])
        s = (best - mean) / spread
        by_mean = math.exp(min(float(log_ndtr(s)) - gain, MOST_EXPONENT))
        by_spread = math.exp(min(-0.5 * (s * s + math.log(2 * math.pi)) - gain, MOST_EXPONENT)) / spread
        return gain, -by_mean * (self._alpha_N @ dk_NC) - by_spread * ((v_N @ self._root_NN) @ dk_NC)

    def _covariance(self, z_MC: np.ndarray) -> np.ndarray:
        r_NM = np.sqrt(5 * square_distance(self._z_NC, z_MC))
        return self._a * (1 + r_NM + r_NM * r_NM / 3) * np.exp(-r_NM) + self._c

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
    from scipy.special import erfcx, ndtr

    s_M = (best - mean_M) / spread_M
    near_M = np.maximum(s_M, -1.0)
    log_near_M = np.log(near_M * ndtr(near_M) + np.exp(-0.5 * near_M**2) / math.sqrt(2 * math.pi))
    u_M = np.maximum(-s_M, 1.0)
    rest_M = np.where(u_M > 1e3, u_M**-2.0, 1 - math.sqrt(math.pi / 2) * u_M * erfcx(u_M / math.sqrt(2)))
    log_far_M = -0.5 * u_M**2 - 0.5 * math.log(2 * math.pi) + np.log(np.maximum(rest_M, 1e-300))
    return np.log(spread_M) + np.where(s_M > -1, log_near_M, log_far_M)
