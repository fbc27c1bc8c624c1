import time

import numpy as np
import pytest

from thrifty.core.errors import StoreError
from thrifty.evaluation.calibration import temperature, tune_decision
from thrifty.evaluation.decisions import Decision, decide, probabilities_of
from thrifty.evaluation.metrics import score


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
