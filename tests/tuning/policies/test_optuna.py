from collections.abc import Callable

import pytest

from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.space import Belief, Choice, Float, Space
from thrifty.testing.policies import MIXED, PolicyContract, answer
from thrifty.tuning.policies import optuna as adapter
from thrifty.tuning.policies.asha import Asha
from thrifty.tuning.policies.hyperband import Hyperband
from thrifty.tuning.policies.optuna import Optuna
from thrifty.tuning.policies.random import Straight
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Proposal

pytest.importorskip("optuna")
pytest.importorskip("cmaes")


class TestTpe(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Straight(Optuna("tpe"))


class TestHyperbandOfTpe(PolicyContract):
    def make(self) -> Policy:
        return Hyperband(source=Optuna("tpe"))


class TestCmaEs(PolicyContract):
    max_epochs = None

    def make(self) -> Policy:
        return Straight(Optuna("cmaes"))


class TestAshaOfNsga2(PolicyContract):
    def make(self) -> Policy:
        return Asha(source=Optuna("nsga2"))


@pytest.mark.slow
class TestGp(PolicyContract):
    """The contract with few trials: a proposal of this one takes a tenth of a second and more."""

    max_epochs = None

    def make(self) -> Policy:
        pytest.importorskip("torch")
        return Straight(Optuna("gp"))

    def decisions(self, study: Study, count: int, then: Callable[[Study, Proposal], None] = answer) -> list[Proposal]:
        return super().decisions(study, min(count, 14), then)

    def test_a_policy_made_anew_goes_on_as_if_it_had_been_there(self) -> None:
        whole = self.decisions(self.study(seed=1), 14)
        study = self.study(seed=1)
        begun = self.decisions(study, 11)
        study.policy = self.make()
        assert begun + self.decisions(study, 3) == whole

    def test_many_may_be_outstanding_and_told_in_any_order(self) -> None:
        study = self.study()
        outstanding = [study.ask() for _ in range(8)]
        for turn in range(6):
            answer(study, outstanding.pop((turn * 5) % 8))
            outstanding.append(study.ask())
            assert len({proposal.trial for proposal in outstanding}) == 8


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_with_many_workers_a_study_opened_again_proposes_the_same(sampler: str, tmp_path) -> None:
    space = {"x": Float(-1, 1), "y": Float(-1, 1), "z": Float(0.1, 10, log=True)}

    def loss(config: dict[str, float]) -> float:
        return config["x"] ** 2 + (config["y"] - 0.5) ** 2 + config["z"]

    def ahead(study: Study, out: list, count: int) -> list:
        made = []
        for turn in range(count):
            out.append(study.ask())
            made.append(out[-1].config)
            if len(out) > 3:
                told = out.pop((7 * turn) % 3)
                study.tell(told.trial, loss(told.config))
        for told in out:
            study.tell(told.trial, loss(told.config))
        out.clear()
        return made

    options = {"metric": "loss", "policy": f"optuna-{sampler}", "seed": 5}
    whole = Study(space, **options)
    expected = ahead(whole, [], 60) + ahead(whole, [], 20)
    with Study(space, folder=tmp_path, **options) as study:
        found = ahead(study, [], 60)
    with Study(space, folder=tmp_path, **options) as study:
        assert found + ahead(study, [], 20) == expected


def test_beliefs_are_honoured() -> None:
    space = {"x": Float(0, 1, belief=Belief(0.9, 0.02)), "k": Choice("a", "b", "c", weights=[98, 1, 1])}
    study = Study(space, metric="loss", policy="optuna-tpe")
    for _ in range(10):
        study.tell(study.ask().trial, 1.0)
    assert sum(0.8 < t.config["x"] < 1 for t in study.trials) >= 6
    assert sum(t.config["k"] == "a" for t in study.trials) >= 6


def test_a_space_of_one_choice_and_a_constant_is_used_up() -> None:
    study = Study({"k": ["a", "b"], "c": 3}, metric="loss", policy="optuna-tpe")
    assert {study.ask().config["k"], study.ask().config["k"]} == {"a", "b"}


def test_a_constraint_that_leaves_little_is_met() -> None:
    study = Study(Space({"a": Float(0, 1), "b": Float(0, 1)}, ["a + b <= 0.1"]), metric="loss", policy="optuna-tpe")
    for _ in range(5):
        answer_sum(study)
    assert all(t.config["a"] + t.config["b"] <= 0.1 for t in study.trials)


def answer_sum(study: Study) -> None:
    proposal = study.ask()
    study.tell(proposal.trial, proposal.config["a"])


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"thrifty\[optuna\]"):
        Study(MIXED, metric="loss", policy="optuna-tpe")


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(UsageError, match="tpe, gp, cmaes, nsga2"):
        Optuna("qmc")


def test_the_users_own_optuna_keeps_its_verbosity() -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    study = Study(MIXED, metric="loss", policy="optuna-tpe")
    answer(study, study.ask())
    assert optuna.logging.get_verbosity() == before
