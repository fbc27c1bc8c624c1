"""The ladder buys cheap arms first, then what gains most per second, and stops when nothing is worth its price."""

from dataclasses import replace

import pytest

from thrifty.core.budget import Clock
from thrifty.core.space import Float
from thrifty.tuning.policies.ladder import Arm, Ladder, Refit, View
from thrifty.tuning.policies.student import Lesson
from thrifty.tuning.policy import Purchase, Stop, Wait
from thrifty.tuning.study import Study

BASE = Arm("baseline", {}, seconds=0.1, skill=0.0, spread=0.01)
CHEAP = Arm("cheap", {"model.x": Float(0, 1)}, seconds=1.0, skill=0.5, spread=0.1, first={"model.x": 0.5})
NO_REFIT = Refit()
DEAR = Arm("dear", {"model.x": Float(0, 1)}, seconds=50.0, skill=0.8, spread=0.1, first={"model.x": 0.5})


def ladder(*arms, free=2, refit=NO_REFIT):
    return Ladder(arms, baseline="baseline", perfect=1.0, refit=lambda: refit, free_cores=lambda: free, seed=0)


def clock(budget, now=0.0):
    return Clock(budget, started=0.0, now=lambda: now)


def study():
    return Study(None, metric="accuracy", direction="maximize")


def run(policy, one, budget, values):
    """Buys and tells until the policy stops; values: {candidate: value of each trial}. Gives the candidates bought."""
    bought = []
    while isinstance(decision := policy.decide(one, clock(budget)), Purchase) and len(bought) < 100:
        name = decision.config["candidate"]
        proposal = one.buy(decision)
        one.finish(proposal.trial, values[name], cost_seconds=policy.arms[name].seconds)
        bought.append(name)
    return bought, decision


def test_the_cheapest_arm_comes_first_and_the_dear_one_is_reached():
    bought, _ = run(ladder(BASE, CHEAP, DEAR), study(), 1000.0, {"baseline": 0.1, "cheap": 0.5, "dear": 0.8})
    assert bought[0] == "baseline"
    assert bought.index("cheap") < bought.index("dear")


def test_it_stops_when_nothing_is_worth_its_price():
    _, decision = run(ladder(BASE, CHEAP), study(), 1000.0, {"baseline": 0.1, "cheap": 0.5})
    assert decision == Stop("converged")


def test_an_arm_that_does_not_fit_the_time_left_is_not_bought():
    bought, decision = run(ladder(BASE, DEAR), study(), 20.0, {"baseline": 0.1})
    assert bought == ["baseline"]
    assert decision == Stop("budget")


@pytest.mark.parametrize(
    ("refit", "reached"),
    [
        (Refit(60.0, gain=0.01, always=False), True),
        (Refit(60.0, gain=0.9, always=False), False),
        (Refit(60.0, gain=0.01, always=True), False),
    ],
)
def test_the_time_of_the_refit_is_for_trials_that_bring_more(refit, reached):
    values = {"baseline": 0.1, "cheap": 0.5, "dear": 0.8}
    bought, _ = run(ladder(BASE, CHEAP, DEAR, refit=refit), study(), 65.0, values)
    assert "cheap" in bought
    assert ("dear" in bought) == reached


def test_an_arm_that_failed_twice_is_closed():
    policy, one = ladder(BASE, CHEAP), study()
    failures = 0
    while isinstance(decision := policy.decide(one, clock(100.0)), Purchase):
        trial = one.buy(decision).trial
        if decision.config["candidate"] == "baseline":
            one.finish(trial, 0.1)
        else:
            one.fail(trial, "it crashed")
            failures += 1
    assert failures == 2


def test_no_configuration_is_bought_twice():
    policy, one = ladder(BASE, CHEAP), study()
    run(policy, one, 1000.0, {"baseline": 0.1, "cheap": 0.5})
    values = [t.config.get("model.x", 0.5) for t in one.trials if t.config["candidate"] == "cheap"]
    assert len(values) > 1
    assert len(set(values)) == len(values)


