"""The target: which task it asks for, its classes, and its values as codes or numbers."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import Meaning, Task
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.number import LARGEST, LEADING_ZERO, as_float, parse_number
from thrifty.data.table import Table, plain, said_of, taken

if TYPE_CHECKING:
    import pyarrow as pa

MIN_ROWS = 10
MAX_WHOLE_VALUES = 20
MIN_ROWS_PER_WHOLE_VALUE = 10
_SAMPLE_ROWS = 200_000
_BATCH_ROWS = 65_536
_EXTREME = 20  # widths of the middle half of the labels beyond it
_MOST_EXTREME = 0.001  # of the labels, above which they are how the numbers are spread
_NUMBER_AS_TEXT = re.compile(
    r"\s*\(?\s*[+\-\u2212]?\s*(?:[$\u20ac\u00a3\u00a5\u20b9]|USD|EUR|GBP|CHF|JPY|Rs\.?)?\s*[+\-\u2212]?"
    r"(?:\d{1,3}(?:[.,'\u2019 \u00a0\u202f]\d{3})+|0|[1-9]\d*|0(?=[.,]))(?:[.,]\d+)?"
    r"\s*(?:[%\u2030$\u20ac\u00a3\u00a5\u20b9]|USD|EUR|GBP|CHF|JPY)?\s*\)?\s*"
)
WRITTEN_SHARE = 0.9  # of a column's texts that look like numbers, so that it is said to hold numbers as text
_WITHOUT_COMMA = re.compile(r"""['"]\s+['"]""")
_MISSING_LABELS = frozenset(("nan", "null", "n/a", "#n/a", "<na>", "nat", "\\n"))


@dataclass(frozen=True)
class Target:
    """What was found out about the target column."""

    task: Task
    classes: tuple[str, ...]
    reason: str


