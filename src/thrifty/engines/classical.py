"""The engine of baselines, linear models, kernel models and boosted trees: its entry is `fit`.

A learner yields what it learned, setting after setting; here the settings are compared on validation rows, the best is
kept (with cross-validation: fitted again on all development rows) and written as ONNX. A temperature fitted to the
validation rows is folded into the logits, so that they are on a sane scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.seeds import generator
from thrifty.data.column import Task
from thrifty.engines import features, kernel_learner, learners
from thrifty.engines.features import Features, Style
from thrifty.engines.learners import Fitting, Learned, Learner
from thrifty.engines.trial import (
    Round,
    Trial,
    check_whole,
    choose_across,
    finish,
    model_folder,
    open_trial,
    parity_rows,
    write_chosen,
    write_parity,
)
from thrifty.evaluation.calibration import temperature
from thrifty.execution.job import Channel
from thrifty.runtime.nodes import onnx_node, write_model

MAX_DENSE_NUMBERS = 200_000_000  # of the training rows' dense columns: 0.8 GB
CUT = ("linear", "trees")  # whose last fit ends where its time does; others go through with it
FINAL_SHARE = 1.5  # of a round's time that the final fit may take, with more rows
WRITE_SHARE = 0.2  # of the time left, for writing the model: thousands of trees take long


class Way(NamedTuple):
    """How a kind of model learns and which features it takes; none for a model that looks at nothing."""

    learner: Learner
    style: Style | None


WAYS: Mapping[str, Way] = {
    "baseline": Way(learners.baseline, None),
    "linear": Way(learners.linear_model, Style.SPARSE),
    "kernel": Way(kernel_learner.kernel_model, Style.DENSE),
    "trees": Way(learners.trees_model, Style.RAW),
}


def fit(arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """A job's entry: fits a Baseline, Linear, Kernel or Trees recipe.

    Gives {"value", "seconds", "notes"} and writes validation.npy, chosen.json and model/ as `engines.trial` says.
    """
    trial = open_trial(arguments, channel)
    way = WAYS[trial.recipe.model.kind]
    if trial.rows == "development":
        return _refit(trial, way, trial.chosen, scores_VK=None, notes={})
    rounds = trial.rounds()
    return _single(trial, way, rounds[0]) if len(rounds) == 1 else _crossed(trial, way, rounds)


def _single(trial: Trial, way: Way, round_: Round) -> dict[str, Any]:
    """One round: the best setting's model is the model of the trial."""
    fitted = _features(trial, way, round_.train)
    best: Learned | None = None
    best_value, tried = -np.inf, []
    took: list[float] = []
    fitting = _fitting(trial, fitted, round_, (1.0 - WRITE_SHARE) * trial.seconds_left(), patient=False)
    began, at = trial.clock.elapsed(), 0
    for learned in way.learner(fitting):
        value, _ = fitting.values(learned.scores_VK)
        tried.append({**learned.setting, "value": value if np.isfinite(value) else None})
        took.append(trial.clock.elapsed() - began - sum(took))
        if best is None or value > best_value:
            best, best_value, at = learned, value, len(took) - 1
    assert best is not None
    factor = _factor(trial, best.scores_VK)
    write_chosen(trial, {**best.setting, "factor": factor})
    _write(trial, fitted, best, factor)
    kept = np.searchsorted(round_.validation, parity_rows(trial.dataset.splits))
    write_parity(trial, best.scores_VK[kept] * np.float32(factor))
    alone = best.seconds
    if alone is None:  # what all share is in the first one's
        alone = took[0] + (took[at] if at else 0.0)
    others = max(0.0, sum(took) - alone)
    notes = {"chosen": best.setting, "tried": tried, "others_seconds": round(others, 3)}
    return finish(trial, best.scores_VK * np.float32(factor), notes)


