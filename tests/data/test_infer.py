import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import Meaning, Schema
from thrifty.data.infer import infer, infer_columns
from thrifty.data.table import Table

RNG = random.Random(0)
WORDS = ["red", "green", "blue", "fast", "slow", "old", "new", "big", "fox", "sea", "tree", "stone", "bird"]


def meaning(cells: list[object], name: str = "x") -> Meaning:
    return column(cells, name).meaning


def column(cells: list[object], name: str = "x"):
    return infer_columns(Table(pa.table({name: pa.array(cells)})), [name], {})[0]


def phrase(num_words: int) -> str:
    return " ".join(RNG.choice(WORDS) for _ in range(num_words))


ANSWERS = ["I agree with this", "I do not agree at all", "I do not know"]
HAN = "的一是在不了有和人这中大为上个国我以要他"

MEANINGS = {
    "whole numbers as text": ([str(i % 17) for i in range(100)], Meaning.NUMBER),
    "numbers with exponents": ([f"{i}e-3" for i in range(100)], Meaning.NUMBER),
    "numbers with a few holes": ([str(i * 1.5) if i % 20 else "n/a" for i in range(100)], Meaning.NUMBER),
    "numbers with holes of a database": ([str(i * 1.5) if i % 3 else "\\N" for i in range(100)], Meaning.NUMBER),
    "numbers with a few words": ([str(i * 1.5) if i % 30 else "unknown" for i in range(100)], Meaning.NUMBER),
    "numbers with spaces": ([f" {i * 3} " for i in range(100)], Meaning.NUMBER),
    "0 and 1": (["0", "1"] * 50, Meaning.NUMBER),
    "years": ([str(1990 + i % 30) for i in range(100)], Meaning.NUMBER),
    "distinct whole numbers with gaps": ([i * i for i in range(100)], Meaning.NUMBER),
    "row numbers": ([str(i) for i in range(100)], Meaning.IGNORED),
    "row numbers, shuffled": (list(np.random.default_rng(0).permutation(100)), Meaning.IGNORED),
    "leading zeros": ([f"{i % 40:04d}" for i in range(100)], Meaning.CATEGORY),
    "leading zeros, each once": ([f"{i * 7:05d}" for i in range(100)], Meaning.IGNORED),
    "measured with leading zeros": ([f"{i * 1.37:08.2f}" for i in range(100)], Meaning.NUMBER),
    "codes with underscores": ([f"{i % 9 + 1}_{i % 4}" for i in range(100)], Meaning.CATEGORY),
    "one value": (["a"] * 50, Meaning.IGNORED),
    "one number": ([1.0] * 50, Meaning.IGNORED),
    "one value with holes": (["a", None] * 25, Meaning.CATEGORY),
    "all missing": ([None] * 50, Meaning.IGNORED),
    "blank": (["  "] * 50, Meaning.IGNORED),
    "yes and no": (["yes", "no", "no"] * 20, Meaning.CATEGORY),
    "booleans": ([True, False, None] * 20, Meaning.CATEGORY),
    "booleans as text": (["True", "False"] * 20, Meaning.CATEGORY),
    "colours": ([RNG.choice(WORDS) for _ in range(100)], Meaning.CATEGORY),
    "answers": ([RNG.choice(ANSWERS) for _ in range(200)], Meaning.CATEGORY),
    "sentences": ([phrase(8) for _ in range(100)], Meaning.TEXT),
    "sentences, few rows": ([phrase(8) for _ in range(15)], Meaning.TEXT),
    "long texts that come again": ([phrase(30)] * 4 + [phrase(30) for _ in range(50)], Meaning.TEXT),
    "surnames": (["".join(RNG.choice("abcdefgh") for _ in range(7)) for _ in range(100)], Meaning.TEXT),
    "Chinese": (["".join(RNG.choice(HAN) for _ in range(12)) for _ in range(60)], Meaning.TEXT),
    "Chinese categories": ([RNG.choice(["北京", "上海", "广州"]) for _ in range(60)], Meaning.CATEGORY),
    "Chinese with digits": ([f"小米手机{i % 40}黑色内存{i * 3}大屏幕很好用" for i in range(60)], Meaning.TEXT),
    "Thai with digits": ([f"โทรศัพท์มือถือ{i}สีดำหน่วยความจำ{i * 7}" for i in range(60)], Meaning.TEXT),
    "Thai": (["".join(RNG.choice("กขคงจฉชซฌญ") for _ in range(20)) for _ in range(60)], Meaning.TEXT),
    "uuids": ([f"{RNG.getrandbits(128):032x}" for _ in range(60)], Meaning.IGNORED),
    "order numbers": ([f"ORD-{i * 37 % 1000:03d}-{i}" for i in range(60)], Meaning.IGNORED),
    "cabins": ([f"C{RNG.randrange(30)}" for _ in range(60)], Meaning.CATEGORY),
    "dates": ([f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(60)], Meaning.TIMESTAMP),
    "dates with times": ([f"2020-01-{1 + i % 28:02d}T10:0{i % 10}:00Z" for i in range(60)], Meaning.TIMESTAMP),
    "dates by point": ([f"{1 + i % 28:02d}.{1 + i % 12:02d}.2020" for i in range(60)], Meaning.TIMESTAMP),
    "dates with holes": ([f"2020-01-{1 + i % 28:02d}" if i % 9 else None for i in range(60)], Meaning.TIMESTAMP),
    "images": ([f"images/{i}.JPG" for i in range(60)], Meaning.IMAGE),
    "sounds with holes": ([f"{i}.flac" if i % 3 else None for i in range(60)], Meaning.AUDIO),
    "web images": ([f"https://example.org/{i}.png" for i in range(60)], Meaning.IGNORED),
    "bytes of nothing": ([b"abc%d" % i for i in range(20)], Meaning.IGNORED),
    "png bytes": ([b"\x89PNG\r\n\x1a\n%d" % i for i in range(20)], Meaning.IMAGE),
    "wav bytes": ([b"RIFF\0\0\0\0WAVE%d" % i for i in range(20)], Meaning.AUDIO),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANINGS)
