"""artifact.json and the files that it names: what does not hold together is refused on load, with the field's name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_models import build_image_model, build_text_model, text_rows

from thrifty.core.errors import StoreError
from thrifty.core.files import read_json, write_json
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.exporting.artifact import Member, assemble
from thrifty.runtime.manifest import read_manifest
from thrifty.runtime.predictor import Predictor

INPUTS = (Column("text", Meaning.TEXT, ""), Column("a", Meaning.NUMBER, ""), Column("b", Meaning.NUMBER, ""))


def made(folder: Path, task: Task, classes: tuple[str, ...], num_scores: int) -> Path:
    model = build_text_model(folder / "model", text_rows(), num_scores)
    return assemble([Member(model)], Schema(INPUTS, "y", task, classes), folder / "artifact")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("three"), Task.MULTICLASS, ("x", "y", "z"), 3)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("two"), Task.BINARY, ("no", "yes"), 2)


def changed(artifact: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    shutil.copytree(artifact, folder / "artifact")
    manifest = read_json(artifact / "artifact.json")
    change(manifest)
    write_json(folder / "artifact" / "artifact.json", manifest)
    return folder / "artifact"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(task="guessing"), "the field task must be binary or multiclass or"),
        (lambda m: m.pop("task"), "not missing"),
        (lambda m: m.update(target=7), "the field target must be a text"),
        (lambda m: m.update(classes="no"), 'the field classes must be a list, not "no"'),
        (lambda m: m.update(classes=["x", "y", 3]), "the field classes must be a text, not 3"),
        (lambda m: m.update(classes=["x", "y", "x"]), "the field classes has 'x' twice"),
        (lambda m: m.update(classes=["x"]), "at least 2 for a multiclass task"),
        (lambda m: m.update(task="binary"), "must have 2 for a binary task, but has 3"),
        (lambda m: m.update(task="regression"), "must be empty for a regression, but has 3"),
        (lambda m: m.update(task="multilabel", classes=[]), "at least 1 for a multilabel task"),
        (lambda m: m.update(positive=1), "the field positive"),
        (lambda m: m.update(columns={}), "the field columns is empty"),
        (lambda m: m.update(columns=["a"]), "the field columns must be an object"),
        (lambda m: m["columns"].update(a="banana"), 'the field columns.a must be number or .*, not "banana"'),
        (lambda m: m["columns"].pop("b"), "the field columns lacks 'b', which nodes.1..encoder reads"),
        (lambda m: m.update(rows="folder"), 'the field rows is "folder"'),
        (lambda m: m.update(rows="pile"), "the field rows must be table or folder"),
        (lambda m: m.update(nodes={}), "the field nodes must be a list"),
        (lambda m: m["nodes"].reverse(), "nodes.0..inputs.indices is 'text.indices', but there is no node 'text'"),
        (lambda m: m["nodes"].append(m["nodes"][0]), "the field nodes has 'text' twice"),
        (lambda m: m["nodes"][0].update(kind="magic"), "nodes.0..kind must be encoder or onnx"),
        (lambda m: m["nodes"][0]["encoder"].update(kind="magic"), "nodes.0..encoder.kind must be number or"),
        (lambda m: m["nodes"][0]["encoder"]["files"].update(idf="../idf.npy"), "without a path"),
        (lambda m: m["nodes"][2].update(file="/etc/head.onnx"), "nodes.2..file must be the name of a file beside"),
        (lambda m: m["nodes"][2].update(file=".."), "without a path"),
        (lambda m: m["nodes"][2]["inputs"].update(values="numbers.cubes"), "'numbers.cubes', which no node before"),
        (lambda m: m.update(members=[]), "the field members is empty"),
        (lambda m: m.update(members=None), "the field members must be a list"),
        (lambda m: m["members"][0].update(output="tail.scores"), "no node 'tail'"),
        (lambda m: m["members"][0].update(output="head.votes"), "the node 'head' gives scores"),
        (lambda m: m["members"][0].pop("weight"), r"members\[0\].weight must be a finite number, not missing"),
        (lambda m: m["members"][0].update(weight="a"), r'members\[0\].weight must be a finite number, not "a"'),
        (lambda m: m["members"][0].update(weight=10**400), "finite"),
        (lambda m: m["members"][0].update(weight=0), "sum is not above 0"),
        (lambda m: m["members"][0].update(temperature=0), "temperature must be above 0, not 0"),
        (lambda m: m["members"][0].update(temperature=True), "temperature must be a finite number"),
        (lambda m: m.update(temperature=-1.0), "the field temperature must be above 0, not -1.0"),
        (lambda m: m.update(temperature="warm"), 'the field temperature must be a finite number, not "warm"'),
        (lambda m: m.update(decision={"kind": "thresholds", "values": [0.5] * 3}), "decision.kind must be offsets"),
        (lambda m: m.update(decision={"kind": "offsets", "values": [0.5]}), "decision.values must have 3"),
        (lambda m: m.update(threads="x"), 'the field threads must be a whole number of 1 to 1024, not "x"'),
        (lambda m: m.update(threads=0), "the field threads"),
        (lambda m: m["files"].pop("head.onnx"), "the field files.head.onnx must be a text, not missing"),
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused_with_the_field(
    artifact: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    folder = changed(artifact, tmp_path, change)
    with pytest.raises(StoreError, match=said) as raised:
        Predictor.load(folder)
    assert str(folder) in str(raised.value)


def test_numbers_that_json_does_not_know_are_refused(artifact: Path, tmp_path: Path) -> None:
    folder = changed(artifact, tmp_path, lambda m: None)
    text = (folder / "artifact.json").read_text(encoding="utf-8")
    for word in ("NaN", "1e999"):
        (folder / "artifact.json").write_text(text.replace('"weight": 1.0', f'"weight": {word}'), encoding="utf-8")
        with pytest.raises(StoreError, match="weight must be a finite number"):
            Predictor.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(task="multiclass", classes=["no", "perhaps", "yes"]), r"scores of shape \[rows, 3\]"),
        (lambda m: m.update(task="regression", classes=[]), r"scores of shape \[rows, 1\]"),
    ],
)
def test_scores_that_are_not_one_for_each_class_are_refused_when_the_first_row_comes(
    binary: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    predictor = Predictor.load(changed(binary, tmp_path, change))
    with pytest.raises(StoreError, match=said):
        predictor.predict(text_rows(1))


def test_every_kind_of_artifact_is_read_with_its_decision(binary: Path, image_model: Path, tmp_path: Path) -> None:
    files = Schema((Column("file", Meaning.IMAGE, ""),), "label", Task.BINARY, ("x", "y"), folder=True)
    assert read_manifest(assemble([Member(image_model)], files, tmp_path / "images"))["rows"] == "folder"
    assert read_manifest(made(tmp_path / "number", Task.REGRESSION, (), 1))["classes"] == []
    decided = changed(binary, tmp_path, lambda m: m.update(decision={"kind": "threshold", "value": 0.4}, positive=1))
    assert read_manifest(decided)["decision"]["value"] == 0.4


@pytest.mark.parametrize("spoil", ["swap", "edit", "shorten"])
def test_a_file_that_is_not_the_one_it_was_made_with_is_named(tmp_path: Path, spoil: str) -> None:
    one, two = (build_text_model(tmp_path / str(seed), text_rows(), seed=seed) for seed in (0, 1))
    schema = Schema(INPUTS, "y", Task.MULTICLASS, ("x", "y", "z"))
    folder = assemble([Member(one, 0.75), Member(two, 0.25)], schema, tmp_path / "artifact")
    Predictor.load(folder)
    content = (folder / "head.onnx").read_bytes()
    if spoil == "swap":
        shutil.copyfile(folder / "head_2.onnx", folder / "head.onnx")
        (folder / "head_2.onnx").write_bytes(content)
    elif spoil == "edit":
        middle = len(content) // 2
        (folder / "head.onnx").write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        (folder / "head.onnx").write_bytes(content[:-40])
    with pytest.raises(StoreError, match=r"head\.onnx is not the file that the artifact was made with"):
        Predictor.load(folder)


def test_an_artifact_without_digests_still_loads(artifact: Path, tmp_path: Path) -> None:
    folder = changed(artifact, tmp_path, lambda m: m.pop("files"))
    assert Predictor.load(folder).predict(text_rows(2))[0]["error"] is None


def test_a_file_of_an_old_artifact_that_takes_other_arrays_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "one", Task.MULTICLASS, ("x", "y", "z"), 3)
    small = build_image_model(tmp_path / "two")
    manifest = read_json(folder / "artifact.json")
    del manifest["files"]
    manifest["nodes"][2]["inputs"] = {"pixels": "numbers.values"}
    write_json(folder / "artifact.json", manifest)
    shutil.copyfile(small / "net.onnx", folder / "head.onnx")
    with pytest.raises(StoreError, match=r"head\.onnx does not take what the nodes before it give"):
        Predictor.load(folder).predict(text_rows(1))
