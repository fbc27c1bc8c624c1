"""Image features by EfficientNet-Lite0, batch normalisation folded into the convolutions.

Letters of shapes: N rows, H height, W width, C channels, D features.
https://arxiv.org/abs/1905.11946, https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thrifty.models.onnx_graph import OnnxGraph

Weights = Mapping[str, NDArray[Any]]

NUM_FEATURES = 1280
EPSILON = 1e-3  # of batch normalisation, as trained


class Stage(NamedTuple):
    """`repeats` blocks alike, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int


STAGES = (
    Stage(1, 3, 1, 1), Stage(2, 3, 2, 6), Stage(2, 5, 2, 6), Stage(3, 3, 2, 6), Stage(3, 5, 1, 6), Stage(4, 5, 2, 6),
    Stage(1, 3, 1, 6),
)  # fmt: skip


def write(weights_file: Path, path: Path, *, size: int | None = None) -> Path:
    """Writes the network in a .pth state dict as ONNX.

    Input `pixels`, uint8 [N, H, W, C] with C of 1 or 3, resized to `size` pixels a side within the graph where a size
    is given (32 at least); output `features`, float32 [N, D], D = 1280.
    """
    import torch

    state = torch.load(weights_file, map_location="cpu", weights_only=True)
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    graph = OnnxGraph("efficientnet_lite0")
    pixels_NHWC = graph.input("pixels", np.uint8, ("N", "H", "W", "C"))
    x_NCHW = _normalised(graph, pixels_NHWC, size)
    x_NCHW = _relu6(graph, _convolution(graph, weights, "_conv_stem", "_bn0", x_NCHW, stride=2))
    block = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x_NCHW = _block(graph, weights, f"_blocks.{block}", x_NCHW, stage, repeat)
            block += 1
    x_NCHW = _relu6(graph, _convolution(graph, weights, "_conv_head", "_bn1", x_NCHW))
    features_ND = graph.node("Flatten", graph.node("GlobalAveragePool", x_NCHW))
    graph.output(features_ND, "features", np.float32, ("N", NUM_FEATURES))
    return graph.save(path)


def _normalised(graph: OnnxGraph, pixels_NHWC: str, size: int | None) -> str:
    """Pixels as float32 [N, 3, H, W] of about -1 to 1; grey ones three times."""
    x_NCHW = graph.node("Transpose", graph.node("Cast", pixels_NHWC, to=1), perm=[0, 3, 1, 2])
    if size is not None:
        rows_and_channels = graph.node("Slice", graph.node("Shape", x_NCHW), graph.constant([0]), graph.constant([2]))
        shape = graph.node("Concat", rows_and_channels, graph.constant([size, size]), axis=0)
        x_NCHW = graph.node("Resize", x_NCHW, "", "", shape, mode="linear")
    x_NCHW = graph.node("Expand", x_NCHW, graph.constant([1, 3, 1, 1]))
    return graph.node("Div", graph.node("Sub", x_NCHW, graph.constant(127.0)), graph.constant(128.0))


def _block(graph: OnnxGraph, weights: Weights, at: str, x: str, stage: Stage, repeat: int) -> str:
    """Widen, filter each channel alone, narrow; added to its input from a stage's second block on."""
    inner = x
    if stage.expansion > 1:
        inner = _relu6(graph, _convolution(graph, weights, f"{at}._expand_conv", f"{at}._bn0", inner))
    stride = stage.stride if repeat == 0 else 1
    inner = _relu6(graph, _convolution(graph, weights, f"{at}._depthwise_conv", f"{at}._bn1", inner, stride=stride))
    inner = _convolution(graph, weights, f"{at}._project_conv", f"{at}._bn2", inner)
    return inner if repeat == 0 else graph.node("Add", inner, x)


def _convolution(graph: OnnxGraph, weights: Weights, at: str, norm: str, x: str, stride: int = 1) -> str:
    kernel = weights[f"{at}.weight"]  # [out, in / groups, height, width]
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    folded = graph.constant((kernel * scale[:, None, None, None]).astype(np.float32), f"{at}.weight")
    group = kernel.shape[0] if "depthwise" in at else 1
    return graph.node(
        "Conv", x, folded, graph.constant(bias.astype(np.float32), f"{at}.bias"),
        auto_pad="SAME_UPPER", strides=[stride, stride], group=group, kernel_shape=list(kernel.shape[2:]),
    )  # fmt: skip


def _relu6(graph: OnnxGraph, x: str) -> str:
    return graph.node("Clip", x, graph.constant(0.0), graph.constant(6.0))