def test_the_meaning_of_a_column_is_found_with_a_reason(name: str):
    cells, expected = MEANINGS[name]
    found = column(list(cells))
    assert (found.meaning, bool(found.reason)) == (expected, True), found


def test_a_name_tells_of_ids():
    ids = [i * i + 7 for i in range(60)]
    assert meaning(ids, "user_id") is Meaning.IGNORED
    assert meaning(ids, "userId") is Meaning.IGNORED
    assert meaning(ids, "paid") is Meaning.NUMBER
    assert meaning([i % 7 for i in range(60)], "store_id") is Meaning.CATEGORY
    assert meaning(list(range(60)), "Unnamed: 0") is Meaning.IGNORED


def test_holes_distinct_values_and_examples_are_counted():
    found = column(["a", "b", None, " ", "a"])
    assert (found.num_missing, found.num_distinct, found.examples) == (2, 2, ("a", "b"))
    assert column([1.5, float("nan"), None]).num_missing == 2


def make(label: list[object], **columns: list[object]) -> Table:
    size = len(label)
    return Table(pa.table({"x": pa.array([i * 0.37 for i in range(size)]), **columns, "label": pa.array(label)}))


def task(cells: list[object], **overrides: str) -> tuple[str, tuple[str, ...]]:
    schema, _ = infer(make(cells), "label", overrides)
    return schema.task.value, schema.classes


