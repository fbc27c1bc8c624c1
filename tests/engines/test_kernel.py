"""Kernel least squares on landmarks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve

from thrifty.core.seeds import generator
from thrifty.data.prepare import Options, prepare
from thrifty.engines import kernel, kernel_learner
from thrifty.engines.classical import fit
from thrifty.engines.kernel_learner import STRENGTHS
from thrifty.recipe import Kernel, Preparation, Recipe, to_json
from thrifty.runtime.graph import Graph
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


def test_products_of_gradients_are_those_of_differences() -> None:
    rng = np.random.default_rng(4)
    centers_MP, weights_MK = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    model = kernel.KernelModel(None, centers_MP, 0.4, weights_MK, np.zeros(2))
    x_NP, step = rng.normal(size=(7, 3)), 1e-5
    slopes_NPK = np.stack(
        [(model.scores(x_NP + step * e) - model.scores(x_NP - step * e)) / (2 * step) for e in np.eye(3)], 1
    )
    direct_PP = np.einsum("npk,nqk->pq", slopes_NPK, slopes_NPK) / 7
    assert model.products_of_gradients(x_NP) == pytest.approx(direct_PP, rel=1e-5)


def test_learned_axes_are_long_where_the_targets_turn() -> None:
    rng = np.random.default_rng(5)
    x_NP = rng.normal(size=(600, 8)).astype(np.float32)
    direction_P = np.eye(8)[0] * 0.6 + np.eye(8)[1] * 0.8
    target_N1 = np.sin(2 * x_NP @ direction_P)[:, None]
    axes_PP = kernel.learned_axes(x_NP, target_N1, np.ones(600), 3.0, 1e-5, rng)
    lengths_P = np.linalg.norm(axes_PP @ np.linalg.qr(np.column_stack([direction_P, np.eye(8)[:, 1:]]))[0], axis=0)
    assert lengths_P[0] > 3 * lengths_P[1:].max()


def test_axes_stay_as_they_are_where_nothing_is_to_be_learned() -> None:
    rng = np.random.default_rng(6)
    x_NP = rng.normal(size=(50, 3)).astype(np.float32)
    for target_N1, weights_N in ((np.ones((50, 1)), np.ones(50)), (rng.normal(size=(50, 1)), np.zeros(50))):
        assert np.array_equal(kernel.learned_axes(x_NP, target_N1, weights_N, 1.0, 1e-5, rng), np.eye(3))


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


@pytest.mark.parametrize("folds", [0, 4])
def test_axes_are_learned_where_most_columns_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    rng = np.random.default_rng(7)
    x_ND = rng.uniform(-1, 1, (700, 10)).round(4)
    y_N = np.sin(4 * x_ND[:, 0] + 3 * x_ND[:, 1])
    rows = [{**{f"x{d}": v for d, v in enumerate(x)}, "y": y} for x, y in zip(x_ND.tolist(), y_N.tolist(), strict=True)]
    if folds:
        prepare(rows[:500], "y", folder=tmp_path / "data", options=Options(folds=folds))
    else:
        prepare(rows[:500], "y", folder=tmp_path / "data", validation=rows[500:])
    notes = _notes(tmp_path, "trial")
    assert notes["chosen"]["turns"] >= 1
    (tmp_path / "refit").mkdir()
    (tmp_path / "refit" / "chosen.json").write_text((tmp_path / "trial" / "chosen.json").read_text())
    recipe = to_json(Recipe(Preparation(("numbers",)), Kernel()))
    arguments = {"data": str(tmp_path / "data"), "folder": str(tmp_path / "refit"), "recipe": recipe, "metric": "r2"}
    fit({**arguments, "rows": "development"}, RecordingChannel())
    columns = {f"x{d}": x_ND[500:, d].tolist() for d in range(10)}
    scores_N = Graph.load(tmp_path / "refit" / "model").scores(columns, 200)[:, 0]
    assert 1 - np.square(scores_N - y_N[500:]).mean() / y_N.var() > 0.9
    monkeypatch.setattr(kernel_learner, "TURNS", 0)
    assert max(t["value"] for t in _notes(tmp_path, "plain")["tried"]) < 0.8


def test_classes_have_axes_by_the_rows_with_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    x_ND = rng.uniform(-1, 1, (1200, 10)).round(4)
    weights_N = rng.integers(2, size=1200).astype(float)
    labels_N = np.where(weights_N > 0, np.sin(2 * (x_ND[:, 0] + x_ND[:, 1])) > 0, rng.random(1200) < 0.5)
    rows = [
        {**{f"x{d}": v for d, v in enumerate(x)}, "y": f"c{int(label)}", "w": weight}
        for x, label, weight in zip(x_ND.tolist(), labels_N.tolist(), weights_N.tolist(), strict=True)
    ]
    prepare(rows[:800], "y", folder=tmp_path / "data", validation=rows[800:], options=Options(weight="w"))
    notes = _notes(tmp_path, "trial", metric="accuracy")
    assert notes["chosen"]["turns"] >= 1
    assert max(t["value"] for t in notes["tried"]) > 0.9


def test_a_pilot_of_rows_without_weight_chooses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_learner, "PILOT_CENTERS", 50)
    monkeypatch.setattr(kernel_learner, "LEAST_PILOT_CENTERS", 40)
    monkeypatch.setattr(kernel_learner, "PILOT_ROWS", 60)
    rows = [{**row, "w": 1.0} for row in _linear_rows(500)]
    for drawn in generator(0, "pilot").permutation(400)[:60]:
        rows[drawn]["w"] = 0.0
    prepare(rows[:400], "y", folder=tmp_path / "data", validation=rows[400:], options=Options(weight="w"))
    chosen = _notes(tmp_path, "trial")["chosen"]
    assert (chosen["length_scale"], chosen["turns"]) == (Kernel().length_scale, 0.0)


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
