import json
import math
from pathlib import Path

import numpy as np
import pytest

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.events import Event, EventLog, json_text

EVENTS = [Event(i, i / 2, "made", None, {"text": "é" * i}) for i in range(1, 5)]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_events_are_appended_one_a_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append(EVENTS[:1])
    log.append(EVENTS[1:])
    log.close()
    assert [Event.from_json(line) for line in lines(log.path)] == EVENTS


@pytest.mark.parametrize("torn", [b"", b'{"seq":5,"time', b"\x00\x00\n", b'{"seq":5}\n{"seq":6}\n', b"x" * 200_000])
def test_repair_cuts_what_is_torn_or_unknown_and_keeps_the_rest(tmp_path: Path, torn: bytes) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append(EVENTS)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + torn)
    assert log.repair(4) == 4
    assert log.path.read_bytes() == whole
    log.path.write_bytes(whole[:-3])
    assert log.repair(4) == 3
    log.append(EVENTS[3:])
    assert log.path.read_bytes() == whole
    log.path.write_bytes(torn[:100] if torn.startswith(b"x") else b"")
    assert log.repair(4) == 0
    assert log.path.read_bytes() == b""


def test_a_log_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        EventLog(tmp_path)


def test_json_text_is_strict_json_of_numpy_values_and_paths() -> None:
    value = {"a": np.float32(0.5), "b": [math.nan, np.int64(3)], "c": Path("/x"), "d": (math.inf, np.arange(2))}
    assert json.loads(json_text(value)) == {"a": 0.5, "b": [None, 3], "c": "/x", "d": [None, [0, 1]]}
    with pytest.raises(UsageError, match="JSON"):
        json_text({"a": object()})
