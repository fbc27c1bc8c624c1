"""Numbers with a decimal comma, in text tables whose cells are not split by commas, become numbers with a point."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from thrifty.data.encode.number import MISSING_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa

_NONE = "(?i:" + "|".join(re.escape(text) for text in sorted(MISSING_TEXTS) if text) + ")"
_DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*$"
_PLAIN_OR_COMMA = rf"^\s*([+-]?\d+(,\d+)?([eE][+-]?\d+)?|{_NONE})\s*$"
_PLAIN_THOUSANDS = rf"^\s*([+-]?(\d{{1,3}}|[1-9]\d{{0,2}},\d{{3}})|{_NONE})\s*$"
_BELOW_A_THOUSAND = r"^\s*[+-]?\d{1,3}\s*$"
_COMMA = r"^(\s*[+-]?\d+),(\d+([eE][+-]?\d+)?\s*)$"


def decimal_points(arrow: pa.Table, delimiter: str) -> pa.Table:
    """Gives points to the columns of numbers (and marks of missing ones) of which some have a decimal comma.

    delimiter: of the file; where commas split cells there are none.
    """
    import pyarrow.compute as pc

    if delimiter == ",":
        return arrow
    for place, name in enumerate(arrow.column_names):
        column = arrow.column(place)
        sample = column.slice(0, 100).drop_null()
        if pc.all(pc.match_substring_regex(sample, _PLAIN_OR_COMMA)).as_py() and _has_decimal_commas(column, delimiter):
            arrow = arrow.set_column(place, name, pc.replace_substring(column, ",", "."))
    return arrow


def _has_decimal_commas(column: pa.ChunkedArray, delimiter: str) -> bool:
    """Whether all cells are numbers or none, and commas stand before decimals, not between thousands (980; 1,234)."""
    import pyarrow.compute as pc

    def match(how: Callable[..., pa.Scalar], pattern: str) -> bool:
        return bool(how(pc.match_substring_regex(column, pattern)).as_py())

    if not (match(pc.any, _DECIMAL_COMMA) and match(pc.all, _PLAIN_OR_COMMA)):
        return False
    return not match(pc.all, _PLAIN_THOUSANDS) or (delimiter == ";" and not match(pc.any, _BELOW_A_THOUSAND))


def with_decimal_points(batches: Iterable[pa.RecordBatch], delimiter: str) -> Iterator[pa.RecordBatch]:
    """The batches with decimal points in the columns that have commas by the first batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: list[int] | None = None
    for batch in batches:
        if columns is None:
            before = pa.Table.from_batches([batch])
            after = decimal_points(before, delimiter)
            columns = [i for i in range(before.num_columns) if not before.column(i).equals(after.column(i))]
        arrays = batch.columns
        for i in columns:
            arrays[i] = pc.replace_substring_regex(arrays[i], _COMMA, r"\1.\2")
        yield pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
