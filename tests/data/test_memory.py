import io
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas
import PIL.Image
import polars
import pyarrow as pa
import pytest

from thrifty.core.errors import DataError, UsageError
from thrifty.data.encode.category import key_of
from thrifty.data.encode.number import parse_number
from thrifty.data.encode.timestamp import parse_timestamp
from thrifty.data.read import Read, read


def cells(found: Read) -> dict[str, list[object]]:
    return found.table.columns()


def test_frames_of_every_library_give_the_same_table(tmp_path: Path):
    columns = {"n": [1.5, None, 3.0], "t": ["x", "ü", None], "label": ["a", "b", "a"]}
    for frame in (pandas.DataFrame(columns), polars.DataFrame(columns), pa.table(columns), columns,
                  [dict(zip(columns, row)) for row in zip(*columns.values())]):  # fmt: skip
        assert cells(read(frame, tmp_path)) == columns, type(frame)


def test_values_of_many_types_become_plain(tmp_path: Path):
    row = {
        "int": np.int32(3), "float": np.float32(0.5), "flag": np.bool_(True), "day": date(2020, 1, 2),
        "time": datetime(2020, 1, 2, 3, 4), "path": Path("a/b.png"), "none": float("nan"), "list": ["x", 1],
        "stamp": np.datetime64("2020-01-02"), "image": PIL.Image.new("RGB", (3, 2)),
        "pixels": np.zeros((2, 2), np.uint8), "raw": bytearray(b"xy"),
    }  # fmt: skip
    found = cells(read([row, {}], tmp_path))
    assert found["int"] == [3, None]
    assert found["flag"] == [True, None]
    assert found["day"][0] == "2020-01-02"
    assert found["time"][0] == "2020-01-02 03:04:00"
    assert found["path"][0] == "a/b.png"
    assert found["none"] == [None, None]
    assert found["list"][0] == '["x", 1]'
    assert str(found["stamp"][0]).startswith("2020-01-02")
    assert str(found["image"][0])[:6] == "b'\\x89"
    assert found["raw"][0] == b"xy"


def test_a_value_of_any_type_is_known_by_the_same_text_when_it_is_predicted_on(tmp_path: Path):
    row = {"at": time(10, 30), "who": UUID(int=5), "list": ["ü", 1], "pair": (1, 2), "array": np.array([1, 2])}
    assert {name: cell[0] for name, cell in cells(read([row], tmp_path)).items()} == {
        n: key_of(v) for n, v in row.items()
    }


def test_decimals_and_durations_are_numbers(tmp_path: Path):
    row = {"money": Decimal("1.50"), "gap": timedelta(hours=1)}
    assert {name: cell[0] for name, cell in cells(read([row], tmp_path)).items()} == {"money": 1.5, "gap": 3600.0}
    assert [parse_number(value) for value in row.values()] == [1.5, 3600.0]


def test_sets_of_labels_are_lists(tmp_path: Path):
    assert cells(read(([[1.5]] * 2, [{"b", "a"}, frozenset("c")]), tmp_path))["label"] == ['["a", "b"]', '["c"]']


def test_a_dict_of_arrays_is_read_without_an_object_for_each_value(tmp_path: Path):
    size = 200_000
    columns = {"x": np.arange(size) * 0.5, "n": np.arange(size), "even": np.arange(size) % 2 == 0}
    columns["x"][1] = np.nan
    columns["big"] = np.arange(size).astype(">i4")
    tracemalloc.start()
    table = read(columns, tmp_path).table
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.columns(rows=np.array([1, 2])) == {"x": [None, 1.0], "n": [1, 2], "even": [False, True], "big": [1, 2]}
    assert peak < 10e6


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "+05:30"])
def test_a_point_in_time_with_a_zone_is_the_same_in_a_frame_and_alone(zone: str, tmp_path: Path):
    frame = pandas.DataFrame({"at": pandas.to_datetime(["2024-07-01 09:00", "2024-12-01 23:30"]).tz_localize(zone)})
    read_of_frame = cells(read(frame, tmp_path))["at"]
    assert (
        read_of_frame
        == [parse_timestamp(at) for at in frame["at"]]
        == [datetime(2024, 7, 1, 9), datetime(2024, 12, 1, 23, 30)]
    )
    assert [parse_timestamp(at) for at in cells(read(frame.to_dict("records"), tmp_path))["at"]] == read_of_frame


def test_points_in_time_beyond_the_calendar_are_missing(tmp_path: Path):
    far = pa.table(
        {"at": pa.array([0, 10**18, -(10**18)], pa.timestamp("us")), "day": pa.array([0, 10**7, 1], pa.date32())}
    )
    assert cells(read(far, tmp_path)) == {
        "at": [datetime(1970, 1, 1), None, None],
        "day": [datetime(1970, 1, 1), None, datetime(1970, 1, 2)],
    }


def test_odd_types_of_pandas_are_read(tmp_path: Path):
    frame = pandas.DataFrame(
        {
            "cat": pandas.Categorical(["a", None, "b"]),
            "mixed": [1, "x", None],
            "flags": pandas.array([True, None, False], dtype="boolean"),
            "when": pandas.to_datetime(["2020-01-01", None, "2020-01-03"]).tz_localize("UTC"),
            "gap": [timedelta(days=1), None, timedelta(seconds=1)],
            "money": [Decimal("1.50"), None, Decimal("2")],
            7: [1, 2, 3],
            "lists": [["a"], [], None],
            "bins": pandas.cut([1, 2, 3], [0, 2, 4]),
            "months": pandas.period_range("2020-01", periods=3, freq="M"),
        },
        index=[5, 5, 9],
    )
    found = cells(read(frame, tmp_path))
    assert found["cat"] == ["a", None, "b"]
    assert found["mixed"] == ["1", "x", None]
    assert found["flags"] == [True, None, False]
    assert found["when"][0] == datetime(2020, 1, 1)
    assert found["gap"] == [86400.0, None, 1.0]
    assert found["money"] == [1.5, None, 2.0]
    assert found["7"] == [1, 2, 3]
    assert found["lists"] == ['["a"]', "[]", None]
    for name in ("bins", "months"):
        assert found[name] == [key_of(value) for value in frame[name]]


