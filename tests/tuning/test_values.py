import math

import numpy as np

from thrifty.tuning.values import ValueModel, log_expected_improvement


def fitted(noise: float = 0.0, count: int = 40) -> tuple[ValueModel, np.ndarray, np.ndarray]:
    """A model of a function of the first two of three parameters, the second of which has two columns."""
    rng = np.random.default_rng(0)
    x_NC = rng.random((count, 4))
    y_N = np.sin(4 * x_NC[:, 0]) + (x_NC[:, 1] - 0.3) ** 2 + noise * rng.standard_normal(count)
    y_N = (y_N - y_N.mean()) / y_N.std()
    model = ValueModel(np.array([0, 1, 1, 2]), 3)
    for _ in range(3):
        model.fit(x_NC, y_N, 40)
    model.condition(x_NC, y_N)
    return model, x_NC, y_N


def test_it_goes_through_what_it_was_told_and_is_unsure_far_away() -> None:
    model, x_NC, y_N = fitted()
    mean_N, spread_N = model.predict(x_NC)
    assert np.abs(mean_N - y_N).max() < 0.02
    _, far = model.predict(np.full((1, 4), 3.0))
    assert far[0] > 10 * spread_N.max()


def test_it_finds_noise_and_what_does_not_matter() -> None:
    noisy, x_NC, y_N = fitted(0.5, 80)
    assert np.exp(noisy.settings_S[-1]) > 0.05
    assert np.abs(noisy.predict(x_NC)[0] - y_N).mean() > 0.05
    clean, _, _ = fitted()
    assert clean.settings_S[2] > clean.settings_S[0] + 0.5


def test_gradients_are_those_of_differences() -> None:
    model, x_NC, y_N = fitted()
    step = 1e-6
    settings = model.settings_S + 0.1
    _, gradient = model._loss(settings, x_NC, y_N)
    for s, e in enumerate(np.eye(len(settings)) * step):
        slope = (model._loss(settings + e, x_NC, y_N)[0] - model._loss(settings - e, x_NC, y_N)[0]) / (2 * step)
        assert math.isclose(gradient[s], slope, rel_tol=1e-3, abs_tol=1e-4)
    x_MC = np.random.default_rng(1).random((3, 4))
    for best in (0.0, -3.0, -40.0):
        gain_M, slope_MC = model.gains_at(x_MC, best)
        assert np.allclose(gain_M, log_expected_improvement(*model.predict(x_MC), best), rtol=1e-6)
        for c, e in enumerate(np.eye(4) * step):
            slope_M = (model.gains_at(x_MC + e, best)[0] - model.gains_at(x_MC - e, best)[0]) / (2 * step)
            assert np.allclose(slope_MC[:, c], slope_M, rtol=1e-3, atol=1e-3)


def test_points_taken_as_expected_change_no_mean_and_are_known_from_then_on() -> None:
    model, x_NC, y_N = fitted()
    x_MC, other_MC = np.random.default_rng(1).random((2, 3, 4))
    before_M, spread_M = model.predict(other_MC)
    mean_M = model.expect(x_MC)
    found_M, less_M = model.predict(other_MC)
    assert np.allclose(found_M, before_M)
    assert (less_M < spread_M).all()
    model.condition(np.vstack([x_NC, x_MC]), np.r_[y_N, mean_M])
    assert np.allclose(model.predict(other_MC), (found_M, less_M), rtol=1e-4, atol=1e-6)
    assert np.allclose(model.predict(x_NC)[0], model.observed_N[: len(x_NC)])


def test_the_logarithm_of_the_improvement_is_exact_and_never_infinite() -> None:
    mean_M, spread_M = np.array([0.0, 1.0, -1.0, 1.5]), np.array([1.0, 0.5, 2.0, 0.7])
    draws = mean_M + spread_M * np.random.default_rng(0).standard_normal((400_000, 4))
    expected = np.maximum(0.5 - draws, 0).mean(0)
    assert np.allclose(np.exp(log_expected_improvement(mean_M, spread_M, 0.5)), expected, rtol=0.1)
    far = log_expected_improvement(np.array([10.0, 20.0, 1e4, 1e5]), np.ones(4), 0.0)
    assert np.isfinite(far).all()
    assert (np.diff(far) < 0).all()


def test_equal_points_of_different_values_are_no_trouble() -> None:
    model = ValueModel(np.array([0]), 1)
    x_NC, y_N = np.array([[0.5], [0.5], [0.5], [0.1]]), np.array([-1.0, 1.0, 0.0, 0.5])
    model.fit(x_NC, y_N, 20)
    model.condition(x_NC, y_N)
    assert abs(model.predict(np.array([[0.5]]))[0][0]) < 0.5
