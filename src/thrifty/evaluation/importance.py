"""Permutation importance: what the metric loses when a column's cells change places among the rows.

Breiman 2001, "Random forests"; its intervals are paired bootstrap intervals of the difference. A column that says the
same as another one may seem to be of no use, for the model can do without either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thrifty.evaluation.decisions import Decision
from thrifty.evaluation.findings import ImportanceFinding, Part
from thrifty.evaluation.intervals import difference
from thrifty.evaluation.metrics import METRICS

FEWEST_ROWS = 30
MOST_ROWS = 2000
MOST_REPEATS = 5
NUM_RESAMPLES = 300

Predict = Callable[[Mapping[str, Sequence[Any]], int], np.ndarray]
"""Raw columns and how many rows they have, to probabilities [N, K] or values [N]."""


def permutation_importance(
    predict: Predict,
    columns: Mapping[str, Sequence[Any]],
    meanings: Mapping[str, str],
    part: Part,
    task: str,
    metric: str,
    *,
    decision: Decision | None = None,
    positive: int | None = None,
    row_seconds: float = 0.0,
    seconds: float = 5.0,
    seed: int = 0,
) -> list[ImportanceFinding]:
    """How much each column, and each kind of column where there are several, is worth; the most important first.

    columns: the raw cells of the part's rows, by name. meanings: of the columns that the model reads. row_seconds: what
    a row costs to predict; so many rows are taken, at random, as there are `seconds` for. Nothing where there is one
    column alone, too few rows or too little time.
    """
    units = _units(columns, meanings)
    num_rows = len(part.y)
    affordable = int(seconds / (len(units) + 1) / max(row_seconds, 1e-6)) if units else 0
    most = min(num_rows, MOST_ROWS, affordable)
    if most < FEWEST_ROWS:
        return []
    ends = time.monotonic() + seconds
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(num_rows, most, replace=False))
    kept = {name: [cells[row] for row in rows.tolist()] for name, cells in columns.items()}
    repeats = max(1, min(MOST_REPEATS, affordable // most, 300 // most))
    y, before = part.y[rows], part.outputs[rows]
    weights = None if part.weights is None else np.tile(part.weights[rows], repeats)
    groups = np.tile(np.arange(most) if part.groups is None else part.groups[rows], repeats)
    sign = METRICS[metric].sign
    found = []
    for kind, name, names in units:
        if time.monotonic() > ends:
            return []
        after = [predict(_mixed(kept, names, rng.permutation(most)), most) for _ in range(repeats)]
        change = difference(
            metric, task, np.concatenate([y] * repeats), np.concatenate([before] * repeats), np.concatenate(after),
            decision=decision, other_decision=decision, weights=weights, groups=groups, positive=positive, seed=seed,
            num_resamples=NUM_RESAMPLES,
        )  # fmt: skip
        ends_of = sorted((sign * change.low, sign * change.high))
        found.append(ImportanceFinding(kind, name, sign * change.value, *ends_of))
    return sorted(found, key=lambda one: (one.kind != "kind", -one.value))


def _units(columns: Mapping[str, Sequence[Any]], meanings: Mapping[str, str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, name, columns) of what is permuted together: each column, and before them each kind of columns."""
    names = [name for name in columns if meanings.get(name, "ignored") != "ignored"]
    if len(names) < 2:
        return []
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_KINDS.get(meanings[name], "the table"), []).append(name)
    found = [("kind", kind, tuple(those)) for kind, those in kinds.items()] if len(kinds) > 1 else []
    return [*found, *(("column", name, (name,)) for name in names)]


_KINDS = {"image": "all images", "text": "all texts", "audio": "all sounds"}


def _mixed(columns: Mapping[str, list[Any]], names: Sequence[str], order: np.ndarray) -> dict[str, list[Any]]:
    """The columns with the cells of the named ones in another order, the same for all of them."""
    return {name: [cells[row] for row in order.tolist()] if name in names else cells for name, cells in columns.items()}
