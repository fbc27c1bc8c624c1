"""Every metric against scikit-learn and scipy, which are installed for tests alone."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from thrifty.core.errors import UsageError
from thrifty.evaluation.decisions import Decision, probabilities_of
from thrifty.evaluation.metrics import (
    METRICS,
    choose_metric,
    metric_for,
    metrics_of,
    positive_of,
    score,
    scorer,
    signed,
)

LABEL_METRICS = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_micro", "f1_macro")


def classes(num_rows, num_classes, seed=0, coarse=False, absent=()):
    rng = np.random.default_rng(seed)
    allowed = [k for k in range(num_classes) if k not in absent]
    y = rng.choice(allowed, num_rows)
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), y] += 1
    p = probabilities_of("multiclass", np.round(logits) if coarse else logits)
    return y, p


def sklearn_value(name, task, y, p, weights=None):
    codes = (p >= 0.5).astype(int) if task == "multilabel" else p.argmax(axis=1)
    kind, average = name.rsplit("_", 1) if name[-6:] in ("_macro", "_micro") else (name, None)
    w = {"sample_weight": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "accuracy":
            return sk.accuracy_score(y, codes, **w)
        if name == "balanced_accuracy":
            return sk.balanced_accuracy_score(y, codes, **w)
        if average:
            function = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}[kind]
            return function(y, codes, average=average, zero_division=0, **w)
        if name == "roc_auc" and task == "multiclass":
            return sk.roc_auc_score(y, p, multi_class="ovr", labels=range(p.shape[1]), **w)
        if name == "roc_auc":
            return sk.roc_auc_score(y, p[:, 1] if task == "binary" else p, **w)
        if name == "average_precision":
            hot = y if task == "multilabel" else np.eye(p.shape[1])[y]
            return (
                sk.average_precision_score(y, p[:, 1], **w)
                if task == "binary"
                else sk.average_precision_score(hot, p, **w)
            )
        if name == "log_loss":
            return sk.log_loss(y, p, labels=range(p.shape[1]), **w)
        return sk.brier_score_loss(y, p, labels=range(p.shape[1]), **w)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("task", "num_classes"), [("binary", 2), ("multiclass", 3), ("multiclass", 7)])
def test_metrics_of_classes_equal_scikit_learn(task, num_classes, weighted, coarse):
    y, p = classes(400, num_classes, seed=num_classes, coarse=coarse)
    weights = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    for name in metrics_of(task):
        if name != "ece":
            ours = score(name, task, y, p, weights=weights, positive=1)
            assert ours == pytest.approx(sklearn_value(name, task, y, p, weights), abs=1e-12), name


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_label_lists_equal_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    y = (rng.random((300, 5)) < 0.3).astype(int)
    p = np.round(probabilities_of("multilabel", 2 * y - 1 + rng.normal(size=y.shape)), 2)
    weights = rng.uniform(0.1, 3, len(y)) if weighted else None
    for name in ("accuracy", "precision_macro", "recall_macro", "f1_micro", "f1_macro", "roc_auc", "average_precision"):
        ours = score(name, "multilabel", y, p, weights=weights)
        assert ours == pytest.approx(sklearn_value(name, "multilabel", y, p, weights), abs=1e-12), name
    per_label = [sk.log_loss(y[:, k], p[:, k].clip(1e-15, 1 - 1e-15), sample_weight=weights) for k in range(5)]
    assert score("log_loss", "multilabel", y, p, weights=weights) == pytest.approx(np.mean(per_label), rel=1e-9)
    per_label = [sk.brier_score_loss(y[:, k], p[:, k], sample_weight=weights) for k in range(5)]
    assert score("brier", "multilabel", y, p, weights=weights) == pytest.approx(np.mean(per_label), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_numbers_equal_scikit_learn_and_scipy(weighted):
    rng = np.random.default_rng(0)
    y = np.round(rng.normal(50, 3, 300), 1)
    z = np.round(y + rng.normal(0, 2, 300), 1)
    w = rng.uniform(0.1, 3, 300) if weighted else None
    expected = {
        "r2": sk.r2_score(y, z, sample_weight=w),
        "rmse": sk.root_mean_squared_error(y, z, sample_weight=w),
        "mae": sk.mean_absolute_error(y, z, sample_weight=w),
    }
    if not weighted:
        expected |= {"pearson": stats.pearsonr(y, z)[0], "spearman": stats.spearmanr(y, z)[0]}
    for name, value in expected.items():
        assert score(name, "regression", y, z[:, None], weights=w) == pytest.approx(value, abs=1e-12), name


def test_whole_weights_count_as_repeated_rows_in_every_metric():
    rng = np.random.default_rng(0)
    repeats = rng.integers(1, 4, 120)
    for task, num_classes in (("binary", 2), ("multiclass", 4)):
        y, p = classes(120, num_classes, coarse=True)
        for name in metrics_of(task):
            repeated = score(name, task, np.repeat(y, repeats), np.repeat(p, repeats, axis=0), positive=1)
            assert score(name, task, y, p, weights=repeats, positive=1) == pytest.approx(repeated, abs=1e-9), name
    y = np.round(rng.normal(size=120), 1)
    z = np.round(y + rng.normal(size=120), 1)
    for name in metrics_of("regression"):
        repeated = score(name, "regression", np.repeat(y, repeats), np.repeat(z, repeats))
        assert score(name, "regression", y, z, weights=repeats) == pytest.approx(repeated, abs=1e-9), name


def test_a_class_absent_from_the_targets_is_treated_as_scikit_learn_treats_it():
    y, p = classes(200, 4, absent=(2,))
    assert 2 in p.argmax(axis=1)
    for name in (*LABEL_METRICS, "log_loss", "brier"):
        assert score(name, "multiclass", y, p) == pytest.approx(sklearn_value(name, "multiclass", y, p), abs=1e-12), (
            name
        )
    present = [0, 1, 3]
    expected = np.mean([sk.roc_auc_score(y == k, p[:, k]) for k in present])
    assert score("roc_auc", "multiclass", y, p) == pytest.approx(expected)
    expected = np.mean([sk.average_precision_score(y == k, p[:, k]) for k in present])
    assert score("average_precision", "multiclass", y, p) == pytest.approx(expected)


def test_what_is_undefined_is_nan():
    y, p = np.zeros(20, dtype=int), np.full((20, 2), 0.5)
    assert math.isnan(score("roc_auc", "binary", y, p))
    assert math.isnan(score("average_precision", "binary", y, p, positive=1))
    assert score("accuracy", "binary", y, p) == 1.0
    assert score("balanced_accuracy", "binary", y, p) == 1.0
    same = np.full(20, 0.1)
    assert math.isnan(score("pearson", "regression", same, np.arange(20.0)))
    assert math.isnan(score("spearman", "regression", np.arange(20.0), same))
    assert score("r2", "regression", same, np.arange(20.0)) == 0.0
    assert score("r2", "regression", same, same) == 1.0
    assert math.isnan(score("r2", "regression", np.ones(1), np.ones(1)))
    for task, y, outputs in (("binary", np.zeros(0, int), np.zeros((0, 2))), ("regression", np.zeros(0), np.zeros(0))):
        assert all(math.isnan(score(name, task, y, outputs)) for name in metrics_of(task))
    y, p = classes(20, 3)
    assert math.isnan(score("accuracy", "multiclass", y, np.where(p > 0.9, np.nan, np.nan)))


def test_ece_is_the_mean_gap_between_confidence_and_hits_over_fifteen_bins():
    y, p = classes(500, 3)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15 + 1e-12)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert score("ece", "multiclass", y, p) == pytest.approx(expected, abs=1e-9)


def test_average_precision_looks_for_the_rarer_of_two_classes():
    rng = np.random.default_rng(0)
    y = (rng.random(500) > 0.1).astype(int)
    p1 = np.clip(0.6 * y + rng.normal(0.2, 0.3, 500), 0, 1)
    p = np.stack([1 - p1, p1], axis=1)
    assert score("average_precision", "binary", y, p) == pytest.approx(sk.average_precision_score(y == 0, 1 - p1))
    assert positive_of([50, 450]) == 0
    assert positive_of([450, 50]) == positive_of([5, 5]) == 1


def test_a_decision_changes_metrics_of_labels_alone():
    y, p = classes(300, 2)
    strict = Decision("threshold", (0.8,))
    assert score("accuracy", "binary", y, p, strict) == pytest.approx(((p[:, 1] >= 0.8) == y).mean())
    assert score("roc_auc", "binary", y, p, strict) == score("roc_auc", "binary", y, p)
    offsets = Decision("offsets", (0.0, 0.5, -0.5))
    y, p = classes(300, 3)
    expected = (np.log(p) + np.array([0, 0.5, -0.5])).argmax(axis=1)
    assert (offsets.apply(p) == expected).all()
    assert Decision.from_json(offsets.to_json()) == offsets
    assert Decision.from_json(strict.to_json()) == strict


def test_the_metric_is_chosen_by_task_and_balance():
    assert choose_metric("regression")[0] == "r2"
    assert choose_metric("multilabel", [5, 5])[0] == "f1_micro"
    assert choose_metric("binary", [50, 50])[0] == "accuracy"
    assert choose_metric("binary", [81, 19])[0] == "average_precision"
    assert "19 %" in choose_metric("binary", [81, 19])[1]
    assert choose_metric("binary", [79, 21])[0] == "accuracy"
    assert choose_metric("multiclass", [10, 10, 10])[0] == "accuracy"
    assert choose_metric("multiclass", [60, 10, 10, 10, 1])[0] == "f1_macro"
    assert choose_metric("multiclass", [10, 10, 2])[0] == "f1_macro"
    assert choose_metric("multiclass", [31, *[10] * 9])[0] == "accuracy"


def test_an_unknown_metric_is_refused_with_the_ones_there_are():
    with pytest.raises(UsageError, match="did you mean roc_auc"):
        metric_for("rocauc", "binary")
    with pytest.raises(UsageError, match=r"no metric of a regression task.*spearman"):
        metric_for("accuracy", "regression")


def test_signed_values_are_larger_when_better():
    assert signed("rmse", 2.0) == -2.0
    assert signed("accuracy", 0.5) == 0.5
    assert all(signed(n, signed(n, 3.0)) == 3.0 for n in METRICS)


def test_a_scorer_gives_what_score_gives():
    y, p = classes(200, 4)
    for name in metrics_of("multiclass"):
        assert scorer(name, "multiclass", y)(p) == score(name, "multiclass", y, p)
    with pytest.raises(ValueError, match="3 outputs for 200 targets"):
        scorer("accuracy", "multiclass", y)(p[:3])
