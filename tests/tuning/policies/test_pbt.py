"""Population-based training: who is replaced by whose child, what is changed, and what a schedule is worth."""

import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from thrifty.core.errors import Exhausted, UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Belief, Choice, Float, Int, Space, When
from thrifty.testing.policies import MIXED, PolicyContract, answer
from thrifty.tuning.belief import beliefs_of
from thrifty.tuning.policies.pbt import Pbt, perturbed
from thrifty.tuning.policies.sobol import Sobol
from thrifty.tuning.policies.told import Told
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Parent, Proposal, State
from thrifty.tuning.warm import _translated


class TestPbt(PolicyContract):
    def make(self) -> Policy:
        return Pbt()


class TestPbtOfFewAndSobol(PolicyContract):
    max_epochs = 27

    def make(self) -> Policy:
        return Pbt(size=5, interval=4, source=Sobol())


class TestPbtOfOneEpoch(PolicyContract):
    max_epochs = 1

    def make(self) -> Policy:
        return Pbt()


def tell(study: Study, proposal: Proposal, value: float) -> None:
    assert proposal.until_epoch is not None
    study.tell(proposal.trial, [value] * (proposal.until_epoch - proposal.from_epoch))


def first_round(study: Study, values: Sequence[float]) -> None:
    for value in values:
        tell(study, study.ask(), value)


LINE = Space({"x": Float(0, 1)})


def test_the_worst_quarter_is_replaced_by_children_of_the_best_and_the_others_go_on() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=8, interval=2))
    first_round(study, [3, 9, 4, 1, 8, 5, 2, 6])
    asked = [study.ask() for _ in range(8)]
    assert [p.trial for p in asked if p.parent is None] == [0, 2, 3, 5, 6, 7]
    children = [study.trial(p.trial) for p in asked if p.parent is not None]
    assert [child.extra["replaces"] for child in children] == [1, 4]
    for child in children:
        assert child.parent is not None
        assert child.parent.trial in (3, 6)
        assert child.inputs == (child.parent.trial,)
        assert child.config != study.trial(child.parent.trial).config
        assert (child.parent.epoch, child.epoch, child.until) == (2, 2, 4)


def test_the_one_furthest_behind_is_next_and_nobody_waits() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    first = [study.ask() for _ in range(4)]
    tell(study, first[2], 7.0)
    tell(study, first[1], 2.0)
    early = study.ask()  # two have come: nobody can be told to be worst
    assert (early.trial, early.from_epoch) == (1, 2)
    tell(study, early, 1.0)
    tell(study, first[0], 3.0)
    assert (study.ask().trial, study.trial(0).until) == (0, 4)
    tell(study, first[3], 4.0)
    child = study.ask()  # trial 2 is the last of four now; trial 1 has gone on to epoch 4 since
    assert child.parent == Parent(1, 4)
    assert (child.from_epoch, child.until_epoch) == (4, 6)
    more = [study.ask().trial for _ in range(3)]
    assert more[:2] == [3, 1]
    assert study.trial(more[2]).parent is None  # the next population begins before this one has ended


def test_one_that_is_ahead_of_the_others_is_judged_by_the_last_epoch_that_enough_have_come_to() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    first = [study.ask() for _ in range(4)]
    tell(study, first[0], 9.0)
    ahead = study.ask()
    assert (ahead.trial, study.trial(0).why) == (0, "too few have come as far")
    for proposal in first[1:]:
        tell(study, proposal, 1.0 + proposal.trial)
    behind = [study.ask() for _ in range(3)]
    assert [proposal.trial for proposal in behind] == [1, 2, 3]
    study.report(1, 3, 0.5)  # it runs, and others begin from where its last round ended
    tell(study, ahead, 8.0)
    child = study.ask()
    assert study.trial(child.trial).extra["replaces"] == 0
    assert child.parent == Parent(1, 2)


def test_failed_trials_are_replaced() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    study.tell(study.ask().trial, failed="out of memory")
    again = study.ask()
    assert (again.parent, study.trial(again.trial).extra["replaces"]) == (None, 0)
    tell(study, again, 5.0)
    first_round(study, [1.0, 2.0])
    study.tell(study.ask().trial, [math.nan])
    child = study.ask()
    assert child.parent == Parent(2, 2)
    study.tell(child.trial, failed="it cannot go on from there")  # a child that never trained is no reason for another
    anew = study.ask()
    assert (anew.parent, study.trial(anew.trial).extra["replaces"]) == (None, child.trial)


