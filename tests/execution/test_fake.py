from thrifty.execution.executor import Executor
from thrifty.execution.job import Ended, Job
from thrifty.testing.executors import Crash, ExecutorContract, FakeExecutor, Script, collect


def scripted(job: Job) -> Script:
    """The jobs of the contract suite, as scripts."""
    name = job.entry.partition(":")[2]
    if name == "raises":
        raise ValueError("a first line\nand a second")
    if name == "crashes":
        raise Crash("out of a test")
    number = 0
    while number < job.arguments.get("until", 0):
        number += 1
        stop = yield 0.01, {"number": number}
        if stop and job.arguments.get("polite", True):
            break
    if name == "gives_back":
        return {**job.arguments, "cores": job.cores, "unbounded": job.seconds is None}
    return {"number": number}


class TestFakeExecutor(ExecutorContract):
    def make(self, cores: int) -> Executor:
        return FakeExecutor(scripted, cores)


def test_time_is_made_up_and_jobs_run_beside_each_other():
    executor = FakeExecutor(scripted, cores=2)
    for until in (100, 300):
        executor.submit(Job("x:counts", {"until": until}))
    ended = [update for update in collect(executor) if isinstance(update, Ended)]
    assert [round(update.seconds, 6) for update in ended] == [1.0, 3.0]
    assert round(executor.now(), 6) == 3.0


def test_a_scripted_crash_is_an_outcome():
    executor = FakeExecutor(scripted)
    executor.submit(Job("x:crashes"))
    (ended,) = collect(executor)
    assert (ended.outcome, ended.why) == ("crashed", "out of a test")
