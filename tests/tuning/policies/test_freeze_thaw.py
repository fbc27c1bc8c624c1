import math
import time

import numpy as np
import pytest

from thrifty.core.space import Choice, Float, Int, Space, When
from thrifty.testing.policies import MIXED, PolicyContract, answer
from thrifty.tuning.curves import CurveModel
from thrifty.tuning.policies.freeze_thaw import FreezeThaw, Settings, _Seen, _View, levels_of
from thrifty.tuning.policy import Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Proposal


class TestFreezeThaw(PolicyContract):
    def make(self) -> Policy:
        return FreezeThaw()


class TestFreezeThawOfOneEpoch(PolicyContract):
    max_epochs = 1

    def make(self) -> Policy:
        return FreezeThaw()


class TestFreezeThawOfManyEpochs(PolicyContract):
    max_epochs = 1000

    def make(self) -> Policy:
        return FreezeThaw()


@pytest.mark.parametrize(
    ("last", "levels"),
    [(1, [1]), (2, [2]), (3, [2, 3]), (10, [2, 3, 4, 6, 10]), (50, [2, 3, 4, 6, 9, 14, 21, 32, 50])],
)
def test_a_trial_goes_half_as_far_again_at_each_step(last: int, levels: list[int]) -> None:
    found = levels_of(last, 1.5)
    assert found[0] == levels[0]
    assert found[-1] == last
    assert len(found) == len(levels)
    assert found == sorted(set(found))


def spent_to_reach(policy: str, goal: float, seed: int) -> int:
    """Epochs until a value at the goal; the floor lies at lr 1e-3, momentum 0.5, 3 layers, kind b."""
    space = Space(
        {
            "lr": Float(1e-6, 1.0, log=True),
            "layers": Int(1, 9),
            "kind": Choice("a", "b", "c"),
            "momentum": When(Float(0, 1), {"kind": ("b", "c")}),
        }
    )
    study = Study(space, metric="loss", max_epochs=27, policy=policy, seed=seed)

    def curve(config: dict[str, object], epoch: int) -> float:
        far = abs(math.log10(float(str(config["lr"]))) + 3) / 2 + abs(int(str(config["layers"])) - 3) / 6
        far += {"a": 0.6, "b": 0.0, "c": 0.3}[str(config["kind"])] + abs(float(str(config.get("momentum", 0.5))) - 0.5)
        return 0.1 * far + far * epoch**-0.3 + epoch**-1.0

    def tell(study: Study, proposal: Proposal) -> None:
        assert proposal.until_epoch is not None
        epochs = range(proposal.from_epoch + 1, proposal.until_epoch + 1)
        study.tell(proposal.trial, [curve(proposal.config, e) for e in epochs])

    while study.best is None or study.best.value > goal:
        tell(study, study.ask())
        if study.epochs_spent > 5000:
            break
    return study.epochs_spent


def test_it_finds_a_good_configuration_in_fewer_epochs_than_hyperband() -> None:
    ours = [spent_to_reach("freeze-thaw", 0.2, seed) for seed in range(4)]
    theirs = [spent_to_reach("hyperband", 0.2, seed) for seed in range(4)]
    assert sum(ours) < 0.7 * sum(theirs), (ours, theirs)


def test_what_runs_is_not_bought_again_beside_itself() -> None:
    study = Study(MIXED, metric="loss", max_epochs=27, policy="freeze-thaw")
    for _ in range(30):
        answer(study, study.ask())
    outstanding = [study.ask() for _ in range(6)]
    new = [p for p in outstanding if p.from_epoch == 0]
    assert len({MIXED.key(p.config) for p in new}) == len(new)


def test_it_learns_from_failures() -> None:
    """Where 38 % of the space fails, fewer of what the model chooses does."""
    chosen = []
    for seed in (0, 1):
        space = Space({"lr": Float(1e-4, 1.0, log=True), "x": Float(0, 1)})
        study = Study(space, metric="loss", max_epochs=9, policy="freeze-thaw", seed=seed)
        for _ in range(80):
            proposal = study.ask()
            if proposal.config["lr"] > 0.03:
                study.tell(proposal.trial, math.nan)
            else:
                answer(study, proposal)
        started = [e.payload for e in study.events() if e.kind == "trial_started"]
        chosen += [s["config"]["lr"] > 0.03 for s in started if s["why"].startswith("expected gain")]
    assert len(chosen) > 30
    assert sum(chosen) < 0.25 * len(chosen)


