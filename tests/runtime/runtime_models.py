"""Hand-made model folders: a linear model on TF-IDF and numbers, and one on pixels."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from thrifty.data.encode.image import Image
from thrifty.data.encode.number import Number
from thrifty.data.encode.tfidf import Tfidf
from thrifty.runtime.nodes import encoder_node, onnx_node, write_model

WORDS = ("red fox", "blue sea", "old tree", "green hill", "grey stone")


def text_rows(num: int = 40, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {"text": " ".join(rng.choice(WORDS, rng.integers(1, 6))), "a": float(rng.normal()), "b": int(rng.integers(9))}
        for _ in range(num)
    ]


def columns_of(rows: list[dict]) -> dict[str, list]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


def save(folder: Path, name: str, inputs: list, nodes: list, constants: dict[str, np.ndarray]) -> None:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, kind, shape) for n, kind, shape in inputs],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "K"])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / f"{name}.onnx")


def build_text_model(
    folder: Path, rows: list[dict], num_classes: int = 3, seed: int = 0, scale: str = "standard"
) -> Path:
    """scores = sum of term weights + numbers x matrix."""
    folder.mkdir(parents=True)
    columns = columns_of(rows)
    tfidf = Tfidf.fit(columns, ["text"], max_features=500)
    number = Number.fit(columns, ["a", "b"], scale)
    rng = np.random.default_rng(seed)
    constants = {
        "terms": rng.normal(size=(tfidf.num_columns, num_classes)).astype(np.float32),
        "matrix": rng.normal(size=(2, num_classes)).astype(np.float32),
        "last": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["terms", "indices"], ["rows"]),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "one"], ["text"], keepdims=0),
        helper.make_node("MatMul", ["values", "matrix"], ["numbers"]),
        helper.make_node("Add", ["text", "numbers"], ["scores"]),
    ]
    inputs = [
        ("indices", TensorProto.INT64, ["N", "L"]),
        ("weights", TensorProto.FLOAT, ["N", "L"]),
        ("values", TensorProto.FLOAT, ["N", 2]),
    ]
    save(folder, "head", inputs, nodes, constants)
    head = {"indices": "text.indices", "weights": "text.weights", "values": "numbers.values"}
    made = [
        encoder_node("text", tfidf, folder),
        encoder_node("numbers", number, folder),
        onnx_node("head", "head.onnx", head),
    ]
    write_model(folder, made, "head.scores")
    return folder


def build_image_model(folder: Path, num_classes: int = 2) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    constants = {"matrix": (rng.normal(size=(64, num_classes)) / 255).astype(np.float32), "shape": np.array([0, -1])}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    save(folder, "net", [("pixels", TensorProto.UINT8, ["N", 8, 8, 1])], nodes, constants)
    made = [
        encoder_node("image", Image(("file",), 8, 1), folder),
        onnx_node("net", "net.onnx", {"pixels": "image.pixels"}),
    ]
    write_model(folder, made, "net.scores")
    return folder