def test_it_waits_when_no_core_is_free():
    policy, one = ladder(BASE, CHEAP, free=0), study()
    one.start({"candidate": "baseline"})
    assert isinstance(policy.decide(one, clock(100.0)), Wait)


def test_an_arm_whose_trial_was_cut_short_is_bought_again():
    policy, one = ladder(BASE, CHEAP), study()
    one.finish(one.start({"candidate": "baseline"}), 0.1)
    one.finish(one.start({"candidate": "cheap"}), 0.6, extra={"cut_short": True})
    decision = policy.decide(one, clock(100.0))
    assert isinstance(decision, Purchase)
    assert decision.config["candidate"] == "cheap"
    assert "model.x" not in decision.config  # its first configuration again


def test_a_trial_that_was_interrupted_goes_on_alone():
    policy, one = ladder(BASE, CHEAP), study()
    one.finish(one.start({"candidate": "baseline"}), 0.1)
    trial = one.start({"candidate": "cheap"})
    one.pause(trial.trial if hasattr(trial, "trial") else trial, {"cut_short": True})
    decision = policy.decide(one, clock(100.0))
    assert isinstance(decision, Purchase)
    assert decision.trial is not None
    one.buy(decision)
    assert isinstance(policy.decide(one, clock(100.0)), Wait)


def test_a_dear_arm_is_still_worth_its_price_where_the_data_are_easy_for_all():
    policy, one = ladder(BASE, CHEAP, DEAR), study()
    one.finish(one.start({"candidate": "baseline"}), 0.0, cost_seconds=0.1)
    for x in range(40):
        one.finish(one.start({"candidate": "cheap", "model.x": x / 40}), 0.93, cost_seconds=1.0)
    decision = policy.decide(one, clock(1000.0))
    assert isinstance(decision, Purchase)
    assert decision.config["candidate"] == "dear"


ELASTIC = Arm("network", {"model.x": Float(0.0, 1.0)}, 100.0, 0.7, 0.15, {"model.x": 0.5}, cores=2, elastic=True)


def seconds_of_the_first_network(budget, *others):
    policy, one = ladder(BASE, ELASTIC, *others, free=2), study()
    one.finish(one.start({"candidate": "baseline"}), 0.0, cost_seconds=0.1)
    return policy.decide(one, clock(budget)).config["training.seconds"]


def test_an_elastic_arm_leaves_time_for_those_that_were_not_tried():
    alone = seconds_of_the_first_network(150.0)
    assert 130.0 < alone < 150.0
    other = Arm("other", {}, 90.0, 0.1, 0.01, {}, cores=1)  # 45 seconds of both cores
    assert 90.0 < seconds_of_the_first_network(150.0, other) < 110.0
    many = [Arm(f"other {i}", {}, 90.0, 0.1, 0.01, {}, cores=1) for i in range(4)]
    assert 65.0 < seconds_of_the_first_network(150.0, *many) < 80.0  # half of what is left, at least


def test_what_arms_share_is_paid_for_once():
    first = replace(CHEAP, name="first", seconds=60.0, shared={"embedding": 58.0})
    second = replace(CHEAP, name="second", seconds=65.0, shared={"embedding": 58.0})
    policy, one = ladder(BASE, first, second), study()
    one.finish(one.start({"candidate": "baseline"}), 0.0, cost_seconds=0.1)
    assert {View(policy, one, clock(1000.0)).offer(arm).price for arm in (first, second)} == {60.0, 65.0}
    trial = one.start({"candidate": "first"})
    one.finish(trial, 0.5, cost_seconds=60.0, extra={"notes": {"cached_seconds": 58.0}})
    view = View(policy, one, clock(1000.0))
    assert view.speed == 1.0
    assert {view.offer(first).price, view.offer(second).price} == {2.0, 7.0}


