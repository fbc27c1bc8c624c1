import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from thrifty.core.errors import StoreError
from thrifty.training import checkpoint
from thrifty.training.batches import Batch, Rows
from thrifty.training.loop import Diverged, EpochEnded, Event, Finished, FitConfig, fit
from thrifty.training.losses import cross_entropy, dense_targets
from thrifty.training.optimizers import adamw, groups
from thrifty.training.precision import Precision
from thrifty.training.state import State, begin

FLOAT = Precision(torch.float32)
CONFIG = FitConfig(epochs=6, batch_size=16, learning_rate=1e-2, seed=3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(num: int = 100) -> Rows:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    return Rows({"x": x}, np.arange(num), dense_targets("binary", y, 2, 0.05))


def start(seed: int = 0) -> State:
    torch.manual_seed(seed)
    model = Net()
    return begin(model, [adamw(groups(model.parameters(), 0.01))])


def run(state: State, config: FitConfig = CONFIG, **more: object) -> list[Event]:
    return list(fit(state, rows(), config, cross_entropy, FLOAT, **more))  # type: ignore[arg-type]


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, EpochEnded)]


def same(a: State, b: State) -> bool:
    pairs = zip(a.average.state_dict().values(), b.average.state_dict().values())
    return all(torch.equal(x, y) for x, y in pairs)


def test_the_loss_falls_and_the_last_step_ends_the_schedule() -> None:
    events = run(start())
    assert losses(events)[-1] < losses(events)[0]
    assert events[-1] == Finished("completed", 36, 6.0, 1.0, events[-1].seconds)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, second, other = start(), start(), start()
    assert losses(run(first)) == losses(run(second))
    assert same(first, second)
    run(other, FitConfig(**{**vars(CONFIG), "seed": 4}))
    assert not same(first, other)


def test_training_goes_on_from_a_checkpoint_with_the_same_losses_bit_for_bit(tmp_path: Path) -> None:
    whole = start()
    expected = run(whole, validate=lambda model: -float(sum(p.abs().sum() for p in model.parameters())))

    def value(model: nn.Module) -> float:
        return -float(sum(p.abs().sum() for p in model.parameters()))

    part = start()
    for event in fit(part, rows(), CONFIG, cross_entropy, FLOAT, validate=value):
        if isinstance(event, EpochEnded) and event.epoch == 3:
            checkpoint.save(part, tmp_path / "state.pt")
            break
    again = start(seed=99)
    checkpoint.load(again, tmp_path / "state.pt")
    rest = run(again, validate=value)
    assert losses(rest) == losses(expected)[3:]
    assert same(whole, again)
    assert all(torch.equal(whole.best[name], again.best[name]) for name in whole.best)
    assert whole.best_epoch == again.best_epoch


def test_a_checkpoint_of_another_network_or_format_is_refused(tmp_path: Path) -> None:
    state = start()
    checkpoint.save(state, tmp_path / "state.pt")
    model = nn.Linear(4, 2)
    with pytest.raises(StoreError, match="another network"):
        checkpoint.load(begin(model, [adamw(groups(model.parameters(), 0.0))]), tmp_path / "state.pt")
    torch.save({"format": 9}, tmp_path / "new.pt")
    with pytest.raises(StoreError, match="format 9"):
        checkpoint.load(state, tmp_path / "new.pt")


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    values = iter([0.1, 0.5, 0.3, 0.2, 0.1, 0.0])
    state = start()
    events = run(state, FitConfig(**{**vars(CONFIG), "patience": 2}), validate=lambda _: next(values))
    assert state.best_epoch == 2
    assert state.best_value == 0.5
    assert events[-1].because == "patience"
    assert [event.best for event in events if isinstance(event, EpochEnded)] == [True, True, False, False]


def test_a_run_bounded_in_seconds_ends_in_time_with_its_learning_rate_gone_down() -> None:
    state = start()
    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "seconds": 0.4})
    events = run(state, config, validate=lambda _: 0.0)
    assert events[-1].because == "seconds"
    assert events[-1].seconds < 0.7
    assert state.progress == 1.0
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert ended[-1].learning_rate < 0.2 * max(event.learning_rate for event in ended)


def test_a_first_validation_that_is_foreseen_is_within_the_seconds() -> None:
    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "seconds": 0.8, "reserve_seconds": 0.6})

    def validate(_: nn.Module) -> float:
        time.sleep(0.6)
        return 0.0

    assert run(start(), config, validate=validate)[-1].seconds < 1.0


def test_no_step_is_begun_that_would_end_after_the_seconds() -> None:
    def slow(batch: Batch, _: torch.Generator) -> Batch:
        time.sleep(0.3)
        return batch

    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "seconds": 1.1})
    events = run(start(), config, augment=slow)
    assert events[-1].step == 3
    assert events[-1].seconds < 1.1


def test_stop_epoch_ends_early_within_a_longer_schedule() -> None:
    events = run(start(), FitConfig(**{**vars(CONFIG), "stop_epoch": 2.5}))
    assert events[-1].step == 15
    assert events[-1].progress == pytest.approx(15 / 36)


def test_asked_to_stop_it_ends_with_what_it_has() -> None:
    asked = iter([False] * 8 + [True] * 9)
    state = start()
    events = run(state, validate=lambda _: 1.0, should_stop=lambda: next(asked))
    assert events[-1].because == "asked"
    assert events[-1].step == 9
    assert state.best


def test_a_run_that_diverges_begins_again_with_a_lower_learning_rate_and_gives_up_in_the_end() -> None:
    def bad(scores_NK: torch.Tensor, targets_NK: torch.Tensor) -> torch.Tensor:
        return scores_NK.sum(dim=1) * math.nan

    state = start()
    events = list(fit(state, rows(), CONFIG, bad, FLOAT))
    assert [event.ended for event in events if isinstance(event, Diverged)] == [False, False, False, True]
    assert events[-1].because == "diverged"
    assert all(torch.isfinite(value).all() for value in state.best.values())


def test_a_huge_learning_rate_recovers_by_restarting() -> None:
    state = start()
    config = FitConfig(**{**vars(CONFIG), "learning_rate": 1e4, "epochs": 20, "clip_norm": math.inf})
    events = run(state, config)
    assert any(isinstance(event, Diverged) for event in events)
    assert state.learning_rate_factor < 1


def test_fewer_rows_than_a_batch_are_one_step() -> None:
    events = list(fit(start(), rows(5), CONFIG, cross_entropy, FLOAT))
    assert events[-1].step == 6


def test_row_weights_decide_what_is_learned() -> None:
    data = rows(64)
    flipped = Rows(
        {"x": np.concatenate([data.inputs["x"]] * 2)}, np.arange(128),
        np.concatenate([data.targets_NK, data.targets_NK[:, ::-1]]),
        np.repeat(np.array([2.0, 0.0], np.float32), 64),
    )  # fmt: skip
    state = start()
    list(fit(state, flipped, FitConfig(**{**vars(CONFIG), "epochs": 20}), cross_entropy, FLOAT))
    state.average.load_state_dict(state.best)
    with torch.inference_mode():
        scores = state.average.eval()(torch.from_numpy(data.inputs["x"]))
    assert (scores.argmax(1).numpy() == data.targets_NK.argmax(1)).mean() > 0.8
