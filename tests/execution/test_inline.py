import pytest

from thrifty.core.errors import UsageError
from thrifty.execution.executor import Executor
from thrifty.execution.inline import InlineExecutor
from thrifty.execution.job import Channel, Ended, Job, Reported
from thrifty.testing.executors import ExecutorContract, collect, counts


class TestInlineExecutor(ExecutorContract):
    def make(self, cores: int) -> Executor:
        return InlineExecutor(cores)


def test_jobs_take_turns_so_that_the_order_is_always_the_same():
    executor = InlineExecutor(2)
    for until in (2, 3):
        executor.submit(Job(function=counts, arguments={"until": until}))
    order = [(update.handle, isinstance(update, Ended)) for update in collect(executor)]
    assert order == [(1, False), (2, False), (1, False), (2, False), (1, True), (2, False), (2, True)]


def test_a_job_that_was_stopped_before_its_turn_never_runs():
    ran = []
    executor = InlineExecutor()
    handle = executor.submit(Job(function=lambda arguments, channel: ran.append(1) or {}))
    executor.stop(handle)
    (ended,) = collect(executor)
    assert (ended.outcome, ran) == ("stopped", [])


def test_closing_unwinds_a_job_where_it_last_reported():
    unwound = []

    def job(arguments: dict, channel: Channel) -> dict:
        try:
            channel.report({})
        finally:
            unwound.append(1)
        return {}

    executor = InlineExecutor()
    executor.submit(Job(function=job))
    assert isinstance(executor.wait(1.0)[0], Reported)
    executor.close()
    assert unwound == [1]


@pytest.mark.parametrize(
    "wrong", [{}, {"entry": "a:b", "function": counts}, {"entry": "a.b"}, {"entry": "a:b", "cores": 0}]
)
def test_a_job_that_cannot_be_run_is_refused_when_it_is_made(wrong):
    with pytest.raises(UsageError):
        Job(**wrong)
