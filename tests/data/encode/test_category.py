import numpy as np

from thrifty.data.encode.category import Category

COLUMNS = {"a": ["x", "y", "x", None, "z"], "b": [1, 1.0, "1", np.int64(2), ""]}


def test_codes_go_by_frequency_and_keep_places_for_missing_and_unseen() -> None:
    encoder = Category.fit(COLUMNS, ["a", "b"])
    codes = encoder.encode(COLUMNS)[0]["codes"]
    assert codes.tolist() == [[2, 2], [3, 2], [2, 2], [0, 3], [4, 0]]
    assert encoder.sizes == (5, 4)
    assert encoder.encode({"a": ["new"], "b": [True]})[0]["codes"].tolist() == [[1, 1]]


def test_one_hot_rows_have_a_one_for_each_column() -> None:
    encoder = Category.from_json(Category.fit(COLUMNS, ["a", "b"], "one_hot").to_json(), {})
    rows = encoder.encode(COLUMNS)[0]["one_hot"]
    assert rows.shape == (5, 9)
    assert (rows.sum(axis=1) == 2).all()
    assert rows[3, 0] == 1
    assert encoder.encode({"a": ["new"], "b": ["new"]})[0]["one_hot"][0, [1, 6]].tolist() == [1, 1]


def test_rare_values_and_those_beyond_the_most_are_as_if_unseen() -> None:
    columns = {"a": ["x"] * 5 + ["y"] * 3 + ["z"] * 2 + ["w"]}
    assert Category.fit(columns, ["a"], max_values=2).values == (("x", "y"),)
    assert Category.fit(columns, ["a"], min_rows=2).values == (("x", "y", "z"),)


def test_every_script_is_a_value_like_another() -> None:
    columns = {"a": ["北京", "मुंबई", "北京 ", "مكة"]}
    assert Category.fit(columns, ["a"]).encode(columns)[0]["codes"][:, 0].tolist() == [2, 4, 2, 3]


def test_a_value_is_known_however_it_is_written() -> None:
    encoder = Category.fit({"a": ["True", "False", "True"], "b": ["1", "2.5", "007"]}, ["a", "b"])
    rows = {"a": [True, np.False_, "TRUE", "true"], "b": [1, 1.0, "1.0", np.float32(2.5)]}
    codes = encoder.encode(rows)[0]["codes"]
    assert codes[:, 0].tolist() == [2, 3, 2, 2]
    assert codes[:, 1].tolist() == [3, 3, 3, 4]
    assert encoder.encode({"a": [None], "b": [7]})[0]["codes"].tolist() == [[0, 1]]
