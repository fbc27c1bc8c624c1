import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from thrifty.core.budget import Clock
from thrifty.core.errors import DataError, StoreError, ThriftyError, UsageError
from thrifty.data import media
from thrifty.data import prepare as preparing
from thrifty.data.cache import Cache
from thrifty.data.column import Meaning, Task
from thrifty.data.dataset import Dataset
from thrifty.data.describe import describe
from thrifty.data.findings import Findings
from thrifty.data.prepare import Options, Prepared, prepare

Rows = Callable[..., list[dict[str, Any]]]
Write = Callable[[dict[str, bytes]], Path]


def seed(name: str, number: int) -> int:
    return 1000 * ord(name) + number


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Prepared]:
    count = 0

    def run(source: Any, target: str | None = "label", **how: Any) -> Prepared:
        nonlocal count
        count += 1
        options = Options(**{k: how.pop(k) for k in list(how) if k in Options.__dataclass_fields__})
        return prepare(source, target, folder=tmp_path / f"run{count}" / "data", options=options, **how)

    return run


def test_a_dataset_comes_back_from_disk_as_it_was(go: Callable[..., Prepared], rows: Rows):
    made = go(rows(60)).dataset
    opened = Dataset.open(made.folder)
    assert opened.schema == made.schema
    assert opened.columns() == made.columns()
    assert opened.columns(np.array([5, 2]))["words"] == [made.columns()["words"][5], made.columns()["words"][2]]
    assert opened.targets().tolist() == [0, 1] * 30
    assert opened.targets().dtype == np.int64
    assert (opened.splits.part == made.splits.part).all()
    assert opened.splits.fold is not None
    assert opened.weights() is None
    assert opened.origin(3) == ("", 4)
    assert opened.schema.inputs == {"size": Meaning.NUMBER, "kind": Meaning.CATEGORY, "words": Meaning.TEXT}
    assert opened.numbers("size").dtype == np.float64


def test_a_folder_without_a_dataset_is_an_error(tmp_path: Path):
    with pytest.raises(StoreError):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="99"):
        Dataset.open(tmp_path)


def test_a_file_in_memory_and_in_chunks_has_the_same_fingerprint(
    go: Callable[..., Prepared], rows: Rows, write: Write, tmp_path: Path
):
    data = rows(100)
    one = go(pa.Table.from_pylist(data)).dataset
    chunked = pa.concat_tables([pa.Table.from_pylist(data[:33]), pa.Table.from_pylist(data[33:])])
    other = go(chunked, seed=5).dataset
    names = ["size", "words"]
    assert one.fingerprint(names) == other.fingerprint(names)
    assert one.fingerprint(names) != one.fingerprint(names[:1])
    assert one.fingerprint(names, np.arange(5)) != one.fingerprint(names, np.arange(6))
    assert one.fingerprint(names, np.arange(100)) == one.fingerprint(names)
    data[7]["size"] += 1
    assert go(pa.Table.from_pylist(data)).dataset.fingerprint(names) != one.fingerprint(names)


