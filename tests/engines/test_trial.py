"""What engines share around a fit."""

from pathlib import Path

import numpy as np

from thrifty.data.prepare import Options, prepare
from thrifty.engines.classical import fit
from thrifty.engines.trial import choose_across, open_trial
from thrifty.recipe import Baseline, Preparation, Recipe, to_json
from thrifty.testing.executors import RecordingChannel


def test_a_constant_has_no_correlation_rather_than_an_undefined_one(tmp_path: Path) -> None:
    rows = [{"x": row * row % 23 + 0.25, "y": row % 7 + 0.5} for row in range(40)]
    prepare(rows[:25], "y", folder=tmp_path / "data", validation=rows[25:])
    (tmp_path / "trial").mkdir()
    arguments = {
        "data": str(tmp_path / "data"),
        "folder": str(tmp_path / "trial"),
        "recipe": to_json(Recipe(Preparation(), Baseline())),
        "metric": "pearson",
    }
    assert fit(arguments, RecordingChannel())["value"] == 0.0


def test_what_is_chosen_of_noise_is_not_said_to_be_good(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"x": float(rng.normal()), "y": "pq"[row % 2]} for row in range(100)]
    prepare(rows, "y", folder=tmp_path / "data", options=Options(folds=5))
    (tmp_path / "trial").mkdir()
    arguments = {
        "data": str(tmp_path / "data"),
        "folder": str(tmp_path / "trial"),
        "recipe": to_json(Recipe(Preparation(), Baseline())),
        "metric": "accuracy",
    }
    trial = open_trial(arguments, RecordingChannel())
    rounds = trial.rounds()
    scores = [[rng.normal(size=(len(r.validation), 2)).astype(np.float32) for r in rounds] for _ in range(200)]
    y = trial.dataset.targets(trial.dataset.splits.validation_rows)
    best, honest_VK, values = choose_across(trial, rounds, scores)
    assert values[best] == max(values) > 0.6
    assert 0.35 < (honest_VK.argmax(axis=1) == y).mean() < 0.6
    # A candidate that is truly good is scored as itself.
    placed = [np.eye(2, dtype=np.float32)[trial.dataset.targets(r.validation)] for r in rounds]
    best, honest_VK, values = choose_across(trial, rounds, [*scores, placed])
    assert best == 200
    assert (honest_VK.argmax(axis=1) == y).all()
