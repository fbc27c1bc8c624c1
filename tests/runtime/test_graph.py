import shutil
from pathlib import Path

import numpy as np
import pytest
from runtime_models import build_text_model, columns_of, text_rows

from thrifty.core.errors import StoreError
from thrifty.core.files import read_json, write_json
from thrifty.data.cache import Cache
from thrifty.runtime.graph import Graph, evaluate
from thrifty.runtime.nodes import needed, node_keys, read_model


class Rows:
    """A data set in memory that counts what is asked of it."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows, self.asked = rows, 0

    def columns(self, rows: np.ndarray, names: tuple[str, ...]) -> dict[str, list]:
        self.asked += len(rows)
        return {name: [self.rows[row][name] for row in rows] for name in names}

    def fingerprint(self, names: tuple[str, ...], rows: np.ndarray) -> str:
        return f"{','.join(names)} {rows.tolist()}"


def test_scores_are_the_same_alone_and_in_batches_of_any_size(text_model: Path) -> None:
    rows = text_rows(300, seed=3)
    graph = Graph.load(text_model)
    scores = graph.scores(columns_of(rows), len(rows))
    assert scores.shape == (300, 3)
    assert scores.dtype == np.float32
    for size in (1, 7, 128, 200):
        part = graph.scores(columns_of(rows[5 : 5 + size]), size)
        np.testing.assert_allclose(part, scores[5 : 5 + size], atol=1e-5)


def test_only_the_nodes_that_are_wanted_are_loaded(text_model: Path) -> None:
    nodes, output = read_model(text_model)
    assert [node["name"] for node in needed(nodes, [output])] == ["text", "numbers", "head"]
    assert [node["name"] for node in needed(nodes, ["numbers.values"])] == ["numbers"]
    assert Graph(nodes, text_model, ("numbers.values",)).columns == ("a", "b")


def test_padded_arrays_of_several_batches_are_as_wide_as_the_widest(text_model: Path) -> None:
    rows = text_rows(300, seed=4)
    nodes, _ = read_model(text_model)
    arrays, _ = Graph(nodes, text_model, ("text.indices", "text.weights")).run(columns_of(rows), 300)
    assert arrays["text.indices"].shape == arrays["text.weights"].shape
    alone, _ = Graph(nodes, text_model, ("text.weights",)).run(columns_of(rows[9:10]), 1)
    width = alone["text.weights"].shape[1]
    np.testing.assert_allclose(arrays["text.weights"][9, :width], alone["text.weights"][0], rtol=1e-5)
    assert not arrays["text.weights"][9, width:].any()


def test_problems_name_the_row_of_the_whole(image_model: Path) -> None:
    values = [np.zeros((9, 9), np.uint8)] * 200
    values[70] = values[199] = b"broken"
    _, problems = Graph.load(image_model).run({"file": values}, 200)
    assert [(p.row, p.column) for p in problems] == [(70, "file"), (199, "file")]


def test_what_one_encoder_gives_is_reused_where_the_others_columns_change(text_model: Path) -> None:
    rows = text_rows(300, seed=6)
    columns = columns_of(rows)
    graph = Graph.load(text_model)
    parts = graph.parts(columns, 300)
    assert {*parts} == {"text.indices", "text.weights", "numbers.values", "head.scores"}
    assert graph.sources["head.scores"] == {"text", "a", "b"}
    changed = {"a": columns["a"][::-1], "b": columns["b"]}
    known = {name: parts[name] for name in ("text.indices", "text.weights")}
    scores = graph.run_from(known, changed, 300)["head.scores"]  # the texts are not needed again
    np.testing.assert_allclose(scores, graph.scores({**columns, **changed}, 300), atol=1e-5)
    assert not np.allclose(scores, parts["head.scores"])


def test_keys_depend_on_content_and_not_on_names(text_model: Path, tmp_path: Path) -> None:
    nodes, _ = read_model(text_model)
    keys = node_keys(nodes, text_model)
    other = tmp_path / "other"
    shutil.copytree(text_model, other)
    shutil.move(other / "head.onnx", other / "tail.onnx")
    renamed = [dict(node, name=f"my_{node['name']}") for node in nodes]
    renamed[2] |= {"file": "tail.onnx", "inputs": {k: f"my_{v}" for k, v in nodes[2]["inputs"].items()}}
    assert list(node_keys(renamed, other).values()) == list(keys.values())
    idf = np.load(other / "text.idf.npy")
    np.save(other / "text.idf.npy", idf * 2)
    changed = node_keys(renamed, other)
    assert changed["my_numbers"] == keys["numbers"]
    assert changed["my_text"] != keys["text"]
    assert changed["my_head"] != keys["head"]


def test_evaluated_arrays_come_from_the_cache_the_second_time(text_model: Path, tmp_path: Path) -> None:
    source = Rows(text_rows(50, seed=5))
    nodes, _ = read_model(text_model)
    cache = Cache(tmp_path)
    rows = np.array([3, 1, 44, 20])
    wanted = ["head.scores", "numbers.values"]
    told: list[tuple[int, int]] = []
    found = evaluate(nodes, text_model, wanted, source, rows, cache, report=lambda done, of: told.append((done, of)))
    assert list(found) == wanted
    assert source.asked == 8
    assert told == [(4, 4), (4, 4)]
    expected = Graph.load(text_model).scores(columns_of([source.rows[row] for row in rows]), 4)
    np.testing.assert_allclose(found["head.scores"], expected, atol=1e-6)
    again = evaluate(nodes, text_model, wanted, source, rows, cache)
    assert source.asked == 8
    np.testing.assert_array_equal(again["head.scores"], found["head.scores"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder, model: (folder / "head.onnx").unlink(), "not there"),
        (lambda folder, model: (folder / "head.onnx").write_bytes(b"nonsense"), "cannot be loaded"),
        (lambda folder, model: model["nodes"][2]["inputs"].pop("values"), "differ in values"),
        (lambda folder, model: model["nodes"][2].update(kind="magic"), "magic"),
        (lambda folder, model: model.update(output="nowhere.scores"), "no node 'nowhere'"),
        (lambda folder, model: model.pop("nodes"), "not a model"),
    ],
)
def test_a_damaged_model_folder_is_told_clearly(change, said: str, tmp_path: Path) -> None:
    folder = build_text_model(tmp_path / "model", text_rows())
    model = read_json(folder / "model.json")
    change(folder, model)
    write_json(folder / "model.json", model)
    with pytest.raises(StoreError, match=said):
        Graph.load(folder)
