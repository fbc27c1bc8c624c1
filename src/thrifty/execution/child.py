"""What a forked child does: becomes a process of its own, takes its cores, calls the entry, sends what came of it."""

import faulthandler
import gc
import importlib
import importlib.util
import math
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thrifty.execution import process_tree
from thrifty.execution.job import Entry, call, decode, encode, resolve

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class SocketChannel:
    """The channel of a job in a process of its own: JSON lines over a socket to the coordinator."""

    def __init__(self, connection: socket.socket, cores: int, seconds: float | None) -> None:
        self._connection = connection
        self._cores = cores
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()
        self._asked = False
        self.stopped = False

    @property
    def cores(self) -> int:
        return self._cores

    def report(self, message: Mapping[str, Any]) -> None:
        self.send({"report": message})

    def should_stop(self) -> bool:
        if not self._asked:
            try:
                received = self._connection.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if not received:
                _end_group()
            self._asked = True
        self.stopped = True
        return True

    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message, whole; ends this process when there is no coordinator any more."""
        line = encode(message)
        with self._lock:
            try:
                self._connection.sendall(line)
            except (BrokenPipeError, ConnectionResetError):
                _end_group()


def run(server: int, request: int, connection: int, log: int, cores: int, seconds: float | None) -> None:
    """Runs one job in the process that was just forked from `server`; the rest are file descriptors. Never returns."""
    _settle(server, log)
    channel = SocketChannel(socket.socket(fileno=connection), cores, seconds)
    with open(request, "rb") as file:
        asked = decode(file.readline())
        function = file.read()
    process_tree.set_name(f"thrifty:{asked['label']}")
    use_cores(cores)
    returned = call(_finder(asked["entry"], function), asked["arguments"], channel)
    if returned.traceback:
        print(returned.traceback, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    channel.send(
        {"returned": returned.outcome, "result": returned.result, "why": returned.why, "stopped": channel.stopped}
    )
    os._exit(0)


def _settle(server: int, log: int) -> None:
    os.setsid()
    process_tree.die_with_parent(signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    process_tree.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        Path("/proc/self/oom_score_adj").write_text("500")  # when memory runs out a job goes, not the coordinator
    except OSError as error:
        print(f"cannot make this job the kernel's first choice when memory runs out: {error}", file=sys.stderr)
    gc.enable()


def use_cores(cores: int) -> None:
    """Has OpenMP, BLAS and torch use this many threads, loaded or yet to be loaded."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(cores)
    if cores > 1 and importlib.util.find_spec("threadpoolctl") is not None:
        importlib.import_module("threadpoolctl").threadpool_limits(cores)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(cores)


def _finder(entry: str, function: bytes) -> Callable[[], Entry]:
    def find() -> Entry:
        if entry:
            return resolve(entry)
        return importlib.import_module("cloudpickle").loads(function)  # made by this run's coordinator, never on disk

    return find


def _end_group() -> None:
    os.killpg(0, signal.SIGKILL)
