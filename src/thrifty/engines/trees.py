"""Gradient-boosted trees by LightGBM, grown a round at a time so that a clock or a coordinator can end it.

Shapes: N rows, D columns, K outputs, V codes of a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np

from thrifty.data.column import Task
from thrifty.exporting.graphs import Forest, forest_of_lightgbm, joined
from thrifty.recipe import Trees

NUM_FOLDS = 5
LEAST_GAIN = 0.005  # of the loss, below which it counts as standing still
SMOOTHING = 10.0  # rows of the overall mean that a category's own mean is mixed with


@dataclass(frozen=True)
class TreesModel:
    """Boosters, one per label for multilabel, else one, cut to `num_trees` rounds; scores = raw * factor + offset.

    watched_VK: the scores of the rows that were watched; None where none were.
    """

    boosters: tuple[lightgbm.Booster, ...]
    num_trees: int
    factor: float
    offset: float
    task: Task
    watched_VK: np.ndarray | None = None

    def scores(self, x_ND: np.ndarray) -> np.ndarray:
        """Logits or values [N, K]; of two classes the first logit is 0."""
        return self.of_raw(self.raw(x_ND, 0, self.num_trees))

    def scores_after(self, rounds: Sequence[int], x_ND: np.ndarray) -> list[np.ndarray]:
        """The scores [N, K] after each of the rising numbers of rounds, or after all where fewer were grown."""
        grown = max(booster.current_iteration() for booster in self.boosters)
        raw_NK, done, found = np.zeros((len(x_ND), 1)), 0, []
        for wanted in (min(number, grown) for number in rounds):
            if wanted > done:
                raw_NK = raw_NK + self.raw(x_ND, done, wanted)
                done = wanted
            found.append(self.of_raw(raw_NK))
        return found

    def raw(self, x_ND: np.ndarray, start: int, end: int) -> np.ndarray:
        """What the rounds from `start` to before `end` add up to, float64 [N, K], or [N, 1] for two classes."""
        parts = [
            np.asarray(b.predict(x_ND, raw_score=True, start_iteration=start, num_iteration=end - start))
            for b in self.boosters
        ]
        return parts[0] if parts[0].ndim == 2 else np.stack(parts, axis=1)

    def of_raw(self, raw_NK: np.ndarray) -> np.ndarray:
        if self.task == Task.BINARY:
            raw_NK = np.concatenate([np.zeros_like(raw_NK), raw_NK], axis=1)
        return (raw_NK * self.factor + self.offset).astype(np.float32)


def counts(most: int) -> list[int]:
    """Numbers of rounds from 5 to `most`, each about a quarter more than the one before."""
    found, step = [], 5.0
    while step < most:
        found.append(round(step))
        step = max(step + 5.0, step * 1.25)
    return [*found, most]


def parameters(
    model: Trees, task: Task, num_outputs: int, num_rows: int, seed: int, threads: int, absolute: bool
) -> dict[str, Any]:
    """LightGBM's parameters. absolute: absolute instead of squared error, for numbers."""
    objective = {"binary": "binary", "multilabel": "binary", "multiclass": "multiclass", "regression": "regression"}
    chosen: dict[str, Any] = {
        "objective": "regression_l1" if absolute and task == Task.REGRESSION else objective[task.value],
        "learning_rate": model.learning_rate,
        "num_leaves": max(2, min(model.num_leaves, num_rows)),
        "min_data_in_leaf": max(1, min(model.min_rows_per_leaf, num_rows // 10)),
        "min_data_in_bin": 3 if num_rows >= 200 else 1,
        "feature_fraction": model.feature_fraction,
        "bagging_fraction": model.row_fraction,
        "bagging_freq": 1 if model.row_fraction < 1.0 else 0,
        "lambda_l2": model.l2,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }
    if task == Task.MULTICLASS:
        chosen["num_class"] = num_outputs
    return chosen


@dataclass(frozen=True)
class Watch:
    """The validation rows that decide how many rounds are kept.

    value: scores [V, K] to the metric, and to the negative loss; more is better of both. report(rounds, metric).
    Both are looked at after every `every` rounds; neither may stand still for `patience` rounds.
    """

    x_ND: np.ndarray
    value: Callable[[np.ndarray], tuple[float, float]]
    report: Callable[[int, float], None]
    every: int = 10
    patience: int = 60


def grow(
    x_ND: np.ndarray,
    target: np.ndarray,
    weights_N: np.ndarray | None,
    task: Task,
    chosen: dict[str, Any],
    num_trees: int,
    watch: Watch | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TreesModel:
    """Boosts for `num_trees` rounds at most, and keeps those up to the best on the watched rows, or all.

    x_ND: float32, NaN where missing. target: class codes [N], numbers [N], or 0/1 [N, K] for multilabel. Ends early
    when `should_stop` says so, but not before the first round.
    """
    factor, offset = 1.0, 0.0
    if task == Task.REGRESSION:
        offset = float(np.average(target, weights=weights_N))
        factor = float(np.sqrt(np.average(np.square(target - offset), weights=weights_N))) or 1.0
        target = (target - offset) / factor
    columns = list(target.T) if task == Task.MULTILABEL else [target]
    data = lightgbm.Dataset(x_ND, columns[0], weight=weights_N, params=chosen)
    sets = [data, *(lightgbm.Dataset(x_ND, c, weight=weights_N, params=chosen, reference=data) for c in columns[1:])]
    model = TreesModel(tuple(lightgbm.Booster(chosen, one) for one in sets), 0, factor, offset, task)
    if watch is None:
        grown = 0
        while grown < num_trees and not (grown and should_stop()):
            grown += 1
            if _boost(model):
                break
        return replace(model, num_trees=grown)
    return _grow_watched(model, num_trees, watch, should_stop)


def _boost(model: TreesModel) -> bool:
    """Adds a round to every booster; whether none of them found a split."""
    stuck = [booster.update() for booster in model.boosters]
    return all(stuck)


def _grow_watched(model: TreesModel, num_trees: int, watch: Watch, should_stop: Callable[[], bool]) -> TreesModel:
    seen, raw_VK = 0, np.zeros(0)
    best, best_value, best_loss, best_VK = 0, -np.inf, -np.inf, None
    last_better, marked_loss = 0, -np.inf
    for grown in range(1, num_trees + 1):
        over = _boost(model) or grown == num_trees or should_stop()
        if not over and grown % watch.every:
            continue
        raw_VK = raw_VK + model.raw(watch.x_ND, seen, grown) if seen else model.raw(watch.x_ND, 0, grown)
        seen = grown
        scores_VK = model.of_raw(raw_VK)
        value, loss = watch.value(scores_VK)
        watch.report(grown, value)
        if value > best_value or marked_loss == -np.inf or loss > marked_loss + LEAST_GAIN * abs(marked_loss):
            last_better, marked_loss = grown, max(marked_loss, loss)
        if value > best_value or (value == best_value and loss > best_loss):
            best, best_value, best_loss, best_VK = grown, value, loss, scores_VK
        if over or grown - last_better >= watch.patience:
            break
    return replace(model, num_trees=best or grown, watched_VK=best_VK)


def as_forest(model: TreesModel, factor: float = 1.0) -> tuple[Forest, np.ndarray]:
    """The trees of the kept rounds as arrays whose sums, with the bias [K], are the model's scores times a factor."""
    num_outputs = model.boosters[0].num_model_per_iteration()
    shift = 1 if model.task == Task.BINARY else 0
    forests, biases = [], [np.zeros(shift)]
    for number, booster in enumerate(model.boosters):
        trees, bias_K = forest_of_lightgbm(booster.model_to_string(num_iteration=model.num_trees), num_outputs)
        values = trees.leaf_value * (model.factor * factor)
        forests.append(replace(trees, leaf_target=trees.leaf_target + number + shift, leaf_value=values))
        biases.append((bias_K * model.factor + model.offset) * factor)
    return joined(forests), np.concatenate(biases)


def looked_up(codes_ND: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
    """Each column's codes in its table, float32 [N, D]."""
    return np.stack([table[codes_N] for table, codes_N in zip(tables, codes_ND.T, strict=True)], axis=1)


def ordered(
    codes_ND: np.ndarray, sizes: Sequence[int], target_NP: np.ndarray, weights_N: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Turns categories into numbers along which their targets differ most, so that a split cuts a range of them.

    A category's number is its rows' mean target, mixed with SMOOTHING rows of the overall mean; of several targets
    the first principal component over categories (Coppersmith et al. 1999). Gives a table [V] per column for
    prediction, and the training rows' numbers [N, D], each row's made from the other folds' rows.
    """
    target_NP = target_NP - np.average(target_NP, axis=0, weights=weights_N)
    fold_N = rng.integers(0, NUM_FOLDS, len(codes_ND))
    tables, values_ND = [], np.zeros(codes_ND.shape, np.float32)
    for d, size in enumerate(sizes):
        codes_N = codes_ND[:, d]
        counts_FV = np.zeros((NUM_FOLDS, size))
        np.add.at(counts_FV, (fold_N, codes_N), weights_N)
        sums_FVP = np.zeros((NUM_FOLDS, size, target_NP.shape[1]))
        np.add.at(sums_FVP, (fold_N, codes_N), target_NP * weights_N[:, None])
        counts_V, sums_VP = counts_FV.sum(axis=0), sums_FVP.sum(axis=0)
        means_VP = sums_VP / (counts_V[:, None] + SMOOTHING)
        _, _, axes = np.linalg.svd(means_VP * np.sqrt(counts_V)[:, None], full_matrices=False)
        axis_P = axes[0]
        tables.append((means_VP @ axis_P).astype(np.float32))
        others_FV = (sums_VP - sums_FVP) @ axis_P / (counts_V - counts_FV + SMOOTHING)
        values_ND[:, d] = others_FV[fold_N, codes_N]
    return tables, values_ND
