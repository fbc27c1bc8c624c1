"""The seam between who decides what runs and who runs it. Contract suite and fake: `thrifty.testing.executors`."""

from collections.abc import Sequence
from typing import Protocol

from thrifty.execution.job import Ended, Job, Reported


class Executor(Protocol):
    """Runs jobs beside each other on a number of cores. Used from one thread."""

    @property
    def cores(self) -> int:
        """How many cores there are to share."""

    def free_cores(self) -> int:
        """Cores that no job holds; those of a job are free again at the latest when `wait` gives out its Ended."""

    def submit(self, job: Job) -> int:
        """Starts a job and returns its handle; raises UsageError when it needs more cores than are free."""

    def wait(self, timeout_seconds: float) -> list[Reported | Ended]:
        """What has happened since the last call, each job's in order; waits for something up to the timeout.

        Empty at the timeout, or at once when no job runs and the timeout is infinite.
        """

    def stop(self, handle: int, grace_seconds: float = 5.0) -> None:
        """Asks a job to end early, and ends it after the grace; does not wait. Nothing happens when it has ended."""

    def running(self) -> tuple[int, ...]:
        """The handles of jobs whose Ended was not given out yet, oldest first."""

    def warm(self, preload: Sequence[str]) -> None:
        """Readies what jobs with this `preload` need, so that the first of them starts sooner; does not wait."""

    def close(self) -> None:
        """Ends every job at once and gives back all resources; nothing more is reported."""
