"""What a run shows while it goes on, where there is no terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from thrifty.automl.progress import Progress, RowsProgress


def test_lines_tell_when_a_candidate_starts_and_what_came_of_each_trial(capsys):
    at = {"metric": "accuracy", "budget_seconds": 60.0}
    with Progress(to_stderr=True) as progress:
        progress.show({"kind": "said", "text": "label: binary"})
        for number, score in enumerate(("0.9", "0.8")):
            progress.show({"kind": "trial_started", "candidate": "trees", "elapsed_seconds": number + 1.0, **at})
            progress.show(
                {
                    "kind": "trial_finished", "candidate": "trees", "elapsed_seconds": number + 1.5, "score": score,
                    "seconds": 0.5, "is_best": not number, "best": "0.9", "best_candidate": "trees", **at,
                }
            )  # fmt: skip
        progress.show({"kind": "trial_failed", "candidate": "heads", "why": "it crashed", "elapsed_seconds": 3.0, **at})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "label: binary",
        "   1.0 s  trees: started",
        "   1.5 s  trees: accuracy 0.9 in 0.5 s  best so far",
        "   2.5 s  trees: accuracy 0.8 in 0.5 s",
        "   3.0 s  heads: failed: it crashed",
    ]


def test_a_trial_that_was_stopped_is_not_shown_as_running(capsys):
    progress = Progress(to_stderr=True)
    for kind in ("trial_started", "trial_stopped"):
        progress.show({"kind": kind, "candidate": "heads", "elapsed_seconds": 1.0})
    assert progress.state["candidates"]["heads"]["state"] == "stopped"


def test_rows_that_are_done_are_shown_on_a_terminal_alone_and_after_a_while(monkeypatch, capsys):
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        with RowsProgress() as progress:
            progress.show(0, 1300)
            progress.show(100, 1300)
            assert progress.live is None
            progress.began -= 10.0
            progress.show(200, 1300)
            assert progress.live is not None
    shown = b""
    with suppress(OSError):  # all is read
        while part := os.read(reader, 10_000):
            shown += part
    os.close(reader)
    assert "200 of 1,300 rows" in shown.decode()
    assert re.search(r"(0:5[5-9]|1:\d\d) left", shown.decode())  # 55 s, and more on a busy machine
    with RowsProgress() as elsewhere:
        elsewhere.began -= 10.0
        elsewhere.show(200, 1300)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("gone", ["pipe", "terminal", "closed", "full"])
def test_what_cannot_be_shown_ends_no_run(gone, monkeypatch):
    reader, writer = pty.openpty() if gone == "terminal" else os.pipe()
    os.close(reader)
    stream = os.fdopen(os.open("/dev/full", os.O_WRONLY) if gone == "full" else writer, "w")
    if gone == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with Progress(to_stderr=False) as progress:
        progress.show({"kind": "said", "text": "label: binary"})
        progress.show({"kind": "stage", "stage": "searching", "elapsed_seconds": 1.0, "budget_seconds": 2.0})


def test_characters_that_the_terminal_has_not_are_escaped(tmp_path, monkeypatch):
    with (tmp_path / "said").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        Progress(to_stderr=False).show({"kind": "said", "text": "größe: binary"})
    assert (tmp_path / "said").read_text() == "gr\\xf6\\xdfe: binary\n"


LIVE = """
import time
from thrifty.automl.progress import Progress
from thrifty.core.interruption import Interruption
with Interruption(), Progress(to_stderr=False) as progress:
    progress.show({"kind": "stage", "stage": "searching", "elapsed_seconds": 1.0, "budget_seconds": 2.0})
    time.sleep(60)
"""


def test_a_terminal_has_its_cursor_after_a_second_ctrl_c():
    terminal, end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", LIVE], stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    shown = b""
    while b"best so far" not in shown:
        shown += os.read(terminal, 4096)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    with suppress(OSError):  # of a terminal that is gone, in the end
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert process.wait(10) == 130
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") >= 0