def test_images_are_absolute_paths_and_the_unreadable_are_listed(
    go: Callable[..., Prepared], write: Write, png: Callable[..., bytes]
):
    files = {f"{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(40)}
    files["x/3.png"] = files["x/3.png"][:60]
    root = write(files)
    made = go(root, None)
    dataset = made.dataset
    assert dataset.schema.folder
    assert dataset.columns()["file"][0] == f"{root}/x/0.png"
    assert [(bad.file, bad.row, bad.column) for bad in made.findings.bad_rows] == [("x/3.png", None, "file")]
    listed = list(csv.reader((dataset.folder / "bad_rows.csv").open()))
    assert [row[0] for row in listed] == ["file", "x/3.png"]
    assert np.bincount(dataset.splits.part).tolist() == [79, 0, 0, 1]
    reopened = Findings.open(dataset.folder / "findings.json", dataset.folder / "bad_rows.csv")
    assert reopened == made.findings


def test_a_class_whose_every_row_is_bad_is_no_class(
    go: Callable[..., Prepared], write: Write, png: Callable[..., bytes]
):
    files = {f"{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(40)}
    made = go(write({**files, "z/0.png": b"nothing"}), None)
    assert made.dataset.schema.classes == ("x", "y")


def test_tables_may_hold_images_and_missing_ones_are_no_problem(
    go: Callable[..., Prepared], rows: Rows, write: Write, png: Callable[..., bytes]
):
    data = [{**row, "image": f"pics/{i}.png" if i % 4 else ""} for i, row in enumerate(rows(60))]
    root = write({"t.csv": as_csv(data), **{f"pics/{i}.png": png(i) for i in range(60) if i != 5}})
    made = go(root / "t.csv")
    assert made.dataset.schema.inputs["image"] is Meaning.IMAGE
    assert made.dataset.columns()["image"][:2] == [None, f"{root}/pics/1.png"]
    assert [bad.row for bad in made.findings.bad_rows] == [6]
    assert "no file" in made.findings.bad_rows[0].reason


def test_images_that_are_nowhere_are_an_error_that_says_what_to_do(
    go: Callable[..., Prepared], rows: Rows, write: Write
):
    root = write({"t.csv": as_csv([{**row, "image": f"{i}.png"} for i, row in enumerate(rows(60))])})
    with pytest.raises(DataError, match=r"schema\.image=ignored"):
        go(root / "t.csv")
    assert go(root / "t.csv", overrides={"image": "ignored"}).dataset.schema.inputs.keys() == {"size", "kind", "words"}


def test_images_in_memory_are_used_as_bytes(go: Callable[..., Prepared]):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 9, 9), dtype=np.uint8)
    dataset = go((pixels, np.arange(60) % 3), None).dataset
    assert dataset.schema.task is Task.MULTICLASS
    assert dataset.columns(np.array([4]))["image"][0][:4] == b"\x89PNG"


def test_parts_may_lie_in_other_places(
    go: Callable[..., Prepared], rows: Rows, write: Write, png: Callable[..., bytes]
):
    def part(num: int, seed: int) -> Path:
        data = [{**row, "image": f"{i}.png"} for i, row in enumerate(rows(num, seed))]
        return write({"t.csv": as_csv(data), **{f"{i}.png": png(1000 * seed + i) for i in range(num)}})

    train, test, validation = part(60, 1), part(20, 2), part(10, 3)
    dataset = go(train / "t.csv", test=test / "t.csv", validation=validation / "t.csv").dataset
    assert np.bincount(dataset.splits.part).tolist() == [60, 10, 20]
    assert dataset.columns(dataset.splits.test_rows)["image"][0] == f"{test}/0.png"
    assert dataset.origin(int(dataset.splits.test_rows[3])) == (f"{test}/t.csv", 4)


def test_a_test_part_without_any_label_is_passed_over_and_noted(go: Callable[..., Prepared], rows: Rows, write: Write):
    data = rows(100)
    bare = [{name: cell for name, cell in row.items() if name != "label"} for row in data[:40]]
    made = go(write({"train.csv": as_csv(data), "test.csv": as_csv(bare)}))
    assert len(made.dataset) == len(made.dataset.splits.development_rows) == 100
    assert "the test part has no 'label'" in made.findings.of("reading")[0].message
    assert made.dataset.origin_text(99) == "row 100 of train.csv"


def test_paths_may_have_blanks_around_them_and_blank_ones_are_missing(
    go: Callable[..., Prepared], write: Write, png: Callable[..., bytes]
):
    files = {f"{i}.png": png(i) for i in range(30)}
    lines = [f" {i}.png ,{'pq'[i % 2]}" if i % 3 else f"  ,{'pq'[i % 2]}" for i in range(30)]
    root = write({**files, "t.csv": "\n".join(["image,label", *lines]).encode()})
    made = go(root / "t.csv")
    assert not made.findings.bad_rows
    assert made.dataset.columns(np.array([0, 1])) == {"image": [None, str(root / "1.png")]}


