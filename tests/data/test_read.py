import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from thrifty.core.errors import DataError
from thrifty.data.column import Meaning
from thrifty.data.read import read, read_rows, rows_of

Write = Callable[[dict[str, bytes]], Path]
TABLE = {"a": ["1", "2", "3"], "b": ["x", "ü", None], "label": ["p", "q", "p"]}
CSV = "a,b,label\n1,x,p\n2,ü,q\n3,,p\n".encode()


def table_bytes(write_table: Callable[[pa.Table, object], object]) -> bytes:
    out = io.BytesIO()
    write_table(pa.table(TABLE), out)
    return out.getvalue()


def stream_bytes() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, pa.table(TABLE).schema) as writer:
        writer.write_table(pa.table(TABLE))
    return out.getvalue()


FILES = {
    "t.csv": CSV,
    "t.tsv": CSV.replace(b",", b"\t"),
    "t.csv.gz": gzip.compress(CSV, mtime=0),
    "t.txt": CSV.replace(b",", b";"),
    "t.jsonl": "\n".join(json.dumps(dict(zip(TABLE, row))) for row in zip(*TABLE.values())).encode(),
    "t.ndjson.gz": gzip.compress("\n".join(json.dumps(dict(zip(TABLE, row))) for row in zip(*TABLE.values())).encode()),
    "t.json": json.dumps([dict(zip(TABLE, row)) for row in zip(*TABLE.values())], indent=1).encode(),
    "t.parquet": table_bytes(lambda t, out: pa.parquet.write_table(t, out)),
    "t.parquet.gz": gzip.compress(table_bytes(lambda t, out: pa.parquet.write_table(t, out))),
    "t.feather": table_bytes(lambda t, out: pa.feather.write_feather(t, out)),
    "t.arrow": stream_bytes(),
    "noending": table_bytes(lambda t, out: pa.parquet.write_table(t, out)),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_table_comes_out_of_every_kind_of_file(name: str, write: Write, tmp_path: Path):
    root = write({name: FILES[name]})
    found = read(root / name, tmp_path)
    assert found.table.arrow.to_pydict() == TABLE
    assert found.table.root == root
    assert found.table.origin(1) == (str(root / name), 2)


@pytest.mark.parametrize("name", FILES)
def test_a_zip_of_any_of_these_is_read(name: str, write: Write, tmp_path: Path):
    if name in ("t.txt", "noending"):
        return
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"wrapped/{name}", FILES[name])
    root = write({"all.zip": out.getvalue()})
    assert read(root / "all.zip", tmp_path).table.arrow.to_pydict() == TABLE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", CSV), ("a.feather", CSV), ("a.arrow", CSV), ("a.jsonl", CSV), ("a.zip", CSV), ("a.csv.gz", CSV),
        ("a.csv", FILES["t.parquet"]), ("a.csv", FILES["t.jsonl"]), ("a.csv", b"<!DOCTYPE html><html></html>"),
        ("a.json", b"{1}"), ("a.dat", b"\x7fELF\0\0"), ("a.csv", b"a\0b"), ("a.parquet", b""), ("a.zip", b""),
        ("a.xlsx", b"PK\x03\x04123"), ("a.parquet", FILES["t.parquet"][:-9]),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)[:-9]), ("a.gz", b"notgzip"), ("a.gz", CSV),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_ending_says_is_an_error(name: str, content: bytes, write: Write, tmp_path: Path):
    with pytest.raises(DataError, match="a\\."):
        read(write({name: content}) / name, tmp_path)


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path):
    for source in ("nowhere.csv", "nowhere/*.csv"):
        with pytest.raises(DataError, match="nowhere"):
            read(tmp_path / source, tmp_path)


def test_large_whole_numbers_and_floats_of_several_files_are_joined(write: Write, tmp_path: Path):
    root = write({})
    pa.parquet.write_table(pa.table({"id": [2**60 + 1, 3]}), root / "a.parquet")
    pa.parquet.write_table(pa.table({"id": [1.0, None]}), root / "b.parquet")
    assert read(root / "*.parquet", tmp_path).table.columns() == {"id": [float(2**60), 3.0, 1.0, None]}


