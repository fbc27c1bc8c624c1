import math
import time

import numpy as np
import pytest

from thrifty.core.space import Choice, Float, Space, When
from thrifty.testing.policies import MIXED, PolicyContract, answer, value_at
from thrifty.tuning.policies.gaussian_process import MOST_OBSERVED, Bayesian, _spread_over, _standardised
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study


class TestBayesian(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Bayesian()


class TestBayesianWithEpochs(PolicyContract):
    def make(self) -> Policy:
        return Bayesian()


def best_of(policy: str, trials: int, seed: int, dimension: int = 3) -> float:
    """The least of a tilted bowl whose floor is 0 at (0.3, 0.3, ...)."""
    study = Study(Space({f"x{i}": Float(0, 1) for i in range(dimension)}), metric="loss", policy=policy, seed=seed)
    for _ in range(trials):
        proposal = study.ask()
        d = np.array(list(proposal.config.values())) - 0.3
        study.tell(proposal.trial, float(d @ d + d.sum() ** 2))
    assert study.best is not None
    return study.best.value


def test_it_comes_close_to_the_floor_of_a_bowl() -> None:
    found = [best_of("gaussian-process", 30, seed) for seed in range(3)]
    assert max(found) < 1e-3
    assert max(found) < 0.05 * min(best_of("random", 30, seed) for seed in range(3))


def test_auto_takes_it_where_there_are_no_epochs() -> None:
    assert best_of("auto", 12, 0) == best_of("gaussian-process", 12, 0)


def test_a_scheduler_takes_its_configurations() -> None:
    study = Study(MIXED, metric="loss", max_epochs=9, policy="asha+gaussian-process")
    for _ in range(40):
        answer(study, study.ask())
    starts = [e.payload["why"] for e in study.events() if e.kind == "trial_started"]
    assert set(starts) == {"gaussian-process"}
    assert any(e.kind == "value_model_fitted" for e in study.events())


def test_what_runs_is_not_proposed_again_beside_itself() -> None:
    study = Study(Space({"x": Float(0, 1), "y": Float(0, 1)}), metric="loss", policy="gaussian-process")
    for _ in range(8):
        proposal = study.ask()
        study.tell(proposal.trial, (proposal.config["x"] - 0.4) ** 2 + (proposal.config["y"] - 0.7) ** 2)
    at = np.array([list(study.ask().config.values()) for _ in range(5)])
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)[np.triu_indices(5, 1)]
    assert apart.min() > 0.01


def test_it_learns_from_failures_and_noise() -> None:
    """Where the better half of the space fails, it looks elsewhere."""
    late = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        study = Study(Space({"x": Float(0, 1), "y": Float(0, 1)}), metric="loss", policy="gaussian-process", seed=seed)
        for _ in range(40):
            proposal = study.ask()
            x, y = proposal.config["x"], proposal.config["y"]
            if x < 0.5:
                study.tell(proposal.trial, math.nan)
            else:
                study.tell(proposal.trial, x + (y - 0.5) ** 2 + 0.02 * float(rng.standard_normal()))
        late += [trial.config["x"] < 0.5 for trial in study.trials[15:]]
    assert sum(late) < 0.4 * len(late)


def test_a_condition_on_a_number_is_kept() -> None:
    space = Space({"x": Float(0, 1), "kind": Choice("a", "b"), "r": When(Float(0, 1), {"kind": "b"})})
    study = Study(space, metric="loss", policy="gaussian-process")
    for _ in range(30):
        config = study.ask().config
        study.tell(study.num_trials - 1, abs(config["x"] - 0.2) + abs(config.get("r", 1.0) - 0.6))
    assert study.best is not None
    assert study.best.config["kind"] == "b"
    assert study.best.value < 0.1


def test_values_are_told_by_their_distance_to_the_best_and_failures_above_the_worst() -> None:
    y_N = _standardised(np.array([1.0, 2.0, 3.0, 1e6, np.inf]))
    assert (np.diff(y_N) > 0).all()
    assert np.isclose(y_N[1] - y_N[0], y_N[2] - y_N[1])
    assert y_N[3] - y_N[2] < 30 * (y_N[1] - y_N[0])
    assert abs(y_N.mean()) < 1e-9
    assert np.isfinite(_standardised(np.full(4, 7.0))).all()
    assert (np.abs(_standardised(np.array([0.0, 0.0, 0.0, 1.0]))) < 2).all()


def test_of_many_trials_the_best_and_a_spread_are_learned_from() -> None:
    order = np.random.default_rng(0).permutation(5000)
    chosen = _spread_over(order, MOST_OBSERVED)
    assert set(order[: MOST_OBSERVED // 2]) < set(chosen)
    assert MOST_OBSERVED * 0.8 < len(set(chosen)) <= MOST_OBSERVED + 1
    assert np.isin(order[-100:], chosen).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "space", [MIXED, Space({f"x{i}": Float(0, 1) for i in range(20)})], ids=["mixed", "20 numbers"]
)
def test_a_proposal_at_a_thousand_trials_takes_less_than_20_ms(space: Space) -> None:
    study = Study(space, metric="loss", policy="gaussian-process")
    rng = np.random.default_rng(0)
    for _ in range(1000):
        study.tell(study.start(space.sample(rng)), float(rng.random()))
    study.ask()
    seconds = []
    for _ in range(51):
        start = time.process_time()
        proposal = study.ask()
        seconds.append(time.process_time() - start)
        study.tell(proposal.trial, value_at(proposal.config, 50) + float(rng.random()))
    assert np.median(seconds) < 0.02
