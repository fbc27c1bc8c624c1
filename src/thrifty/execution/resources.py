"""What this machine, and the container around this process, let it use: cores, memory, the processor's abilities.

All of it is read from Linux's /proc and /sys; elsewhere Python's own answers stand in. `root` is for tests.
"""

import os
import platform
import re
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

WORKER_BYTES = 1 << 30
UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number close to 2^63."""


def usable_cores(root: Path = Path("/")) -> int:
    """Whole cores that affinity and the cgroup's quota give, at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    quotas = [*_quotas_v2(root), *_quotas_v1(root)]
    return max(1, int(min([cores, *quotas])))


def total_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process and its children may use at most: the machine's, or the cgroup's limit."""
    return min([_meminfo(root, "MemTotal"), *(limit for limit, _ in _memory_limits(root))])


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be taken without swapping or meeting the cgroup's limit; page cache counts as free."""
    left = [max(0, limit - used) for limit, used in _memory_limits(root)]
    return min([_meminfo(root, "MemAvailable"), *left])


def prediction_workers() -> int:
    """How many batches of rows to predict at once: on all cores, with WORKER_BYTES for each."""
    return max(1, min(usable_cores(), available_memory() // WORKER_BYTES))


@cache
def processor_flags(root: Path = Path("/")) -> frozenset[str]:
    """The processor's instruction sets as Linux names them: avx2, avx512f, avx512_vnni, avx512_bf16, amx_bf16, ..."""
    return frozenset(_cpuinfo(root, "flags|Features").split())


def fast_bfloat16(root: Path = Path("/")) -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    return bool(processor_flags(root) & {"avx512_bf16", "amx_bf16", "bf16"})


def fast_int8(root: Path = Path("/")) -> bool:
    """Whether the processor has dot products of 8-bit integers."""
    return bool(processor_flags(root) & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@cache
def product_speed() -> float:
    """Operations a second of products of float32 matrices on one core, the most of some short tries; measured once."""
    import numpy as np

    a_NN, product_NN = np.ones((512, 512), np.float32), np.empty((512, 512), np.float32)
    b_NN, seconds = a_NN.copy(), []
    with import_module("threadpoolctl").threadpool_limits(1):
        for _ in range(16):
            began = time.perf_counter()
            np.matmul(a_NN, b_NN, out=product_NN)
            seconds.append(time.perf_counter() - began)
    return 2.0 * len(a_NN) ** 3 / max(min(seconds), 1e-6)


def machine(root: Path = Path("/")) -> dict[str, Any]:
    """The machine in words and numbers, for reports."""
    interesting = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    flags = processor_flags(root)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _cpuinfo(root, "model name|Model") or platform.processor() or "unknown",
        "cores": usable_cores(root),
        "memory_bytes": total_memory(root),
        "instructions": [name for name in interesting if name in flags],
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpuinfo(root: Path, names: str) -> str:
    found = re.search(rf"^(?:{names})\s*:[ \t]*(.*)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else ""


def _meminfo(root: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if found:
        return int(found.group(1)) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _groups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's cgroup and those around it, for a v1 controller, or "" for v2.

    Inside a container the path that /proc names may not be mounted; then what is mounted is the container's own.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            break
    else:
        return []
    base = root / "sys/fs/cgroup" / controller
    if not controller and not (base / "cgroup.controllers").exists():
        base = root / "sys/fs/cgroup/unified"
    steps = [step for step in path.split("/") if step]
    folders = [base.joinpath(*steps[:number]) for number in range(len(steps), -1, -1)]
    return [folder for folder in folders if folder.is_dir()]


def _quotas_v2(root: Path) -> list[float]:
    quotas = []
    for folder in _groups(root, ""):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    return quotas


def _quotas_v1(root: Path) -> list[float]:
    quotas = []
    for folder in _groups(root, "cpu"):
        quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota and period:
            quotas.append(quota / period)
    return quotas


def _memory_limits(root: Path) -> list[tuple[int, int]]:
    """(limit, used without page cache that can be dropped) of each cgroup around this process that has a limit."""
    names = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    limits = []
    for controller, limit_name, used_name in names:
        for folder in _groups(root, controller):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and limit < UNLIMITED:
                stat = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                limits.append((limit, (used or 0) - (int(stat.group(1)) if stat else 0)))
    return limits


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None
