"""How much each parameter of a space matters to the metric: shares of the variance that forests of trees explain.

A forest learns the metric from configuration and epoch. The share of a parameter is its total effect at the last epoch
(how much the forest's answer changes when this parameter alone is drawn anew, interactions included:
https://doi.org/10.1016/S0010-4655(98)00154-4), divided by the sum over all parameters. Forests on other draws of the
trials give the interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from thrifty.core.errors import UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.encoding import Encoding
from thrifty.tuning.forest import Tree, grow

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

NUM_FORESTS, NUM_TREES = 16, 8
NUM_POINTS = 256
MOST_TRIALS = 300
LEAST_TRIALS = 10
LEAST_EXPLAINED = 0.15


class Importance(dict[str, float]):
    """{parameter: share}, largest first, summing to 1; empty where it cannot be told, and `why` says why.

    low, high: the 90 % interval of each share. explained: the share of the variance between trials that forests
    explain of trials that they have not seen, at most 1.
    """

    def __init__(self, shares: dict[str, float], low: dict[str, float], high: dict[str, float], explained: float,
                 why: str = "") -> None:  # fmt: skip
        super().__init__(shares)
        self.low, self.high, self.explained, self.why = low, high, explained, why


def importance_of(study: Study) -> Importance:
    """The importance of each parameter of a study's space. Raises UsageError when it has none."""
    if study.space is None:
        raise UsageError("this study has no space, so no parameters to tell the importance of")
    encoding = Encoding(Space(study.space.entries))  # constraints say what is tried, not what acts
    names = [name for name, domain in study.space.items() if domain.size != 1]
    own = [trial for trial in study.trials if trial.parent is None]  # a child's value is of its parent's training too
    known = [trial for trial in own if study.value_of(trial) is not None][:: _every(len(own))]
    least = max(LEAST_TRIALS, 3 * len(names))
    if len(known) < least:
        which = "" if len(own) == study.num_trials else " that began without a parent"
        return _unknown(
            f"{len(known)} trials{which} have a value; at least {least} are needed for {len(names)} parameters"
        )
    who_N, epoch_N, y_N = _observations(study, [trial.id for trial in known])
    if np.ptp(y_N) == 0:
        return _unknown("all trials have the same value")
    unit_of = {trial.id: encoding.units(trial.config) for trial in known}
    x_NC = encoding.columns(np.array([unit_of[who] for who in who_N.tolist()]))
    x_NC = np.column_stack([x_NC, _time(study, epoch_N)])
    rng = generator(study.seed, "importance", len(known))
    points = _Points(encoding, rng)
    shares_FP, unseen_N, times_N = [], np.zeros(len(y_N)), np.zeros(len(y_N))
    for _ in range(NUM_FORESTS):
        trees, unseen = _forest(x_NC, y_N, who_N, rng)
        effect_P = points.effects(trees)
        shares_FP.append(effect_P / (effect_P.sum() or 1.0))
        rows = np.flatnonzero(unseen)
        unseen_N[rows] += np.mean([tree.predict(x_NC[rows]) for tree in trees], 0)
        times_N[rows] += 1
    seen = times_N > 0
    rest = y_N[seen] - unseen_N[seen] / times_N[seen]
    explained = float(1 - (rest**2).mean() / y_N[seen].var()) if seen.any() and y_N[seen].var() > 0 else 0.0
    if explained < LEAST_EXPLAINED:
        return _unknown(
            f"what a model learns from {len(known)} trials explains {100 * max(0.0, explained):.0f} % of the "
            "differences between trials that it has not seen, too little to say what causes them",
            explained,
        )
    shares = np.array(shares_FP)
    mean_P, (low_P, high_P) = shares.mean(0), np.quantile(shares, [0.05, 0.95], axis=0)
    at = {name: i for i, name in enumerate(study.space)}
    order = sorted(names, key=lambda name: -mean_P[at[name]])
    return Importance(
        {name: float(mean_P[at[name]]) for name in order},
        {name: float(low_P[at[name]]) for name in order},
        {name: float(high_P[at[name]]) for name in order},
        explained,
    )


class _Points:
    """Random configurations, and for each parameter the same ones with that parameter drawn anew."""

    def __init__(self, encoding: Encoding, rng: np.random.Generator) -> None:
        self.count = encoding.num_parameters
        drawn, other = encoding.draw(rng, NUM_POINTS), encoding.draw(rng, NUM_POINTS)
        parts = [drawn]
        for i in range(self.count):
            changed = drawn.copy()
            changed[:, i] = other[:, i]
            parts.append(changed)
        x_MC = encoding.columns(encoding.settle(np.vstack(parts)))
        self.x_MC = np.column_stack([x_MC, np.ones(len(x_MC))])

    def effects(self, trees: list[Tree]) -> np.ndarray:
        """The total effect [P] of each parameter on the trees' mean."""
        f_PM = np.mean([tree.predict(self.x_MC) for tree in trees], 0).reshape(self.count + 1, NUM_POINTS)
        return 0.5 * ((f_PM[1:] - f_PM[0]) ** 2).mean(1)


def _every(num_trials: int) -> int:
    return max(1, math.ceil(num_trials / MOST_TRIALS))


def _observations(study: Study, trials: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trial, epoch and best score so far at epochs 1, 2, 4, … and the last of each; what is far out is moved in."""
    rows = []
    for ident in trials:
        values = study.trial(ident).values
        if study.max_epochs is None:
            rows.append((ident, 1, study.score(study.value_of(study.trial(ident)) or 0.0)))
            continue
        best = np.minimum.accumulate([math.inf if v is None else study.score(v) for v in values])
        epochs = {2**k for k in range(12) if 2**k < len(values)} | {len(values)}
        rows += [(ident, epoch, best[epoch - 1]) for epoch in sorted(epochs) if best[epoch - 1] < math.inf]
    who_N, epoch_N, y_N = (np.array(column) for column in zip(*rows))
    low, high = np.quantile(y_N, [0.25, 0.75])
    return who_N, epoch_N, np.minimum(y_N, high + 1.5 * (high - low)) if high > low else y_N


def _time(study: Study, epoch_N: np.ndarray) -> np.ndarray:
    return np.log(epoch_N) / max(math.log(study.max_epochs or 1), 1e-9)


def _forest(
    x_NC: np.ndarray, y_N: np.ndarray, who_N: np.ndarray, rng: np.random.Generator
) -> tuple[list[Tree], np.ndarray]:
    """Trees on trials drawn with replacement, and which observations [N] are of trials that were not drawn."""
    trials = np.unique(who_N)
    drawn = rng.choice(trials, len(trials))
    rows_of = {ident: np.flatnonzero(who_N == ident) for ident in np.unique(drawn).tolist()}
    rows = np.concatenate([rows_of[ident] for ident in drawn.tolist()])
    return [grow(x_NC[rows], y_N[rows], rng) for _ in range(NUM_TREES)], ~np.isin(who_N, drawn)


def _unknown(why: str, explained: float = 0.0) -> Importance:
    return Importance({}, {}, {}, explained, why)
