"""A trial: one configuration with its curve, its cost and its outcome; and what a study hands out about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class State(StrEnum):
    """What a trial is doing. DONE, FAILED and SKIPPED are ends."""

    WAITING = "waiting"  # it has no value yet and nobody is working on it
    RUNNING = "running"
    PAUSED = "paused"  # it has epochs and can go on
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # given up on purpose; its values still count


OPEN = frozenset({State.WAITING, State.RUNNING, State.PAUSED})


class Parent(NamedTuple):
    """The trial whose checkpoint after `epoch` another one begins from."""

    trial: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration and what is known of it; a snapshot that never changes.

    values: the metric after each epoch (None where it was not told), or the one value of a study without epochs, or
        that of each run where configurations are run repeatedly. The epochs of its parent are None.
    until: the epoch up to which it is being run now, None when it is not running or there are no epochs.
    why: why it was bought, or why it failed or was skipped.
    inputs: ids of the trials that it uses (a teacher, an ensemble's members, the step before).
    others: the curves of the study's other metrics, and of what its limits are about, by name; as long as `values`.
    parent: whose checkpoint it begins from, the first of its inputs; None for one that begins at the beginning.
    """

    id: int
    config: dict[str, Any]
    state: State = State.WAITING
    values: tuple[float | None, ...] = ()
    cost_seconds: float = 0.0
    until: int | None = None
    why: str = ""
    inputs: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    others: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    parent: Parent | None = None

    @property
    def epoch(self) -> int:
        """How many epochs it has had, those of its parent included; for a study without epochs 1 with its value."""
        return len(self.values) or (0 if self.parent is None else self.parent.epoch)

    @property
    def open(self) -> bool:
        """Whether more can still be bought for it or is being bought."""
        return self.state in OPEN

    @property
    def cut_short(self) -> bool:
        """Whether its training was ended from outside before its end; what it bought is still to be had."""
        if self.state is State.RUNNING:
            return False
        return self.state in (State.WAITING, State.PAUSED) or bool(self.extra.get("cut_short"))


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to run: `config` of `trial`, from after `from_epoch` to `until_epoch` (None in a study without epochs).

    parent: whose checkpoint the trial begins from, where it does not begin at the beginning.
    """

    trial: int
    config: dict[str, Any]
    from_epoch: int = 0
    until_epoch: int | None = None
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """The best value told so far, and the trial and epoch (from 1) that it belongs to.

    value: of the study's first metric. metrics: of all that is told, in a study of several metrics or with limits.
    runs: how many the value is the mean of. error: the standard error of the mean, None while it is unknown.
    """

    trial: int
    config: dict[str, Any]
    value: float
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    runs: int = 1
    error: float | None = None
