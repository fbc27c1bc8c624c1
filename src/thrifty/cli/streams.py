"""Standard output and error: closed ones, those that nobody reads, and JSON that is alone on its own."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout


def json_alone(as_json: bool) -> AbstractContextManager[object]:
    """With --json, sends to stderr what else is printed, as by the user's own file."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def open_streams() -> None:
    """Opens what the shell closed (`>&-`), or the next file to be opened would be the one that is printed into."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def comes_of(error: BaseException | None, *numbers: int) -> bool:
    """Whether an error, or one that it was raised for, has one of these numbers."""
    while error is not None and getattr(error, "errno", None) not in numbers:
        error = error.__context__
    return error is not None


def flush() -> None:
    """Sends what was printed, or lets it go when nobody reads any more, so that the exit code is not changed by it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
