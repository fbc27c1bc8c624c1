"""What a fit takes beside its training."""

import numpy as np
import pytest

from thrifty.engines.inputs import Inputs
from thrifty.engines.pace import padded_rows, sample_of


def _inputs(lengths: np.ndarray | None) -> Inputs:
    every = np.arange(0, 2000, 2)
    return Inputs({}, every, lambda folder: [], {}, {}, lengths=lengths)


def test_rows_whose_prediction_is_timed_count_by_their_padded_length() -> None:
    rng = np.random.default_rng(0)
    lengths = np.where(np.arange(1000) % 20 == 0, 250, rng.integers(10, 20, 1000))
    inputs = _inputs(lengths)
    parts = sample_of(inputs, 64)
    assert sum(map(len, parts)) == 64
    padded = sum(len(rows) * lengths[rows // 2].max() for rows in parts)
    assert padded_rows(inputs, parts) == pytest.approx(padded / lengths.mean())
    assert sum(map(len, sample_of(_inputs(np.full(1000, 7)), 64))) == 64


def test_without_padding_they_are_from_everywhere() -> None:
    (rows,) = sample_of(_inputs(None), 8)
    assert padded_rows(_inputs(None), [rows]) == 8
    assert len(rows) == 8
    assert rows.max() > 1500