@pytest.mark.parametrize(
    ("single_seconds", "least_seconds", "bought", "most_seconds"),
    [(90.0, 5.0, True, 90.0), (90.0, None, False, None), (30.0, 5.0, False, None), (190.0, 5.0, True, None)],
)
def test_a_free_core_is_filled_until_all_are_wanted(single_seconds, least_seconds, bought, most_seconds):
    """By an arm of 120 seconds that can do with less, but not with less than half; whole where there is time for it."""
    single = replace(CHEAP, name="single", seconds=single_seconds, skill=0.9)
    filler = replace(CHEAP, name="filler", seconds=120.0, skill=0.6, least_seconds=least_seconds)
    network = replace(ELASTIC, seconds=30.0, skill=0.8)
    policy, one = ladder(BASE, single, filler, network, free=1), study()
    one.finish(one.start({"candidate": "baseline"}), 0.0, cost_seconds=0.1)
    one.start({"candidate": "single"}, extra={"started_seconds": 0.0})
    decision = policy.decide(one, clock(500.0))
    assert isinstance(decision, Purchase) == bought
    assert not bought or decision.extra.get("most_seconds") == most_seconds


@pytest.mark.parametrize(("left", "bought"), [(12.0, False), (20.0, True)])
def test_an_arm_that_makes_less_of_less_time_is_not_started_again_to_be_cut(left, bought):
    cuttable = replace(CHEAP, seconds=10.0, least_seconds=1.0)
    policy, one = ladder(BASE, cuttable), study()
    one.finish(one.start({"candidate": "baseline"}), 0.0, cost_seconds=0.1)
    one.finish(one.start({"candidate": "cheap"}), 0.5, cost_seconds=10.0)
    assert (View(policy, one, clock(left)).offer(cuttable) is not None) == bought


@pytest.mark.parametrize(("left", "bought"), [(40.0, False), (60.0, True)])
def test_an_elastic_arm_is_not_started_again_with_half_of_what_it_took(left, bought):
    policy, one = ladder(BASE, ELASTIC), study()
    for name, value, cost in (("baseline", 0.1, 1.0), ("network", 0.6, 80.0)):
        one.finish(one.start({"candidate": name}), value, cost_seconds=cost)
    assert isinstance(policy.decide(one, clock(left)), Purchase) == bought


def test_an_elastic_arm_leaves_no_time_for_one_that_is_not_worth_its_own():
    hopeless = Arm("hopeless", {}, seconds=60.0, skill=0.1, spread=0.01)
    one = study()
    for name, value in (("baseline", 0.1), ("cheap", 0.6)):
        one.finish(one.start({"candidate": name}), value, cost_seconds=1.0)
    alone = ladder(BASE, ELASTIC).decide(one, clock(100.0))
    beside = ladder(BASE, ELASTIC, hopeless).decide(one, clock(100.0))
    assert beside.config["training.seconds"] == alone.config["training.seconds"]


def test_a_trial_that_is_overdue_is_expected_to_go_on_for_a_while():
    policy, one = ladder(BASE, CHEAP, DEAR), study()
    one.start({"candidate": "cheap"}, extra={"started_seconds": 0.0})
    assert View(policy, one, clock(1000.0, 0.2)).seconds_running_left() == pytest.approx(0.8)
    assert View(policy, one, clock(1000.0, 100.0)).seconds_running_left() == pytest.approx(30.0)


SHORTENED = replace(DEAR, least_seconds=5.0)


@pytest.mark.parametrize(("budget", "price"), [(4.0, None), (20.0, "20.0"), (80.0, "50.0")])
def test_a_trial_that_can_fit_less_is_started_though_it_wants_more_time(budget, price):
    one = study()
    one.finish(one.start({"candidate": "baseline"}), 0.1, cost_seconds=0.1)
    decision = ladder(BASE, SHORTENED).decide(one, clock(budget))
    assert decision == Stop("budget") if price is None else f"for {price} s" in decision.why


