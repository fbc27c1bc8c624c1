"""Bayesian optimization: a Gaussian process of the values says where the largest improvement is expected.

After a few Sobol points each proposal is the configuration of the largest expected improvement among random ones and
steps of many sizes round the best, the likeliest of them moved uphill by its gradient where parameters are real
numbers. Values are told to the model by their distance to the best, what is worse than the median by the logarithm.
Failed trials count as worse than the worst, running ones as what the model expects of them.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.errors import MissingExtraError
from thrifty.core.seeds import generator
from thrifty.core.space import Float, When
from thrifty.tuning.encoding import Encoding
from thrifty.tuning.policies.random import Fresh, Straight, space_of
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policies.told import Told
from thrifty.tuning.values import ValueModel, log_expected_improvement

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

FITTED = "value_model_fitted"
START = 5  # trials with a value before there is a model
ALWAYS_FITTED = 100  # up to so many values it is fitted anew at each proposal,
GROWTH = 1.05  # then when there are so many times as many
FIT_STEPS = 20
CANDIDATES = 600  # half of them random, half near the ELITE best trials
ELITE = 10
CLIMBED = 3  # the likeliest of them that are moved uphill
CLIMB_STEPS = 20
CLIMB_GAIN = 1e-4  # of the logarithm of the improvement, with which a step is the last
MOST_OBSERVED = 150  # what the model takes in, which bounds its cost
MOST_PENDING = 32


class GaussianProcess:
    """The source of configurations. Raises MissingExtraError without scipy."""

    name = "gaussian-process"

    def __init__(self) -> None:
        if find_spec("scipy") is None:
            raise MissingExtraError("a policy that learns", "tune", "scipy")
        self._fresh, self._start = Fresh(), Sobol()
        self._seen: _Seen | None = None

    def draw(self, study: Study) -> dict[str, Any] | None:
        """A configuration that no trial has had; None when there is none left."""
        if self._seen is None:
            self._seen = _Seen(study)
        seen = self._seen
        seen.observe(study)
        if np.isfinite(seen.score_N).sum() < START:
            return self._start.draw(study)
        rng = generator(study.seed, self.name, study.num_proposals)
        with seen.model.one_thread():
            units_MP = seen.proposals(study, rng)
        for units_P in units_MP:
            config = seen.encoding.config(units_P)
            if not study.seen(config):
                return config
        return self._fresh.draw(study, rng)


class Bayesian(Straight):
    """Runs each configuration of the Gaussian process to its end."""

    takes_new_scores = True

    def __init__(self) -> None:
        super().__init__(GaussianProcess())


class _Seen:
    """What the source keeps of a study between proposals; made anew from the same study it is the same.

    score_N is smaller where better, NaN while it is not known, and infinite of a failure; it has room for more trials.
    """

    def __init__(self, study: Study) -> None:
        self.encoding = Encoding(space_of(study))
        self.model = ValueModel(self.encoding.parameter_C, self.encoding.num_parameters)
        self.score_N = np.empty(0)
        self._units_NP = np.empty((0, self.encoding.num_parameters))
        self._x_NC = np.empty((0, len(self.encoding.parameter_C)))
        self._told = Told()
        self._num_trials = self._num_fitted = 0
        self._real = _real(self.encoding)
        for event in study.events():
            if event.kind == FITTED:
                self._num_fitted = event.payload["observations"]
                self.model.settings_S = np.array(event.payload["settings"])

    def observe(self, study: Study) -> None:
        """Takes in the trials that changed; all of them when scores are of another epoch than before."""
        if study.num_trials > len(self.score_N):
            for name in ("score_N", "_units_NP", "_x_NC"):
                held = getattr(self, name)
                room = np.full((max(64, study.num_trials), *held.shape[1:]), np.nan)
                setattr(self, name, np.concatenate([held, room]))
        new = slice(self._num_trials, study.num_trials)
        for ident in range(study.num_trials)[new]:
            self._units_NP[ident] = self.encoding.units(study.trial(ident).config)
        self._x_NC[new] = self.encoding.columns(self._units_NP[new])
        self._num_trials = study.num_trials
        changed, _ = self._told.changes(study)
        for ident in changed:
            score = self._told.score(study, study.trial(ident))
            self.score_N[ident] = math.nan if score is None else score

    def proposals(self, study: Study, rng: np.random.Generator) -> np.ndarray:
        """Units of configurations, the most promising first."""
        known = np.flatnonzero(~np.isnan(self.score_N))
        order = known[np.argsort(self.score_N[known], kind="stable")]
        rows = _spread_over(order, MOST_OBSERVED)
        x_NC, y_N = self._x_NC[rows], _standardised(self.score_N[rows])
        growth = 1.0 if len(known) <= ALWAYS_FITTED else GROWTH
        if len(known) >= self._num_fitted * growth + 1:
            self.model.fit(x_NC, y_N, FIT_STEPS)
            self._num_fitted = len(known)
            study.record(FITTED, observations=len(known), settings=self.model.settings_S.tolist())
        self.model.condition(x_NC, y_N)
        best = float(self.model.observed_N.min())
        pending = np.array(study.running[-MOST_PENDING:], int)
        if len(pending):
            best = min(best, float(self.model.expect(self._x_NC[pending]).min()))
        units_MP = self._candidates(order[:ELITE], rng)
        gain_M = log_expected_improvement(*self.model.predict(self.encoding.columns(units_MP)), best)
        units_MP = units_MP[np.argsort(-gain_M, kind="stable")]
        return np.vstack([self._climbed(units_MP[:CLIMBED], best), units_MP])

    def _candidates(self, elite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Units of random configurations, and of steps of many sizes round the best trials."""
        count = CANDIDATES // 2
        base_MP = self._units_NP[elite[rng.integers(len(elite), size=count)]]
        step_M = 10 ** rng.uniform(-3, -0.3, count)
        share_M = rng.choice([1, 2 / base_MP.shape[1], 0.5], count)
        drawn_MP = np.vstack([self.encoding.draw(rng, count), self.encoding.near(base_MP, rng, step_M, share_M)])
        return self.encoding.settle(drawn_MP)

    def _climbed(self, units_MP: np.ndarray, best: float) -> np.ndarray:
        """The rows with their real numbers moved to where the improvement is largest nearby, the best row first.

        They climb side by side, as one point of the sum of their logarithms.
        """
        from scipy.optimize import minimize

        x_MC, moved_MP = self.encoding.columns(units_MP), units_MP.copy()
        there = [(i, p, c) for i in range(len(units_MP)) for p, c in self._real if not math.isnan(units_MP[i, p])]
        if there:
            rows, parameters, columns = map(list, zip(*there))

            def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
                x_MC[rows, columns] = at
                gain_M, slope_MC = self.model.gains_at(x_MC, best)
                return -float(gain_M.sum()), -slope_MC[rows, columns]

            found = minimize(
                loss,
                x_MC[rows, columns],
                jac=True,
                method="L-BFGS-B",
                bounds=[(0, 1)] * len(there),
                options={"maxiter": CLIMB_STEPS, "ftol": CLIMB_GAIN},
            )
            x_MC[rows, columns] = moved_MP[rows, parameters] = np.clip(found.x, 0, 1)
        gain_M, _ = self.model.gains_at(x_MC, best)
        return self.encoding.settle(moved_MP[np.argsort(-gain_M, kind="stable")])


