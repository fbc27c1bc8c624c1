import numpy as np
import pyarrow as pa
import pytest

from thrifty.data.table import Cells, Table, taken

COLUMN = pa.chunked_array([["a", None, "c"], ["d"], [], ["e", "f"]])


@pytest.mark.parametrize("rows", [[], [0], [2, 3, 4], [5, 4, 3], [0, 2, 4], [4, 4, 0, 5], [0, 1, 2, 3, 4, 5]])
def test_rows_are_taken_in_the_order_given(rows: list[int]):
    values = COLUMN.to_pylist()
    assert taken(COLUMN, np.array(rows)).to_pylist() == [values[row] for row in rows]
    assert taken(pa.chunked_array([COLUMN.combine_chunks()]), np.array(rows)).to_pylist() == [
        values[row] for row in rows
    ]


def test_rows_that_follow_each_other_are_not_copied():
    table = Table(pa.table({"x": pa.array(["text"] * 100_000)}))
    before = pa.total_allocated_bytes()
    part = table.take(np.arange(1000, 90_000))
    assert pa.total_allocated_bytes() == before
    assert (len(part), part.origin(0)) == (89_000, ("", 1001))


def test_cells_are_the_values_of_the_rows_asked_for():
    assert list(Cells(COLUMN)) == COLUMN.to_pylist()
    assert list(Cells(COLUMN, np.array([5, 0, 3, 1]))) == ["f", "a", "d", None]
    assert list(Cells(COLUMN, np.zeros(0, np.int64))) == []
