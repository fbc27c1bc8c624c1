import numpy as np
from scipy.optimize import check_grad

from thrifty.tuning.curves import CurveModel, Points, expected_improvement


def some(count: int, rng: np.random.Generator) -> Points:
    return Points(rng.random((count, 4)), rng.random(count), rng.integers(0, 12, count))


def test_the_gradient_of_the_loss_is_right() -> None:
    rng = np.random.default_rng(0)
    model = CurveModel(np.array([0, 1, 2, 2]), 3)
    points, y = some(30, rng), rng.standard_normal(30)
    at = model.prior_mean_S + 0.2 * rng.standard_normal(len(model.prior_mean_S))
    error = check_grad(lambda s: model._loss(s, points, y)[0], lambda s: model._loss(s, points, y)[1], at)
    assert error < 1e-3


def test_it_goes_through_what_it_has_seen_and_is_unsure_elsewhere() -> None:
    rng = np.random.default_rng(0)
    model = CurveModel(np.arange(2), 2)
    x = rng.random((40, 2))
    points = Points(x, rng.random(40), np.arange(40))
    y = np.sin(4 * x[:, 0]) + 0.5 * points.u_N
    model.fit(points, y, 30)
    model.condition(points, y)
    mean, spread = model.predict(points)
    assert np.abs(mean - y).max() < 0.2
    _, far_spread = model.predict(Points(x + 5, points.u_N, np.full(40, -1)))
    assert far_spread.min() > 2 * spread.max()
    fresh = rng.random((200, 2))
    mean, _ = model.predict(Points(fresh, np.full(200, 0.5), np.full(200, -1)))
    assert np.corrcoef(mean, np.sin(4 * fresh[:, 0]))[0, 1] > 0.9


def test_expected_improvement_is_what_a_simulation_says() -> None:
    rng = np.random.default_rng(0)
    mean, spread = np.array([0.0, 1.0, -0.5]), np.array([1.0, 0.5, 0.1])
    drawn = mean + spread * rng.standard_normal((400_000, 3))
    simulated = np.maximum(0.2 - drawn, 0).mean(0)
    assert np.allclose(expected_improvement(mean, spread, 0.2), simulated, atol=3e-3)


def test_it_knows_whether_configurations_or_trials_themselves_make_the_difference() -> None:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(40), 3)
    x, own = rng.random((40, 2)), rng.standard_normal(40)
    points = Points(x[who], np.tile([0.2, 0.6, 1.0], 40), who)
    told = CurveModel(np.arange(2), 2)
    told.fit(points, np.sin(4 * x[who, 0]) - points.u_N, 60)
    alone = CurveModel(np.arange(2), 2)
    alone.fit(points, own[who] - points.u_N, 60)
    assert told.own_to_told < 0.1
    assert alone.own_to_told > 0.8