@pytest.mark.parametrize(("budget", "waits"), [(40.0, False), (160.0, True)])
def test_cores_are_kept_free_for_an_arm_that_still_fits_when_they_are(budget, waits):
    wide = Arm("wide", {}, seconds=40.0, skill=0.9, spread=0.1, cores=2)
    one = study()
    one.finish(one.start({"candidate": "baseline"}), 0.1, cost_seconds=0.1)
    one.start({"candidate": "cheap"}, extra={"started_seconds": 0.0})
    slow = replace(CHEAP, seconds=30.0)
    hardly_shortened = replace(DEAR, least_seconds=35.0)
    decision = ladder(BASE, slow, hardly_shortened, wide, free=1).decide(one, clock(budget))
    assert isinstance(decision, Wait) == waits


AUGMENTED = Arm(
    "augmented", {"model.x": Float(0, 1), "training.a": Float(0, 1)}, seconds=1.0, skill=0.5, spread=0.1,
    first={"model.x": 0.5, "training.a": 0.4}, contrast={"training.a": 0.0},
)  # fmt: skip


def told_by_contrasts(one):
    return [t for t in one.trials if "contrast_of" in t.extra]


def test_the_best_trial_is_repeated_without_what_its_contrast_switches_off():
    policy, one = ladder(BASE, AUGMENTED), study()
    run(policy, one, 1000.0, {"baseline": 0.1, "augmented": 0.5})
    (contrast,) = told_by_contrasts(one)
    of = one.trial(contrast.extra["contrast_of"])
    assert contrast.config == {**of.config, "training.a": 0.0}
    assert of.config.get("training.a", 0.4) > 0


def test_a_contrast_that_costs_too_much_is_not_bought():
    policy, one = ladder(BASE, AUGMENTED), study()
    run(policy, one, 12.0, {"baseline": 0.1, "augmented": 0.5})
    assert len(one.trials) > 2
    assert not told_by_contrasts(one)


def told(one, *trials):
    """Buys and finishes trials (candidate, value) of a second each."""
    for name, value in trials:
        proposal = one.buy(Purchase(config={"candidate": name}))
        one.finish(proposal.trial, value, cost_seconds=1.0)


def test_a_contrast_that_was_cut_short_is_bought_once_more():
    policy, one = ladder(BASE, AUGMENTED), study()
    told(one, ("baseline", 0.1), ("augmented", 0.5))
    for _ in range(2):
        decision = policy.decide(one, clock(100.0, now=60.0))
        assert decision.extra["contrast_of"] == 1
        one.finish(one.buy(decision).trial, 0.2, cost_seconds=0.1, extra={"cut_short": True})
    assert "contrast_of" not in policy.decide(one, clock(100.0, now=60.0)).extra


def test_an_arm_that_does_without_needs_no_contrast():
    off = Arm("off", {"training.a": Float(0, 1)}, 1.0, 0.5, 0.1, {"training.a": 0.0}, contrast={"training.a": 0.0})
    policy, one = ladder(BASE, off), study()
    told(one, ("baseline", 0.1), ("off", 0.5))
    assert "contrast_of" not in policy.decide(one, clock(100.0, now=60.0)).extra


def test_from_half_of_the_time_on_a_cheap_contrast_comes_before_the_search_is_through():
    policy, one = ladder(BASE, AUGMENTED), study()
    told(one, ("baseline", 0.1), ("augmented", 0.5))
    assert "contrast_of" not in policy.decide(one, clock(100.0, now=10.0)).extra
    assert policy.decide(one, clock(100.0, now=60.0)).extra["contrast_of"] == one.trials[-1].id
    assert "contrast_of" not in policy.decide(one, clock(19.0, now=10.0)).extra


