"""Parameter importance against functions whose answer is known."""

import math

import numpy as np
import pytest

import thrifty
from thrifty.core.space import Space, When
from thrifty.tuning.forest import grow


def studied(space, function, trials=80, seed=0, **options):
    study = thrifty.Study(space, metric="loss", policy="random", seed=seed, **options)
    for _ in range(trials):
        asked = study.ask()
        study.tell(asked.trial, function(asked.config))
    return study


def test_a_tree_repeats_what_it_has_seen():
    rng = np.random.default_rng(0)
    x_NC = rng.random((200, 2))
    y_N = np.where(x_NC[:, 0] < 0.5, 1.0, 3.0)
    tree = grow(x_NC, y_N, rng)
    assert np.abs(tree.predict(x_NC) - y_N).mean() < 0.05


def test_shares_are_near_the_variances_of_an_additive_function():
    space = {"a": thrifty.Float(0, 1), "b": thrifty.Float(1e-4, 1, log=True), "c": thrifty.Float(0, 1)}
    found = studied(space, lambda c: 2 * c["a"] + math.log10(c["b"]) / 4, 150).importance()
    assert list(found) == ["a", "b", "c"]
    assert sum(found.values()) == pytest.approx(1)
    assert found["a"] == pytest.approx(0.8, abs=0.12)  # variances 4 : 1 : 0
    assert found["c"] < 0.08
    assert found.explained > 0.6
    assert all(found.low[name] <= found[name] <= found.high[name] for name in found)


def test_a_category_and_what_depends_on_it_are_told_from_noise():
    space = Space(
        {
            "kind": ["a", "b", "c"],
            "step": When(thrifty.Float(0, 1), {"kind": "b"}),
            "idle": thrifty.Int(1, 9),
        }
    )
    found = studied(space, lambda c: {"a": 0.0, "b": 2.0, "c": 0.3}[c["kind"]] + 2 * c.get("step", 0), 120).importance()
    assert list(found) == ["kind", "step", "idle"]
    assert found["idle"] < 0.1


def test_a_parameter_that_acts_late_is_told_in_a_study_with_epochs():
    study = thrifty.Study(
        {"a": thrifty.Float(0, 1), "b": thrifty.Float(0, 1)}, metric="loss", max_epochs=16, policy="hyperband"
    )
    while study.epochs_spent < 250:
        asked = study.ask()
        epochs = range(asked.from_epoch + 1, asked.until_epoch + 1)
        study.tell(asked.trial, [3 * asked.config["a"] + 1 / epoch for epoch in epochs])
    assert study.importance()["a"] > 0.9


def test_few_trials_and_pure_noise_cannot_be_told():
    space = {"a": thrifty.Float(0, 1), "b": thrifty.Float(0, 1)}
    few = studied(space, lambda c: c["a"], 5).importance()
    assert few == {}
    assert "5 trials have a value; at least 10" in few.why
    rng = np.random.default_rng(0)
    noise = studied(space, lambda c: rng.random(), 60).importance()
    assert noise == {}
    assert "too little to say" in noise.why
    assert studied(space, lambda c: 1.0, 12).importance().why == "all trials have the same value"


def test_a_study_without_a_space_says_so():
    with pytest.raises(thrifty.UsageError, match="no space"):
        thrifty.Study(metric="loss").importance()
