"""The seam of stores: the one truth about a study's trials. Contract suite: `thrifty.testing.stores`.

One coordinator owns a store at a time, by a lease with an attempt number: what an owner that lost the lease writes
changes nothing and raises StoreError. Every change is one transaction with its event rows.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.events import Event, json_text
from thrifty.tuning.trial import Trial

FORMAT = 4  # 1: studies of one metric alone; 2: of several, or with limits; 3: with repeats; 4: trials with parents
LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: trials that are new, trials that changed, (trial, epoch, value) rows, and events.

    others: (trial, epoch, name, value) rows of other metrics than the first.
    """

    new: Sequence[Trial] = ()
    changed: Sequence[Trial] = ()
    values: Sequence[tuple[int, int, float]] = ()
    events: Sequence[Event] = ()
    others: Sequence[tuple[int, int, str, float]] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What a store held when it was opened: its header, its trials by id, and the number and time of its last event."""

    header: dict[str, Any]
    trials: list[Trial]
    last_seq: int = 0
    last_seconds: float = 0.0
    live: bool = True  # False: to be looked at, as it is


class Store(Protocol):
    """Keeps one study."""

    def open(self, header: Mapping[str, Any]) -> Opened:
        """Takes the lease; writes `header` when the store is new, else gives back what is there.

        Raises StoreError when another owner holds the lease, the format is newer, or the store cannot be used.
        """

    def commit(self, change: Change) -> None:
        """Writes all of `change` or nothing. Raises StoreError when the lease is lost, ExternalError on a full disk."""

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events whose `seq` is above `after`, in order."""

    def renew(self) -> None:
        """Says that the owner lives; raises StoreError when the lease is lost."""

    def close(self) -> None:
        """Gives the lease back."""


def check_format(header: Mapping[str, Any], where: object) -> None:
    """Raises StoreError for a store written by a newer version."""
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise StoreError(
            f"the study in {where} has format {header.get('format')!r}; this version of thrifty reads formats up to "
            f"{FORMAT}. Install the version that wrote it (thrifty {header.get('thrifty', 'newer')}) to go on with it"
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: where it runs, and since when, so that a number used again is not taken for it."""

    host: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Owner:
        return cls(_host(), os.getpid(), _started(os.getpid()) or "")

    def alive(self) -> bool | None:
        """Whether it lives; None when it is on another host and cannot be asked."""
        if self.host != _host():
            return None
        return _started(self.pid) == self.started

    def to_json(self) -> str:
        return json.dumps({"host": self.host, "pid": self.pid, "started": self.started})

    @classmethod
    def from_json(cls, text: str) -> Owner:
        return cls(**json.loads(text))


def may_take_over(owner: Owner, idle_seconds: float, where: object) -> None:
    """Raises StoreError while `owner`, who wrote `idle_seconds` ago, still holds the lease."""
    alive = owner.alive()
    if owner == Owner.this() or alive is False or (alive is None and idle_seconds > LEASE_SECONDS):
        return
    place = f"process {owner.pid}" + ("" if alive else f" on {owner.host.split('/')[0]}")
    advice = "Wait for it to end, or end it" if alive else f"It can be taken over {LEASE_SECONDS:.0f} s after its end"
    raise StoreError(f"the study in {where} is in use by {place}. {advice}, or use another folder")


def _host() -> str:
    """A name that is the same for processes that can see each other's numbers alone."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append("unknown")
    return "/".join(parts)


def _started(pid: int) -> str | None:
    """When process `pid` started, in ticks since boot; None when there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        return _answers(pid)
    return None if fields[0] in "ZX" else fields[19]


def _answers(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


class Snapshot:
    """What another store held at a moment, to look at: it takes no change."""

    def __init__(self, header: dict[str, Any], trials: list[Trial], events: list[Event]) -> None:
        self.header, self.trials, self._events = header, trials, events

    def open(self, header: Mapping[str, Any]) -> Opened:
        last = self._events[-1] if self._events else None
        seq, seconds = (last.seq, last.time_seconds) if last is not None else (0, 0.0)
        return Opened(self.header, self.trials, seq, seconds, live=False)

    def commit(self, change: Change) -> None:
        raise UsageError("this study was opened to be looked at; open it as Study(…, folder=…) to go on with it")

    def events(self, after: int = 0) -> Iterator[Event]:
        return (event for event in self._events if event.seq > after)

    def renew(self) -> None:
        """Nobody else can take it."""

    def close(self) -> None:
        """There is nothing to give back."""


class MemoryStore:
    """A store that lives and dies with the process and has one owner; it keeps events as text, trials not at all."""

    def __init__(self) -> None:
        self._events: list[str] = []

    def open(self, header: Mapping[str, Any]) -> Opened:
        return Opened(dict(header), [])

    def commit(self, change: Change) -> None:
        self._events += [json_text(event.to_json()) for event in change.events]

    def events(self, after: int = 0) -> Iterator[Event]:
        for line in self._events[after:]:
            yield Event.from_json(json.loads(line))

    def renew(self) -> None:
        """Nobody else can take it."""

    def close(self) -> None:
        """There is nothing to give back."""
