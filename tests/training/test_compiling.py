import math

import numpy as np
import pytest
import torch
from torch import nn

from thrifty.training import compiling
from thrifty.training.batches import Rows
from thrifty.training.compiling import TIMED_STEPS, WARM_STEPS, Compiling, pays
from thrifty.training.events import Compiled, Finished, Stepped
from thrifty.training.loop import FitConfig, fit
from thrifty.training.losses import cross_entropy, dense_targets
from thrifty.training.optimizers import adamw, groups
from thrifty.training.precision import Precision
from thrifty.training.state import State, begin

NUM = WARM_STEPS + TIMED_STEPS


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Stands in for what torch.compile gives."""
    compiled = nn.Identity()
    monkeypatch.setattr(torch, "compile", lambda network: compiled)
    monkeypatch.setattr(compiling, "can_compile", lambda device: True)
    return compiled


def through(one: Compiling, seconds: list[float], left: float = 1e5) -> list[Compiled]:
    told = [one.after(step, value, left) for step, value in enumerate(seconds)]
    return [event for event in told if event is not None]


def test_compiling_pays_in_long_budgets_alone_and_sooner_on_a_gpu() -> None:
    assert not pays(600.0, "cpu")
    assert pays(3600.0, "cpu")
    assert pays(600.0, "cuda")
    assert not pays(60.0, "cuda")
    assert not pays(1e9, "mps")


def test_a_network_is_compiled_and_kept_where_its_steps_become_faster(fake: nn.Module) -> None:
    one = Compiling(nn.Linear(2, 2), "cpu", None)
    told = through(one, [0.1] * NUM + [30.0] + [0.08] * NUM)
    assert [(event.kept, event.seconds) for event in told] == [(True, 30.0)]
    assert told[0].speedup == pytest.approx(1.25)
    assert one.network is fake


def test_a_network_that_is_no_faster_goes_on_uncompiled(fake: nn.Module) -> None:
    one = Compiling(nn.Linear(2, 2), "cpu", None)
    assert not through(one, [0.1] * NUM + [30.0] + [0.1] * NUM)[0].kept
    assert one.network is one.plain


def test_a_short_budget_never_compiles(fake: nn.Module) -> None:
    one = Compiling(nn.Linear(2, 2), "cpu", None)
    assert through(one, [0.1] * 3 * NUM, left=300.0) == []
    assert one.network is one.plain


def test_a_failing_compiler_is_told_and_training_goes_on_with_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(nn.Module):
        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such instruction\nmore lines")

    def run(wanted: bool) -> list[object]:
        torch.manual_seed(0)
        model = Net()
        state: State = begin(model, [adamw(groups(model.parameters(), 0.0))])
        x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
        rows = Rows({"x": x}, np.arange(32), dense_targets("binary", (x[:, 0] > 0).astype(int), 2))
        config = FitConfig(epochs=2, batch_size=8, compile=wanted)
        return list(fit(state, rows, config, cross_entropy, Precision(torch.float32)))

    expected = [event.loss for event in run(False) if isinstance(event, Stepped)]
    monkeypatch.setattr(torch, "compile", lambda network: Broken())
    events = run(True)
    told = [event for event in events if isinstance(event, Compiled)]
    assert [(event.kept, event.why) for event in told] == [(False, "ValueError: no such instruction")]
    assert math.isnan(told[0].speedup)
    assert [event.loss for event in events if isinstance(event, Stepped)] == expected
    assert isinstance(events[-1], Finished)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.mark.slow
def test_the_real_compiler_gives_the_same_losses_within_rounding() -> None:
    found = []
    for wanted in (False, True):
        torch.manual_seed(0)
        model = Net()
        x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
        rows = Rows({"x": x}, np.arange(32), dense_targets("binary", (x[:, 0] > 0).astype(int), 2))
        config = FitConfig(epochs=6, batch_size=8, compile=wanted)
        state = begin(model, [adamw(groups(model.parameters(), 0.0))])
        events = list(fit(state, rows, config, cross_entropy, Precision(torch.float32)))
        found.append([event.loss for event in events if isinstance(event, Stepped)])
        told = [event for event in events if isinstance(event, Compiled)]
    assert [event.kept for event in told] == [True]
    assert found[1] == pytest.approx(found[0], rel=1e-4)
