"""What commands print at their end: reports, inspections, metrics, and JSON for machines."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from thrifty.api import Run

WIDTH = 80


def print_json(value: Any) -> None:
    """Strict JSON on stdout, and nothing else."""
    print(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False), flush=True)


def print_report(run: Run) -> None:
    """The terminal summary of a run's report."""
    from thrifty.evaluation import summary

    summary.show(run.report)


def print_metrics(found: dict[str, Any]) -> None:
    """What `evaluate` found, one metric a line, and the first rows that could not be scored."""
    from rich.table import Table
    from rich.text import Text

    from thrifty.evaluation.words import value_text

    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, interval in found["metrics"].items():
        low, high = (value_text(name, interval[side]) for side in ("low", "high"))
        between = low if interval["low"] is None and interval["high"] is None else f"{low} to {high}"
        table.add_row(name, value_text(name, interval["value"]), between)
    console = _console()
    console.print(table)
    bad = f", {found['bad_rows']:,} more could not be" if found["bad_rows"] else ""
    console.print(f"{found['rows']:,} rows scored{bad}")
    told = getattr(found, "unscored", ())
    for said in told:
        console.print(Text(f"  - {said}"))
    if told and found["bad_rows"] > len(told):
        console.print(f"  - and {found['bad_rows'] - len(told):,} more")


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Thrifty's own warnings go to stderr as one line each, as its errors do."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is UserWarning:
            print(f"thrifty: {message}", file=sys.stderr, flush=True)
        else:
            others(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def print_inspection(found: dict[str, Any]) -> None:
    """What was inferred from the data, and every problem in it."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    console.print(Text(found["task"]))
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("column", overflow="fold", max_width=28)
    table.add_column("meaning", no_wrap=True)
    table.add_column("missing", justify="right", no_wrap=True)
    table.add_column("distinct", justify="right", no_wrap=True)
    table.add_column("why, and examples", overflow="fold")
    for column in found["columns"]:
        why = Text(column["reason"])
        if column["examples"]:
            why.append("  " + ", ".join(column["examples"])[:60], style="dim")
        table.add_row(Text(column["name"]), column["meaning"], str(column["missing"]), str(column["distinct"]), why)
    console.print(table)
    console.print(Text(found["splits_line"]))
    problems = found["problems"]
    console.print(Text(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "no problems found"))
    for problem in problems:
        console.print(Text(f"  - {problem}"))


def print_doctor(found: dict[str, Any]) -> None:
    """What this machine and installation can do."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    console.print(Text(f"thrifty {found['thrifty']}, Python {found['python']}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in found["machine"].items():
        table.add_row(str(name), Text(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    table.add_row("cache", Text(f"{found['cache']['folder']} ({found['cache']['free_gb']} GB free)"))
    table.add_row("weights", Text(", ".join(found["weights"]) or "none found; searches go on without them"))
    for name, packages in found["extras"].items():
        state = ", ".join(f"{p} {v or 'MISSING'}" for p, v in packages.items())
        table.add_row(name, Text(state))
    console.print(table)
    for problem in found["problems"]:
        console.print(Text(f"  - {problem}"))


def _console() -> Console:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console