def infer_target(table: Table, name: str, override: Meaning | None = None) -> Target:
    """The task and the classes of a target column. Raises DataError when it cannot be learnt."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.arrow.column(name)
    whole = column
    if len(column) > _SAMPLE_ROWS:
        column = taken(column, np.unique(np.linspace(0, len(column) - 1, _SAMPLE_ROWS).astype(np.int64)))
    if override not in (None, Meaning.CATEGORY, Meaning.NUMBER):
        raise UsageError(f"schema.{name}={override}: a target is a category or a number")
    if pa.types.is_binary(column.type):
        raise DataError(f"the target {name!r} holds bytes; it must hold classes, lists of classes, or numbers")
    cells = label_cells(column, table.json)
    present = [cell for cell in cells if cell is not None]
    if not present:
        raise DataError(said_of(table, f"the target {name!r} has no label at all: every cell is missing"))
    if len(present) < MIN_ROWS:
        rows = "is 1 row" if len(present) == 1 else f"are {len(present)} rows"
        raise DataError(said_of(table, f"there {rows} with a label; at least {MIN_ROWS} are needed"))
    if column is not whole and len(known := set(present)) <= len(present) / 2:
        every = label_cells(pc.unique(whole), table.json)
        present += [cell for cell in every if cell is not None and cell not in known]  # which the sample lacks
    if override is None and (labels := _label_lists(present)) is not None:
        return _multilabel(name, labels)
    if pa.types.is_timestamp(column.type) and override is None:
        raise DataError(f"the target {name!r} holds points in time; it must hold classes or numbers")
    numbers = None if override is Meaning.CATEGORY or pa.types.is_boolean(column.type) else _numbers(present)
    if override is Meaning.NUMBER and numbers is None:
        raise DataError(f"the target {name!r} is set to be a number, but holds {present[0]!r}")
    if numbers is not None:
        found = _number_or_class(name, numbers, override)
        if found is not None:
            return found
    return _classes(name, present, override)


def _numbers(present: Sequence[str]) -> np.ndarray | None:
    """The labels as numbers when at least 95 % of them are; texts like 007 are no numbers."""
    distinct = set(present)
    if any(LEADING_ZERO.fullmatch(text) for text in distinct):
        return None
    values = {text: _number(text) for text in distinct}
    array = np.array([values[text] for text in present])
    array = array[np.isfinite(array)]
    return array if len(array) >= 0.95 * len(present) else None


def _number(text: str) -> float:
    try:
        value = parse_number(text)
    except UnreadableError:
        return math.nan
    return math.nan if text.strip().lower() in ("true", "false") else value


def _number_or_class(name: str, numbers: np.ndarray, override: Meaning | None) -> Target | None:
    """Regression, or None when whole numbers stand for classes."""
    distinct = np.unique(numbers)
    each = len(numbers) / len(distinct)
    if len(distinct) == 1:
        raise DataError(f"the target {name!r} has one value only ({distinct[0]:g}); there is nothing to learn")
    if override is Meaning.NUMBER:
        return Target(Task.REGRESSION, (), "a number, as you set it")
    if not (distinct == np.floor(distinct)).all():
        return Target(Task.REGRESSION, (), "numbers that are not whole")
    if len(distinct) == 2 or (len(distinct) <= MAX_WHOLE_VALUES and each >= MIN_ROWS_PER_WHOLE_VALUE):
        return None
    few = f"{len(distinct):,} whole numbers"
    return Target(
        Task.REGRESSION, (), few + (f" with {each:.1f} rows each" if len(distinct) <= MAX_WHOLE_VALUES else "")
    )


def _classes(name: str, present: Sequence[str], override: Meaning | None) -> Target:
    classes = ordered(set(present))
    if len(classes) == 1:
        raise DataError(f"the target {name!r} has one class only ({classes[0]!r}); there is nothing to tell apart")
    if len(classes) > len(present) / 2:
        written = written_number(present)
        if written is not None:
            raise DataError(
                f"the target {name!r} holds numbers written as text ({written}): write them as plain numbers, such as "
                "1200.5"
            )
        own = "every row has a class of its own" if len(classes) == len(present) else "most rows have their own"
        raise DataError(
            f"the target {name!r} has {len(classes):,} classes in {len(present):,} rows: {own}. "
            "Is it an id, or text? Name another column as the target"
        )
    task = Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    said = f"{len(classes):,} classes" + (", as you set it" if override is Meaning.CATEGORY else "")
    return Target(task, classes, said)


def ordered(classes: set[str]) -> tuple[str, ...]:
    """Classes in the order of their codes: by number when all are numbers, else by text."""
    try:
        return tuple(sorted(classes, key=lambda text: (as_float(text), text)))
    except ValueError:
        return tuple(sorted(classes))


def _multilabel(name: str, labels: list[list[str] | None]) -> Target:
    classes = ordered({label for cell in labels for label in cell or ()})
    if len(classes) < 2:
        raise DataError(f"the target {name!r} holds lists of {len(classes)} class; at least 2 are needed")
    if len(classes) > len(labels) / 2 and len(classes) > 20:
        raise DataError(f"the target {name!r} has {len(classes):,} classes in {len(labels):,} rows of lists")
    return Target(Task.MULTILABEL, classes, f"lists of {len(classes):,} classes")


def label_cells(column: pa.ChunkedArray | pa.Array, json_booleans: bool = False) -> list[str | None]:
    """The labels as the texts that stood in the data, None where missing.

    A whole float keeps its point (3.0); booleans are True and False, from JSON true and false.
    """
    import pyarrow as pa

    cells = plain(column)
    kind = column.type
    if pa.types.is_string(kind):
        out: list[str | None] = []
        for cell in cells:
            text = cell.strip() if cell is not None else ""
            out.append(None if not text or text.lower() in _MISSING_LABELS else text)
        return out
    if pa.types.is_boolean(kind):
        texts = {True: "true", False: "false"} if json_booleans else {True: "True", False: "False"}
        return [None if cell is None else texts[cell] for cell in cells]
    if pa.types.is_timestamp(kind):
        return [None if cell is None else cell.isoformat(" ") for cell in cells]
    return [None if cell is None else str(cell) for cell in cells]


def _label_lists(present: Sequence[str]) -> list[list[str] | None] | None:
    """The labels as lists, None for a cell that is none; None when under 95 % of them are JSON lists."""
    if sum(text.startswith("[") for text in present) < 0.95 * len(present):
        return None
    lists = [label_list(text) for text in present]
    return lists if sum(cell is not None for cell in lists) >= 0.95 * len(lists) else None


def label_list(text: str) -> list[str] | None:
    """The labels in a cell that is a JSON list (or a Python one); None when it is no list of plain values."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if _WITHOUT_COMMA.search(text):  # Python joins such texts to one
            return None
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if not isinstance(value, list) or not all(isinstance(item, (str, int, float, type(None))) for item in value):
        return None
    return [item if isinstance(item, str) else json.dumps(item) for item in value if item is not None]


@dataclass(frozen=True)
class Labels:
    """The target's values: int64 [N] codes, float64 [N], or float32 [N,K] for multilabel; problems {row: reason}.

    The value of a row with a problem is 0.
    """

    values: np.ndarray
    problems: dict[int, str]
    unseen: dict[int, str]


