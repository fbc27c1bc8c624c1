import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thrifty.core.budget import Budget, Clock
from thrifty.core.events import Event
from thrifty.core.space import Float, Int
from thrifty.execution.inline import InlineExecutor
from thrifty.execution.job import Channel, Job
from thrifty.testing.executors import Crash, FakeExecutor, Script
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policies.random import Random
from thrifty.tuning.policy import Decision, Purchase, Stop, Wait
from thrifty.tuning.search import search
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

SPACE = {"x": Float(0, 1), "n": Int(1, 9)}


def job_of(trial: Trial, purchase: Purchase) -> Job:
    arguments = {"config": trial.config, "from": trial.epoch, "until": purchase.until, "trial": trial.id}
    return Job("scripted:entry", arguments, cores=int(trial.config.get("cores", 1)))


def trains(job: Job) -> Script:
    """A second an epoch; stops when asked."""
    given = job.arguments
    value = math.nan
    for epoch in range(given["from"] + 1, given["until"] + 1):
        value = given["config"]["x"] + 1 / epoch
        if (yield 1.0, {"epoch": epoch, "value": value}):
            break
    return {"value": value, "note": "trained"}


def run(study: Study, policy: Any, executor: FakeExecutor, seconds: float | None = None, **options: Any) -> list[Event]:
    clock = Clock(seconds, now=executor.now)
    return list(search(study, policy, executor, job_of, clock, **options))


def test_both_cores_are_busy_and_trials_are_promoted() -> None:
    study = Study(SPACE, metric="loss", max_epochs=9)
    executor = FakeExecutor(trains, cores=2)
    events = run(study, Hyperband(), executor, budget=Budget(epochs=90))
    assert study.epochs_spent == 90
    assert executor.now() < 55
    assert study.best is not None
    assert study.best.epoch == 9
    assert events[-1].kind == "search_finished"
    assert events[-1].payload == {"why": "budget"}
    assert {e.kind for e in events} >= {"trial_started", "trial_continued", "epoch_finished", "trial_paused"}
    assert all(t.cost_seconds == t.epoch for t in study.trials)
    assert study.trials[0].extra["note"] == "trained"


def test_a_budget_in_epochs_and_a_seed_give_the_same_trials_twice() -> None:
    def trials() -> tuple[Trial, ...]:
        study = Study(SPACE, metric="loss", max_epochs=9, seed=2)
        run(study, Hyperband(), FakeExecutor(trains, cores=3), budget=Budget(trials=7))
        return study.trials

    assert trials() == trials()


def test_the_clock_stops_running_trials_and_keeps_what_they_told() -> None:
    study = Study(SPACE, metric="loss", max_epochs=50)
    events = run(study, Random(), FakeExecutor(trains, cores=2), seconds=20.5)
    assert events[-1].payload == {"why": "budget"}
    assert [t.state for t in study.trials] == [State.PAUSED] * 2
    assert all(20 <= t.epoch <= 22 for t in study.trials)


def test_closing_the_iterator_stops_jobs_and_keeps_what_they_told() -> None:
    study = Study(SPACE, metric="loss", max_epochs=50)
    executor = FakeExecutor(trains, cores=2)
    events = search(study, Random(), executor, job_of, Clock(now=executor.now))
    for event in events:
        if event.kind == "epoch_finished" and event.payload["epoch"] == 3:
            break
    events.close()
    assert executor.running() == ()
    assert study.running == ()
    assert [t.state for t in study.trials] == [State.PAUSED] * 2
    assert all(t.epoch >= 2 for t in study.trials)


def fates(job: Job) -> Script:
    fate = job.arguments["trial"] % 6
    yield 1.0, {"message": "alive"}
    if fate == 1:
        raise Crash("signal 11")
    if fate == 2:
        raise ValueError("no such layer")
    if fate == 3:
        return {"value": math.nan}
    if fate == 4:
        return {}
    return {"value": 1.0 - job.arguments["config"]["x"]}


def test_failures_of_all_kinds_are_told_with_their_reason_and_the_search_goes_on() -> None:
    study = Study(SPACE, metric="loss")
    events = run(study, Random(), FakeExecutor(fates), budget=Budget(trials=12))
    whys = [t.why for t in study.trials if t.state is State.FAILED]
    assert len(whys) == 8
    assert whys[0] == "crashed: signal 11"
    assert whys[1].startswith("failed: ValueError: no such layer")
    assert whys[2:4] == ["it ended with the value nan", "it ended without a value"]
    assert sum(t.state is State.DONE for t in study.trials) == 4
    assert sum(e.kind == "progress" and e.payload == {"message": "alive"} for e in events) == 12


