"""The engine of networks on tiny data sets, through the arguments and files of a real job."""

import dataclasses
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from thrifty.core.errors import ExternalError
from thrifty.core.files import read_json
from thrifty.data.dataset import Dataset
from thrifty.data.prepare import Options, prepare
from thrifty.engines import classical, heads, networks, pace, pytorch
from thrifty.engines.pytorch import fit
from thrifty.engines.trial import parity_rows
from thrifty.recipe import (
    AudioNetwork,
    FusionNetwork,
    Heads,
    ImageNetwork,
    Linear,
    Model,
    Preparation,
    Recipe,
    TableNetwork,
    Training,
    Trees,
    to_json,
)
from thrifty.runtime.graph import Graph
from thrifty.testing.executors import RecordingChannel

TRAINING = Training(epochs=6, batch_size=16, learning_rate=1e-2, augmentation=0.2)


def job(
    folder: Path, recipe: Recipe, channel: RecordingChannel | None = None, run: Any = fit, **arguments: Any
) -> dict[str, Any]:
    """Runs the engine on the data set in folder/data, in folder/trial."""
    (folder / "trial").mkdir(exist_ok=True)
    plain = {"data": str(folder / "data"), "folder": str(folder / "trial"), "cache": str(folder / "cache")}
    given = {**plain, "recipe": to_json(recipe), "rows": "train", "metric": "accuracy", **arguments}
    return run(given, channel or RecordingChannel())


def scores_of(folder: Path, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    return Graph.load(folder / "trial" / "model").scores(dataset.columns(rows), len(rows))


def images(folder: Path, num_rows: int = 60, **options: Any) -> Dataset:
    rng = np.random.default_rng(0)
    for row in range(num_rows):
        place = folder / "pictures" / ("bright", "dark")[row % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (16, 16)) + (row % 2 == 0) * 120
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{row}.png")
    return prepare(str(folder / "pictures"), folder=folder / "data", options=Options(**options)).dataset


def numbers(folder: Path, target: str, num_rows: int = 120, **options: Any) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_rows, 4))
    y = x[:, 0] - 2 * x[:, 1] + 0.5 * x[:, 2] * x[:, 3]
    answers = {
        "binary": np.where(y > 0, "yes", "no").tolist(),
        "multiclass": np.array(["a", "b", "c"])[np.digitize(y, [-1, 1])].tolist(),
        "regression": (1000 + 100 * y + rng.normal(size=num_rows)).tolist(),
        "multilabel": [[name for name, on in (("p", v > 0), ("q", v > 1)) if on] for v in y],
    }[target]
    rows = [
        {**{f"x{i}": float(v) for i, v in enumerate(row)}, "c": "uv"[int(row[3] > 0)], "y": answer}
        for row, answer in zip(x, answers)
    ]
    return prepare(rows, "y", folder=folder / "data", options=Options(**options)).dataset


IMAGES = Recipe(Preparation(image_size=16), ImageNetwork(width=4), TRAINING)
NUMBERS = Recipe(Preparation(("numbers", "categories")), Heads(num_heads=6, hidden=16), TRAINING)
LINEAR, TREES = (Recipe(NUMBERS.preparation, model) for model in (Linear(), Trees()))


def test_an_image_network_leaves_all_files_and_its_model_gives_its_validation_scores(tmp_path: Path) -> None:
    dataset = images(tmp_path, folds=None)
    channel = RecordingChannel()
    result = job(tmp_path, IMAGES, channel)
    rows = dataset.splits.validation_rows
    validation = np.load(tmp_path / "trial" / "validation.npy")
    assert result["value"] >= 0.9
    assert validation.shape == (len(rows), 2)
    checked = parity_rows(dataset.splits)
    parity = np.load(tmp_path / "trial" / "parity.npy")
    assert np.abs(scores_of(tmp_path, dataset, checked) - parity).max() < 1e-4
    assert set(read_json(tmp_path / "trial" / "chosen.json")) == {"epochs", "stop_epoch"}
    assert channel.reports[-1]["value"] > 0.5
    assert 0.0 < result["notes"]["waiting_share"] < 1.0
    assert result["notes"]["micro_batch"] is None


