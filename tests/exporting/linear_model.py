"""A hand-made model folder: numbers times a matrix."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.data.encode.number import Number
from thrifty.runtime.nodes import encoder_node, onnx_node, write_model

SCHEMA = Schema(
    (Column("a", Meaning.NUMBER, ""), Column("b", Meaning.NUMBER, ""), Column("id", Meaning.IGNORED, "")),
    "y",
    Task.BINARY,
    ("no", "yes"),
)


def model_of(folder: Path, weights: np.ndarray, columns: tuple[str, ...] = ("a", "b"), name: str = "head") -> Path:
    """scores = numbers x weights."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", len(weights)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / f"{name}.onnx")
    nodes = [encoder_node("x", Number(columns), folder), onnx_node(name, f"{name}.onnx", {"x": "x.values"})]
    write_model(folder, nodes, f"{name}.scores")
    return folder
