"""How each classical model is fitted on one set of rows: settings in, what was learned out, one after another.

A learner yields a `Learned` per setting of its path (an L2 strength, a number of trees). Given what was chosen before,
it yields that one alone. Shapes: N rows, V validation rows, D columns, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from scipy.sparse import csr_matrix

from thrifty.core.seeds import derive, generator
from thrifty.data.column import Task
from thrifty.engines import linear, trees
from thrifty.engines.absence import usual_scores
from thrifty.engines.balance import class_weights
from thrifty.engines.features import Array, Block, Features
from thrifty.engines.trial import Trial, value_and_loss
from thrifty.evaluation.metrics import CLASSES_ALIKE
from thrifty.exporting import graphs
from thrifty.recipe import Linear, Trees

Graph = tuple[onnx.ModelProto, dict[str, str]]
"""A model as ONNX, and where its inputs come from, {input: "node.output"}."""

TEXT_PATH = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)  # of a linear recipe's regularization, where there is text
DENSE_PATH = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)  # where there is none
# The length of a row of every dense block beside TF-IDF, whose rows are 1.4 long: as long as 4.5 lost 3 points of
# accuracy on mm_fusion, 6 of macro-F1 on mm_wesnoth and 1.3 on txt_rt_sentiment with frozen text features.
BESIDE_TEXT = 0.7
WORSE_IN_A_ROW = 2  # settings without a gain after which a path is left
MARGIN = 3.0  # what turns margins, of which 1 is enough, into logits, before a temperature is fitted
LIMIT = 10.0  # standard deviations at which a dense column is cut
CURVATURE = {"softmax": 0.1, "hinge": 2.0, "square": 2.0}


@dataclass(frozen=True)
class Learned:
    """What was learned with one setting.

    setting: numbers, kept in chosen.json. scores_VK: of the validation rows, [0, K] when there were none.
    graph: the model as ONNX, its scores times a factor. seconds: what a fit with this setting alone takes, where that
    is known.
    """

    setting: dict[str, float]
    scores_VK: np.ndarray
    graph: Callable[[float], Graph]
    seconds: float | None = None


@dataclass(frozen=True)
class Fitting:
    """One fit: on `train` rows, scoring `validation` rows (may be none).

    chosen: the setting to use, empty to try them all. patient: go through the whole path, whatever the scores.
    stop: whether this fit's share of the time is over.
    """

    trial: Trial
    features: Features
    train: np.ndarray
    validation: np.ndarray
    chosen: Mapping[str, float]
    patient: bool
    stop: Callable[[], bool]
    seconds_left: Callable[[], float]

    @property
    def task(self) -> Task:
        return self.trial.task

    @property
    def num_outputs(self) -> int:
        return self.trial.num_outputs

    @cached_property
    def targets(self) -> np.ndarray:
        return self.trial.dataset.targets(self.train)

    @cached_property
    def weights_N(self) -> np.ndarray:
        """Each training row's weight, float64 with a mean of 1."""
        given = self.trial.dataset.weights(self.train)
        weights_N = np.ones(len(self.train)) if given is None else given.astype(np.float64)
        return weights_N / max(float(weights_N.mean()), 1e-12)

    @cached_property
    def balanced_N(self) -> np.ndarray:
        """Row weights times class weights where the metric counts classes alike, float64 with a mean of 1."""
        if self.trial.metric not in CLASSES_ALIKE or self.task not in (Task.BINARY, Task.MULTICLASS):
            return self.weights_N
        weights_N = self.weights_N * class_weights(self.targets, self.num_outputs, self.weights_N)[self.targets]
        return weights_N / weights_N.mean()

    def values(self, scores_VK: np.ndarray) -> tuple[float, float]:
        """The metric and the negative loss of the validation rows' scores, higher is better."""
        value, loss = value_and_loss(self.trial, self.held_targets, scores_VK, self.held_weights)
        return value, -loss

    @cached_property
    def held_targets(self) -> np.ndarray:
        return self.trial.dataset.targets(self.validation)

    @cached_property
    def held_weights(self) -> np.ndarray | None:
        return self.trial.dataset.weights(self.validation)


Learner = Callable[[Fitting], Iterator[Learned]]


