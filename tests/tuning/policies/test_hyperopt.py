import pytest

from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.space import Belief, Choice, Float
from thrifty.testing.policies import MIXED, PolicyContract
from thrifty.tuning.policies import hyperopt as adapter
from thrifty.tuning.policies.asha import Asha
from thrifty.tuning.policies.hyperopt import Hyperopt
from thrifty.tuning.policies.random import Straight
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study

pytest.importorskip("hyperopt")


class TestTpe(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Straight(Hyperopt("tpe"))


class TestAshaOfTpe(PolicyContract):
    def make(self) -> Policy:
        return Asha(source=Hyperopt("tpe"))


class TestAnneal(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Straight(Hyperopt("anneal"))


def test_beliefs_are_honoured() -> None:
    space = {"x": Float(0, 1, belief=Belief(0.9, 0.02)), "k": Choice("a", "b", "c", weights=[98, 1, 1])}
    study = Study(space, metric="loss", policy="hyperopt-tpe")
    for _ in range(10):
        study.tell(study.ask().trial, 1.0)
    assert all(0.8 < t.config["x"] <= 1 for t in study.trials)
    assert sum(t.config["k"] == "a" for t in study.trials) >= 6


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"thrifty\[hyperopt\]"):
        Study(MIXED, metric="loss", policy="hyperopt-tpe")


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(UsageError, match="tpe, anneal"):
        Hyperopt("atpe")
