"""From a table to a schema: what each column means, with a reason, and what the target asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.number import LEADING_ZERO, as_float, parse_number
from thrifty.data.encode.timestamp import find_format
from thrifty.data.encode.values import text_of
from thrifty.data.formats.kind import medium_of_bytes, medium_of_name, nearest
from thrifty.data.table import Table, plain, taken
from thrifty.data.target import Target, infer_target, written_number

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Column", "Meaning", "Schema", "Task", "infer", "infer_columns"]

SAMPLE_ROWS = 20_000
_SAMPLE_BYTES = 200
_SAMPLE_WRITTEN = 2_000
_OF_TEXTS = (Meaning.CATEGORY, Meaning.TEXT, Meaning.IGNORED)
_ID_NAME = re.compile(
    r"(?i)^(id|uid|uuid|guid|index|idx|key|row|rowid|row_?(number|num|no|nr)|unnamed: ?\d+|column1)$"
    r"|[_\s.-](id|uuid|guid)$|(?-i:[a-z]I[dD]$)"
)
_LARGEST_WHOLE = 2**53  # beyond which floats no longer tell one whole number from the next
_CODE = re.compile(r"^(?=.*\d)[\w.:/+=-]+$")
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class _Profile:
    """A column as the rules see it: values of a sample that are not missing, and counts.

    num: rows of the sample that are not missing. distinct: of them. whole: the column that a sample was taken from.
    """

    name: str
    cells: list[Any]
    distinct: list[Any]
    num_missing: int
    kind: str  # text, number, boolean, time or bytes
    whole: pa.ChunkedArray | None = None

    @property
    def num(self) -> int:
        return len(self.cells)

    @property
    def share(self) -> float:
        """Distinct values per value."""
        return len(self.distinct) / max(1, self.num)


def infer(
    table: Table,
    target: str,
    overrides: Mapping[str, str] | None = None,
    *,
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
) -> tuple[Schema, Target]:
    """The schema of a table of labelled rows, and its target's values.

    overrides: meanings that a person sets. Raises DataError for a target that cannot be learnt, or a column that is
    not there; UsageError for an override that cannot be, or a role for the target.
    """
    meanings = {name: meaning_of(name, value) for name, value in (overrides or {}).items()}
    for role, name in (("target", target), ("weight", weight), ("group", group), ("time", time)):
        if name is not None and name not in table.names:
            raise DataError(f"there is no column {name!r} for the {role}; {nearest(name, table.names)}")
        if name == target and role != "target":
            raise UsageError(f"--{role} is {name!r}, which is the target; name another column, or leave --{role} out")
    for name in meanings:
        if name not in table.names:
            raise UsageError(f"schema.{name}: there is no column {name!r}; {nearest(name, table.names)}")
    found = infer_target(table, target, meanings.pop(target, None))
    apart = {target, weight, group}
    names = [name for name in table.names if name not in apart]
    columns = infer_columns(table, names, meanings)
    if all(column.meaning is Meaning.IGNORED for column in columns):
        said = ", ".join(f"{c.name} ({c.reason})" for c in columns[:5]) or f"only the target {target!r}"
        raise DataError(f"there is no column to learn from: {said}. Set a meaning with schema.COLUMN=MEANING")
    schema = Schema(
        columns=columns,
        target=target,
        task=found.task,
        classes=found.classes,
        target_reason=found.reason,
        weight=weight,
        group=group,
        time=time,
        folder=table.file_column is not None,
    )
    return schema, found


def meaning_of(name: str, value: str) -> Meaning:
    """The meaning that a person named for a column. Raises UsageError."""
    try:
        return Meaning(value)
    except ValueError:
        raise UsageError(f"schema.{name} is {value!r}; it must be one of {', '.join(Meaning)}") from None


def infer_columns(table: Table, names: Sequence[str], overrides: Mapping[str, Meaning]) -> tuple[Column, ...]:
    """The named columns with their meanings."""
    rows = None
    if len(table) > SAMPLE_ROWS:
        rows = np.unique(np.linspace(0, len(table) - 1, SAMPLE_ROWS).astype(np.int64))
    return tuple(_infer_column(table, name, rows, overrides.get(name)) for name in names)


def _infer_column(table: Table, name: str, rows: np.ndarray | None, override: Meaning | None) -> Column:
    profile = _profile(table.arrow.column(name), name, rows)
    if rows is not None and len(profile.distinct) < 2:  # as may be of a column whose other values are rare
        profile = _profile(table.arrow.column(name), name, None)
    if override is not None:
        if profile.kind == "bytes" and override in (Meaning.NUMBER, Meaning.TIMESTAMP):
            raise UsageError(f"schema.{name}={override}: the column holds bytes, which are no numbers and no times")
        meaning, reason = override, "set by you"
    else:
        meaning, reason = _meaning(profile)
    if meaning is Meaning.NUMBER and profile.kind == "text":
        profile = _without_marks(profile)
    return Column(
        name, meaning, reason, profile.num_missing, len(profile.distinct), tuple(map(_example, profile.distinct[:3]))
    )


def _without_marks(p: _Profile) -> _Profile:
    """The profile of a column of numbers in which marks (NA, -) and what is infinite count as missing."""
    distinct = [text for text in p.distinct if _is_finite(text)]
    kept = set(distinct)
    cells = [cell for cell in p.cells if cell in kept]
    marks = len(p.cells) - len(cells) if p.whole is None else 0
    return replace(p, cells=cells, distinct=distinct, num_missing=p.num_missing + marks)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(parse_number(text))
    except UnreadableError:
        return True


def _example(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    text = " ".join(text_of(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


def _profile(column: pa.ChunkedArray, name: str, rows: np.ndarray | None) -> _Profile:
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, column.type
    label = (
        "bytes" if types.is_binary(kind)
        else "boolean" if types.is_boolean(kind)
        else "time" if types.is_timestamp(kind)
        else "text" if types.is_string(kind)
        else "number"
    )  # fmt: skip
    if label == "bytes":
        rows = np.unique(np.linspace(0, len(column) - 1, _SAMPLE_BYTES).astype(np.int64)) if len(column) else None
    sample = column if rows is None else taken(column, rows)
    cells = [cell for cell in plain(sample) if cell is not None]
    num_missing = column.null_count
    if label == "text":
        cells = [cell for cell in cells if cell and not cell.isspace()]
    if label == "number" and types.is_floating(kind):
        num_missing += pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
        cells = [cell for cell in cells if math.isfinite(cell)]
    if label == "text" and rows is None:
        num_missing = len(column) - len(cells)
    distinct = list(dict.fromkeys(cells))
    return _Profile(name, cells, distinct, num_missing, label, None if rows is None else column)


def _meaning(p: _Profile) -> tuple[Meaning, str]:
    """The meaning by the first rule that holds, and the reason."""
    if p.num == 0:
        return Meaning.IGNORED, "all missing"
    if p.kind == "bytes":
        return _meaning_of_bytes(p)
    if len(p.distinct) == 1 and p.num_missing == 0:
        medium = medium_of_name(p.distinct[0]) if p.kind == "text" else None
        if medium is None or p.num > 1:
            return Meaning.IGNORED, "one value only"
    if p.kind == "boolean":
        return Meaning.CATEGORY, "true or false"
    if p.kind == "time":
        return Meaning.TIMESTAMP, "points in time"
    if p.kind == "number":
        return _meaning_of_numbers(p, [float(v) for v in p.cells], 0)
    return _meaning_of_text(p)


def _meaning_of_bytes(p: _Profile) -> tuple[Meaning, str]:
    media = [medium_of_bytes(cell[:32]) for cell in p.cells[:50]]
    for medium, meaning in (("image", Meaning.IMAGE), ("audio", Meaning.AUDIO)):
        if sum(m == medium for m in media) > len(media) / 2:
            return meaning, f"bytes that start like {'images' if medium == 'image' else 'sounds'}"
    return Meaning.IGNORED, "bytes that are neither images nor sounds"


def _meaning_of_text(p: _Profile) -> tuple[Meaning, str]:
    media = [medium_of_name(cell) for cell in p.distinct[:200]]
    for medium, meaning in (("image", Meaning.IMAGE), ("audio", Meaning.AUDIO)):
        if sum(m == medium for m in media) > 0.8 * len(media) and not _are_sentences(p.distinct[:200]):
            if sum("://" in cell for cell in p.distinct[:200]) > len(media) / 2:
                return Meaning.IGNORED, f"addresses of {medium} files on the web, which are not fetched"
            return meaning, f"paths of {'images' if medium == 'image' else 'sounds'}"
    numbers, holes = _as_numbers(p)
    if numbers is not None:
        if any(cell[0] in "0+- " and LEADING_ZERO.fullmatch(cell) for cell in p.distinct):
            return _meaning_of_codes(p, "digits with leading zeros")
        return _meaning_of_numbers(p, numbers, holes)
    if _may_be_times(p.distinct[:50]) and find_format(p.cells) is not None:
        return Meaning.TIMESTAMP, "points in time"
    return _text_or_category(p)


def _are_sentences(cells: Sequence[str]) -> bool:
    return sum(len(cell.split()) > 6 for cell in cells) > len(cells) / 2


def _as_numbers(p: _Profile) -> tuple[list[float] | None, int]:
    """The cells as numbers when at least 95 % of them are, and how many texts among them are none."""
    head, _ = _parsed(p.distinct[:100])
    if len(head) < 0.5 * len(p.distinct[:100]):
        return None, 0
    values, junk = _parsed(p.cells)
    holes = len(p.cells) - len(values)
    return (values, holes) if values and (junk <= 0.05 * len(p.cells)) else (None, 0)


def _parsed(cells: Sequence[str]) -> tuple[list[float], int]:
    """The numbers among texts, and how many texts are neither numbers nor marks of a missing one."""
    values, junk = [], 0
    for cell in cells:
        try:
            value = as_float(cell)
        except ValueError:
            try:
                value = parse_number(cell)
            except UnreadableError:
                junk += 1
                continue
            if cell.strip().lower() in ("true", "false"):
                junk += 1
                continue
        if math.isfinite(value):
            values.append(value)
    return values, junk


def _meaning_of_numbers(p: _Profile, values: Sequence[float], holes: int) -> tuple[Meaning, str]:
    """Numbers, unless they are the numbers of rows or of things."""
    array = np.asarray(values)
    array = array[np.isfinite(array)]
    whole = bool(len(array)) and bool((array == np.floor(array)).all())
    distinct = len(np.unique(array))
    if whole and np.abs(array).max() >= _LARGEST_WHOLE and distinct < min(len(array), len(p.distinct)):
        return _meaning_of_codes(p, "whole numbers with more digits than a number keeps")
    if distinct == 1 and p.num_missing == 0 and not holes:
        return Meaning.IGNORED, "one value only"
    if whole and distinct == len(array) and len(array) >= 20 and p.num_missing == 0 and _are_counted(p, array):
        return Meaning.IGNORED, "an id: whole numbers, each once and without gaps"
    if whole and _ID_NAME.search(p.name):
        if distinct > 0.9 * len(array) and len(array) >= 10:
            return Meaning.IGNORED, "an id by its name, and nearly each row has its own"
        return Meaning.CATEGORY, f"an id by its name, with {distinct:,} values"
    said = "whole numbers" if whole else "numbers"
    return Meaning.NUMBER, said + (f"; {holes:,} cells are none and count as missing" if holes else "")


def _are_counted(p: _Profile, array: np.ndarray) -> bool:
    """Whether whole numbers, of which each stands once in the sample, stand once in all rows and have no gaps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high, count = array.min(), array.max(), len(array)
    if p.whole is not None:
        if high - low + 1 > 1.1 * len(p.whole):
            return False
        try:
            every = pc.utf8_trim_whitespace(p.whole) if p.kind == "text" else p.whole
            every = every.cast(pa.float64(), safe=False)
        except pa.ArrowInvalid:  # some are no numbers
            return False
        low, high = pc.min_max(every).as_py().values()
        count = pc.count_distinct(every).as_py()
        if count < len(every):
            return False
    return bool(high - low + 1 <= 1.02 * count)


