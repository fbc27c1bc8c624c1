"""ONNX graphs of classical models, written node by node from their arrays: constant, linear, kernel, forest.

Every graph takes encoder outputs as they are (float32 [N, D] blocks, int64 [N, D] codes, padded sparse text as int64
`NAME_indices` and float32 `NAME_weights` [N, L]) and gives float32 [N, K], named `scores` unless said otherwise.
Shapes: N rows, D columns of a block, L terms of a row (padded with weight 0), F terms, C components, M centers, P axes
or split nodes, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
ML_OPSET = 5
IR_VERSION = 9
TREES_IN_A_NODE = 1000


@dataclass(frozen=True)
class Dense:
    """A float32 input block `name` [N, D]; what is used of it is (x - mean_D) * factor_D, cut at +-limit_D."""

    name: str
    mean_D: np.ndarray
    factor_D: np.ndarray
    limit_D: np.ndarray | None = None


@dataclass(frozen=True)
class Codes:
    """An int64 input block `name` [N, D] of categories; column d becomes tables[d][code], a float32."""

    name: str
    tables: Sequence[np.ndarray]


@dataclass(frozen=True)
class Forest:
    """The split nodes of all trees, one after another, and their leaves.

    left_P, right_P: a child's number in these arrays, or -1 - leaf for a leaf of `leaf_value`, `leaf_target`.
    A row goes left where its value <= threshold_P (float32), and where it is NaN and missing_left_P.
    """

    roots: np.ndarray
    feature_P: np.ndarray
    threshold_P: np.ndarray
    missing_left_P: np.ndarray
    left_P: np.ndarray
    right_P: np.ndarray
    leaf_value: np.ndarray
    leaf_target: np.ndarray


class _Graph:
    """Collects nodes, constants and inputs while a graph is written."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, width: int | str) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["N", width]))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def floats(self, value: np.ndarray) -> str:
        return self.constant(np.asarray(value, np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def finish(self, value: str, output: str, width: int) -> ModelProto:
        self.nodes.append(helper.make_node("Identity", [value], [output]))
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])
        graph = helper.make_graph(self.nodes, "thrifty", self.inputs, [info], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain for node in self.nodes):
            opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="thrifty")


def constant(name: str, kind: int, width: int, scores_K: np.ndarray) -> ModelProto:
    """The same scores for every row; the input `name` [N, width] of the onnx type `kind` only says how many."""
    graph = _Graph()
    rows = graph.add("Slice", graph.add("Shape", graph.input(name, kind, width)), graph.ints(0), graph.ints(1))
    shape = graph.add("Concat", rows, graph.ints(len(scores_K)), axis=0)
    return graph.finish(graph.add("Expand", graph.floats(scores_K[None]), shape), "scores", len(scores_K))


def linear(
    dense: Sequence[tuple[Dense, np.ndarray]], sparse: Sequence[tuple[str, np.ndarray]], bias_K: np.ndarray
) -> ModelProto:
    """bias + the sum over dense blocks of standardised x times weights [D, K], and over sparse ones of weights [F, K]
    gathered by a row's indices, times its weights. Memory is N * L * K floats: hand it rows in batches.
    """
    graph = _Graph()
    parts = [graph.add("MatMul", _standardised(graph, block), graph.floats(weights_DK)) for block, weights_DK in dense]
    parts += [_gathered(graph, name, weights_FK) for name, weights_FK in sparse]
    total = parts[0] if len(parts) == 1 else graph.add("Sum", *parts)
    return graph.finish(graph.add("Add", total, graph.floats(bias_K)), "scores", len(bias_K))


def components(name: str, weights_FC: np.ndarray) -> ModelProto:
    """A sparse block times `weights_FC`, summed in float64 so that a row gives the same bits alone and in a batch.

    Its output is `features`: trees stand on it, and the last bit may decide where a row goes.
    """
    graph = _Graph()
    return graph.finish(_gathered(graph, name, weights_FC, exact=True), "features", weights_FC.shape[1])


