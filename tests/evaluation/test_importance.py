import time

import numpy as np
import pytest

from thrifty.evaluation.findings import Part
from thrifty.evaluation.importance import permutation_importance

ROWS = 400


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=ROWS).tolist() for name in ("signal", "weak", "noise")}


def values(columns, num_rows):
    """A model of numbers that reads two of the three columns."""
    return 2.0 * np.asarray(columns["signal"]) + 0.3 * np.asarray(columns["weak"])


def shuffler(predict, columns, num_rows):
    def shuffled(names, order):
        mixed = {name: np.asarray(cells)[order] if name in names else cells for name, cells in columns.items()}
        return predict(mixed, num_rows)

    return shuffled


def weigh(predict, columns, y, task="regression", metric="rmse", meanings=None, **options):
    part = Part(y, predict(columns, len(y)))
    meanings = meanings or dict.fromkeys(columns, "number")
    return permutation_importance(shuffler(predict, columns, len(y)), meanings, part, task, metric, **options)


def test_columns_come_in_the_order_of_what_the_model_loses_without_them(columns):
    y = values(columns, ROWS)
    found = weigh(values, columns, y)
    assert [one.name for one in found] == ["signal", "weak", "noise"]
    assert min(found[0].low, found[1].low) > 0
    assert found[2].value == found[2].low == found[2].high == 0


def test_a_loss_is_positive_for_metrics_that_are_maximized_too(columns):
    y = (np.asarray(columns["signal"]) > 0).astype(int)

    def predict(columns, num_rows):
        p = 1.0 / (1.0 + np.exp(-5.0 * np.asarray(columns["signal"])))
        return np.stack([1.0 - p, p], axis=1)

    found = weigh(predict, columns, y, task="binary", metric="accuracy")
    assert found[0].name == "signal"
    assert 0.3 < found[0].low <= found[0].value <= found[0].high < 0.7


def test_columns_of_a_kind_are_weighed_together_before_the_columns(columns):
    texts = {**columns, "words": ["a", "b"] * (ROWS // 2)}
    meanings = {**dict.fromkeys(columns, "number"), "words": "text"}
    found = weigh(values, texts, values(columns, ROWS), meanings=meanings)
    assert [(one.kind, one.name) for one in found[:2]] == [("kind", "the table"), ("column", "signal")]
    assert found[0].value > found[1].value
    assert len(found) == 5  # the one text stands for all texts


def test_a_column_that_is_ignored_is_not_weighed(columns):
    meanings = {"signal": "number", "weak": "number", "noise": "ignored"}
    assert {one.name for one in weigh(values, columns, values(columns, ROWS), meanings=meanings)} == {"signal", "weak"}


def test_nothing_is_said_where_there_is_no_time(columns):
    assert weigh(values, columns, values(columns, ROWS), seconds=0.0) == []


def test_nothing_is_said_of_one_column_or_of_few_rows(columns):
    y = values(columns, ROWS)
    assert weigh(values, columns, y, meanings={"signal": "number"}) == []
    few = {name: cells[:20] for name, cells in columns.items()}
    assert weigh(values, few, y[:20]) == []


def test_nothing_is_said_where_the_metric_is_undefined(columns):
    same = np.full(ROWS, 3.0)
    assert weigh(values, columns, same, metric="pearson") == []


def test_a_model_that_turns_out_slow_does_not_run_over_the_time(columns):
    def slow(columns, num_rows):
        time.sleep(0.06)
        return values(columns, num_rows)

    began = time.monotonic()
    assert weigh(slow, columns, values(columns, ROWS), seconds=0.1) == []
    assert time.monotonic() - began < 1.0


def test_the_same_seed_gives_the_same_figures(columns):
    y = values(columns, ROWS)
    assert weigh(values, columns, y, seed=3) == weigh(values, columns, y, seed=3)
    assert weigh(values, columns, y, seed=3) != weigh(values, columns, y, seed=4)
