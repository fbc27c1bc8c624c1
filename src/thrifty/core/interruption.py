"""Ctrl-C and SIGTERM: the first ends the search and saves the best so far, a second ends the process at once."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from thrifty.core.budget import Clock

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered (in the main thread), notes the first signal in `number` and exits at once on the second."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            _show_cursor()
            os._exit(128 + number)  # children die with their parent
        self.number = number
        if self._raises:
            raise KeyboardInterrupt

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Where there is nothing to save the first signal raises KeyboardInterrupt, also one that came before."""
        self._raises = True
        try:
            if self.number is not None:
                raise KeyboardInterrupt
            yield
        except KeyboardInterrupt:
            self.number = self.number or signal.SIGINT  # pyarrow has a handler of its own
            raise
        finally:
            self._raises = False

    @property
    def exit_code(self) -> int:
        return 128 + self.number if self.number is not None else 0


def _show_cursor() -> None:
    """Gives the terminals back the cursor that a live view has hidden."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.isatty(descriptor):
                os.write(descriptor, b"\x1b[?25h")


class StoppableClock(Clock):
    """A clock that has nothing left once the interruption came."""

    def __init__(self, budget_seconds: float | None, started: float | None, interruption: Interruption) -> None:
        super().__init__(budget_seconds, started)
        self.interruption = interruption

    def left(self) -> float:
        return -math.inf if self.interruption.number is not None else super().left()