TASKS = {
    "two texts": (["b", "a"] * 20, "binary", ("a", "b")),
    "three texts": (["b", "a", "c"] * 20, "multiclass", ("a", "b", "c")),
    "few whole numbers": (["10", "9", "2"] * 20, "multiclass", ("2", "9", "10")),
    "whole numbers with points": (["1.0", "2.0"] * 20, "binary", ("1.0", "2.0")),
    "whole floats": ([1.0, 2.0] * 20, "binary", ("1.0", "2.0")),
    "few whole numbers with few rows": ([str(i % 7) for i in range(60)], "regression", ()),
    "21 whole numbers": ([i % 21 for i in range(2100)], "regression", ()),
    "20 whole numbers": ([i % 20 for i in range(200)], "multiclass", tuple(str(i) for i in range(20))),
    "fixed width numbers": ([f"{i * 1.37:08.2f}" for i in range(60)], "regression", ()),
    "codes with underscores": (["1_2", "1_3", "2_1"] * 20, "multiclass", ("1_2", "1_3", "2_1")),
    "floats": ([i / 7 for i in range(60)], "regression", ()),
    "few floats": ([0.5, 1.5] * 40, "regression", ()),
    "digits with leading zeros": (["0012", "0013"] * 20, "binary", ("0012", "0013")),
    "booleans": ([True, False] * 20, "binary", ("False", "True")),
    "lists": (['["a", "b"]', "[]", '["c"]'] * 20, "multilabel", ("a", "b", "c")),
    "Python lists": (["['a', 'b']", "[]", "['c']"] * 20, "multilabel", ("a", "b", "c")),
    "Python lists with apostrophes": (["[\"it's\", 'b']", "['b']"] * 20, "multilabel", ("b", "it's")),
    "0 and 1 in few rows": ([0, 1] * 7, "binary", ("0", "1")),
    "lists of numbers": (["[10, 2]", "[2]"] * 20, "multilabel", ("2", "10")),
    "labels with holes": (["a", "b", None, "", "nan"] * 10, "binary", ("a", "b")),
    "a class called None": (["None", "Some"] * 10, "binary", ("None", "Some")),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_target_gives_the_task_and_the_classes(name: str):
    label, expected, classes = TASKS[name]
    assert task(list(label)) == (expected, classes)


@pytest.mark.parametrize("rare", ["1", '["b"]'])
def test_a_class_that_a_sample_of_a_large_table_lacks_is_found(rare: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("thrifty.data.target._SAMPLE_ROWS", 50)
    usual = '["a"]' if rare[0] == "[" else "0"
    cells = [usual] * 1000
    cells[1] = rare
    assert task(cells) == ("multilabel" if rare[0] == "[" else "binary", ("a", "b") if rare[0] == "[" else ("0", "1"))


def test_a_person_can_overrule_the_target():
    assert task([i % 30 for i in range(90)], label="category")[0] == "multiclass"
    assert task([i % 3 for i in range(90)], label="number") == ("regression", ())
    with pytest.raises(DataError, match="'a'"):
        task(["a", "b"] * 20, label="number")
    with pytest.raises(UsageError):
        task(["a", "b"] * 20, label="text")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["a"] * 30, "one class only"),
        ([1] * 30, "one value only"),
        (["a", "b"], "at least 10"),
        ([None] * 30, "no label at all"),
        ([f"c{i}" for i in range(30)], "a class of its own"),
        ([f"c{i % 20}" for i in range(30)], "20 classes in 30 rows"),
        ([f"2020-01-{i + 1:02d}" for i in range(28)], "classes"),
        ([b"x", b"y"] * 10, "bytes"),
        (['["a"]'] * 20, "at least 2"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_an_error(label: list[object], said: str):
    with pytest.raises(DataError, match=said):
        task(label)


def test_wrong_names_are_errors_that_name_the_nearest():
    table = make(["a", "b"] * 10)
    with pytest.raises(DataError, match="'label'"):
        infer(table, "labels")
    with pytest.raises(DataError, match="weight"):
        infer(table, "label", weight="nope")
    with pytest.raises(UsageError, match="'x'"):
        infer(table, "label", {"X": "text"})
    with pytest.raises(UsageError, match="timestamp"):
        infer(table, "label", {"x": "integer"})


def test_the_weight_and_the_group_are_no_inputs_and_the_schema_survives_json():
    table = make(
        ["a", "b"] * 20, w=pa.array([1.0] * 40), g=pa.array(list(range(40))), t=pa.array([i * i for i in range(40)])
    )
    schema, _ = infer(table, "label", {"x": "category"}, weight="w", group="g", time="t")
    assert schema.inputs == {"x": Meaning.CATEGORY, "t": Meaning.NUMBER}
    assert schema.names_of(Meaning.CATEGORY, Meaning.NUMBER) == ("x", "t")
    assert Schema.from_json(schema.to_json()) == schema


def test_a_table_with_nothing_to_learn_from_is_an_error():
    with pytest.raises(DataError, match="no column to learn from"):
        infer(Table(pa.table({"x": [1] * 20, "label": ["a", "b"] * 10})), "label")


def test_a_large_table_is_judged_by_a_sample(rows: Callable[..., list[dict[str, object]]]):
    cells = [phrase(6) for _ in range(300)] * 100
    found = infer_columns(Table(pa.table({"t": cells, "n": np.arange(30_000) ** 2})), ["t", "n"], {})
    assert [c.meaning for c in found] == [Meaning.CATEGORY, Meaning.NUMBER]


@pytest.mark.parametrize("as_text", [False, True])
def test_row_numbers_of_a_large_table_are_no_number_to_learn_from(as_text: bool):
    counted = np.arange(1, 50_001)
    squares, again = counted**2, np.concatenate([counted[:-1], [1]])
    table = pa.table({"counted": counted, "squares": squares, "again": again})
    if as_text:
        table = table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
    found = infer_columns(Table(table), table.column_names, {})
    assert [c.meaning for c in found] == [Meaning.IGNORED, Meaning.NUMBER, Meaning.NUMBER]


@pytest.mark.parametrize("usual", [None, "no"])
def test_a_column_whose_other_values_are_rare_has_not_one_value_only(usual: str | None):
    cells: list[str | None] = [usual] * 60_000
    cells[1], cells[2] = "yes", "perhaps"
    assert infer_columns(Table(pa.table({"x": cells})), ["x"], {})[0].meaning is Meaning.CATEGORY


NEAR_THE_LARGEST = [2**62 + 7 * i for i in range(60)]


@pytest.mark.parametrize(
    ("cells", "expected", "reason"),
    [
        (NEAR_THE_LARGEST, Meaning.IGNORED, "an id"),
        ([str(cell) for cell in NEAR_THE_LARGEST], Meaning.IGNORED, "an id"),
        (NEAR_THE_LARGEST * 4, Meaning.CATEGORY, "60 values"),
        ([i * 2**55 for i in range(60)], Meaning.NUMBER, "whole numbers"),
        ([2**62] * 60, Meaning.IGNORED, "one value only"),
    ],
)
def test_whole_numbers_that_floats_do_not_tell_apart_are_not_one_value(
    cells: list[object], expected: Meaning, reason: str
):
    found = column(cells)
    assert found.meaning is expected
    assert reason in found.reason


def test_infinite_numbers_are_missing_ones():
    found = column([float("inf"), 1.0, 2.5, None, float("-inf")] * 4)
    assert (found.meaning, found.num_missing, found.num_distinct) == (Meaning.NUMBER, 12, 2)
    assert column([float("inf")] * 20).reason == "all missing"
    found = column(["inf", "1", "2.5", "1e400", "NA", "3", "4.5"] * 5)
    assert found.reason == "numbers; 15 cells are none and count as missing"
    assert (found.num_missing, found.num_distinct, found.examples) == (15, 4, ("1", "2.5", "3"))


@pytest.mark.parametrize("role", ["group", "weight", "time"])
def test_the_target_has_no_second_role(role: str):
    table = Table(pa.table({"x": [i % 7 for i in range(40)], "y": [str(i % 2) for i in range(40)]}))
    with pytest.raises(UsageError, match=f"--{role} is 'y', which is the target"):
        infer(table, "y", **{role: "y"})
