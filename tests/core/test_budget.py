"""The one clock."""

import time

import pytest

from thrifty.core.budget import Clock


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_setting_the_systems_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    clock = Clock(60.0, started=time.time() - 10.0)
    jumped = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: jumped)
    assert clock.elapsed() == pytest.approx(10.0, abs=1.0)
    assert clock.left() == pytest.approx(50.0, abs=1.0)