def filled(
    name: str,
    sign: str,
    mean_D: np.ndarray,
    group_D: np.ndarray,
    flagged: bool,
    flags_G: np.ndarray,
    missing_G: np.ndarray,
    least: float,
) -> ModelProto:
    """A dense block with `mean_D` in the columns of values that a row lacks; its output is `features`.

    sign, least, flags_G, missing_G: how it is told which values are there, as `engines.absence` says. group_D: the
    value that each column belongs to. flagged: append 1 or 0 for each value that is there.
    """
    graph = _Graph()
    x_ND = graph.input(name, TensorProto.FLOAT, len(mean_D))
    if sign == "values":
        flag_NG = graph.add("Gather", x_ND, graph.constant(flags_G), axis=1)
        there_NG = graph.add("Not", graph.add("Equal", flag_NG, graph.floats(missing_G)))
    else:
        kind = TensorProto.INT64 if sign == "mask" else TensorProto.FLOAT
        given = graph.add("Cast", graph.input(f"{name}_{sign}", kind, "L"), to=TensorProto.FLOAT)
        total_N1 = graph.add("ReduceSum", given, graph.ints(1), keepdims=1)
        there_NG = graph.add("Greater", total_N1, graph.floats(np.array(least)))
    there_ND = graph.add("Gather", there_NG, graph.constant(group_D.astype(np.int64)), axis=1)
    value = graph.add("Where", there_ND, x_ND, graph.floats(mean_D))
    if flagged:
        value = graph.add("Concat", value, graph.add("Cast", there_NG, to=TensorProto.FLOAT), axis=1)
    return graph.finish(value, "features", len(mean_D) + (int(group_D[-1]) + 1 if flagged else 0))


def usual(sign: str, least: float, scores_K: np.ndarray) -> ModelProto:
    """The input `learned` [N, K], or `scores_K` in rows whose input `SIGN` [N, L] sums to no more than `least`."""
    graph = _Graph()
    scores_NK = graph.input("learned", TensorProto.FLOAT, len(scores_K))
    kind = TensorProto.INT64 if sign == "mask" else TensorProto.FLOAT
    given = graph.add("Cast", graph.input(sign, kind, "L"), to=TensorProto.FLOAT)
    total_N1 = graph.add("ReduceSum", given, graph.ints(1), keepdims=1)
    there_N1 = graph.add("Greater", total_N1, graph.floats(np.array(least)))
    return graph.finish(graph.add("Where", there_N1, scores_NK, graph.floats(scores_K)), "scores", len(scores_K))


def kernel(
    dense: Sequence[Dense],
    axes_DP: np.ndarray | None,
    centers_MP: np.ndarray,
    gamma: float,
    weights_MK: np.ndarray,
    factor: float,
    bias_K: np.ndarray,
) -> ModelProto:
    """bias + factor * exp(-gamma |x - center|^2) times weights; x: the standardised blocks in a row, along the axes.

    axes_DP: None for x as it is. In float64 inside: weights of some hundreds that nearly cancel would lose float32's
    digits. The constants are float32 on disk.
    """
    graph = _Graph()

    def wide(values: np.ndarray) -> str:
        return graph.add("Cast", graph.floats(values), to=TensorProto.DOUBLE)

    x_NP = _beside(graph, [_standardised(graph, block) for block in dense])
    x_NP = graph.add("Cast", x_NP, to=TensorProto.DOUBLE)
    if axes_DP is not None:
        x_NP = graph.add("MatMul", x_NP, wide(axes_DP))
    norms_N1 = graph.add("ReduceSum", graph.add("Mul", x_NP, x_NP), graph.ints(1), keepdims=1)
    # -gamma |x - z|^2 = 2 gamma x.z - gamma |x|^2 - gamma |z|^2, never above 0
    doubled_NP = graph.add("Mul", x_NP, graph.constant(np.array(2.0 * gamma)))
    cross_NM = graph.add("MatMul", doubled_NP, wide(np.asarray(centers_MP, np.float32).T))
    theirs_M = graph.constant(-gamma * np.square(centers_MP, dtype=np.float64).sum(axis=1))
    own_N1 = graph.add("Mul", norms_N1, graph.constant(np.array(-gamma)))
    exponent_NM = graph.add("Add", graph.add("Add", cross_NM, theirs_M), own_N1)
    kernel_NM = graph.add("Exp", graph.add("Min", exponent_NM, graph.constant(np.array(0.0))))
    sums_NK = graph.add("Mul", graph.add("MatMul", kernel_NM, wide(weights_MK)), graph.constant(np.array(factor)))
    total_NK = graph.add("Add", sums_NK, graph.constant(np.asarray(bias_K, np.float64)))
    return graph.finish(graph.add("Cast", total_NK, to=TensorProto.FLOAT), "scores", len(bias_K))