@pytest.mark.parametrize("ending", ["zip", "csv.gz", "arrow.gz"])
def test_packed_files_of_one_name_in_several_folders_are_all_read(
    ending: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("thrifty.data.formats.large.LARGE_BYTES", 1)
    files = {}
    for name in "pq":
        out = io.BytesIO()
        if ending == "zip":
            with zipfile.ZipFile(out, "w") as packed:
                packed.writestr("t.csv", f"a\n{name}\n{name}\n")
        elif ending == "csv.gz":
            out.write(gzip.compress(f"a\n{name}\n{name}\n".encode()))
        else:
            plain = io.BytesIO()
            pa.feather.write_feather(pa.table({"a": [name] * 2}), plain, compression="uncompressed")
            out.write(gzip.compress(plain.getvalue()))
        files[f"{name}/part.{ending}"] = out.getvalue()
    root = write(files)
    assert read(str(root / f"*/part.{ending}"), tmp_path).table.columns() == {"a": ["p", "p", "q", "q"]}


def test_a_glob_is_one_table_and_rows_know_their_files(write: Write, tmp_path: Path):
    root = write({"p1.csv": b"a,b\n1,2\n3\n4,5\n", "p2.csv": b"b,a\n7,6\n"})
    found = read(f"{root}/p*.csv", tmp_path)
    assert found.table.arrow.to_pydict() == {"a": ["1", "4", "6"], "b": ["2", "5", "7"]}
    assert [found.table.origin(i) for i in range(3)] == [
        (f"{root}/p1.csv", 1), (f"{root}/p1.csv", 3), (f"{root}/p2.csv", 1)
    ]  # fmt: skip
    assert [(bad.file, bad.row) for bad in found.bad_rows] == [(f"{root}/p1.csv", 2)]
    assert found.table.take(np.array([2, 1])).origin(1) == (f"{root}/p1.csv", 3)


def test_a_folder_per_class_is_a_table_of_files(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    root = write({"cat/1.png": png(), "cat/sub/2.PNG": png(), "dog/3": png(), "dog/notes.txt": b"x", ".hid/4.png": b""})
    found = read(root, tmp_path)
    assert found.table.arrow.to_pydict() == {
        "file": ["cat/1.png", "cat/sub/2.PNG", "dog/3"],
        "label": ["cat", "cat", "dog"],
    }
    assert found.target == "label"
    assert found.parts is None
    assert found.table.origin(2) == ("dog/3", None)
    assert "dog/notes.txt" in found.notes[0]


def test_train_test_and_val_folders_are_parts(write: Write, tmp_path: Path, wav: Callable[..., bytes]):
    names = [f"data/{part}/{kind}/{i}.wav" for part in ("train", "test", "Val") for kind in "ab" for i in range(2)]
    found = read(write({name: wav() for name in names}), tmp_path)
    assert found.parts is not None
    assert np.bincount(found.parts).tolist() == [4, 4, 4]
    assert set(found.table.arrow["label"].to_pylist()) == {"a", "b"}


def test_classes_named_like_parts_are_classes_when_not_all_are(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    found = read(write({"test/1.png": png(), "other/2.png": png()}), tmp_path)
    assert found.table.arrow["label"].to_pylist() == ["other", "test"]
    assert found.parts is None


def test_train_and_test_tables_in_a_folder_are_parts(write: Write, tmp_path: Path):
    root = write({"train.csv": CSV, "test.csv": CSV, "meta.json": b"{}", "images/1.png": b"x"})
    found = read(root, tmp_path)
    assert found.parts is not None
    assert found.parts.tolist() == [0, 0, 0, 2, 2, 2]
    assert len(read(root, tmp_path, part="test").table) == 3


def test_files_outside_of_the_class_folders_are_bad_rows(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    found = read(write({"a/1.png": png(), "b/2.png": png(), "stray.png": png()}), tmp_path)
    assert [(bad.file, bad.reason.split(":")[0]) for bad in found.bad_rows] == [("stray.png", "missing label")]


def test_a_sound_among_images_is_a_bad_row(
    write: Write, tmp_path: Path, png: Callable[..., bytes], wav: Callable[..., bytes]
):
    found = read(write({"a/1.png": png(), "b/2.png": png(), "b/3.wav": wav()}), tmp_path)
    assert [bad.file for bad in found.bad_rows] == ["b/3.wav"]
    assert len(found.table) == 2


@pytest.mark.parametrize("files", [{}, {"a.txt": b"x"}, {"1.png": b"x", "2.png": b"y"}])
def test_a_folder_without_labels_is_an_error(files: dict[str, bytes], write: Write, tmp_path: Path):
    with pytest.raises(DataError):
        read(write(files), tmp_path)


def test_a_zip_that_points_outside_is_unpacked_inside_alone(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("x/1.png", "y/2.png", "../evil.png", "/abs.png"):
            archive.writestr(name, png())
    root = write({"all.zip": out.getvalue()})
    workspace = tmp_path / "deep" / "work"
    workspace.mkdir(parents=True)
    assert read(root / "all.zip", workspace).table.arrow["file"].to_pylist() == ["x/1.png", "y/2.png"]
    assert not list(tmp_path.rglob("evil.png"))


def test_a_damaged_image_in_a_zip_keeps_its_place(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/1.png", png(1))
        archive.writestr("y/2.png", png(2))
    data = bytearray(out.getvalue())
    data[60] ^= 0xFF
    found = read(write({"all.zip": bytes(data)}) / "all.zip", tmp_path)
    assert found.table.arrow["file"].to_pylist() == ["x/1.png", "y/2.png"]
    assert found.table.root is not None
    assert (found.table.root / "x/1.png").stat().st_size == 0


def test_rows_to_predict_on_keep_their_places(write: Write, tmp_path: Path):
    root = write(
        {"p.csv": b"z,img,b\n1,q.png,x\nragged\n2,/abs.png,y\n3,,\xff\xff\n" + "4,w.png,v\n4,,ü\n".encode() * 20}
    )
    found = read_rows(root / "p.csv", {"b": Meaning.TEXT, "img": Meaning.IMAGE}, tmp_path)
    assert found.num_rows == 44
    assert set(found.errors) == {1, 3}
    assert found.columns(0, 4) == {"b": ["x", None, "y", None], "img": [f"{root}/q.png", None, "/abs.png", None]}
    assert found.columns(3, 6)["b"] == [None, "v", "ü"]
    assert len(found.columns()["b"]) == 44


@pytest.mark.parametrize("files", [["1.png", "2.png"], ["x/1.png", "y/z/2.png"], ["train/x/1.png", "test/x/2.png"]])
def test_a_folder_to_predict_on_may_be_flat_or_nested(files: list[str], write: Write, tmp_path: Path, png):
    root = write({name: png() for name in files})
    found = read_rows(root, {"file": Meaning.IMAGE}, tmp_path)
    assert found.files == sorted(files)
    assert found.columns()["file"] == [f"{root}/{name}" for name in sorted(files)]


def test_one_image_or_a_glob_of_them_can_be_predicted_on(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    root = write({"a/1.png": png(), "b/2.png": png()})
    assert read_rows(root / "a/1.png", {"file": Meaning.IMAGE}, tmp_path).files == ["1.png"]
    assert read_rows(f"{root}/*/*.png", {"file": Meaning.IMAGE}, tmp_path).files == ["a/1.png", "b/2.png"]


def test_a_missing_column_is_named(write: Write, tmp_path: Path):
    with pytest.raises(DataError, match=r"'weight'.*did you mean 'Weight'"):
        read_rows(write({"a.csv": b"Weight,b\n1,2\n"}) / "a.csv", {"weight": Meaning.NUMBER}, tmp_path)


def test_a_broken_json_line_costs_one_row(write: Write, tmp_path: Path):
    lines = ['{"a": 1, "b": [1, 2]}', '{"a": 2', "[1]", "", '{"a": 2.5, "c": {"d": 1}}']
    found = read(write({"x.jsonl": "\n".join(lines).encode()}) / "x.jsonl", tmp_path)
    assert found.table.arrow.to_pydict() == {"a": [1.0, 2.5], "b": ["[1, 2]", None], "c": [None, '{"d": 1}']}
    assert [bad.row for bad in found.bad_rows] == [2, 3]
    assert found.table.origin(1)[1] == 4


def test_a_name_in_json_that_is_no_unicode_is_read_with_a_mark(write: Write, tmp_path: Path):
    root = write({"a.jsonl": b'{"a\\ud800": 1}\n' * 3})
    assert read(root / "a.jsonl", tmp_path).table.columns() == {"a?": [1, 1, 1]}


def test_json_cells_of_several_types_become_text(write: Write, tmp_path: Path):
    data = b'{"a": 1, "b": true}\n{"a": "x", "b": null}\n{"a": 12345678901234567890123, "b": false}\n'
    found = read(write({"x.jsonl": data}) / "x.jsonl", tmp_path)
    assert found.table.arrow.to_pydict() == {"a": ["1", "x", "12345678901234567890123"], "b": [True, None, False]}


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow"])
def test_a_damaged_columnar_file_is_read_or_refused_clearly(name: str, write: Write, tmp_path: Path):
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(FILES[name])
        for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
            data[place] = int(rng.integers(0, 256))
        try:
            found = read(write({name: bytes(data)}) / name, tmp_path)
        except DataError:
            continue
        found.table.columns()


@pytest.fixture
def odd_name() -> bytes:
    return b"\xff\xfe.png"


def test_a_file_whose_name_is_not_utf_8_is_a_bad_row(
    write: Write, tmp_path: Path, png: Callable[..., bytes], odd_name: bytes
):
    root = write({f"all/{kind}/{i}.png": png() for kind in "xy" for i in range(2)})
    Path(os.fsdecode(os.fsencode(root) + b"/all/x/" + odd_name)).write_bytes(png())
    found = read(root, tmp_path)
    assert [(bad.file, bad.reason) for bad in found.bad_rows] == [
        ("x/\ufffd\ufffd.png", "the file's name is not UTF-8: rename it")
    ]
    assert len(found.table) == 4
    for source in (root, f"{root}/all/*/*.png"):
        rows = read_rows(source, {"file": Meaning.IMAGE}, tmp_path)
        assert rows.num_rows == 5
        assert rows.files is not None
        assert [rows.files[place][-6:] for place in rows.errors] == ["\ufffd\ufffd.png"]
        assert "UTF-8" in str(rows.errors)
    with pytest.raises(DataError, match="not UTF-8"):
        read(os.fsdecode(os.fsencode(root) + b"/all/x/" + odd_name), tmp_path, labelled=False)


def test_a_class_whose_name_is_not_utf_8_is_not_lost_silently(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    root = write({"x/1.png": png(), "y/2.png": png()})
    os.rename(root / "y", os.fsdecode(os.fsencode(root) + b"/\xfd"))
    with pytest.raises(DataError, match="has names that are not UTF-8, such as \ufffd/2"):
        read(root, tmp_path)


def test_other_files_whose_name_is_not_utf_8_are_passed_over(write: Write, tmp_path: Path, png: Callable[..., bytes]):
    root = write({"x/1.png": png(), "y/2.png": png()})
    Path(os.fsdecode(os.fsencode(root) + b"/x/\xff.txt")).write_bytes(b"x")
    assert "x/\ufffd.txt" in read(root, tmp_path).notes[0]


def test_a_pipe_is_said_to_be_one(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe.*write it to a file"):
        read(tmp_path / "pipe", tmp_path)


def test_a_folder_of_sounds_with_one_class_of_images_is_said_to_mix_them(
    write: Write, tmp_path: Path, png: Callable[..., bytes], wav: Callable[..., bytes]
):
    sounds = {f"{kind}/{i}.wav": wav() for kind in ("bark", "meow") for i in range(2)}
    root = write({**sounds, **{f"imgs/{i}.png": png() for i in range(5)}})
    with pytest.raises(
        DataError, match=r"mixes images and sounds: 5 images \('imgs'\) and 4 sounds \('bark', 'meow'\)"
    ):
        read(root, tmp_path)


FILES_WITH_A_NAME_TWICE = {
    "t.csv": b"a,b,a\n1,2,3\n",
    "t.parquet": lambda out: pa.parquet.write_table(pa.table([[1], [2], [3]], names=["a", "b", "a"]), out),
    "t.arrow": lambda out: pa.feather.write_feather(pa.table([[1], [2], [3]], names=["a", "b", "a"]), out),
}


@pytest.mark.parametrize("name", [*FILES_WITH_A_NAME_TWICE, "pandas", "pandas with labels"])
def test_a_name_that_comes_again_is_told_and_refused_where_one_column_of_it_is_needed(
    name: str, write: Write, tmp_path: Path
):
    source: Any
    if name in FILES_WITH_A_NAME_TWICE:
        content: Any = FILES_WITH_A_NAME_TWICE[name]
        if not isinstance(content, bytes):
            content(out := io.BytesIO())
            content = out.getvalue()
        source = write({name: content}) / name
    else:
        source = pandas.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
        source = (source, ["x"]) if name == "pandas with labels" else source
    found = read(source, tmp_path)
    assert found.table.names[:3] == ("a", "b", "a_2")
    assert found.renamed == {"a_2": "a"}
    with pytest.raises(DataError, match="more than one column 'a'"):
        rows_of(found, {"a": Meaning.NUMBER})
    assert rows_of(found, {"b": Meaning.NUMBER}).num_rows == 1
    assert rows_of(found, {"a": Meaning.NUMBER, "a_2": Meaning.NUMBER}).num_rows == 1


def test_names_that_come_again_are_still_told_after_a_table_was_written(tmp_path: Path):
    from thrifty.data.formats import arrow_file
    from thrifty.data.formats.memory import from_memory

    arrow = from_memory(pandas.DataFrame([[1, 2]], columns=["a", "a"]))[0].arrow
    arrow_file.write(tmp_path / "t.arrow", arrow.schema, arrow.to_batches())
    assert read(tmp_path / "t.arrow", tmp_path).renamed == {"a_2": "a"}
