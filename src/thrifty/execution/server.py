"""The fork server: a fresh process that imports what jobs need once, then forks a child for each in milliseconds.

It has one thread, runs no parallel operation (one before a fork hangs the child), imports no onnxruntime, touches no
GPU and never the user's `__main__`. It watches its children's seconds and memory, so that limits hold while the
coordinator is busy, and ends all of them when the coordinator goes.

The coordinator writes JSON datagrams: {"fork": handle, "cores", "seconds", "memory_bytes"} with the descriptors of the
job's request, socket and log; {"kill": handle, "after": seconds, "reason"}. It gets {"ready": seconds} or
{"failed": why}, then {"forked": handle, "pid"} and {"ended": handle, "status", "killed", "seconds", "peak_bytes",
"memory_ran_out"}.
"""

import gc
import json
import math
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from types import FrameType
from typing import Any

from thrifty.execution import child, process_tree
from thrifty.execution.job import load_module, one_line

WATCH_SECONDS = 0.25


@dataclass
class _Child:
    handle: int
    started: float
    deadline: float
    memory_bytes: float
    resident_before: int
    memory_kills_before: int
    kill_at: float = math.inf
    kill_reason: str = ""
    killed: str = ""
    resident_peak: int = 0
    peak_bytes: int = 0


def main(settings: dict[str, Any]) -> None:
    """Serves until the coordinator goes; `settings` = {"control": descriptor, "coordinator": pid, "preload": names}."""
    server = os.getpid()
    coordinator = settings["coordinator"]

    def on_signal(number: int, _frame: FrameType | None) -> None:
        # The kernel also tells of the end of the thread that started us, while the coordinator itself lives on.
        if os.getpid() == server and (number == signal.SIGTERM or os.getppid() != coordinator):
            _end()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGHUP, on_signal)
    process_tree.adopt_orphans()
    process_tree.die_with_parent(signal.SIGHUP)
    if os.getppid() != coordinator:
        os._exit(0)
    process_tree.set_name("thrifty-server")
    control = socket.socket(fileno=settings["control"])
    _preload(control, settings["preload"])
    _Server(control).serve()


def _preload(control: socket.socket, names: list[str]) -> None:
    begin = time.monotonic()
    gc.disable()  # until the freeze: what is freed between forks would leave holes in pages that children share
    try:
        for name in names:
            load_module(name)
        if "onnxruntime" in sys.modules:
            raise ImportError(f"one of {names} imports onnxruntime, whose threads do not survive a fork")
    except BaseException as error:
        control.send(json.dumps({"failed": one_line(error)}).encode())
        raise
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        print(f"after importing {names} there are {threads} threads; a fork copies one of them", file=sys.stderr)
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": time.monotonic() - begin}).encode())


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, _Child] = {}
        self.next_look = math.inf
        self.woken, self.wake = socket.socketpair()
        self.woken.setblocking(False)
        self.wake.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select(self._seconds_to_sleep()):
                if key.fileobj is self.control:
                    self._receive()
                else:
                    self.woken.recv(4096)
            self._reap()
            self._watch()

    def _seconds_to_sleep(self) -> float | None:
        times = [min(child.deadline, child.kill_at) for child in self.children.values() if not child.killed]
        until = min([self.next_look, *times])
        return None if until == math.inf else max(0.0, until - time.monotonic())

    def _receive(self) -> None:
        try:
            datagram, descriptors, _, _ = socket.recv_fds(self.control, 65536, 3, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            _end()
        if not datagram:
            _end()
        message = json.loads(datagram)
        if "fork" in message:
            self._fork(message, descriptors)
        else:
            kill_at = time.monotonic() + message["after"]
            for each in self.children.values():
                if each.handle == message["kill"] and kill_at < each.kill_at:
                    each.kill_at, each.kill_reason = kill_at, message["reason"]

    def _fork(self, message: dict[str, Any], descriptors: list[int]) -> None:
        server, now = os.getpid(), time.monotonic()
        seconds, memory_bytes = message["seconds"], message["memory_bytes"]
        resident, memory_kills = process_tree.resident_bytes([server]), _memory_kills()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                self.selector.close()
                for end in (self.control, self.wake, self.woken):
                    end.close()
                request, connection, log = descriptors
                child.run(server, request, connection, log, message["cores"], seconds)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(70)
        for descriptor in descriptors:
            os.close(descriptor)
        self.children[pid] = _Child(
            handle=message["fork"],
            started=now,
            deadline=math.inf if seconds is None else now + seconds,
            memory_bytes=math.inf if memory_bytes is None else memory_bytes,
            resident_before=resident,
            memory_kills_before=memory_kills,
        )
        self.next_look = min(self.next_look, now + WATCH_SECONDS)
        self._tell({"forked": message["fork"], "pid": pid})

    def _reap(self) -> None:
        any_ended = False
        while self._reap_one():
            any_ended = True
        if any_ended:
            for pid in process_tree.children(os.getpid()):
                if pid not in self.children:
                    process_tree.kill_tree(pid)

    def _reap_one(self) -> bool:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if ended is None:
            return False
        each = self.children.pop(ended.si_pid, None)
        if each is not None:
            process_tree.kill(ended.si_pid)  # what is left of its group, before its number can be given to another
        _, status, usage = os.wait4(ended.si_pid, 0)
        if each is not None:
            # Between two looks the memory may have peaked: the kernel knows the child's highest resident size.
            own_peak = usage.ru_maxrss * 1024 - each.resident_before if each.killed != "memory" else 0
            self._tell(
                {
                    "ended": each.handle,
                    "status": status,
                    "killed": each.killed,
                    "seconds": time.monotonic() - each.started,
                    "peak_bytes": max(each.peak_bytes, own_peak, 0),
                    "memory_ran_out": _memory_kills() > each.memory_kills_before,
                }
            )
        return True

    def _watch(self) -> None:
        now = time.monotonic()
        look = now >= self.next_look
        for pid, each in self.children.items():
            if look and not each.killed:
                self._look_at_memory(pid, each)
            if not each.killed and now >= each.kill_at:
                each.killed = each.kill_reason
            if not each.killed and now >= each.deadline:
                each.killed = "timeout"
            if each.killed:
                process_tree.kill_tree(pid)
        if look:
            self.next_look = now + WATCH_SECONDS if self.children else math.inf

    def _look_at_memory(self, pid: int, each: _Child) -> None:
        """Counts the exact memory only where the quick upper bound is a new peak or over the limit."""
        tree = [pid, *process_tree.descendants(pid)]
        resident = process_tree.resident_bytes(tree)
        if resident > 1.02 * each.resident_peak or resident > each.memory_bytes:
            each.resident_peak = max(resident, each.resident_peak)
            memory = process_tree.proportional_bytes(tree)
            each.peak_bytes = max(memory, each.peak_bytes)
            if memory > each.memory_bytes:
                each.killed = "memory"

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(message).encode())
        except (BrokenPipeError, ConnectionResetError):
            _end()


def _memory_kills() -> int:
    """How many processes the kernel has ended for want of memory since it started; 0 when it does not say."""
    with open("/proc/vmstat", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)


def _end() -> None:
    """Ends every descendant, then this process."""
    process_tree.kill_descendants()
    os._exit(0)