def test_a_test_folder_beside_a_train_folder(go: Callable[..., Prepared], write: Write, png: Callable[..., bytes]):
    train = write({f"{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(30)})
    test = write({f"{c}/{i}.png": png(seed(c, i) + 500_000) for c in "xyz" for i in range(5)})
    made = go(train, None, test=test)
    assert np.bincount(made.dataset.splits.part).tolist() == [60, 0, 10, 5]
    assert "'z'" in made.findings.of("unseen_class")[0].message
    assert not made.findings.bad_rows


def test_leaks_duplicates_and_giveaways_are_said(go: Callable[..., Prepared], rows: Rows):
    data = [{**row, "answer": float(i % 2) + 0.001 * i} for i, row in enumerate(rows(100))]
    made = go(data + data[:10], test=data[:5])
    kinds = {item.kind for item in made.findings.items}
    assert kinds >= {"duplicates", "leak", "gives_away"}
    assert made.findings.of("leak")[0].rows == 5
    assert {item.column for item in made.findings.of("gives_away")} == {"answer"}


def test_equal_rows_are_never_on_two_sides(go: Callable[..., Prepared], rows: Rows):
    data = rows(300)
    dataset = go([row for row in data for _ in range(3)]).dataset
    part = dataset.splits.part.reshape(300, 3)
    assert (part == part[:, :1]).all()


def test_rows_of_few_values_are_tested_on_values_that_were_learnt(go: Callable[..., Prepared]):
    values = np.random.default_rng(0).integers(0, 12, (1500, 2)).tolist()
    made = go([{"a": f"a{one}", "b": f"b{other}", "label": f"c{(one * other) % 2}"} for one, other in values])
    splits = made.dataset.splits
    learnt = {tuple(values[row]) for row in splits.development_rows}
    assert len(splits.test_rows) == 150
    assert np.mean([tuple(values[row]) in learnt for row in splits.test_rows]) > 0.9
    assert "by chance" in made.findings.of("duplicates")[0].message
    assert not made.findings.of("leak")


def test_groups_and_times_and_weights_are_kept(go: Callable[..., Prepared], rows: Rows):
    data = [
        {**row, "who": f"p{i % 37}", "w": 1 + i % 3, "at": f"2020-{1 + i % 12:02d}-01"}
        for i, row in enumerate(rows(600))
    ]
    by_group = go(data, group="who", weight="w").dataset
    who = np.array([row["who"] for row in data])
    assert not set(who[by_group.splits.development_rows]) & set(who[by_group.splits.test_rows])
    assert "who" not in by_group.schema.inputs
    codes = Dataset.open(by_group.folder).groups()
    assert len({*zip(who, codes)}) == len({*who}) == len({*codes})
    weights = by_group.weights()
    assert weights is not None
    assert weights[by_group.splits.development_rows].mean() == pytest.approx(1)
    by_time = go(data, time="at").dataset
    at = np.array([int(row["at"][5:7]) for row in data])
    assert at[by_time.splits.train_rows].max() < at[by_time.splits.validation_rows].min()


def test_rows_without_a_group_share_none_and_groups_of_a_validation_part_are_looked_at(
    go: Callable[..., Prepared], rows: Rows
):
    def of(name: str, first: int, num: int) -> list[dict[str, Any]]:
        return [{**row, "who": f"{name}{i // 4}" if i % 2 else " "} for i, row in enumerate(rows(num, seed=first))]

    assert not go(of("p", 1, 80), test=of("q", 2, 40), group="who").findings.of("leak")
    found = go(of("p", 1, 80), test=of("p", 2, 40), validation=of("p", 3, 20), group="who").findings.of("leak")
    assert [(item.rows, item.message.split(" belong")[0]) for item in found] == [
        (20, "20 test rows"),
        (10, "10 validation rows"),
    ]


@pytest.mark.parametrize(
    ("meaning", "error", "said"),
    [("number", UsageError, "bytes"), ("timestamp", UsageError, "bytes"), ("text", DataError, "not UTF-8")],
)
def test_a_meaning_that_bytes_cannot_have_is_an_error(
    meaning: str, error: type[Exception], said: str, go: Callable[..., Prepared], rows: Rows
):
    data = [{**row, "raw": bytes([200, i])} for i, row in enumerate(rows(40))]
    with pytest.raises(error, match=said):
        go(data, overrides={"raw": meaning})


def test_a_part_that_weighs_nothing_is_refused(go: Callable[..., Prepared]):
    data = [
        {"a": i, "when": f"2024-01-{1 + i % 28:02d}", "w": float(i % 28 < 10), "y": "uv"[i % 2]} for i in range(2800)
    ]
    with pytest.raises(DataError, match=r"rows to validate on weigh 0 in the column 'w'"):
        go(data, "y", time="when", weight="w")


def test_a_fold_with_nothing_to_learn_from_is_refused(go: Callable[..., Prepared]):
    data = [{"a": (i * 7 % 31) / 3, "w": float(i == 7), "y": "uv"[i % 2]} for i in range(100)]
    with pytest.raises(DataError, match=r"rows of a fold to learn from weigh 0 in the column 'w'"):
        go(data, "y", weight="w")


def test_weights_that_are_none_are_bad_rows(go: Callable[..., Prepared], rows: Rows):
    data = [{**row, "w": -1 if i == 3 else 2} for i, row in enumerate(rows(60))]
    assert [bad.row for bad in go(data, weight="w").findings.bad_rows] == [4]


def test_too_many_bad_rows_stop_and_the_share_can_be_set(go: Callable[..., Prepared], rows: Rows, write: Write):
    root = write({"t.csv": as_csv(rows(60)) + b"1,2\n" * 10})
    with pytest.raises(DataError, match="10 of 70"):
        go(root / "t.csv")
    assert len(go(root / "t.csv", max_bad_share=0.2).findings.bad_rows) == 10


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_bad_rows_are_named_before_the_target_of_the_rest_is_judged(
    go: Callable[..., Prepared], write: Write, name: str
):
    lines = [f"{i},\xe9,{'ab'[i % 2]}\n".encode("utf-8" if i % 2 else "latin-1") for i in range(60)]
    objects = [f'{{"n": {i}, "label": "b"}}\n'.encode() if i % 2 else b"[1, 2]\n" for i in range(60)]
    root = write({"t.csv": b"n,m,label\n" + b"".join(lines), "t.jsonl": b"".join(objects)})
    with pytest.raises(DataError, match="30 of 60 rows of the train data cannot be used"):
        go(root / name)


def test_an_error_leaves_nothing_behind(rows: Rows, tmp_path: Path, write: Write):
    folder = tmp_path / "run"
    for source in (rows(3), write({"t.csv": as_csv(rows(60)) + b"1\n" * 50}) / "t.csv"):
        with pytest.raises(DataError):
            prepare(source, "label", folder=folder)
        assert not folder.exists()


def test_a_zip_of_images_stays_unpacked_and_one_of_a_table_does_not(
    go: Callable[..., Prepared], rows: Rows, write: Write, png: Callable[..., bytes]
):
    def zipped(files: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return out.getvalue()

    root = write(
        {
            "i.zip": zipped({f"all/{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(20)}),
            "t.zip": zipped({"t.csv": as_csv(rows(60))}),
        }
    )
    images = go(root / "i.zip", None).dataset
    assert Path(images.columns()["file"][0]).is_file()
    table = go(root / "t.zip").dataset
    assert len(table) == 60
    assert not (table.folder / "source").exists()


def test_when_time_is_short_a_sample_is_used_and_its_size_said(
    go: Callable[..., Prepared], write: Write, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]

    def slow(value: str) -> bytes:
        now[0] += 0.01
        return media.image_print_fast(value)  # type: ignore[attr-defined]

    monkeypatch.setattr(media, "image_print_fast", media.image_print, raising=False)
    monkeypatch.setattr(media, "image_print", slow)
    root = write({f"{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(600)})
    made = go(root, None, clock=Clock(20, started=0.0, now=lambda: now[0]), cores=1)
    assert made.findings.sample is not None
    used, total = made.findings.sample
    assert total == 1200
    assert 450 <= used <= 700
    targets = made.dataset.targets(made.dataset.splits.development_rows)
    assert abs(targets.mean() - 0.5) < 0.1
    assert "a sample of" in made.findings.of("sample")[0].message


def test_a_description_holds_what_inspect_prints(go: Callable[..., Prepared], rows: Rows, write: Write):
    root = write({"t.csv": as_csv(rows(60)) + b"1\n"})
    made = go(root / "t.csv")
    told = describe(made.dataset, made.findings)
    assert told.task == "label: binary, because it holds 2 classes"
    assert [column["name"] for column in told.columns] == ["size", "kind", "words"]
    assert told.columns[1]["meaning"] == "category"
    assert told.splits == {"train": 60, "validation": 0, "test": 0, "set_aside": 0, "folds": 5}
    assert "5 folds" in told.splits_line
    assert told.classes == (("c0", 30), ("c1", 30))
    assert any("ragged" in line for line in told.problems)
    assert told.to_json()["columns"][0]["examples"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"target": "labl"}, "'label'"),
        ({"target": None}, "--target"),
        ({"group": "x"}, "group"),
        ({"weight": "words"}, "words"),
        ({"time": "kind"}, "time"),
        ({"folds": 1}, "folds"),
        ({"overrides": {"size": "big"}}, "schema.size"),
        ({"test": [{"a": 1}]}, "test data has no column"),
        ({"test": []}, "no row"),
        ({"test": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_wrong_wishes_are_clear_errors(how: dict[str, Any], said: str, go: Callable[..., Prepared], rows: Rows):
    with pytest.raises((DataError, UsageError), match=said):
        go(rows(60), **how)


def test_a_cache_makes_the_second_time_read_no_image(
    go: Callable[..., Prepared],
    write: Write,
    png: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    root = write({f"{c}/{i}.png": png(seed(c, i)) for c in "xy" for i in range(40)})
    cache = Cache(tmp_path / "cache")
    first = go(root, None, cache=cache)
    monkeypatch.setattr(media, "image_print", lambda value: pytest.fail("read again"))
    second = go(root, None, cache=cache)
    assert (first.dataset.splits.part == second.dataset.splits.part).all()


CELLS = ["", "1", "x", "0.5", "a b c d", "NaN", "2020-01-01", "é", "\ufeff", "[1]", "None", "🦊", "-", "1e999", " "]


@pytest.mark.parametrize("seed", range(25))
def test_any_table_is_prepared_or_refused_clearly(seed: int, go: Callable[..., Prepared]):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(8, 120))
    names = [f"c{i}" for i in range(int(rng.integers(1, 5)))]
    data = [
        {
            **{name: str(rng.choice(CELLS[: 3 + seed % 13])) for name in names},
            "label": str(rng.choice(CELLS[seed % 3 : 4 + seed % 5])),
        }
        for _ in range(size)
    ]
    try:
        made = go(data, max_bad_share=1.0)
    except ThriftyError:
        return
    dataset = made.dataset
    describe(dataset, made.findings)
    assert len(dataset.splits.development_rows) + len(dataset.splits.test_rows) + len(made.findings.bad_rows) == size
    assert np.isfinite(dataset.targets()).all()
    for train, validation in dataset.splits.rounds():
        assert len(train)
        assert len(validation)


def test_reading_a_file_by_streaming_gives_what_reading_it_at_once_gives(
    go: Callable[..., Prepared], rows: Rows, write: Write, monkeypatch: pytest.MonkeyPatch
):
    from thrifty.data.formats import large

    data = as_csv([{**row, "n": i} for i, row in enumerate(rows(800))])
    commas = data.replace(b",", b";").replace(b".", b",")
    broken = (data.replace(b"\n", b"\nbroken\n", 3), data + '9,ü,"x\ny",c1,5\n'.encode(), commas + b"\n1,5;p;x;c1;5\n")
    for content in (data, commas, *broken):
        root = write({"t.csv": content})
        monkeypatch.setattr(large, "LARGE_BYTES", 1 << 40)
        at_once = go(root / "t.csv")
        assert at_once.dataset.schema.inputs["size"] is Meaning.NUMBER
        monkeypatch.setattr(large, "LARGE_BYTES", 1)
        streamed = go(root / "t.csv")
        assert streamed.dataset.columns() == at_once.dataset.columns()
        assert streamed.findings.bad_rows == at_once.findings.bad_rows
        assert (streamed.dataset.splits.part == at_once.dataset.splits.part).all()


def test_a_sample_of_a_large_file_is_spread_over_it(
    rows: Rows, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from thrifty.data.formats import large

    data = as_csv([{"n": i, "label": f"c{i // 5000}"} for i in range(20_000)])
    root = write({"t.csv": data})
    monkeypatch.setattr(large, "_share", lambda *args: 0.1)
    found = large.read_csv(root / "t.csv", False, tmp_path, seconds=1.0)
    assert 1500 < found.arrow.num_rows < 2500
    assert len(set(found.arrow["label"].to_pylist())) == 4
    assert "sample of 10.0%" in found.notes[0]
    assert preparing.READING_SHARE < 1


def test_groups_are_kept_where_equal_rows_would_join_them_all(tmp_path: Path):
    notes = ["it was late", "it was broken", "it was fine and came early"]
    rows = [
        {"who": f"p{i % 4}", "note": notes[i // 4 % 3], "size": (i // 4) ** 1.5, "y": "ab"[i // 4 % 2]}
        for i in range(240)
    ]  # many rows of different people are the same
    found = prepare(rows, "y", folder=tmp_path / "data", options=Options(group="who"))
    assert any("groups are kept" in item.message for item in found.findings.of("leak"))
    assert found.dataset.splits.num_folds >= 2


def said(made: Prepared, kind: str) -> str:
    return "\n".join(item.message for item in made.findings.of(kind))


def with_cells(data: list[dict[str, Any]], column: str, cells: dict[int, Any]) -> list[dict[str, Any]]:
    return [{**row, column: cells.get(i, row.get(column))} for i, row in enumerate(data)]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("junk", [{}, {9: "unknown"}])
def test_infinite_cells_are_missing_and_noted(
    as_text: bool, junk: dict[int, str], go: Callable[..., Prepared], rows: Rows, write: Write
):
    data = with_cells(rows(60), "size", {3: float("inf"), 8: float("-inf"), 12: "1e400" if as_text else 1e39, **junk})
    made = go(write({"t.csv": as_csv(data)}) / "t.csv" if as_text else data)
    sizes = made.dataset.columns()["size"]
    assert sizes[3] is sizes[8] is None
    assert (sizes[12] is None) == as_text
    expected = "3 cells of 'size' are infinite and count as missing: rows 4, 9, 13 of t.csv"
    assert (expected if as_text else "2 cells of 'size' are infinite and count as missing: rows 4, 9") in said(
        made, "column"
    )
    assert len(made.findings.of("column")) == 1 + len(junk)


def test_times_that_cannot_be_read_are_noted(go: Callable[..., Prepared], rows: Rows):
    data = [{**row, "at": f"2020-01-{1 + i % 28:02}", "words": f"word {i}"} for i, row in enumerate(rows(60))]
    data[7]["at"], data[8]["at"], data[9]["at"] = "soon", None, "n/a"
    expected = "1 cell of 'at' can be read as no point in time and counts as missing"
    assert said(go(data), "column") == expected
    assert "60 cells of 'words'" in said(go(data, overrides={"words": "timestamp"}), "column")


def test_labels_far_from_all_others_are_kept_and_noted(go: Callable[..., Prepared], rows: Rows, write: Write):
    data = [{**row, "label": float(row["size"]) + i % 3} for i, row in enumerate(rows(200))]
    data[6]["label"], data[7]["label"] = 1e9, 1e300
    made = go(write({"t.csv": as_csv(data)}) / "t.csv")
    assert "1 label lies far from all others: 1e+09 in row 7 of t.csv" in said(made, "target")
    assert made.dataset.targets()[6] == 1e9
    assert [bad.reason for bad in made.findings.bad_rows] == [
        "the label '1e+300' is too large: labels go up to 3.4e+38"
    ]
    assert not go(rows(60)).findings.of("target")


def test_rows_whose_time_cannot_be_read_are_noted_and_learnt_from(go: Callable[..., Prepared], rows: Rows):
    data = [
        {**row, "at": "" if i % 10 == 3 else "soon" if i % 10 == 7 else f"2020-{1 + i % 12:02d}-01"}
        for i, row in enumerate(rows(1000))
    ]
    made = go(data, time="at")
    found = made.findings.of("time")[0]
    assert (found.column, found.rows) == ("at", 200)
    assert found.message == (
        "200 rows have no time in 'at' and count as the earliest, to learn from (rows 4, 8, 14, ...): 100 are missing "
        "and 100 cannot be read as a point in time (row 8: 'soon'; row 18: 'soon'; row 28: 'soon'; ...)"
    )
    assert (made.dataset.splits.part[[3, 7, 13]] == 0).all()
    assert len(made.dataset.splits.test_rows)


@pytest.mark.parametrize("num", [60, 1200])
def test_a_class_that_is_never_validated_on_is_noted(num: int, go: Callable[..., Prepared], rows: Rows):
    made = go(with_cells(rows(num), "label", {5: "rare"}))
    assert "1 class is learnt but never validated on: 'rare' (1 row); 1 row takes part in learning" in said(
        made, "classes"
    )
    assert "never validated" not in said(go(rows(num)), "classes")


def test_a_label_that_is_never_validated_on_is_noted_with_lists_too(go: Callable[..., Prepared], rows: Rows):
    made = go([{**row, "label": ["a", "rare"] if i == 5 else ["ab"[i % 2]]} for i, row in enumerate(rows(60))])
    assert "'rare' (1 row)" in said(made, "classes")


def test_columns_whose_name_comes_again_are_noted_and_refused_as_the_target(
    go: Callable[..., Prepared], rows: Rows, write: Write
):
    data = as_csv(rows(60)).replace(b"size,kind", b"kind,kind", 1)
    root = write({"t.csv": data, "plain.csv": as_csv(rows(60))})
    assert "t.csv has more than one column 'kind': a later one is called 'kind_2'" in said(go(root / "t.csv"), "column")
    for how in ({"target": "kind"}, {"group": "kind"}):
        with pytest.raises(DataError, match="more than one column 'kind', so that it is not clear which is the"):
            go(root / "t.csv", **how)
    twice = write({"test.csv": b"size,kind,words,label,size\n1,p,a b,c0,2\n2,q,c d,c1,3\n"})
    with pytest.raises(DataError, match=r"test\.csv has more than one column 'size'"):
        go(root / "plain.csv", test=twice / "test.csv")


def test_classes_that_differ_in_spelling_alone_are_noted(go: Callable[..., Prepared], rows: Rows):
    data = [{**row, "label": ["yes", "Yes ", " YES", "no"][i % 4]} for i, row in enumerate(rows(60))]
    made = go(data)
    assert "differ only in case or spaces and are learnt as different ones: 'YES' and 'Yes' and 'yes'" in said(
        made, "classes"
    )
    assert made.dataset.schema.classes == ("YES", "Yes", "no", "yes")
    numbers = go([{**row, "label": ["1", "1.0", "01", "x"][i % 4]} for i, row in enumerate(rows(60))])
    assert "how a number is written" in said(numbers, "classes")


def test_numbers_written_as_text_are_noted(go: Callable[..., Prepared], rows: Rows):
    data = [{**row, "price": f"${i % 9},{100 + 7 * i}"} for i, row in enumerate(rows(60))]
    wanted = "the column 'price' holds numbers written as text ($0,100): write them as plain numbers"
    assert wanted in said(go(data), "column")
    assert not go(data, overrides={"price": "category"}).findings.of("column")
    with pytest.raises(DataError, match=r"target 'price' holds numbers written as text \(\$0,100\)"):
        go(data, "price")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,label\n", r"the train data \(.*t\.csv\) has no row"),
        (b"a,label\n" + b"1,x\n2,y\n" * 2 + b"1,\n" * 9, r"t\.csv: there are 4 rows with a label"),
        (b"a,label\n" + b"1,\n" * 20, r"t\.csv: the target 'label' has no label at all"),
    ],
)
def test_messages_about_too_few_rows_name_the_file(
    content: bytes, message: str, go: Callable[..., Prepared], write: Write
):
    with pytest.raises(DataError, match=message):
        go(write({"t.csv": content}) / "t.csv")


def test_an_empty_path_is_wrong_use(go: Callable[..., Prepared]):
    for source in (None, ""):
        with pytest.raises(UsageError, match="no data"):
            go(source)