def read_labels(table: Table, name: str, task: Task, classes: Sequence[str]) -> Labels:
    """The target's values in a table. `unseen`: rows whose class the schema does not have, {row: class}."""
    column = table.arrow.column(name)
    shape = (len(column), len(classes)) if task is Task.MULTILABEL else (len(column),)
    kind = {Task.MULTILABEL: np.float32, Task.REGRESSION: np.float64}.get(task, np.int64)
    labels = Labels(np.zeros(shape, kind), {}, {})
    known: dict[str, float | int | None] = dict(codes_of(classes)) if task is not Task.REGRESSION else {}
    for start in range(0, len(column), _BATCH_ROWS):
        cells = label_cells(column.slice(start, _BATCH_ROWS), table.json)
        for row, cell in enumerate(cells, start):
            if cell is None:
                labels.problems[row] = "missing label"
            elif task is Task.REGRESSION:
                _read_number(labels, row, cell, known)
            elif task is Task.MULTILABEL:
                _read_list(labels, row, cell, known)
            else:
                code = known[cell] if cell in known else known.setdefault(cell, known.get(_canonical(cell)))
                if code is None:
                    labels.unseen[row] = cell
                else:
                    labels.values[row] = code
    return labels


def _read_number(labels: Labels, row: int, cell: str, known: dict[str, float | int | None]) -> None:
    value = known.get(cell)
    if value is None:
        value = _number(cell)
        if len(known) < 100_000:
            known[cell] = value
    if math.isfinite(value) and abs(value) < LARGEST:
        labels.values[row] = value
    else:
        labels.problems[row] = f"the label {cell[:40]!r} {_why_no_label(cell)}"


def _why_no_label(cell: str) -> str:
    try:
        value = as_float(cell)
    except ValueError:
        return "is not a number"
    if math.isnan(value):
        return "is not a number"
    return "is infinite" if math.isinf(value) else f"is too large: labels go up to {LARGEST:.1e}"


def _read_list(labels: Labels, row: int, cell: str, known: dict[str, float | int | None]) -> None:
    items = label_list(cell)
    if items is None:
        labels.problems[row] = f"the label {cell[:40]!r} is not a JSON list"
    for item in items or ():
        code = known.get(item)
        if code is None:
            labels.unseen[row] = item
        else:
            labels.values[row, int(code)] = 1


def extremes(values: np.ndarray) -> np.ndarray:
    """The places of labels far beyond all others, int64; none where there are more than a few of them."""
    low, high = np.quantile(values, (0.25, 0.75)) if len(values) else (0.0, 0.0)
    reach = _EXTREME * (high - low)
    if not reach > 0:
        return np.zeros(0, np.int64)
    found = np.flatnonzero((values < low - reach) | (values > high + reach))
    return found if len(found) <= max(3, _MOST_EXTREME * len(values)) else found[:0]


def alike(classes: Sequence[str]) -> list[tuple[str, ...]]:
    """The classes that differ only in how they are written: in case, spaces, or the spelling of a number."""
    found: dict[object, list[str]] = defaultdict(list)
    for text in classes:
        try:
            found[as_float(text)].append(text)
        except ValueError:
            found[" ".join(text.split()).casefold()].append(text)
    return [tuple(group) for group in found.values() if len(group) > 1]


def written_number(texts: Sequence[str]) -> str | None:
    """A text among those that is a number in a form for people ($1,200; 12 %; 1.234,56); None when they are others."""
    matching = [text for text in texts if _NUMBER_AS_TEXT.fullmatch(text)]
    if not matching or len(matching) < WRITTEN_SHARE * len(texts):
        return None
    return next((text.strip() for text in matching if math.isnan(_number(text))), None)


def codes_of(classes: Sequence[str]) -> dict[str, int]:
    """{text: code}, other spellings of the same number or boolean included where they are not classes themselves."""
    codes: dict[str, int] = {_canonical(text): code for code, text in enumerate(classes)}
    codes.update({text: code for code, text in enumerate(classes)})
    return codes


def _canonical(text: str) -> str:
    """One spelling for 3, 3.0 and 3.00, and for True and true."""
    if text in ("True", "False", "TRUE", "FALSE"):
        return text.lower()
    try:
        value = as_float(text)
    except ValueError:
        return text
    return (
        str(int(value))
        if value.is_integer() and abs(value) < 1e15 and text.lstrip("+-")[:2] not in ("00", "01")
        else text
    )
