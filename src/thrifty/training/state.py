"""What a training run consists of between two steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Snapshot = dict[str, Tensor]
"""A copy of a model's parameters and buffers by name."""


@dataclass
class State:
    """A run's weights, optimizers and counters; `loop.fit` changes it in place.

    average: the model with the moving average of the weights, which is what is validated and kept.
    initial: the weights at the start, to which a diverged run goes back.
    step: steps taken since the (re)start; epoch: whole epochs of them.
    seconds: wall clock used so far; restarted_at: how much of it before the last restart.
    learning_rate_factor: 1, and lower after every restart.
    progress: place in the schedule, 0 to 1.
    best: the average's weights at `best_value`, reached after `best_step` steps at `best_progress`.
    """

    model: nn.Module
    average: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    initial: Snapshot
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    restarted_at: float = 0.0
    num_restarts: int = 0
    learning_rate_factor: float = 1.0
    progress: float = 0.0
    first_loss: float = math.nan
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

    def restart(self, factor: float) -> None:
        """Goes back to the initial weights, with the learning rate times `factor`."""
        self.model.load_state_dict(self.initial)
        self.average.load_state_dict(self.initial)
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.step = self.epoch = 0
        self.progress, self.first_loss = 0.0, math.nan
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
