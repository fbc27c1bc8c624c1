import math

import numpy as np
import pytest

from thrifty.core.space import Choice, Float, Int
from thrifty.tuning.policies.arm import propose

SPACE = {
    "rate": Float(1e-4, 1e-1, log=True),
    "layers": Int(1, 8),
    "kind": Choice("a", "b", "c"),
    "share": Float(0.0, 1.0),
}
FIRST = {"rate": 3e-3, "layers": 4, "kind": "a", "share": 0.5}


def distance(config, other=FIRST):
    """In units of the ranges, over the numbers."""
    gaps = [SPACE[n].to_unit(config[n]) - SPACE[n].to_unit(other[n]) for n in ("rate", "layers", "share")]
    return float(np.sqrt(np.mean(np.square(gaps))))


def value(config):
    """Best at a rate of 1e-3 and a share of 0.7."""
    gaps = [SPACE["rate"].to_unit(config["rate"]) - 1 / 3, config["share"] - 0.7]
    return -float(np.square(gaps).sum()) - (0.2 if config["kind"] == "b" else 0.0)


def searched(seed, num_trials):
    tried = [(FIRST, value(FIRST))]
    for number in range(num_trials):
        config = propose(SPACE, FIRST, tried, np.random.default_rng((seed, number)))
        tried.append((config, value(config)))
    return tried


def test_the_second_configuration_is_near_the_first_and_another():
    for seed in range(10):
        config = propose(SPACE, FIRST, [(FIRST, 0.5)], np.random.default_rng(seed))
        assert config != FIRST
        assert distance(config) < 0.35
        assert all(domain.contains(config[name]) for name, domain in SPACE.items())


def test_a_few_trials_come_nearer_to_the_best_than_chance_does():
    found = np.mean([max(v for _, v in searched(seed, 8)) for seed in range(8)])
    rng = np.random.default_rng(0)
    drawn = [[value({n: d.sample(rng) for n, d in SPACE.items()}) for _ in range(8)] for _ in range(200)]
    assert found > np.mean(np.max(drawn, axis=1))
    assert found > value(FIRST) / 2


def test_nothing_is_proposed_twice():
    configs = [config for config, _ in searched(0, 12)]
    assert all(config not in configs[:place] for place, config in enumerate(configs))


def test_what_failed_is_kept_away_from():
    bad = {**FIRST, "rate": 0.05}
    tried = [(FIRST, 0.5), ({**FIRST, "share": 0.4}, 0.49), (bad, -math.inf), ({**bad, "share": 0.6}, -math.inf)]
    found = [propose(SPACE, FIRST, tried, np.random.default_rng(seed)) for seed in range(10)]
    assert np.mean([SPACE["rate"].to_unit(config["rate"]) for config in found]) < 0.6


def test_what_runs_is_not_bought_beside_itself():
    tried = [(FIRST, 0.5), ({**FIRST, "share": 0.7}, 0.6)]
    running = propose(SPACE, FIRST, tried, np.random.default_rng(0))
    assert propose(SPACE, FIRST, [*tried, (running, None)], np.random.default_rng(0)) != running


def test_a_trial_without_some_values_had_the_first_ones():
    tried = [({}, 0.5), ({"share": 0.7}, 0.6), ({"share": 0.2}, 0.1)]
    full = [({**FIRST, **config}, v) for config, v in tried]
    rng = np.random.default_rng
    assert propose(SPACE, FIRST, tried, rng(0)) == propose(SPACE, FIRST, full, rng(0))


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [-math.inf, -math.inf], [math.nan, 0.3]])
def test_values_that_say_nothing_still_give_a_proposal(values):
    tried = [({**FIRST, "share": 0.1 * place}, v) for place, v in enumerate(values)]
    assert propose(SPACE, FIRST, tried, np.random.default_rng(0)) is not None


def test_a_space_that_is_used_up_gives_nothing():
    space = {"kind": Choice("a", "b")}
    tried = [({"kind": "a"}, 0.1), ({"kind": "b"}, 0.2)]
    assert propose(space, {"kind": "a"}, tried, np.random.default_rng(0)) is None
