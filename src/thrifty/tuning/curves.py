"""A model of learning curves: one Gaussian process over (configuration, epoch), shared by all trials.

cov((x, t), (x', t')) = kt(t, t') (a kx(x, x') + b [same trial] + c) + noise. kx is Matérn 5/2 with a length for each
parameter, kt Matérn 3/2 in the logarithm of the epoch, so that what one epoch says of the last is learned. Its settings
are the most probable ones under log-normal priors. The idea: https://arxiv.org/abs/1406.3896 and, of one joint process,
https://arxiv.org/abs/2404.16795.

Shapes: N observations, M points, C columns, P parameters, S settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from thrifty.core.errors import MissingExtraError
from thrifty.tuning.covariance import inverse_root, square_distance

JITTER = 1e-6


@dataclass(frozen=True)
class Points:
    """Places on curves: x_NC encoded configurations, u_N log(epoch) / log(last epoch), who_N the trial (-1: none)."""

    x_NC: np.ndarray
    u_N: np.ndarray
    who_N: np.ndarray

    def __len__(self) -> int:
        return len(self.u_N)

    def __getitem__(self, rows: Any) -> Points:
        return Points(self.x_NC[rows], self.u_N[rows], self.who_N[rows])


class CurveModel:
    """The process over curves in standardised values.

    settings_S: logarithms of the P lengths, then of a, b, c, the length in time, and the noise variance.
    """

    def __init__(self, parameter_C: np.ndarray, num_parameters: int) -> None:
        try:
            import scipy.optimize
        except ModuleNotFoundError as error:
            raise MissingExtraError("tuning by a model of the curves", "tune", "scipy") from error
        self._optimize = scipy.optimize
        self._threads = import_module("threadpoolctl").ThreadpoolController() if find_spec("threadpoolctl") else None
        self.parameter_C, self.num_parameters = parameter_C, num_parameters
        length = np.log(0.7 * (num_parameters / 4) ** 0.5)
        self.prior_mean_S = np.r_[np.full(num_parameters, length), np.log([0.7, 0.15, 0.3, 1.0, 0.003])]
        self.prior_spread_S = np.r_[np.full(num_parameters, 0.8), 0.7, 1.0, 1.0, 0.5, 1.0]
        self.settings_S = self.prior_mean_S.copy()

    def one_thread(self) -> AbstractContextManager[object]:
        """Keeps BLAS to one thread: on small matrices and busy cores two cost four times as much as one.

        Without threadpoolctl it changes nothing.
        """
        return nullcontext() if self._threads is None else self._threads.limit(limits=1, user_api="blas")

    @property
    def own_to_told(self) -> float:
        """The variance that is a trial's own, as a share of that which configurations tell; at most 1."""
        a, b = np.exp(self.settings_S[self.num_parameters : self.num_parameters + 2])
        return float(min(1.0, b / a))

    def fit(self, points: Points, y_N: np.ndarray, steps: int) -> None:
        """Moves the settings towards the most probable ones; they stay where they were when that fails."""
        found = self._optimize.minimize(
            self._loss, self.settings_S, (points, y_N), jac=True, method="L-BFGS-B", options={"maxiter": steps}
        )
        if np.isfinite(found.fun) and found.fun < 1e9:
            self.settings_S = found.x

    def condition(self, points: Points, y_N: np.ndarray) -> None:
        """Takes in the observations that predictions build on."""
        self._points, self._y_N = points, y_N
        k_NN = self._covariance(points, points)
        self._root_NN = inverse_root(k_NN, float(np.exp(self.settings_S[-1])) + JITTER)
        self._alpha_N = self._root_NN @ y_N

    def predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [M] of the noiseless values at `points`."""
        v_NM = self._root_NN @ self._covariance(self._points, points)
        prior = np.exp(self.settings_S[self.num_parameters : self.num_parameters + 3]).sum()
        return v_NM.T @ self._alpha_N, np.sqrt(np.maximum(prior - (v_NM * v_NM).sum(0), 1e-9))

    def _parts(self, settings_S: np.ndarray, one: Points, two: Points) -> tuple[Any, ...]:
        p = self.num_parameters
        scale_C = np.exp(settings_S[:p])[self.parameter_C]
        a, b, c, length, noise = np.exp(settings_S[p:])
        r_NM = np.sqrt(5 * square_distance(one.x_NC / scale_C, two.x_NC / scale_C))
        e_NM = np.exp(-r_NM)
        s_NM = 3**0.5 * np.abs(one.u_N[:, None] - two.u_N[None]) / length
        es_NM = np.exp(-s_NM)
        same_NM = (one.who_N[:, None] == two.who_N[None]) & (one.who_N >= 0)[:, None]
        kx_NM, kt_NM, slope_NM = (1 + r_NM + r_NM * r_NM / 3) * e_NM, (1 + s_NM) * es_NM, s_NM * s_NM * es_NM
        return kx_NM, kt_NM, slope_NM, same_NM, r_NM, e_NM, a, b, c, noise

    def _covariance(self, one: Points, two: Points) -> np.ndarray:
        kx_NM, kt_NM, _, same_NM, _, _, a, b, c, _ = self._parts(self.settings_S, one, two)
        return kt_NM * (a * kx_NM + b * same_NM + c)

    def _loss(self, settings_S: np.ndarray, points: Points, y_N: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior of the settings, and its gradient."""
        kx, kt, slope, same, r, e, a, b, c, noise = self._parts(settings_S, points, points)
        inner = a * kx + b * same + c
        k_NN = kt * inner
        k_NN[np.diag_indices(len(y_N))] += noise + JITTER
        try:
            chol_NN = np.linalg.cholesky(k_NN)
            inverse_NN = np.linalg.inv(k_NN)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(settings_S)
        alpha_N = inverse_NN @ y_N
        z_S = (settings_S - self.prior_mean_S) / self.prior_spread_S
        value = 0.5 * y_N @ alpha_N + np.log(np.diag(chol_NN)).sum() + 0.5 * (z_S**2).sum()
        w_NN = inverse_NN - np.outer(alpha_N, alpha_N)
        wt_NN = w_NN * kt
        g_NN = wt_NN * (a * 5 / 3) * (1 + r) * e
        p = self.num_parameters
        x_NC = points.x_NC / np.exp(settings_S[:p])[self.parameter_C]
        by_column_C = g_NN.sum(1) @ (x_NC * x_NC) - (x_NC * (g_NN @ x_NC)).sum(0)
        gradient_S = np.empty_like(settings_S)
        gradient_S[:p] = np.bincount(self.parameter_C, by_column_C, p)
        gradient_S[p : p + 3] = 0.5 * a * (wt_NN * kx).sum(), 0.5 * b * wt_NN[same].sum(), 0.5 * c * wt_NN.sum()
        gradient_S[p + 3 :] = 0.5 * (w_NN * slope * inner).sum(), 0.5 * noise * np.trace(w_NN)
        return float(value), gradient_S + z_S / self.prior_spread_S


def expected_improvement(mean: np.ndarray, spread: np.ndarray, best: float | np.ndarray) -> np.ndarray:
    """How far below `best` values of this mean and spread are expected to fall."""
    from scipy.special import ndtr

    s = (best - mean) / spread
    return spread * (s * ndtr(s) + np.exp(-0.5 * s * s) / (2 * np.pi) ** 0.5)


__all__: Sequence[str] = ("CurveModel", "Points", "expected_improvement")