def along(fitting: Fitting, *ways: Iterator[Learned]) -> Iterator[Learned]:
    """Follows a path of settings until WORSE_IN_A_ROW have brought no gain, or the time is over.

    Two ways: the first begins with the usual setting, the second leads away from it in the other direction, and is
    followed where no later setting of the first was better.
    """
    best, gains = -np.inf, 0
    for way in ways:
        worse = 0
        for learned in way:
            yield learned
            if fitting.stop():
                return
            if not fitting.patient and len(fitting.validation):
                value, _ = fitting.values(learned.scores_VK)
                gains += value > best
                best, worse = (value, 0) if value > best else (best, worse + 1)
                if worse >= WORSE_IN_A_ROW:
                    break
        if gains > 1:
            return


def baseline(fitting: Fitting) -> Iterator[Learned]:
    """The log shares of the classes (labels: their log odds), half a row added to each; or the mean."""
    scores_K = usual_scores(fitting.task, fitting.num_outputs, fitting.targets, fitting.weights_N)
    (block,) = fitting.features.blocks

    def graph(factor: float) -> Graph:
        model = graphs.constant(block.name, onnx.TensorProto.INT64, block.width, scores_K * factor)
        return model, {block.name: block.sources[0]}

    yield Learned({}, np.tile(scores_K.astype(np.float32), (len(fitting.validation), 1)), graph)


@dataclass(frozen=True)
class Scaling:
    """How a dense block is standardised: (x - mean) * factor, cut at the limit."""

    block: Block
    mean_D: np.ndarray
    factor_D: np.ndarray
    limit: float | None

    @classmethod
    def fit(cls, block: Block, x_ND: np.ndarray, norm: float | None) -> Scaling:
        """norm: the root mean square length of a row after it; None for a standard deviation of 1 in every column.

        Columns that are scaled already keep their proportions.
        """
        mean_D, spread_D = np.zeros(block.width), np.ones(block.width)
        if not block.ready:
            mean_D, spread_D = x_ND.mean(axis=0, dtype=np.float64), x_ND.std(axis=0, dtype=np.float64)
        constant_D = spread_D < 1e-6 * np.maximum(1.0, np.abs(mean_D))
        factor_D = np.where(constant_D, 0.0, 1.0 / np.maximum(spread_D, 1e-12))
        scaling = cls(block, mean_D.astype(np.float32), factor_D.astype(np.float32), None if block.ready else LIMIT)
        if norm is None:
            return scaling
        length = float(np.sqrt(np.square(scaling.apply(x_ND)).sum(axis=1).mean()))
        gain = norm / max(length, 1e-6)
        limit = None if scaling.limit is None else scaling.limit * gain
        return cls(block, scaling.mean_D, scaling.factor_D * np.float32(gain), limit)

    def apply(self, x_ND: np.ndarray) -> np.ndarray:
        scaled_ND = (x_ND - self.mean_D) * self.factor_D
        return scaled_ND if self.limit is None else np.clip(scaled_ND, -self.limit, self.limit)

    def dense(self) -> graphs.Dense:
        limit_D = None if self.limit is None else np.full(self.block.width, self.limit, np.float32)
        return graphs.Dense(self.block.name, self.mean_D, self.factor_D, limit_D)


def scalings_of(
    blocks: Sequence[Block], arrays: Sequence[Array], length: Callable[[Block], float] | None
) -> list[Scaling | None]:
    """A scaling per dense block, None per text. length: of a row of a block, None for what standardising gives."""
    return [
        None if isinstance(a, csr_matrix) else Scaling.fit(b, a, length(b) if length else None)
        for b, a in zip(blocks, arrays, strict=True)
    ]


def scaled(scalings: Sequence[Scaling | None], arrays: Sequence[Array]) -> list[Array]:
    return [a if s is None else s.apply(np.asarray(a)) for s, a in zip(scalings, arrays, strict=True)]


