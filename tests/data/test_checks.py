import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

from thrifty.data import checks
from thrifty.data.codes import dense
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.data.media import image_print


def schema(task: Task = Task.BINARY, **meanings: Meaning) -> Schema:
    return Schema(tuple(Column(name, meaning, "") for name, meaning in meanings.items()), "y", task)


def clusters(arrow: pa.Table, prints: dict[str, np.ndarray] | None = None, **meanings: Meaning) -> list[int]:
    rows = np.ones(arrow.num_rows, bool)
    return checks.duplicates(arrow, schema(**meanings), prints or {}, rows).clusters.tolist()


def test_codes_are_without_gaps():
    assert dense(np.array([5, 3, 5, 9])).tolist() == [1, 0, 1, 2]
    assert dense(np.array([5, -1, 10**17])).tolist() == [1, 0, 2]
    assert dense(np.zeros(0, np.int64)).tolist() == []


def test_equal_rows_are_one_cluster():
    arrow = pa.table({"a": [1.0, 2.0, 1.0, None, float("nan")], "b": ["x", "x", "x", None, None]})
    found = clusters(arrow, a=Meaning.NUMBER, b=Meaning.CATEGORY)
    assert found[0] == found[2] != found[1]
    assert found[3] == found[4]


def test_texts_that_differ_in_case_and_marks_are_one_cluster():
    texts = ["This is, surely, a long text!", "this is surely A LONG text", "another long text of words", "!!!", "???"]
    found = clusters(pa.table({"t": texts}), t=Meaning.TEXT)
    assert found[0] == found[1] != found[2]
    assert found[3] != found[4]


def test_a_long_text_alone_keeps_rows_together_and_a_short_one_does_not():
    texts = ["the very same long text in two rows"] * 2 + ["some other long text of a row"]
    long = clusters(pa.table({"t": texts, "n": [1.0, 2.0, 3.0]}), t=Meaning.TEXT, n=Meaning.NUMBER)
    assert long[0] == long[1] != long[2]
    short = clusters(pa.table({"t": ["ok", "ok", "no"], "n": [1.0, 2.0, 3.0]}), t=Meaning.TEXT, n=Meaning.NUMBER)
    assert len(set(short)) == 3


def test_values_that_come_again_too_often_do_not_bind_rows():
    arrow = pa.table({name: [float(i % 4) for i in range(400)] for name in "abcd"})
    found = checks.duplicates(arrow, schema(**dict.fromkeys("abcd", Meaning.NUMBER)), {}, np.ones(400, bool))
    assert len(set(found.clusters.tolist())) == 400
    assert found.repeated == 400
    assert found.num_equal == 396


def few_valued(num_rows: int, copies: int, num_columns: int, num_values: int) -> pa.Table:
    values = np.random.default_rng(0).integers(0, num_values, (num_rows, num_columns))
    return pa.table({f"c{i}": np.repeat(column, copies).astype(str) for i, column in enumerate(values.T)})


def test_rows_that_few_values_make_equal_by_chance_are_no_copies():
    arrow = few_valued(2000, 1, 2, 20)
    found = checks.duplicates(arrow, schema(c0=Meaning.CATEGORY, c1=Meaning.CATEGORY), {}, np.ones(2000, bool))
    assert found.by_chance
    assert found.num_equal > 1500
    assert len(set(found.clusters.tolist())) == 2000


def test_rows_that_are_equal_more_often_than_by_chance_are_copies():
    many = few_valued(1000, 2, 8, 10)
    measured = few_valued(1000, 2, 1, 2).append_column("m", pa.array(np.repeat(np.arange(1000) ** 1.5, 2)))
    for arrow in (many, measured):
        meanings = dict.fromkeys(arrow.column_names, Meaning.CATEGORY)
        found = checks.duplicates(arrow, schema(**meanings), {}, np.ones(2000, bool))
        assert not found.by_chance
        assert len(set(found.clusters.tolist())) == 1000


def test_rows_set_aside_are_not_looked_at():
    rows = np.array([True, False, True])
    found = checks.duplicates(pa.table({"a": [1.0, 1.0, 1.0]}), schema(a=Meaning.NUMBER), {}, rows)
    assert found.clusters.tolist() == [0, -1, 0]
    assert found.num_equal == 1


def picture(seed: int, size: int = 128) -> PIL.Image.Image:
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((size, size), PIL.Image.Resampling.BICUBIC)


def print_of(image: PIL.Image.Image, kind: str = "PNG", **how: int) -> np.ndarray:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return np.frombuffer(image_print(out.getvalue()), np.uint8)


