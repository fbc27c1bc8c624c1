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

import torch
from torch import nn

from thrifty.core import seeds
from thrifty.training.batches import Augment, Batch, Rows, epoch_of, steps_per_epoch
from thrifty.training.losses import Loss
from thrifty.training.precision import Precision
from thrifty.training.schedules import warmup_cosine
from thrifty.training.state import State

MAX_RESTARTS = 3
RESTART_FACTOR = 0.25  # on the learning rate


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained.

    epochs: length of the schedule in passes over the rows; fractions are allowed.
    seconds: wall clock of the run, validation included; the schedule ends (at a learning rate of 0) when it does.
        None: no bound, and then no clock enters the result.
    stop_epoch: where to end before the schedule does, as an earlier run found best; None is the schedule's end.
    reserve_seconds: what the first validation is expected to take; later ones are foreseen by the one before.
    patience: epochs without a better validation after which to stop; None never does.
    average_share: horizon of the weights' moving average as a share of the steps; 0 keeps no average.
    clip_norm: the largest norm of all gradients together, infinite for none.
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
    seed: int = 0


@dataclass(frozen=True)
class EpochEnded:
    """An epoch (counted from 1; the last may be a part of one) is over.

    loss: mean training loss. value: what `validate` gave, higher is better, or NaN. best: no epoch had a higher.
    """

    epoch: int
    loss: float
    value: float
    best: bool
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Diverged:
    """The loss was not finite or grew many times over; training began again with the learning rate given, or ended."""

    step: int
    loss: float
    learning_rate: float
    ended: bool


@dataclass(frozen=True)
class Finished:
    """Training is over: `because` of the schedule (`completed`), `seconds`, `patience`, `diverged` or `asked`.

    step: steps taken; epochs: the same in epochs; progress: place in the schedule, 1 at its end.
    """

    because: str
    step: int
    epochs: float
    progress: float
    seconds: float


Event = EpochEnded | Diverged | Finished
Validate = Callable[[nn.Module], float]


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
) -> Iterator[Event]:
    """Trains `state` on the rows, epoch by epoch; the weights to keep are in `state.best` when it is over.

    Without `validate` these are the last ones. A state loaded from a checkpoint goes on where it was.
    """
    schedule = _Schedule.of(config, len(rows))
    stopwatch = time.monotonic() - state.seconds
    while True:
        torch.manual_seed(seeds.derive(config.seed, "network", state.epoch))
        generator = torch.Generator().manual_seed(seeds.derive(config.seed, "augment", state.epoch))
        state.model.train()
        because, losses = "", []
        for batch in epoch_of(rows, config.batch_size, config.seed, state.epoch):
            stepping = time.monotonic()
            if augment is not None:
                batch = augment(batch, generator)
            rate = config.learning_rate * state.learning_rate_factor
            rate *= warmup_cosine(state.progress, config.warmup_share)
            losses.append(_step(state, batch, loss, rate, precision, config.clip_norm))
            if _has_diverged(state, losses[-1]):
                because = "diverged"
                break
            _follow(state, config.average_share)
            state.seconds = time.monotonic() - stopwatch
            schedule.took(time.monotonic() - stepping)
            because = "asked" if should_stop() else schedule.over(state)
            if because:
                break

        if because == "diverged":
            ended = state.num_restarts == MAX_RESTARTS
            yield Diverged(state.step, losses[-1], rate, ended)
            if ended:
                break
            state.restart(RESTART_FACTOR)
            continue

        state.epoch += 1
        validating = time.monotonic()
        value = math.nan if validate is None else validate(state.average)
        schedule.reserve_seconds = time.monotonic() - validating
        state.seconds = time.monotonic() - stopwatch
        best = state.keep_if_best(value)
        yield EpochEnded(state.epoch, sum(losses) / len(losses), value, best, rate, state.seconds)
        because = because or schedule.over(state)
        if not because and validate and config.patience and state.epoch - state.best_epoch >= config.patience:
            because = "patience"
        if because:
            break

    if not state.best:
        state.keep()
    yield Finished(because, state.step, state.step / schedule.steps_per_epoch, state.progress, state.seconds)


def _step(state: State, batch: Batch, loss: Loss, rate: float, precision: Precision, clip_norm: float) -> float:
    """One step of the optimizers; gives the batch's loss, and takes no step when that is not finite."""
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
    targets_NK, weights_N = precision.move(batch.targets_NK), precision.move(batch.weights_N)
    with precision.autocast():
        scores_NK = state.model(**{name: precision.move(tensor) for name, tensor in batch.inputs.items()})
    batch_loss = (loss(scores_NK, targets_NK) * weights_N).mean()
    value = float(batch_loss.detach())
    if math.isfinite(value):
        state.model.zero_grad(set_to_none=True)
        batch_loss.backward()
        if math.isfinite(clip_norm):
            nn.utils.clip_grad_norm_(state.model.parameters(), clip_norm)
        for optimizer in state.optimizers:
            optimizer.step()
        state.step += 1
    return value


def _has_diverged(state: State, batch_loss: float) -> bool:
    """Whether the loss is not finite or far above that of the first batch."""
    if math.isnan(state.first_loss):
        state.first_loss = batch_loss
    return not math.isfinite(batch_loss) or batch_loss > 10.0 * (state.first_loss + 1.0)


def _follow(state: State, share: float) -> None:
    """Moves the average towards the model, over a horizon of `share` of all steps (fewer at the start)."""
    horizon = share * state.step / max(state.progress, 0.01)
    decay = min(horizon / (horizon + 1.0), state.step / (state.step + 9.0))
    with torch.no_grad():
        for mean, parameter in zip(state.average.parameters(), state.model.parameters(), strict=True):
            if parameter.requires_grad:
                mean.lerp_(parameter, 1.0 - decay)
        for kept, buffer in zip(state.average.buffers(), state.model.buffers(), strict=True):
            kept.lerp_(buffer, 1.0 - decay) if buffer.is_floating_point() else kept.copy_(buffer)


@dataclass
class _Schedule:
    """When training ends and how far it is.

    reserve_seconds: what the last validation will take. step_seconds: what the next step will, by the steps before.
    """

    steps_per_epoch: int
    num_steps: int
    last_step: int
    seconds: float | None
    reserve_seconds: float = 0.0
    step_seconds: float = 0.0

    @classmethod
    def of(cls, config: FitConfig, num_rows: int) -> _Schedule:
        per_epoch = steps_per_epoch(num_rows, config.batch_size)
        num_steps = max(1, round(config.epochs * per_epoch))
        stop = config.epochs if config.stop_epoch is None else config.stop_epoch
        last_step = min(num_steps, max(1, round(stop * per_epoch)))
        return cls(per_epoch, num_steps, last_step, config.seconds, config.reserve_seconds)

    def took(self, seconds: float) -> None:
        """Remembers what a step took, the last ones more than those before."""
        self.step_seconds = 0.8 * self.step_seconds + 0.2 * seconds if self.step_seconds else seconds

    def over(self, state: State) -> str:
        """Sets the state's progress, the larger share of steps and of seconds; gives why training is over, or ""."""
        state.progress = min(1.0, state.step / self.num_steps)
        if self.seconds is not None:
            allowed = max(1e-3, self.seconds - self.reserve_seconds - self.step_seconds - state.restarted_at)
            share = (state.seconds - state.restarted_at) / allowed
            state.progress = min(1.0, max(state.progress, share))
            if share >= 1.0:
                return "seconds"
        return "completed" if state.step >= self.last_step else ""
