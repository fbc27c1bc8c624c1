"""How a kernel model is fitted: its size by the time that there is; by validation rows its axes, length and strength.

Shapes: N rows, V validation rows, D columns, P axes, K outputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thrifty.core.seeds import generator
from thrifty.data.column import Task
from thrifty.engines import kernel
from thrifty.engines.learners import MARGIN, Fitting, Graph, Learned, Scaling, along, scaled, scalings_of
from thrifty.execution.resources import product_speed
from thrifty.exporting import graphs
from thrifty.recipe import Kernel

STRENGTHS = ((0.1, 0.01, 1e-3, 1e-4), (1.0, 10.0, 100.0))  # both ways from what is best most often
LENGTHS = (1.0, 2.0, 4.0)  # of a kernel recipe's length_scale
PILOT_CENTERS, PILOT_ROWS = 1000, 8000  # of the models that choose what is fitted in full
LEAST_PILOT_CENTERS = 300  # with fewer, of more rows, nothing is learned of lengths and axes
PILOT_SHARE = 0.25  # of the seconds, for that choice
LONGER_GAIN = 0.1  # of the error, by which a longer one must be better there: with few landmarks it looks too good
TURN_GAIN = 0.04  # of the error, by which new axes must be better
TURNS = 2  # how often axes are learned anew at most; of principal axes (many columns) and
LEAST_TURN_ROWS = 200  # of fewer rows nothing is gained by it
MOST_IMPORTANT = 5.0  # plain numbers, that a block may count for in distances


def kernel_model(fitting: Fitting) -> Iterator[Learned]:
    """See `engines.kernel`; classes are learned one against the rest as numbers -1 and 1.

    Of few rows three length scales are each fitted in full where there is time for that, of many the one that a pilot
    chose. The pilot also chooses the axes; with cross-validation each length is tried along all of them.
    """
    recipe, chosen = fitting.trial.recipe.model, fitting.chosen
    assert isinstance(recipe, Kernel)
    rows = _Rows.of(fitting)
    wanted = min(recipe.num_centers, len(rows.x_NP))
    if chosen:
        *_, rows = rows.turned_up_to(round(chosen.get("turns", 0.0)))
        length, num_centers = chosen.get("length_scale", recipe.length_scale), min(round(chosen["num_centers"]), wanted)
        yield from rows.learned(length, num_centers, [[chosen["strength"]]])
        return
    ways = [[factor * recipe.regularization for factor in factors] for factors in STRENGTHS]
    lengths: Sequence[float] = [factor * recipe.length_scale for factor in LENGTHS]
    turns = TURNS if rows.axes_DP is None and rows.x_NP.shape[1] > 1 and len(rows.x_NP) >= LEAST_TURN_ROWS else 0
    if not fitting.patient:
        rows, lengths = _piloted(rows, turns, lengths, wanted, ways)
        turns = 0
    elif not _in_full(rows, wanted, len(lengths) * (1 + turns)):
        turns = 0
    seconds = fitting.seconds_left() / (len(lengths) * (1 + turns))
    num_centers = kernel.affordable_centers(wanted, len(rows.x_NP), seconds, product_speed())
    for turned in rows.turned_up_to(turns):
        for length in lengths:
            yield from turned.learned(length, num_centers, ways)
            if fitting.stop():
                return


@dataclass(frozen=True)
class _Rows:
    """The rows that a kernel model learns from, along their axes, and what turns its outputs into scores.

    distance: the median one between two rows. turns: how often the axes were learned anew, in so many seconds.
    """

    fitting: Fitting
    scalings: Sequence[Scaling]
    axes_DP: np.ndarray | None
    x_NP: np.ndarray
    target_NK: np.ndarray
    weights_N: np.ndarray
    held_VD: np.ndarray
    held_target_VK: np.ndarray
    distance: float
    scale: float
    shift: float
    turns: int = 0
    turn_seconds: float = 0.0

    @classmethod
    def of(cls, fitting: Fitting) -> _Rows:
        task, y = fitting.task, fitting.targets
        blocks, arrays = fitting.features.blocks, fitting.features.arrays(fitting.train)
        weigh = (lambda block: float(np.sqrt(min(block.importance, MOST_IMPORTANT)))) if len(blocks) > 1 else None
        scalings = [s for s in scalings_of(blocks, arrays, weigh) if s is not None]
        x_ND, held_VD = (
            np.concatenate(scaled(scalings, part), axis=1, dtype=np.float32)
            for part in (arrays, fitting.features.arrays(fitting.validation))
        )
        shift, scale = 0.0, MARGIN
        if task == Task.REGRESSION:
            shift = float(np.average(y, weights=fitting.weights_N))
            scale = float(np.sqrt(np.average(np.square(y - shift), weights=fitting.weights_N))) or 1.0
        target_NK, held_target_VK = (_outputs_for(fitting, some, shift, scale) for some in (y, fitting.held_targets))
        axes_DP = kernel.principal_axes(x_ND)
        x_NP = kernel.along(x_ND, axes_DP)
        distance = kernel.median_distance(x_NP, generator(fitting.trial.recipe.seed, "distance"))
        return cls(
            fitting, scalings, axes_DP, x_NP, target_NK, fitting.balanced_N, held_VD, held_target_VK, distance, scale,
            shift,
        )  # fmt: skip

    def some(self) -> _Rows:
        """PILOT_ROWS of the rows at most, drawn at random."""
        rows = np.sort(generator(self.fitting.trial.recipe.seed, "pilot").permutation(len(self.x_NP))[:PILOT_ROWS])
        return replace(self, x_NP=self.x_NP[rows], target_NK=self.target_NK[rows], weights_N=self.weights_N[rows])

    def turned(self) -> _Rows:
        """The same rows along axes learned from them."""
        began = time.monotonic()
        recipe, seed = self.fitting.trial.recipe.model, self.fitting.trial.recipe.seed
        assert isinstance(recipe, Kernel)
        axes_PP = kernel.learned_axes(
            self.x_NP, self.target_NK, self.weights_N, recipe.length_scale * self.distance,
            STRENGTHS[0][0] * recipe.regularization, generator(seed, "axes"),
        )  # fmt: skip
        axes_DP = axes_PP if self.axes_DP is None else self.axes_DP @ axes_PP
        x_NP = kernel.along(self.x_NP, axes_PP)
        distance = kernel.median_distance(x_NP, generator(seed, "distance"))
        seconds = self.turn_seconds + time.monotonic() - began
        return replace(self, axes_DP=axes_DP, x_NP=x_NP, distance=distance, turns=self.turns + 1, turn_seconds=seconds)

    def turned_up_to(self, most: int) -> Iterator[_Rows]:
        """These rows along their axes, and along those of each turn, which some of them teach."""
        yield self
        part = self.some()
        for _ in range(most):
            part = part.turned()
            yield self.like(part)

    def like(self, part: _Rows) -> _Rows:
        """These rows along the axes of a part of them, which had as many turns or more."""
        if part.turns == self.turns:
            return self
        x_NP = kernel.along(self.x_NP, part.axes_DP)
        return replace(part, x_NP=x_NP, target_NK=self.target_NK, weights_N=self.weights_N)

    def error(self, scores_VK: np.ndarray) -> float:
        """The mean squared error of the validation rows' scores, in units of what a model puts out."""
        error_V = np.square((scores_VK - self.shift) / self.scale - self.held_target_VK).mean(axis=1)
        weights_V = self.fitting.held_weights
        return float(np.average(error_V, weights=weights_V if weights_V is not None and weights_V.any() else None))

    def learned(self, length_scale: float, num_centers: int, ways: Sequence[Sequence[float]]) -> Iterator[Learned]:
        """With one length scale, along one or two ways of strengths."""
        began = time.monotonic()
        equations = kernel.Equations.of(
            self.x_NP, self.axes_DP, self.target_NK, self.weights_N, length_scale * self.distance, num_centers,
            generator(self.fitting.trial.recipe.seed, "centers"),
        )  # fmt: skip
        shared_seconds = self.turn_seconds + time.monotonic() - began

        def of(strength: float) -> Learned:
            began = time.monotonic()
            model = equations.model(strength)
            seconds = shared_seconds + time.monotonic() - began
            setting = {"length_scale": length_scale, "strength": strength, "num_centers": float(num_centers)}
            setting["turns"] = float(self.turns)
            scores_VK = (model.scores(self.held_VD) * self.scale + self.shift).astype(np.float32)
            return Learned(setting, scores_VK, lambda factor: self._graph(model, factor), seconds)

        return along(self.fitting, *(map(of, way) for way in ways))

    def _graph(self, model: kernel.KernelModel, factor: float) -> Graph:
        bias_K = (model.bias_K.astype(np.float64) * self.scale + self.shift) * factor
        made = graphs.kernel(
            [s.dense() for s in self.scalings], model.axes_DP, model.centers_MP, model.gamma, model.weights_MK,
            self.scale * factor, bias_K,
        )  # fmt: skip
        return made, {block.name: block.sources[0] for block in self.fitting.features.blocks}


