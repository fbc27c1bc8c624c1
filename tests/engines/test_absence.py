"""What models answer for rows that lack an image or a text that every training row had, and where some lacked it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from thrifty.data.dataset import Dataset
from thrifty.data.prepare import Options, prepare
from thrifty.engines import classical, pytorch
from thrifty.engines.absence import Fill, Usual
from thrifty.engines.trial import parity_rows
from thrifty.recipe import (
    FusionNetwork,
    Heads,
    ImageNetwork,
    Kernel,
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
from thrifty.runtime.scores import probabilities_of
from thrifty.testing.executors import RecordingChannel

BLOCKS = ("numbers", "tfidf", "text_statistics", "image_statistics")
TRAINING = Training(epochs=10, batch_size=16, learning_rate=1e-2, augmentation=0.0)


def mixture(folder: Path, num_rows: int = 120, lacking: int = 0) -> Dataset:
    """Rows whose number tells the class, picture and text about; every `lacking`-th row has no picture."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(num_rows):
        one = row % 2 == 0
        file = folder / f"{row}.png"
        Image.fromarray((rng.integers(0, 120, (16, 16)) + rng.integers(0, 90) + one * 40).astype(np.uint8)).save(file)
        words = rng.choice(["fine", "good", "great"] if one != (rng.random() < 0.15) else ["poor", "bad", "worse"], 3)
        picture = None if lacking and row % lacking == 0 else str(file)
        number = float(rng.normal() + 4 * one)
        rows.append({"x": number, "picture": picture, "words": " ".join(words) + f" {row}", "y": "ab"[one]})
    options = Options(overrides={"picture": "image", "words": "text"}, folds=None)
    return prepare(rows, "y", folder=folder / "data", options=options).dataset


def fitted(folder: Path, dataset: Dataset, recipe: Recipe) -> Graph:
    """The recipe's model, checked to give from raw rows what the engine said."""
    (folder / "trial").mkdir()
    engine = classical.fit if isinstance(recipe.model, (Linear, Kernel, Trees)) else pytorch.fit
    arguments = {"data": str(folder / "data"), "folder": str(folder / "trial"), "cache": str(folder / "cache")}
    engine({**arguments, "recipe": to_json(recipe), "rows": "train", "metric": "accuracy"}, RecordingChannel())
    graph = Graph.load(folder / "trial" / "model")
    rows = parity_rows(dataset.splits)
    parity = np.load(folder / "trial" / "parity.npy")
    assert np.abs(graph.scores(dataset.columns(rows), len(rows)) - parity).max() < 1e-3
    return graph


def without(dataset: Dataset, name: str) -> tuple[dict[str, list[Any]], np.ndarray]:
    rows = dataset.splits.development_rows
    columns = dataset.columns(rows)
    return {**columns, name: [None] * len(rows)}, dataset.targets(rows)


@pytest.mark.parametrize(
    "model",
    [Linear(), Kernel(num_centers=50), Trees(min_rows_per_leaf=5, max_trees=30), Heads(num_heads=4, hidden=16),
     TableNetwork(width=32, num_members=4), FusionNetwork(width=32, convolutions=4, image_size=16)],
    ids=lambda model: model.kind,
)  # fmt: skip
@pytest.mark.parametrize(("name", "lacking"), [("picture", 0), ("picture", 5), ("words", 0)])
def test_a_row_without_a_picture_or_a_text_is_told_by_the_others(
    tmp_path: Path, model: Model, name: str, lacking: int
) -> None:
    dataset = mixture(tmp_path, lacking=lacking)
    blocks = tuple(b for b in BLOCKS if not (isinstance(model, Kernel) and b == "tfidf"))
    graph = fitted(tmp_path, dataset, Recipe(Preparation(blocks), model, TRAINING))
    columns, y = without(dataset, name)
    assert (graph.scores(columns, len(y)).argmax(axis=1) == y).mean() > 0.85


def test_a_network_of_pictures_gives_the_shares_of_the_classes_without_one(tmp_path: Path) -> None:
    dataset = mixture(tmp_path)
    recipe = Recipe(Preparation(image_size=16), ImageNetwork(width=4), TRAINING)
    graph = fitted(tmp_path, dataset, recipe)
    columns, y = without(dataset, "picture")
    assert probabilities_of("binary", graph.scores(columns, len(y))) == pytest.approx(0.5, abs=0.02)


def test_a_graph_fills_as_the_numbers_were_filled() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 4)).astype(np.float32)
    values[:, [0, 2]] = 0
    values[1, 0] = values[2, 2] = 1  # the first text of row 1 and the second of row 2 are missing
    present = values[:, [0, 2]] == 0
    fill = Fill.fit("t", "values", values, present, flags=(0, 2), missing=1.0)
    filled = fill.apply(values, present)
    assert filled[1].tolist() == [1.0, pytest.approx(values[[0, 2, 3, 4, 5], 1].mean()), *values[1, 2:]]
    (found,) = onnxruntime.InferenceSession(fill.graph().SerializeToString()).run(None, {"t": values})
    assert np.array_equal(found, filled)
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])
    present = mask.sum(axis=1, keepdims=True) > 2
    fill = Fill.fit("t", "mask", values, present, least=2.0)
    assert fill.width == 5
    (found,) = onnxruntime.InferenceSession(fill.graph().SerializeToString()).run(None, {"t": values, "t_mask": mask})
    assert np.array_equal(found, fill.apply(values, present))
    usual = Usual("mask", 2.0, np.array([7.0, 8.0], np.float32))
    session = onnxruntime.InferenceSession(usual.graph().SerializeToString())
    (found,) = session.run(None, {"learned": values[:, :2], "mask": mask})
    assert np.array_equal(found, usual.apply(values[:, :2], mask))
    assert found[1].tolist() == [7.0, 8.0]