def test_arrays_with_labels_are_a_table(tmp_path: Path):
    found = read((np.arange(6).reshape(3, 2), np.array([0, 1, 0])), tmp_path)
    assert cells(found) == {"x0": [0, 2, 4], "x1": [1, 3, 5], "label": [0, 1, 0]}
    assert found.target == "label"


def test_arrays_of_images_become_image_files(tmp_path: Path):
    for shape in ((4, 5, 6), (4, 5, 6, 3), (4, 3, 5, 6), (4, 5, 6, 1)):
        found = read((np.random.default_rng(0).random(shape), list("abab")), tmp_path)
        assert found.table.names == ("image", "label")
        assert found.table.columns()["image"][0][:4] == b"\x89PNG"  # type: ignore[index]


def pixels(found: Read) -> list[list[int]]:
    images = [PIL.Image.open(io.BytesIO(cell)) for cell in cells(found)["image"]]  # type: ignore[arg-type]
    return [np.asarray(image).reshape(-1).tolist() for image in images]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([-1.0, 0.0, 1.0], [0, 128, 255]), ([0.0, 7.0, 255.0], [0, 7, 255])],
)
def test_pixels_of_an_array_are_scaled_by_a_fixed_rule(values: list[float], expected: list[int], tmp_path: Path):
    assert pixels(read(np.array([[values]]), tmp_path)) == [expected]


@pytest.mark.parametrize("values", [[-2.0, 3.0], [0.0, 300.0], [-1.0, 5.0]])
def test_pixels_whose_scale_cannot_be_told_are_an_error(values: list[float], tmp_path: Path):
    with pytest.raises(DataError, match="scale them"):
        read(np.array([[values]]), tmp_path)


def test_images_in_a_data_frame_are_images(tmp_path: Path):
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for image in (PIL.Image.fromarray(array), array):
        found = read(pandas.DataFrame({"image": [image, image]}), tmp_path)
        assert pixels(found) == [array.reshape(-1).tolist()] * 2


def test_texts_with_labels_are_a_table(tmp_path: Path):
    for texts in (["one", "two"], np.array(["one", "two"])):
        assert cells(read((texts, ["p", "q"]), tmp_path)) == {"text": ["one", "two"], "label": ["p", "q"]}


def test_a_frame_with_labels_beside_it_is_a_table(tmp_path: Path):
    frame = pandas.DataFrame({"label": [1, 2]})
    found = read((frame, pandas.Series(["p", "q"])), tmp_path)
    assert cells(found) == {"label": [1, 2], "label_": ["p", "q"]}
    assert found.target == "label_"


def test_lists_of_labels_and_indicator_columns_are_lists(tmp_path: Path):
    assert cells(read(([["x"], ["y"]], [["p"], []]), tmp_path))["label"] == ['["p"]', "[]"]
    assert cells(read((np.zeros((2, 1)), np.array([[1, 0, 1], [0, 0, 0]])), tmp_path))["label"] == ["[0, 2]", "[]"]


@pytest.mark.parametrize("source", [3, [1, 2], (np.zeros(3), np.zeros(2)), {"a": [1], "b": [1, 2]}, np.float64(1)])
def test_what_is_no_data_is_an_error(source: object, tmp_path: Path):
    with pytest.raises(DataError):
        read(source, tmp_path)


def test_a_hugging_face_data_set_gives_class_names_and_bytes(tmp_path: Path, png: Callable[..., bytes]):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"image": [{"bytes": png(i), "path": None} for i in range(4)], "text": list("abcd"), "label": [0, 1, 1, 0]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    found = cells(read(whole.select([3, 1]), tmp_path))
    assert found["label"] == ["no", "yes"]
    assert found["image"] == [png(3), png(1)]
    parts = read(datasets.DatasetDict({"train": whole, "test": whole.select([0])}), tmp_path)
    assert parts.parts is not None
    assert parts.parts.tolist() == [0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    "source",
    [
        ([[1, 2], [1]], [0, 1]), (np.ones((2, 2)), np.array([1j, 2j])), (np.ones((2, 2), complex), [0, 1]),
        np.ones((2, 2, 2), complex), [{"a": 1j}], {"a": np.array([1j])}, pandas.DataFrame({"a": [1j, 2j]}),
        (np.array([[[1], 2], [1, [2, 3]]], dtype=object), [0, 1]), np.zeros((2, 2), "timedelta64[D]"), {"a": 3},
    ],
)  # fmt: skip
def test_lists_of_different_lengths_and_complex_numbers_are_clear_errors(source: object, tmp_path: Path):
    with pytest.raises(DataError):
        read(source, tmp_path)


@pytest.mark.parametrize("source", [None, "", "  "])
def test_data_that_is_not_named_is_wrong_use(source: object, tmp_path: Path):
    with pytest.raises(UsageError, match="no data"):
        read(source, tmp_path)


def test_lists_of_different_lengths_in_a_column_are_text(tmp_path: Path):
    assert cells(read([{"a": [1, 2]}, {"a": [1]}], tmp_path)) == {"a": ["[1, 2]", "[1]"]}
