"""The end of a run in the terminal: the answer first, then what was tried, problems, and what to type next.

Fits the width it is given (80 columns at least look right). Rich is imported when something is shown.
"""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from thrifty.evaluation.words import (
    STOPPED,
    augmentation_text,
    bytes_text,
    clean,
    count_text,
    interval_texts,
    limit_texts,
    metric_title,
    milliseconds_text,
    scored_text,
    seconds_text,
    shares_text,
    shown_limits,
    symmetry_text,
    task_text,
    value_text,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement

WIDTH = 80
BAR_CELLS = 6
MAX_PROBLEMS = 6
MAX_REASON = 72


def show(report: Mapping[str, Any], file: IO[str] | None = None, width: int | None = None) -> None:
    """Prints the summary of report.json's content to `file` (stdout), at most `width` (80) columns wide.

    Only paths and commands that are there to be copied may be longer: a terminal wraps them, and copies them whole.
    """
    from rich.console import Console

    report = _cleaned(report)
    console = Console(file=file, highlight=False)
    console.width = min(console.width if width is None and console.is_terminal else width or WIDTH, 100)
    tried = _candidates(report, console)
    for part in (_answer(report), tried):
        if part is not None:
            console.print(part)
    blank = tried is None  # a table brings its own blank line
    for part in (_skipped(report), _data(report)):
        if part is not None:
            if blank:
                console.print()
            console.print(part)
            blank = True
    if blank:
        console.print()
    console.print(_next(report), soft_wrap=True)


def _cleaned(value: Any) -> Any:
    """Names from data without control characters: they would move the cursor."""
    if isinstance(value, str):
        return clean(value).replace("\n", " ")
    if isinstance(value, Mapping):
        return {_cleaned(k): _cleaned(v) for k, v in value.items()}
    return [_cleaned(v) for v in value] if isinstance(value, list) else value


def text(report: Mapping[str, Any], width: int = WIDTH) -> str:
    """The summary as plain text, for logs and tests."""
    import io

    out = io.StringIO()
    show(report, out, width)
    return out.getvalue()


def _answer(report: Mapping[str, Any]) -> RenderableType:
    from rich import box
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    metric = report["metric"]
    for part, what in (("test", "untouched test"), ("validation", "validation")):
        found = (report[part] or {}).get(metric)
        if found is not None:
            value, between = interval_texts(metric, found)
            first = part == "test" or report["test"] is None
            shown = Text.assemble((value, "bold green" if first else ""), (f"  {between}", "" if first else "dim"))
            grid.add_row(metric_title(metric) if first else "", shown, f"on {scored_text(report, part, what)}")
    if report["validation"] is None and report["test"] is None:
        grid.add_row(metric_title(metric), Text("none", "bold red"), "no model was validated")
    _artifact_rows(report, grid)
    budget = report["budget_seconds"]
    of = f" of {seconds_text(budget)}" if budget else ""
    grid.add_row("cost", f"{seconds_text(report['spent_seconds'])}{of}", STOPPED[report["stopped_because"]])
    title = Text.assemble((report.get("name") or "run", "bold"), f" · {task_text(report)}")
    title.truncate(WIDTH - 8, overflow="ellipsis")
    return Panel(grid, title=title, title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1))


def _artifact_rows(report: Mapping[str, Any], grid: Any) -> None:
    from rich.text import Text

    artifact = report["artifact"]
    if artifact is None:
        grid.add_row("model", Text("none", "bold red"), "no model was written")
        return
    latency = artifact["latency_ms"]
    threads = count_text(artifact.get("threads", 1), "thread")
    slow = "" if latency["p95"] is None else f", 95 % in {milliseconds_text(latency['p95'])}"
    grid.add_row("latency", milliseconds_text(latency["p50"]), f"a row on {threads}{slow}")
    grid.add_row("size", bytes_text(artifact["size_bytes"]), f"the whole artifact, {artifact['precision']}")
    members = report.get("members") or ()
    if len(members) > 1:
        grid.add_row("model", f"ensemble of {len(members)}", _Shares(shares_text(members)))
    else:
        grid.add_row("model", str(members[0]["candidate"] if members else report["best"]), "")
    for name, limit in shown_limits(report).items():
        asked, outcome = limit_texts(name, limit)
        grid.add_row("limit", Text(outcome, "green" if limit["kept"] else "bold red"), asked)


class _Shares:
    """Text in the width that there is, broken after commas alone."""

    def __init__(self, text: str) -> None:
        self.text = text.replace(" ", "\xa0").replace(",\xa0", ", ")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[str]:
        lines = textwrap.wrap(self.text, options.max_width, break_long_words=False)
        yield "\n".join(lines).replace("\xa0", " ")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(max(map(len, self.text.split())), min(len(self.text), options.max_width))