TEACHERS = {"models": [{"trial": 1}, {"trial": 2}]}


def taught(one, budget, now, found):
    """The student that the policy buys, or None, and what it asked the lesson."""
    asked = []
    policy = Ladder(
        [BASE, CHEAP], baseline="baseline", perfect=1.0, refit=Refit, free_cores=lambda: 2,
        lesson=lambda idle: asked.append(idle) or found,
    )  # fmt: skip
    decision = policy.decide(one, clock(budget, now=now))
    return decision if "taught_by" in getattr(decision, "extra", {}) else None, asked


def exhausted(*more):
    """A study in which nothing is worth its price."""
    one = study()
    told(one, ("baseline", 0.1), *[("cheap", 0.5)] * 60, *more)
    return one


def test_a_cheap_student_is_taught_when_nothing_else_is_worth_its_price():
    one = exhausted()
    decision, asked = taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 9.0))
    assert decision.config == one.trial(1).config
    assert decision.extra["taught_by"] == TEACHERS
    assert asked == [True]
    assert taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 11.0))[0] is None
    assert taught(one, 100.0, 92.0, Lesson(1, TEACHERS, 9.0))[0] is None
    assert taught(one, 100.0, 70.0, None)[0] is None


def test_a_student_that_may_win_back_what_limits_cost_has_the_time_left():
    assert taught(exhausted(), 100.0, 10.0, Lesson(1, TEACHERS, 80.0, ahead=0.1))[0] is not None
    assert taught(exhausted(), 100.0, 10.0, Lesson(1, TEACHERS, 95.0, ahead=0.1))[0] is None


def test_a_student_comes_first_where_it_promises_more_a_second_than_any_arm():
    one = study()
    told(one, ("baseline", 0.1), ("cheap", 0.5), ("cheap", 0.4))
    assert taught(one, 100.0, 40.0, Lesson(1, TEACHERS, 5.0, ahead=0.4)) == (None, [])
    decision, asked = taught(one, 100.0, 60.0, Lesson(1, TEACHERS, 5.0, ahead=0.4))
    assert decision.extra["taught_by"] == TEACHERS
    assert asked == [False]
    assert taught(one, 100.0, 60.0, Lesson(1, TEACHERS, 30.0, ahead=0.1))[0] is None
    assert taught(one, 100.0, 60.0, Lesson(1, TEACHERS, 1.0))[0] is None


def test_a_student_is_taught_once_and_a_failed_one_again():
    one = exhausted()
    for _ in range(2):
        decision, _ = taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 9.0))
        one.fail(one.buy(decision).trial, "crashed")
    assert taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 9.0)) == (None, [])
    one = exhausted()
    decision, _ = taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 9.0))
    one.finish(one.buy(decision).trial, 0.6, cost_seconds=9.0)
    assert taught(one, 100.0, 70.0, Lesson(1, TEACHERS, 9.0)) == (None, [])


def limited(excess, *arms):
    return Ladder(
        arms, baseline="baseline", perfect=1.0, refit=Refit, free_cores=lambda: 2, excess=lambda i: excess.get(i, 0.0)
    )


@pytest.mark.parametrize(
    ("excess", "other", "again"), [(9.0, 0.1, False), (1.5, 0.1, True), (4.0, 0.45, False), (1.1, 0.45, True)]
)
def test_an_arm_that_is_over_a_limit_is_bought_again_by_what_it_would_bring_and_how_near_it_is(excess, other, again):
    one = study()
    told(one, ("baseline", 0.1), ("cheap", 0.5), ("other", other))
    decision = limited({1: excess}, BASE, CHEAP).decide(one, clock(100.0))
    assert isinstance(decision, Purchase) == again


