"""Graphs written from arrays give what numpy, scipy and LightGBM give, alone and in a batch."""

from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.sparse import csr_matrix

from thrifty.exporting import graphs

RNG = np.random.default_rng(0)


def run(model: onnx.ModelProto, output: str = "scores", **inputs: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], inputs)[0]


def plain(name: str, width: int) -> graphs.Dense:
    return graphs.Dense(name, np.zeros(width), np.ones(width))


def sparse_rows(num_rows: int, num_terms: int, longest: int) -> tuple[np.ndarray, np.ndarray, csr_matrix]:
    """Padded indices and weights, and the same as a matrix; the first row is empty."""
    lengths = RNG.integers(1, longest, num_rows)
    lengths[0] = 0
    inside = np.arange(longest) < lengths[:, None]
    distinct = np.argsort(RNG.random((num_rows, num_terms)), axis=1)[:, :longest]  # a row has a term once
    indices = np.where(inside, distinct, 0)
    weights = np.where(inside, RNG.random(inside.shape), 0).astype(np.float32)
    rows = np.repeat(np.arange(num_rows), lengths)
    return indices, weights, csr_matrix((weights[inside], (rows, indices[inside])), shape=(num_rows, num_terms))


def boosted(x: np.ndarray, y: np.ndarray, rounds: int = 8, **parameters: object) -> lightgbm.Booster:
    given = {"verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 3, "num_threads": 1, **parameters}
    return lightgbm.train(given, lightgbm.Dataset(x, y), rounds)


def with_holes(num_rows: int, width: int, share: float = 0.2) -> np.ndarray:
    x = RNG.normal(size=(num_rows, width)).astype(np.float32)
    x[RNG.random(x.shape) < share] = np.nan
    return x


def test_a_constant_gives_the_same_scores_for_any_number_of_rows() -> None:
    model = graphs.constant("row.codes", onnx.TensorProto.INT64, 1, np.array([0.5, -1.0]))
    for num_rows in (1, 3):
        scores = run(model, **{"row.codes": np.ones((num_rows, 1), np.int64)})
        np.testing.assert_array_equal(scores, np.tile(np.float32([0.5, -1.0]), (num_rows, 1)))


def test_a_linear_graph_adds_dense_and_padded_sparse_blocks() -> None:
    indices, weights, matrix = sparse_rows(7, 50, 12)
    x = RNG.normal(5, 3, (7, 4)).astype(np.float32)
    dense = graphs.Dense("x", np.full(4, 5.0), np.full(4, 1 / 3), np.full(4, 0.5))
    dense_w, sparse_w, bias = RNG.normal(size=(4, 3)), RNG.normal(size=(50, 3)), np.array([1.0, 2.0, 3.0])
    model = graphs.linear([(dense, dense_w)], [("t", sparse_w)], bias)
    expected = np.clip((x - 5) / 3, -0.5, 0.5) @ dense_w + matrix @ sparse_w + bias
    scores = run(model, x=x, t_indices=indices, t_weights=weights)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    for row in range(7):
        alone = run(model, x=x[row : row + 1], t_indices=indices[row : row + 1], t_weights=weights[row : row + 1])
        np.testing.assert_allclose(alone[0], scores[row], atol=1e-5)


def test_components_give_the_same_bits_alone_in_a_batch_and_in_scipy() -> None:
    indices, weights, matrix = sparse_rows(40, 300, 60)
    axes = RNG.normal(size=(300, 8)).astype(np.float32)
    model = graphs.components("t", axes)
    together = run(model, "features", t_indices=indices, t_weights=weights)
    expected = (matrix.astype(np.float64) @ axes.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(together, expected)
    for row in range(0, 40, 7):
        alone = run(model, "features", t_indices=indices[row : row + 1], t_weights=weights[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("with_axes", [False, True])
def test_a_kernel_graph_keeps_its_digits_where_large_weights_cancel(with_axes: bool) -> None:
    x, y = RNG.normal(size=(9, 5)).astype(np.float32), RNG.normal(size=(9, 2)).astype(np.float32)
    axes = np.linalg.qr(RNG.normal(size=(7, 5)))[0].astype(np.float32) if with_axes else None
    centers = RNG.normal(size=(400, 5)).astype(np.float32)
    weights = (RNG.normal(size=(400, 3)) * 1e4).astype(np.float32)
    blocks = [plain("a", 5), plain("b", 2)] if with_axes else [plain("a", 5)]
    whole = np.concatenate([x, y], axis=1).astype(np.float64) @ axes.astype(np.float64) if with_axes else x
    near = np.exp(-0.1 * np.square(whole[:, None, :] - centers[None].astype(np.float64)).sum(axis=2))
    model = graphs.kernel(blocks, axes, centers, 0.1, weights, 0.01, np.ones(3))
    scores = run(model, a=x, **({"b": y} if with_axes else {}))
    np.testing.assert_allclose(scores, 0.01 * near @ weights + 1, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_a_multiclass_forest_sends_every_row_where_lightgbm_sends_it(holes: float) -> None:
    x = with_holes(400, 6, holes)
    y = (np.nan_to_num(x[:, 0]) * 2 + np.nan_to_num(x[:, 1])).round().astype(int) % 4
    booster = boosted(x, y, objective="multiclass", num_class=4)
    trees, bias = graphs.forest_of_lightgbm(booster.model_to_string(), 4)
    model = graphs.forest([plain("a", 2), plain("b", 4)], trees, bias)
    seen = with_holes(300, 6, 0.4)
    np.testing.assert_allclose(
        run(model, a=seen[:, :2], b=seen[:, 2:]), booster.predict(seen, raw_score=True), atol=1e-5
    )


def test_thresholds_between_neighbouring_floats_are_rounded_down() -> None:
    low = np.float32(0.1)
    values = np.array([low, np.nextafter(low, np.float32(1))], np.float32)
    x = np.repeat(values, 50)[:, None]
    booster = boosted(x, np.repeat([0.0, 1.0], 50), rounds=3, objective="regression", min_data_in_bin=1)
    trees, bias = graphs.forest_of_lightgbm(booster.model_to_string(), 1)
    scores = run(graphs.forest([plain("x", 1)], trees, bias), x=values[:, None])
    np.testing.assert_allclose(scores[:, 0], booster.predict(values[:, None]), atol=1e-6)
    assert scores[0, 0] != scores[1, 0]


def test_a_forest_without_a_split_gives_its_bias_even_for_missing_values() -> None:
    booster = boosted(np.zeros((50, 2), np.float32), RNG.normal(3, 1, 50), objective="regression")
    trees, bias = graphs.forest_of_lightgbm(booster.model_to_string(), 1)
    scores = run(graphs.forest([plain("x", 2)], trees, bias), x=np.float32([[0, np.nan], [1, 1]]))
    np.testing.assert_allclose(scores[:, 0], booster.predict(np.zeros((2, 2))), atol=1e-6)


def test_a_forest_looks_categories_up_in_a_table_per_column() -> None:
    tables = [np.float32([0, 1, 2]), np.float32([5, 6, 7, 8])]
    codes = np.array([[0, 3], [2, 0], [1, 1]])
    values = np.stack([tables[d][codes[:, d]] for d in range(2)], axis=1)
    x = np.repeat(values, 20, axis=0)
    booster = boosted(x, np.repeat([1.0, 2.0, 4.0], 20), objective="regression")
    trees, bias = graphs.forest_of_lightgbm(booster.model_to_string(), 1)
    model = graphs.forest([graphs.Codes("c", tables)], trees, bias)
    np.testing.assert_allclose(run(model, c=codes)[:, 0], booster.predict(values), atol=1e-6)


def test_joined_forests_keep_their_outputs_apart() -> None:
    x = with_holes(200, 3)
    boosters = [boosted(x, (np.nan_to_num(x[:, d]) > 0).astype(int), objective="binary") for d in range(2)]
    parts = [graphs.forest_of_lightgbm(b.model_to_string(), 1) for b in boosters]
    for number, (trees, _) in enumerate(parts):
        trees.leaf_target[:] = number
    model = graphs.forest([plain("x", 3)], graphs.joined([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
    expected = np.stack([b.predict(x, raw_score=True) for b in boosters], axis=1)
    np.testing.assert_allclose(run(model, x=x), expected, atol=1e-5)


def test_categorical_splits_are_refused() -> None:
    x = RNG.integers(0, 5, (200, 1)).astype(np.float32)
    data = lightgbm.Dataset(x, (x[:, 0] % 2).astype(int), categorical_feature=[0])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "min_data_per_group": 1}, data, 2)
    with pytest.raises(ValueError, match="categorical"):
        graphs.forest_of_lightgbm(booster.model_to_string(), 1)


def test_a_forest_of_many_trees_is_small_on_disk(tmp_path: Path) -> None:
    x = with_holes(500, 5)
    y = RNG.integers(0, 6, 500)
    booster = boosted(x, y, rounds=30, objective="multiclass", num_class=6)
    trees, bias = graphs.forest_of_lightgbm(booster.model_to_string(), 6)
    size = len(graphs.forest([plain("x", 5)], trees, bias).SerializeToString())
    assert size < 40 * len(trees.feature_P)