def _real(encoding: Encoding) -> list[tuple[int, int]]:
    """The parameters that may be moved by any amount, each with its column: real numbers that no condition names."""
    named = {p for entry in encoding.space.entries.values() if isinstance(entry, When) for p, _ in entry.conditions}
    columns = np.searchsorted(encoding.parameter_C, np.arange(encoding.num_parameters)).tolist()
    return [
        (i, columns[i])
        for i, (name, domain) in enumerate(encoding.space.items())
        if isinstance(domain, Float) and domain.size is None and name not in named
    ]


def _spread_over(order: np.ndarray, most: int) -> np.ndarray:
    """At most about `most` trials in the order of their ids: the best ones, and of the rest every so many."""
    if len(order) <= most:
        return np.sort(order)
    rest = order[most // 2 :]
    return np.sort(np.r_[order[: most // 2], rest[:: math.ceil(len(rest) / (most // 2))]])


def _standardised(score_N: np.ndarray) -> np.ndarray:
    """Scores with mean 0 and spread 1, those beyond the median by the logarithm; a failure is one above the worst."""
    failed_N = np.isinf(score_N)
    low = score_N.min()
    above = score_N[score_N > low]
    middle = np.median(score_N)
    span = (middle if low < middle < math.inf else above.min(initial=math.inf)) - low
    z_N = (np.where(failed_N, score_N[~failed_N].max(), score_N) - low) / (span if span < math.inf else 1.0)
    z_N = np.where(z_N > 1, 1 + np.log(np.maximum(z_N, 1)), z_N) + failed_N
    return (z_N - z_N.mean()) / (z_N.std() + 1e-9)