def test_only_one_that_is_better_is_copied() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    first_round(study, [1.0] * 4)
    assert [study.ask().trial for _ in range(4)] == [0, 1, 2, 3]


def test_those_that_are_replaced_are_given_up() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    first_round(study, [3, 9, 4, 1])
    child = [study.ask() for _ in range(4)][1]
    assert child.parent is not None
    assert (study.trial(1).state, study.trial(1).why) == (State.SKIPPED, f"replaced by trial {child.trial}")


def test_a_space_of_few_configurations_begins_some_of_them_again() -> None:
    study = Study({"aug": ["none", "weak", "strong"]}, metric="loss", max_epochs=20, policy="pbt")
    loss = {"none": 3.0, "weak": 2.0, "strong": 1.0}
    with suppress(Exhausted):
        for _ in range(1000):
            asked = study.ask()
            epochs = range(asked.from_epoch + 1, (asked.until_epoch or 0) + 1)
            study.tell(asked.trial, [loss[asked.config["aug"]] - epoch / 100 for epoch in epochs])
    assert not any(trial.open for trial in study.trials)
    assert sum(trial.parent is None for trial in study.trials) == 5
    assert sum(trial.parent is not None for trial in study.trials) > 1
    assert study.best is not None
    assert study.best.config == {"aug": "strong"}


def test_the_next_population_begins_when_one_has_come_to_its_end() -> None:
    study = Study(MIXED, metric="loss", max_epochs=6, policy=Pbt(size=4, interval=2))
    while study.epochs_spent < 80:
        answer(study, study.ask())
    lines = {
        trial.id: trial.extra.get("replaces") for trial in study.trials if trial.parent or "replaces" in trial.extra
    }
    assert lines
    anew = [trial.id for trial in study.trials if trial.parent is None]
    assert len(anew) > 8
    assert sum(trial.state is State.DONE for trial in study.trials[: anew[4]]) >= 3


def test_an_epoch_of_a_parent_is_neither_spent_nor_known_again() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=2))
    first_round(study, [1.0, 2.0, 3.0, 4.0])
    child = next(p for p in (study.ask() for _ in range(4)) if p.parent is not None)
    assert study.trial(child.trial).values == ()
    study.report(child.trial, 3, 0.5)
    assert study.trial(child.trial).values == (None, None, 0.5)
    assert study.epochs_spent == 9
    assert study.best is not None
    assert (study.best.trial, study.best.epoch) == (child.trial, 3)
    parent = study.trial(child.parent.trial) if child.parent else study.trial(0)
    assert study.lineage(child.trial) == [
        Proposal(parent.id, parent.config, 0, 2, None),
        Proposal(child.trial, child.config, 2, 3, child.parent),
    ]
    with pytest.raises(UsageError, match="asked for 1 more epoch"):
        study.tell(child.trial, [1.0] * 9)


def test_a_trial_begins_from_an_epoch_that_its_parent_has_had() -> None:
    study = Study(LINE, metric="loss", max_epochs=4, policy="random")
    study.tell(study.ask().trial, [1.0, 2.0])
    for wrong in (Parent(0, 3), Parent(0, 0), Parent(1, 1)):
        with pytest.raises(UsageError, match=r"no epoch|no trial"):
            study.start({"x": 0.5}, parent=wrong)
    with pytest.raises(UsageError, match="cannot run to epoch 1"):
        study.start({"x": 0.5}, parent=Parent(0, 2), until=1)
    child = study.start({"x": 0.5}, parent=Parent(0, 2))
    assert not study.seen({"x": 0.5})  # nobody has trained it from the beginning
    study.pause(child)
    assert (study.trial(child).state, study.trial(child).epoch) == (State.WAITING, 2)
    assert study.enqueue({"x": 0.5}) != child


