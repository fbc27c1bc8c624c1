import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from linear_model import SCHEMA, model_of

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.files import read_json
from thrifty.data.encode.image import Image
from thrifty.data.encode.number import Number
from thrifty.data.encode.tfidf import Tfidf
from thrifty.exporting.artifact import REQUIREMENTS, Member, assemble, replacing_folder, requirements, write_card
from thrifty.runtime.nodes import encoder_node
from thrifty.runtime.predictor import Predictor


def test_equal_nodes_are_kept_once_and_names_that_clash_are_told_apart(tmp_path: Path) -> None:
    one, two = np.eye(2), np.array([[1.0, 2], [3, 4]])
    members = [
        Member(model_of(tmp_path / "1", one), 0.5),
        Member(model_of(tmp_path / "2", two), 0.25),
        Member(model_of(tmp_path / "3", one, name="tail"), 0.25, 2.0),
        Member(model_of(tmp_path / "4", one, ("b", "a")), 0.25),
    ]
    folder = assemble(members, SCHEMA, tmp_path / "artifact")
    manifest = read_json(folder / "artifact.json")
    assert [node["name"] for node in manifest["nodes"]] == ["x", "head", "head_2", "x_2", "head_3"]
    assert [m["output"] for m in manifest["members"]] == [
        "head.scores",
        "head_2.scores",
        "head.scores",
        "head_3.scores",
    ]
    assert manifest["nodes"][4]["inputs"] == {"x": "x_2.values"}
    values = np.array([[0.5, -1.0]])
    found = Predictor.load(folder).predict([{"a": 0.5, "b": -1.0}]).probabilities
    logits = [values @ one, values @ two, values @ one / 2, values[:, ::-1] @ one]
    parts = [np.exp(x) / np.exp(x).sum() for x in logits]
    np.testing.assert_allclose(found, np.average(parts, axis=0, weights=[0.5, 0.25, 0.25, 0.25]), atol=1e-6)


def test_the_manifest_tells_what_a_row_needs(tmp_path: Path) -> None:
    folder = assemble([Member(model_of(tmp_path / "m", np.eye(2)))], SCHEMA, tmp_path / "artifact", threads=2)
    manifest = read_json(folder / "artifact.json")
    assert manifest["format"] == 1
    assert manifest["columns"] == {"a": "number", "b": "number"}
    assert (manifest["task"], manifest["target"], manifest["classes"]) == ("binary", "y", ["no", "yes"])
    assert (manifest["rows"], manifest["threads"], manifest["decision"]) == ("table", 2, None)
    digest = hashlib.sha256((folder / "head.onnx").read_bytes()).hexdigest()
    assert manifest["files"] == {"head.onnx": digest}


def test_the_artifact_there_is_replaced_in_one_step_and_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    first = assemble([Member(model_of(tmp_path / "1", np.eye(2)))], SCHEMA, folder, card={"title": "first"})
    assert read_json(first / "card.json") == {"title": "first"}
    damaged = model_of(tmp_path / "2", np.eye(2))
    (damaged / "head.onnx").unlink()
    with pytest.raises(StoreError):
        assemble([Member(damaged)], SCHEMA, folder)
    assert read_json(folder / "card.json") == {"title": "first"}
    absent = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not (folder / "artifact.json").exists():
                absent.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(10):
        assemble([Member(tmp_path / "1")], SCHEMA, folder, card={"title": str(number)})
    stop.set()
    watcher.join()
    assert not absent
    assert read_json(folder / "card.json") == {"title": "9"}
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "artifact"]
    with pytest.raises(UsageError):
        assemble([], SCHEMA, folder)


def test_a_folder_is_replaced_where_the_system_cannot_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *a, **k: object())
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "place") as aside:
            (aside / "file").write_text(text)
    assert (tmp_path / "place" / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["place"]


def test_requirements_are_what_the_encoders_need_and_no_more(tmp_path: Path) -> None:
    number = encoder_node("n", Number(("a",)), tmp_path)
    assert [line.split(">")[0] for line in requirements([number])] == ["numpy", "onnxruntime", "pyarrow"]
    image = encoder_node("i", Image(("a",), 8), tmp_path)
    text = encoder_node("t", Tfidf.fit({"a": ["x"]}, ["a"]), tmp_path)
    sound = {"kind": "encoder", "encoder": {"kind": "log_mel"}}
    names = [line.split(">")[0] for line in requirements([image, text, sound])]
    assert names == ["numpy", "onnxruntime", "pillow", "pyarrow", "soundfile", "soxr"]


def test_requirements_are_those_of_the_core_install() -> None:
    import tomllib

    project = Path(__file__).parents[2] / "pyproject.toml"
    core = tomllib.loads(project.read_text())["project"]["dependencies"]
    assert set(REQUIREMENTS.values()) <= set(core)


def test_the_card_is_written_for_machines_and_for_people(tmp_path: Path) -> None:
    card = {
        "title": "Reviews",
        "weights": [{"name": "net", "sha256": "ab"}, "none"],
        "scores": {"accuracy": 0.912345678},
    }
    write_card(tmp_path, card)
    assert read_json(tmp_path / "card.json") == card
    assert (tmp_path / "card.md").read_text().splitlines() == [
        "# Reviews", "", "- **weights**:", "  - 1:", "    - **name**: net", "    - **sha256**: ab", "  - none",
        "- **scores**:", "  - **accuracy**: 0.912346",
    ]  # fmt: skip
