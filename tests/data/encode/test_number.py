from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.number import Number, parse_number

KEPT = st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=8))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (3, 3.0),
        ("3.5", 3.5),
        (" 7 ", 7.0),
        (True, 1.0),
        ("true", 1.0),
        (np.float32(2), 2.0),
        (np.int64(4), 4.0),
        ("1e3", 1000.0),
    ],
)
def test_a_cell_is_read_as_its_number(cell: object, value: float) -> None:
    assert parse_number(cell) == value


@pytest.mark.parametrize(
    "cell", [None, "", "  ", "NA", "n/a", "?", "\\N", "#DIV/0!", float("nan"), "null", np.float64("nan")]
)
def test_a_missing_cell_is_not_a_number(cell: object) -> None:
    assert np.isnan(parse_number(cell))


def test_pandas_own_missing_values_are_missing() -> None:
    pandas = pytest.importorskip("pandas")
    assert np.isnan(parse_number(pandas.NA))
    assert np.isnan(parse_number(pandas.NaT))


def test_a_text_that_is_no_number_is_a_problem_and_counts_as_missing() -> None:
    with pytest.raises(UnreadableError, match="abc"):
        parse_number("abc")
    arrays, problems = Number(("a", "b")).encode({"a": [1, "abc", 3], "b": ["x", None, datetime(2020, 1, 1)]})
    assert [(p.row, p.column) for p in problems] == [(1, "a"), (0, "b"), (2, "b")]
    np.testing.assert_array_equal(np.isnan(arrays["values"]), [[False, True], [True, True], [False, True]])


def test_a_code_with_an_underscore_is_no_number_though_python_reads_one() -> None:
    arrays, problems = Number(("a",)).encode({"a": ["1_2", "12"]})
    assert [p.row for p in problems] == [0]
    np.testing.assert_array_equal(arrays["values"], [[np.nan], [12]])


@given(st.lists(st.tuples(KEPT, KEPT), min_size=1, max_size=12), st.sampled_from(["none", "standard", "quantile"]))
def test_any_cells_give_float32_within_range_alone_as_in_a_batch(rows: list, scale: str) -> None:
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    encoder = Number.fit(columns, ["a", "b"], scale)
    encoder = Number.from_json(encoder.to_json(), {})
    values = encoder.encode(columns)[0]["values"]
    assert values.dtype == np.float32
    assert not np.isinf(values).any()
    if scale != "none":
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 10
    for row in range(len(rows)):
        alone = encoder.encode({name: cells[row : row + 1] for name, cells in columns.items()})[0]["values"]
        np.testing.assert_allclose(alone[0], values[row], rtol=1e-6)


def test_standard_scales_fill_the_median_and_tell_what_was_missing() -> None:
    columns = {"a": [1.0, 2.0, 3.0, None], "b": [5, 5, 5, 5]}
    values = Number.fit(columns, ["a", "b"], "standard").encode(columns)[0]["values"]
    np.testing.assert_allclose(values[:, 0], np.array([-1, 0, 1, 0]) / np.sqrt(0.5), rtol=1e-6)
    assert values[:, 1].tolist() == [0, 0, 0, 0]
    assert values[:, 2].tolist() == [0, 0, 0, 1]


def test_quantile_scales_make_a_skewed_column_normal() -> None:
    skewed = np.exp(np.random.default_rng(0).normal(size=4000) * 2)
    columns = {"a": skewed.tolist()}
    values = Number.fit(columns, ["a"], "quantile").encode(columns)[0]["values"][:, 0]
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.03
    assert (np.diff(values[np.argsort(skewed)]) >= 0).all()


INFINITE = [float("inf"), float("-inf"), np.float32("inf"), "inf", " -Infinity", "1e400", 10**400]


@pytest.mark.parametrize("cell", INFINITE)
@pytest.mark.parametrize("scale", ["none", "standard", "quantile"])
def test_an_infinite_cell_counts_as_a_missing_one(cell: object, scale: str) -> None:
    fitted = [Number.fit({"a": [1, 2, 3, one, 5]}, ["a"], scale) for one in (cell, None)]
    assert fitted[0].to_json() == fitted[1].to_json()
    values = fitted[0].encode({"a": [cell, None, 4]})[0]["values"]
    np.testing.assert_array_equal(values[0], values[1])


def test_finite_cells_beyond_float32_stay_the_largest_that_there_is() -> None:
    values = Number(("a",)).encode({"a": [1e39, "-1e300", 10**100]})[0]["values"][:, 0]
    largest = np.finfo(np.float32).max
    assert values.tolist() == [largest, -largest, largest]


@pytest.mark.parametrize("far", [1e9, -1e300])
def test_one_value_far_from_all_others_does_not_set_the_standard_scale(far: float) -> None:
    ordinary = np.random.default_rng(0).normal(size=200).tolist()
    values = Number.fit({"a": [*ordinary, far]}, ["a"], "standard").encode({"a": ordinary})[0]["values"]
    assert 0.5 < values.std() < 1.5


def test_the_standard_scale_of_an_ordinary_column_is_its_mean_and_deviation() -> None:
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(3, 2, 5000), "b": rng.exponential(size=5000), "c": rng.random(5000) < 0.005}
    fitted = Number.fit({name: cells.tolist() for name, cells in columns.items()}, list(columns), "standard")
    np.testing.assert_allclose(fitted.mean_D, [cells.mean() for cells in columns.values()])
    np.testing.assert_allclose(fitted.spread_D, [cells.std() for cells in columns.values()])
