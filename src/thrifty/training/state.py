"""What a training run consists of between two steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from thrifty.training.events import EpochEnded, Validated

HIGH_FACTOR = 10.0  # losses are of the size of 1 for a network that knows nothing
HIGH_STEPS = 5
LEAST_GAIN = 0.005  # of the validation loss, below which it counts as standing still

Snapshot = dict[str, Tensor]
"""A copy of a model's parameters and buffers by name."""


@dataclass
class State:
    """A run's weights, optimizers and counters; `loop.fit` changes it in place.

    average: the model with the moving average of the weights, which is what is validated and kept.
    initial: the weights at the start, to which a diverged run goes back.
    step: steps taken since the (re)start; epoch: whole epochs of them; step_in_epoch: steps of the one begun.
    loss_sum: of the steps of the epoch begun. usual_loss: moving average of the steps' losses; lowest_loss: the least
        that it has been; high_steps: the last steps in a row whose loss was far above that.
    micro_batch: rows that go through the network at once; 0 for the whole batch.
    loss_scale: what the loss is multiplied with before the backward pass, 0 until it is chosen; good_steps: since it
        was last lowered.
    learning_rate: of the last step.
    seconds: wall clock used so far; restarted_at: how much of it before the last restart.
    learning_rate_factor: 1, and lower after every restart.
    progress: place in the schedule, 0 to 1.
    lowest_validation: the loss of validation, marked when it fell by LEAST_GAIN of itself; gained_epoch: the last
        epoch at which it was, or the value was the best.
    best: the average's weights at `best_value`, reached after `best_step` steps at `best_progress`.
    """

    model: nn.Module
    average: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    initial: Snapshot
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    usual_loss: float = math.nan
    lowest_loss: float = math.inf
    high_steps: int = 0
    micro_batch: int = 0
    loss_scale: float = 0.0
    good_steps: int = 0
    learning_rate: float = 0.0
    seconds: float = 0.0
    restarted_at: float = 0.0
    num_restarts: int = 0
    learning_rate_factor: float = 1.0
    progress: float = 0.0
    lowest_validation: float = math.inf
    gained_epoch: int = 0
    best_value: float = -math.inf
    best_epoch: int = 0
    best_step: int = 0
    best_progress: float = 0.0
    best: Snapshot = field(default_factory=dict)

    def keep_if_best(self, value: float) -> bool:
        """Remembers the average's weights when `value` is the highest so far."""
        if not value > self.best_value:
            return False
        self.best_value = value
        self.keep()
        return True

    def keep(self) -> None:
        """Remembers the average's weights as the best."""
        self.best_epoch, self.best_step, self.best_progress = self.epoch, self.step, self.progress
        self.best = snapshot(self.average)

    def follow(self, share: float) -> None:
        """Moves the average towards the model, over a horizon of `share` of all steps (fewer at the start)."""
        horizon = share * self.step / max(self.progress, 0.01)
        decay = min(horizon / (horizon + 1.0), self.step / (self.step + 9.0))
        means, values, copies = self._followed
        with torch.no_grad():
            torch._foreach_lerp_(means, values, 1.0 - decay)
            for kept, buffer in copies:
                kept.copy_(buffer)

    @cached_property
    def _followed(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """What is averaged, what of, and what is copied: whole numbers. Weights that are not trained stay."""
        parameters = zip(self.average.parameters(), self.model.parameters(), strict=True)
        buffers = list(zip(self.average.buffers(), self.model.buffers(), strict=True))
        pairs: list[tuple[Tensor, Tensor]] = [(mean, value) for mean, value in parameters if value.requires_grad]
        pairs += [(mean, value) for mean, value in buffers if value.is_floating_point()]
        copies = [(kept, value) for kept, value in buffers if not value.is_floating_point()]
        return [mean for mean, _ in pairs], [value for _, value in pairs], copies

    def has_diverged(self, batch_loss: float) -> bool:
        """Whether the loss is not finite, or has been far above what it was at best for some steps in a row.

        One batch alone may hold a row that no network foresees, so it does not tell.
        """
        if not math.isfinite(batch_loss):
            return True
        self.loss_sum += batch_loss
        far = batch_loss > HIGH_FACTOR * (self.lowest_loss + 1.0)
        self.high_steps = self.high_steps + 1 if far else 0
        self.usual_loss = batch_loss if math.isnan(self.usual_loss) else 0.7 * self.usual_loss + 0.3 * batch_loss
        self.lowest_loss = min(self.lowest_loss, self.usual_loss)
        return self.high_steps >= HIGH_STEPS

    def is_finite(self) -> bool:
        """Whether all of the average's weights are finite."""
        means = [mean for mean in self._followed[0] if mean.numel()]
        return not means or math.isfinite(float(torch.nn.utils.get_total_norm(means, torch.inf)))

    def end_epoch(self, found: Validated) -> EpochEnded:
        """Counts the epoch, and remembers the average's weights when its value is the highest so far."""
        self.epoch += 1
        loss = self.loss_sum / max(1, self.step_in_epoch)
        self.step_in_epoch, self.loss_sum = 0, 0.0
        best = self.keep_if_best(found.value)
        if falls := found.loss < self.lowest_validation * (1.0 - LEAST_GAIN):
            self.lowest_validation = found.loss
        if best or falls:
            self.gained_epoch = self.epoch
        return EpochEnded(self.epoch, loss, found.value, best, self.learning_rate, self.seconds)

    def restart(self, factor: float) -> None:
        """Goes back to the initial weights, with the learning rate times `factor`."""
        self.model.load_state_dict(self.initial)
        self.average.load_state_dict(self.initial)
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.step = self.epoch = self.step_in_epoch = self.high_steps = self.gained_epoch = 0
        self.progress, self.loss_sum = 0.0, 0.0
        self.usual_loss, self.lowest_loss, self.lowest_validation = math.nan, math.inf, math.inf
        self.restarted_at = self.seconds
        self.num_restarts += 1
        self.learning_rate_factor *= factor


def begin(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> State:
    """The state before the first step of a model that is placed on its device."""
    average = copy.deepcopy(model).eval()
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return State(model, average, optimizers, snapshot(model))


def snapshot(model: nn.Module) -> Snapshot:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def counters(state: State) -> dict[str, Any]:
    """The state's plain numbers."""
    return {name: value for name, value in vars(state).items() if isinstance(value, (int, float))}
