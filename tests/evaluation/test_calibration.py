import time

import numpy as np
import pytest

from thrifty.core.errors import StoreError
from thrifty.evaluation import calibration
from thrifty.evaluation.calibration import _each, _label_thresholds, temperature, tune_decision
from thrifty.evaluation.decisions import Decision, decide, probabilities_of
from thrifty.evaluation.metrics import score, score_codes


def imbalanced(num_rows, num_classes, seed=0, decay=0.5):
    """Logits that are right: the posterior of classes of falling share."""
    rng = np.random.default_rng(seed)
    shares = np.exp(-decay * np.arange(num_classes))
    shares /= shares.sum()
    y = rng.choice(num_classes, num_rows, p=shares)
    x = rng.normal(size=(num_rows, num_classes))
    x[np.arange(num_rows), y] += 1.5
    return y, 1.5 * x + np.log(shares)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_temperature_undoes_logits_that_are_too_sharp_or_too_flat(factor):
    y, logits = imbalanced(3000, 4)
    assert temperature("multiclass", y, logits * factor) == pytest.approx(factor, rel=0.1)
    labels = np.eye(4)[y]
    sure = np.where(np.random.default_rng(0).random(labels.shape) < 0.8, labels, 1 - labels) * 2 - 1
    right = sure * np.log(4)  # 80 % of the signs are right
    assert temperature("multilabel", labels, right * factor) == pytest.approx(factor, rel=0.1)


def test_rows_that_weigh_nothing_have_no_say_in_a_temperature():
    rng = np.random.default_rng(0)
    y, weights = rng.integers(0, 2, 200), np.zeros(200)
    scores = np.eye(2)[y] * 3.0 + rng.normal(0, 2, (200, 2))
    assert temperature("binary", y, scores, weights) == 1.0
    weights[7] = 1.0
    assert temperature("binary", y, scores, weights) == 1.0
    weights[:100] = 1.0
    assert temperature("binary", y, scores, weights) != 1.0


def test_class_by_class_is_not_tried_of_so_many_classes_that_it_takes_long(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 400)
    p_NK = np.full((400, 4), 0.25)
    monkeypatch.setattr(calibration, "_by_class", lambda *given: pytest.fail("it was tried"))
    monkeypatch.setattr(calibration, "MOST_WORK", 400 * 4**2 - 1)
    tune_decision("f1_macro", "multiclass", y, p_NK)


def test_a_temperature_stays_one_where_it_does_not_help():
    y, logits = imbalanced(3000, 4)
    assert temperature("multiclass", y[:20], logits[:20] * 3) == 1.0
    assert temperature("regression", y, logits) == 1.0
    assert temperature("multiclass", y, np.zeros_like(logits)) == 1.0


def test_logits_that_are_always_right_do_not_become_certain():
    y = np.tile([0, 1], 50)
    sharpened = temperature("binary", y, np.eye(2)[y] * 2.0)
    assert 0.05 <= sharpened < 1
    assert np.isfinite(score("log_loss", "binary", y, probabilities_of("binary", np.eye(2)[1 - y], sharpened)))


@pytest.mark.parametrize(
    ("metric", "num_classes", "decay"), [("f1_macro", 2, 2.5), ("balanced_accuracy", 2, 1.0), ("f1_macro", 5, 0.6)]
)
def test_a_decision_raises_the_metric_on_rows_never_seen(metric, num_classes, decay):
    task = "binary" if num_classes == 2 else "multiclass"
    y, logits = imbalanced(1500, num_classes, decay=decay)
    tuned = tune_decision(metric, task, y, probabilities_of(task, logits))
    fresh_y, fresh_logits = imbalanced(20_000, num_classes, seed=1, decay=decay)
    fresh = probabilities_of(task, fresh_logits)
    gain = score(metric, task, fresh_y, fresh, tuned.decision) - score(metric, task, fresh_y, fresh)
    assert gain > 0.01
    assert tuned.after - tuned.before == pytest.approx(gain, abs=0.05)


