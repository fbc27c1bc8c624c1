import csv
import io
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from runtime_models import build_text_model, columns_of, text_rows

from thrifty.core.errors import DataError, StoreError, UsageError
from thrifty.core.files import read_json, write_json
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.evaluation.decisions import tempered
from thrifty.exporting.artifact import Member, assemble
from thrifty.runtime.files import columns_of as columns_written
from thrifty.runtime.files import predict_to
from thrifty.runtime.predictor import Predictor
from thrifty.runtime.scores import decided, mixed, probabilities_of

CLASSES = ("yes", "Nein, danke", "3")
INPUTS = (Column("text", Meaning.TEXT, ""), Column("a", Meaning.NUMBER, ""), Column("b", Meaning.NUMBER, ""))


def schema(task: Task = Task.MULTICLASS, classes: tuple[str, ...] = CLASSES) -> Schema:
    return Schema(INPUTS, "y", task, classes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory whose artifact has two members that share their encoders."""
    folder = tmp_path_factory.mktemp("run")
    members = [
        Member(build_text_model(folder / "one", text_rows()), 0.75, 1.5),
        Member(build_text_model(folder / "two", text_rows(), seed=1), 0.25, 0.5),
    ]
    assemble(members, schema(), folder / "artifact")
    return folder


def pictures(folder: Path) -> Path:
    for name in ("b", "a/deep"):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Pillow.new("L", (9, 9), 40 * i).save(folder / name / f"{i}.png")
    (folder / "a" / "broken.png").write_bytes(b"no picture")
    return folder


def test_members_that_share_encoders_are_averaged_by_their_weights(run: Path) -> None:
    predictor = Predictor.load(run)
    assert [node["name"] for node in predictor.manifest["nodes"]] == ["text", "numbers", "head", "head_2"]
    rows = text_rows(20, seed=7)
    found = predictor.predict(rows)
    from thrifty.runtime.graph import Graph

    parts = [Graph.load(run / name).scores(columns_of(rows), 20) for name in ("one", "two")]
    expected = 0.75 * probabilities_of("multiclass", parts[0], 1.5) + 0.25 * probabilities_of(
        "multiclass", parts[1], 0.5
    )
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert list(found[0]) == ["prediction", *(f"probability:{name}" for name in CLASSES), "error"]
    assert [row["prediction"] for row in found] == [CLASSES[k] for k in expected.argmax(axis=1)]


def test_values_before_calibration_have_no_temperature(run: Path) -> None:
    from thrifty.runtime.graph import Graph

    rows = columns_of(text_rows(20, seed=7))
    parts = [Graph.load(run / name).scores(rows, 20) for name in ("one", "two")]
    predictor = Predictor.load(run)
    values, uncalibrated = predictor.calibration(rows, 20)
    assert np.array_equal(values, predictor.values(rows, 20)[0])
    expected = 0.75 * probabilities_of("multiclass", parts[0]) + 0.25 * probabilities_of("multiclass", parts[1])
    assert np.allclose(uncalibrated, expected)
    assert np.abs(uncalibrated - values).max() > 1e-3


def test_a_row_gives_the_same_alone_and_in_a_batch(run: Path) -> None:
    predictor = Predictor.load(run / "artifact")
    rows = text_rows(500, seed=8)
    batch = predictor.predict(rows)
    for row in (0, 17, 499):
        alone = predictor.predict([rows[row]])
        np.testing.assert_allclose(alone.probabilities[0], batch.probabilities[row], atol=1e-6)
        assert alone[0]["prediction"] == batch[row]["prediction"]


def test_batches_at_once_give_the_same_rows_and_problems_and_each_is_told(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    with data.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "a", "b"])
        writer.writeheader()
        for number, row in enumerate(text_rows(700, seed=9)):
            writer.writerow({**row, "a": "no number" if number % 100 == 7 else row["a"]})
    told: list[tuple[int, int]] = []
    written = []
    for workers in (1, 3):
        out = io.StringIO()
        predict_to(Predictor.load(run, workers=workers), data, out, lambda *at: told.append(at))
        written.append(out.getvalue())
    assert written[0] == written[1]
    assert written[0].count("is not a number") == 7
    assert told[0] == (0, 700)
    assert told[-1] == (700, 700)
    assert len(told) > 4


def test_what_the_watcher_raises_ends_the_prediction_at_once(run: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    frame = {name: list(cells) for name, cells in columns_of(text_rows(700, seed=9)).items()}
    pandas = pytest.importorskip("pandas")
    with pytest.raises(KeyboardInterrupt):
        list(Predictor.load(run, workers=2).batches(pandas.DataFrame(frame), stop))


@pytest.mark.parametrize("names", [(), ("text",), ("a",), ("a", "b"), ("text", "a"), ("text", "a", "b")])
def test_shuffled_columns_give_what_shuffled_rows_would(run: Path, names: tuple[str, ...]) -> None:
    predictor = Predictor.load(run)
    columns = columns_of(text_rows(200, seed=8))
    order = np.random.default_rng(0).permutation(200)
    shuffled = {name: [columns[name][row] for row in order] if name in names else columns[name] for name in columns}
    expected, _ = predictor.values(shuffled, 200)
    np.testing.assert_allclose(predictor.shuffler(columns, 200)(names, order), expected, atol=1e-6)


def test_plain_values_of_any_kind_are_taken(run: Path) -> None:
    pandas = pytest.importorskip("pandas")
    predictor = Predictor.load(run)
    plain = predictor.predict([{"text": "red fox", "a": 1.5, "b": 3}])
    for row in (
        {"text": "red fox", "a": "1.5", "b": "3"},
        {"b": np.int64(3), "a": np.float32(1.5), "text": np.str_("red fox"), "more": object()},
        {"text": " Red  FOX ", "a": 1.5, "b": 3.0},
    ):
        np.testing.assert_allclose(predictor.predict([row]).probabilities, plain.probabilities, atol=1e-7)
    for missing in (None, "", float("nan"), pandas.NA, pandas.NaT):
        found = predictor.predict([{"text": missing, "a": missing, "b": True}])
        assert found[0]["error"] is None
        assert found[0]["prediction"] in CLASSES
    odd = predictor.predict([{"text": datetime(2020, 1, 1), "a": pandas.Timestamp(0), "b": 1}])
    assert odd[0]["error"].startswith("a: ")


def test_rows_that_cannot_be_read_keep_their_places(run: Path) -> None:
    rows = text_rows(5)
    rows[2] = {**rows[2], "a": "three"}
    found = Predictor.load(run).predict(rows)
    assert [row["error"] for row in found] == [None, None, "a: 'three' is not a number", None, None]
    assert found[2]["prediction"] is None
    assert set(found[2]) == set(found[0])
    assert np.isnan(found.probabilities[2]).all()
    assert np.isfinite(found.probabilities[[0, 1, 3, 4]]).all()


def test_a_missing_column_is_named_and_an_absent_key_of_some_rows_is_a_missing_value(run: Path) -> None:
    predictor = Predictor.load(run)
    with pytest.raises(DataError, match="'b'"):
        predictor.predict([{"text": "x", "a": 1}, {"text": "y", "a": 2}])
    assert [row["error"] for row in predictor.predict([{"text": "x", "a": 1}, {"b": 2}])] == [None, None]
    with pytest.raises(UsageError, match="dicts"):
        predictor.predict(["x"])
    assert list(predictor.predict([])) == []
    assert predictor.predict([]).probabilities.shape == (0, 3)


def test_tables_and_files_give_what_dicts_give(run: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    predictor = Predictor.load(run)
    rows = text_rows(30, seed=9)
    expected = predictor.predict(rows)
    frame = pandas.DataFrame(rows)[["b", "text", "a"]].assign(more=1)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    for source in (frame, str(tmp_path / "rows.csv"), tmp_path / "rows.parquet"):
        found = predictor.predict(source)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    with pytest.raises(DataError, match="'text'"):
        predictor.predict(frame.drop(columns="text"))


def test_a_folder_nested_or_flat_is_predicted_file_by_file(image_model: Path, tmp_path: Path) -> None:
    inputs = (Column("file", Meaning.IMAGE, ""),)
    assemble(
        [Member(image_model)], Schema(inputs, "label", Task.BINARY, ("x", "y"), folder=True), tmp_path / "artifact"
    )
    predictor = Predictor.load(tmp_path)
    folder = pictures(tmp_path / "data")
    found = predictor.predict(folder)
    files = sorted(row["file"] for row in found)
    assert files == ["a/broken.png", "a/deep/0.png", "a/deep/1.png", "b/0.png", "b/1.png"]
    by_file = {row["file"]: row for row in found}
    assert by_file["a/broken.png"]["prediction"] is None
    assert "image" in by_file["a/broken.png"]["error"]
    path = str(folder / "b" / "1.png")
    alone = predictor.predict([{"file": path}])
    assert alone[0]["file"] == path
    assert alone[0]["probability:x"] == pytest.approx(by_file["b/1.png"]["probability:x"], abs=1e-6)


def test_images_in_batches_at_once_give_what_they_give_one_by_one(image_model: Path, tmp_path: Path) -> None:
    inputs = (Column("file", Meaning.IMAGE, ""),)
    assemble(
        [Member(image_model)], Schema(inputs, "label", Task.BINARY, ("x", "y"), folder=True), tmp_path / "artifact"
    )
    folder = pictures(tmp_path / "data")
    rows = [{"file": str(folder / name)} for name in ("b/0.png", "a/broken.png", "b/1.png", "missing.png") * 60]
    told: list[tuple[int, int]] = []
    several = Predictor.load(tmp_path, workers=3).predict(rows, lambda *at: told.append(at))
    alone = [Predictor.load(tmp_path).predict([row])[0] for row in rows[:4]]
    assert [row["error"] for row in several] == [row["error"] for row in alone] * 60
    np.testing.assert_allclose(
        [row["probability:x"] or -1.0 for row in several],
        [row["probability:x"] or -1.0 for row in alone] * 60,
        atol=1e-6,
    )
    assert told[0] == (0, 240)
    assert told[-1] == (240, 240)
    assert len(told) > 3


@pytest.mark.parametrize("kind", ["csv", "jsonl", "frame"])
def test_a_table_with_a_column_of_files_is_predicted_by_a_model_of_a_folder(
    image_model: Path, tmp_path: Path, kind: str
) -> None:
    inputs = (Column("file", Meaning.IMAGE, ""),)
    assemble(
        [Member(image_model)], Schema(inputs, "label", Task.BINARY, ("x", "y"), folder=True), tmp_path / "artifact"
    )
    predictor = Predictor.load(tmp_path)
    folder = pictures(tmp_path / "data")
    files = ["b/1.png", "a/broken.png", "a/deep/0.png", "b/missing.png"]
    table: object = folder / f"rows.{kind}"
    if kind == "csv":
        table.write_text("n,file\n" + "".join(f"{n},{file}\n" for n, file in enumerate(files)) + "4,b/0.png,more\n")
    elif kind == "jsonl":
        table.write_text("".join(json.dumps({"file": file}) + "\n" for file in files))
    else:
        table = pytest.importorskip("pandas").DataFrame({"file": [str(folder / file) for file in files]})
    stream = io.StringIO()
    predict_to(predictor, table, stream)
    found = list(csv.DictReader(stream.getvalue().splitlines()))
    said = [row["file"].removeprefix(f"{folder}/") for row in found]
    assert said == [*files, *([""] if kind == "csv" else [])]
    assert [bool(row["error"]) for row in found] == [False, True, False, True, *([True] if kind == "csv" else [])]
    alone = predictor.predict([{"file": str(folder / "b" / "1.png")}])
    assert float(found[0]["probability:x"]) == pytest.approx(alone[0]["probability:x"], abs=1e-6)


@pytest.mark.parametrize("given", ["in.csv", "link.csv", "*.csv", ".", "**/*.csv"])
def test_predictions_never_take_the_place_of_what_is_read(
    run: Path, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = "text,a,b\nred fox,1,2\n"
    Path("in.csv").write_text(content)
    Path("link.csv").symlink_to("in.csv")
    with pytest.raises(UsageError, match=r"in\.csv is data to predict, which would be overwritten"):
        predict_to(Predictor.load(run), given, Path("in.csv"))
    assert Path("in.csv").read_text() == content
    predict_to(Predictor.load(run), "in.csv", Path("out.csv"))
    predict_to(Predictor.load(run), "in.csv", Path("out.csv"))


def test_one_row_or_no_data_at_all_is_told_how_to_be_given(run: Path) -> None:
    predictor = Predictor.load(run)
    (row,) = text_rows(1)
    series = pytest.importorskip("pandas").Series(row)
    for rows, said in [
        (row, r"one dict whose 'text' is a str: put it in a list, predict\(\[row\]\)"),
        ({"a": 1.0, "b": 2}, "one dict whose 'a' is a float"),
        ({"a": np.float32(1), "b": 2}, "one dict whose 'a' is a float32"),
        (series, "not a Series"),
        (None, "not None"),
        (3, "not 3"),
    ]:
        with pytest.raises(UsageError, match=said):
            predictor.predict(rows)
        with pytest.raises(UsageError, match=said):
            predict_to(predictor, rows, io.StringIO())
    assert len(predictor.predict({"text": ["x", "y"], "a": [1, 2], "b": np.array([3, 4])})) == 2


@pytest.mark.parametrize("cell", [[1, 2], (1.0,), [], np.array([1.0, 2.0]), [[1], [2]]])
def test_a_list_where_a_number_must_be_is_that_row_s_error_alone(run: Path, cell: object) -> None:
    predictor = Predictor.load(run)
    rows = text_rows(1030)
    for row in (2, *range(1024, 1030)):
        rows[row] = {**rows[row], "a": cell}
    for some, wrong in (([0, 1, 2], [2]), ([2], [2]), (range(1030), [2, *range(1024, 1030)])):
        found = predictor.predict([rows[row] for row in some])
        errors = {row: answer["error"] for row, answer in zip(some, found) if answer["error"] is not None}
        assert list(errors) == wrong
        assert all(said.startswith("a: ") and said.endswith("is not a number") for said in errors.values())


@pytest.mark.parametrize("threads", ["x", -1, 0, 1.5, True, 10**6])
def test_a_number_of_threads_that_is_none_is_wrong_use(run: Path, threads: object) -> None:
    with pytest.raises(UsageError, match="threads must be a whole number of 1 to 1024"):
        Predictor.load(run, threads=threads)


@pytest.mark.parametrize("path", [None, 3, b"run"])
def test_a_path_that_is_none_is_wrong_use(path: object) -> None:
    with pytest.raises(UsageError, match="no path of a run directory or an artifact"):
        Predictor.load(path)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_predictions_are_written_by_the_ending_a_line_for_each_row(run: Path, tmp_path: Path, ending: str) -> None:
    predictor = Predictor.load(run)
    rows = [*text_rows(4), {"text": "x", "a": "bad", "b": 1}]
    out = tmp_path / f"out{ending}"
    assert predict_to(predictor, rows, out) is None
    if ending == ".csv":
        written = list(csv.DictReader(out.open(encoding="utf-8", newline="")))
    elif ending == ".jsonl":
        written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        import pyarrow.parquet

        written = pyarrow.parquet.read_table(out).to_pylist()
    expected = predictor.predict(rows)
    assert tuple(written[0]) == columns_written(predictor)
    assert [row["prediction"] or None for row in written] == [row["prediction"] for row in expected]
    assert float(written[1]["probability:3"]) == pytest.approx(expected[1]["probability:3"])
    assert written[4]["error"] == "a: 'bad' is not a number"
    assert not written[4]["probability:yes"]


def test_predictions_go_to_a_stream_or_come_back(run: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(run)
    stream = io.StringIO()
    predict_to(predictor, text_rows(3), stream)
    assert len(list(csv.reader(stream.getvalue().splitlines()))) == 4
    assert len(predict_to(predictor, text_rows(3))) == 3
    stream = io.StringIO()
    with pytest.raises(DataError):
        predict_to(predictor, [{"a": 1}], stream)
    assert not stream.getvalue()
    predict_to(predictor, [], stream)
    assert stream.getvalue().count("\n") == 1
    for out in (tmp_path / "out.xlsx", tmp_path / "nowhere" / "out.csv"):
        with pytest.raises(UsageError, match="out"):
            predict_to(predictor, text_rows(3), out)


def artifact_of(tmp_path: Path, task: Task, classes: tuple[str, ...], num: int, **options) -> Predictor:
    model = build_text_model(tmp_path / "model", text_rows(), num)
    assemble([Member(model)], schema(task, classes), tmp_path / "artifact", **options)
    return Predictor.load(tmp_path)


def test_regression_gives_numbers_and_no_probabilities(tmp_path: Path) -> None:
    found = artifact_of(tmp_path, Task.REGRESSION, (), 1).predict(text_rows(3))
    assert found.probabilities is None
    assert list(found[0]) == ["prediction", "error"]
    assert all(isinstance(row["prediction"], float) for row in found)


def test_multilabel_gives_lists_by_each_label_s_threshold(tmp_path: Path) -> None:
    decision = {"kind": "thresholds", "values": [0.0, 2.0, 0.5]}
    predictor = artifact_of(tmp_path, Task.MULTILABEL, CLASSES, 3, decision=decision)
    found = predictor.predict(text_rows(9))
    for row in found:
        assert row["prediction"][0] == "yes"
        assert "Nein, danke" not in row["prediction"]
        assert ("3" in row["prediction"]) == (row["probability:3"] >= 0.5)
    stream = io.StringIO()
    predict_to(predictor, text_rows(2), stream)
    first, _ = csv.DictReader(stream.getvalue().splitlines())
    assert json.loads(first["prediction"])[0] == "yes"


def test_decisions_are_applied_as_written() -> None:
    two = np.array([[0.6, 0.4], [0.9, 0.1]])
    assert decided("binary", two, {"kind": "threshold", "value": 0.4}).tolist() == [1, 0]
    assert decided("binary", two, {"kind": "offsets", "values": [0.0, 3.0]}).tolist() == [1, 1]
    assert decided("binary", two, None).tolist() == [0, 0]
    assert decided("multilabel", two, None).tolist() == [[True, False], [True, False]]
    with pytest.raises(StoreError, match="dice"):
        decided("binary", two, {"kind": "dice"})


def test_probabilities_stay_finite_for_any_scores() -> None:
    scores = np.array([[1e5, -1e5, 0]], np.float32)
    np.testing.assert_allclose(probabilities_of("multiclass", scores, 0.01), [[1, 0, 0]])
    np.testing.assert_allclose(probabilities_of("multilabel", scores, 0.01), [[1, 0, 0.5]])
    members = [{"weight": 1, "temperature": 1}, {"weight": 3, "temperature": 1}]
    np.testing.assert_allclose(mixed("regression", [np.array([[4.0]]), np.array([[8.0]])], members), [[7.0]])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_temperature_of_the_mix_is_the_one_that_training_computes(task: str) -> None:
    members = [{"weight": 1, "temperature": 0.5}, {"weight": 3, "temperature": 1}]
    parts = [np.random.default_rng(seed).normal(size=(20, 3)) for seed in range(2)]
    cool = mixed(task, parts, members, 0.5)
    np.testing.assert_allclose(cool, tempered(task, mixed(task, parts, members), 0.5))
    assert cool.max() > mixed(task, parts, members).max()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99, "thrifty": "7.0"}, "format 99, made by Thrifty 7.0"),
        ({"format": None}, "no format number"),
        ({"members": None}, "artifact.json is damaged: the field members"),
    ],
)
def test_an_artifact_of_another_format_or_damaged_is_refused(
    run: Path, tmp_path: Path, change: dict, said: str
) -> None:
    import shutil

    shutil.copytree(run / "artifact", tmp_path / "artifact")
    manifest = read_json(tmp_path / "artifact" / "artifact.json")
    write_json(tmp_path / "artifact" / "artifact.json", manifest | change)
    with pytest.raises(StoreError, match=said):
        Predictor.load(tmp_path)


def test_a_place_without_an_artifact_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run directory"):
        Predictor.load(tmp_path / "nowhere")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").touch()
    with pytest.raises(StoreError, match=r"has no model yet; go on with it by: thrifty resume .*run --minutes 1"):
        Predictor.load(tmp_path / "run")
    with pytest.raises(StoreError, match="holds no artifact"):
        Predictor.load(tmp_path)
    (tmp_path / "artifact.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be read"):
        Predictor.load(tmp_path)


def test_a_row_of_plain_values_is_predicted_without_heavy_imports(run: Path) -> None:
    code = (
        "import sys; from thrifty.runtime.predictor import Predictor\n"
        f"p = Predictor.load({str(run)!r}); p.predict([{{'text': 'red fox', 'a': 1, 'b': 2}}])\n"
        "heavy = ('torch', 'sklearn', 'scipy', 'lightgbm', 'transformers', 'pyarrow', 'pandas', 'onnx', 'PIL',"
        " 'soundfile', 'soxr', 'tokenizers')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