def forest(blocks: Sequence[Dense | Codes], trees: Forest, bias_K: np.ndarray) -> ModelProto:
    """bias + the sum of the leaves that the blocks side by side fall into; NaN is a missing value."""
    graph = _Graph()
    columns = [_looked_up(graph, b) if isinstance(b, Codes) else _standardised(graph, b) for b in blocks]
    x_ND = _beside(graph, columns)
    if len(trees.roots):
        parts = []
        for piece in _pieces(trees):
            node = helper.make_node("TreeEnsemble", [x_ND], [f"v{len(graph.nodes)}"], domain="ai.onnx.ml")
            node.attribute.extend(_tree_attributes(piece, len(bias_K)))
            graph.nodes.append(node)
            parts.append(node.output[0])
        sums_NK = parts[0] if len(parts) == 1 else graph.add("Sum", *parts)
    else:
        sums_NK = graph.add("MatMul", x_ND, graph.floats(np.zeros((_width(blocks), len(bias_K)))))
        sums_NK = graph.add("Where", graph.add("IsNaN", sums_NK), graph.floats(np.array(0.0)), sums_NK)
    return graph.finish(graph.add("Add", sums_NK, graph.floats(bias_K)), "scores", len(bias_K))


def forest_of_lightgbm(text: str, num_outputs: int) -> tuple[Forest, np.ndarray]:
    """The trees of a LightGBM model's text form (`Booster.model_to_string`), and the sum of its trees without a split,
    float64 [num_outputs]. Tree i adds to output i % num_outputs.

    Thresholds become the largest float32 not above them, so that a float32 input goes the same way. Categorical splits
    are refused with ValueError: categories are looked up before.
    """
    leaves_T = _numbers(text, "num_leaves").astype(np.int64)
    splits_T = leaves_T - 1
    first_split_T = np.cumsum(splits_T) - splits_T
    first_leaf_T = np.cumsum(leaves_T) - leaves_T
    decision_P = _numbers(text, "decision_type").astype(np.int64)
    if (decision_P & 1).any():
        raise ValueError("categorical splits cannot be written; look categories up before")
    offset_P, leaf_offset_P = np.repeat(first_split_T, splits_T), np.repeat(first_leaf_T, splits_T)
    children = []
    for key in ("left_child", "right_child"):
        child_P = _numbers(text, key).astype(np.int64)
        children.append(np.where(child_P >= 0, child_P + offset_P, child_P - leaf_offset_P))
    exact_P = _numbers(text, "threshold")
    target_T = np.arange(len(leaves_T)) % num_outputs
    leaf_target = np.repeat(target_T, leaves_T)
    leaf_value = _numbers(text, "leaf_value")
    lone = np.repeat(splits_T == 0, leaves_T)
    bias_K = np.bincount(leaf_target[lone], leaf_value[lone], num_outputs).astype(np.float64)
    missing_P = (decision_P >> 2) & 3
    trees = Forest(
        roots=first_split_T[splits_T > 0],
        feature_P=_numbers(text, "split_feature").astype(np.int64),
        threshold_P=_rounded_down(exact_P),
        # without NaN at the split in training LightGBM takes NaN as 0
        missing_left_P=np.where(missing_P == 2, (decision_P & 2) > 0, exact_P >= 0.0),
        left_P=children[0],
        right_P=children[1],
        leaf_value=leaf_value,
        leaf_target=leaf_target,
    )
    return trees, bias_K


def joined(forests: Sequence[Forest]) -> Forest:
    """One forest of the trees of several, whose outputs are told apart by their leaf targets already."""
    splits = np.cumsum([0, *(len(f.feature_P) for f in forests)])
    leaves = np.cumsum([0, *(len(f.leaf_value) for f in forests)])
    moved = [
        replace(
            f,
            roots=f.roots + start,
            left_P=np.where(f.left_P < 0, f.left_P - leaf, f.left_P + start),
            right_P=np.where(f.right_P < 0, f.right_P - leaf, f.right_P + start),
        )
        for f, start, leaf in zip(forests, splits, leaves)
    ]
    return Forest(*(np.concatenate([getattr(f, field.name) for f in moved]) for field in fields(Forest)))


def _pieces(trees: Forest) -> list[Forest]:
    """The forest in pieces of TREES_IN_A_NODE trees: a node takes time with the square of its trees to load."""
    pieces = []
    for first in range(0, len(trees.roots), TREES_IN_A_NODE):
        roots = trees.roots[first : first + TREES_IN_A_NODE]
        following = first + len(roots)
        start = int(roots[0])
        end = int(trees.roots[following]) if following < len(trees.roots) else len(trees.feature_P)
        left_P, right_P = trees.left_P[start:end], trees.right_P[start:end]
        leaves = -1 - np.concatenate([left_P[left_P < 0], right_P[right_P < 0]])
        leaf, last = int(leaves.min()), int(leaves.max()) + 1
        pieces.append(
            Forest(
                roots=roots - start,
                feature_P=trees.feature_P[start:end],
                threshold_P=trees.threshold_P[start:end],
                missing_left_P=trees.missing_left_P[start:end],
                left_P=np.where(left_P < 0, left_P + leaf, left_P - start),
                right_P=np.where(right_P < 0, right_P + leaf, right_P - start),
                leaf_value=trees.leaf_value[leaf:last],
                leaf_target=trees.leaf_target[leaf:last],
            )
        )
    return pieces


