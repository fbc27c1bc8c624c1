"""What every executor must do, as tests to inherit, and an executor with scripted jobs in made-up time.

class TestMine(ExecutorContract):
    def make(self, cores: int) -> Executor:
        return MyExecutor(cores)
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.execution.executor import Executor
from thrifty.execution.job import Channel, Ended, Job, Outcome, Reported, one_line

Script = Generator[tuple[float, dict[str, Any]], bool, dict[str, Any]]
"""Yields (seconds since the last yield, message), gets whether it was asked to stop, returns the result."""


class RecordingChannel:
    """A channel to call an entry with directly; keeps what is reported, asks to stop after `stop_after` reports."""

    def __init__(self, cores: int = 1, seconds: float = math.inf, stop_after: int | None = None) -> None:
        self.cores = cores
        self.reports: list[dict[str, Any]] = []
        self._until = time.monotonic() + seconds
        self._stop_after = stop_after

    def report(self, message: Mapping[str, Any]) -> None:
        self.reports.append(dict(message))

    def should_stop(self) -> bool:
        return self._stop_after is not None and len(self.reports) >= self._stop_after

    def seconds_left(self) -> float:
        return self._until - time.monotonic()


class Crash(Exception):
    """Raised in a script: the job ends as if its process had died."""


@dataclass
class _Scripted:
    handle: int
    job: Job
    script: Script
    started: float
    at: float = 0.0
    message: dict[str, Any] | None = None
    ended: tuple[Outcome, dict[str, Any] | None, str] | None = None
    stop_asked: bool = False
    kill_at: float = math.inf

    def advance(self) -> None:
        """Runs the script to its next yield; what it gives happens that many seconds later."""
        try:
            seconds, self.message = next(self.script) if self.message is None else self.script.send(self.stop_asked)
            self.at += seconds
        except StopIteration as end:
            self.ended = ("stopped" if self.stop_asked else "done", end.value, "")
        except Crash as crash:
            self.ended = ("crashed", None, str(crash))
        except Exception as error:  # noqa: BLE001  what a job raises is an outcome
            self.ended = ("failed", None, one_line(error))


@dataclass
class FakeExecutor:
    """Runs `script(job)` in made-up time, so that a test sees hours of a search in milliseconds.

    `now` is the made-up time in seconds: give it to the Clock. Of events at the same time the oldest job's come first.
    """

    script: Callable[[Job], Script]
    cores: int = 2
    submitted: list[Job] = field(default_factory=list)
    _time: float = 0.0
    _jobs: dict[int, _Scripted] = field(default_factory=dict)

    def now(self) -> float:
        return self._time

    def free_cores(self) -> int:
        return self.cores - sum(each.job.cores for each in self._jobs.values())

    def running(self) -> tuple[int, ...]:
        return tuple(self._jobs)

    def warm(self, preload: Sequence[str]) -> None:
        """Nothing to ready."""

    def submit(self, job: Job) -> int:
        if job.cores > self.free_cores():
            raise UsageError(f"a job needs {job.cores} cores, and {self.free_cores()} of {self.cores} are free")
        self.submitted.append(job)
        handle = len(self.submitted)
        each = _Scripted(handle, job, self.script(job), self._time, self._time)
        each.advance()
        self._jobs[handle] = each
        return handle

    def stop(self, handle: int, grace_seconds: float = 5.0) -> None:
        if handle in self._jobs:
            each = self._jobs[handle]
            each.stop_asked = True
            each.kill_at = min(each.kill_at, self._time + max(0.0, grace_seconds))

    def wait(self, timeout_seconds: float) -> list[Reported | Ended]:
        times = {each.handle: min(each.at, each.kill_at, self._limit(each)) for each in self._jobs.values()}
        first = min(times, key=lambda handle: times[handle], default=None)
        if first is None or times[first] > self._time + timeout_seconds:
            self._time += timeout_seconds if timeout_seconds != math.inf else 0.0
            return []
        self._time = max(self._time, times[first])
        return [self._happen(self._jobs[first], times[first])]

    def close(self) -> None:
        for each in self._jobs.values():
            each.script.close()
        self._jobs.clear()

    @staticmethod
    def _limit(each: _Scripted) -> float:
        return math.inf if each.job.seconds is None else each.started + each.job.seconds

    def _happen(self, each: _Scripted, at: float) -> Reported | Ended:
        if each.at <= at and each.ended is None:
            reported = Reported(each.handle, each.message or {})
            each.advance()
            return reported
        if each.at > at:
            late = at == self._limit(each)
            each.ended = ("timeout", None, "over its seconds") if late else ("stopped", None, "over its grace")
        del self._jobs[each.handle]
        assert each.ended is not None
        outcome, result, why = each.ended
        return Ended(each.handle, outcome, result, why, at - each.started, 0)


# Jobs of the contract suite


def gives_back(arguments: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Returns its arguments and what its channel says of it."""
    return {**arguments, "cores": channel.cores, "unbounded": channel.seconds_left() == math.inf}


