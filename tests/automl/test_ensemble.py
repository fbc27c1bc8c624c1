"""Greedy ensembles gain where members err differently, and keep the limits."""

import numpy as np
import pytest

from thrifty.automl import ensemble
from thrifty.automl.ensemble import Scale, Scored, select

Y = np.random.default_rng(0).integers(0, 2, 400)


def scored(trial, flipped, size_bytes=0):
    """A trial that is sure and right but for the flipped rows, where it is unsure and wrong."""
    right = np.where(Y == 1, 0.9, 0.1)
    wrong = np.where(Y == 1, 0.45, 0.55)
    p = np.where(flipped, wrong, right)
    predictions = np.stack([1 - p, p], axis=1)
    return Scored(trial, predictions, float((predictions.argmax(1) == Y).mean()), 1.0, Scale(size_bytes))


def scorer_of(rows):
    return lambda outputs: float((outputs.argmax(1) == Y[rows]).mean())


def within(size_bytes):
    return lambda scales: sum(s.size_bytes for s in scales) <= size_bytes


ROWS = np.arange(400)
LEFT, RIGHT = scored(1, ROWS % 10 == 0, 100), scored(2, ROWS % 10 == 5, 100)


def test_two_trials_that_err_on_different_rows_are_mixed():
    members, value = select([LEFT, RIGHT], scorer_of, fits=lambda chosen: True)
    assert {m.trial for m in members} == {1, 2}
    assert value == 1.0
    assert abs(sum(m.weight for m in members) - 1) < 1e-9


def test_what_helps_nowhere_is_no_member():
    members, value = select([LEFT, scored(2, ROWS % 10 < 2, 100)], scorer_of, fits=lambda chosen: True)
    assert [(m.trial, m.weight) for m in members] == [(1, 1.0)]
    assert value == 0.9


def test_a_constant_is_no_member_under_a_correlation():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    good = Scored(1, y + rng.normal(size=300), 0.7, 1.0)
    usual = Scored(0, np.full(300, 0.3), 0.0, 1.0)

    def correlation_of(rows):
        return lambda x: float(np.corrcoef(x, y[rows])[0, 1]) if np.ptp(x) else 0.0

    members, _ = select([usual, good], correlation_of, fits=lambda chosen: True)
    assert [m.trial for m in members] == [1]


@pytest.mark.parametrize(("parts", "kept"), [(1, [1]), (3, [1, 2])])
def test_a_member_that_few_parts_of_the_rows_want_is_left_out(monkeypatch, parts, kept):
    chosen = iter([[0, 1]] * parts + [[0]] * (ensemble.NUM_PARTS - parts))
    monkeypatch.setattr(ensemble, "_greedy", lambda *given: next(chosen))
    members, _ = select([LEFT, RIGHT], scorer_of, fits=lambda chosen: True)
    assert [m.trial for m in members] == kept
    assert sum(m.weight for m in members) == pytest.approx(1)


def test_an_ensemble_keeps_the_limits():
    members, _ = select([LEFT, RIGHT], scorer_of, fits=within(150))
    assert len(members) == 1


def test_lighter_models_are_mixed_where_the_best_one_fills_the_limit():
    heavy = scored(3, ROWS % 20 == 0, 150)
    members, value = select([LEFT, RIGHT, heavy], scorer_of, fits=within(220))
    assert {m.trial for m in members} == {1, 2}
    assert value == 1.0


def test_nothing_is_chosen_when_nothing_fits():
    members, value = select([LEFT], scorer_of, fits=lambda chosen: False)
    assert members == []
    assert value == -np.inf


@pytest.mark.parametrize("undefined", [-np.inf, 0.0])
def test_one_is_chosen_where_the_metric_says_nothing(undefined):
    members, value = select([LEFT, RIGHT], lambda rows: lambda outputs: undefined, fits=lambda chosen: True)
    assert [m.weight for m in members] == [1.0]
    assert value == undefined