def linear_model(fitting: Fitting) -> Iterator[Learned]:
    """See `engines.linear`; two classes with text are also tried with naive Bayes' scales."""
    recipe = fitting.trial.recipe.model
    assert isinstance(recipe, Linear)
    blocks, arrays = fitting.features.blocks, fitting.features.arrays(fitting.train)
    has_text = any(block.kind == "text" for block in blocks)
    scalings = scalings_of(blocks, arrays, (lambda block: BESIDE_TEXT) if has_text else None)
    x = linear.Blocks.of(scaled(scalings, arrays))
    held = linear.Blocks.of(scaled(scalings, fitting.features.arrays(fitting.validation)))
    goal = _Goal.of(fitting, has_text)

    def learned(strength: float, weights: linear.Weights, by_ratio: bool) -> Learned:
        matrix_DK, bias_K = goal.as_scores(weights.matrix_DK, weights.bias_K)
        scores_VK = held.times(matrix_DK) + bias_K
        return Learned(
            {"strength": strength, "by_ratio": float(by_ratio)},
            scores_VK,
            lambda factor: _linear_graph(blocks, scalings, matrix_DK * factor, bias_K * factor),
        )

    def path(by_ratio: bool) -> Iterator[Learned]:
        scales_DK = linear.log_ratio_scales(x, fitting.targets == 1) if by_ratio else None
        strengths = [f * recipe.regularization for f in (TEXT_PATH if has_text else DENSE_PATH)]
        if fitting.chosen:
            strengths = [s for s in strengths if s > fitting.chosen["strength"] * 1.01] + [fitting.chosen["strength"]]
        tolerance = 1e-3 if has_text else 1e-4
        for strength, weights in linear.path(
            x, goal.objective, CURVATURE[goal.loss], strengths, scales_DK, goal.bias_K,
            tolerance=tolerance, should_stop=fitting.stop,
        ):  # fmt: skip
            if not fitting.chosen or strength == strengths[-1] or fitting.stop():
                yield learned(strength, weights, by_ratio)

    if fitting.chosen:
        yield from path(bool(fitting.chosen["by_ratio"]))
        return
    for by_ratio in (True, False) if has_text and fitting.task == Task.BINARY else (False,):
        yield from along(fitting, path(by_ratio))
        if fitting.stop():
            return


