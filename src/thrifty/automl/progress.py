"""Progress of a run: a live view on a terminal, one line an event elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

WIDTH = 80
MOST_ROWS = 12
SHORT_SECONDS = 1.0  # what is done by then needs no progress shown
STATES = {
    "trial_started": "running", "trial_finished": "done", "trial_failed": "failed", "trial_stopped": "stopped",
}  # fmt: skip


class Heedless:
    """A text stream in which what cannot be written is lost: a pipe or terminal that is gone ends no run.

    Characters that its encoding has not are written as escapes.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        with suppress(AttributeError, ValueError):  # not every stream says so, and none that is closed
            return bool(self._stream and self._stream.isatty())
        return False

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with suppress(OSError, ValueError):  # ValueError: it is closed
            if self._stream:
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream:
                self._stream.flush()


class LiveView:
    """What is shown on a terminal while something goes on, and gone at its end; `view` draws it."""

    def __init__(self, *, to_stderr: bool) -> None:
        self.stream = cast(TextIO, Heedless(sys.stderr if to_stderr else sys.stdout))
        self.live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def go_live(self) -> None:
        """Starts drawing, four times a second, when that has not begun."""
        from rich.console import Console
        from rich.live import Live

        if self.live is None:
            console = Console(file=self.stream, width=min(WIDTH, Console(file=self.stream).width))
            self.live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self.view)
            self.live.start()

    def view(self) -> Group:
        raise NotImplementedError


class Progress(LiveView):
    """Shows a run's notices: mappings with `kind` and what belongs to it (see `automl/run.py`)."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(to_stderr=to_stderr)
        self.state: dict[str, Any] = {"stage": "starting", "candidates": {}}

    def show(self, notice: dict[str, Any]) -> None:
        """Takes one notice: remembered for the table, or printed as a line where there is no terminal."""
        if notice["kind"] == "said":
            self._say(notice["text"])
            return
        self._remember(notice)
        if self.stream.isatty():
            self.go_live()
        elif notice["kind"] in ("trial_started", "trial_finished", "trial_failed", "stage"):
            line = self._line(notice)
            if line:
                print(line, file=self.stream, flush=True)

    def _say(self, text: str) -> None:
        if self.live is not None:
            self.live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    def _remember(self, notice: dict[str, Any]) -> None:
        kind, state = notice["kind"], self.state
        state["now"] = time.time()
        for name in ("elapsed_seconds", "budget_seconds", "metric", "best", "best_candidate", "stage"):
            if name in notice:
                state[name] = notice[name]
        if "candidate" not in notice:
            return
        row = state["candidates"].setdefault(
            notice["candidate"], {"trials": 0, "best": None, "seconds": 0.0, "state": ""}
        )
        row["state"] = STATES.get(kind, row["state"])
        if kind == "epoch":
            row["state"] = f"epoch {notice['epoch']}: {notice['score']}"
        if kind == "trial_finished":
            row["trials"] += 1
            row["seconds"] += notice["seconds"]
            if notice.get("is_candidates_best"):
                row["best"] = notice["score"]

    def _line(self, notice: dict[str, Any]) -> str:
        at = f"{notice.get('elapsed_seconds', 0.0):6.1f} s"
        if notice["kind"] == "stage":
            return f"{at}  {notice['stage']}"
        if notice["kind"] == "trial_started" and not self.state["candidates"][notice["candidate"]]["trials"]:
            return f"{at}  {notice['candidate']}: started"
        if notice["kind"] == "trial_failed":
            return f"{at}  {notice['candidate']}: failed: {notice['why']}"[: WIDTH * 3]
        if notice["kind"] == "trial_finished":
            mark = "  best so far" if notice.get("is_best") else ""
            return (
                f"{at}  {notice['candidate']}: {notice['metric']} {notice['score']} in {notice['seconds']:.1f} s{mark}"
            )
        return ""

    def view(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        state = self.state
        elapsed = state.get("elapsed_seconds", 0.0) + time.time() - state.get("now", time.time())
        budget = state.get("budget_seconds") or 0.0
        best = f"{state['metric']} {state['best']} ({state['best_candidate']})" if state.get("best") else "no model yet"
        head = Table.grid(expand=True)
        head.add_column(ratio=3, no_wrap=True)
        head.add_column(ratio=2, justify="right", no_wrap=True)
        head.add_row(Text(f"best so far: {best}"), Text(f"{clock_text(elapsed)} of {clock_text(budget)}"))
        table = Table(box=None, expand=True, pad_edge=False)
        for name, justify in (("candidate", "left"), ("trials", "right"), ("best", "right"), ("seconds", "right")):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        table.add_column("now", no_wrap=True, ratio=1)
        for name, row in list(state["candidates"].items())[:MOST_ROWS]:
            best_of = "" if row["best"] is None else row["best"]
            table.add_row(name, str(row["trials"]), best_of, f"{row['seconds']:.1f}", Text(row["state"]))
        bar = ProgressBar(total=max(budget, 1e-3), completed=min(elapsed, budget), width=None)
        return Group(head, bar, Text(str(state.get("stage", "")), style="dim"), table)


class RowsProgress(LiveView):
    """Shows on stderr, where that is a terminal, how many rows are done, and how long the rest will take."""

    def __init__(self, *, hidden: bool = False) -> None:
        super().__init__(to_stderr=True)
        self.began, self.done, self.total = time.monotonic(), 0, 0
        self.shown = not hidden and self.stream.isatty()

    def show(self, done: int, total: int) -> None:
        if not done:
            self.began = time.monotonic()
        self.done, self.total = done, total
        if done == total:
            self.stop()
        elif self.shown and self.live is None and time.monotonic() - self.began > SHORT_SECONDS:
            self.go_live()

    def view(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        left = (time.monotonic() - self.began) * (self.total - self.done) / max(self.done, 1)
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        bar = ProgressBar(total=self.total, completed=self.done, width=None)
        line.add_row(Text(f"{self.done:,} of {self.total:,} rows"), bar, Text(f"{clock_text(left)} left"))
        return Group(line)


def clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"
