import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from thrifty.training.batches import Batch, Rows
from thrifty.training.loading import TRIED_STEPS, Loader, prefetched
from thrifty.training.parallel import ALONE


def rows(x: np.ndarray | None = None, num: int = 64) -> Rows:
    x = np.arange(num, dtype=np.float32)[:, None] if x is None else x
    return Rows({"x": x}, np.arange(num), np.zeros((num, 1), np.float32))


def noisy(batch: Batch, generator: torch.Generator) -> Batch:
    noise = torch.rand(batch.inputs["x"].shape, generator=generator)
    return batch._replace(inputs={"x": batch.inputs["x"] + noise})


def slow(batch: Batch, generator: torch.Generator) -> Batch:
    time.sleep(0.01)
    return noisy(batch, generator)


def loader(data: Rows | None = None, augment: object = noisy) -> Loader:
    return Loader(data or rows(), 4, 0, augment, ALONE, "cpu")  # type: ignore[arg-type]


def taken(batches: Iterator[Batch]) -> list[torch.Tensor]:
    return [batch.inputs["x"] for batch in batches]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b))


def test_batches_made_in_a_thread_are_the_same_and_an_epoch_can_begin_in_its_middle() -> None:
    plain, ahead = loader(), loader()
    ahead.ahead = True
    expected = taken(plain.epoch(3, 0))
    assert equal(taken(ahead.epoch(3, 0)), expected)
    assert equal(taken(loader().epoch(3, 5)), expected[5:])
    assert not equal(taken(loader().epoch(4, 0)), expected)


def test_a_network_that_waits_gets_its_batches_from_a_thread_in_the_middle_of_the_epoch() -> None:
    torch.set_num_threads(2)
    try:
        one = loader(augment=slow)
        names = []

        def seen(batch: Batch, generator: torch.Generator) -> Batch:
            names.append(threading.current_thread().name)
            return slow(batch, generator)

        one.augment = seen
        found = taken(one.epoch(0, 0))
        assert one.ahead
        assert names.count("batches") == 16 - TRIED_STEPS
        assert equal(found, taken(loader().epoch(0, 0)))
        assert one.waiting_share > 0.5
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_thread_hides_the_time_that_batches_take() -> None:
    shares = []
    for ahead in (False, True):
        one = loader(augment=slow)
        one.ahead = ahead
        for _ in one.epoch(0, 0):
            time.sleep(0.012)
        shares.append(one.waiting_share)
    assert shares[0] > 0.3
    assert shares[1] < 0.5 * shares[0]


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for_and_leaving_ends_the_thread() -> None:
    def broken() -> Iterator[Batch]:
        yield Batch({}, torch.zeros(1, 1), torch.ones(1))
        raise OSError("the file is gone")

    batches = prefetched(broken())
    next(batches)
    with pytest.raises(OSError, match="the file is gone"):
        next(batches)
    endless = prefetched(iter(lambda: Batch({}, torch.zeros(1, 1), torch.ones(1)), None))
    next(endless)
    endless.close()
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_memory_mapped_rows_are_the_same_as_those_in_memory(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert equal(taken(loader(rows(mapped)).epoch(0, 0)), taken(loader(rows(x)).epoch(0, 0)))
