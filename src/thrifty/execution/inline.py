"""Runs jobs in this process, one step at a time, in an order that is always the same: for tests and cheap functions."""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from thrifty.core.errors import UsageError
from thrifty.execution.job import Ended, Job, Outcome, Reported, Returned, call, decode, encode, resolve


class _Abandoned(BaseException):
    """Unwinds a job that is ended from outside."""


class _Step:
    """One running job: a thread that has the floor only while `advance` waits for it."""

    def __init__(self, handle: int, job: Job) -> None:
        self.handle, self.job = handle, job
        self.message: dict[str, Any] | None = None
        self.returned: Returned | None = None
        self.stop_asked, self.stopped = False, False
        self.ended_for: Outcome | None = None
        self.seconds = 0.0
        self._go, self._pause = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._since = 0.0

    @property
    def began(self) -> bool:
        return self._thread is not None

    def advance(self) -> None:
        """Lets the job go on to its next report, or to its end."""
        self._since = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.job.label or "job", daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._pause.acquire()
        self.seconds += time.monotonic() - self._since

    def abandon(self, outcome: Outcome) -> None:
        """Ends the job where it last reported."""
        self.ended_for = outcome
        if self.began and self.returned is None:
            self.advance()

    def _run(self) -> None:
        self.returned = call(self._target, decode(encode(self.job.arguments)), self)
        self._pause.release()

    def _target(self) -> Any:
        return self.job.function or resolve(self.job.entry)

    # What the job sees: its channel

    @property
    def cores(self) -> int:
        return self.job.cores

    def report(self, message: Mapping[str, Any]) -> None:
        self._end_when_due()
        self.message = decode(encode(message))
        self._pause.release()
        self._go.acquire()
        self._end_when_due()

    def should_stop(self) -> bool:
        self._end_when_due()
        self.stopped = self.stopped or self.stop_asked
        return self.stop_asked

    def seconds_left(self) -> float:
        used = self.seconds + time.monotonic() - self._since
        return math.inf if self.job.seconds is None else self.job.seconds - used

    def _end_when_due(self) -> None:
        if self.ended_for is None and self.seconds_left() < 0:
            self.ended_for = "timeout"
        if self.ended_for is not None:
            raise _Abandoned


class InlineExecutor:
    """Runs jobs in this process, in threads of which one runs at a time: each `wait` lets one job go one step.

    So the same jobs give the same updates in the same order, whatever the machine. A job can be ended only where it
    reports or asks `should_stop`; its seconds are looked at there too, and its memory is not bounded.
    """

    def __init__(self, cores: int = 1) -> None:
        self._cores = cores
        self._steps: deque[_Step] = deque()
        self._grace_ends: dict[int, float] = {}
        self._next_handle = 1

    @property
    def cores(self) -> int:
        return self._cores

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def free_cores(self) -> int:
        return self._cores - sum(step.job.cores for step in self._steps)

    def running(self) -> tuple[int, ...]:
        return tuple(sorted(step.handle for step in self._steps))

    def warm(self, preload: Sequence[str]) -> None:
        """Nothing to ready: jobs share this process."""

    def submit(self, job: Job) -> int:
        if job.cores > self.free_cores():
            raise UsageError(f"a job needs {job.cores} cores, and {self.free_cores()} of {self._cores} are free")
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._steps.append(_Step(handle, job))
        return handle

    def stop(self, handle: int, grace_seconds: float = 5.0) -> None:
        for step in self._steps:
            if step.handle == handle:
                step.stop_asked = True
                until = time.monotonic() + max(0.0, grace_seconds)
                self._grace_ends[handle] = min(until, self._grace_ends.get(handle, math.inf))

    def wait(self, timeout_seconds: float) -> list[Reported | Ended]:
        if not self._steps:
            if timeout_seconds != math.inf:
                time.sleep(max(0.0, timeout_seconds))
            return []
        step = self._steps.popleft()
        if step.stop_asked and (not step.began or time.monotonic() >= self._grace_ends[step.handle]):
            step.abandon("stopped")
            return [self._ended(step)]
        step.advance()
        if step.returned is not None:
            return [self._ended(step)]
        self._steps.append(step)
        return [Reported(step.handle, step.message or {})]

    def close(self) -> None:
        for step in self._steps:
            step.abandon("stopped")
        self._steps.clear()

    def _ended(self, step: _Step) -> Ended:
        self._grace_ends.pop(step.handle, None)
        returned = step.returned
        if step.ended_for == "timeout":
            limit = f"ran {step.seconds:.1f} s, over its limit of {step.job.seconds:g} s"
            return Ended(step.handle, "timeout", None, limit, step.seconds, 0)
        if returned is None:
            return Ended(step.handle, "stopped", None, "stopped before it began", 0.0, 0)
        if step.ended_for == "stopped":
            why = "did not return within its grace when asked to stop"
            return Ended(step.handle, "stopped", None, why, step.seconds, 0)
        if returned.outcome == "done" and step.stopped:
            why = "returned early when asked to stop"
            return Ended(step.handle, "stopped", returned.result, why, step.seconds, 0)
        return Ended(step.handle, returned.outcome, returned.result, returned.why, step.seconds, 0)
