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
PILOT_CENTERS, PILOT_ROWS = 1000, 8000  # that a length is chosen with where each in full would take long
LEAST_PILOT_CENTERS = 300  # with fewer nothing is learned of lengths
PILOT_SHARE = 0.25  # of the seconds, for the choice of a length
LONGER_GAIN = 0.1  # of the error, by which a longer one must be better there: with few landmarks it looks too good
TURN_GAIN = 0.04  # of the error, by which new axes must be better
TURNS = 2  # how often axes are learned anew at most
LEAST_TURN_ROWS = 200  # with fewer nothing is gained by it, nor of principal axes, which images and sounds have
MOST_IMPORTANT = 5.0  # plain numbers, that a block may count for in distances


def kernel_model(fitting: Fitting) -> Iterator[Learned]:
    """See `engines.kernel`; classes are learned one against the rest as numbers -1 and 1.

    Three length scales are each tried in full where there is time for that, else one is chosen by a pilot, as are the
    axes.
    """
    recipe, chosen = fitting.trial.recipe.model, fitting.chosen
    assert isinstance(recipe, Kernel)
    rows = _Rows.of(fitting)
    wanted = min(recipe.num_centers, len(rows.x_NP))
    if chosen:
        for _ in range(round(chosen.get("turns", 0.0))):
            rows = rows.turned()
        length, num_centers = chosen.get("length_scale", recipe.length_scale), min(round(chosen["num_centers"]), wanted)
        yield from rows.learned(length, num_centers, [[chosen["strength"]]])
        return
    ways = [[factor * recipe.regularization for factor in factors] for factors in STRENGTHS]
    lengths: Sequence[float] = [factor * recipe.length_scale for factor in LENGTHS]
    turns = TURNS if len(rows.x_NP) >= LEAST_TURN_ROWS and rows.axes_DP is None else 0
    if fitting.patient:
        starts = [rows]
        for _ in range(turns):
            starts.append(starts[-1].turned())
    else:
        rows, lengths = _piloted(rows, turns, lengths, wanted, ways)
        starts = [rows]
    seconds = fitting.seconds_left() / (len(starts) * len(lengths))
    num_centers = kernel.affordable_centers(wanted, len(rows.x_NP), seconds, product_speed())
    for start in starts:
        for length in lengths:
            yield from start.learned(length, num_centers, ways)
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
        axes_DP = kernel.principal_axes(x_ND)
        x_NP = kernel.along(x_ND, axes_DP)
        distance = kernel.median_distance(x_NP, generator(fitting.trial.recipe.seed, "distance"))
        made = cls(fitting, scalings, axes_DP, x_NP, np.empty(0), fitting.balanced_N, held_VD, distance, scale, shift)
        return replace(made, target_NK=made.outputs_for(y))

    def outputs_for(self, y: np.ndarray) -> np.ndarray:
        """What a model should put out for targets, float64 [N, K]."""
        task = self.fitting.task
        if task == Task.REGRESSION:
            return ((y - self.shift) / self.scale)[:, None]
        return 2.0 * (y if task == Task.MULTILABEL else np.eye(self.fitting.num_outputs)[y]) - 1.0

    def some(self, most: int) -> _Rows:
        """At most so many of the rows, drawn at random."""
        rows = np.sort(generator(self.fitting.trial.recipe.seed, "pilot").permutation(len(self.x_NP))[:most])
        return replace(self, x_NP=self.x_NP[rows], target_NK=self.target_NK[rows], weights_N=self.weights_N[rows])

    def turned(self) -> _Rows:
        """The same rows along axes learned from some of them."""
        began, some = time.monotonic(), self.some(PILOT_ROWS)
        recipe, seed = self.fitting.trial.recipe.model, self.fitting.trial.recipe.seed
        assert isinstance(recipe, Kernel)
        axes_PP = kernel.learned_axes(
            some.x_NP, some.target_NK, some.weights_N, recipe.length_scale * self.distance, generator(seed, "axes")
        )
        axes_DP = axes_PP if self.axes_DP is None else self.axes_DP @ axes_PP
        x_NP = kernel.along(self.x_NP, axes_PP)
        distance = kernel.median_distance(x_NP, generator(seed, "distance"))
        seconds = self.turn_seconds + time.monotonic() - began
        return replace(self, axes_DP=axes_DP, x_NP=x_NP, distance=distance, turns=self.turns + 1, turn_seconds=seconds)

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


def _piloted(
    rows: _Rows, turns: int, lengths: Sequence[float], wanted: int, ways: Sequence[Sequence[float]]
) -> tuple[_Rows, Sequence[float]]:
    """The rows along the axes, and the lengths, that are worth a fit in full: by models on a few landmarks.

    The least squared error on validation rows decides, which says more than a metric does. New axes are tried with the
    best length and shorter ones. All lengths are worth it where there is time for each.
    """
    fitting, num_rows = rows.fitting, len(rows.x_NP)
    each, speed = fitting.seconds_left() / len(lengths), product_speed()
    in_full = wanted < 2 * PILOT_CENTERS and kernel.affordable_centers(wanted, num_rows, each, speed) == wanted
    most = PILOT_SHARE * each / (1 + turns)
    num_centers = kernel.affordable_centers(PILOT_CENTERS, min(PILOT_ROWS, num_rows), most, speed)
    best, best_length, least = rows, lengths[0], math.inf
    if (turns or not in_full) and num_centers >= LEAST_PILOT_CENTERS and rows.some(PILOT_ROWS).weights_N.any():
        target_VK = rows.outputs_for(fitting.held_targets)
        for turn in range(1 + turns):
            rows = rows.turned() if turn else rows
            for length in [each for each in lengths if not turn or each <= best_length]:
                for one in rows.some(PILOT_ROWS).learned(length, num_centers, ways):
                    error = float(np.square((one.scores_VK - rows.shift) / rows.scale - target_VK).mean())
                    gain = LONGER_GAIN if length > best_length else TURN_GAIN if rows is not best else 0.0
                    if error < (1.0 - gain) * least:
                        best, best_length, least = rows, length, error
                if fitting.stop():
                    return best, [best_length]
            if best is not rows:
                break
    return best, lengths if in_full else [best_length]
