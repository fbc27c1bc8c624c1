"""First configurations from earlier studies: few, each good where those before it are not.

A forest for each earlier study says how good any configuration would have been there (0 its best value, 1 its median).
Of the best configurations of all studies the one is taken that lowers the mean over studies of the best so far the
most, and again: greedy portfolios, https://arxiv.org/abs/2007.04074. They are only tried first, so that earlier
studies that mislead cost those few starts and bias nothing after them.

Parameters are matched by name. What the earlier study has and the space has not is left out; what it lacks is at the
middle of its domain (the first option of a choice). A configuration outside the space is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.domain import Choice
from thrifty.core.errors import UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.encoding import Encoding
from thrifty.tuning.forest import grow
from thrifty.tuning.study import Study

MOST_FIRST = 5
MOST_OF_EACH = 8
LEAST_TRIALS = 4
NUM_TREES = 16
WORST = 2.0


def first_from(space: Space, folders: Sequence[str | Path], seed: int = 0) -> list[dict[str, Any]]:
    """Configurations of `space` to try first, by the studies in `folders`.

    Raises StoreError where there is no study, UsageError where one has no parameter of the space.
    """
    studies = []
    for folder in folders:
        study = Study.look(folder)
        if study.space is None or not set(study.space) & set(space):
            raise UsageError(f"the study in {folder} has none of the parameters {', '.join(space)}; leave it out")
        studies.append(study)
    return portfolio(space, studies, seed)


def portfolio(space: Space, studies: Sequence[Study], seed: int = 0) -> list[dict[str, Any]]:
    """At most five configurations, the most promising first; fewer when they would not add anything."""
    encoding = Encoding(space)
    known = [found for study in studies if len(found := _translated(space, study)) >= LEAST_TRIALS]
    pool = list(
        {space.key(c): c for found in known for c, _ in sorted(found, key=lambda f: f[1])[:MOST_OF_EACH]}.values()
    )
    if not pool:
        return []
    x_MC = encoding.columns(np.array([encoding.units(config) for config in pool]))
    rng = generator(seed, "warm start", len(pool))
    regret_SM = np.array([_regrets(encoding, found, x_MC, rng) for found in known])
    chosen: list[int] = []
    so_far_S = np.full(len(known), WORST)
    while len(chosen) < min(MOST_FIRST, len(pool)):
        mean_M = np.minimum(so_far_S[:, None], regret_SM).mean(0)
        mean_M[chosen] = np.inf
        best = int(np.argmin(mean_M))
        if mean_M[best] >= so_far_S.mean() - 1e-9:
            break
        chosen.append(best)
        so_far_S = np.minimum(so_far_S, regret_SM[:, best])
    return [pool[k] for k in chosen]


def _translated(space: Space, study: Study) -> list[tuple[dict[str, Any], float]]:
    """The earlier trials as configurations of `space`, each with its score (smaller is better) there.

    Those with a parent are left out: what came of them is of its configuration too.
    """
    found = []
    trials = [trial for trial in study.trials if trial.parent is None]
    deepest = max((t.epoch for t in trials), default=0)
    for trial in trials:
        value = study.value_of(trial)
        if value is None or (study.max_epochs is not None and trial.epoch * 4 < deepest):
            continue  # the value of a few epochs says nothing beside full ones
        config = _config(space, trial.config)
        if config is not None:
            found.append((config, study.score(value)))
    return found


def _config(space: Space, earlier: Mapping[str, Any]) -> dict[str, Any] | None:
    config: dict[str, Any] = {}
    for name in space.order:
        if space.active(name, config):
            domain = space[name]
            middle = domain.options[0] if isinstance(domain, Choice) else domain.from_unit(0.5)
            config[name] = earlier.get(name, middle)
    try:
        return space.validate(config)
    except UsageError:
        return None


def _regrets(
    encoding: Encoding, found: Sequence[tuple[dict[str, Any], float]], x_MC: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How good configurations would have been in one earlier study: 0 its best value, 1 its median, 2 at most."""
    x_NC = encoding.columns(np.array([encoding.units(config) for config, _ in found]))
    score_N = np.array([score for _, score in found])
    span = np.median(score_N) - score_N.min()
    y_N = np.minimum((score_N - score_N.min()) / (span or 1.0), WORST)
    return np.mean([grow(x_NC, y_N, rng).predict(x_MC) for _ in range(NUM_TREES)], 0)