def test_answers_of_the_rows_that_a_decision_was_fitted_to_do_not_flatter_it():
    gaps = []
    for seed in range(8):
        y, logits = imbalanced(150, 6, seed=seed, decay=0.5)
        probabilities = probabilities_of("multiclass", logits)
        tuned = tune_decision("balanced_accuracy", "multiclass", y, probabilities)
        assert tuned.decision is not None
        apart = score_codes("balanced_accuracy", y, tuned.answers(probabilities), 6)
        assert apart == pytest.approx(tuned.after)
        gaps.append(score("balanced_accuracy", "multiclass", y, probabilities, tuned.decision) - apart)
    assert np.mean(gaps) > 0.005
    labels = (np.random.default_rng(0).random((300, 4)) < 0.2).astype(int)
    tuned = tune_decision("f1_macro", "multilabel", labels, np.clip(0.3 * labels + 0.05, 0, 1))
    np.testing.assert_array_equal(tuned.answers(np.clip(0.3 * labels + 0.05, 0, 1)), labels)


def test_a_decision_that_does_not_help_is_not_kept():
    y, logits = imbalanced(1000, 3, decay=0.0)
    probabilities = probabilities_of("multiclass", logits)
    assert tune_decision("accuracy", "multiclass", y, probabilities).decision is None
    assert tune_decision("log_loss", "multiclass", y, probabilities).decision is None
    assert tune_decision("f1_macro", "multiclass", y[:30], probabilities[:30]).decision is None
    assert tune_decision("f1_macro", "binary", np.zeros(100, int), np.full((100, 2), 0.5)).decision is None
    assert tune_decision("rmse", "regression", logits[:, 0], logits[:, 1]).decision is None


@pytest.mark.parametrize("metric", ["f1_macro", "f1_micro", "accuracy"])
def test_labels_that_are_understated_get_lower_thresholds(metric):
    rng = np.random.default_rng(0)
    y = (rng.random((1500, 4)) < 0.2).astype(int)
    logits = 3 * y - 1.5 + rng.normal(size=y.shape) - 2
    tuned = tune_decision(metric, "multilabel", y, probabilities_of("multilabel", logits))
    assert tuned.decision is not None
    assert tuned.decision.kind == "thresholds"
    assert max(tuned.decision.values) < 0.45
    assert tuned.after > tuned.before