def _numbers(text: str, key: str) -> np.ndarray:
    """All numbers of the lines `key=...`, one tree after another."""
    parts, start, mark = [], 0, f"\n{key}="
    while (start := text.find(mark, start)) >= 0:
        start += len(mark)
        parts.append(text[start : text.find("\n", start)])
    return np.array(" ".join(parts).split(), dtype=np.float64)


def _rounded_down(exact: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def _gathered(graph: _Graph, name: str, weights_FK: np.ndarray, exact: bool = False) -> str:
    """The sum of the weights at a row's indices times its weights, float32 [N, K]."""
    indices_NL = graph.input(f"{name}_indices", TensorProto.INT64, f"L_{name}")
    weights_NL = graph.input(f"{name}_weights", TensorProto.FLOAT, f"L_{name}")
    rows_NLK = graph.add("Gather", graph.floats(weights_FK), indices_NL, axis=0)
    if not exact:
        return graph.add("Einsum", weights_NL, rows_NLK, equation="nl,nlk->nk")
    wide = [graph.add("Cast", value, to=TensorProto.DOUBLE) for value in (weights_NL, rows_NLK)]
    return graph.add("Cast", graph.add("Einsum", *wide, equation="nl,nlk->nk"), to=TensorProto.FLOAT)


def _standardised(graph: _Graph, block: Dense) -> str:
    value = graph.input(block.name, TensorProto.FLOAT, len(block.mean_D))
    if np.any(block.mean_D):
        value = graph.add("Sub", value, graph.floats(block.mean_D))
    if np.any(block.factor_D != 1.0):
        value = graph.add("Mul", value, graph.floats(block.factor_D))
    if block.limit_D is not None:
        value = graph.add("Max", value, graph.floats(-block.limit_D))
        value = graph.add("Min", value, graph.floats(block.limit_D))
    return value


def _looked_up(graph: _Graph, block: Codes) -> str:
    """Gather from all tables laid end to end, a column's codes moved to where its table starts."""
    sizes = np.array([len(table) for table in block.tables])
    codes = graph.input(block.name, TensorProto.INT64, len(sizes))
    places = graph.add("Add", codes, graph.constant((np.cumsum(sizes) - sizes).astype(np.int64)))
    return graph.add("Gather", graph.floats(np.concatenate(list(block.tables))), places, axis=0)


def _beside(graph: _Graph, values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else graph.add("Concat", *values, axis=1)


def _width(blocks: Sequence[Dense | Codes]) -> int:
    return sum(len(b.tables) if isinstance(b, Codes) else len(b.mean_D) for b in blocks)


def _tree_attributes(trees: Forest, num_outputs: int) -> list[AttributeProto]:
    """The attributes of ai.onnx.ml.TreeEnsemble (opset 5), filled from arrays: helper.make_node checks item by item."""
    ints = {
        "tree_roots": trees.roots,
        "nodes_featureids": trees.feature_P,
        "nodes_missing_value_tracks_true": trees.missing_left_P,
        "nodes_truenodeids": np.where(trees.left_P < 0, -1 - trees.left_P, trees.left_P),
        "nodes_trueleafs": trees.left_P < 0,
        "nodes_falsenodeids": np.where(trees.right_P < 0, -1 - trees.right_P, trees.right_P),
        "nodes_falseleafs": trees.right_P < 0,
        "leaf_targetids": trees.leaf_target,
    }
    tensors: dict[str, np.ndarray] = {
        "nodes_splits": trees.threshold_P.astype(np.float32),
        "nodes_modes": np.zeros(len(trees.feature_P), np.uint8),  # 0: value <= split
        "leaf_weights": trees.leaf_value.astype(np.float32),
    }
    attributes = []
    for name, values in ints.items():
        attribute = AttributeProto(name=name, type=AttributeProto.INTS)
        attribute.ints.extend(values.astype(np.int64).tolist())
        attributes.append(attribute)
    for name, array in tensors.items():
        attributes.append(helper.make_attribute(name, numpy_helper.from_array(array, name)))
    for name, value in (("n_targets", num_outputs), ("aggregate_function", 1), ("post_transform", 0)):
        attributes.append(helper.make_attribute(name, value))
    return attributes
