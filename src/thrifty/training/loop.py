"""The training loop: an iterator of events that reads top to bottom.

    model = precision.place(model)
    state = begin(model, for_convolutions(model, weight_decay))
    for event in fit(state, rows, config, loss, precision, validate=validate):
        match event: ...
    best = state.best

Shapes: N rows of a batch, K outputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from thrifty.core.errors import UsageError
from thrifty.training.batches import Augment, Rows, steps_per_epoch
from thrifty.training.events import Diverged, EpochEnded, Event, Finished, Stepped, Validated
from thrifty.training.loading import Loader
from thrifty.training.losses import Loss
from thrifty.training.parallel import ALONE, Ranks
from thrifty.training.precision import Precision
from thrifty.training.schedules import Schedule, warmup_cosine
from thrifty.training.state import State
from thrifty.training.step import Stepper

MAX_RESTARTS = 3
RESTART_FACTOR = 0.25  # on the learning rate


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained.

    epochs: length of the schedule in passes over the rows; fractions are allowed.
    seconds: wall clock of the run, validation included; the schedule ends (at a learning rate of 0) when it does.
        None: no bound, and then no clock enters the result.
    reserve_seconds: what the first validation is expected to take; later ones are foreseen by the one before.
    stop_epoch: where to end before the schedule does, as an earlier run found best; None is the schedule's end.
    patience: epochs without a better value or a lower loss of validation after which to stop; None never does.
    average_share: horizon of the weights' moving average as a share of the steps; 0 keeps no average.
    clip_norm: the largest norm of all gradients together, infinite for none.
    micro_batch: rows of a batch (in each process) that go through the network at once; None for all. The step is that
        of the whole batch; batch normalisation and dropout draw on each part alone.
    compile: whether to compile the network; None where it pays within `seconds`.
    """

    epochs: float = 30.0
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup_share: float = 0.1
    seconds: float | None = None
    reserve_seconds: float = 0.0
    stop_epoch: float | None = None
    patience: int | None = None
    average_share: float = 0.02
    clip_norm: float = 5.0
    micro_batch: int | None = None
    compile: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise UsageError(f"micro_batch is {self.micro_batch}; it must be at least 1, or None for the whole batch")


Validate = Callable[[nn.Module], Validated]

__all__ = ["Diverged", "EpochEnded", "Event", "Finished", "FitConfig", "Stepped", "Validated", "fit"]


def fit(
    state: State,
    rows: Rows,
    config: FitConfig,
    loss: Loss,
    precision: Precision,
    *,
    augment: Augment | None = None,
    validate: Validate | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Trains `state` on the rows, epoch by epoch; the weights to keep are in `state.best` when it is over.

    Without `validate` these are the last ones. A state loaded from a checkpoint goes on where it was. ranks: the
    processes that train together, see `training.parallel`. Raises ExternalError when not even one row fits into memory.
    """
    schedule = Schedule.of(
        steps_per_epoch(len(rows), config.batch_size), config.epochs, config.stop_epoch, config.seconds, ranks,
        config.reserve_seconds,
    )  # fmt: skip
    loader = Loader(rows, config.batch_size, config.seed, augment, ranks, precision.device)
    state.micro_batch = state.micro_batch or config.micro_batch or 0
    timed = config.seconds is not None and ranks.size == 1 and rows.lengths_N is None  # lengths: shapes vary
    compile_ = False if config.compile is None and not timed else config.compile
    stepper = Stepper(state, loss, precision, ranks, clip_norm=config.clip_norm, seed=config.seed, compile=compile_)
    stopwatch = time.monotonic() - state.seconds
    while True:
        because = schedule.over(state)
        if not because and validate and config.patience and state.epoch - state.gained_epoch >= config.patience:
            because = "patience"
        if because and not state.step_in_epoch:
            break

        batch_loss = math.nan
        state.model.train()
        for batch in () if because else loader.epoch(state.epoch, state.step_in_epoch):
            state.learning_rate = config.learning_rate * state.learning_rate_factor
            state.learning_rate *= warmup_cosine(state.progress, config.warmup_share)
            batch_loss = stepper.take(batch, schedule.seconds_left(state))
            yield from stepper.told()
            if state.has_diverged(batch_loss):
                because = "diverged"
                break
            before, state.seconds = state.seconds, time.monotonic() - stopwatch
            schedule.took(state.seconds - before)
            because = schedule.over(state, should_stop())
            state.follow(config.average_share)
            yield Stepped(state.step, batch_loss)
            if because:
                break

        ranks.follow_first(state.average.buffers())
        if because == "diverged" or not state.is_finite():
            ended = state.num_restarts == MAX_RESTARTS
            yield Diverged(state.step, batch_loss, state.learning_rate, ended)
            if ended:
                because = "diverged"
                state.average.load_state_dict(state.initial)
                break
            state.restart(RESTART_FACTOR)
            continue

        validating = time.monotonic()
        found = Validated(math.nan)
        if validate is not None:
            found = Validated(*ranks.first(validate(state.average) if not ranks.rank else Validated(0.0, 0.0)))
        schedule.reserve_seconds = time.monotonic() - validating
        state.seconds = time.monotonic() - stopwatch
        yield state.end_epoch(found)
        if because:
            break
    if not state.best:
        state.keep()
    epochs = state.step / schedule.steps_per_epoch
    yield Finished(because, state.step, epochs, state.progress, state.seconds, loader.waiting_share)
