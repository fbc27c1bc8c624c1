"""Process trees on Linux: who is in them, what memory they hold, how they end, and that they end with their parent."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """Children, grandchildren and so on of a process, parents first; empty when it is gone."""
    found, seen = [pid], {pid}
    for parent in found:
        new = [child for child in children(parent) if child not in seen]
        seen.update(new)
        found += new
    return found[1:]


def children(pid: int) -> list[int]:
    """The processes that a process started or adopted, zombies too."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
                return _children_by_parent(pid)
        except OSError:
            continue
    return found


def _children_by_parent(pid: int) -> list[int]:
    """The same for kernels that do not list children."""
    return [child for child, parent in _parents() if parent == pid]


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_bytes()
            except OSError:
                continue
            yield int(name), int(stat.rpartition(b")")[2].split()[1])


def resident_bytes(pids: list[int]) -> int:
    """Resident memory (RSS), shared pages counted in each: quick, and never less than the proportional memory."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total += int(file.read().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            continue
    return total


def proportional_bytes(pids: list[int]) -> int:
    """Proportional memory (PSS) but for pages of mapped files: shared pages are divided among those that share them.

    What is mapped from files the kernel drops and reads again as it likes, so that it takes no memory from anyone.
    Costs milliseconds per GB. Kernels before 5.4 do not tell files apart: there they count.
    """
    return sum(map(_proportional_bytes, pids))


def _proportional_bytes(pid: int) -> int:
    kilobytes: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                name, _, rest = line.partition(b":")
                if name.startswith(b"Pss"):
                    kilobytes[name] = int(rest.split()[0])
    except OSError:
        return 0
    without_files = kilobytes.get(b"Pss", 0) - kilobytes.get(b"Pss_File", 0)
    return 1024 * without_files


def kill_tree(pid: int) -> None:
    """Sends SIGKILL to a process, its process group when it leads one, and all its descendants."""
    for member in [pid, *descendants(pid)]:
        kill(member)


def kill(pid: int) -> None:
    """Sends SIGKILL to a process and to the group it leads, if they are there."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def kill_descendants(within_seconds: float = 5.0) -> None:
    """Ends everything below this process, also what is started meanwhile; it must be a subreaper to see orphans."""
    until = time.monotonic() + within_seconds
    while (below := descendants(os.getpid())) and time.monotonic() < until:
        for pid in below:
            kill(pid)
        _reap()
        time.sleep(0.002)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def die_with_parent(number: int) -> None:
    """Has the kernel send this process the signal when the thread that started it ends (Linux; see prctl(2)).

    Does not outlive a fork. The caller must check afterwards that its parent was still there.
    """
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent ended, so that none gets away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """What `ps` and `top` show, at most 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode("ascii", "replace")[:15])


def _prctl(option: int, value: int | bytes) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


_libc = ctypes.CDLL(None, use_errno=True)
