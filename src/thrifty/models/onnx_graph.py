"""Writing an ONNX graph node by node: milliseconds where an exporter needs seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thrifty.core.files import replacing

OPSET = 17
IR_VERSION = 8  # read by onnxruntime 1.14 and newer


class OnnxGraph:
    """A graph under construction; every method that adds something returns the name of its value.

    Dimensions given as text are free ("N" for rows).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: Any, shape: tuple[int | str, ...]) -> str:
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), shape))
        return name

    def constant(self, array: NDArray[Any] | float | list[int], name: str | None = None) -> str:
        """A weight; a float becomes float32, a list of integers int64."""
        from onnx import numpy_helper

        dtype = np.float32 if isinstance(array, float) else np.int64 if isinstance(array, list) else None
        name = name or f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(array, dtype)), name))
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Adds an operator with one output; an empty input name is one left out."""
        from onnx import helper

        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def output(self, value: str, name: str, dtype: Any, shape: tuple[int | str, ...]) -> str:
        """Gives `value` out under `name`."""
        from onnx import helper

        self.node("Identity", value, output=name)
        self._outputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), shape))
        return name

    def model(self) -> Any:
        from onnx import helper

        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._weights)
        domains = {node.domain for node in self._nodes}
        opsets = [helper.make_opsetid(domain, 1 if domain else OPSET) for domain in sorted(domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="thrifty")

    def save(self, path: Path) -> Path:
        """Checks the graph (where that costs little: below 20 MB) and writes it, whole or not at all."""
        import onnx

        model = self.model()
        content = model.SerializeToString()
        if len(content) < 20_000_000 and all(opset.domain == "" for opset in model.opset_import):
            onnx.checker.check_model(content, full_check=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return path


def _onnx_type(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
