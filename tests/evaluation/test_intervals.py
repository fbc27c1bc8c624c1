import math
import time

import numpy as np
import pytest

from thrifty.evaluation.decisions import Decision, probabilities_of
from thrifty.evaluation.intervals import Interval, difference, intervals
from thrifty.evaluation.metrics import metrics_of, score
from thrifty.evaluation.resampling import replicator


def data(task, num_rows, num_columns, seed=0, coarse=True):
    rng = np.random.default_rng(seed)
    if task == "regression":
        y = np.round(rng.normal(20, 2, num_rows), 1)
        return y, np.round(y + rng.normal(0, 1, num_rows), 1)
    if task == "multilabel":
        y = (rng.random((num_rows, num_columns)) < 0.3).astype(int)
        z = 2 * y - 1 + rng.normal(0, 1, y.shape)
    else:
        y = rng.integers(0, num_columns, num_rows)
        z = rng.normal(0, 1, (num_rows, num_columns))
        z[np.arange(num_rows), y] += 1
    return y, probabilities_of(task, np.round(z, 1 if coarse else 9))


TASKS = [("binary", 2), ("multiclass", 5), ("multilabel", 3), ("regression", 1)]


@pytest.mark.parametrize(("task", "num_columns"), TASKS)
def test_a_resample_has_the_score_of_its_rows(task, num_columns):
    y, outputs = data(task, 60, num_columns)
    rng = np.random.default_rng(1)
    picks = rng.integers(0, 60, (20, 60))
    draws = np.stack([np.bincount(p, minlength=60) for p in picks], axis=1).astype(np.float32)
    for name in metrics_of(task):
        found = replicator(name, task, y, outputs, positive=1)(draws)
        expected = [score(name, task, y[p], outputs[p], positive=1) for p in picks]
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("task", "num_columns"), TASKS)
def test_weighted_resamples_have_the_weighted_score_of_their_rows(task, num_columns):
    y, outputs = data(task, 60, num_columns)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2, 60)
    draws = rng.integers(1, 3, (60, 5)) * weights[:, None]
    for name in metrics_of(task):
        found = replicator(name, task, y, outputs, positive=1)(draws.astype(np.float32))
        expected = [score(name, task, y, outputs, weights=draws[:, b], positive=1) for b in range(5)]
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("task", "num_columns"), TASKS)
def test_every_metric_has_an_interval_around_its_value(task, num_columns):
    y, outputs = data(task, 300, num_columns)
    names = metrics_of(task)
    found = intervals(names, task, y, outputs)
    assert list(found) == list(names)
    for name, interval in found.items():
        assert interval.value == score(name, task, y, outputs)
        assert interval.low <= interval.value <= interval.high
        assert interval.low < interval.high, name
        assert interval.resamples == 1000
    assert intervals(names, task, y, outputs) == found


def test_intervals_of_accuracy_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        right = rng.random(400) < 0.8
        p = np.stack([~right, right], axis=1).astype(float)
        found = intervals(["accuracy"], "binary", np.ones(400, dtype=int), p, num_resamples=300)["accuracy"]
        covered += found.low <= 0.8 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


def test_intervals_of_macro_f1_of_many_classes_with_few_rows_hold_the_truth():
    def drawn(seed, num_rows):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 100, num_rows)
        return y, probabilities_of("multiclass", rng.normal(size=(num_rows, 100)) + 3 * np.eye(100)[y])

    truth = score("f1_macro", "multiclass", *drawn(0, 30_000))
    samples = [drawn(seed, 600) for seed in range(1, 31)]
    found = [intervals(["f1_macro"], "multiclass", *sample, num_resamples=300)["f1_macro"] for sample in samples]
    assert sum(one.low <= truth <= one.high for one in found) >= 24


def test_rows_that_belong_together_widen_the_interval():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 50)
    right = (rng.random(20) < 0.7)[groups]
    y, p = np.ones(1000, dtype=int), np.stack([~right, right], axis=1).astype(float)
    alone = intervals(["accuracy"], "binary", y, p)["accuracy"]
    grouped = intervals(["accuracy"], "binary", y, p, groups=groups)["accuracy"]
    assert grouped.high - grouped.low > 4 * (alone.high - alone.low)


def test_rows_of_one_group_have_no_interval():
    y, p = data("binary", 60, 2)
    found = intervals(["accuracy"], "binary", y, p, groups=np.full(60, 7))["accuracy"]
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_sample_of_very_many_rows_keeps_the_spread_of_their_groups(monkeypatch):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 100)
    right = rng.random(30_000) < rng.beta(4, 1, 300)[groups]
    y, p = np.ones(30_000, dtype=int), np.stack([~right, right], axis=1).astype(float)
    whole = intervals(["accuracy"], "binary", y, p, groups=groups, num_resamples=60)["accuracy"]
    for most in (2_000, 15_000):
        monkeypatch.setattr("thrifty.evaluation.intervals.MAX_ROWS", most)
        part = intervals(["accuracy"], "binary", y, p, groups=groups, num_resamples=60)["accuracy"]
        assert part.value == whole.value
        assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.5)