def _outputs_for(fitting: Fitting, y: np.ndarray, shift: float, scale: float) -> np.ndarray:
    """What a model should put out for targets, [N, K]: -1 and 1 for classes and labels, numbers standardised."""
    if fitting.task == Task.REGRESSION:
        return ((y - shift) / scale).astype(np.float32)[:, None]
    return 2.0 * (y if fitting.task == Task.MULTILABEL else np.eye(fitting.num_outputs)[y]) - 1.0


def _in_full(rows: _Rows, wanted: int, num_fits: int) -> bool:
    """Whether the rows are few, and there is time for so many fits with all the landmarks wanted."""
    seconds = rows.fitting.seconds_left() / num_fits
    affordable = kernel.affordable_centers(wanted, len(rows.x_NP), seconds, product_speed())
    return wanted < 2 * PILOT_CENTERS and affordable == wanted


def _piloted(
    rows: _Rows, turns: int, lengths: Sequence[float], wanted: int, ways: Sequence[Sequence[float]]
) -> tuple[_Rows, Sequence[float]]:
    """The rows along the axes, and the lengths, that are worth a fit in full: by models on a few landmarks.

    The least squared error on validation rows decides, which says more than a metric does. New axes are tried with the
    best length and shorter ones. All lengths are worth it where there is time for each.
    """
    fitting, part = rows.fitting, rows.some()
    seconds = fitting.seconds_left()
    end = (1.0 - PILOT_SHARE) * seconds
    most = PILOT_SHARE * seconds / (len(lengths) + turns)
    num_centers = kernel.affordable_centers(PILOT_CENTERS, len(part.x_NP), most, product_speed())
    best, best_length, least = part, lengths[0], math.inf

    def is_over() -> bool:
        return fitting.stop() or fitting.seconds_left() < end

    helps = turns or not _in_full(rows, wanted, len(lengths))
    if helps and num_centers >= min(LEAST_PILOT_CENTERS, len(rows.x_NP)) and part.weights_N.any():
        for turn in range(1 + turns):
            if is_over() or best.turns < part.turns:
                break
            part = part.turned() if turn else part
            tried = [length for length in lengths if not turn or length <= best_length]
            for length, one in ((n, one) for n in tried for one in part.learned(n, num_centers, ways)):
                error = part.error(one.scores_VK)
                gain = LONGER_GAIN if length > best_length else TURN_GAIN if part.turns > best.turns else 0.0
                if error < (1.0 - gain) * least:
                    best, best_length, least = part, length, error
                if is_over():
                    break
    return rows.like(best), lengths if _in_full(rows, wanted, len(lengths)) else [best_length]