def _may_be_times(cells: Sequence[str]) -> bool:
    """Whether most texts are short, and hold at least three digits and a separator."""
    likely = [len(c) <= 40 and sum(map(str.isdigit, c)) >= 3 and re.search(r"[-/.: T,]", c) is not None for c in cells]
    return sum(likely) > 0.9 * len(cells)


def _meaning_of_codes(p: _Profile, what: str) -> tuple[Meaning, str]:
    if p.share > 0.9 and p.num >= 20:
        return Meaning.IGNORED, f"an id: {what}, nearly each row has its own"
    return Meaning.CATEGORY, f"{what}, {len(p.distinct):,} values"


def _text_or_category(p: _Profile) -> tuple[Meaning, str]:
    """Free text, categories, or ids, by how often values come again, their words, length and script."""
    sample = p.distinct[:: max(1, len(p.distinct) // 1000)]
    words = float(np.mean([_num_words(cell) for cell in sample]))
    repeats = p.num / len(p.distinct)
    said = f"{len(p.distinct):,} values"
    coded = sum(bool(_CODE.match(cell)) and not _NO_SPACES.search(cell) for cell in sample) > 0.8 * len(sample)
    if coded:
        return _meaning_of_codes(p, "codes")
    if _ID_NAME.search(p.name) and words < 1.5 and p.share > 0.9:
        return Meaning.IGNORED, "an id by its name, nearly each row has its own"
    wordy = words >= 2.5
    if len(p.distinct) <= 2 and p.num >= 10 and words < 8:
        return Meaning.CATEGORY, said
    if wordy and (repeats < 10 or (words >= 12 and repeats < 50)):
        return Meaning.TEXT, f"free text: {words:.0f} words in the middle, {p.share:.0%} of the values differ"
    if p.share > 0.5 and (words >= 1.5 or p.num >= 50):
        return Meaning.TEXT, f"short text: {p.share:.0%} of the values differ"
    return Meaning.CATEGORY, f"{said}, on average {repeats:.0f} times each" if repeats >= 1.5 else said


def _num_words(cell: str) -> float:
    """Words by spaces; in scripts without spaces two characters count as a word."""
    return max(len(cell.split()), len(_NO_SPACES.findall(cell)) / 2)


def written_numbers(table: Table, columns: Sequence[Column]) -> dict[str, str]:
    """The columns of texts that are numbers in a form for people, {name: one such text}."""
    import pyarrow as pa

    found = {}
    for column in columns:
        values = table.arrow.column(column.name)
        if not pa.types.is_string(values.type) or column.meaning not in _OF_TEXTS:
            continue
        step = max(1, len(values) // _SAMPLE_WRITTEN)
        texts = [cell for cell in plain(taken(values, np.arange(0, len(values), step))) if cell and not cell.isspace()]
        text = written_number(texts)
        if text is not None:
            found[column.name] = text
    return found


def with_meaning(schema: Schema, name: str, meaning: Meaning, reason: str) -> Schema:
    """The schema with another meaning for one column."""
    columns = tuple(replace(c, meaning=meaning, reason=reason) if c.name == name else c for c in schema.columns)
    return replace(schema, columns=columns)
