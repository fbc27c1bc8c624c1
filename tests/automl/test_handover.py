"""What a refit is expected to take."""

from types import SimpleNamespace
from typing import Any

import pytest

from thrifty.automl.handover import _refit_seconds
from thrifty.core.files import write_json


@pytest.mark.parametrize(
    ("chosen", "seconds"),
    [
        ({"epochs": 40.0, "stop_epoch": 10.0}, 1.25 * 1.15 * 12.5),
        ({"epochs": 40.0, "stop_epoch": 40.0}, 1.25 * 1.15 * 40.0),
        ({"epochs": 40.0, "stop_epoch": None}, 1.25 * 1.15 * 40.0),
        ({"strength": 0.1}, 1.25 * 1.15 * 40.0),
    ],
)
def test_a_network_takes_as_long_as_to_the_epoch_that_was_chosen(tmp_path: Any, chosen: Any, seconds: float) -> None:
    session: Any = SimpleNamespace(
        directory=SimpleNamespace(trial=lambda ident: tmp_path),
        plan=SimpleNamespace(planned={"network": SimpleNamespace(candidate=SimpleNamespace(all_cores=True))}),
        executor=SimpleNamespace(cores=2),
        grown=1.25,
    )
    trial: Any = SimpleNamespace(id=0, config={"candidate": "network"}, cost_seconds=40.0)
    write_json(tmp_path / "chosen.json", chosen)
    assert _refit_seconds(session, trial) == pytest.approx(seconds)
