"""Sentence embeddings by a BERT encoder (MiniLM): tokens in, mean-pooled vectors of length 1 out.

Letters of shapes: N rows, L tokens, D width, H heads, K width of a head.
https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1908.10084
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thrifty.core.errors import DataError
from thrifty.core.files import read_json
from thrifty.models.onnx_graph import OnnxGraph

Weights = Mapping[str, NDArray[Any]]


def write(folder: Path, path: Path) -> Path:
    """Writes the encoder in `folder` (config.json, model.safetensors) as ONNX.

    Inputs `ids` and `mask`, int64 [N, L] with L up to the model's number of positions; output `features`, float32
    [N, D]. Raises DataError when the folder holds something else than a BERT encoder.
    """
    from safetensors.numpy import load_file

    config = read_config(folder)
    weights = {_named(name): value for name, value in load_file(folder / "model.safetensors").items()}
    graph = OnnxGraph("bert")
    x_NLD, mask = _encoded(graph, weights, config)
    total_ND = _sum_of_seen(graph, x_NLD, mask)
    length = graph.node("ReduceL2", total_ND, axes=[1], keepdims=1)
    features_ND = graph.node("Div", total_ND, graph.node("Max", length, graph.constant(1e-9)))
    graph.output(features_ND, "features", np.float32, ("N", config["hidden_size"]))
    return graph.save(path)


def _named(name: str) -> str:
    """A weight's name without the prefix of a whole model, and as norms are called since the first files of BERT."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises DataError when it is of something else than a BERT encoder."""
    config: dict[str, Any] = read_json(folder / "config.json")
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        raise DataError(f"{folder}: a {config.get('model_type')!r} model; only BERT encoders with gelu can be read")
    return config


def write_scores(
    config: Mapping[str, Any], weights: Weights, head: tuple[NDArray[Any], NDArray[Any]], path: Path, output: str
) -> Path:
    """Writes an encoder and, on the mean over the tokens seen, a linear layer (weights [K, D], biases [K]) as ONNX.

    Inputs as for `write`; the output is float32 [N, K].
    """
    graph = OnnxGraph("bert")
    x_NLD, mask = _encoded(graph, weights, config)
    total_ND = _sum_of_seen(graph, x_NLD, mask)
    count_N1 = graph.node("ReduceSum", mask, graph.constant([1]), keepdims=1)
    mean_ND = graph.node("Div", total_ND, graph.node("Max", count_N1, graph.constant(1.0)))
    scores_NK = graph.node("Gemm", mean_ND, graph.constant(head[0].T), graph.constant(head[1]))
    graph.output(scores_NK, output, np.float32, ("N", len(head[1])))
    return graph.save(path)


def _encoded(graph: OnnxGraph, weights: Weights, config: Mapping[str, Any]) -> tuple[str, str]:
    """Adds the inputs and all layers; the last one's vectors [N, L, D], and the mask as float32 [N, L]."""
    ids_NL = graph.input("ids", np.int64, ("N", "L"))
    mask_NL = graph.input("mask", np.int64, ("N", "L"))
    mask = graph.node("Cast", mask_NL, to=1)
    x_NLD = _embeddings(graph, weights, ids_NL, config)
    unseen = graph.node("Unsqueeze", graph.node("Sub", graph.constant(1.0), mask), graph.constant([1, 2]))
    bias_N11L = graph.node("Mul", unseen, graph.constant(-10_000.0))
    for layer in range(config["num_hidden_layers"]):
        x_NLD = _layer(graph, weights, f"encoder.layer.{layer}", x_NLD, bias_N11L, config)
    return x_NLD, mask


def _embeddings(graph: OnnxGraph, weights: Weights, ids_NL: str, config: Mapping[str, Any]) -> str:
    words = graph.node("Gather", graph.constant(weights["embeddings.word_embeddings.weight"], "words"), ids_NL)
    position = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.node("Gather", graph.node("Shape", ids_NL), graph.constant([1]))
    positions = graph.node("Slice", graph.constant(position, "positions"), graph.constant([0]), length)
    return _norm(graph, weights, "embeddings.LayerNorm", graph.node("Add", words, positions), config)


def _layer(graph: OnnxGraph, weights: Weights, at: str, x_NLD: str, bias_N11L: str, config: Mapping[str, Any]) -> str:
    attended = _attention(graph, weights, at, x_NLD, bias_N11L, config)
    attended = _dense(graph, weights, f"{at}.attention.output.dense", attended)
    x_NLD = _norm(graph, weights, f"{at}.attention.output.LayerNorm", graph.node("Add", attended, x_NLD), config)
    inner = _gelu(graph, _dense(graph, weights, f"{at}.intermediate.dense", x_NLD))
    inner = _dense(graph, weights, f"{at}.output.dense", inner)
    return _norm(graph, weights, f"{at}.output.LayerNorm", graph.node("Add", inner, x_NLD), config)


def _attention(
    graph: OnnxGraph, weights: Weights, at: str, x_NLD: str, bias_N11L: str, config: Mapping[str, Any]
) -> str:
    num_heads, width = config["num_attention_heads"], config["hidden_size"]
    split = graph.constant([0, 0, num_heads, width // num_heads])

    def heads(name: str, order: list[int]) -> str:
        value_NLD = _dense(graph, weights, f"{at}.attention.self.{name}", x_NLD)
        return graph.node("Transpose", graph.node("Reshape", value_NLD, split), perm=order)

    q_NHLK, k_NHKL, v_NHLK = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scale = graph.constant(float((width // num_heads) ** 0.5))
    match_NHLL = graph.node("Add", graph.node("Div", graph.node("MatMul", q_NHLK, k_NHKL), scale), bias_N11L)
    mixed_NHLK = graph.node("MatMul", graph.node("Softmax", match_NHLL, axis=-1), v_NHLK)
    mixed_NLHK = graph.node("Transpose", mixed_NHLK, perm=[0, 2, 1, 3])
    return graph.node("Reshape", mixed_NLHK, graph.constant([0, 0, width]))


def _dense(graph: OnnxGraph, weights: Weights, at: str, x: str) -> str:
    product = graph.node("MatMul", x, graph.constant(weights[f"{at}.weight"].T, f"{at}.weight"))
    return graph.node("Add", product, graph.constant(weights[f"{at}.bias"], f"{at}.bias"))


def _norm(graph: OnnxGraph, weights: Weights, at: str, x: str, config: Mapping[str, Any]) -> str:
    scale, shift = (graph.constant(weights[f"{at}.{name}"], f"{at}.{name}") for name in ("weight", "bias"))
    return graph.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=config["layer_norm_eps"])


def _gelu(graph: OnnxGraph, x: str) -> str:
    erf = graph.node("Erf", graph.node("Div", x, graph.constant(float(2**0.5))))
    gate = graph.node("Add", erf, graph.constant(1.0))
    return graph.node("Mul", graph.node("Mul", x, gate), graph.constant(0.5))


def _sum_of_seen(graph: OnnxGraph, x_NLD: str, mask_NL: str) -> str:
    """The sum over the tokens that the mask shows, [N, D]."""
    mask_NL1 = graph.node("Unsqueeze", mask_NL, graph.constant([2]))
    return graph.node("ReduceSum", graph.node("Mul", x_NLD, mask_NL1), graph.constant([1]), keepdims=0)
