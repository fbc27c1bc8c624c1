import numpy as np
import pyarrow as pa
import pytest

from thrifty.data.column import Task
from thrifty.data.table import Table
from thrifty.data.target import alike, extremes, read_labels, written_number


def labels(cells: list[object], task: Task, classes: tuple[str, ...] = ()):
    return read_labels(Table(pa.table({"y": pa.array(cells)})), "y", task, classes)


def test_codes_follow_the_classes_and_holes_are_problems():
    found = labels(["b", None, " a ", "z", ""], Task.BINARY, ("a", "b"))
    assert found.values.tolist() == [1, 0, 0, 0, 0]
    assert found.problems == {1: "missing label", 4: "missing label"}
    assert found.unseen == {3: "z"}


def test_other_spellings_of_a_number_are_the_same_class():
    assert labels([1.0, 2.0], Task.BINARY, ("1", "2")).values.tolist() == [0, 1]
    assert labels(["1", "2.0"], Task.BINARY, ("1.0", "2.0")).values.tolist() == [0, 1]
    assert labels([True, False], Task.BINARY, ("false", "true")).values.tolist() == [1, 0]
    assert labels(["01"], Task.BINARY, ("1", "2")).unseen == {0: "01"}


def test_numbers_that_are_none_are_problems():
    found = labels(["1.5", "x", "1e400", None, "-3"], Task.REGRESSION)
    assert found.values.tolist() == [1.5, 0, 0, 0, -3]
    assert sorted(found.problems) == [1, 2, 3]


def test_lists_become_indicators():
    found = labels(['["a", "c"]', "[]", '["z", "a"]', "oops", None], Task.MULTILABEL, ("a", "b", "c"))
    assert found.values.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert sorted(found.problems) == [3, 4]
    assert found.unseen == {2: "z"}


def test_the_reason_why_a_number_is_no_label_is_right():
    found = labels(["inf", "-1e400", "1e300", "-1e39", "x"], Task.REGRESSION)
    for row, said in enumerate(["infinite", "infinite", "too large", "too large", "not a number"]):
        assert said in found.problems[row]


def test_a_few_labels_far_from_all_others_are_found_and_a_wide_spread_is_not():
    ordinary = np.random.default_rng(0).normal(size=1000)
    assert extremes(np.concatenate([ordinary, [1e9, -50]])).tolist() == [1000, 1001]
    assert not len(extremes(ordinary))
    assert not len(extremes(np.exp(3 * ordinary)))
    assert not len(extremes(np.zeros(20)))
    assert not len(extremes(np.zeros(0)))


def test_classes_that_are_written_nearly_alike_are_found():
    assert alike(("YES", "Yes", "no", "y e s")) == [("YES", "Yes")]
    assert alike(("01", "1", "1.0", "2", "x  y", "x Y")) == [("01", "1", "1.0"), ("x  y", "x Y")]
    assert alike(("a", "b")) == []


@pytest.mark.parametrize(
    "texts",
    [
        ["$1,200", "$30"], ["12 %", "7%"], ["1.234,56", "3,5"], ["1 234", "12 345 678"], ["1\u00a0234"],
        ["\u20ac 5", "7"], ["(1,200)", "30"], ["-$5.20"], ["1'200"], ["0,5", "0"], ["USD 30"], ["+3%"],
    ],
)  # fmt: skip
def test_numbers_in_a_form_for_people_are_recognised(texts: list[str]):
    assert written_number(texts) == texts[0]


@pytest.mark.parametrize(
    "texts",
    [["1", "2.5"], ["007", "012"], ["2020-01-01"], ["1.2.2020"], ["1.2.3"], ["a1", "$5"], ["10-20"], ["12:30"], []],
)
def test_plain_numbers_codes_and_dates_are_not_numbers_for_people(texts: list[str]):
    assert written_number(texts) is None
