"""Each job in a process tree of its own, forked from a server that has already imported what the job needs.

This is the coordinator's side: it starts a server per `preload`, hands jobs over, collects what they say and words how
they ended. `server` forks and watches them, `child` is what runs in them.
"""

import json
import math
import os
import pickle
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.execution import process_tree, resources
from thrifty.execution.child import THREAD_VARIABLES
from thrifty.execution.job import Ended, Entry, Job, Outcome, Reported, decode, encode
from thrifty.execution.words import ending, mb, quoted

START_SECONDS = 120.0
"""A server that is not ready after this long is given up."""
ANSWER_SECONDS = 15.0
"""A server that has not done what is due after so much more time is taken to hang, and ended with its jobs."""
LOOK_SECONDS = 0.5
SPINS = "10000"
"""Of GNU OpenMP before a waiting thread sleeps. By default it holds its core for milliseconds, which makes small
networks many times slower beside busy processes."""
BOOT = (
    "import sys, json; settings = json.loads(sys.argv[1]); sys.path[:] = settings['path']; "
    "from thrifty.execution.server import main; main(settings)"
)


@dataclass
class _Server:
    preload: tuple[str, ...]
    process: "subprocess.Popen[bytes]"
    control: socket.socket
    log: BinaryIO
    since: float
    ready: bool = False
    failed: str = ""


@dataclass
class _Running:
    handle: int
    job: Job
    function: bytes
    server: _Server
    connection: socket.socket
    log: BinaryIO
    pid: int | None = None
    starts: int = 1
    overdue: float = math.inf
    received: bytes = b""
    returned: dict[str, Any] = field(default_factory=dict)