def diverges(job: Job) -> Script:
    yield 1.0, {"epoch": 1, "value": 0.5}
    yield 1.0, {"epoch": 2, "value": None}
    yield 100.0, {"epoch": 3, "value": 0.1}
    return {}


def test_a_curve_that_is_no_number_ends_its_job_at_once() -> None:
    study = Study(SPACE, metric="loss", max_epochs=9)
    executor = FakeExecutor(diverges, cores=1)
    run(study, Random(), executor, budget=Budget(trials=1))
    assert study.trials[0].state is State.FAILED
    assert study.trials[0].values == (0.5,)
    assert executor.now() < 50


class Scripted:
    """Buys the given purchases in order; waits while one runs."""

    def __init__(self, *purchases: Purchase, drops: dict[int, int] | None = None) -> None:
        self.left = list(purchases)
        self.drops = drops or {}

    def decide(self, study: Study, clock: Clock) -> Decision:
        if self.left:
            return self.left.pop(0)
        return Wait() if study.running else Stop("converged")

    def drop(self, study: Study, clock: Clock) -> Iterator[tuple[int, str]]:
        for trial, epoch in self.drops.items():
            found = study.trial(trial)
            if found.open and found.epoch >= epoch:
                yield trial, "cannot win"


def free(**config: Any) -> Purchase:
    return Purchase(config=config, why="said so", extra={"arm": 1})


def test_a_job_of_many_cores_waits_for_them_and_one_of_too_many_fails() -> None:
    study = Study(metric="loss")
    executor = FakeExecutor(fates, cores=2)
    events = run(study, Scripted(free(x=0.1), free(x=0.2, cores=2), free(x=0.3, cores=3), free(x=0.9)), executor)
    assert [t.state for t in study.trials][::2] == [State.DONE, State.FAILED]
    assert study.trials[2].why == "it needs 3 cores and there are 2"
    assert [job.arguments["trial"] for job in executor.submitted] == [0, 1, 3]
    assert events[-1].payload == {"why": "converged"}
    assert study.trials[0].extra["arm"] == 1


def test_what_the_policy_drops_is_stopped_and_skipped() -> None:
    study = Study(SPACE, metric="loss", max_epochs=50)
    purchases = [Purchase(config={"x": x, "n": 1}, until=50) for x in (0.5, 0.1)]
    run(study, Scripted(*purchases, drops={0: 5}), FakeExecutor(stubborn))
    assert [t.state for t in study.trials] == [State.SKIPPED, State.DONE]
    assert study.trials[0].why == "cannot win"
    assert study.trials[0].epoch < 12


def stubborn(job: Job) -> Script:
    for epoch in range(1, 51):
        yield 1.0, {"epoch": epoch, "value": job.arguments["config"]["x"]}
    return {}


def early(job: Job) -> Script:
    yield 1.0, {"epoch": 1, "value": 0.5}
    return {"why": "it converged"}


def test_a_trial_that_ends_by_itself_before_its_last_epoch_is_done() -> None:
    study = Study(SPACE, metric="loss", max_epochs=9)
    run(study, Scripted(Purchase(config={"x": 0.1, "n": 1}, until=9)), FakeExecutor(early))
    assert study.trials[0].state is State.DONE
    assert study.trials[0].values == (0.5,)


def value_alone(job: Job) -> Script:
    yield 1.0, {"message": "no epochs told"}
    return {"value": 0.25}


def test_a_result_without_reports_is_the_value_of_the_epoch_it_ran_to() -> None:
    study = Study(SPACE, metric="loss", max_epochs=9)
    run(study, Scripted(Purchase(config={"x": 0.1, "n": 1}, until=4)), FakeExecutor(value_alone))
    assert study.trials[0].values == (None, None, None, 0.25)
    assert study.trials[0].state is State.PAUSED


def square(arguments: dict[str, Any], channel: Channel) -> dict[str, Any]:
    return {"value": arguments["config"]["x"] ** 2}


def test_it_runs_on_a_real_executor_and_a_study_on_disk_goes_on(tmp_path: Path) -> None:
    def jobs(trial: Trial, purchase: Purchase) -> Job:
        return Job(arguments={"config": trial.config}, function=square)

    for trials in (10, 20):
        with Study(SPACE, metric="loss", folder=tmp_path) as study, InlineExecutor(2) as executor:
            events = list(search(study, Random(), executor, jobs, Clock(60.0), Budget(trials=trials)))
            assert study.num_trials == trials
            assert [e.kind for e in events][-1] == "search_finished"
            assert study.best is not None
            assert study.best.value == pytest.approx(min(t.config["x"] for t in study.trials) ** 2)
