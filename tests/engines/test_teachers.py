"""A student learns what its teachers answer, from jobs as they come."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thrifty.core.errors import ExternalError
from thrifty.data.dataset import Dataset
from thrifty.data.prepare import prepare
from thrifty.engines import balance, classical
from thrifty.engines.pytorch import fit
from thrifty.engines.scaling import TEACHERS_SHARE, network_targets
from thrifty.engines.teachers import taught
from thrifty.engines.trial import open_trial
from thrifty.evaluation.decisions import probabilities_of
from thrifty.recipe import Heads, Preparation, Recipe, TableNetwork, Training, Trees, to_json
from thrifty.runtime.graph import Graph
from thrifty.testing.executors import RecordingChannel

NUMBERS = Preparation(("numbers",))
TEACHER = Recipe(NUMBERS, Trees())
STUDENTS = (
    Recipe(NUMBERS, TableNetwork(), Training(epochs=30, batch_size=32, learning_rate=3e-3)),
    Recipe(NUMBERS, Heads(num_heads=3, hidden=16), Training(epochs=60, batch_size=32, learning_rate=1e-2)),
)


def prepared(folder: Path, target: str, contrary: bool = False) -> Dataset:
    """400 rows, and a validation part of 100. A quarter of the 400 labels is wrong, or all are."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    y = x[:, 0] + x[:, 1] * (x[:, 2] > 0)
    flipped = (rng.random(500) < 0.25) & (np.arange(500) < 400) | contrary
    answers: dict[str, Any] = {
        "binary": np.where((y > 0) ^ flipped, "yes", "no").tolist(),
        "multilabel": [[n for n, on in (("p", (v > 0) ^ off), ("q", v > 1)) if on] for v, off in zip(y, flipped)],
        "regression": (500 + 100 * y + 200 * flipped).tolist(),
    }
    rows = [{**{f"x{i}": v for i, v in enumerate(row)}, "y": a} for row, a in zip(x.tolist(), answers[target])]
    return prepare(rows[:400], "y", folder=folder / "data", validation=rows[400:]).dataset


def arguments(folder: Path, name: str, recipe: Recipe, metric: str, **more: Any) -> dict[str, Any]:
    place = folder / name
    place.mkdir()
    plain = {"data": str(folder / "data"), "folder": str(place), "cache": str(folder / "cache")}
    return {**plain, "recipe": to_json(recipe), "rows": "train", "metric": metric, **more}


def taught_by(folder: Path, temperature: float = 1.0) -> dict[str, Any]:
    """Arguments that name the model in folder/teacher twice."""
    one = {"model": str(folder / "teacher" / "model"), "temperature": 1.0}
    return {"models": [{**one, "weight": 0.25}, {**one, "weight": 0.75}], "temperature": temperature}


@pytest.mark.parametrize(
    ("target", "metric"), [("binary", "accuracy"), ("multilabel", "f1_macro"), ("regression", "rmse")]
)
def test_the_targets_of_a_student_are_what_its_teachers_answer_and_a_tenth_the_labels(
    tmp_path: Path, target: str, metric: str
) -> None:
    dataset = prepared(tmp_path, target)
    classical.fit(arguments(tmp_path, "teacher", TEACHER, metric), RecordingChannel())
    given = arguments(tmp_path, "student", STUDENTS[0], metric, teachers=taught_by(tmp_path), seconds=50.0)
    plain, student = (taught(open_trial(one, RecordingChannel())) for one in ({**given, "teachers": None}, given))
    rows = student.rounds()[0].train
    labels_NK, mean, scale = network_targets(plain, rows, 0.0)
    targets_NK, *same = network_targets(student, rows, 0.0)
    graph = Graph.load(tmp_path / "teacher" / "model")
    answers = probabilities_of(target, graph.scores(dataset.columns(rows), len(rows))).reshape(len(rows), -1)
    expected = (1 - TEACHERS_SHARE) * labels_NK + TEACHERS_SHARE * (answers - mean) / scale
    assert [mean, scale] == same
    assert np.abs(targets_NK - expected).max() < 1e-5
    assert np.abs(targets_NK - labels_NK).max() > 0.1
    assert balance.shift(student, rows) is None
    assert (balance.shift(plain, rows) is None) == (metric != "f1_macro")
    assert 40.0 < student.clock.left() <= 50.0


@pytest.mark.parametrize("recipe", STUDENTS, ids=["network", "heads"])
def test_a_student_goes_by_its_teachers_where_they_contradict_the_labels(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "contrary").mkdir()
    prepared(tmp_path / "contrary", "binary", contrary=True)
    classical.fit(arguments(tmp_path / "contrary", "teacher", TEACHER, "accuracy"), RecordingChannel())
    dataset = prepared(tmp_path, "binary")
    teachers, rows = taught_by(tmp_path / "contrary"), dataset.splits.validation_rows
    right = []
    for name, more in (("alone", {}), ("student", {"teachers": teachers})):
        fit(arguments(tmp_path, name, recipe, "accuracy", rows="development", **more), RecordingChannel())
        scores = Graph.load(tmp_path / name / "model").scores(dataset.columns(rows), len(rows))
        right.append(float((scores.argmax(axis=1) == dataset.targets(rows)).mean()))
    assert right[0] > 0.8
    assert right[1] < 0.2


def test_a_student_is_held_against_the_labels(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, "binary")
    classical.fit(arguments(tmp_path, "teacher", TEACHER, "accuracy"), RecordingChannel())
    given = arguments(tmp_path, "student", STUDENTS[1], "accuracy", teachers=taught_by(tmp_path))
    result = fit(given, RecordingChannel())
    scores = np.load(tmp_path / "student" / "validation.npy")
    rows = dataset.splits.validation_rows
    assert result["value"] == pytest.approx((scores.argmax(axis=1) == dataset.targets(rows)).mean())


def test_teachers_answers_are_made_less_timid_by_the_temperature_of_their_mix(tmp_path: Path) -> None:
    prepared(tmp_path, "binary")
    classical.fit(arguments(tmp_path, "teacher", TEACHER, "accuracy"), RecordingChannel())
    cold, plain = (
        taught(open_trial(arguments(tmp_path, f"at{heat}", STUDENTS[0], "accuracy", teachers=taught_by(tmp_path, heat)),
                          RecordingChannel())).taught
        for heat in (0.5, 1.0)
    )  # fmt: skip
    assert cold is not None
    assert plain is not None
    assert (np.abs(cold - 0.5) > np.abs(plain - 0.5)).all()


def test_teachers_that_take_all_the_time_are_an_error_that_says_so(tmp_path: Path) -> None:
    prepared(tmp_path, "binary")
    classical.fit(arguments(tmp_path, "teacher", TEACHER, "accuracy"), RecordingChannel())
    given = arguments(tmp_path, "student", STUDENTS[0], "accuracy", teachers=taught_by(tmp_path), seconds=1e-6)
    with pytest.raises(ExternalError, match="0 of 400 rows"):
        fit(given, RecordingChannel())