@pytest.mark.parametrize("policy", ["random", "asha", "hyperband", "median", "freeze-thaw", "pbt+sobol", "optuna-tpe"])
def test_another_policy_goes_on_with_children(policy: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": "loss", "max_epochs": 8, "folder": tmp_path}
    with Study(MIXED, policy="pbt", **options) as study:
        for _ in range(30):
            answer(study, study.ask())
        children = [trial.id for trial in study.trials if trial.parent is not None]
        for _ in range(30):  # some are handed out and never told
            if study.ask().parent is not None and len(children) > 1:
                break
        trials = study.trials
    with Study(MIXED, policy=policy, **options) as study:
        assert [trial.parent for trial in study.trials] == [trial.parent for trial in trials]
        assert study.epochs_spent == sum(v is not None for trial in trials for v in trial.values)
        for _ in range(25):
            answer(study, study.ask())


def answered(study: Study, proposals: int) -> None:
    """The loss falls with each epoch, the more the smaller x is."""
    for _ in range(proposals):
        asked = study.ask()
        epochs = range(asked.from_epoch + 1, (asked.until_epoch or 0) + 1)
        study.tell(asked.trial, [1 + asked.config["x"] - epoch / 8 for epoch in epochs])


def test_children_say_nothing_of_their_configurations_to_samplers() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=1))
    told = Told()
    answered(study, 24)
    own = [trial.id for trial in study.trials if trial.parent is None]
    assert len(own) < study.num_trials - 3
    assert told.changes(study) == (own, True)
    reached = sorted((study.trial(ident).epoch for ident in own), reverse=True)
    assert told.epoch == reached[(len(own) + 1) // 2 - 1]


@pytest.mark.parametrize("sampler", ["optuna-tpe", "optuna-nsga2", "hyperopt-tpe", "gaussian-process"])
def test_samplers_behind_it_are_told_of_no_child(sampler: str) -> None:
    study = Study(LINE, metric="loss", max_epochs=4, policy=f"pbt+{sampler}")
    answered(study, 60)
    children = {trial.id for trial in study.trials if trial.parent is not None}
    assert children
    source = study.policy._source  # type: ignore[attr-defined]
    if sampler == "gaussian-process":
        known = {ident for ident in range(study.num_trials) if not math.isnan(source._seen.score_N[ident])}
    else:
        known = {*(source._place if sampler.startswith("hyperopt") else source._number_of)}
    assert known
    assert not known & children


def test_children_say_nothing_of_their_configurations_afterwards() -> None:
    study = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=12, interval=1), seed=1)
    answered(study, 90)
    own = {trial.id for trial in study.trials if trial.parent is None}
    assert {belief.trial for belief in beliefs_of(study)} <= own
    assert len(_translated(LINE, study)) <= len(own) < study.num_trials
    few = Study(LINE, metric="loss", max_epochs=8, policy=Pbt(size=4, interval=1))
    answered(few, 20)
    assert "trials that began without a parent have a value" in few.importance().why


SPACE = Space(
    {
        "rate": Float(1e-4, 1.0, log=True),
        "share": Float(0.0, 1.0, belief=Belief(0.5)),
        "count": Int(1, 100),
        "few": Int(1, 3),
        "size": Choice(8, 16, 32, 64, ordered=True),
        "kind": Choice("a", "b"),
        "momentum": When(Float(0.0, 0.9), {"kind": "b"}),
        "constant": Choice(3),
    },
    constraints=["few * size <= 128"],
)


def test_a_child_is_a_step_away_in_each_parameter_within_the_space() -> None:
    rng = generator(0, "children")
    steps: dict[str, set[float]] = {name: set() for name in SPACE}
    for _ in range(300):
        config = SPACE.sample(rng)
        child = perturbed(SPACE, [config], rng)
        assert child is not None
        assert SPACE.validate(child) == child != config
        assert child["constant"] == 3
        for name in set(child) & set(config):
            if name == "rate":
                steps[name].add(round(child[name] / config[name], 6))
            elif name == "share":
                steps[name].add(round(abs(child[name] - config[name]), 6))
            elif name in ("count", "few"):
                steps[name].add(abs(child[name] - config[name]))
    common = {name: [s for s in seen if s in (0.8, 1.2, 0.1, 1, 10)] for name, seen in steps.items()}
    assert sorted(common["rate"]) == [0.8, 1.2]
    assert (common["share"], common["few"]) == ([0.1], [1])
    assert 10 in common["count"]


def test_ends_turn_back_and_neighbours_are_neighbours() -> None:
    space = Space({"rate": Float(0.1, 1.0, log=True), "size": Choice(8, 16, 32, ordered=True), "few": Int(1, 2)})
    rng = generator(1, "ends")
    found = [perturbed(space, [{"rate": 1.0, "size": 32, "few": 2}], rng) for _ in range(200)]
    children = [child for child in found if child is not None]
    assert len(children) == 200
    assert sum(child["rate"] == 0.8 for child in children) > 150
    assert sum(child["size"] == 16 for child in children) > 150
    assert sum(child["few"] == 1 for child in children) > 150


