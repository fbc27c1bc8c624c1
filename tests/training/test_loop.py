import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from thrifty.core.errors import StoreError
from thrifty.training import checkpoint
from thrifty.training.batches import Batch, Rows
from thrifty.training.events import Diverged, EpochEnded, Event, Finished, Stepped, Validated
from thrifty.training.loop import FitConfig, fit
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
    assert events[-1] == Finished("completed", 36, 6.0, 1.0, events[-1].seconds, events[-1].waiting_share)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, second, other = start(), start(), start()
    assert losses(run(first)) == losses(run(second))
    assert same(first, second)
    run(other, FitConfig(**{**vars(CONFIG), "seed": 4}))
    assert not same(first, other)


def test_training_goes_on_from_a_checkpoint_with_the_same_losses_bit_for_bit(tmp_path: Path) -> None:
    whole = start()

    def value(model: nn.Module) -> Validated:
        return Validated(-float(sum(p.abs().sum() for p in model.parameters())))

    expected = run(whole, validate=value)
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


@pytest.mark.parametrize("stop", [1, 8, 12, 35, 36])
@pytest.mark.parametrize("low", [torch.float32, torch.float16])
def test_training_goes_on_from_the_middle_of_an_epoch_with_the_same_losses_bit_for_bit(
    tmp_path: Path, stop: int, low: torch.dtype
) -> None:
    config = FitConfig(**{**vars(CONFIG), "micro_batch": 6, "patience": 9})

    def begun(seed: int) -> State:
        torch.manual_seed(seed)
        model = Net()
        first, second = groups(model.body[0].parameters(), 0.1), groups(list(model.body[1:].parameters()), 0.0)
        state = begin(model, [adamw(first), torch.optim.SGD(second, lr=0.0, momentum=0.9)])
        state.loss_scale = 2.0**20  # too large at first, for float16
        return state

    def noisy(batch: Batch, generator: torch.Generator) -> Batch:
        x = batch.inputs["x"]
        return batch._replace(inputs={"x": x + 0.1 * torch.randn(x.shape, generator=generator)})

    def value(model: nn.Module) -> Validated:
        return Validated(-float(sum(p.abs().sum() for p in model.parameters())))

    def events_of(state: State) -> Iterator[Event]:
        return fit(state, rows(), config, cross_entropy, Precision(low), augment=noisy, validate=value)

    def told(events: list[Event]) -> list[Event]:
        timeless = {"seconds": 0.0, "waiting_share": 0.0}
        return [replace(e, **{k: v for k, v in timeless.items() if hasattr(e, k)}) for e in events]

    whole = begun(0)
    expected = told(list(events_of(whole)))
    part = begun(0)
    for event in events_of(part):
        if isinstance(event, Stepped) and event.step == stop:
            checkpoint.save(part, tmp_path / "state.pt")
            break
    again = begun(99)
    checkpoint.load(again, tmp_path / "state.pt")
    torch.manual_seed(12345)
    rest = told(list(events_of(again)))
    place = next(i for i, event in enumerate(expected) if isinstance(event, Stepped) and event.step == stop)
    assert rest == expected[place + 1 :]
    assert same(whole, again)
    assert all(torch.equal(whole.best[name], again.best[name]) for name in whole.best)
    assert whole.loss_scale == again.loss_scale


def test_a_finished_run_that_is_loaded_again_takes_no_further_step() -> None:
    state = start()
    run(state, validate=lambda _: Validated(1.0))
    weights = {name: value.clone() for name, value in state.model.state_dict().items()}
    events = run(state, validate=lambda _: Validated(1.0))
    assert [type(event) for event in events] == [Finished]
    assert all(torch.equal(value, state.model.state_dict()[name]) for name, value in weights.items())


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
    events = run(state, FitConfig(**{**vars(CONFIG), "patience": 2}), validate=lambda _: Validated(next(values)))
    assert state.best_epoch == 2
    assert state.best_value == 0.5
    assert events[-1].because == "patience"
    assert [event.best for event in events if isinstance(event, EpochEnded)] == [True, True, False, False]


def test_patience_waits_while_the_loss_of_validation_still_falls_and_the_value_stands() -> None:
    found = iter([Validated(0.1, loss) for loss in (1.0, 0.9, 0.8, 0.7, 0.6999, 0.6998, 0.6997)])
    state = start()
    events = run(state, FitConfig(**{**vars(CONFIG), "patience": 2, "epochs": 9}), validate=lambda _: next(found))
    assert state.best_epoch == 1
    assert state.epoch == 6
    assert events[-1].because == "patience"


def test_a_run_bounded_in_seconds_ends_in_time_with_its_learning_rate_gone_down() -> None:
    state = start()
    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "seconds": 0.4})
    events = run(state, config, validate=lambda _: Validated(0.0))
    assert events[-1].because == "seconds"
    assert events[-1].seconds < 0.7
    assert state.progress == 1.0
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert ended[-1].learning_rate < 0.2 * max(event.learning_rate for event in ended)


def test_a_first_validation_that_is_foreseen_is_within_the_seconds() -> None:
    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "seconds": 0.8, "reserve_seconds": 0.6})

    def validate(_: nn.Module) -> Validated:
        time.sleep(0.6)
        return Validated(0.0)

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


def test_a_run_that_stops_early_is_not_hurried_through_the_schedule_where_seconds_are_short() -> None:
    state = start()
    config = FitConfig(**{**vars(CONFIG), "epochs": 1e6, "stop_epoch": 1e5, "seconds": 0.5})
    events = run(state, config)
    assert events[-1].because == "seconds"
    assert 0.08 < events[-1].progress < 0.11


def test_asked_to_stop_it_ends_with_what_it_has() -> None:
    asked = iter([False] * 8 + [True] * 9)
    state = start()
    events = run(state, validate=lambda _: Validated(1.0), should_stop=lambda: next(asked))
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


def test_after_a_restart_patience_counts_from_what_the_new_start_gains() -> None:
    found = iter([Validated(0.9, 0.1)] + [Validated(0.5, 2.0 - 0.1 * k) for k in range(10)])
    parts = []

    def once(scores_NK: torch.Tensor, targets_NK: torch.Tensor) -> torch.Tensor:
        parts.append(0)
        return cross_entropy(scores_NK, targets_NK) * (math.nan if len(parts) == 8 else 1.0)

    state = start()
    config = FitConfig(**{**vars(CONFIG), "patience": 2})
    events = list(fit(state, rows(), config, once, FLOAT, validate=lambda _: next(found)))
    assert [event.ended for event in events if isinstance(event, Diverged)] == [False]
    assert events[-1].because == "completed"
    assert state.best_value == 0.9


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
