"""What a training run tells while it goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class Validated(NamedTuple):
    """A network on the validation rows.

    value: the metric, higher is better. loss: of its scores, 0 or more, NaN for none.

    The best value is what is kept; a loss that still falls says that a value standing still may yet move.
    """

    value: float
    loss: float = math.nan


@dataclass(frozen=True)
class Stepped:
    """A step was taken. The state is whole: a checkpoint saved here goes on exactly, in the middle of an epoch too."""

    step: int
    loss: float


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
class MemoryRanOut:
    """A step did not fit into memory; from now on batches go through the network `micro_batch` rows at a time."""

    step: int
    micro_batch: int


@dataclass(frozen=True)
class Compiled:
    """The network was compiled (`kept`), or goes on uncompiled, and why.

    seconds: what compiling took. speedup: seconds of a step before by those after; NaN when that was not measured.
    """

    step: int
    kept: bool
    seconds: float
    speedup: float
    why: str


@dataclass(frozen=True)
class Finished:
    """Training is over: `because` of the schedule (`completed`), `seconds`, `patience`, `diverged` or `asked`.

    step: steps taken; epochs: the same in epochs; progress: place in the schedule, 1 at its end.
    waiting_share: share of the training time, validation aside, in which the network waited for its next batch.
    """

    because: str
    step: int
    epochs: float
    progress: float
    seconds: float
    waiting_share: float = 0.0


Event = Stepped | EpochEnded | Diverged | MemoryRanOut | Compiled | Finished
