"""Which configuration of an arm to start next, from few trials: a model of their values around a first guess.

The first configuration was chosen by those who know the arm, so new ones are looked for around it and around the best
so far, and what is far from both must promise more. Of these the largest expected improvement is taken, by the Gaussian
process of `tuning.curves` with its prior settings: a handful of trials says nothing about them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thrifty.core.domain import Domain
from thrifty.core.space import Space
from thrifty.tuning.curves import CurveModel, Points, expected_improvement
from thrifty.tuning.encoding import Encoding

NUM_CANDIDATES = 300
SHARE_ANYWHERE = 0.1
BEST_FEW = 2
STEPS = (0.05, 0.3)  # sizes of steps, in units of a parameter's range
TRUST = 1.0  # how much worse, in spreads of the values, a configuration at the other end of every range is thought


def propose(
    space: Mapping[str, Domain],
    first: Mapping[str, Any],
    tried: Sequence[tuple[Mapping[str, Any], float | None]],
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """A configuration that was not tried, or None where none is found.

    first: the arm's first configuration. tried: configurations and their values, higher is better; None where a trial
    runs, -inf where it failed.
    """
    encoding = Encoding(Space.of(dict(space)))
    configs = [{name: config.get(name, first.get(name)) for name in space} for config, _ in tried]
    first_P = encoding.units({name: first[name] for name in space})
    tried_NP = np.array([encoding.units(config) for config in configs]).reshape(-1, len(first_P))
    value_N = np.array([math.nan if value is None else value for _, value in tried], float)
    known = np.flatnonzero(np.isfinite(value_N))
    best = known[np.argsort(-value_N[known], kind="stable")[:BEST_FEW]]
    units_MP = _candidates(encoding, np.vstack([first_P[None], tried_NP[best]]), rng)
    distance_M = _distance(encoding, units_MP, first_P)
    if len(known) < 2:
        gain_M = -np.abs(distance_M - np.median(distance_M))  # neither the same again nor far away
    else:
        gain_M = _gains(encoding, tried_NP, value_N, units_MP, first_P)
    for j in np.argsort(-gain_M, kind="stable"):
        config = encoding.config(units_MP[j])
        if config not in configs:
            return config
    return None


def _candidates(encoding: Encoding, base_BP: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Units of steps of several sizes from the bases, and some from anywhere."""
    near = round(NUM_CANDIDATES * (1 - SHARE_ANYWHERE))
    base_MP = base_BP[rng.integers(len(base_BP), size=near)]
    step_M = np.exp(rng.uniform(math.log(STEPS[0]), math.log(STEPS[1]), near))
    share_M = rng.choice([0.3, 0.6, 1.0], near)
    moved_MP = encoding.near(base_MP, rng, step_M, share_M)
    return encoding.settle(np.vstack([moved_MP, encoding.draw(rng, NUM_CANDIDATES - near)]))


def _gains(
    encoding: Encoding, tried_NP: np.ndarray, value_N: np.ndarray, units_MP: np.ndarray, first_P: np.ndarray
) -> np.ndarray:
    """Expected improvement of the candidates, in spreads of the values; a running trial is taken to be as expected."""
    finite = np.isfinite(value_N)
    spread = max(float(value_N[finite].std()), 1e-9)
    failed = value_N == -math.inf
    cost_N = (value_N[finite].max() - np.where(failed, value_N[finite].min(), value_N)) / spread + failed
    known = ~np.isnan(value_N)
    model = CurveModel(encoding.parameter_C, encoding.num_parameters)
    x_NC, x_MC = encoding.columns(tried_NP), encoding.columns(units_MP)
    far_N = TRUST * _distance(encoding, tried_NP, first_P)
    far_M = TRUST * _distance(encoding, units_MP, first_P)
    points = Points(x_NC, np.ones(len(x_NC)), np.arange(len(x_NC)))
    level = float(np.mean(cost_N[known] - far_N[known]))
    left_N = cost_N - far_N - level
    with model.one_thread():
        model.condition(points[known], left_N[known])
        if not known.all():
            left_N[~known] = model.predict(points[~known])[0]
            model.condition(points, left_N)
        mean_M, spread_M = model.predict(Points(x_MC, np.ones(len(x_MC)), np.full(len(x_MC), -1)))
    return expected_improvement(mean_M + far_M + level, spread_M, 0.0)


def _distance(encoding: Encoding, units_MP: np.ndarray, first_P: np.ndarray) -> np.ndarray:
    """Root mean square distance of configurations from the first one, in units of the ranges."""
    gap_MC = encoding.columns(units_MP) - encoding.columns(first_P[None])
    return np.sqrt((gap_MC**2).mean(axis=1))
