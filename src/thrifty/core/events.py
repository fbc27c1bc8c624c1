"""Numbered events, and `events.jsonl`: an append-only copy that watchers read while it grows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError, UsageError

RESERVED = ("seq", "time_seconds", "kind", "trial")
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `seq` rises by one; `time_seconds` counts from the start and never falls."""

    seq: int
    time_seconds: float
    kind: str
    trial: int | None = None
    payload: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "time_seconds": self.time_seconds,
            "kind": self.kind,
            "trial": self.trial,
            **self.payload,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        payload = {k: v for k, v in value.items() if k not in RESERVED}
        return cls(value["seq"], value["time_seconds"], value["kind"], value["trial"], payload)


def json_text(value: Any) -> str:
    """Strict JSON on one line: numpy scalars and paths become plain, NaN and infinities become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except TypeError as error:
        raise UsageError(f"{value!r} cannot be written as JSON: {error}") from error


def last_seconds(path: Path) -> float:
    """The time of the last event in a log; 0 where there is none."""
    if not path.exists():
        return 0.0
    last = 0.0
    for line in path.read_bytes().splitlines()[-20:]:
        try:
            last = max(last, Event.from_json(json.loads(line)).time_seconds)
        except (ValueError, KeyError, TypeError):
            continue
    return last


def tells_of_trials(path: Path) -> bool:
    """Whether an event in a log is about a trial."""
    try:
        with path.open("rb") as file:
            return any(_trial_of(line) is not None for line in file)
    except (FileNotFoundError, NotADirectoryError):
        return False


class EventLog:
    """Appends events to a file, one JSON object a line. What was not written (a full disk) is written the next time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise StoreError(f"the event log {path} cannot be opened: {error.strerror}") from error

    def repair(self, last_seq: int) -> int:
        """Cuts a torn last line and lines above `last_seq`; returns the `seq` of the last line left, 0 for none."""
        end = self._file.seek(0, 2)
        while end:
            start, line = self._line_before(end)
            seq = _seq_of(line)
            if seq is not None and seq <= last_seq:
                break
            end = start
        else:
            seq = 0
        self._file.truncate(end)
        return seq or 0

    def _line_before(self, end: int) -> tuple[int, bytes]:
        """Where the last line that ends at `end` starts, and its bytes, reading backwards by blocks."""
        data, start = b"", end
        while start:
            size = min(_TAIL_BYTES, start)
            start -= size
            self._file.seek(start)
            data = self._file.read(size) + data
            at = data.rfind(b"\n", 0, len(data) - 1)
            if at >= 0:
                return start + at + 1, data[at + 1 :]
        return 0, data

    def append(self, events: Iterable[Event]) -> None:
        """Writes whole lines in one go; a failed write is cut off again and raised as OSError."""
        data = b"".join(json_text(event.to_json()).encode() + b"\n" for event in events)
        end = self._file.seek(0, 2)
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
        except OSError:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        self._file.close()


def _seq_of(line: bytes) -> int | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return int(json.loads(line)["seq"])
    except (ValueError, KeyError, TypeError):
        return None


def _trial_of(line: bytes) -> int | None:
    try:
        return Event.from_json(json.loads(line)).trial
    except (ValueError, KeyError, TypeError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without importing it
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
