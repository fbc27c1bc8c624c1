"""What a student learns beside the labels: what models that are trained already answer together.

Shapes: N rows, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import ExternalError
from thrifty.engines.trial import Trial
from thrifty.evaluation.decisions import probabilities_of, tempered
from thrifty.runtime.graph import Graph

BATCH_ROWS = 256


def taught(trial: Trial) -> Trial:
    """The trial with what its teachers answer to the rows of its only round, and a clock that starts after them.

    The arguments' `teachers` are {"models": [{"model": folder, "weight", "temperature"}], "temperature"}; a trial
    without them stays as it is. Raises ExternalError when they take all of its time.
    """
    teachers = trial.arguments.get("teachers")
    if teachers is None:
        return trial
    rows = trial.rounds()[0].train
    graphs = [Graph.load(Path(one["model"]), workers=trial.channel.cores) for one in teachers["models"]]
    answers_NK = np.empty((len(rows), trial.num_outputs), np.float32)
    for start in range(0, len(rows), BATCH_ROWS):
        if trial.should_stop():
            raise ExternalError(f"its teachers had answered to {start} of {len(rows)} rows when its time was over")
        part = rows[start : start + BATCH_ROWS]
        columns = trial.dataset.columns(part)
        mean = np.zeros(())
        for graph, one in zip(graphs, teachers["models"], strict=True):
            scores_NK = graph.scores(columns, len(part))
            mean = mean + one["weight"] * probabilities_of(trial.task, scores_NK, one["temperature"])
        answers = tempered(trial.task, mean, teachers["temperature"])
        answers_NK[start : start + len(part)] = answers.reshape(len(part), -1)
    left, took = trial.clock.left(), trial.clock.elapsed()
    clock = Clock(None if left == math.inf else left)
    return replace(trial, taught=answers_NK, teachers_seconds=took, clock=clock)
