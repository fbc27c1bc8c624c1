"""Puts a script's table into results.md."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from thrifty.execution.resources import machine

RESULTS = Path(__file__).parent / "results.md"


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def put(title: str, command: str, lines: Sequence[str], runs: str = "seed 0, one run each") -> None:
    """Writes or replaces the section `title`: the command, the day, the machine, and the lines."""
    facts = machine()
    made = f"{time.strftime('%Y-%m-%d')}, {facts.get('processor')}, {facts.get('cores')} cores, {runs}."
    section = "\n".join([f"## {title}", "", f"`{command}`: {made}", "", *lines, ""])
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    found = re.search(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", text, re.S)
    RESULTS.write_text(text[: found.start()] + section + text[found.end() :] if found else f"{text}\n{section}")
