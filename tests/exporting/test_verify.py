from pathlib import Path

import numpy as np
import pytest
from linear_model import SCHEMA, model_of

from thrifty.exporting.artifact import Member, assemble
from thrifty.exporting.verify import parity
from thrifty.runtime.predictor import Predictor


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return Predictor.load(assemble([Member(model_of(tmp_path / "m", np.eye(2)))], SCHEMA, tmp_path / "artifact"))


def rows(num: int = 100) -> tuple[dict[str, list], np.ndarray]:
    values = np.random.default_rng(0).normal(size=(num, 2)).astype(np.float32)
    e = np.exp(values.astype(np.float64))
    return {"a": values[:, 0].tolist(), "b": values[:, 1].tolist()}, e / e.sum(axis=1, keepdims=True)


def test_a_faithful_artifact_agrees_at_every_batch_size(predictor: Predictor) -> None:
    columns, expected = rows()
    found = parity(predictor, expected, columns)
    assert found.max_abs_difference < 1e-6
    assert (found.changed, found.rows, found.batch_sizes) == (0, 100, (1, 7, 64, 100))
    assert found.to_json()["max_abs_difference"] == found.max_abs_difference


def test_a_difference_in_one_row_is_found(predictor: Predictor) -> None:
    columns, expected = rows()
    expected[40] = expected[40][::-1]
    found = parity(predictor, expected, columns)
    assert found.max_abs_difference == pytest.approx(abs(expected[40, 0] - expected[40, 1]), abs=1e-6)
    assert found.changed == 1


def test_rows_that_cannot_be_read_do_not_count_and_a_nan_is_a_difference_without_bound(predictor: Predictor) -> None:
    columns, expected = rows(20)
    columns["a"][3] = "bad"
    expected[3] = 9
    found = parity(predictor, expected, columns)
    assert found.max_abs_difference < 1e-6
    assert (found.rows, found.problems) == (19, 1)
    columns["a"][4] = None
    assert parity(predictor, expected, columns).max_abs_difference == float("inf")