def _crossed(trial: Trial, way: Way, rounds: Sequence[Round]) -> dict[str, Any]:
    """Several rounds: the setting that is best in all of them together is fitted on all development rows."""
    by_round: list[dict[str, Learned]] = []
    for number, round_ in enumerate(rounds):
        began = trial.clock.elapsed()
        fitted = _features(trial, way, round_.train)
        num_left = len(rounds) - number
        features_seconds = num_left * (trial.clock.elapsed() - began)  # of the rounds to come and the final fit
        seconds = max(0.0, trial.seconds_left() - features_seconds) / (num_left + FINAL_SHARE)
        fitting = _fitting(trial, fitted, round_, seconds, patient=True)
        by_round.append({_key(learned): learned for learned in way.learner(fitting)})
        fitted.remove()
    keys = [key for key in by_round[0] if all(key in learned for learned in by_round)]
    settings = [_median([learned[key].setting for learned in by_round]) for key in keys]
    best, scores_VK, values = choose_across(
        trial, rounds, [[learned[k].scores_VK for learned in by_round] for k in keys]
    )
    tried = [{**setting, "value": value} for setting, value in zip(settings, values, strict=True)]
    factor = _factor(trial, scores_VK)
    chosen = {**settings[best], "factor": factor}
    write_chosen(trial, chosen)
    return _refit(trial, way, chosen, scores_VK * np.float32(factor), {"chosen": chosen, "tried": tried})


def _refit(
    trial: Trial, way: Way, chosen: Mapping[str, float], scores_VK: np.ndarray | None, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Fits the chosen setting (nothing chosen: the first of the path) on all development rows and writes the model."""
    rows = trial.final_rows()
    fitted = _features(trial, way, rows)
    setting = {name: value for name, value in chosen.items() if name != "factor"}
    compared = parity_rows(trial.dataset.splits)
    fitting = _fitting(trial, fitted, Round(rows, compared), trial.seconds_left(), patient=True, chosen=setting)
    learned = next(iter(way.learner(fitting)))
    check_whole(scores_VK is not None and trial.recipe.model.kind in CUT and fitting.stop())
    factor = float(chosen.get("factor", 1.0))
    _write(trial, fitted, learned, factor)
    write_parity(trial, learned.scores_VK * np.float32(factor))
    return finish(trial, scores_VK, {"chosen": dict(chosen), **notes})


def _features(trial: Trial, way: Way, rows: np.ndarray) -> Features:
    return features.placeholder(trial) if way.style is None else features.build(trial, rows, way.style)


def _fitting(
    trial: Trial,
    fitted: Features,
    round_: Round,
    seconds: float,
    patient: bool,
    chosen: Mapping[str, float] | None = None,
) -> Fitting:
    clock = Clock(None if seconds == float("inf") else seconds)
    width = sum(block.width for block in fitted.blocks if block.kind != "text")
    return Fitting(
        trial, fitted, _thinned(trial, round_.train, width), round_.validation, chosen or {}, patient,
        stop=lambda: clock.left() <= 0 or trial.channel.should_stop(), seconds_left=clock.left,
    )  # fmt: skip


def _thinned(trial: Trial, rows: np.ndarray, width: int) -> np.ndarray:
    """The rows, or so many of them, drawn evenly, that their dense columns fit the memory that a fit may take."""
    most = max(1000, MAX_DENSE_NUMBERS // max(width, 1))
    if len(rows) <= most:
        return rows
    rng = generator(trial.recipe.seed, "rows")
    return np.sort(rng.choice(rows, most, replace=False))


def _key(learned: Learned) -> str:
    """The same for the same setting in another round; a number of landmarks is a round's own."""
    return ", ".join(f"{name}={value}" for name, value in learned.setting.items() if name != "num_centers")


def _median(settings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.median([setting[name] for setting in settings])) for name in settings[0]}


def _factor(trial: Trial, scores_VK: np.ndarray) -> float:
    """What to multiply logits by, fitted to the validation rows; 1 for numbers and where it does not help."""
    if trial.task == Task.REGRESSION or not np.isfinite(scores_VK).all():
        return 1.0
    rows = trial.dataset.splits.validation_rows
    weights = trial.dataset.weights(rows)
    return 1.0 / temperature(trial.task.value, trial.dataset.targets(rows), scores_VK, weights)


def _write(trial: Trial, fitted: Features, learned: Learned, factor: float) -> None:
    """Writes the model's folder and lets the features' own go."""
    with model_folder(trial.folder) as folder:
        nodes = fitted.write(folder)
        model, inputs = learned.graph(factor)
        (folder / "head.onnx").write_bytes(model.SerializeToString())
        write_model(folder, [*nodes, onnx_node("head", "head.onnx", inputs)], "head.scores")
    fitted.remove()
