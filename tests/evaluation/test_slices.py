import math

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

from thrifty.evaluation.slices import (
    by_category,
    by_number,
    class_table,
    reliability,
    slice_metric,
    slice_table,
    slicings_of,
)


def test_rare_values_of_a_category_share_a_slice_and_missing_has_its_own():
    values = [f"v{k}" for k in range(12) for _ in range(20 - k)] + [None, "", math.nan]
    slicing = by_category("shop", values)
    assert slicing.labels[:2] == ("v0", "v1")
    assert slicing.labels[-2:] == ("(other)", "(missing)")
    assert (slicing.codes[-3:] == len(slicing.labels) - 1).all()
    assert np.bincount(slicing.codes)[-2] == sum(20 - k for k in range(7, 12))


def test_numbers_are_cut_into_parts_of_about_equal_size():
    slicing = by_number("length", np.arange(1000.0), "characters")
    assert np.bincount(slicing.codes).tolist() == [250, 250, 250, 250]
    assert slicing.labels[0] == "up to 249 characters"
    assert by_number("side", np.array([28.0, 28, 32, math.nan])).labels == ("28", "32", "(missing)")
    assert by_number("side", np.array([28.0, 28])).labels == ("28",)
    skewed = by_number("length", np.array([1.0] * 90 + list(range(2, 12))))
    assert skewed.codes.min() == 0
    assert len(skewed.labels) == skewed.codes.max() + 1
    full = by_number("length", np.array([*range(10), *[50.0] * 90]))
    assert full.labels == ("up to 9", "over 9")
    assert np.bincount(full.codes).tolist() == [10, 90]


def test_columns_offer_slicings_by_their_meaning(tmp_path):
    import soundfile

    paths = []
    for side in (8, 8, 16):
        paths.append(str(tmp_path / f"{len(paths)}.png"))
        Image.new("L", (side, 4)).save(paths[-1])
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 16000)
    columns = {
        "photo": [*paths, str(tmp_path / "none.png")],
        "sound": [str(tmp_path / "a.wav"), None, None, None],
        "review": ["short", "longer text", "", "x"],
        "shop": ["a", "b", "a", "a"],
        "price": [1, 2, 3, 4],
    }
    meanings = {"photo": "image", "sound": "audio", "review": "text", "shop": "category", "price": "number"}
    found = {s.name: s.labels for s in slicings_of(columns, meanings)}
    assert found["size of photo"] == ("8 pixels", "16 pixels", "(missing)")
    assert found["length of sound"] == ("0.5 s", "(missing)")
    assert found["length of review"] == ("1 characters", "5 characters", "11 characters", "(missing)")
    assert found["shop"] == ("a", "b")
    assert "price" not in found
    assert slicings_of({"photo": paths}, meanings, seconds=-1) == []


def test_a_slice_that_fails_is_marked_and_a_tiny_one_has_no_value():
    rng = np.random.default_rng(0)
    shop = ["good"] * 500 + ["bad"] * 100 + ["tiny"] * 3
    right = np.r_[rng.random(500) < 0.95, rng.random(100) < 0.6, [True] * 3]
    p = np.stack([~right, right], axis=1).astype(float)
    table = slice_table([by_category("shop", shop)], "accuracy", "binary", np.ones(603, int), p)
    lines = {line["slice"]: line for line in table[0]["slices"]}
    assert lines["bad"]["differs"] == "worse"
    assert lines["good"]["differs"] == "better"
    assert lines["tiny"]["value"] is None
    assert lines["bad"]["low"] < lines["bad"]["value"] < lines["bad"]["high"]


def test_slices_of_like_targets_are_no_worse_for_it():
    rng = np.random.default_rng(0)
    shop = by_category("shop", np.repeat(list("abcd"), 100).tolist())
    y = 10.0 * shop.codes + rng.normal(size=400)
    values = y + rng.normal(size=400)
    assert all(line["differs"] == "worse" for line in slice_table([shop], "r2", "regression", y, values)[0]["slices"])
    by = slice_metric("r2", "regression")
    assert all(line["differs"] is None for line in slice_table([shop], by, "regression", y, values)[0]["slices"])


def test_a_slice_without_some_classes_is_no_worse_for_it():
    rng = np.random.default_rng(0)
    y = np.r_[rng.integers(0, 2, 200), rng.integers(0, 10, 800)]
    answers = np.eye(10)[np.where(rng.random(1000) < 0.8, y, rng.integers(0, 10, 1000))]
    part = by_category("part", ["two classes"] * 200 + ["ten"] * 800)
    lines = {}
    for name in ("f1_macro", slice_metric("f1_macro", "multiclass")):
        (table,) = slice_table([part], name, "multiclass", y, answers)
        lines[name] = {line["slice"]: line["differs"] for line in table["slices"]}
    assert lines["f1_macro"]["two classes"] == "worse"
    assert lines["balanced_accuracy"]["two classes"] is None
    assert slice_metric("f1_macro", "multilabel") == "f1_micro"
    assert slice_metric("accuracy", "binary") == "accuracy"


def test_slices_of_few_groups_are_seldom_told_apart_where_nothing_differs():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 25)
    found = {None: 0, "groups": 0}
    for _ in range(10):
        right = rng.random(500) < rng.beta(2, 1, 20)[groups]
        part = by_number("part", groups % 4)
        for name, of in ((None, None), ("groups", groups)):
            (table,) = slice_table([part], "accuracy", "binary", np.ones(500, int), np.eye(2)[right * 1], groups=of)
            found[name] += sum(line["differs"] is not None for line in table["slices"])
    assert found[None] >= 8
    assert found["groups"] <= found[None] / 2


def test_the_table_of_classes_equals_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    codes = np.where(rng.random(200) < 0.7, y, rng.integers(0, 3, 200))
    weights = rng.uniform(0.5, 2, 200)
    expected = sk.precision_recall_fscore_support(y, codes, sample_weight=weights)
    table = class_table(["a", "b", "c"], y, codes, weights)
    for k, name in enumerate(("precision", "recall", "f1")):
        assert [line[name] for line in table] == pytest.approx(list(expected[k]))
    assert [line["rows"] for line in table] == np.bincount(y).tolist()
    labels = (rng.random((200, 3)) < 0.4).astype(int)
    answers = np.where(rng.random((200, 3)) < 0.8, labels, 1 - labels)
    expected = sk.precision_recall_fscore_support(labels, answers)
    assert [line["f1"] for line in class_table(["a", "b", "c"], labels, answers)] == pytest.approx(list(expected[2]))
    assert class_table(["a", "b"], np.zeros(5, int), np.zeros(5, int))[1]["recall"] is None


def test_reliability_compares_stated_with_true_shares():
    bins = reliability(np.array([0.05, 0.95, 0.95, 0.85]), np.array([0, 1, 0, 1]))
    assert [b["rows"] for b in bins] == [1, 1, 2]
    assert bins[-1] == {"low": 0.9, "high": 1.0, "rows": 2, "stated": pytest.approx(0.95), "came_true": 0.5}
    weighed = reliability(np.array([0.91, 0.99, 0.05]), np.array([1, 0, 1]), np.array([3.0, 1.0, 0.0]))
    assert weighed == [{"low": 0.9, "high": 1.0, "rows": 2, "stated": pytest.approx(0.93), "came_true": 0.75}]
