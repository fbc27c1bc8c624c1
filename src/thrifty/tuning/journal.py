"""A study's journal: what is written to its store, and the copy of its events for others to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thrifty.core.budget import Clock
from thrifty.core.events import Event, EventLog
from thrifty.tuning.store import Change, MemoryStore, Opened, Store

PROPOSED = ("trial_started", "trial_continued")


class Journal:
    """Writes changes with their events, numbered and timed, to one store; in a folder also to its events.jsonl.

    clock: what `time_seconds` of events counts from. store: used without a folder; by default in memory.
    """

    def __init__(self, folder: Path | None, clock: Clock, store: Store | None = None) -> None:
        self.folder, self.clock = folder, clock
        self.store: Store = (store or MemoryStore()) if folder is None else _store_in(folder)
        self.listeners: list[Callable[[Event], None]] = []
        self.log: EventLog | None = None
        self.num_proposals = 0
        self._seq, self._offset_seconds = 0, 0.0
        self._unlogged: list[Event] = []

    def open(self, header: Mapping[str, Any]) -> Opened:
        """Takes the store; a new one gets `header`."""
        opened = self.store.open(header)
        self._seq, self._offset_seconds = opened.last_seq, opened.last_seconds
        return opened

    def begin_log(self) -> None:
        """Completes the copy of the events that are in the store, and goes on with it."""
        if self.folder is not None:
            self.log = EventLog(self.folder / "events.jsonl")
            self._unlogged = list(self.store.events(self.log.repair(self._seq)))
            self._mirror([])

    def count_proposals(self) -> None:
        """Counts in a store that was opened how often a trial was started or gone on with."""
        self.num_proposals = sum(1 for event in self.store.events() if event.kind in PROPOSED)

    def event(self, kind: str, trial: int | None, payload: Mapping[str, Any]) -> Event:
        """The event that comes next, if it is written now."""
        seconds = round(self._offset_seconds + max(0.0, self.clock.elapsed()), 3)
        return Event(self._seq + 1, seconds, kind, trial, dict(payload))

    def write(self, change: Change) -> None:
        """Writes all of a change or nothing; `said` then tells of its events."""
        self.store.commit(change)

    def said(self, event: Event) -> None:
        """Copies an event that was written, and tells the listeners of it."""
        self._seq = event.seq
        self.num_proposals += event.kind in PROPOSED
        self._mirror([event])
        for listener in self.listeners:
            listener(event)

    def close(self) -> str:
        """Gives the store back; says why events are missing in the copy, "" when none are."""
        missing = self._mirror([])
        self.store.close()
        if self.log is not None:
            self.log.close()
            self.log = None
        return missing

    def _mirror(self, events: Sequence[Event]) -> str:
        """Copies events to `events.jsonl`; what cannot be written now waits, for the store has it. Returns why."""
        if self.log is None:
            return ""
        self._unlogged += events
        if not self._unlogged:
            return ""
        try:
            self.log.append(self._unlogged)
        except OSError as error:
            return f"{len(self._unlogged)} events could not be copied to {self.log.path}: {error}"
        self._unlogged = []
        return ""


def _store_in(folder: Path) -> Store:
    from thrifty.tuning.database import DatabaseStore

    return DatabaseStore.in_folder(folder)
