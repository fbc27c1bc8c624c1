"""How processes ended, in words."""

import os
import re
import signal
import unicodedata
from typing import BinaryIO

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the direction of reading


def plain_line(text: str) -> str:
    """A text on one line, without what a terminal would obey and what cannot be encoded."""
    line = " ".join(_ESCAPES.sub("", text).split())
    return "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNS)


def ending(code: int) -> str:
    """How a process ended, by its exit code as Python gives it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def quoted(log: BinaryIO, num_bytes: int = 1 << 15, num_characters: int = 400) -> str:
    """What a process printed last, on one line; of a fatal error its start, which says where."""
    size = os.fstat(log.fileno()).st_size
    tail = os.pread(log.fileno(), num_bytes, max(0, size - num_bytes)).decode(errors="replace")
    _, fatal, after = tail.rpartition("Fatal Python error")
    text = " | ".join(filter(None, map(plain_line, (fatal + after).splitlines())))
    text = text[:num_characters] if fatal else text[-num_characters:]
    return f"; it printed last: {text}" if text else ""


def mb(num_bytes: int) -> str:
    """Bytes in MB of 10^6."""
    return f"{num_bytes / 1e6:,.0f} MB"
