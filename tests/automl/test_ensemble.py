"""Greedy ensembles gain where members err differently, and keep the limits."""

import numpy as np

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
    members, value = select([LEFT, RIGHT], scorer_of, fits=lambda chosen: True, min_gain=0.01)
    assert {m.trial for m in members} == {1, 2}
    assert value == 1.0
    assert abs(sum(m.weight for m in members) - 1) < 1e-9


def test_the_best_single_trial_stays_when_the_gain_is_too_small():
    members, value = select([LEFT, RIGHT], scorer_of, fits=lambda chosen: True, min_gain=0.5)
    assert len(members) == 1
    assert value == 0.9


def test_an_ensemble_keeps_the_limits():
    members, _ = select([LEFT, RIGHT], scorer_of, fits=within(150), min_gain=0.01)
    assert len(members) == 1


def test_lighter_models_are_mixed_where_the_best_one_fills_the_limit():
    heavy = scored(3, ROWS % 20 == 0, 150)
    members, value = select([LEFT, RIGHT, heavy], scorer_of, fits=within(220), min_gain=0.01)
    assert {m.trial for m in members} == {1, 2}
    assert value == 1.0


def test_nothing_is_chosen_when_nothing_fits():
    members, value = select([LEFT], scorer_of, fits=lambda chosen: False, min_gain=0.01)
    assert members == []
    assert value == -np.inf