@pytest.mark.parametrize("balanced", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("metric", ["f1_macro", "balanced_accuracy"])
def test_ten_classes_at_100_to_1_come_near_the_best_offsets_however_they_were_balanced(metric, balanced):
    decay = np.log(100) / 9
    shares = np.exp(-decay * np.arange(10)) / np.exp(-decay * np.arange(10)).sum()
    y, logits = imbalanced(1000, 10, decay=decay)
    tuned = tune_decision(metric, "multiclass", y, probabilities_of("multiclass", logits - balanced * np.log(shares)))
    fresh_y, fresh_logits = imbalanced(20_000, 10, seed=1, decay=decay)
    fresh = probabilities_of("multiclass", fresh_logits - balanced * np.log(shares))
    tried = [Decision("offsets", tuple(tau * np.log(shares))) for tau in np.linspace(-1.2, 1.2, 25)]
    best = max(score(metric, "multiclass", fresh_y, fresh, decision) for decision in tried)
    assert score(metric, "multiclass", fresh_y, fresh, tuned.decision) > best - 0.02


def test_a_mean_recall_is_answered_along_the_shares_where_few_rows_could_not_show_the_gain():
    gains = []
    for seed in range(5):
        y, logits = imbalanced(300, 6, seed=seed, decay=np.log(50) / 5)
        tuned = tune_decision("balanced_accuracy", "multiclass", y, probabilities_of("multiclass", logits))
        assert tuned.decision is not None
        fresh_y, fresh_logits = imbalanced(20_000, 6, seed=100 + seed, decay=np.log(50) / 5)
        fresh = probabilities_of("multiclass", fresh_logits)
        before, after = (
            score("balanced_accuracy", "multiclass", fresh_y, fresh, decision) for decision in (None, tuned.decision)
        )
        gains.append(after - before)
    assert min(gains) > 0


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_the_threshold_of_a_rare_class_comes_near_the_best_of_all_thresholds(share):
    decay = np.log((1 - share) / share)
    y, logits = imbalanced(4000, 2, decay=decay)
    tuned = tune_decision("f1_macro", "binary", y, probabilities_of("binary", logits))
    fresh_y, fresh_logits = imbalanced(20_000, 2, seed=1, decay=decay)
    fresh = probabilities_of("binary", fresh_logits)
    cuts = [Decision("threshold", (cut,)) for cut in np.linspace(0.01, 0.99, 99)]
    best = max(score("f1_macro", "binary", fresh_y, fresh, cut) for cut in cuts)
    assert score("f1_macro", "binary", fresh_y, fresh, tuned.decision) > best - 0.015


def labels(num_rows, shares, seed=0):
    """Labels of the given shares with logits that are right."""
    rng = np.random.default_rng(seed)
    y = (rng.random((num_rows, len(shares))) < shares).astype(int)
    x = rng.normal(size=y.shape) + 2.5 * y
    return y, 2.5 * x - 2.5**2 / 2 + np.log(shares) - np.log1p(-np.asarray(shares))


def test_thresholds_of_labels_that_few_rows_have_come_near_the_best_ones():
    shares = np.array([0.3, 0.1, 0.03, 0.01, 0.01, 0.01])
    fresh_y, fresh_logits = labels(20_000, shares, seed=99)
    fresh = probabilities_of("multilabel", fresh_logits)
    cuts = np.linspace(0.01, 0.99, 99)
    curves = [[_f1(fresh_y[:, k], fresh[:, k] >= cut) for cut in cuts] for k in range(6)]
    short = []
    for seed in range(4):
        y, logits = labels(500, shares, seed)
        decision = _each("f1_macro", y, probabilities_of("multilabel", logits), None)
        short.append(np.mean(np.max(curves, axis=1)) - score("f1_macro", "multilabel", fresh_y, fresh, decision))
    assert np.mean(short) < 0.02


def _f1(y, answered):
    return 2 * (y * answered).sum() / (y.sum() + answered.sum())


def test_a_label_that_no_row_has_takes_the_threshold_that_serves_all_labels():
    y, logits = labels(1500, np.array([0.2, 0.05, 0.05]))
    y[:, 2] = 0
    values = _label_thresholds(0.2, y, probabilities_of("multilabel", logits), None)
    assert values[2] == pytest.approx(0.2)
    assert values[0] != pytest.approx(0.2, abs=0.02)


def test_weights_move_the_threshold_to_the_rows_that_count():
    y, logits = imbalanced(2000, 2, decay=0.0)
    probabilities = probabilities_of("binary", logits)
    heavy = tune_decision("accuracy", "binary", y, probabilities, np.where(y == 1, 6.0, 1.0))
    assert heavy.decision is not None
    assert heavy.decision.values[0] < 0.3


def test_choosing_for_many_rows_and_classes_is_quick():
    y, logits = imbalanced(20_000, 30, decay=0.1)
    started = time.perf_counter()
    divisor = temperature("multiclass", y, logits)
    tuned = tune_decision("f1_macro", "multiclass", y, probabilities_of("multiclass", logits, divisor))
    assert time.perf_counter() - started < 4  # about 0.6 s on an idle core
    assert tuned.after > tuned.before


def test_decisions_survive_json_and_unknown_kinds_are_refused():
    for decision in (
        Decision("threshold", (0.3,)),
        Decision("offsets", (0.0, -1.0, 1.0)),
        Decision("thresholds", (0.2, 0.8)),
    ):
        assert Decision.from_json(decision.to_json()) == decision
    assert Decision.from_json(None) is None
    with pytest.raises(StoreError, match="unknown kind 'magic'"):
        Decision.from_json({"kind": "magic"})


def test_without_a_decision_the_likeliest_class_is_answered():
    assert decide("binary", np.array([[0.5, 0.5], [0.4, 0.6]])).tolist() == [0, 1]
    assert decide("multiclass", np.array([[0.2, 0.5, 0.3]])).tolist() == [1]
    assert decide("multilabel", np.array([[0.5, 0.49]])).tolist() == [[1, 0]]


def test_probabilities_of_large_logits_do_not_overflow():
    assert probabilities_of("binary", np.array([[1e4, -1e4]])).tolist() == [[1.0, 0.0]]
    assert probabilities_of("multilabel", np.array([[1e4, -1e4]])).tolist() == [[1.0, 0.0]]
    assert probabilities_of("regression", np.array([[3.0], [4.0]])).tolist() == [3.0, 4.0]
