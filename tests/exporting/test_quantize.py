from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from linear_model import model_of
from onnx import numpy_helper

from thrifty.core.files import read_json
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.data.encode.image import Image
from thrifty.data.encode.number import Number
from thrifty.exporting.artifact import Member, assemble
from thrifty.exporting.onnx import export_module
from thrifty.exporting.quantize import quantize
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.onnx_graph import OnnxGraph
from thrifty.runtime.graph import Graph
from thrifty.runtime.nodes import encoder_node, onnx_node, write_model
from thrifty.runtime.predictor import Predictor

RNG = np.random.default_rng(0)


def compare(folder: Path, small: Path, columns: dict, num_rows: int) -> float:
    """The largest difference of scores, relative to their deviation, after checking that batches change nothing."""
    whole = Graph.load(folder).scores(columns, num_rows)
    graph = Graph.load(small)
    scores = graph.scores(columns, num_rows)
    alone = graph.scores({name: values[:1] for name, values in columns.items()}, 1)
    assert np.abs(alone[0] - scores[0]).max() < 1e-4 * max(1.0, float(np.abs(scores).max()))
    return float(np.abs(scores - whole).max() / whole.std())


def test_a_convolutional_network_becomes_int8_calibrated_on_rows(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(0)
    network = ImageNetwork(16, 1, 4, width=32, blocks_per_stage=1, dropout=0.0)
    pixels = RNG.integers(0, 256, (40, 16, 16, 1), dtype=np.uint8)
    network.standardise(torch.from_numpy(pixels))
    export_module(network, {"pixels": torch.from_numpy(pixels)}, folder / "network.onnx")
    nodes = [
        encoder_node("input", Image(("i",), 16, 1), folder),
        onnx_node("network", "network.onnx", {"pixels": "input.pixels"}),
    ]
    write_model(folder, nodes, "network.scores")
    columns = {"i": list(pixels)}
    made, why = quantize(folder, tmp_path / "small", columns, 40)
    assert made is not None, why
    assert made.methods == {"network.onnx": "static"}
    assert made.bytes_after < 0.4 * made.bytes_before
    assert compare(folder, made.folder, columns, 40) < 0.5


def test_a_convolution_gives_the_same_on_processors_whose_sums_of_bytes_saturate(tmp_path: Path) -> None:
    """Large inputs times large weights, of which processors without VNNI keep the sum of two in 16 bits."""
    folder = tmp_path / "model"
    folder.mkdir()
    graph = OnnxGraph("g")
    x = graph.input("pixels", np.uint8, ("N", 16, 16, 1))
    planes = graph.node("Transpose", graph.node("Cast", x, to=1), perm=[0, 3, 1, 2])
    weights = [RNG.uniform(0.5, 1.0, shape).astype(np.float32) for shape in ((64, 1, 3, 3), (64, 64, 3, 3))]
    hidden = graph.node("Conv", graph.node("Conv", planes, graph.constant(weights[0])), graph.constant(weights[1]))
    graph.output(graph.node("ReduceMean", hidden, axes=[2, 3], keepdims=0), "scores", np.float32, ("N", 64))
    graph.save(folder / "g.onnx")
    nodes = [encoder_node("i", Image(("i",), 16, 1), folder), onnx_node("g", "g.onnx", {"pixels": "i.pixels"})]
    write_model(folder, nodes, "g.scores")
    columns = {"i": list(RNG.integers(128, 256, (40, 16, 16, 1), dtype=np.uint8))}
    made, why = quantize(folder, tmp_path / "small", columns, 40)
    assert made is not None, why
    assert compare(folder, made.folder, columns, 40) < 0.2
    kept = [numpy_helper.to_array(tensor) for tensor in onnx.load(made.folder / "g.onnx").graph.initializer]
    assert max(np.abs(array.astype(int)).max() for array in kept if array.dtype == np.int8) <= 64


def test_products_and_tables_become_int8_and_rows_stay_the_same_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    graph = OnnxGraph("g")
    x = graph.input("x", np.float32, ("N", 100))
    weights = [RNG.normal(size=shape).astype(np.float32) for shape in ((100, 300), (300, 100), (100, 3), (2000, 100))]
    hidden = graph.node("Relu", graph.node("MatMul", x, graph.constant(weights[0])))
    hidden = graph.node("Gemm", hidden, graph.constant(weights[1]), graph.constant(np.ones(100, np.float32)))
    code = graph.node("Cast", graph.node("Abs", graph.node("ReduceSum", x, graph.constant([1]), keepdims=0)), to=7)
    hidden = graph.node("Add", hidden, graph.node("Gather", graph.constant(weights[3]), code))
    graph.output(graph.node("MatMul", hidden, graph.constant(weights[2])), "scores", np.float32, ("N", 3))
    graph.save(folder / "g.onnx")
    names = tuple(f"c{i}" for i in range(100))
    write_model(
        folder, [encoder_node("n", Number(names), folder), onnx_node("g", "g.onnx", {"x": "n.values"})], "g.scores"
    )
    columns = {name: RNG.normal(size=30).tolist() for name in names}
    made, why = quantize(folder, tmp_path / "small", columns, 30)
    assert made is not None, why
    assert made.methods == {"g.onnx": "blocks"}
    assert made.bytes_after < 0.4 * made.bytes_before
    assert compare(folder, made.folder, columns, 30) < 0.05
    assert read_json(made.folder / "model.json") == read_json(folder / "model.json")


def test_a_quantized_artifact_has_the_digests_of_its_own_files(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(300))
    model = model_of(tmp_path / "model", RNG.normal(size=(300, 100)), names)
    schema = Schema(
        tuple(Column(name, Meaning.NUMBER, "") for name in names), "y", Task.MULTICLASS, tuple(map(str, range(100)))
    )
    folder = assemble([Member(model)], schema, tmp_path / "artifact")
    columns = {name: RNG.normal(size=30).tolist() for name in names}
    made, why = quantize(folder, tmp_path / "small", columns, 30)
    assert made is not None, why
    before, after = (read_json(place / "artifact.json") for place in (folder, made.folder))
    assert after["files"] != before["files"]
    assert {**after, "files": None} == {**before, "files": None}
    row = {name: values[0] for name, values in columns.items()}
    assert Predictor.load(made.folder).predict([row])[0]["error"] is None


def test_a_small_model_is_left_alone_and_the_reason_said(tmp_path: Path) -> None:
    folder = model_of(tmp_path / "model", np.eye(2))
    made, why = quantize(folder, tmp_path / "small", {"a": [1.0], "b": [2.0]}, 1)
    assert made is None
    assert why == "head.onnx: it is small"
    assert not (tmp_path / "small").exists()


def test_large_weights_of_other_kinds_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    graph = OnnxGraph("g")
    x = graph.input("x", np.float32, ("N", 2))
    far = graph.node("ReduceMax", graph.constant(np.ones((300, 300), np.float32)), axes=[0, 1], keepdims=1)
    graph.output(graph.node("Add", x, far), "scores", np.float32, ("N", 2))
    graph.save(folder / "g.onnx")
    write_model(
        folder, [encoder_node("n", Number(("a", "b")), folder), onnx_node("g", "g.onnx", {"x": "n.values"})], "g.scores"
    )
    made, why = quantize(folder, tmp_path / "small", {"a": [1.0], "b": [2.0]}, 1)
    assert made is None
    assert "no large weights" in why


@pytest.mark.slow
def test_minilm_keeps_its_vectors_at_a_quarter_of_the_size(tmp_path: Path) -> None:
    from thrifty.data.cache import Cache
    from thrifty.data.encode.tokens import Tokens
    from thrifty.models import weights
    from thrifty.models.backbones.files import backbone

    found = weights.find("text")
    if found is None:
        pytest.skip("no text weights are installed")
    made = backbone(found, Cache(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "bert.onnx").write_bytes(made.path.read_bytes())
    encoder = Tokens(("t",), (found.folder / "tokenizer.json").read_text(encoding="utf-8"))
    nodes = [
        encoder_node("tokens", encoder, folder),
        onnx_node("bert", "bert.onnx", {"ids": "tokens.ids", "mask": "tokens.mask"}, ("features",)),
    ]
    write_model(folder, nodes, "bert.features")
    columns = {"t": ["A fine film.", "I want my money back!", "Long " * 40, "x", "Das ist gut."]}
    small, why = quantize(folder, tmp_path / "small", columns, 5)
    assert small is not None, why
    assert (small.folder / "bert.onnx").stat().st_size < 25_000_000
    cosines = (Graph.load(folder).scores(columns, 5) * Graph.load(small.folder).scores(columns, 5)).sum(axis=1)
    assert cosines.min() > 0.998
