from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thrifty.data.prepare import Options, prepare
from thrifty.engines import pytorch
from thrifty.engines.balance import class_weights, shift
from thrifty.engines.trial import Trial, open_trial
from thrifty.recipe import Heads, Preparation, Recipe, TableNetwork, Training, to_json
from thrifty.testing.executors import RecordingChannel

RECIPE = Recipe(Preparation(("numbers",)), Heads(num_heads=3, hidden=16), Training(epochs=8, batch_size=32))


def trial_of(folder: Path, targets: Sequence[Any], metric: str = "f1_macro", **columns: Any) -> Trial:
    rng = np.random.default_rng(0)
    rows = [
        {"x": float(rng.normal()), "y": y, **{name: values[i] for name, values in columns.items()}}
        for i, y in enumerate(targets)
    ]
    options = Options(weight="w") if "w" in columns else Options()
    prepare(rows, "y", folder=folder / "data", options=options)
    arguments = {"data": str(folder / "data"), "folder": str(folder), "recipe": to_json(RECIPE), "metric": metric}
    return open_trial(arguments, RecordingChannel())


def rows_of(trial: Trial, name: str, most: int) -> np.ndarray:
    """At most so many development rows of a class."""
    rows = trial.dataset.splits.development_rows
    code = list(trial.dataset.schema.classes).index(name)
    return rows[trial.dataset.targets(rows) == code][:most]


@pytest.mark.parametrize("metric", ["accuracy", "f1_micro", "log_loss", "brier", "roc_auc", "average_precision"])
def test_scores_are_not_shifted_for_a_metric_that_counts_rows(tmp_path: Path, metric: str) -> None:
    trial = trial_of(tmp_path, ["a"] * 90 + ["b"] * 30, metric)
    assert shift(trial, trial.final_rows()) is None


@pytest.mark.parametrize("metric", ["f1_macro", "balanced_accuracy"])
def test_the_shift_is_half_the_log_shares_and_aims_at_what_class_weights_aim_at(tmp_path: Path, metric: str) -> None:
    trial = trial_of(tmp_path, ["a"] * 160 + ["b"] * 40, metric)
    rows = np.sort(np.concatenate([rows_of(trial, "a", 80), rows_of(trial, "b", 20)]))
    shift_K = shift(trial, rows)
    assert shift_K is not None
    assert shift_K[0] - shift_K[1] == pytest.approx(0.5 * np.log(80 / 20), abs=1e-6)
    weights_K = class_weights(trial.dataset.targets(rows), 2, np.ones(len(rows)))
    assert np.log(weights_K[0] / weights_K[1]) == pytest.approx(shift_K[1] - shift_K[0], abs=1e-6)


def test_a_class_that_the_rows_lack_is_not_raised_and_changes_nothing_for_the_others(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, ["a"] * 120 + ["b"] * 60 + ["c"] * 20)
    rows = np.sort(np.concatenate([rows_of(trial, "a", 90), rows_of(trial, "b", 10)]))
    shift_K = shift(trial, rows)
    assert shift_K is not None
    assert shift_K[:2] == pytest.approx([0.25 * np.log(9), -0.25 * np.log(9)], abs=1e-6)
    assert shift_K[2] == shift_K[0]


def test_rows_count_by_their_weight(tmp_path: Path) -> None:
    targets = ["a"] * 100 + ["b"] * 100
    trial = trial_of(tmp_path, targets, w=[4.0 if y == "a" else 1.0 for y in targets])
    rows = np.sort(np.concatenate([rows_of(trial, "a", 50), rows_of(trial, "b", 50)]))
    shift_K = shift(trial, rows)
    assert shift_K is not None
    assert shift_K[0] - shift_K[1] == pytest.approx(0.5 * np.log(4), abs=1e-6)


def test_weights_next_to_nothing_do_not_raise_a_class_without_bound(tmp_path: Path) -> None:
    targets = ["a"] * 100 + ["b"] * 100
    trial = trial_of(tmp_path, targets, w=[1.0 if y == "a" else 1e-9 for y in targets])
    shift_K = shift(trial, trial.final_rows())
    assert shift_K is not None
    assert shift_K[0] - shift_K[1] == pytest.approx(0.5 * np.log(len(trial.final_rows())), abs=1e-6)


def test_each_label_is_shifted_by_half_its_log_odds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shares = {"p": 0.5, "q": 0.1}
    trial = trial_of(tmp_path, [[name for name, share in shares.items() if rng.random() < share] for _ in range(200)])
    rows = trial.final_rows()
    share_K = trial.dataset.targets(rows).mean(axis=0)
    assert shift(trial, rows) == pytest.approx(0.5 * np.log(share_K / (1 - share_K)), abs=1e-5)
    none = rows[trial.dataset.targets(rows)[:, 1] == 0]
    shift_K = shift(trial, none)
    assert shift_K is not None
    assert shift_K[1] == 0.0


@pytest.mark.parametrize("model", [Heads(num_heads=3, hidden=16), TableNetwork(width=16, num_members=2)])
def test_a_rare_class_among_others_is_answered_more_often_where_classes_count_alike(
    tmp_path: Path, model: Heads | TableNetwork
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(600) % 20 == 0
    x = rng.normal(size=600) + 1.5 * y
    rows = [{"x": float(v), "y": "rare" if on else "usual"} for v, on in zip(x, y)]
    dataset = prepare(rows[:400], "y", folder=tmp_path / "data", validation=rows[400:]).dataset
    rare = list(dataset.schema.classes).index("rare")
    answered = {}
    for metric in ("balanced_accuracy", "accuracy"):
        recipe = Recipe(RECIPE.preparation, model, Training(epochs=8, batch_size=32, learning_rate=1e-2))
        arguments = {"data": str(tmp_path / "data"), "folder": str(tmp_path), "recipe": to_json(recipe)}
        pytorch.fit({**arguments, "metric": metric}, RecordingChannel())
        answered[metric] = int((np.load(tmp_path / "validation.npy").argmax(axis=1) == rare).sum())
    assert answered["balanced_accuracy"] > answered["accuracy"] + 3
