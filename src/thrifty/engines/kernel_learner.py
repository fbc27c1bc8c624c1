"""How a kernel model is fitted: its size by the time that there is, its length scale and strength by validation rows.

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
from thrifty.evaluation.metrics import METRICS
from thrifty.execution.resources import product_speed
from thrifty.exporting import graphs
from thrifty.recipe import Kernel

STRENGTHS = ((0.1, 0.01, 1e-3, 1e-4), (1.0, 10.0, 100.0))  # both ways from what is best most often
LENGTHS = (1.0, 2.0, 4.0)  # of a kernel recipe's length_scale
PILOT_CENTERS, PILOT_ROWS = 1000, 8000  # that a length is chosen with where each in full would take long
LEAST_PILOT_CENTERS = 300  # with fewer nothing is learned of lengths
PILOT_SHARE = 0.25  # of the seconds, for the choice of a length
PILOT_GAIN = 0.1  # of what is lacking, by which a longer one must be better there
MOST_IMPORTANT = 5.0  # plain numbers, that a block may count for in distances


def kernel_model(fitting: Fitting) -> Iterator[Learned]:
    """See `engines.kernel`; classes are learned one against the rest as numbers -1 and 1.

    Of three length scales each is tried in full where there is time for that, else one is chosen by a pilot.
    """
    recipe, chosen = fitting.trial.recipe.model, fitting.chosen
    assert isinstance(recipe, Kernel)
    rows = _Rows.of(fitting)
    wanted = min(recipe.num_centers, len(rows.x_NP))
    if chosen:
        length, num_centers = chosen.get("length_scale", recipe.length_scale), min(round(chosen["num_centers"]), wanted)
        yield from rows.learned(length, num_centers, [[chosen["strength"]]])
        return
    ways = [[factor * recipe.regularization for factor in factors] for factors in STRENGTHS]
    lengths = [factor * recipe.length_scale for factor in LENGTHS]
    seconds, speed = fitting.seconds_left(), product_speed()
    num_centers = kernel.affordable_centers(wanted, len(rows.x_NP), seconds / len(lengths), speed)
    if not fitting.patient and (num_centers < wanted or wanted >= 2 * PILOT_CENTERS):
        pilot = rows.some(PILOT_ROWS)
        most = PILOT_SHARE * seconds / len(lengths)
        few = kernel.affordable_centers(PILOT_CENTERS, len(pilot.x_NP), most, speed)
        lengths = [_best_length(pilot, lengths, few, ways)] if few >= LEAST_PILOT_CENTERS else lengths[:1]
        num_centers = kernel.affordable_centers(wanted, len(rows.x_NP), fitting.seconds_left(), speed)
    for length in lengths:
        yield from rows.learned(length, num_centers, ways)
        if fitting.stop():
            return


@dataclass(frozen=True)
class _Rows:
    """The rows that a kernel model learns from, along their axes, and what turns its outputs into scores.

    distance: the median one between two rows.
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
            target_NK = ((y - shift) / scale)[:, None]
        else:
            target_NK = 2.0 * (y if task == Task.MULTILABEL else np.eye(fitting.num_outputs)[y]) - 1.0
        axes_DP = kernel.principal_axes(x_ND)
        x_NP = kernel.along(x_ND, axes_DP)
        distance = kernel.median_distance(x_NP, generator(fitting.trial.recipe.seed, "distance"))
        return cls(fitting, scalings, axes_DP, x_NP, target_NK, fitting.balanced_N, held_VD, distance, scale, shift)

    def some(self, most: int) -> _Rows:
        """At most so many of the rows, drawn at random."""
        rows = np.sort(generator(self.fitting.trial.recipe.seed, "pilot").permutation(len(self.x_NP))[:most])
        return replace(self, x_NP=self.x_NP[rows], target_NK=self.target_NK[rows], weights_N=self.weights_N[rows])

    def learned(self, length_scale: float, num_centers: int, ways: Sequence[Sequence[float]]) -> Iterator[Learned]:
        """With one length scale, along one or two ways of strengths."""
        began = time.monotonic()
        equations = kernel.Equations.of(
            self.x_NP, self.axes_DP, self.target_NK, self.weights_N, length_scale * self.distance, num_centers,
            generator(self.fitting.trial.recipe.seed, "centers"),
        )  # fmt: skip
        shared_seconds = time.monotonic() - began

        def of(strength: float) -> Learned:
            began = time.monotonic()
            model = equations.model(strength)
            seconds = shared_seconds + time.monotonic() - began
            setting = {"length_scale": length_scale, "strength": strength, "num_centers": float(num_centers)}
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


def _best_length(rows: _Rows, lengths: Sequence[float], num_centers: int, ways: Sequence[Sequence[float]]) -> float:
    """A longer one must be better by PILOT_GAIN: with few landmarks they look better than they are."""
    fitting = rows.fitting
    best, least = lengths[0], math.inf
    for length in lengths:
        if fitting.stop() or not rows.weights_N.any():
            break
        value = max(fitting.values(one.scores_VK)[0] for one in rows.learned(length, num_centers, ways))
        lacking = METRICS[fitting.trial.metric].perfect - value
        if lacking < (1.0 - PILOT_GAIN) * least:
            best, least = length, lacking
    return best