def test_an_arm_near_a_limit_moves_to_where_its_trials_keep_it():
    policy, one = limited({}, BASE, CHEAP), study()
    policy.excess = lambda i: 2.5 * one.trial(i).config.get("model.x", 0.5) if i else 0.0
    told(one, ("baseline", 0.1))
    for _ in range(12):
        decision = policy.decide(one, clock(1000.0))
        if not isinstance(decision, Purchase):
            break
        one.finish(one.buy(decision).trial, 0.5 + 0.1 * decision.config.get("model.x", 0.5), cost_seconds=1.0)
    x = [trial.config.get("model.x", 0.5) for trial in one.trials[1:]]
    assert x[0] == 0.5
    assert min(x) <= 0.4
    assert sum(v <= 0.4 for v in x[1:]) >= sum(v > 0.6 for v in x[1:])


def test_a_trial_that_breaks_a_limit_is_not_what_others_must_beat():
    one = study()
    told(one, ("baseline", 0.1), ("cheap", 0.9), ("dear", 0.5), ("dear", 0.48))
    for excess, best in (({}, 0.9), ({1: 1.5}, 0.5), ({0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0}, 0.1)):
        view = View(limited(excess, BASE, CHEAP, DEAR), one, clock(100.0))
        assert view.best == pytest.approx((best - 0.1) / 0.9)


@pytest.mark.parametrize(("price", "waits"), [(20.0, True), (2.0, False), (45.0, False)])
def test_cores_are_waited_for_that_a_student_needs_but_not_for_long(price, waits):
    wide = replace(CHEAP, name="wide", cores=2)
    one = study()
    told(one, ("baseline", 0.1), ("wide", 0.5), ("wide", 0.5))
    one.start({"candidate": "dear"}, extra={"started_seconds": 10.0})
    lesson = Lesson(1, TEACHERS, price, ahead=0.4)
    policy = Ladder(
        [BASE, wide, replace(DEAR, seconds=60.0), replace(CHEAP, seconds=10.0, skill=0.45)], baseline="baseline",
        perfect=1.0, refit=Refit, free_cores=lambda: 1, lesson=lambda idle: lesson,
    )  # fmt: skip
    decision = policy.decide(one, clock(110.0, now=60.0))
    assert isinstance(decision, Wait) == waits
    assert waits or decision.config["candidate"] == "cheap"


def test_a_student_takes_the_time_of_a_refit_that_brings_less():
    lesson = Lesson(1, TEACHERS, 25.0, ahead=0.1)
    for gain, bought in ((0.001, True), (0.5, False)):
        policy = Ladder(
            [BASE, CHEAP], baseline="baseline", perfect=1.0, refit=lambda gain=gain: Refit(20.0, gain, always=False),
            free_cores=lambda: 2, lesson=lambda idle: lesson,
        )  # fmt: skip
        decision = policy.decide(exhausted(), clock(100.0, now=70.0))
        assert ("taught_by" in getattr(decision, "extra", {})) == bought


def test_failed_and_stopped_students_say_nothing_of_their_arm():
    one = study()
    told(one, ("baseline", 0.1), ("cheap", 0.5))
    for _ in range(2):
        one.fail(one.buy(Purchase(config={"candidate": "cheap"}, extra={"taught_by": TEACHERS})).trial, "crashed")
    one.pause(one.buy(Purchase(config={"candidate": "cheap"}, extra={"taught_by": TEACHERS})).trial)
    decision = ladder(BASE, CHEAP).decide(one, clock(100.0))
    assert isinstance(decision, Purchase)
    assert decision.trial is None
    assert "taught_by" not in decision.extra


def test_a_student_is_not_what_a_contrast_is_held_against():
    policy, one = ladder(BASE, AUGMENTED), study()
    told(one, ("baseline", 0.1), ("augmented", 0.5))
    student = one.buy(Purchase(config={"candidate": "augmented"}, extra={"taught_by": TEACHERS})).trial
    one.finish(student, 0.6, cost_seconds=1.0)
    assert policy.decide(one, clock(100.0, now=60.0)).extra["contrast_of"] == 1