@dataclass(frozen=True)
class _Goal:
    """What a linear model minimises, and how its outputs become scores."""

    loss: linear.Loss
    objective: linear.Objective
    bias_K: np.ndarray
    task: Task
    shift: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, fitting: Fitting, has_text: bool) -> _Goal:
        y, task = fitting.targets, fitting.task
        weights_N1 = fitting.weights_N[:, None]
        if task == Task.REGRESSION:
            shift = float(np.average(y, weights=fitting.weights_N))
            scale = float(np.sqrt(np.average(np.square(y - shift), weights=fitting.weights_N))) or 1.0
            target_N1 = ((y - shift) / scale)[:, None]
            return cls("square", _objective("square", target_N1, weights_N1), np.zeros(1), task, shift, scale)
        if task == Task.MULTICLASS and not has_text:
            target_NK = np.eye(fitting.num_outputs)[y]
            counts_K = np.bincount(y, fitting.balanced_N, fitting.num_outputs) + 0.5
            bias_K = np.log(counts_K / counts_K.sum())
            return cls("softmax", _objective("softmax", target_NK, fitting.balanced_N[:, None]), bias_K, task)
        if task == Task.BINARY:
            target_NK = 2.0 * y[:, None] - 1.0
            weights_N1 = fitting.balanced_N[:, None]
            return cls("hinge", _objective("hinge", target_NK, weights_N1), np.zeros(1), task)
        if task == Task.MULTICLASS:
            target_NK = 2.0 * np.eye(fitting.num_outputs)[y] - 1.0
            weights_K = class_weights(y, fitting.num_outputs, fitting.weights_N, power=1.0)
            weights_NK = weights_N1 * np.where(target_NK > 0, weights_K, 1.0)
        else:
            target_NK, weights_NK = 2.0 * y - 1.0, np.broadcast_to(weights_N1, y.shape)
        bias_K = np.average(target_NK, axis=0, weights=fitting.weights_N)
        return cls("hinge", _objective("hinge", target_NK, weights_NK), bias_K, task)

    def as_scores(self, matrix_DK: np.ndarray, bias_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights as those of the scores: logits of two classes half a margin to each side, numbers in units."""
        if self.loss == "square":
            return matrix_DK * np.float32(self.scale), (bias_K * self.scale + self.shift).astype(np.float32)
        gain = np.float32(1.0 if self.loss == "softmax" else MARGIN)
        if self.task == Task.BINARY:
            sides = np.array([-0.5, 0.5], np.float32) * gain
            return matrix_DK * sides, bias_K * sides
        return matrix_DK * gain, (bias_K * gain).astype(np.float32)


def _objective(loss: linear.Loss, target_NK: np.ndarray, weights_NK: np.ndarray) -> linear.Objective:
    return linear.objective(loss, target_NK.astype(np.float32), weights_NK.astype(np.float32))


def _linear_graph(
    blocks: Sequence[Block], scalings: Sequence[Scaling | None], matrix_DK: np.ndarray, bias_K: np.ndarray
) -> Graph:
    dense: list[tuple[graphs.Dense, np.ndarray]] = []
    sparse: list[tuple[str, np.ndarray]] = []
    inputs: dict[str, str] = {}
    parts = linear.split(matrix_DK, [block.width for block in blocks])
    for block, scaling, part_DK in zip(blocks, scalings, parts, strict=True):
        if scaling is None:
            sparse.append((block.name, part_DK))
            inputs |= {f"{block.name}_indices": block.sources[0], f"{block.name}_weights": block.sources[1]}
        else:
            dense.append((scaling.dense(), part_DK))
            inputs[block.name] = block.sources[0]
    return graphs.linear(dense, sparse, bias_K), inputs


def trees_model(fitting: Fitting) -> Iterator[Learned]:
    """See `engines.trees`; categories are ordered by their rows' targets."""
    recipe, task, trial = fitting.trial.recipe.model, fitting.task, fitting.trial
    assert isinstance(recipe, Trees)
    blocks, arrays = fitting.features.blocks, fitting.features.arrays(fitting.train)
    tables: dict[str, list[np.ndarray]] = {}
    for i, block in enumerate(blocks):
        if block.kind == "codes":
            rng = generator(trial.recipe.seed, "folds", block.name)
            tables[block.name], arrays[i] = trees.ordered(
                np.asarray(arrays[i]), block.sizes, _numeric_targets(fitting), fitting.weights_N, rng
            )
    x_ND = np.concatenate([np.asarray(a, np.float32) for a in arrays], axis=1)
    held_VD = np.concatenate(
        [
            trees.looked_up(np.asarray(a), tables[b.name]) if b.kind == "codes" else np.asarray(a, np.float32)
            for b, a in zip(blocks, fitting.features.arrays(fitting.validation), strict=True)
        ],
        axis=1,
    )
    seed = derive(trial.recipe.seed, "trees") % 2**31
    chosen = trees.parameters(
        recipe, task, fitting.num_outputs, len(x_ND), seed, trial.channel.cores, absolute=trial.metric == "mae"
    )
    weights_N = fitting.balanced_N
    watch, num_trees = None, recipe.max_trees
    if fitting.chosen:
        num_trees = max(1, round(fitting.chosen["num_trees"]))
    elif len(held_VD):
        report = (lambda rounds, value: None) if fitting.patient else trial.report
        watch = trees.Watch(held_VD, fitting.values, report, patience=max(30, round(6.0 / recipe.learning_rate)))
    model = trees.grow(
        x_ND,
        fitting.targets,
        None if np.ptp(weights_N) == 0 else weights_N,
        task,
        chosen,
        num_trees,
        watch,
        fitting.stop,
    )

    def graph(factor: float) -> Graph:
        forest, bias_K = trees.as_forest(model, factor)
        parts = [
            graphs.Codes(b.name, tables[b.name])
            if b.kind == "codes"
            else graphs.Dense(b.name, np.zeros(b.width), np.ones(b.width))
            for b in blocks
        ]
        return graphs.forest(parts, forest, bias_K), {block.name: block.sources[0] for block in blocks}

    if watch is not None and fitting.patient:  # which number is best, all rounds of a cross-validation say together
        steps = trees.counts(recipe.max_trees)
        for count, scores_VK in zip(steps, model.scores_after(steps, held_VD), strict=True):
            yield Learned({"num_trees": float(count)}, scores_VK, graph)
        return
    seen_VK = model.watched_VK
    if seen_VK is None:
        seen_VK = model.scores(held_VD) if len(held_VD) else np.zeros((0, fitting.num_outputs), np.float32)
    yield Learned({"num_trees": float(model.num_trees)}, seen_VK, graph)


def _numeric_targets(fitting: Fitting) -> np.ndarray:
    """Targets as numbers that can be averaged, float64 [N, P]."""
    y = fitting.targets
    if fitting.task == Task.MULTICLASS:
        return np.eye(fitting.num_outputs)[y]
    y_NP = y.astype(np.float64).reshape(len(y), -1)
    return y_NP / max(float(y_NP.std()), 1e-12) if fitting.task == Task.REGRESSION else y_NP
