"""What the model of curves believed of a trial before it knew its end, worked out again from what was told.

For each of the deepest trials the model is given all others, and this one's first epochs alone, and says what value it
will reach by the epoch that it did reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thrifty.tuning.curves import CurveModel, Points
from thrifty.tuning.encoding import Encoding
from thrifty.tuning.trial import Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

MOST_TOLD = 24
MOST_TRIALS = 80
SPREADS = 1.645  # standard deviations on each side of a 90 % interval
STEPS = 30


@dataclass(frozen=True)
class Belief:
    """The value of `trial` at `epoch`, as predicted from its first `known` epochs, with a 90 % interval; what came."""

    trial: int
    known: int
    epoch: int
    low: float
    mean: float
    high: float
    came: float


def beliefs_of(study: Study) -> list[Belief]:
    """Beliefs about the trials that went furthest, by id; none with fewer than 6 trials. Needs scipy.

    Trials with a parent are left out: their curves are of its configuration too.
    """
    assert study.space is not None
    trials = [t for t in study.trials if study.value_of(t) is not None and t.parent is None]
    trials = sorted(trials, key=lambda t: (-t.epoch, t.id))[:MOST_TRIALS]
    if len(trials) < 6:
        return []
    last = study.max_epochs or 1
    encoding = Encoding(study.space)
    curves = {t.id: _best_so_far(study, t) for t in trials}
    rows = [(t.id, e, curves[t.id][e - 1]) for t in trials for e in _epochs(t.epoch) if curves[t.id][e - 1] < math.inf]
    who_N, epoch_N, score_N = (np.array(column) for column in zip(*rows))
    scale = _Scale(np.array([curves[t.id][-1] for t in trials]))
    y_N = scale.of(score_N)
    x_of = {t.id: encoding.columns(encoding.units(t.config)[None])[0] for t in trials}
    points = Points(np.array([x_of[w] for w in who_N.tolist()]), _time(epoch_N, last), who_N)
    model = CurveModel(encoding.parameter_C, encoding.num_parameters)
    told = []
    with model.one_thread():
        model.fit(points, y_N, STEPS)
        for trial in trials[:MOST_TOLD]:
            known = 0 if study.max_epochs is None else _epochs(trial.epoch)[1 if trial.epoch > 2 else 0]
            keep = np.flatnonzero((who_N != trial.id) | (epoch_N <= known))
            if trial.epoch == known or not len(keep):
                continue
            model.condition(points[keep], y_N[keep])
            there = Points(x_of[trial.id][None], _time(np.array([trial.epoch]), last), np.array([trial.id]))
            mean, spread = (float(v[0]) for v in model.predict(there))
            low, middle, high = (scale.back(mean + k * spread) for k in (-SPREADS, 0.0, SPREADS))
            low, high = sorted((study.score(low), study.score(high)))
            came = study.score(float(curves[trial.id][-1]))
            told.append(Belief(trial.id, known, trial.epoch, low, study.score(middle), high, came))
    return sorted(told, key=lambda belief: belief.trial)


class _Scale:
    """0 the best, 1 the median of the last values, what is worse by its logarithm; mean 0 and spread 1 then."""

    def __init__(self, last_N: np.ndarray) -> None:
        self.best, self.span = float(last_N.min()), float(np.median(last_N) - last_N.min()) or 1e-12
        squeezed = self._squeezed(last_N)
        self.centre, self.spread = float(squeezed.mean()), float(squeezed.std()) or 1.0

    def _squeezed(self, score_N: np.ndarray) -> np.ndarray:
        z_N = (score_N - self.best) / self.span
        return np.where(z_N > 1, 1 + np.log(np.maximum(z_N, 1)), z_N)

    def of(self, score_N: np.ndarray) -> np.ndarray:
        return (self._squeezed(score_N) - self.centre) / self.spread

    def back(self, y: float) -> float:
        z = y * self.spread + self.centre
        return self.best + self.span * (math.exp(min(z - 1, 50.0)) if z > 1 else z)


def _best_so_far(study: Study, trial: Trial) -> np.ndarray:
    if study.max_epochs is None:
        return np.array([study.score(trial.values[-1] or 0.0)])
    return np.minimum.accumulate([math.inf if v is None else study.score(v) for v in trial.values])


def _epochs(until: int) -> list[int]:
    """1, 2, 4, … and the last."""
    return sorted({2**k for k in range(12) if 2**k < until} | {until})


def _time(epoch_N: np.ndarray, last: int) -> np.ndarray:
    return np.log(epoch_N) / max(math.log(last), 1e-9)
