import os
from pathlib import Path

import pytest

from thrifty.execution import process_tree, resources

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in {
        "proc/meminfo": f"MemTotal: {16 * GIB >> 10} kB\nMemAvailable: {8 * GIB >> 10} kB\n",
        **files,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def many_cores(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)))


def test_affinity_gives_the_cores_where_there_is_no_quota(tmp_path, monkeypatch):
    many_cores(monkeypatch, 6)
    assert resources.usable_cores(write(tmp_path, {"proc/self/cgroup": "0::/\n"})) == 6


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 1), ("250000 100000", 2), ("max 100000", 6), ("50000 100000", 1)]
)
def test_a_quota_of_cgroup_2_anywhere_above_bounds_the_cores(tmp_path, monkeypatch, quota, cores):
    many_cores(monkeypatch, 6)
    files = {
        "proc/self/cgroup": "0::/outer/inner\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory",
        "sys/fs/cgroup/outer/cpu.max": quota,
        "sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
    }
    assert resources.usable_cores(write(tmp_path, files)) == cores


def test_a_quota_of_cgroup_1_bounds_the_cores_in_a_container_that_hides_its_path(tmp_path, monkeypatch):
    many_cores(monkeypatch, 6)
    files = {
        "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert resources.usable_cores(write(tmp_path, files)) == 3


def test_memory_is_the_machines_without_a_limit(tmp_path):
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n"})
    assert (resources.total_memory(root), resources.available_memory(root)) == (16 * GIB, 8 * GIB)


def test_memory_of_cgroup_2_counts_page_cache_as_free(tmp_path):
    files = {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/cgroup.controllers": "memory",
        "sys/fs/cgroup/job/memory.max": str(4 * GIB),
        "sys/fs/cgroup/job/memory.current": str(3 * GIB),
        "sys/fs/cgroup/job/memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
    }
    root = write(tmp_path, files)
    assert (resources.total_memory(root), resources.available_memory(root)) == (4 * GIB, 3 * GIB)


def test_memory_of_cgroup_1_is_bounded_unless_it_says_unlimited(tmp_path):
    files = {
        "proc/self/cgroup": "7:memory:/job\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 * GIB),
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(3 * GIB),
    }
    root = write(tmp_path, files)
    assert (resources.total_memory(root), resources.available_memory(root)) == (2 * GIB, 0)


def test_this_machine_is_described():
    described = resources.machine()
    assert described["cores"] >= 1
    assert resources.total_memory() >= resources.available_memory() > 0
    assert described["memory_bytes"] == resources.total_memory()


def test_the_processors_abilities_are_read_from_its_flags(tmp_path):
    root = write(
        tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512_vnni avx512_bf16\n"}
    )
    assert (resources.fast_bfloat16(root), resources.fast_int8(root)) == (True, True)
    assert resources.machine(root)["processor"] == "A CPU"
    assert resources.machine(root)["instructions"] == ["avx2", "avx512_vnni", "avx512_bf16"]


def test_proportional_memory_is_at_most_the_resident():
    mine = [os.getpid()]
    assert 1_000_000 < process_tree.proportional_bytes(mine) <= process_tree.resident_bytes(mine) * 1.05
    assert process_tree.resident_bytes([1 << 30]) == process_tree.proportional_bytes([1 << 30]) == 0


def test_children_are_found_without_the_kernels_list():
    pid = os.getpid()
    assert [child for child, parent in process_tree._parents() if parent == pid] == process_tree.children(pid)
