"""Permutation importance: what the metric loses when a column's cells change places among the rows.

Breiman 2001, "Random forests"; its intervals are paired bootstrap intervals of the difference. A column that says the
same as another one may seem to be of no use, for the model can do without either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from thrifty.evaluation.decisions import Decision
from thrifty.evaluation.findings import ImportanceFinding, Part
from thrifty.evaluation.intervals import difference
from thrifty.evaluation.metrics import METRICS

FEWEST_ROWS = 30
MOST_ROWS = 2000
MOST_REPEATS = 5
REPEATED_ROWS = 1000  # below so many rows, all of them are shuffled several times
NUM_RESAMPLES = 300

Shuffled = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""(columns, order [N]) to probabilities [N, K] or values [N] of all rows, these columns' cells in that order."""


def permutation_importance(
    shuffled: Shuffled,
    meanings: Mapping[str, str],
    part: Part,
    task: str,
    metric: str,
    *,
    decision: Decision | None = None,
    positive: int | None = None,
    seconds: float = 5.0,
    seed: int = 0,
) -> list[ImportanceFinding]:
    """How much each column, and all of a kind together where there are several, is worth; the most important first.

    meanings: of the columns that the model reads. seconds: more repeats are made while they last. Nothing where there
    is one column alone, fewer than FEWEST_ROWS rows, no time for each column once, or no value of the metric.
    """
    ends = time.monotonic() + seconds
    units = _units(meanings)
    num_rows = len(part.y)
    if not units or num_rows < FEWEST_ROWS:
        return []
    rng = np.random.default_rng(seed)
    rounds: list[list[np.ndarray]] = []
    began = time.monotonic()
    for _ in range(max(1, min(MOST_REPEATS, REPEATED_ROWS // num_rows))):
        order_N = rng.permutation(num_rows)
        outputs: list[np.ndarray] = []
        for _, _, names in units:
            if time.monotonic() > ends:
                break
            outputs.append(shuffled(names, order_N))
        if len(outputs) == len(units):
            rounds.append(outputs)
        if time.monotonic() + (time.monotonic() - began) / max(1, len(rounds)) > ends:
            break
    if not rounds:
        return []

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array] * len(rounds))

    y, before = repeated(part.y), repeated(part.outputs)
    weights = None if part.weights is None else repeated(part.weights)
    groups = repeated(np.arange(num_rows) if part.groups is None else part.groups)
    sign = METRICS[metric].sign
    found = []
    for place, (kind, name, _) in enumerate(units):
        after = np.concatenate([outputs[place] for outputs in rounds])
        change = difference(
            metric, task, y, before, after, decision=decision, other_decision=decision, weights=weights, groups=groups,
            positive=positive, seed=seed, num_resamples=NUM_RESAMPLES,
        )  # fmt: skip
        if not math.isfinite(change.value):
            return []
        low, high = sorted((sign * change.low, sign * change.high))
        found.append(ImportanceFinding(kind, name, sign * change.value, low, high))
    return sorted(found, key=lambda one: (one.kind != "kind", -one.value))


def _units(meanings: Mapping[str, str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, name, columns) of what is shuffled together: kinds of which there are several columns, and each column."""
    names = [name for name, meaning in meanings.items() if meaning != "ignored"]
    if len(names) < 2:
        return []
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_KINDS.get(meanings[name], "the table"), []).append(name)
    several = {kind: those for kind, those in kinds.items() if 1 < len(those) < len(names)}
    found = [("kind", kind, tuple(those)) for kind, those in several.items()]
    return [*found, *(("column", name, (name,)) for name in names)]


_KINDS = {"image": "all images", "text": "all texts", "audio": "all sounds"}
