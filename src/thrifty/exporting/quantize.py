"""Int8 copies of a model's ONNX files: smaller, and faster where the processor multiplies bytes; judged by the caller.

Files with convolutions are quantized statically (QDQ; activations unsigned, weights signed and of 7 bits, each output
channel by itself), calibrated on rows of the data: of 8 bits the sum of two products would not fit the 16 bits that
processors without VNNI have for it, and the same file would score worse there. In others large products take their
weights in blocks of int8 and quantize each row's activations by themselves, and large tables that rows are gathered
from become int8: there a row gives the same alone and in a batch, which default dynamic quantization breaks (for
MiniLM by 0.04; its vectors kept a cosine of 0.993 with the float ones, these keep 0.9994 at the same speed for single
rows).

Shapes: K inputs, M outputs, B inputs in a block, V rows of a table.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from thrifty.core.files import read_json, replacing, write_json
from thrifty.exporting.artifact import replacing_folder
from thrifty.runtime.graph import Graph
from thrifty.runtime.nodes import Node, digests

SMALLEST_BYTES = 100_000  # below that a file or a weight is left as it is
BLOCK = 64
MIN_TABLE_WIDTH = 16
CALIBRATION_BATCH = 16


@dataclass(frozen=True)
class Quantized:
    """A folder like the one it was made from, with the same names; `methods` says how each changed file was made."""

    folder: Path
    methods: Mapping[str, str]
    bytes_before: int
    bytes_after: int


def quantize(
    folder: Path, target: Path, columns: Mapping[str, Sequence[Any]], num_rows: int, threads: int = 1
) -> tuple[Quantized | None, str]:
    """Writes an int8 copy of a model folder or an artifact to `target`; (None, why) when no file of it shrinks.

    columns: raw values of `num_rows` rows to calibrate on, 32 to 200; they should be rows that the model learned from.
    """
    name = "artifact.json" if (folder / "artifact.json").exists() else "model.json"
    manifest = read_json(folder / name)
    nodes: list[Node] = manifest["nodes"]
    methods: dict[str, str] = {}
    reasons: list[str] = []
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".int8.", dir=target.parent) as made:
        for node in nodes:
            if node["kind"] == "onnx":
                method, why = _quantize_file(nodes, node, folder, Path(made), columns, num_rows, threads)
                if method:
                    methods[node["file"]] = method
                else:
                    reasons.append(f"{node['file']}: {why}")
        if not methods:
            return None, "; ".join(reasons) or "it has no ONNX file"
        with replacing_folder(target) as aside:
            for file in folder.iterdir():
                shutil.copyfile((Path(made) if file.name in methods else folder) / file.name, aside / file.name)
            if "files" in manifest:
                write_json(aside / name, {**manifest, "files": digests(nodes, aside)})
    before, after = (sum(file.stat().st_size for file in place.iterdir()) for place in (folder, target))
    return Quantized(target, methods, before, after), ""


def _quantize_file(
    nodes: Sequence[Node],
    node: Node,
    folder: Path,
    made: Path,
    columns: Mapping[str, Sequence[Any]],
    num_rows: int,
    threads: int,
) -> tuple[str, str]:
    """Writes the int8 file into `made` under its own name; gives (method, "") or ("", why not)."""
    source, target = folder / node["file"], made / node["file"]
    size = source.stat().st_size
    if size < SMALLEST_BYTES:
        return "", "it is small"
    model = onnx.load(source)
    operators = {item.op_type for item in model.graph.node}
    if "Conv" in operators:
        feeds = _feeds(nodes, node, folder, columns, num_rows, threads)
        try:
            _static(source, target, feeds)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            return "", f"the quantizer failed: {type(error).__name__}: {str(error)[:200]}"
        method = "static"
    elif _by_blocks(model):
        with replacing(target) as temporary:
            temporary.write_bytes(model.SerializeToString())
        method = "blocks"
    else:
        return "", "it has no large weights in convolutions, products or tables"
    if target.stat().st_size > 0.8 * size:
        return "", "it does not shrink"
    return method, ""


def _feeds(
    nodes: Sequence[Node],
    node: Node,
    folder: Path,
    columns: Mapping[str, Sequence[Any]],
    num_rows: int,
    threads: int,
) -> list[dict[str, np.ndarray]]:
    """What the node is given for the calibration rows, in small batches."""
    wanted = list(dict.fromkeys(node["inputs"].values()))
    graph = Graph(nodes, folder, wanted, threads)
    feeds = []
    for start in range(0, num_rows, CALIBRATION_BATCH):
        stop = min(start + CALIBRATION_BATCH, num_rows)
        arrays, _ = graph.run({name: columns[name][start:stop] for name in graph.columns}, stop - start)
        feeds.append({name: arrays[array] for name, array in node["inputs"].items()})
    return feeds


def _static(source: Path, target: Path, feeds: list[dict[str, np.ndarray]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with replacing(target) as temporary, _quiet():
        quantize_static(
            source, temporary, Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
        )  # fmt: skip


def _by_blocks(model: Any) -> bool:
    """Replaces large constant weights of products and tables by int8 ones, in place; says whether there were any."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    nodes: list[Any] = []
    changed = False
    for node in graph.node:
        place = {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)
        name = node.input[place] if place is not None else ""
        if name not in weights or uses[name] != 1 or len(weights[name].dims) != 2 or not _is_large(weights[name]):
            nodes.append(node)
            continue
        array = numpy_helper.to_array(weights[name])
        if node.op_type == "Gather":
            made, constants = _table(node, array)
        else:
            made, constants = _product(node, array)
        if not made:
            nodes.append(node)
            continue
        graph.initializer.remove(weights[name])
        graph.initializer.extend(constants)
        nodes.extend(made)
        changed = True
    if changed:
        del graph.node[:]
        graph.node.extend(nodes)
        if all(opset.domain != "com.microsoft" for opset in model.opset_import):
            model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return changed