class ProcessExecutor:
    """Runs jobs in process trees that crash, hang, outgrow their limits and end alone, and that die with this process.

    `cores` default to those that affinity and cgroup give. `memory_bytes` bounds all jobs together (default: nine
    tenths of what is available now): when they outgrow it, the largest is ended. With `log_folder` what jobs print is
    kept in files there, otherwise only quoted when they crash. Jobs ignore Ctrl-C: the coordinator stops them.
    """

    def __init__(
        self, cores: int | None = None, memory_bytes: int | None = None, log_folder: Path | None = None
    ) -> None:
        if sys.platform != "linux":
            raise UsageError(f"jobs in processes of their own need Linux, not {sys.platform}")
        self._cores = cores or resources.usable_cores()
        self._memory_bytes = memory_bytes or int(0.9 * resources.available_memory())
        self._log_folder = log_folder
        self._servers: dict[tuple[str, ...], _Server] = {}
        self._running: dict[int, _Running] = {}
        self._updates: list[Reported | Ended] = []
        self._next_handle = 1
        self._next_look = 0.0
        self._selector = selectors.DefaultSelector()

    @property
    def cores(self) -> int:
        return self._cores

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def running(self) -> tuple[int, ...]:
        ended = {update.handle for update in self._updates if isinstance(update, Ended)}
        return tuple(sorted({*self._running, *ended}))

    def free_cores(self) -> int:
        return self._cores - sum(each.job.cores for each in self._running.values())

    def warm(self, preload: Sequence[str]) -> None:
        self._server(tuple(preload))

    def submit(self, job: Job) -> int:
        if job.cores > self.free_cores():
            raise UsageError(f"a job needs {job.cores} cores, and {self.free_cores()} of {self._cores} are free")
        function = b"" if job.function is None else _dump(job.function)
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._start(handle, job, function, starts=1)
        return handle

    def stop(self, handle: int, grace_seconds: float = 5.0) -> None:
        each = self._running.get(handle)
        if each is None:
            return
        if each.pid is None and not each.server.ready:
            self._tell(each.server, {"kill": handle, "after": 0.0, "reason": "stop"})
            self._end(each, "stopped", "stopped before it began", 0.0, 0)
            return
        each.overdue = min(each.overdue, time.monotonic() + max(0.0, grace_seconds) + ANSWER_SECONDS)
        try:
            each.connection.send(b"stop\n", socket.MSG_DONTWAIT)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            grace_seconds = min(grace_seconds, 1.0)  # it was asked before and does not look, or it has gone
        self._tell(each.server, {"kill": handle, "after": max(0.0, grace_seconds), "reason": "stop"})

    def wait(self, timeout_seconds: float) -> list[Reported | Ended]:
        until = time.monotonic() + timeout_seconds
        self._collect(0.0)
        while not self._updates:
            left = until - time.monotonic()
            if left <= 0 or (left == math.inf and not self._running):
                break
            self._collect(min(left, LOOK_SECONDS))
            self._look()
        updates, self._updates = self._updates, []
        return updates

    def close(self) -> None:
        for each in list(self._running.values()):
            self._forget(each)
        if self._servers:
            self._collect(0.0)
        for server in self._servers.values():
            server.control.close()
            if not server.ready:  # it still imports, and would see that only when it has done so
                process_tree.kill_tree(server.process.pid)
        for server in self._servers.values():
            try:
                server.process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                process_tree.kill_tree(server.process.pid)
                server.process.wait()
            server.log.close()
        self._servers.clear()
        self._updates.clear()
        self._selector.close()

    # Starting

    def _server(self, preload: tuple[str, ...]) -> _Server:
        if preload not in self._servers:
            server = self._servers[preload] = _start_server(preload, self._log("server-" + "-".join(preload)))
            self._selector.register(server.control, selectors.EVENT_READ, lambda: self._read_server(server))
        return self._servers[preload]

    def _start(self, handle: int, job: Job, function: bytes, starts: int) -> None:
        server = self._server(job.preload)
        ours, theirs = socket.socketpair()
        log = self._log(f"{handle}-{job.label}")
        each = _Running(handle, job, function, server, ours, log, starts=starts)
        with tempfile.TemporaryFile() as request, theirs:
            request.write(encode({"entry": job.entry, "arguments": job.arguments, "label": job.label}) + function)
            request.seek(0)
            asked = {"fork": handle, "cores": job.cores, "seconds": job.seconds, "memory_bytes": job.memory_bytes}
            self._running[handle] = each
            self._selector.register(ours, selectors.EVENT_READ, lambda: self._read_job(each))
            self._tell(server, asked, [request.fileno(), theirs.fileno(), log.fileno()])

    def _log(self, name: str) -> BinaryIO:
        if self._log_folder is None:
            return tempfile.TemporaryFile()
        self._log_folder.mkdir(parents=True, exist_ok=True)
        safe = re.sub(r"[^\w.-]+", "_", name)[:80].strip("_-")
        number = 1
        while True:
            try:
                return (self._log_folder / f"{safe}{f'_{number}' * (number > 1)}.log").open("x+b", buffering=0)
            except FileExistsError:  # of an earlier sitting
                number += 1

    def _tell(self, server: _Server, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(server.control, [json.dumps(message).encode()], list(descriptors))
        except (BrokenPipeError, ConnectionResetError):
            return  # it has gone; reading from it says so, and its jobs are seen to there

    # Listening

    def _collect(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if self._selector.get_map().get(key.fd) is key:  # what was read before may have ended it
                key.data()

    def _read_job(self, each: _Running) -> None:
        try:
            received = _receive(each.connection)
        except BlockingIOError:
            return
        if not received:  # it has ended, or closed its socket; how it ended the server will say
            self._selector.unregister(each.connection)
            return
        *lines, each.received = (each.received + received).split(b"\n")
        for line in lines:
            message = decode(line)
            if "report" in message:
                self._updates.append(Reported(each.handle, message["report"]))
            else:
                each.returned = message

    def _read_server(self, server: _Server) -> None:
        datagram = _receive(server.control)
        if not datagram:
            self._server_ended(server)
            return
        message = json.loads(datagram)
        if "ready" in message:
            server.ready = True
        elif "failed" in message:
            server.failed = message["failed"]
        else:
            each = self._running.get(message.get("forked") or message["ended"])
            if each is not None and "forked" in message:
                each.pid = message["pid"]
                if each.job.seconds is not None:
                    each.overdue = min(each.overdue, time.monotonic() + each.job.seconds + ANSWER_SECONDS)
            elif each is not None:
                self._job_ended(each, message)

    def _drain(self, each: _Running) -> None:
        """Reads all that a job said before it ended."""
        while each.connection.fileno() in self._selector.get_map():
            before = len(each.received), len(self._updates), each.returned
            self._read_job(each)
            if before == (len(each.received), len(self._updates), each.returned):
                return

    # Ending

    def _job_ended(self, each: _Running, message: dict[str, Any]) -> None:
        self._drain(each)
        outcome, why = _outcome(each, message)
        self._end(each, outcome, why, message["seconds"], message["peak_bytes"])

    def _server_ended(self, server: _Server) -> None:
        self._drop(server)
        code = server.process.wait()
        why = server.failed or f"its server {ending(code)}{quoted(server.log)}"
        server.log.close()
        for each in [each for each in self._running.values() if each.server is server]:
            if each.pid is not None:
                process_tree.kill_tree(each.pid)
            if each.pid is None and server.ready and each.starts < 2:
                self._forget(each)
                self._start(each.handle, each.job, each.function, each.starts + 1)
                continue
            self._drain(each)
            if each.returned:
                self._end(each, *_said(each.returned), 0.0, 0)
            else:
                self._end(each, "failed" if server.failed else "crashed", why, 0.0, 0)

    def _drop(self, server: _Server) -> None:
        if self._servers.get(server.preload) is server:
            del self._servers[server.preload]
        self._selector.unregister(server.control)
        server.control.close()

    def _end(self, each: _Running, outcome: Outcome, why: str, seconds: float, peak_bytes: int) -> None:
        result = each.returned.get("result") if outcome in ("done", "stopped") else None
        self._updates.append(Ended(each.handle, outcome, result, why, seconds, peak_bytes))
        self._forget(each)

    def _forget(self, each: _Running) -> None:
        del self._running[each.handle]
        if each.connection.fileno() in self._selector.get_map():
            self._selector.unregister(each.connection)
        each.connection.close()
        each.log.close()

    def _look(self) -> None:
        """Gives up servers that do not become ready, and ends the largest job when all together outgrow the memory."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        for server in list(self._servers.values()):
            if not server.ready and now - server.since > START_SECONDS:
                server.failed = f"its server was not ready within {START_SECONDS:.0f} s"
                process_tree.kill_tree(server.process.pid)
        for each in list(self._running.values()):
            if now > each.overdue:
                each.overdue = math.inf
                each.server.failed = "its server hung"
                process_tree.kill_tree(each.server.process.pid)
        trees = {
            each.handle: [each.pid, *process_tree.descendants(each.pid)]
            for each in self._running.values()
            if each.pid is not None
        }
        if process_tree.resident_bytes([pid for tree in trees.values() for pid in tree]) > self._memory_bytes:
            memory = {handle: process_tree.proportional_bytes(tree) for handle, tree in trees.items()}
            if sum(memory.values()) > self._memory_bytes:
                largest = max(memory, key=lambda handle: memory[handle])
                self._tell(self._running[largest].server, {"kill": largest, "after": 0.0, "reason": "together"})


def _start_server(preload: tuple[str, ...], log: BinaryIO) -> _Server:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    settings = {
        "control": theirs.fileno(),
        "coordinator": os.getpid(),
        "preload": list(preload),
        "path": [os.path.abspath(entry) if entry == "" else entry for entry in sys.path],
    }
    threads = dict.fromkeys(THREAD_VARIABLES, "1")
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal goes to the coordinator alone
            env={"PYTHONHASHSEED": "0", "GOMP_SPINCOUNT": SPINS, **os.environ, **threads},
        )
    return _Server(preload, process, ours, log, time.monotonic())


def _receive(connection: socket.socket) -> bytes:
    """What is there to read, empty at the end; a peer that ended without reading all does not lose what it wrote."""
    try:
        return connection.recv(1 << 16, socket.MSG_DONTWAIT)
    except ConnectionResetError:  # told once, before what it wrote
        return connection.recv(1 << 16, socket.MSG_DONTWAIT)


def _dump(function: Entry) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        raise MissingExtraError("running a function in a process of its own", "tune", "cloudpickle") from error
    try:
        return cloudpickle.dumps(function)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UsageError(f"the function cannot be sent to a process of its own: {error}") from error


def _outcome(each: _Running, message: dict[str, Any]) -> tuple[Outcome, str]:
    if each.returned:
        return _said(each.returned)
    killed, job = message["killed"], each.job
    if killed == "timeout":
        return "timeout", f"ran {message['seconds']:.1f} s, over its limit of {job.seconds:g} s"
    if killed == "memory":
        return "memory", f"held {mb(message['peak_bytes'])}, over its limit of {mb(job.memory_bytes or 0)}"
    if killed == "together":
        return "memory", "was the largest when all jobs together held more memory than there is to share"
    if killed == "stop":
        return "stopped", "did not return within its grace when asked to stop"
    code = os.waitstatus_to_exitcode(message["status"])
    if code == -signal.SIGKILL and message["memory_ran_out"]:
        return "memory", "was ended by the kernel because memory ran out"
    return "crashed", f"{ending(code)} without a result{quoted(each.log)}"


def _said(returned: dict[str, Any]) -> tuple[Outcome, str]:
    if returned["returned"] == "done" and returned["stopped"]:
        return "stopped", "returned early when asked to stop"
    return returned["returned"], returned["why"]
