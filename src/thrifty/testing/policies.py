"""What every policy must do, as tests to inherit.

class TestMine(PolicyContract):
    def make(self) -> Policy:
        return MyPolicy()
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from thrifty.core.errors import Exhausted
from thrifty.core.space import Choice, Float, Int, Space, When
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Proposal, State

MIXED = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "layers": Int(1, 5),
        "kind": Choice("a", "b", None),
        "size": Choice(16, 32, 64, ordered=True),
        "momentum": When(Float(0.0, 0.9), {"kind": "b"}),
    },
    constraints=["layers * size <= 200"],
)
SMALL = Space({"x": Int(1, 3), "kind": Choice("a", "b"), "on": When(Choice(True, False), {"kind": "b"})})
NUM_SMALL = 9


def value_at(config: dict[str, object], epoch: int) -> float:
    """A made-up curve that falls with the epochs, to a floor that the configuration decides."""
    lr, layers = float(str(config.get("lr", 0.1))), float(str(config.get("layers", config.get("x", 1))))
    floor = abs(math.log10(lr) + 2) / 4 + 0.05 * layers + (0.1 if config.get("kind") == "a" else 0.0)
    return floor + 1.0 / (1 + epoch)


def answer(study: Study, proposal: Proposal) -> None:
    """Tells what the made-up function says."""
    if proposal.until_epoch is None:
        study.tell(proposal.trial, value_at(proposal.config, 50))
    else:
        epochs = range(proposal.from_epoch + 1, proposal.until_epoch + 1)
        study.tell(proposal.trial, [value_at(proposal.config, e) for e in epochs], cost_seconds=len(epochs))


def begun_anew(study: Study, space: Space) -> list[str]:
    """The configurations of the trials that do not begin from another one's checkpoint, as text."""
    return [space.key(trial.config) for trial in study.trials if trial.parent is None]


class PolicyContract(ABC):
    """Inherit it in a test class, name the class Test..., and say how the policy is made."""

    max_epochs: int | None = 10

    @abstractmethod
    def make(self) -> Policy:
        """A fresh policy."""

    def study(self, space: Space = MIXED, **options: object) -> Study:
        options = {"metric": "loss", "max_epochs": self.max_epochs, "policy": self.make(), **options}
        return Study(space, **options)  # type: ignore[arg-type]

    def decisions(self, study: Study, count: int, then: Callable[[Study, Proposal], None] = answer) -> list[Proposal]:
        made = []
        for _ in range(count):
            made.append(study.ask())
            then(study, made[-1])
        return made

    def test_configurations_are_in_the_space_and_none_is_started_twice(self) -> None:
        study = self.study()
        self.decisions(study, 60)
        assert all(MIXED.validate(trial.config) == trial.config for trial in study.trials)
        started = begun_anew(study, MIXED)
        assert len({*started}) == len(started) > 1

    def test_the_same_seed_gives_the_same_decisions(self) -> None:
        first, second = self.decisions(self.study(seed=3), 40), self.decisions(self.study(seed=3), 40)
        assert first == second
        assert first != self.decisions(self.study(seed=4), 40)

    def test_a_policy_made_anew_goes_on_as_if_it_had_been_there(self) -> None:
        whole = self.decisions(self.study(seed=1), 40)
        study = self.study(seed=1)
        begun = self.decisions(study, 25)
        study.policy = self.make()
        assert begun + self.decisions(study, 15) == whole

    def test_trials_go_on_where_they_paused(self) -> None:
        study = self.study()
        reached: dict[int, int] = {}
        for proposal in self.decisions(study, 60):
            if self.max_epochs is None:
                assert (proposal.from_epoch, proposal.until_epoch) == (0, None)
                continue
            assert proposal.until_epoch is not None
            begun = proposal.parent.epoch if proposal.parent is not None else 0
            assert proposal.from_epoch == reached.get(proposal.trial, begun) < proposal.until_epoch <= self.max_epochs
            reached[proposal.trial] = proposal.until_epoch

    def test_a_finite_space_is_used_up_without_duplicates(self) -> None:
        study = self.study(SMALL)
        try:
            self.decisions(study, 1000)
        except Exhausted:
            pass
        else:
            raise AssertionError("a space of nine configurations was never used up")
        started = begun_anew(study, SMALL)
        assert sorted(started) == sorted(map(SMALL.key, SMALL.configurations()))
        assert len(started) == NUM_SMALL
        assert all(trial.state in (State.DONE, State.SKIPPED) for trial in study.trials)

    def test_many_may_be_outstanding_and_told_in_any_order(self) -> None:
        study = self.study()
        outstanding = [study.ask() for _ in range(8)]
        assert len({proposal.trial for proposal in outstanding}) == 8
        for turn in range(80):
            answer(study, outstanding.pop((turn * 5) % 8))
            outstanding.append(study.ask())
            assert len({proposal.trial for proposal in outstanding}) == 8

    def test_failures_are_not_bought_again(self) -> None:
        study = self.study()

        def fails_for_a(study: Study, proposal: Proposal) -> None:
            if proposal.config["kind"] == "a":
                study.tell(proposal.trial, failed="it does not work with a")
            else:
                answer(study, proposal)

        made = self.decisions(study, 60, fails_for_a)
        failed = [trial.id for trial in study.trials if trial.state is State.FAILED]
        assert all(sum(proposal.trial == trial for proposal in made) == 1 for trial in failed)
        assert study.best is not None
        assert study.best.config["kind"] != "a"

    def test_a_study_where_everything_fails_goes_on(self) -> None:
        study = self.study()
        self.decisions(study, 30, lambda study, proposal: study.tell(proposal.trial, math.nan))
        assert study.best is None
        assert all(trial.state is State.FAILED for trial in study.trials)

    def test_equal_values_everywhere_are_no_trouble(self) -> None:
        study = self.study()

        def same(study: Study, proposal: Proposal) -> None:
            count = 1 if proposal.until_epoch is None else proposal.until_epoch - proposal.from_epoch
            study.tell(proposal.trial, [1.0] * count)

        self.decisions(study, 40, same)
        assert study.best is not None

    def test_a_trial_told_fewer_epochs_is_offered_from_there(self) -> None:
        if self.max_epochs in (None, 1):
            return
        study = self.study()

        def one_by_one(study: Study, proposal: Proposal) -> None:
            study.tell(proposal.trial, [value_at(proposal.config, proposal.from_epoch + 1)])

        made = self.decisions(study, 60, one_by_one)
        reached: dict[int, int] = {}
        for proposal in made:
            begun = proposal.parent.epoch if proposal.parent is not None else 0
            assert proposal.from_epoch == reached.get(proposal.trial, begun)
            reached[proposal.trial] = proposal.from_epoch + 1
        assert max(reached.values()) > 1

    def test_points_to_try_first_come_first(self) -> None:
        given = [{"lr": 0.1, "layers": 2, "kind": "a", "size": 16}, {"kind": "b"}]
        study = self.study(first=given)
        made = {p.trial: p.config for p in self.decisions(study, 2)}
        assert made[0] == given[0]
        assert made[1]["kind"] == "b"
        self.decisions(study, 20)
        assert study.num_trials > 2

    def test_values_of_any_size_are_no_trouble(self) -> None:
        study = self.study()

        def huge(study: Study, proposal: Proposal) -> None:
            count = 1 if proposal.until_epoch is None else proposal.until_epoch - proposal.from_epoch
            sign = 1 if proposal.trial % 2 else -1
            study.tell(proposal.trial, [sign * 10.0 ** (300 - 20 * (proposal.trial % 30))] * count)

        self.decisions(study, 40, huge)
        assert study.best is not None
