from pathlib import Path

import numpy as np
import pytest
from linear_model import SCHEMA, model_of

from thrifty.core.errors import UsageError
from thrifty.exporting.artifact import Member, assemble
from thrifty.exporting.measure import latency, size_bytes
from thrifty.runtime.predictor import Predictor


def test_single_rows_are_timed_in_milliseconds_and_the_folder_is_weighed(tmp_path: Path) -> None:
    folder = assemble([Member(model_of(tmp_path / "m", np.eye(2)))], SCHEMA, tmp_path / "artifact")
    found = latency(Predictor.load(folder), [{"a": 1, "b": 2}, {"a": 3, "b": None}], seconds=0.1, most=50)
    assert 0 < found.p50 <= found.p95 < 1000
    assert 10 <= found.num <= 50
    assert found.to_json() == {"p50": found.p50, "p95": found.p95}
    assert size_bytes(folder) == sum(file.stat().st_size for file in folder.iterdir())
    with pytest.raises(UsageError):
        latency(Predictor.load(folder), [])