@pytest.mark.parametrize("num_groups", [2, 3, 5, 10])
def test_intervals_of_few_groups_hold_the_truth(num_groups):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(num_groups), 50)
    held = 0
    for _ in range(50):
        right = rng.random(len(groups)) < rng.beta(4, 1.5, num_groups)[groups]
        p = np.stack([~right, right], axis=1).astype(float)
        found = intervals(["accuracy"], "binary", np.ones(len(p), int), p, groups=groups, num_resamples=300)["accuracy"]
        held += found.low <= 4 / 5.5 <= found.high
    assert held >= 43


def test_few_resamples_and_many_rows_give_about_the_same_interval():
    y, p = data("binary", 30_000, 2)
    full = intervals(["roc_auc"], "binary", y, p, num_resamples=400)["roc_auc"]
    few = intervals(["roc_auc"], "binary", y, p, seconds=0)["roc_auc"]
    assert few.resamples < 100
    assert few.high - few.low == pytest.approx(full.high - full.low, rel=0.4)
    many = intervals(["accuracy"], "binary", np.tile(y, 5), np.tile(p, (5, 1)), num_resamples=400)["accuracy"]
    small = intervals(["accuracy"], "binary", y, p, num_resamples=400)["accuracy"]
    assert (small.high - small.low) / (many.high - many.low) == pytest.approx(math.sqrt(5), rel=0.2)


def test_a_bound_in_seconds_is_kept():
    y, p = data("multiclass", 5_000, 20, coarse=False)
    started = time.perf_counter()
    found = intervals(metrics_of("multiclass"), "multiclass", y, p, seconds=0.3)
    assert time.perf_counter() - started < 3
    assert all(i.low < i.high for i in found.values())


def test_of_many_rows_of_many_classes_a_sample_is_resampled(monkeypatch):
    y, p = data("multiclass", 6_000, 20, coarse=False)
    whole = intervals(["accuracy"], "multiclass", y, p, num_resamples=200)["accuracy"]
    monkeypatch.setattr("thrifty.evaluation.intervals.MAX_CELLS", 40_000)
    part = intervals(["accuracy"], "multiclass", y, p, num_resamples=200)["accuracy"]
    assert part.value == whole.value
    assert part != whole
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.2)


def test_what_is_undefined_has_no_interval():
    y, p = np.zeros(30, dtype=int), np.full((30, 2), 0.5)
    found = intervals(["roc_auc", "accuracy"], "binary", y, p)
    assert found["roc_auc"].to_json() == {"value": None, "low": None, "high": None}
    assert found["accuracy"].high == 1.0


def test_a_sample_without_errors_still_has_a_lower_end():
    y = np.arange(60) % 2
    p = np.stack([1.0 - y, y], axis=1).astype(float)
    names = ["accuracy", "f1_macro", "roc_auc", "log_loss"]
    found = intervals(names, "binary", y, p)
    # Clopper and Pearson's interval of 60 of 60 starts at 0.025 ** (1 / 60).
    assert found["accuracy"].low == pytest.approx(0.025 ** (1 / 60))
    assert found["accuracy"].value == found["accuracy"].high == 1.0
    assert found["f1_macro"].low == pytest.approx(1 - (1 - 0.025 ** (1 / 30)) / 2)
    assert found["roc_auc"].low == pytest.approx(0.025 ** (1 / 30))
    assert found["log_loss"].low == pytest.approx(found["log_loss"].high)
    groups = intervals(["accuracy"], "binary", y, p, groups=np.arange(60) // 6)
    assert groups["accuracy"].low == pytest.approx(0.025 ** (1 / 10))
    assert intervals(["accuracy"], "binary", y[:1], p[:1])["accuracy"].to_json()["low"] is None
    assert intervals(["accuracy"], "binary", y[:0], p[:0])["accuracy"].to_json()["value"] is None
    assert math.isnan(Interval(1.0, math.nan, math.nan).low)


def test_a_sample_with_nothing_right_still_has_an_upper_end():
    y = np.arange(60) % 2
    found = intervals(["accuracy", "roc_auc"], "binary", y, np.stack([y, 1.0 - y], axis=1))
    assert found["accuracy"].low == found["accuracy"].value == 0.0
    assert found["accuracy"].high == pytest.approx(1 - 0.025 ** (1 / 60))
    assert 0.0 < found["roc_auc"].high < 0.2


def test_the_paired_difference_is_narrower_than_two_intervals_apart():
    y, p = data("multiclass", 500, 4, coarse=False)
    better = probabilities_of("multiclass", np.log(p) + 0.2 * np.eye(4)[y])
    paired = difference("accuracy", "multiclass", y, better, p)
    alone = intervals(["accuracy"], "multiclass", y, p)["accuracy"]
    assert 0 < paired.low < paired.value < paired.high
    assert paired.high - paired.low < alone.high - alone.low
    same = difference("f1_macro", "multiclass", y, p, p)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    other = difference("accuracy", "multiclass", y, p, p, other_decision=Decision("offsets", (5.0, 0, 0, 0)))
    assert other.value > 0
