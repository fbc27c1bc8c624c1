"""Kernel least squares on landmarks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve

from thrifty.data.prepare import Options, prepare
from thrifty.engines import kernel, kernel_learner
from thrifty.engines.classical import fit
from thrifty.engines.kernel_learner import STRENGTHS
from thrifty.recipe import Kernel, Preparation, Recipe, to_json
from thrifty.testing.executors import RecordingChannel


def test_with_all_rows_as_landmarks_it_is_kernel_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x_ND, target_NK = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(60, 2))
    equations = kernel.Equations.of(x_ND, None, target_NK, np.ones(60), 1.5, 60, rng)
    near_NN = kernel.similarity(x_ND.astype(float), x_ND.astype(float), equations.gamma)
    mean_K = target_NK.mean(axis=0)
    for strength in (1e-2, 1e-4):
        direct_NK = near_NN @ solve(near_NN + 60 * strength * np.eye(60), target_NK - mean_K) + mean_K
        assert equations.model(strength).scores(x_ND) == pytest.approx(direct_NK, abs=0.02)


def test_landmarks_are_as_many_as_the_seconds_allow() -> None:
    speed = 1e10 / kernel.FIT_SPEED
    assert kernel.affordable_centers(3000, 20_000, math.inf, speed) == 3000
    assert kernel.affordable_centers(3000, 500, 100.0, speed) == 500
    some = kernel.affordable_centers(3000, 20_000, 10.0, speed)
    assert 100 < kernel.affordable_centers(3000, 20_000, 2.0, speed) < some < 3000
    assert 2 * some**2 * (20_000 + 2 * some) <= 1e11


def _fitted(folder: Path, noise: float, **arguments: float) -> tuple[float, list[float]]:
    """The validation R2 of a curved surface, and the strengths tried, in those of the recipe."""
    rng = np.random.default_rng(1)
    x_N3 = rng.uniform(-1, 1, (400, 3)).round(4)
    y_N = np.sin(4 * x_N3[:, 0]) * x_N3[:, 1] + noise * rng.normal(size=400)
    rows = [{"a": a, "b": b, "c": c, "y": y} for (a, b, c), y in zip(x_N3.tolist(), y_N.tolist(), strict=True)]
    prepare(rows[:300], "y", folder=folder / "data", validation=rows[300:])
    (folder / "trial").mkdir()
    recipe = to_json(Recipe(Preparation(("numbers",)), Kernel()))
    paths = {"data": str(folder / "data"), "folder": str(folder / "trial")}
    found = fit({**paths, "recipe": recipe, "metric": "r2", **arguments}, RecordingChannel())
    tried = [t for t in found["notes"]["tried"] if t["length_scale"] == Kernel().length_scale]
    return found["value"], [t["strength"] / Kernel().regularization for t in tried]


def test_a_path_that_is_cut_short_has_begun_where_models_are_good(tmp_path: Path) -> None:
    value, tried = _fitted(tmp_path, noise=0.0, seconds=0.0)
    assert tried == pytest.approx(STRENGTHS[0][:1])
    assert value > 0.9


def test_noise_takes_the_path_to_its_strong_end(tmp_path: Path) -> None:
    value, tried = _fitted(tmp_path, noise=0.5)
    assert max(tried) == pytest.approx(STRENGTHS[1][-1])
    assert value > 0.0


def _linear_rows(num_rows: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(2)
    x_ND = rng.uniform(-1, 1, (num_rows, 6)).round(4)
    y_N = x_ND.sum(axis=1) + 0.1 * rng.normal(size=num_rows)
    return [{**{f"x{d}": v for d, v in enumerate(x)}, "y": y} for x, y in zip(x_ND.tolist(), y_N.tolist(), strict=True)]


def _notes(folder: Path, name: str, **arguments: Any) -> dict[str, Any]:
    (folder / name).mkdir()
    recipe = to_json(Recipe(Preparation(("numbers",)), Kernel()))
    paths = {"data": str(folder / "data"), "folder": str(folder / name)}
    notes: dict[str, Any] = fit({**paths, "recipe": recipe, "metric": "r2", **arguments}, RecordingChannel())["notes"]
    return notes


def test_a_smooth_surface_has_a_long_length_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen among all lengths in full, and by a pilot where that would take long, even of rows in an order."""
    rows = sorted(_linear_rows(400), key=lambda row: row["y"]) + _linear_rows(500)[400:]
    prepare(rows[:400], "y", folder=tmp_path / "data", validation=rows[400:])
    for folder, num_lengths in (("whole", 3), ("pilot", 1)):
        notes = _notes(tmp_path, folder)
        assert len({t["length_scale"] for t in notes["tried"]}) == num_lengths
        assert notes["chosen"]["length_scale"] > Kernel().length_scale
        assert notes["others_seconds"] > 0
        monkeypatch.setattr(kernel_learner, "PILOT_CENTERS", 150)
        monkeypatch.setattr(kernel_learner, "LEAST_PILOT_CENTERS", 100)


def test_a_pilot_of_rows_without_weight_chooses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_learner, "PILOT_CENTERS", 100)
    monkeypatch.setattr(kernel_learner, "LEAST_PILOT_CENTERS", 50)
    monkeypatch.setattr(kernel_learner, "PILOT_ROWS", 0)
    rows = _linear_rows(500)
    prepare(rows[:400], "y", folder=tmp_path / "data", validation=rows[400:])
    assert _notes(tmp_path, "trial")["chosen"]["length_scale"] == Kernel().length_scale


def test_folds_choose_a_length_and_a_strength_together(tmp_path: Path) -> None:
    prepare(_linear_rows(200), "y", folder=tmp_path / "data", options=Options(folds=4))
    notes = _notes(tmp_path, "trial")
    assert len(notes["tried"]) == 3 * sum(map(len, STRENGTHS))
    assert notes["chosen"]["length_scale"] > Kernel().length_scale


def test_a_refit_of_what_an_earlier_version_chose_has_the_recipes_length(tmp_path: Path) -> None:
    rows = _linear_rows(200)
    prepare(rows[:150], "y", folder=tmp_path / "data", validation=rows[150:])
    (tmp_path / "refit").mkdir()
    (tmp_path / "refit" / "chosen.json").write_text('{"strength": 1e-05, "num_centers": 120.0, "factor": 1.0}')
    recipe = to_json(Recipe(Preparation(("numbers",)), Kernel()))
    arguments = {"data": str(tmp_path / "data"), "folder": str(tmp_path / "refit"), "recipe": recipe, "metric": "r2"}
    fit({**arguments, "rows": "development"}, RecordingChannel())
    assert (tmp_path / "refit" / "model" / "model.json").exists()
