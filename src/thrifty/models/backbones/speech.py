"""Speech features by Google's speech embedding, as openWakeWord ships it: a sound in, pooled vectors out.

The published pair of files takes windows of 76 frames one by one. Here both are one graph that slides over the whole
sound, which gives the same numbers in a fifth of the time, and the loudest frame is looked for in each row alone.
Letters of shapes: N rows, T samples, F frames, B frequencies, M mel bands (32), W windows, D width of a window (96).
https://arxiv.org/abs/2002.01322, https://github.com/dscripka/openWakeWord
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thrifty.models.onnx_graph import OnnxGraph

NUM_FEATURES = 3 * 96
MARGIN = 6000  # samples of silence put before and after the sound, for sounds shorter than a window
HOP = 160
DECIBELS = 80.0  # what is further below the loudest frame counts as silence


def write(folder: Path, path: Path) -> Path:
    """Writes the network in `folder` (melspectrogram.onnx, embedding_model.onnx) as one ONNX file.

    Input `waveform`, float32 [N, T] at 16 kHz, -1 to 1; output `features`, float32 [N, 3 D]: mean, largest and smallest
    over the windows.
    """
    import onnx

    graph = OnnxGraph("speech_embedding")
    waveform_NT = graph.input("waveform", np.float32, ("N", "T"))
    mel_NFM = _log_mel(graph, waveform_NT, _weights(onnx.load(folder / "melspectrogram.onnx")))
    windows_NDW1 = _embedding(graph, mel_NFM, onnx.load(folder / "embedding_model.onnx"))
    pooled = [graph.node(f"Reduce{how}", windows_NDW1, axes=[2, 3], keepdims=0) for how in ("Mean", "Max", "Min")]
    graph.output(graph.node("Concat", *pooled, axis=1), "features", np.float32, ("N", NUM_FEATURES))
    return graph.save(path)


def _weights(model: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _log_mel(graph: OnnxGraph, waveform_NT: str, weights: dict[str, NDArray[Any]]) -> str:
    """Decibels over 10, plus 2, as the embedding was trained on."""
    padded_NT = graph.node("Pad", waveform_NT, graph.constant([0, MARGIN, 0, MARGIN]))
    scaled_NT = graph.node("Mul", padded_NT, graph.constant(32767.0))
    scaled_N1T = graph.node("Unsqueeze", scaled_NT, graph.constant([1]))
    parts = []
    for name in ("0.stft.conv_real.weight", "0.stft.conv_imag.weight"):
        part_NBF = graph.node("Conv", scaled_N1T, graph.constant(weights[name], name), strides=[HOP])
        parts.append(graph.node("Mul", part_NBF, part_NBF))
    power_NFB = graph.node("Transpose", graph.node("Add", *parts), perm=[0, 2, 1])
    mel_NFM = graph.node("MatMul", power_NFB, graph.constant(weights["1.melW"], "1.melW"))
    natural_NFM = graph.node("Log", graph.node("Max", mel_NFM, graph.constant(1e-10)))
    decibels_NFM = graph.node("Mul", natural_NFM, graph.constant(float(10.0 / np.log(10.0))))
    loudest_N11 = graph.node("ReduceMax", decibels_NFM, axes=[1, 2], keepdims=1)
    floor_N11 = graph.node("Sub", loudest_N11, graph.constant(DECIBELS))
    heard_NFM = graph.node("Max", decibels_NFM, floor_N11)
    return graph.node("Add", graph.node("Div", heard_NFM, graph.constant(10.0)), graph.constant(2.0))


def _embedding(graph: OnnxGraph, mel_NFM: str, model: Any) -> str:
    """The published convolutions, without the reshapes around them that fix the number of frames."""
    from onnx import helper

    first, *nodes, _ = model.graph.node
    used = {name for node in nodes for name in node.input}
    values = {name: graph.constant(array, name) for name, array in _weights(model).items() if name in used}
    values[first.output[0]] = graph.node("Unsqueeze", mel_NFM, graph.constant([1]))
    for node in nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values[node.output[0]] = graph.node(node.op_type, *[values[name] for name in node.input], **attributes)
    return values[nodes[-1].output[0]]
