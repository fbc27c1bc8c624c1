import numpy as np

from thrifty.core.space import Belief, Choice, Float, Int, Space
from thrifty.testing.policies import PolicyContract
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policies.random import Straight
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study


class TestSobol(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Straight(Sobol())


class TestHyperbandOfSobol(PolicyContract):
    def make(self) -> Policy:
        return Hyperband(source=Sobol())


def test_points_fill_the_cube_more_evenly_than_random_ones() -> None:
    def emptiest(policy: str) -> float:
        study = Study({"x": Float(0, 1), "k": Choice("a", "b")}, metric="loss", policy=policy, seed=1)
        for _ in range(64):
            study.tell(study.ask().trial, 1.0)
        assert abs(sum(t.config["k"] == "a" for t in study.trials) - 32) <= (1 if policy == "sobol" else 32)
        return float(np.diff(sorted(t.config["x"] for t in study.trials)).max())

    assert emptiest("sobol") < 0.04 < emptiest("random")


def test_points_that_break_constraints_are_left_out() -> None:
    study = Study(Space({"a": Int(1, 99), "b": Int(1, 99)}, ["a < b"]), metric="loss", policy="sobol")
    for _ in range(50):
        study.tell(study.ask().trial, 1.0)
    assert all(t.config["a"] < t.config["b"] for t in study.trials)


def test_beliefs_draw_the_points_to_where_the_best_is_thought_to_lie() -> None:
    space = {"x": Float(0.001, 1, log=True, belief=Belief(1.0, 0.1)), "k": Choice("a", "b", weights=[9, 1])}
    study = Study(space, metric="loss", policy="sobol")
    for _ in range(100):
        study.tell(study.ask().trial, 1.0)
    assert 78 <= sum(t.config["x"] > 0.2 for t in study.trials) <= 92  # 80 % round the belief, 20 % anywhere
    assert min(t.config["x"] for t in study.trials) < 0.01
    assert 77 <= sum(t.config["k"] == "a" for t in study.trials) <= 87
