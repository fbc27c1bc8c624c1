"""How processes ended, in words."""

import os
import signal
from typing import BinaryIO


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
    text = " | ".join(line.strip() for line in (fatal + after).splitlines() if line.strip())
    text = text[:num_characters] if fatal else text[-num_characters:]
    return f"; it printed last: {text}" if text else ""


def mb(num_bytes: int) -> str:
    """Bytes in MB of 10^6."""
    return f"{num_bytes / 1e6:,.0f} MB"
