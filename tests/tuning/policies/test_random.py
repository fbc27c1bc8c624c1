import pytest

from thrifty.core.errors import Exhausted
from thrifty.core.space import Choice, Int, Space
from thrifty.testing.policies import PolicyContract
from thrifty.tuning.policies.random import Random
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study


class TestRandom(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Random()


class TestRandomWithEpochs(PolicyContract):
    def make(self) -> Policy:
        return Random()


def test_a_large_space_that_constraints_leave_little_of_is_used_up() -> None:
    space = Space({"a": Int(1, 300), "b": Int(1, 300), "c": Choice("x", "y")}, ["a * b == 7"])
    study = Study(space, metric="loss")
    found = set()
    for _ in range(4):
        proposal = study.ask()
        found.add(tuple(proposal.config.values()))
        study.tell(proposal.trial, 1.0)
    with pytest.raises(Exhausted, match="all 4 configurations"):
        study.ask()
    assert found == {(1, 7, "x"), (1, 7, "y"), (7, 1, "x"), (7, 1, "y")}


def test_what_a_dead_coordinator_ran_is_offered_first() -> None:
    study = Study({"x": Int(1, 1000)}, metric="loss")
    first = study.ask()
    study.pause(first.trial)
    again = study.ask()
    assert (again.trial, again.config) == (first.trial, first.config)