def test_no_two_children_are_the_same_and_plain_choices_change_now_and_then() -> None:
    space = Space({"kind": list("abc")})
    rng = generator(2, "plain")
    there = [{"kind": "a"}]
    for _ in range(2):
        child = perturbed(space, there, rng)
        assert child is not None
        there.append(child)
    assert sorted(config["kind"] for config in there) == ["a", "b", "c"]
    assert perturbed(space, there, rng) is None


def test_fixed_parameters_are_the_parents() -> None:
    study = Study(MIXED, metric="loss", max_epochs=10, policy=Pbt(fixed=["layers", "kind"]))
    for _ in range(100):
        answer(study, study.ask())
    children = [trial for trial in study.trials if trial.parent is not None]
    assert len(children) > 5
    for child in children:
        parent = study.trial(child.parent.trial if child.parent else 0)
        assert all(child.config[name] == parent.config[name] for name in ("layers", "kind"))


@pytest.mark.parametrize(
    ("policy", "options", "said"),
    [
        (Pbt(), {"max_epochs": None}, "needs epochs"),
        ("pbt", {"max_epochs": None}, "needs epochs"),
        (Pbt(interval=4), {}, "interval is 4 epochs and a full training has 4"),
        (Pbt(fixed=["x"]), {}, "nothing can change"),
        (Pbt(fixed=["y"]), {}, "'y', which is not in the space"),
    ],
)
def test_what_cannot_be_trained_so_is_said(policy: Policy | str, options: dict[str, None], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Study(LINE, metric="loss", policy=policy, **{"max_epochs": 4, **options}).ask()


def test_a_space_of_constants_and_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing can change"):
        Study({"x": [1], "y": Float(2, 2)}, metric="loss", policy="pbt", max_epochs=4).ask()
    with pytest.raises(UsageError, match="size"):
        Pbt(size=3)
    with pytest.raises(UsageError, match="interval"):
        Pbt(interval=0)


def test_several_metrics_and_limits_are_no_trouble() -> None:
    study = Study(
        LINE, metric=["loss", "size"], direction=["minimize"] * 2, limits=["ms <= 1"], max_epochs=6, policy="pbt"
    )
    for _ in range(80):
        asked = study.ask()
        x, epochs = asked.config["x"], range(asked.from_epoch + 1, (asked.until_epoch or 0) + 1)
        study.tell(asked.trial, {"loss": [x + 1 / e for e in epochs], "size": 1 - x, "ms": 2 * x})
    assert any(trial.parent is not None for trial in study.trials)
    assert all(point.metrics["ms"] <= 1 for point in study.front)


# ---- what a schedule is worth: gradient descent on a quadratic with noisy gradients, where a constant rate is too slow
# or too noisy (https://arxiv.org/abs/1206.1106): at the rate r the expected loss v becomes (1 - r)^2 v + r^2.

RATE = Space({"rate": Float(1e-3, 1.0, log=True)})
LAST, START = 60, 100.0


def trained(loss: float, rate: float, epochs: int) -> list[float]:
    curve = []
    for _ in range(epochs):
        loss = (1 - rate) ** 2 * loss + rate**2
        curve.append(loss)
    return curve


def searched(policy: str, seed: int, workers: int = 1) -> float:
    """The best loss after ten full trainings' epochs; as many proposals as there are workers are out at once."""
    study = Study(RATE, metric="loss", max_epochs=LAST, policy=policy, seed=seed)
    out: list[Proposal] = []
    while study.epochs_spent < 10 * LAST:
        while len(out) < workers:
            out.append(study.ask())
        asked = out.pop(0)
        known = study.trial(asked.trial)
        if asked.parent is not None and not known.values:
            known = study.trial(asked.parent.trial)
        loss = known.values[asked.from_epoch - 1] if asked.from_epoch else START
        assert loss is not None
        assert asked.until_epoch is not None
        study.tell(asked.trial, trained(loss, asked.config["rate"], asked.until_epoch - asked.from_epoch))
    assert study.best is not None
    return study.best.value


def test_a_schedule_is_found_that_no_constant_rate_and_no_random_search_comes_near() -> None:
    best_constant = min(trained(START, 10 ** (-3 + k / 100), LAST)[-1] for k in range(301))
    random = [searched("random", seed) for seed in range(10)]
    for workers in (1, 4):
        ours = [searched("pbt", seed, workers) for seed in range(10)]
        assert statistics.median(ours) < 0.75 * best_constant
        assert max(ours) < statistics.median(random)
        assert sum(a < b for a, b in zip(ours, random)) >= 9