def test_with_one_round_the_scores_are_the_models_and_every_epoch_is_reported(tmp_path: Path) -> None:
    images(tmp_path, 40)
    extra = with_validation(tmp_path)
    channel = RecordingChannel()
    result = job(tmp_path, IMAGES, channel)
    rows = extra.splits.validation_rows
    validation = np.load(tmp_path / "trial" / "validation.npy")
    assert np.abs(scores_of(tmp_path, extra, rows) - validation).max() < 1e-3
    assert [message["epoch"] for message in channel.reports] == list(range(1, 7))
    assert result["value"] >= max(message["value"] for message in channel.reports) - 0.1


def with_validation(folder: Path) -> Dataset:
    """The same pictures with a given validation part, so that there is one round."""
    source = str(folder / "pictures")
    shutil.rmtree(folder / "data")
    given = folder / "validation"
    for name in ("bright", "dark"):
        (given / name).mkdir(parents=True)
        for file in sorted((folder / "pictures" / name).iterdir())[:5]:
            file.rename(given / name / file.name)
    return prepare(source, folder=folder / "data", validation=str(given)).dataset


def test_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    images(tmp_path, 40)
    found = []
    for _ in range(2):
        job(tmp_path, IMAGES)
        found.append(np.load(tmp_path / "trial" / "validation.npy"))
    assert np.array_equal(*found)


def test_a_refit_takes_as_long_as_was_best_and_writes_the_model_alone(tmp_path: Path) -> None:
    dataset = images(tmp_path, 40)
    job(tmp_path, IMAGES)
    before = scores_of(tmp_path, dataset, np.arange(5))
    (tmp_path / "trial" / "validation.npy").unlink()
    chosen = {"epochs": 4.0, "stop_epoch": 3.0}
    result = job(tmp_path, IMAGES, rows="development", chosen=chosen)
    assert result["value"] is None
    assert result["notes"]["epochs"] == [3.0]
    assert not (tmp_path / "trial" / "validation.npy").exists()
    assert not np.array_equal(before, scores_of(tmp_path, dataset, np.arange(5)))


def test_seconds_are_kept_and_a_stop_is_answered_with_what_there_is(tmp_path: Path) -> None:
    images(tmp_path, 40)
    endless = Training(epochs=100_000, batch_size=16, patience=10**6)
    bounded = dataclasses.replace(endless, seconds=2.0)
    assert job(tmp_path, dataclasses.replace(IMAGES, training=bounded))["seconds"] < 6
    with_validation(tmp_path)
    result = job(tmp_path, dataclasses.replace(IMAGES, training=endless), RecordingChannel(stop_after=2))
    assert result["notes"]["stopped_because"] == ["asked"]
    assert result["value"] is not None


class StopsAtTheEnd(RecordingChannel):
    """Asks to stop once all folds are done."""

    def should_stop(self) -> bool:
        return len(self.reports) >= 5


@pytest.mark.parametrize("recipe", [IMAGES, NUMBERS, LINEAR, TREES])
def test_a_model_that_was_cut_short_after_its_folds_is_not_given_out_as_what_they_judged(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path, 40) if recipe is IMAGES else numbers(tmp_path, "binary")
    monkeypatch.setattr(heads, "_refit", stopped(heads._refit))
    monkeypatch.setattr(classical, "_refit", stopped(classical._refit))
    run = classical.fit if recipe in (LINEAR, TREES) else fit
    with pytest.raises(ExternalError, match="cut short"):
        job(tmp_path, recipe, StopsAtTheEnd(), run=run)
    assert not (tmp_path / "trial" / "model").exists()


def stopped(refit: Any) -> Any:
    """The last fit with a channel that asks to stop."""

    def fitted(trial: Any, *more: Any, **named: Any) -> Any:
        trial.channel.reports += [{}] * 5
        return refit(trial, *more, **named)

    return fitted


def test_a_fold_that_lacks_a_class_does_not_hide_what_the_others_are_worth(tmp_path: Path) -> None:
    dataset = numbers(tmp_path, "binary", 60, folds=5)
    y, channel = dataset.targets(), RecordingChannel()
    for fold, (_, rows) in enumerate(dataset.splits.rounds()):
        if fold in (0, 3):
            y[rows] = 0
    np.save(tmp_path / "data" / "target.npy", y)
    result = job(
        tmp_path, dataclasses.replace(NUMBERS, model=TableNetwork(width=8, num_members=2)), channel, metric="roc_auc"
    )
    assert all(message["value"] is not None for message in channel.reports)
    assert [message["epoch"] for message in channel.reports] == [2, 3, 4, 5]
    assert result["value"] is not None


