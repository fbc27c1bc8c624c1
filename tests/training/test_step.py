import math

import numpy as np
import pytest
import torch
from torch import nn

from thrifty.core.errors import ExternalError, UsageError
from thrifty.training.batches import Rows
from thrifty.training.events import Diverged, EpochEnded, Event, MemoryRanOut, Stepped
from thrifty.training.loop import FitConfig, fit
from thrifty.training.losses import cross_entropy, dense_targets, squared_error
from thrifty.training.optimizers import adamw, groups
from thrifty.training.precision import Precision
from thrifty.training.state import State, begin

FLOAT = Precision(torch.float32)
CONFIG = FitConfig(epochs=4, batch_size=16, learning_rate=1e-2)


class Small(nn.Module):
    """Has room for `room` rows at a time, and counts how many it was given."""

    def __init__(self, room: int = 10**6, error: type[Exception] = torch.OutOfMemoryError, words: str = "") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.room, self.error, self.words = room, error, words
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise self.error(self.words)
        return self.body(x)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(num: int = 64) -> Rows:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, 4)).astype(np.float32)
    weights = rng.uniform(0.5, 1.5, num).astype(np.float32)
    return Rows({"x": x}, np.arange(num), dense_targets("binary", (x[:, 0] > 0).astype(int), 2), weights)


def start(**given: object) -> State:
    torch.manual_seed(0)
    model = Small(**given)  # type: ignore[arg-type]
    return begin(model, [adamw(groups(model.parameters(), 0.01))])


def run(state: State, precision: Precision = FLOAT, **config: object) -> list[Event]:
    return list(fit(state, rows(), FitConfig(**{**vars(CONFIG), **config}), cross_entropy, precision))


def step_losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Stepped)]


def test_micro_batches_give_the_losses_and_weights_of_the_whole_batch() -> None:
    whole, parts = start(), start()
    expected, found = step_losses(run(whole)), step_losses(run(parts, micro_batch=5))
    assert found == pytest.approx(expected, rel=1e-5)
    assert set(parts.model.sizes) == {4}  # 16 rows in four even parts
    for a, b in zip(whole.average.parameters(), parts.average.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_micro_batch_below_one_row_is_refused() -> None:
    with pytest.raises(UsageError, match="micro_batch is 0"):
        FitConfig(micro_batch=0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        (MemoryError, ""),
    ],
)
def test_out_of_memory_halves_the_micro_batch_takes_the_step_again_and_keeps_the_batch(
    error: type[Exception], words: str
) -> None:
    state = start(room=5, error=error, words=words)
    events = run(state)
    told = [event for event in events if isinstance(event, MemoryRanOut)]
    assert told == [MemoryRanOut(0, 8), MemoryRanOut(0, 4)]
    assert step_losses(events) == pytest.approx(step_losses(run(start())), rel=1e-5)
    assert state.micro_batch == 4


def test_where_one_row_does_not_fit_training_fails_clearly_and_other_errors_are_raised_as_they_are() -> None:
    with pytest.raises(ExternalError, match="even with one row at a time"):
        run(start(room=0))
    with pytest.raises(RuntimeError, match="shapes"):
        run(start(room=0, error=RuntimeError, words="shapes do not fit"))


def test_float16_learns_with_the_gradients_scaled_and_lowers_a_scale_that_is_too_large() -> None:
    state = start()
    state.loss_scale = 2.0**24
    found = step_losses(run(state, Precision(torch.float16), epochs=12))
    assert 2.0**8 < state.loss_scale < 2.0**24
    assert sum(found[-4:]) < 0.9 * sum(found[:4])
    expected = step_losses(run(start()))
    at_ease = start()
    assert step_losses(run(at_ease, Precision(torch.float16))) == pytest.approx(expected, rel=0.02)
    assert at_ease.loss_scale == 2.0**16


def test_small_gradients_are_lost_in_float16_without_a_scale() -> None:
    def tiny(scores_NK: torch.Tensor, targets_NK: torch.Tensor) -> torch.Tensor:
        return 1e-7 * cross_entropy(scores_NK, targets_NK)

    moved = []
    for scale in (1.0, 2.0**16):
        state = start()
        state.loss_scale = scale
        list(fit(state, rows(), CONFIG, tiny, Precision(torch.float16)))
        before = dict(state.initial)
        moved.append(float((state.model.state_dict()["body.0.weight"] - before["body.0.weight"]).norm()))
    assert moved[1] > 2 * moved[0]


def test_a_gradient_that_is_not_finite_takes_no_step_though_the_loss_is_finite() -> None:
    def rooted(scores_NK: torch.Tensor, targets_NK: torch.Tensor) -> torch.Tensor:
        return (scores_NK - scores_NK).abs().sqrt().sum(dim=1)  # 0, its gradient is not a number

    state = start()
    events = list(fit(state, rows(), CONFIG, rooted, FLOAT))
    assert [event.ended for event in events if isinstance(event, Diverged)] == [False, False, False, True]
    assert all(torch.isfinite(value).all() for value in state.best.values())


def test_a_late_explosion_is_noticed_though_the_first_loss_was_large_and_a_single_odd_batch_is_not_one() -> None:
    state = start()
    large = [1e4, 1e3, 10.0, *[0.5] * 40]
    assert not any(state.has_diverged(loss) for loss in [*large, 900.0, 0.5, 0.5])
    found = [state.has_diverged(loss) for loss in [100.0, 200.0, 400.0, 800.0, 1600.0]]
    assert found == [False] * 4 + [True]
    assert state.has_diverged(math.nan)


def test_regression_on_targets_far_from_zero_does_not_count_as_diverged() -> None:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    data = Rows({"x": x}, np.arange(64), np.full((64, 1), 300.0, np.float32))
    state = start()
    events = list(fit(state, data, CONFIG, squared_error, FLOAT))
    assert not any(isinstance(event, Diverged) for event in events)
    assert len([event for event in events if isinstance(event, EpochEnded)]) == 4
