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

from thrifty.core.errors import DataError
from thrifty.models.onnx_graph import OnnxGraph

Weights = Mapping[str, NDArray[Any]]

NUM_FEATURES = 1280
EPSILON = 1e-3  # of batch normalisation, as trained


class Stage(NamedTuple):
    """`repeats` blocks alike, of which the first has the stride; `width` channels come out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112), Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320),
)  # fmt: skip


def read_weights(file: Path) -> dict[str, NDArray[Any]]:
    """The weights in a published .pth file, or in a safetensors file with timm's names, by their published names.

    timm's are of the architecture `tf_efficientnet_lite0`, which pads as TensorFlow does. Raises DataError for others.
    """
    if file.suffix == ".safetensors":
        from safetensors.numpy import load_file

        weights = {_published(name): value for name, value in load_file(file).items()}
    else:
        import torch

        state = torch.load(file, map_location="cpu", weights_only=True)
        weights = {name: tensor.numpy() for name, tensor in state.items()}
    blocks = sum(stage.repeats for stage in STAGES)
    needed = [f"_blocks.{block}._bn2.running_var" for block in range(blocks)]
    missing = [name for name in ("_conv_stem.weight", "_conv_head.weight", *needed) if name not in weights]
    if missing or weights["_conv_head.weight"].shape[0] != NUM_FEATURES:
        why = f"{missing[0]} is not in it" if missing else "its layers are wider"
        raise DataError(f"{file}: not the weights of EfficientNet-Lite0, for {why}")
    return weights


_TIMM_NARROW = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_TIMM_WIDE = {
    "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1", "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}  # fmt: skip
_TIMM_ENDS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}


def _published(name: str) -> str:
    """The published name of one of timm's (`blocks.1.0.conv_pw.weight`); other names as they are."""
    first, *rest = name.split(".")
    if first in _TIMM_ENDS:
        return ".".join([_TIMM_ENDS[first], *rest])
    if first != "blocks" or len(rest) < 4:
        return name
    stage, repeat, part = int(rest[0]), int(rest[1]), rest[2]
    block = sum(one.repeats for one in STAGES[:stage]) + repeat
    names = _TIMM_WIDE if stage else _TIMM_NARROW
    return ".".join([f"_blocks.{block}", names.get(part, part), *rest[3:]])


def write(weights_file: Path, path: Path, *, size: int | None = None) -> Path:
    """Writes the network in a file of weights as ONNX.

    Input `pixels`, uint8 [N, H, W, C] with C of 1 or 3, resized to `size` pixels a side within the graph where a size
    is given (32 at least); output `features`, float32 [N, D], D = 1280.
    """
    weights = read_weights(weights_file)
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