@pytest.mark.slow
def test_a_proposal_at_a_thousand_trials_takes_less_than_20_ms() -> None:
    study = Study(MIXED, metric="loss", max_epochs=27, policy="freeze-thaw")
    rng = np.random.default_rng(0)
    for _ in range(1000):
        trial = study.start(MIXED.sample(rng), until=2)
        study.tell(trial, [float(rng.random()), float(rng.random())])
    study.ask()
    seconds = []
    for _ in range(51):
        start = time.process_time()
        proposal = study.ask()
        seconds.append(time.process_time() - start)
        answer(study, proposal)
    assert np.median(seconds) < 0.02


def test_by_an_epoch_trials_compete_with_what_others_were_at_it() -> None:
    """A short trial that is ahead of where a long one was is a gain by the next epochs; the long one is past them."""
    study = Study(Space({"x": Float(0, 1)}), metric="loss", max_epochs=27, policy="freeze-thaw")
    rng = np.random.default_rng(0)
    for value in (0.5, *np.linspace(1.0, 2.0, 9)):
        study.tell(study.start({"x": float(rng.random())}, until=2), [value + 1, value])
    study.proceed(5, until=18)
    study.tell(5, list(np.linspace(1.3, 0.1, 16)))
    seen = _Seen(study, Settings())
    seen.observe(study)
    view = _View(seen, Settings(), study, rng)
    alive, new = view.alive(), view.candidates(rng)[:5]
    by, ahead = view.gains_by(4.0, alive, new), view.gains_ahead(4.0, alive, new)
    assert by[5] == -1.0
    assert by[: len(alive)].argmax() == 0
    assert ahead[: len(alive)].argmax() == 5


def test_trials_that_all_fail_after_an_epoch_say_nothing_to_model() -> None:
    study = Study(Space({"x": Float(0, 1)}), metric="loss", max_epochs=20, policy="freeze-thaw")
    for _ in range(12):
        study.tell(study.ask().trial, [0.5, math.nan])
    proposals = [study.ask() for _ in range(12)]
    for proposal in proposals:
        answer(study, proposal)
    assert study.best is not None
    assert study.trial(study.ask().trial).why != "random"


def test_the_best_third_of_a_whole_batch_is_promoted() -> None:
    study = Study(Space({"x": Float(0, 1)}), metric="loss", max_epochs=18, policy="random")
    seen = _Seen(study, Settings())
    assert seen.rungs == [2, 6, 18]
    for i in range(9):
        seen.observe(study)
        assert seen.promoted(3) is None
        study.tell(study.start({"x": i / 10}, until=2), [9.0, 9.0 - i])
    bought = []
    for value in (0.1, 0.3, 0.2):
        seen.observe(study)
        purchase = seen.promoted(3)
        assert purchase is not None
        bought.append((purchase.trial, purchase.until))
        study.buy(purchase)
        study.tell(bought[-1][0], [value] * 4)
    assert bought == [(8, 6), (7, 6), (6, 6)]
    seen.observe(study)
    purchase = seen.promoted(3)
    assert purchase is not None
    assert (purchase.trial, purchase.until, purchase.why) == (8, 18, "number 1 of 3 at epoch 6")


@pytest.mark.parametrize(("own", "promoted"), [(0.0, False), (1.0, True)])
def test_ranks_come_first_where_configurations_tell_little(
    monkeypatch: pytest.MonkeyPatch, own: float, promoted: bool
) -> None:
    monkeypatch.setattr(CurveModel, "own_to_told", own)
    study = Study(Space({"x": Float(0, 1)}), metric="loss", max_epochs=6, policy="freeze-thaw")
    whys = []
    for _ in range(60):
        proposal = study.ask()
        whys.append(study.trial(proposal.trial).why)
        answer(study, proposal)
    assert any(why.startswith("number ") for why in whys) == promoted
