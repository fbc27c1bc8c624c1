"""The budget and the one clock, which starts with the process.

A budget is in seconds, trials or epochs. Where it is in trials or epochs no clock enters a decision, so that the same
seed gives the same decisions.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from thrifty.core.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """What may be spent. At least one bound is set; `seconds` is wall clock, `epochs` counts all trials' epochs."""

    seconds: float | None = None
    trials: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None}
        if not given:
            raise UsageError("a budget needs seconds, trials or epochs")
        for name, value in given.items():
            if not value > 0 or value != value or value == float("inf"):
                raise UsageError(f"the budget's {name} must be a positive number, not {value!r}")


class Clock:
    """Wall-clock seconds since `started` (of `time.time()`), and how many of `budget_seconds` are left.

    That the system's clock is set while it runs changes nothing. now: for tests.
    """

    def __init__(
        self,
        budget_seconds: float | None = None,
        started: float | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        ahead = time.time() - time.monotonic()
        self._now = now or (lambda: ahead + time.monotonic())
        self.started = self._now() if started is None else started
        self.budget_seconds = budget_seconds

    def elapsed(self) -> float:
        return self._now() - self.started

    def left(self) -> float:
        """Seconds left, negative when over; infinite without a budget in seconds."""
        return float("inf") if self.budget_seconds is None else self.budget_seconds - self.elapsed()


def process_started() -> float:
    """The `time.time()` at which this process was started, from Linux's /proc; elsewhere the time of the call."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
        with open("/proc/uptime", encoding="ascii") as file:
            uptime = float(file.read().split()[0])
    except (OSError, IndexError, ValueError):
        return time.time()
    return time.time() - max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
