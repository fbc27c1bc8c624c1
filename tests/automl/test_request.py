"""What was asked is checked at the border, and goes to JSON and back."""

import json

import numpy as np
import pytest
import typer

import thrifty
import thrifty.api
from thrifty.api import Run, open_run
from thrifty.automl.plan import parse_wishes
from thrifty.automl.request import Request, merged, parse_settings, read_recipe
from thrifty.cli import main as cli
from thrifty.core.errors import StoreError, UsageError
from thrifty.core.space import Choice, Float, Int


def test_a_request_goes_to_json_and_back():
    request = Request("data.csv", target="y", minutes=0.4, exclude=("trees",), recipe={"model": {"width": 32}})
    assert Request.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": -1}, {"minutes": 0.0}, {"minutes": float("nan")}, {"minutes": 1e307},
        {"max_size_mb": 0}, {"max_latency_ms": -2}, {"max_accuracy_loss": -1}, {"folds": 1}, {"threads": 0},
        {"max_bad_share": 1.0}, {"command": "fly"}, {"device": "banana"},
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_a_usage_error(wrong):
    with pytest.raises(UsageError):
        Request("data.csv", **wrong)


def test_settings_are_split_into_recipe_and_meanings():
    recipe, meanings = parse_settings(["model.learning_rate=1e-3", "schema.a.b=text", "training.epochs=5"])
    assert recipe == {"model": {"learning_rate": 0.001}, "training": {"epochs": 5}}
    assert meanings == {"a.b": "text"}


@pytest.mark.parametrize("wrong", ["model", "model.width", "fruit.size=3", "=3"])
def test_a_setting_that_is_no_path_and_value_is_a_usage_error(wrong):
    with pytest.raises(UsageError):
        parse_settings([wrong])


def test_a_recipe_fixes_and_narrows_fields(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model:\n  kind: trees\n  num_leaves: [15, 31]\n  l2: {low: 0.1, high: 10.0, log: true}\n")
    wishes = parse_wishes(read_recipe(path))
    assert wishes["model.kind"] == "trees"
    assert wishes["model.num_leaves"] == Choice(15, 31)
    assert wishes["model.l2"] == Float(0.1, 10.0, log=True)


def test_whole_bounds_narrow_to_whole_numbers():
    assert parse_wishes({"model": {"num_leaves": {"low": 4, "high": 9}}}) == {"model.num_leaves": Int(4, 9)}


def test_the_recipe_of_a_trial_is_a_recipe_file(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"model": {"kind": "trees"}, "training": null, "seed": 3}')
    assert read_recipe(path) == {"model": {"kind": "trees"}}


def test_a_setting_leaves_the_other_fields_of_a_recipe_file_as_they_are(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(thrifty.api, "start", lambda options, **more: asked.append(options) or Run(tmp_path, {}))
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {kind: trees, num_leaves: 15}\n")
    thrifty.run("data.csv", recipe=path, settings={"model.learning_rate": 0.1})
    words = {"data": "data.csv", "recipe": path, "settings": ["model.learning_rate=0.1"], "out": None, "exclude": None}
    with pytest.raises(typer.Exit):
        cli._start("run", {**words, "json": True, "no_cache": False})
    both = {"model": {"kind": "trees", "num_leaves": 15, "learning_rate": 0.1}}
    assert [options["recipe"] for options in asked] == [both, both]


def test_a_recipe_part_that_is_no_mapping_is_a_usage_error():
    with pytest.raises(UsageError, match="'model' must be fields"):
        merged({"model": "trees"}, {"model": {"width": 3}})


@pytest.mark.parametrize("domain", [Choice(8, 16, ordered=True), Int(8, 32), Float(1, 9, log=True)])
def test_a_domain_in_a_recipe_is_the_same_when_a_run_goes_on(domain):
    request = Request("data.csv", recipe={"model": {"width": domain}})
    again = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert parse_wishes(again.recipe) == parse_wishes(request.recipe) == {"model.width": domain}


def test_a_recipe_that_is_no_mapping_is_a_usage_error(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(UsageError, match="mapping"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": 3}, "--target must be text, not 3"),
        ({"minutes": "1"}, "--minutes must be a number"),
        ({"minutes": True}, "--minutes must be a number"),
        ({"folds": 2.5}, "--folds must be a whole number"),
        ({"metric": len}, "--metric must be text"),
        ({"seed": -1}, "--seed must be a whole number of at least 0"),
        ({"threads": 100_000}, "--threads must be from 1 to 1024, not 100000"),
        ({"exclude": (1,)}, "--exclude must be names"),
        ({"recipe": [1]}, "--recipe must be a mapping"),
    ],
)
def test_options_of_another_type_are_named(options, said):
    with pytest.raises(UsageError, match=said):
        Request(**{"data": "rows.csv", **options})


def test_numbers_of_numpy_are_numbers():
    plain = Request(data="rows.csv", minutes=np.float32(0.5), folds=np.int64(3), seed=np.int16(2)).to_json()
    assert json.loads(json.dumps(plain))["minutes"] == 0.5


@pytest.mark.parametrize(
    "text", ["[]", "{}", "not json", '{"format": 1, "command": "run", "data": "x", "minutes": "x"}']
)
def test_a_damaged_request_is_said(tmp_path, text):
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(StoreError, match=r"request\.json"):
        thrifty.resume(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"metric": '])
def test_a_damaged_report_is_said(tmp_path, text):
    (tmp_path / "request.json").write_text('{"format": 1, "command": "run", "data": "x"}')
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(StoreError, match="thrifty resume"):
        open_run(tmp_path)


def test_a_backbone_is_a_folder_in_full_or_a_name_as_it_stands(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe, _ = parse_settings(["backbone.text=mine", "backbone.audio=openai/whisper-tiny"])
    assert recipe == {
        "preparation": {"text_backbone": str(tmp_path / "mine"), "speech_backbone": "openai/whisper-tiny"}
    }
    with pytest.raises(UsageError, match=r"backbone\.image and backbone\.audio"):
        parse_settings(["backbone.video=mine"])


def test_a_run_whose_study_is_gone_is_not_begun_again(tmp_path):
    (tmp_path / "request.json").write_text('{"format": 1, "command": "run", "data": "x"}')
    (tmp_path / "events.jsonl").write_text('{"seq": 1, "time_seconds": 1.0, "kind": "trial_started", "trial": 0}\n')
    with pytest.raises(StoreError, match=r"study\.sqlite3 is missing.*put it back"):
        thrifty.resume(tmp_path)