@pytest.mark.slow
def test_slow_predictions_before_and_after_training_are_within_the_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path, 40)
    with_validation(tmp_path)
    predict, predicted = networks.predict, []

    def slow(network: Any, inputs: Any, rows: np.ndarray, precision: Any) -> np.ndarray:
        time.sleep(0.1 * len(rows))
        predicted.append(len(rows))
        return predict(network, inputs, rows, precision)

    for module in (networks, pace, pytorch):
        monkeypatch.setattr(module, "predict", slow)
    monkeypatch.setattr(pace, "FEW_ROWS", 2)
    endless = Training(epochs=100_000, batch_size=16, patience=10**6)
    assert job(tmp_path, dataclasses.replace(IMAGES, training=endless), seconds=7.0)["seconds"] < 7.3
    assert predicted.count(10) >= 3  # validated, then scored and checked as it is written


def test_an_audio_network_tells_high_from_low(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for row in range(48):
        place = tmp_path / "sounds" / ("high", "low")[row % 2]
        place.mkdir(parents=True, exist_ok=True)
        pitch = (2500, 300)[row % 2] * rng.uniform(0.8, 1.2)
        wave = np.sin(2 * np.pi * pitch * np.arange(4800) / 16000) * 0.3 + rng.normal(0, 0.01, 4800)
        soundfile.write(place / f"{row}.wav", wave, 16000)
    dataset = prepare(str(tmp_path / "sounds"), folder=tmp_path / "data").dataset
    recipe = Recipe(Preparation(audio_seconds=0.3), AudioNetwork(width=4), TRAINING)
    assert job(tmp_path, recipe)["value"] >= 0.8
    assert scores_of(tmp_path, dataset, np.arange(3)).shape == (3, 2)


@pytest.mark.parametrize(
    ("task", "metric"),
    [("binary", "roc_auc"), ("multiclass", "f1_macro"), ("multilabel", "f1_micro"), ("regression", "r2")],
)
@pytest.mark.parametrize(
    "model", [Heads(num_heads=6, hidden=16), TableNetwork(width=32, num_members=4), FusionNetwork(width=32)]
)
def test_dense_features_are_learnt_for_every_task_and_the_model_gives_its_scores(
    tmp_path: Path, task: str, metric: str, model: Model
) -> None:
    dataset = numbers(tmp_path, task)
    recipe = Recipe(NUMBERS.preparation, model, Training(epochs=12, batch_size=16, learning_rate=2e-2))
    result = job(tmp_path, recipe, metric=metric)
    assert dataset.schema.task == task
    assert result["value"] > 0.7
    parity = np.load(tmp_path / "trial" / "parity.npy")
    found = scores_of(tmp_path, dataset, parity_rows(dataset.splits))
    assert np.abs(found - parity).max() < 1e-3 * max(1.0, float(np.abs(parity).max()))
    before = found
    job(tmp_path, recipe, metric=metric, rows="development")
    after = scores_of(tmp_path, dataset, parity_rows(dataset.splits))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8
    assert sorted(file.name for file in (tmp_path / "trial").iterdir()) == [
        "chosen.json",
        "model",
        "parity.npy",
        "validation.npy",
    ]


def test_heads_take_missing_numbers_and_report_every_epoch_in_one_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 2))
    rows = [
        {"a": None if i % 7 == 0 else float(v[0]), "b": float(v[1]), "y": "p" if v.sum() > 0 else "n"}
        for i, v in enumerate(values)
    ]
    prepare(rows[:150], "y", folder=tmp_path / "data", validation=rows[150:])
    channel = RecordingChannel()
    result = job(tmp_path, NUMBERS, channel)
    assert result["value"] > 0.7
    assert [message["epoch"] for message in channel.reports] == list(range(1, len(channel.reports) + 1))
    assert all(math.isfinite(message["value"]) for message in channel.reports)