def test_copies_of_a_picture_are_found_and_other_pictures_are_not():
    pictures = [picture(i) for i in range(60)]
    first = pictures[0]
    copies = [
        print_of(first, "JPEG", quality=60),
        print_of(first.resize((96, 96), PIL.Image.Resampling.BILINEAR)),
        print_of(first.point(lambda v: min(255, int(v * 1.04)))),
    ]
    prints = np.stack([*map(print_of, pictures), *copies])
    found = clusters(pa.table({"i": [f"{k}.png" for k in range(63)]}), {"i": prints}, i=Meaning.IMAGE)
    assert found[60:] == [found[0]] * 3
    assert len(set(found[:60])) == 60


def test_flat_pictures_are_near_none():
    flat = [PIL.Image.new("RGB", (20, 20), (k * 8, 40, 40)) for k in range(30)]
    prints = np.stack([print_of(image) for image in flat])
    one, _ = checks.near_pairs(prints)
    assert len(one) == 0


def test_rows_without_an_image_are_not_kept_together_by_it():
    prints = np.zeros((3, len(print_of(picture(0)))), np.uint8)
    arrow = pa.table({"i": pa.nulls(3, pa.string()), "n": [1.0, 2.0, 3.0]})
    assert len(set(clusters(arrow, {"i": prints}, i=Meaning.IMAGE, n=Meaning.NUMBER))) == 3


def test_components_follow_chains():
    assert checks.components(6, np.array([0, 1, 4]), np.array([1, 2, 5])).tolist() == [0, 0, 0, 3, 4, 4]
    line = np.arange(999)
    assert set(checks.components(1000, line, line + 1).tolist()) == {0}


def test_contradictions_and_leaks_are_counted():
    equal = np.array([0, 0, 1, 1, 2, -1])
    assert checks.conflicts(equal, np.array([0, 1, 1, 1, 0, 0]), Task.BINARY, equal != -1) == 2
    part = np.array([0, 2, 0, 0, 2, 3], np.int8)
    assert checks.leaks(equal, part, 2, (0, 1)) == 1


@pytest.mark.parametrize("large", [False, True])
def test_keys_of_large_columns_tell_values_apart(large: bool, monkeypatch: pytest.MonkeyPatch):
    if large:
        monkeypatch.setattr(checks, "_LARGE_BYTES", 0)
    values = ["a", "b", None, "a", "", "ab", "ba", "a" * 1000, None]
    keys = checks.column_keys(pa.chunked_array([values[:4], values[4:]]))
    assert keys[0] == keys[3]
    assert keys[2] == keys[8]
    assert len(set(keys.tolist())) == 7
    assert len(set(checks.column_keys(pa.chunked_array([[1, 2, None, 2]])).tolist())) == 3


def giveaways(y: np.ndarray, task: Task = Task.BINARY, **columns: tuple[Meaning, object]) -> set[str]:
    arrow = pa.table({name: pa.array(values) for name, (_, values) in columns.items()})
    known = schema(task, **{name: meaning for name, (meaning, _) in columns.items()})
    return set(checks.giveaways(arrow, known, y, np.arange(len(y)), 0))


def test_columns_that_give_the_target_away_are_found(rows: Callable[..., object]):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    found = giveaways(
        y,
        above=(Meaning.NUMBER, y * 2 + rng.random(400)),
        holes=(Meaning.NUMBER, [None if v else float(i) for i, v in enumerate(y)]),
        name=(Meaning.CATEGORY, [f"{'pq'[v]}{i % 3}" for i, v in enumerate(y)]),
        noisy=(Meaning.NUMBER, y + rng.normal(size=400)),
        noise=(Meaning.CATEGORY, [str(v) for v in rng.integers(0, 9, 400)]),
    )
    assert found == {"above", "holes", "name"}


def test_times_as_text_give_the_target_away_by_when_they_are_and_not_by_their_place_in_the_file():
    rng = np.random.default_rng(3)
    at = np.datetime64("2024-01-01", "s") + rng.integers(0, 360 * 86400, 20_000)
    times = (Meaning.TIMESTAMP, at.astype(str))
    assert giveaways((at > np.datetime64("2024-06-15")).astype(int), at=times) == {"at"}
    assert giveaways((np.arange(20_000) >= 10_000).astype(int), at=times) == set()


def test_a_number_that_gives_a_number_away_is_found():
    rng = np.random.default_rng(0)
    y = rng.random(2000).astype(np.float32)
    found = giveaways(
        y, Task.REGRESSION, same=(Meaning.NUMBER, y * 3.0 + 1), near=(Meaning.NUMBER, y + rng.normal(0, 0.1, 2000))
    )
    assert found == {"same"}


def test_an_imbalanced_target_is_not_given_away_by_noise():
    y = (np.arange(1000) % 100 == 0).astype(int)
    assert giveaways(y, noise=(Meaning.NUMBER, np.random.default_rng(0).random(1000))) == set()
