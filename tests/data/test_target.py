import pyarrow as pa

from thrifty.data.column import Task
from thrifty.data.table import Table
from thrifty.data.target import read_labels


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
