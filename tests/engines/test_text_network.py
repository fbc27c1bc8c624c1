"""The text network from scratch as a job: every task, and the same scores from raw rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thrifty.data.prepare import Options, prepare
from thrifty.engines.pytorch import fit
from thrifty.engines.trial import parity_rows
from thrifty.exporting.quantize import quantize
from thrifty.recipe import Preparation, Recipe, TextNetwork, Training, to_json
from thrifty.runtime.graph import Graph
from thrifty.testing.executors import RecordingChannel

RECIPE = Recipe(
    Preparation(), TextNetwork(width=32, num_layers=1, num_tokens=600, dropout=0.1),
    Training(epochs=20, batch_size=16, learning_rate=1e-2, augmentation=0.1),
)  # fmt: skip
WORDS = {
    "good": 1,
    "great": 1,
    "καλό": 1,
    "😀": 1,
    "bad": -1,
    "awful": -1,
    "κακό": -1,
    "😡": -1,
    "the": 0,
    "film": 0,
    "は": 0,
}


def rows_of(task: str, num_rows: int = 200) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num_rows):
        words = rng.choice(list(WORDS), rng.integers(3, 9))
        value = sum(WORDS[word] for word in words) + rng.normal(0, 0.1)
        answer = {
            "binary": "yes" if value > 0 else "no",
            "multiclass": "abc"[int(np.digitize(value, [-0.5, 0.5]))],
            "regression": float(1000 + 100 * value),
            "multilabel": [name for name, on in (("p", value > 0), ("q", "film" in words)) if on],
        }[task]
        text = " ".join(words) + f" {number}"
        rows.append({"text": None if number % 40 == 5 else text, "y": answer})
    return rows


def job(folder: Path, **arguments: Any) -> dict[str, Any]:
    (folder / "trial").mkdir(exist_ok=True)
    plain = {"data": str(folder / "data"), "folder": str(folder / "trial"), "cache": str(folder / "cache")}
    return fit({**plain, "recipe": to_json(RECIPE), "rows": "train", **arguments}, RecordingChannel())


@pytest.mark.parametrize(
    ("task", "metric"),
    [("binary", "roc_auc"), ("multiclass", "accuracy"), ("multilabel", "f1_micro"), ("regression", "r2")],
)
def test_texts_are_learnt_for_every_task_and_the_model_gives_the_same_scores(
    tmp_path: Path, task: str, metric: str
) -> None:
    options = Options(overrides={"text": "text"})
    dataset = prepare(rows_of(task), "y", folder=tmp_path / "data", options=options).dataset
    assert dataset.schema.task == task
    assert job(tmp_path, metric=metric)["value"] > 0.7
    rows = parity_rows(dataset.splits)
    parity = np.load(tmp_path / "trial" / "parity.npy")
    model = Graph.load(tmp_path / "trial" / "model")
    found = model.scores(dataset.columns(rows), len(rows))
    assert np.abs(found - parity).max() < 1e-3 * max(1.0, float(np.abs(parity).max()))
    odd = ["", None, "x", "北京", "good " * 500]
    together = model.scores({"text": odd}, len(odd))
    assert np.isfinite(together).all()
    assert np.array_equal(together[0], together[1])
    for row, text in enumerate(odd):
        assert np.allclose(model.scores({"text": [text]}, 1)[0], together[row], atol=1e-3)


def test_an_int8_copy_is_smaller_and_gives_nearly_the_same(tmp_path: Path) -> None:
    large = Recipe(RECIPE.preparation, TextNetwork(width=128, num_layers=1, num_tokens=600), RECIPE.training)
    prepare(rows_of("binary"), "y", folder=tmp_path / "data", options=Options(overrides={"text": "text"}))
    job(tmp_path, metric="roc_auc", recipe=to_json(large))
    columns = {"text": [row["text"] or "" for row in rows_of("binary")[:40]]}
    made, why = quantize(tmp_path / "trial" / "model", tmp_path / "int8", columns, 40)
    assert made is not None, why
    assert made.methods == {"network.onnx": "blocks"}
    assert made.bytes_after < 0.6 * made.bytes_before
    before, after = (Graph.load(folder).scores(columns, 40) for folder in (tmp_path / "trial" / "model", made.folder))
    assert np.abs(before - after).max() < 0.1 * np.abs(before).max()
