"""Batches for the loop, one ahead in a thread of its own where the network would wait for them.

What a batch holds depends on the seed, the epoch and the step alone, never on which thread made it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import torch

from thrifty.core import seeds
from thrifty.core.errors import UsageError
from thrifty.training.batches import Augment, Batch, Rows, epoch_of
from thrifty.training.parallel import Ranks

TRIED_STEPS = 10  # after which the share of waiting is believed
WORTH_SHARE = 0.05  # of waiting, from which on a thread makes the batches


class Loader:
    """Gives the batches of an epoch, changed by `augment`, and measures how long they are waited for.

    device: where the network is. For a GPU the batches are made ahead and in pinned memory from the start; on the
    processor, where the thread takes time from the network, from when the network is seen to wait.
    """

    def __init__(
        self, rows: Rows, batch_size: int, seed: int, augment: Augment | None, ranks: Ranks, device: str
    ) -> None:
        if min(batch_size, len(rows)) < ranks.size:
            raise UsageError(f"{ranks.size} processes cannot share batches of {min(batch_size, len(rows))} rows")
        self.rows, self.batch_size, self.seed, self.augment, self.ranks = rows, batch_size, seed, augment, ranks
        self.pinned = device.startswith("cuda")
        self.ahead = device != "cpu"
        self.waited_seconds = self.used_seconds = 0.0
        self.num_batches = 0

    @property
    def waiting_share(self) -> float:
        """Share of the time so far that was waited for batches, 0 to 1."""
        return self.waited_seconds / max(self.waited_seconds + self.used_seconds, 1e-9)

    def epoch(self, epoch: int, step: int) -> Iterator[Batch]:
        """The batches of the epoch from the given step (from 0) on."""
        batches = self._batches(epoch, step)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            came = time.perf_counter()
            self.waited_seconds += came - began
            if batch is None:
                return
            try:
                yield batch
            finally:
                self.used_seconds += time.perf_counter() - came
            self.num_batches, step = self.num_batches + 1, step + 1
            if not self.ahead and self._is_worth_a_thread():
                self.ahead = True
                batches = self._batches(epoch, step)

    def _is_worth_a_thread(self) -> bool:
        return self.num_batches >= TRIED_STEPS and self.waiting_share > WORTH_SHARE and torch.get_num_threads() > 1

    def _batches(self, epoch: int, step: int) -> Iterator[Batch]:
        return prefetched(self._made(epoch, step)) if self.ahead else self._made(epoch, step)

    def _made(self, epoch: int, step: int) -> Iterator[Batch]:
        share = (self.ranks.rank, self.ranks.size)
        for number, batch in enumerate(epoch_of(self.rows, self.batch_size, self.seed, epoch, step, share), step):
            if self.augment is not None:
                seed = seeds.derive(self.seed, "augment", epoch, number, self.ranks.rank)
                batch = self.augment(batch, torch.Generator().manual_seed(seed))
            yield _pinned(batch) if self.pinned else batch


def _pinned(batch: Batch) -> Batch:
    inputs = {name: tensor.pin_memory() for name, tensor in batch.inputs.items()}
    return Batch(inputs, batch.targets_NK.pin_memory(), batch.weights_N.pin_memory())


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made by a thread while the one before it is used; an error is raised where it is met."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=1)
    over, ready = threading.Event(), threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not over.is_set():
            try:
                made.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        torch.set_num_threads(1)  # of this thread's own operations
        ready.set()
        try:
            for batch in batches:
                put(batch)
                if over.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks for the batch
            put(error)

    num_threads = torch.get_num_threads()
    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    ready.wait()
    torch.set_num_threads(num_threads)  # it is also what threads to come begin with
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()