def _is_large(tensor: Any) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and 4 * int(np.prod(tensor.dims)) >= SMALLEST_BYTES


def _product(node: Any, weight: np.ndarray) -> tuple[list[Any], list[Any]]:
    """MatMul or Gemm as MatMulNBits (and Add); nothing when it scales its operands or has a shape that does not fit."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        return [], []
    weight_MK = weight if attributes.get("transB", 0) else weight.T
    num_outputs, num_inputs = weight_MK.shape
    if num_inputs < BLOCK or num_outputs < MIN_TABLE_WIDTH:
        return [], []
    num_blocks = -(-num_inputs // BLOCK)
    padded = np.pad(weight_MK, ((0, 0), (0, num_blocks * BLOCK - num_inputs)))
    blocks_MbB = padded.reshape(num_outputs, num_blocks, BLOCK)
    scale_Mb = np.maximum(np.abs(blocks_MbB).max(axis=2), 1e-12) / 127.0
    bytes_MbB = (np.rint(blocks_MbB / scale_Mb[:, :, None]) + 128.0).astype(np.uint8)
    name = node.input[1]
    constants = [
        numpy_helper.from_array(bytes_MbB, f"{name}.bytes"),
        numpy_helper.from_array(scale_Mb.astype(np.float32).reshape(-1), f"{name}.scale"),
    ]
    has_bias = len(node.input) > 2 and node.input[2]
    product = f"{node.output[0]}.product" if has_bias else node.output[0]
    made = [
        helper.make_node(
            "MatMulNBits", [node.input[0], f"{name}.bytes", f"{name}.scale"], [product], domain="com.microsoft",
            K=num_inputs, N=num_outputs, bits=8, block_size=BLOCK, accuracy_level=4,
        )
    ]  # fmt: skip
    if has_bias:
        made.append(helper.make_node("Add", [product, node.input[2]], list(node.output)))
    return made, constants


def _table(node: Any, table_VD: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Gather from rows of int8, each with a scale of its own."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if axis != 0 or table_VD.shape[1] < MIN_TABLE_WIDTH:
        return [], []
    scale_V1 = np.maximum(np.abs(table_VD).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127.0
    bytes_VD = np.rint(table_VD / scale_V1).astype(np.int8)
    name, indices, output = node.input[0], node.input[1], node.output[0]
    constants = [numpy_helper.from_array(bytes_VD, f"{name}.bytes"), numpy_helper.from_array(scale_V1, f"{name}.scale")]
    made = [
        helper.make_node("Gather", [f"{name}.bytes", indices], [f"{output}.bytes"]),
        helper.make_node("Cast", [f"{output}.bytes"], [f"{output}.float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}.scale", indices], [f"{output}.scale"]),
        helper.make_node("Mul", [f"{output}.float", f"{output}.scale"], [output]),
    ]
    return made, constants


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice on the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
