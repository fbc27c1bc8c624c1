"""Columns that are no inputs: how much a row counts, and which rows belong together."""

from __future__ import annotations

import numpy as np

from thrifty.data import checks, typed
from thrifty.data.codes import dense
from thrifty.data.encode.values import is_missing
from thrifty.data.table import Table, plain

BAD_WEIGHT = "the weight is missing, negative, infinite or no number"


def weights_of(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each row, float64 [N], and the rows where it is a BAD_WEIGHT, which weigh 0."""
    values = np.array(typed.numbers(table.arrow.column(name)).values.to_numpy(), np.float64)
    good = np.isfinite(values) & (values >= 0)
    return np.where(good, values, 0.0), np.flatnonzero(~good)


def groups_of(table: Table, name: str) -> np.ndarray:
    """Codes int64 [N] of the rows that the column puts together; a row without a group is one of its own."""
    column = table.arrow.column(name)
    codes = dense(checks.column_keys(column))
    codes[[is_missing(value) for value in plain(column)]] = -1
    return checks.components(len(table), *checks.links(codes))
