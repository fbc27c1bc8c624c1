import pytest

from thrifty.core.errors import UsageError
from thrifty.testing.policies import PolicyContract
from thrifty.tuning.policies.asha import Asha
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study


class TestAsha(PolicyContract):
    def make(self) -> Policy:
        return Asha()


class TestAshaOfTwoAndSobol(PolicyContract):
    max_epochs = 16

    def make(self) -> Policy:
        return Asha(eta=2, min_epochs=2, source=Sobol())


class TestAshaOfOneEpoch(PolicyContract):
    max_epochs = 1

    def make(self) -> Policy:
        return Asha()


def test_the_best_third_is_promoted_as_soon_as_it_is_known() -> None:
    study = Study({"x": list(range(90))}, metric="loss", max_epochs=9, policy="asha")
    spans = []
    for _ in range(13):
        proposal = study.ask()
        spans.append((proposal.from_epoch, proposal.until_epoch))
        falling = float(proposal.trial)  # the first trial is the best, the second the next, ...
        study.tell(proposal.trial, [falling] * (proposal.until_epoch - proposal.from_epoch))
    new, up, top = (0, 1), (1, 3), (3, 9)
    assert spans == [new, new, new, up, new, new, new, up, new, new, new, up, top]


def test_a_trial_that_overtakes_is_promoted_although_the_rung_has_promoted_enough() -> None:
    study = Study({"x": list(range(90))}, metric="loss", max_epochs=3, policy="asha")
    for value in (3.0, 4.0, 5.0):
        study.tell(study.ask().trial, [value])
    study.tell(study.ask().trial, [3.0, 3.0])  # trial 0 goes to the end
    better = study.ask()
    study.tell(better.trial, [1.0])
    assert study.ask().trial == better.trial


def test_workers_never_wait() -> None:
    study = Study({"x": list(range(500))}, metric="loss", max_epochs=27, policy="asha")
    assert len({study.ask().trial for _ in range(100)}) == 100


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"min_epochs": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Asha(**wrong)
