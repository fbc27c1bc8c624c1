"""The one loop: a policy buys, an executor runs, the study remembers.

`thrifty.tune` calls it with the user's function, `automl.run` with recipes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from thrifty.core.budget import Budget, Clock
from thrifty.core.events import Event
from thrifty.execution.executor import Executor
from thrifty.execution.job import Ended, Job, Reported
from thrifty.tuning.ended import BUDGET, WAITED
from thrifty.tuning.policy import Policy, Purchase, Stop
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

GRACE_SECONDS = 5.0
PULSE_SECONDS = 10.0  # how often an idle coordinator says that it lives
WAIT_SECONDS = 1.0

JobOf = Callable[[Trial, Purchase], Job]


def search(
    study: Study,
    policy: Policy,
    executor: Executor,
    job_of: JobOf,
    clock: Clock,
    budget: Budget | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Generator[Event, None, None]:
    """Buys and runs until the policy stops, the clock is over or `budget` (trials, epochs) is spent; yields each event.

    A budget in trials is, in a study with epochs, one in full trainings: their epochs are what is bounded. With repeats
    each run counts.
    Jobs report {"epoch", "value"}, and end with {"value", ...}: the rest of the result is kept as the trial's `extra`.
    So is a "checkpoint" that is reported, for a process that is killed comes to no end.
    Metrics of a study that has several are told beside the value, as "metrics" {name: number}.
    When the clock is over or the iterator is closed, running jobs are asked to stop, killed after the grace, and what
    they told is kept. The last event, `search_finished`, says why: "budget", or what the policy gave as its reason.
    """
    events: deque[Event] = deque()
    loop = _Loop(study, policy, executor, job_of, clock, budget, grace_seconds)
    study.listeners.append(events.append)
    try:
        while True:
            going_on = loop.turn()
            while events:
                yield events.popleft()
            if not going_on:
                break
        study.record("search_finished", why=loop.why)
        yield from events
    finally:
        study.listeners.remove(events.append)
        loop.end()


@dataclass
class _Running:
    trial: int
    since: int
    until: int | None
    dropped: str | None = None
    failed: bool = False


class _Loop:
    """The state of one search."""

    def __init__(
        self,
        study: Study,
        policy: Policy,
        executor: Executor,
        job_of: JobOf,
        clock: Clock,
        budget: Budget | None,
        grace_seconds: float,
    ) -> None:
        self.study, self.policy, self.executor, self.job_of, self.clock = study, policy, executor, job_of, clock
        self.budget, self.grace_seconds = budget, grace_seconds
        self.running: dict[int, _Running] = {}
        self.waiting: tuple[Job, _Running] | None = None  # bought, and needs more cores than are free
        self.why = ""
        self.stopping = False
        self.last_pulse = time.monotonic()

    def turn(self) -> bool:
        """Buys what can run, waits, and takes in what happened; False at the end."""
        if not self.stopping and self.clock.left() <= 0:
            self.why = BUDGET
            self.stop_running()
        if not self.stopping:
            self.buy()
        if not self.running:
            return False
        left = self.clock.left() if not self.stopping else math.inf
        for update in self.executor.wait(max(0.0, min(WAIT_SECONDS, left))):
            self.take(update)
        if time.monotonic() - self.last_pulse > PULSE_SECONDS:
            self.study.renew()
            self.last_pulse = time.monotonic()
        return True

    def buy(self) -> None:
        """Fills the free cores. A policy that stops while jobs run is asked again when one has ended."""
        self.why = ""
        while self.executor.free_cores() >= 1:
            if self.waiting is None:
                if self.spent():
                    self.why = BUDGET
                    return
                decision = self.policy.decide(self.study, self.clock)
                if not isinstance(decision, Purchase):
                    self.why = decision.why or (WAITED if not isinstance(decision, Stop) else "")
                    return
                purchase = self.within_budget(decision)
                trial = self.study.trial(self.study.buy(purchase).trial)
                self.waiting = self.job_of(trial, purchase), _Running(trial.id, trial.epoch, trial.until)
            job, running = self.waiting
            if job.cores > self.executor.cores:
                self.study.fail(running.trial, f"it needs {job.cores} cores and there are {self.executor.cores}")
                self.waiting = None
                continue
            if job.cores > self.executor.free_cores():
                return
            self.waiting = None
            self.running[self.executor.submit(job)] = running

    def spent(self) -> bool:
        if self.budget is None:
            return False
        trials = self.budget.trials
        if trials is not None and self.study.repeats > 1:
            return self.study.epochs_spent + len(self.study.running) + self.failed() >= trials
        if trials is not None and self.study.max_epochs is None and self.study.num_trials >= trials:
            return True
        return self.committed_epochs() >= self.most_epochs()

    def most_epochs(self) -> float:
        """The epochs that the budget allows; one in trials is one in full trainings."""
        if self.budget is None:
            return math.inf
        trials, epochs, last = self.budget.trials, self.budget.epochs, self.study.max_epochs
        most = math.inf if epochs is None else epochs
        return most if trials is None or last is None else min(most, trials * last)

    def failed(self) -> int:
        """Runs that gave no value."""
        return sum(trial.state is State.FAILED for trial in self.study.trials)

    def committed_epochs(self) -> int:
        """Epochs spent and those that running trials were bought."""
        running = [self.study.trial(i) for i in self.study.running]
        return self.study.epochs_spent + sum((t.until or t.epoch + 1) - t.epoch for t in running)

    def within_budget(self, purchase: Purchase) -> Purchase:
        """The purchase with no more epochs than are left."""
        last = self.study.max_epochs
        if last is None:
            return purchase
        epoch = 0 if purchase.parent is None else purchase.parent.epoch
        if purchase.trial is not None:
            epoch = self.study.trial(purchase.trial).epoch
        until = min(purchase.until or last, epoch + int(min(self.most_epochs() - self.committed_epochs(), last)))
        return replace(purchase, until=until)

    def take(self, update: Reported | Ended) -> None:
        running = self.running.get(update.handle)
        if running is None:
            return
        if isinstance(update, Reported):
            self.take_report(update, running)
        else:
            del self.running[update.handle]
            self.take_end(update, running)
        if not self.stopping:
            self.drop()

    def take_report(self, update: Reported, running: _Running) -> None:
        message = update.message
        if "epoch" not in message or "value" not in message:
            rest = {k: v for k, v in message.items() if k not in ("seq", "time_seconds", "kind", "trial")}
            self.study.record(str(message.get("kind", "progress")), running.trial, **rest)
        elif not running.failed and self.study.trial(running.trial).epoch < int(message["epoch"]):
            told = _told(self.study, message)
            extra = {"checkpoint": message["checkpoint"]} if "checkpoint" in message else None
            if not self.study.report(running.trial, int(message["epoch"]), told, extra):
                running.failed = True
                self.executor.stop(update.handle, 0.0)

    def take_end(self, ended: Ended, running: _Running) -> None:
        """Tells the study how a trial ended; one that was asked to stop and still gave its value is done."""
        if running.failed:
            return
        study, trial, cost = self.study, self.study.trial(running.trial), ended.seconds
        extra = {k: v for k, v in (ended.result or {}).items() if k != "value"}
        extra["peak_memory_bytes"] = ended.peak_memory_bytes
        stopped = ended.outcome == "stopped" and running.dropped is None
        if stopped or trial.extra.get("cut_short"):
            extra["cut_short"] = stopped  # its value is of less training than was bought
        result = ended.result or {}
        value = None if result.get("value") is None else _told(study, result)
        told = value is not None and all(map(math.isfinite, value.values() if isinstance(value, dict) else [value]))
        if running.dropped is not None and not told:
            study.skip(trial.id, running.dropped, extra, cost)
        elif ended.outcome not in ("done", "stopped"):
            study.fail(trial.id, f"{ended.outcome}: {ended.why}" if ended.why else ended.outcome, extra, cost)
        elif study.repeats > 1 and told:
            study.tell(trial.id, value, extra=extra, cost_seconds=cost)
        elif study.max_epochs is None and told:
            study.finish(trial.id, value, extra, cost)
        elif study.max_epochs is not None and self.has_epochs(running, value if told else None):
            reached = study.trial(trial.id).epoch
            if reached == study.max_epochs or (ended.outcome == "done" and reached < (running.until or 0)):
                study.finish(trial.id, None, extra, cost)  # at its last epoch, or it ended by itself
            else:
                study.pause(trial.id, extra, cost)
        elif ended.outcome == "stopped":
            study.pause(trial.id, extra, cost)
        else:
            said = "without a value" if value is None else f"with the value {value}"
            study.fail(trial.id, f"it ended {said}", extra, cost)

    def has_epochs(self, running: _Running, value: float | dict[str, float] | None) -> bool:
        """Whether a trial has new epochs; its result is that of the epoch it ran to when it reported none."""
        reported = self.study.trial(running.trial).epoch > running.since
        if value is None or reported or running.until is None:
            return reported
        return self.study.report(running.trial, running.until, value)

    def drop(self) -> None:
        """Gives up what the policy says cannot win."""
        ask = getattr(self.policy, "drop", None)
        for ident, why in ask(self.study, self.clock) if ask is not None else ():
            handle = next((h for h, r in self.running.items() if r.trial == ident), None)
            if handle is None:
                if self.study.trial(ident).state in (State.PAUSED, State.WAITING):
                    self.study.skip(ident, why)
            elif self.running[handle].dropped is None:
                self.running[handle].dropped = why
                self.executor.stop(handle, self.grace_seconds)

    def stop_running(self) -> None:
        self.stopping = True
        for handle in self.running:
            self.executor.stop(handle, self.grace_seconds)
        if self.waiting is not None:
            self.study.pause(self.waiting[1].trial)
            self.waiting = None

    def end(self) -> None:
        """Stops what still runs and keeps what it told, for at most the grace and a little."""
        if not self.running and self.waiting is None:
            return
        self.stop_running()
        until = time.monotonic() + self.grace_seconds + WAIT_SECONDS
        while self.running and time.monotonic() < until:
            for update in self.executor.wait(WAIT_SECONDS / 4):
                self.take(update)
        for running in self.running.values():
            if not running.failed:
                self.study.pause(running.trial)
        self.running = {}


def _told(study: Study, message: Mapping[str, Any]) -> float | dict[str, float]:
    """What a job told of an epoch or at its end; NaN for what JSON could not hold or what it did not tell."""
    others = message.get("metrics", {})
    told = {study.metric: message["value"], **{n: others.get(n) for n in study.goals.names if n != study.metric}}
    known = {name: math.nan if value is None else float(value) for name, value in told.items()}
    return known if len(known) > 1 else known[study.metric]
