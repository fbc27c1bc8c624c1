import pytest

from thrifty.core.errors import UsageError
from thrifty.core.space import Float
from thrifty.testing.policies import PolicyContract, answer
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State


class TestHyperband(PolicyContract):
    def make(self) -> Policy:
        return Hyperband()


class TestHyperbandOfTwo(PolicyContract):
    max_epochs = 8

    def make(self) -> Policy:
        return Hyperband(eta=2)


class TestHyperbandOfOneEpoch(PolicyContract):
    max_epochs = 1

    def make(self) -> Policy:
        return Hyperband()


def test_the_first_bracket_is_27_9_3_1_and_promotes_the_best() -> None:
    study = Study({"x": Float(0, 1)}, metric="loss", max_epochs=27, policy=Hyperband())
    spans = []
    for _ in range(40):
        proposal = study.ask()
        spans.append((proposal.from_epoch, proposal.until_epoch))
        answer_x(study, proposal)
    assert spans == [(0, 1)] * 27 + [(1, 3)] * 9 + [(3, 9)] * 3 + [(9, 27)]
    ranked = sorted(study.trials, key=lambda t: t.config["x"])
    assert [trial.epoch for trial in ranked] == [27] + [9] * 2 + [3] * 6 + [1] * 18
    assert study.best is not None
    assert study.best.trial == ranked[0].id
    assert (study.ask().from_epoch, study.ask().until_epoch) == (0, 3)


def answer_x(study: Study, proposal: object) -> None:
    x = proposal.config["x"]
    study.tell(proposal.trial, [x + 1 / e for e in range(proposal.from_epoch + 1, proposal.until_epoch + 1)])


def test_a_trial_that_is_never_told_holds_nothing_up() -> None:
    study = Study({"x": Float(0, 1)}, metric="loss", max_epochs=9, policy=Hyperband())
    lost = study.ask()
    for _ in range(200):
        answer(study, study.ask())
    assert study.trial(lost.trial).state is State.RUNNING
    assert max(trial.epoch for trial in study.trials[:9]) == 3
    assert max(trial.epoch for trial in study.trials) == 9


def test_eta_below_two_is_refused() -> None:
    with pytest.raises(UsageError, match="eta"):
        Hyperband(eta=1)