def _candidates(report: Mapping[str, Any], console: Console) -> RenderableType | None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tried = [c for c in report["candidates"] if c["status"] != "skipped"]
    if not tried:
        return None
    metric = report["metric"]
    seconds = [f"{c['seconds']:,.1f}" if c["seconds"] else "" for c in tried]
    title = metric_title(metric)
    title = title if len(title) <= 10 else "score"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style="dim")
    table.add_column("candidate", no_wrap=True, max_width=22, overflow="ellipsis")
    table.add_column(title, justify="right", no_wrap=True, min_width=len(title))
    table.add_column("seconds", justify="right", no_wrap=True, min_width=max(7, *map(len, seconds)))
    table.add_column("", no_wrap=True, min_width=BAR_CELLS)
    table.add_column("reason", overflow="fold", ratio=1)
    most = max(c["seconds"] for c in tried)
    cell = "━" if console.encoding.lower().startswith("utf") else "="
    for c in sorted(tried, key=lambda c: _rank(report, c)):
        style = {"done": "bold green" if c["name"] in _used(report) else "", "failed": "red", "skipped": "dim"}[
            c["status"]
        ]
        value = c["status"] if c["validation"] is None else value_text(metric, c["validation"])
        bar = cell * math.ceil(BAR_CELLS * min(1.0, c["seconds"] / most)) if most else ""
        shown = f"{c['seconds']:,.1f}" if c["seconds"] else ""
        reason = Text(
            textwrap.shorten(c["reason"], MAX_REASON, placeholder="…"), "" if c["status"] == "done" else style
        )
        table.add_row(Text(c["name"], style), Text(value, style), shown, Text(bar, "cyan"), reason)
    return table


def _skipped(report: Mapping[str, Any]) -> RenderableType | None:
    """Candidates that never ran, together by their reason."""
    from rich.table import Table
    from rich.text import Text

    names: dict[str, list[str]] = {}
    for c in report["candidates"]:
        if c["status"] == "skipped":
            names.setdefault(c["reason"] or "skipped", []).append(c["name"])
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for k, (reason, those) in enumerate(names.items()):
        grid.add_row("" if k else " skipped", Text(f"{', '.join(those)}: {reason}"))
    return grid if names else None


def _data(report: Mapping[str, Any]) -> RenderableType | None:
    from rich.table import Table
    from rich.text import Text

    data = report["data"]
    lines = list(data.get("problems") or [])
    if data["bad_rows"]:
        where = f"{_near(report.get('run') or 'RUN')}/bad_rows.csv"
        lines.append(f"{count_text(data['bad_rows'], 'row')} set aside, listed in {where}")
    more = len(lines) - MAX_PROBLEMS
    lines = lines[:MAX_PROBLEMS] + ([f"and {more} more in the report"] if more > 0 else [])
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text("!", "bold yellow"), Text(line))
    for line in [*(report.get("notes") or []), *_augmentation(report)]:
        grid.add_row(Text("·", "dim"), Text(line))
    return grid if grid.row_count else None


def _augmentation(report: Mapping[str, Any]) -> list[str]:
    """What augmentation brought, and what was found to keep labels."""
    lines = [
        f"augmentation of {a['candidate']}: {augmentation_text(report['metric'], a)}"
        for a in report.get("augmentation") or []
        if a["value"] is not None
    ]
    return lines + [symmetry_text(one) for one in report.get("symmetries") or [] if one["keeps"]]


def _next(report: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    run = _near(report.get("run") or "RUN")
    lines = [("report", f"{run}/report.html", "")]
    if report["artifact"] is not None:
        predict = f"thrifty predict {shlex.quote(run)} DATA --out predictions.csv"
        lines = [("predict", predict, "bold"), ("model", f"{run}/artifact", ""), *lines]
    said = Text()
    for number, (what, line, style) in enumerate(lines):
        said.append("\n" if number else "").append(f"{what:<9}", "dim").append(line, style)
    return said


def _used(report: Mapping[str, Any]) -> set[str]:
    """The candidates that the artifact is made of."""
    return {m["candidate"] for m in report.get("members") or ()} or {report["best"]}


def _rank(report: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[int, float]:
    order = {"done": 0, "failed": 1, "skipped": 2}[candidate["status"]]
    sign = -1 if report.get("metric_direction", "maximize") == "maximize" else 1
    return order, sign * (candidate["validation"] or 0.0)


def _near(run: str) -> str:
    """The run's path from the working directory where it lies in that, else as it is."""
    path, here = Path(run), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else run.rstrip("/")