def counts(arguments: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Reports 1, 2, ... up to `until`, a hundredth of a second apart; returns early when asked, if it is polite."""
    number = 0
    while number < arguments["until"]:
        time.sleep(0.01)
        number += 1
        channel.report({"number": number})
        if channel.should_stop() and arguments.get("polite", True):
            break
    return {"number": number}


def raises(arguments: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Raises ValueError with a message of two lines."""
    raise ValueError("a first line\nand a second")


class ExecutorContract(ABC):
    """Inherit it in a test class, name the class Test..., and say how the executor is made."""

    @abstractmethod
    def make(self, cores: int) -> Executor:
        """A fresh executor."""

    def job(self, entry: Callable[..., Any], arguments: dict[str, Any] | None = None, **resources: Any) -> Job:
        return Job(f"{entry.__module__}:{entry.__name__}", arguments or {}, **resources)

    def test_a_job_gives_the_result_that_its_entry_returns(self) -> None:
        with _closing(self.make(1)) as executor:
            handle = executor.submit(self.job(gives_back, {"x": [1, None, "é"]}))
            (ended,) = collect(executor)
            assert isinstance(ended, Ended)
            assert (ended.handle, ended.outcome, ended.why) == (handle, "done", "")
            assert ended.result == {"x": [1, None, "é"], "cores": 1, "unbounded": True}
            assert executor.running() == ()

    def test_reports_come_in_order_and_before_the_end(self) -> None:
        with _closing(self.make(1)) as executor:
            executor.submit(self.job(counts, {"until": 5}))
            *reports, ended = collect(executor)
            assert [update.message["number"] for update in reports if isinstance(update, Reported)] == [1, 2, 3, 4, 5]
            assert isinstance(ended, Ended)
            assert ended.result == {"number": 5}
            assert ended.seconds > 0

    def test_an_exception_is_a_failure_told_in_one_line(self) -> None:
        with _closing(self.make(1)) as executor:
            executor.submit(self.job(raises))
            (ended,) = collect(executor)
            assert isinstance(ended, Ended)
            assert (ended.outcome, ended.result) == ("failed", None)
            assert ended.why.startswith("ValueError: a first line and a second")

    def test_jobs_share_the_cores_and_take_no_more(self) -> None:
        with _closing(self.make(3)) as executor:
            first = executor.submit(self.job(counts, {"until": 2}, cores=2))
            second = executor.submit(self.job(counts, {"until": 2}))
            assert executor.running() == (first, second)
            assert (executor.cores, executor.free_cores()) == (3, 0)
            assert _refuses(executor, self.job(gives_back)), "a job without free cores was taken"
            ended = [update for update in collect(executor) if isinstance(update, Ended)]
            assert {update.handle for update in ended} == {first, second}
            assert executor.free_cores() == 3

    def test_a_job_that_is_asked_to_stop_returns_what_it_has(self) -> None:
        with _closing(self.make(1)) as executor:
            handle = executor.submit(self.job(counts, {"until": 1000}))
            assert isinstance(next(updates(executor)), Reported)
            executor.stop(handle, grace_seconds=20.0)
            ended = collect(executor)[-1]
            assert isinstance(ended, Ended)
            assert ended.outcome == "stopped"
            assert ended.result is not None
            assert 1 <= ended.result["number"] < 1000

    def test_a_job_that_does_not_stop_when_asked_is_ended_after_its_grace(self) -> None:
        with _closing(self.make(1)) as executor:
            handle = executor.submit(self.job(counts, {"until": 100_000, "polite": False}))
            assert isinstance(next(updates(executor)), Reported)
            executor.stop(handle, grace_seconds=0.1)
            ended = collect(executor)[-1]
            assert isinstance(ended, Ended)
            assert (ended.outcome, ended.result) == ("stopped", None)

    def test_a_job_that_runs_too_long_is_ended(self) -> None:
        with _closing(self.make(1)) as executor:
            executor.submit(self.job(counts, {"until": 100_000}, seconds=0.2))
            ended = collect(executor)[-1]
            assert isinstance(ended, Ended)
            assert (ended.outcome, ended.result) == ("timeout", None)
            assert ended.seconds >= 0.2

    def test_stopping_a_job_that_has_ended_does_nothing(self) -> None:
        with _closing(self.make(1)) as executor:
            handle = executor.submit(self.job(gives_back))
            collect(executor)
            executor.stop(handle)
            assert executor.wait(0.0) == []

    def test_waiting_for_nothing_ends_at_the_timeout(self) -> None:
        with _closing(self.make(1)) as executor:
            assert executor.wait(0.01) == []
            assert executor.wait(math.inf) == []

    def test_closing_ends_jobs_and_may_be_done_twice(self) -> None:
        executor = self.make(2)
        executor.warm(())
        for _ in range(2):
            executor.submit(self.job(counts, {"until": 100_000}))
        executor.wait(5.0)
        executor.close()
        assert executor.running() == ()
        executor.close()


def updates(executor: Executor, seconds: float = 60.0) -> Iterator[Reported | Ended]:
    """What happens, one by one, until no job runs; an error after that many seconds of it."""
    until = time.monotonic() + seconds
    while executor.running():
        assert time.monotonic() < until, f"jobs {executor.running()} did not end within {seconds} s"
        yield from executor.wait(1.0)


def collect(executor: Executor, seconds: float = 60.0) -> list[Reported | Ended]:
    """All that happens until no job runs."""
    return list(updates(executor, seconds))


def _refuses(executor: Executor, job: Job) -> bool:
    try:
        executor.submit(job)
    except UsageError:
        return True
    return False


@contextmanager
def _closing(executor: Executor) -> Iterator[Executor]:
    try:
        yield executor
    finally:
        executor.close()
