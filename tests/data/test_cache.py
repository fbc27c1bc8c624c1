import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from thrifty.core.errors import ExternalError
from thrifty.data.cache import Cache, default_folder


def test_arrays_are_computed_once_chunk_by_chunk(tmp_path: Path):
    calls = []

    def compute(rows: slice) -> dict[str, np.ndarray]:
        calls.append(rows)
        return {"x": np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] * [1, 2]}

    for _ in range(2):
        found = Cache(tmp_path).arrays("k", 10, compute, chunk_rows=4)
        assert (found["x"] == np.arange(10)[:, None] * [1, 2]).all()
        assert isinstance(found["x"], np.memmap)
    assert calls == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert Cache(tmp_path).has("k")


def test_what_entries_took_that_were_missing_is_counted(tmp_path: Path):
    def compute(rows: slice) -> dict[str, np.ndarray]:
        time.sleep(0.05)
        return {"x": np.zeros((rows.stop - rows.start, 1), np.float32)}

    made, found = Cache(tmp_path), Cache(tmp_path)
    for cache in (made, found):
        cache.arrays("k", 10, compute, chunk_rows=5)
    assert made.made_seconds >= 0.1
    assert found.made_seconds == 0.0


def test_what_was_made_before_a_time_is_counted_when_it_is_used(tmp_path: Path):
    def compute(rows: slice) -> dict[str, np.ndarray]:
        return {"x": np.zeros(rows.stop - rows.start)}

    Cache(tmp_path).arrays("old", 3, compute)
    os.utime(next(tmp_path.glob("*/entry.json")), (1000, 1000))
    cache = Cache(tmp_path, since=2000)
    cache.arrays("new", 3, compute)
    cache.arrays("new", 3, compute)
    assert cache.found_older == 0
    cache.arrays("old", 3, compute)
    assert cache.found_older == 1
    assert Cache(tmp_path).found_older == 0


def test_chunks_of_different_width_are_padded_with_zeros(tmp_path: Path):
    widths = {0: 2, 2: 4, 4: 1}

    def compute(rows: slice) -> dict[str, np.ndarray]:
        return {"ids": np.ones((rows.stop - rows.start, widths[rows.start]), np.int64)}

    found = Cache(tmp_path).arrays("k", 5, compute, chunk_rows=2)["ids"]
    assert found.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_no_rows_and_empty_arrays_are_kept_too(tmp_path: Path):
    assert Cache(tmp_path).arrays("k", 0, lambda rows: {"x": np.zeros((0, 3))})["x"].shape == (0, 3)
    assert Cache(tmp_path).arrays("l", 3, lambda rows: {"x": np.zeros((3, 0))})["x"].shape == (3, 0)


def test_a_failure_leaves_nothing(tmp_path: Path):
    def fail(rows: slice) -> dict[str, np.ndarray]:
        if rows.start:
            raise ValueError("no")
        return {"x": np.zeros(2)}

    with pytest.raises(ValueError, match="no"):
        Cache(tmp_path).arrays("k", 4, fail, chunk_rows=2)
    assert [p for p in tmp_path.iterdir() if p.name != ".locks"] == []
    assert (Cache(tmp_path).arrays("k", 1, lambda rows: {"x": np.ones(1)})["x"] == 1).all()


def test_the_least_recently_used_goes_first(tmp_path: Path):
    cache = Cache(tmp_path, max_bytes=3000)
    for age, key in enumerate(("a", "b")):
        cache.arrays(key, 125, lambda rows: {"x": np.zeros(125)})
        os.utime(cache.folder / sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".")[0], (age, age))
    held = cache.arrays("a", 125, lambda rows: {"x": np.ones(125)})["x"]
    cache.arrays("c", 125, lambda rows: {"x": np.zeros(125)})
    assert [cache.has(key) for key in "abc"] == [True, False, True]
    assert (held == 0).all()
    assert cache.num_bytes() < 3000


def test_what_a_killed_process_left_is_removed_and_what_another_makes_is_not(tmp_path: Path):
    making = []

    def compute(rows: slice) -> dict[str, np.ndarray]:
        making.extend(tmp_path.glob(".making-*"))
        for folder in making:
            os.utime(folder, (1000, 1000))
        Cache(tmp_path).arrays("within", 1, lambda rows: {"x": np.zeros(1)})
        assert [folder.exists() for folder in making] == [folder.name != ".making-left" for folder in making]
        return {"x": np.zeros(rows.stop - rows.start)}

    for name in (".making-left", ".gone-left"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.npy").write_bytes(b"x")
        os.utime(tmp_path / name, (1000, 1000))
    Cache(tmp_path).arrays("k", 3, compute)
    assert len(making) == 2
    assert not list(tmp_path.glob(".*-*"))


def test_a_temporary_cache_has_a_folder_of_its_own():
    one, other = Cache(), Cache()
    assert one.folder != other.folder
    assert one.file("k", "a.txt", lambda path: path.write_text("x") and None).read_text() == "x"


def test_a_folder_that_cannot_be_made_is_an_error():
    with pytest.raises(ExternalError, match="THRIFTY_CACHE"):
        Cache(Path("/proc/nowhere"))


def test_the_folder_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("THRIFTY_CACHE", str(tmp_path))
    assert default_folder() == tmp_path


def _work(folder: Path, log: Path) -> None:
    def compute(rows: slice) -> dict[str, np.ndarray]:
        with log.open("a") as file:
            file.write("computed\n")
        return {"x": np.arange(50)}

    assert (Cache(folder).arrays("k", 50, compute)["x"] == np.arange(50)).all()


def test_processes_that_want_the_same_compute_it_once(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(tmp_path / "c", tmp_path / "log")) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert (tmp_path / "log").read_text() == "computed\n"


def test_computing_may_ask_the_cache_for_something_else(tmp_path: Path):
    cache = Cache(tmp_path)

    def outer(rows: slice) -> dict[str, np.ndarray]:
        return {"x": cache.arrays("inner", 3, lambda r: {"y": np.ones(3)})["y"] * 2}

    assert cache.arrays("outer", 3, outer)["x"].tolist() == [2, 2, 2]
