"""`thrifty evaluate`: which rows could not be scored and why, and figures of rows that were learnt from."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from linear_model import SCHEMA, model_of

from thrifty.automl.evaluate import evaluate
from thrifty.automl.request import Request
from thrifty.cli.show import print_json, print_metrics, warnings_as_lines
from thrifty.core.errors import DataError
from thrifty.core.files import write_json
from thrifty.exporting.artifact import Member, assemble

GOOD = [f"{i},{-i},{'yes' if i % 3 else 'no'}" for i in range(1, 31)]
LEARNT = "these rows were learnt from: the figures say nothing about new rows"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory that learnt from rows.csv."""
    run = tmp_path / "run"
    assemble([Member(model_of(tmp_path / "model", np.eye(2)))], SCHEMA, run / "artifact")
    write_json(run / "request.json", {"format": 1, **Request(str(tmp_path / "rows.csv")).to_json()})
    return run


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_rows_that_cannot_be_scored_are_told_with_their_place_and_the_reason(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path / "new.csv", [*GOOD, "1,2,", "x,2,yes", "1,2,perhaps", "1,2", "3,4,no"])
    found = evaluate(run, path)
    assert dict(found).keys() == {"rows", "bad_rows", "metrics"}
    assert (found["rows"], found["bad_rows"]) == (31, 4)
    assert [said.removeprefix(f"{path} ") for said in found.unscored] == [
        "row 34: line 35: ragged: 2 cells where the header has 3",
        "row 31: missing label",
        "row 32: a: 'x' is not a number",
        "row 33: 'perhaps' is not a class of the model",
    ]
    print_metrics(found)
    shown = capsys.readouterr().out
    assert "31 rows scored, 4 more could not be\n" in shown
    assert "row 31: missing label" in " ".join(shown.split())
    print_json(found)
    assert "missing label" not in capsys.readouterr().out


def test_rows_are_weighed_and_kept_together_as_the_run_did(tmp_path: Path) -> None:
    schema = replace(SCHEMA, weight="w", group="shop")
    model = Member(model_of(tmp_path / "model", np.eye(2)))
    assemble([model], schema, tmp_path / "artifact", metric="balanced_accuracy")
    # class "yes" where b > a: right in the first 40 rows, which weigh little, wrong in the last 10, of two shops
    rows = [
        {"a": 0, "b": 1, "y": "yes" if i < 40 else "no", "w": 1 if i < 40 else 8, "shop": i // 5} for i in range(50)
    ]
    found = evaluate(tmp_path / "artifact", rows)
    assert next(iter(found["metrics"])) == "balanced_accuracy"
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(40 / (40 + 80))
    bad = evaluate(tmp_path / "artifact", [*rows, rows[0] | {"w": -1}])
    assert (bad["rows"], bad["bad_rows"]) == (50, 1)
    assert bad.unscored == ("row 51: the weight is missing, negative, infinite or no number",)
    plain = [{name: row[name] for name in ("a", "b", "y")} for row in rows]
    with pytest.warns(UserWarning, match="has no column") as said:
        alone = evaluate(tmp_path / "artifact", plain)["metrics"]["accuracy"]
    assert [str(warning.message) for warning in said] == [
        "the data has no column 'w', which the run used: every row counts the same",
        "the data has no column 'shop', which the run used: intervals take every row to be independent",
    ]
    assert alone["value"] == 0.8
    assemble([model], replace(schema, weight=None), tmp_path / "grouped")
    grouped = evaluate(tmp_path / "grouped", rows)["metrics"]["accuracy"]
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])


def test_another_report_beside_an_artifact_is_not_read(run: Path, tmp_path: Path) -> None:
    for content in ("{}", "no JSON", '{"metric": "loss"}'):
        (run / "report.json").write_text(content, encoding="utf-8")
        assert "accuracy" in evaluate(run / "artifact", table(tmp_path / "new.csv", GOOD))["metrics"]


def test_of_many_rows_the_first_five_are_told_and_the_others_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(run, table(tmp_path / "new.csv", [*GOOD, *["1,2,"] * 9]))
    assert len(found.unscored) == 5
    print_metrics(found)
    assert "  - and 4 more\n" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"none of the 2 rows can be scored: .*row 1: missing label"):
        evaluate(run, table(tmp_path / "new.csv", ["1,2,"] * 2))


def test_rows_in_memory_are_told_by_their_number(run: Path) -> None:
    rows = [{"a": 1, "b": 2, "y": "yes"}, {"a": 1, "b": 2, "y": None}, {"a": 2, "b": 1, "y": "no"}]
    assert evaluate(run, rows).unscored == ("row 2: missing label",)


def test_a_metric_that_is_undefined_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"value": None, "low": None, "high": None}
    print_metrics({"rows": 2, "bad_rows": 0, "metrics": {"roc_auc": nothing}})
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].split() == ["roc_auc", "undefined", "undefined"]


def test_figures_of_rows_that_were_learnt_from_come_with_a_warning(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path / "rows.csv", GOOD)
    monkeypatch.chdir(tmp_path)
    for place, data in ((run, path), (run / "artifact", "rows.csv")):
        with pytest.warns(UserWarning, match=LEARNT):
            evaluate(place, data)
    with warnings_as_lines():
        evaluate(run, path)
    assert capsys.readouterr().err == f"thrifty: {LEARNT}\n"


def test_rows_that_were_validated_on_were_learnt_from_too(run: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "held.csv", GOOD)
    request = Request(str(tmp_path / "rows.csv"), validation=str(path))
    write_json(run / "request.json", {"format": 1, **request.to_json()})
    with pytest.warns(UserWarning, match=LEARNT):
        evaluate(run, path)


def test_other_rows_and_an_artifact_alone_come_without_a_warning(run: Path, tmp_path: Path) -> None:
    learnt, other = (table(tmp_path / name, GOOD) for name in ("rows.csv", "other.csv"))
    (run / "artifact").rename(tmp_path / "alone")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(tmp_path / "alone", learnt)
        (tmp_path / "alone").rename(run / "artifact")
        evaluate(run, other)
        evaluate(run, [{"a": 1, "b": 2, "y": "yes"}, {"a": 2, "b": 1, "y": "no"}])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation")])
def test_the_test_part_of_a_folder_that_was_learnt_from_is_new(
    run: Path, tmp_path: Path, parts: tuple[str, ...], zipped: bool
) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for part in parts:
        table(source / f"{part}.csv", GOOD)
    if zipped:
        source = Path(shutil.make_archive(str(source), "zip", source))
    write_json(run / "request.json", {"format": 1, **Request(str(source)).to_json()})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        evaluate(run, source)
    assert [str(warning.message) for warning in said] == ([] if "test" in parts else [LEARNT])
