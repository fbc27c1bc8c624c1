"""The file of a space, as a user writes it: read with a word on what may not have been meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thrifty.core.space import Space, read_yaml

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def read_space(path: Path) -> Space:
    """The space in a YAML file. Says on stderr which lists may have been meant as ranges; they stay choices."""
    written = read_yaml(path)
    space = Space.from_json(written)
    for line in _doubts(written):
        print(line, file=sys.stderr)
    return space


def _doubts(written: Mapping[str, Any]) -> Iterator[str]:
    """A line for each list of two numbers that have others of their kind between them."""
    nested = written.get("parameters")
    for name, value in (nested if isinstance(nested, Mapping) else written).items():
        numbers = [n for v in value if (n := _number(v)) is not None] if isinstance(value, list) else []
        if len(numbers) != 2 or len(value) != 2:
            continue
        if all(isinstance(n, int) for n in numbers) and abs(numbers[0] - numbers[1]) <= 1:
            continue
        low, high = value if numbers[0] < numbers[1] else value[::-1]
        yield (
            f"{name} is a choice of {value[0]} and {value[1]}; for the range between them write "
            f"{name}: {{low: {low}, high: {high}}}"
        )


def _number(value: Any) -> float | None:
    """A number as it is written; YAML reads 1e-5 as text."""
    if isinstance(value, str):
        return float(value) if _EXPONENT.fullmatch(value) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
