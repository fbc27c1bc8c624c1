"""Studies of several metrics, and of metrics with limits: what is told, the front, the best, and what policies see."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import thrifty
from thrifty.core.errors import StoreError, UsageError
from thrifty.core.space import Float, Int
from thrifty.tuning.policies.named import policy_of
from thrifty.tuning.scalarisation import Scalarised, ScalarStudy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State

SPACE = {"x": Float(0, 1), "y": Float(0, 1)}
TWO = {"metric": ["loss", "size"], "direction": ["minimize", "maximize"]}


def two_of(config):
    """The front has every x, and y at 0.5."""
    worse = (config["y"] - 0.5) ** 2
    return {"loss": config["x"] ** 2 + worse, "size": -((config["x"] - 1) ** 2) - worse}


def searched(policy, count, **options):
    study = Study(SPACE, **{"policy": policy, "seed": 0, **TWO, **options})
    while study.num_trials < count:
        asked = study.ask()
        if asked.until_epoch is None:
            study.tell(asked.trial, two_of(asked.config))
        else:
            told = two_of(asked.config)
            loss = [told["loss"] + 1 / e for e in range(asked.from_epoch + 1, asked.until_epoch + 1)]
            study.tell(asked.trial, {"loss": loss, "size": told["size"]})
    return study


def test_the_front_is_what_nothing_else_covers_sorted_by_the_first_metric() -> None:
    study = Study({"x": Int(0, 9)}, **TWO)
    told = [(3.0, 5.0), (1.0, 1.0), (2.0, 5.0), (2.0, 5.0), (4.0, 9.0), (5.0, 8.0), (0.5, 0.9)]
    for k, (loss, size) in enumerate(told):
        study.tell(study.start({"x": k}), {"loss": loss, "size": size})
    assert [point.trial for point in study.front] == [6, 1, 2, 4]
    assert study.front[2].metrics == {"loss": 2.0, "size": 5.0}
    assert study.front[2].value == 2.0
    assert study.front[2].config == {"x": 2}
    assert study.best is not None
    assert study.best.trial == 2  # neither the smallest loss nor the largest size, and good in both


def test_lists_are_told_for_epochs_and_a_number_beside_a_list_is_of_each_of_its_epochs() -> None:
    study = Study(SPACE, max_epochs=3, policy="random", **TWO)
    study.tell(study.ask().trial, {"loss": [3.0, 2.0, 4.0], "size": 7})
    study.tell(study.ask().trial, {"loss": [1.0, 5.0], "size": [1.0, 2.0]})
    first, second = study.trials
    assert (first.state, first.values, first.others) == (State.DONE, (3.0, 2.0, 4.0), {"size": (7.0, 7.0, 7.0)})
    assert (second.state, second.others) == (State.PAUSED, {"size": (1.0, 2.0)})
    assert [(p.trial, p.epoch) for p in study.front] == [(1, 1), (0, 2)]
    assert study.metrics_of(first) == {"loss": 2.0, "size": 7.0}
    assert study.value_of(first) == 2.0


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (0.5, "trial 0 was told 0.5; tell a dict with 'loss', 'size'"),
        ([0.5, 0.4], "tell a dict with 'loss', 'size'"),
        ({"loss": 0.5}, "trial 0 was told 'loss', without the metric 'size'"),
        ({"loss": [0.5]}, "trial 0 was told 'loss', without the metric 'size'"),
        ({}, "an empty dict, without the metric 'loss'"),
        ({"loss": 0.5, "size": 1, "speed": 3}, "'speed', which the study has no metric of"),
        ({"loss": [0.5, 0.4], "size": [1.0]}, "told 2 of 'loss', 1 of 'size'"),
        ({"loss": "low", "size": 1}, "loss of trial 0.* must be a number"),
        ({"loss": [1.0] * 4, "size": 1}, "asked for 3 more epochs"),
    ],
)
def test_what_is_told_wrongly_is_said_and_changes_nothing(told, said) -> None:
    study = Study(SPACE, max_epochs=3, policy="random", **TWO)
    trial = study.ask().trial
    with pytest.raises(UsageError, match=said):
        study.tell(trial, told)
    assert study.trials[0].state is State.RUNNING


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": ["loss", "size"], "direction": "minimize"}, "one direction for each metric: 'loss', 'size'"),
        ({"metric": ["loss", "size"], "direction": ["minimize"]}, "one direction for each metric: 'loss', 'size'"),
        ({"metric": ["loss", "loss"]}, "names that differ"),
        ({"metric": []}, "one name or a list"),
        ({"metric": "loss", "direction": ["minimize", "maximize"]}, "one direction for each metric: 'loss'"),
        ({"metric": ["loss", "thing"]}, "a larger 'thing' better"),
        ({"limits": ["latency_ms < 20"]}, "must be written like"),
        ({"limits": "latency_ms <= fast"}, "must be written like"),
        ({"limits": [20]}, "must be written like"),
    ],
)
def test_metrics_and_limits_that_cannot_be_used_are_said(options, said) -> None:
    with pytest.raises(UsageError, match=said):
        Study(SPACE, **options)


def test_nan_in_any_metric_fails_the_trial_there() -> None:
    study = Study(SPACE, max_epochs=3, policy="random", **TWO)
    study.tell(study.ask().trial, {"loss": [3.0, 2.0, 1.0], "size": [1.0, float("nan"), 1.0]})
    assert study.trials[0].state is State.FAILED
    assert study.trials[0].why == "size was nan at epoch 2"
    assert study.trials[0].values == (3.0,)


def test_the_best_keeps_the_limits_of_other_numbers_and_of_the_metric_itself() -> None:
    study = Study({"x": Int(0, 9)}, metric="loss", limits=["ms <= 20", "loss >= 0.1"])
    for k, (loss, ms) in enumerate([(0.3, 25), (0.5, 20), (0.05, 3), (0.4, 10)]):
        study.tell(study.start({"x": k}), {"loss": loss, "ms": ms})
        assert (study.best is None) == (k == 0)
    assert study.best is not None
    assert (study.best.trial, study.best.metrics) == (3, {"loss": 0.4, "ms": 10.0})
    assert [study.keeps_limits(trial) for trial in study.trials] == [False, True, False, True]
    assert [point.trial for point in study.front] == [3]


def test_a_folder_keeps_metrics_limits_and_the_front(tmp_path: Path) -> None:
    options = {"max_epochs": 4, "limits": ["ms <= 2"], "folder": tmp_path / "s", **TWO}
    with Study(SPACE, policy="random", **options) as study:
        study.tell(study.ask().trial, {"loss": [3.0, 2.0], "size": [1.0, 2.0], "ms": [1.0, 3.0]})
        study.tell(study.ask().trial, {"loss": 4.0, "size": 9.0, "ms": 1.0})
        front, trials, scale = study.front, study.trials, study.scale
        assert len(front) == 2
    with Study(SPACE, policy="random", **options) as study:
        assert study.front == front
        assert study.trials == trials
        assert (study.scale.low_M == scale.low_M).all()
    assert Study.look(tmp_path / "s").front == front
    for other in ({"metric": "loss", "direction": None}, {"direction": ["minimize", "minimize"]}, {"limits": []}):
        with pytest.raises(StoreError, match=f"holds a study whose {next(iter(other))}"):
            Study(SPACE, **{**options, **other})


def test_a_folder_of_one_metric_is_as_it_was_before_there_were_several(tmp_path: Path) -> None:
    with Study(SPACE, metric="loss", folder=tmp_path / "s") as study:
        study.tell(study.ask().trial, 0.5)
    with sqlite3.connect(tmp_path / "s" / "study.sqlite3") as connection:
        assert '"format":1' in connection.execute("select header from study").fetchone()[0].replace(" ", "")
        connection.execute("drop table other_values")
    connection.close()
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    assert Study.look(tmp_path / "copy").best is not None
    with Study(SPACE, metric="loss", folder=tmp_path / "s") as study:
        study.tell(study.ask().trial, 0.25)
        assert study.best is not None
        assert study.best.value == 0.25


@pytest.mark.parametrize(
    "policy", ["random", "gaussian-process", "optuna-tpe", "optuna-nsga2", "hyperopt-tpe", "sobol"]
)
def test_decisions_follow_from_the_seed_and_go_on_after_a_folder_was_opened_again(policy, tmp_path: Path) -> None:
    whole = [trial.config for trial in searched(policy, 16).trials]
    assert whole == [trial.config for trial in searched(policy, 16).trials]
    searched(policy, 10, folder=tmp_path / "s").close()
    with searched(policy, 16, folder=tmp_path / "s") as study:
        assert [trial.config for trial in study.trials] == whole


@pytest.mark.parametrize("policy", ["freeze-thaw", "asha", "hyperband", "median", "asha+optuna-tpe"])
def test_policies_with_epochs_see_several_metrics(policy) -> None:
    study = searched(policy, 15, max_epochs=9)
    assert 1 < len(study.front) < 15 * 9
    assert any(trial.epoch < 9 for trial in study.trials)
    assert any(trial.epoch == 9 for trial in study.trials)


def hypervolume(study) -> float:
    """The area that the front covers below loss 1 and above size -1."""
    area, below = 0.0, 1.0
    for point in sorted(study.front, key=lambda p: -p.metrics["size"]):
        loss, size = point.metrics["loss"], point.metrics["size"]
        if loss < below and size > -1:
            area += (below - loss) * (size + 1)
            below = loss
    return area


def test_a_policy_that_learns_finds_more_of_the_front_than_random_and_both_its_ends() -> None:
    learned, drawn = searched("gaussian-process", 40), searched("random", 40)
    assert 5 / 6 > hypervolume(learned) > hypervolume(drawn) + 0.005  # 5 / 6 is under the whole front
    assert min(p.metrics["loss"] for p in learned.front) < 0.06
    assert max(p.metrics["size"] for p in learned.front) > -0.06
    assert all(abs(p.config["y"] - 0.5) < 0.25 for p in learned.front)


def test_what_breaks_a_limit_is_behind_what_keeps_it_the_further_the_more_it_breaks_it() -> None:
    study = Study({"x": Int(0, 9)}, limits=["ms <= 20"], **TWO)
    for k, (loss, ms) in enumerate([(0.9, 10), (0.5, 15), (0.0, 21), (0.0, 90), (0.8, 20)]):
        study.tell(study.start({"x": k}), {"loss": loss, "size": 1, "ms": ms})
    for weights in ([1.0, 0.0], [0.3, 0.7]):
        seen = ScalarStudy(study, np.array(weights))
        number = [seen.value_of(trial) for trial in seen.trials]
        assert max(number[0], number[1], number[4]) < number[2] < number[3]
        assert seen.best is not None
        assert seen.best.trial not in (2, 3)


def test_a_search_with_limits_stays_where_they_hold() -> None:
    study = Study(SPACE, metric="loss", limits=["x_there >= 0.6"], policy="gaussian-process", seed=0)
    for _ in range(40):
        asked = study.ask()
        study.tell(asked.trial, {"loss": two_of(asked.config)["loss"], "x_there": asked.config["x"]})
    late = [trial.config["x"] for trial in study.trials[20:]]
    assert sum(x >= 0.55 for x in late) > 15
    assert study.best is not None
    assert 0.6 <= study.best.config["x"] < 0.65


def test_a_policy_given_as_an_object_is_asked_as_it_was_given() -> None:
    class Once:
        asked = 0

        def decide(self, study, clock):
            self.asked += 1
            assert self.asked == 1
            return policy_of("random", None).decide(study, clock)

    given = Once()
    assert searched(given, 3).num_trials == 3
    assert given.asked == 0


def test_a_trial_is_given_up_only_where_every_metric_alone_would_give_it_up() -> None:
    class Drops:
        def decide(self, study, clock):
            raise AssertionError

        def drop(self, study, clock):
            return [
                (t.id, "the worst") for t in study.trials if study.value_of(t) == max(map(study.value_of, study.trials))
            ]

    study = Study({"x": Int(0, 9)}, policy=Drops(), **TWO)
    for k, (loss, size) in enumerate([(0.9, 10.0), (0.1, 1.0), (0.5, 5.0)]):
        study.tell(study.start({"x": k}), {"loss": loss, "size": size})
    assert isinstance(study.policy, Scalarised)
    assert study.policy.drop(study, study.clock) == []
    study.tell(study.start({"x": 3}), {"loss": 2.0, "size": 0.5})
    assert study.policy.drop(study, study.clock) == [(3, "the worst")]


def test_tune_takes_several_metrics_from_functions_and_generators(tmp_path: Path) -> None:
    file = tmp_path / "two_metrics.py"
    file.write_text(
        "def both(config):\n    return {'loss': config['x'], 'size': config['y'], 'seen': 3}\n"
        "def one(config):\n    return {'loss': config['x']}\n"
        "def curve(config, checkpoint):\n    for e in range(1, 9):\n"
        "        yield {'loss': config['x'] + 1 / e, 'size': config['y'], 'ms': e}\n"
    )
    study = thrifty.tune(f"{file}:both", SPACE, trials=4, **TWO)
    assert all(t.others["size"] == (t.config["y"],) and t.extra["metrics"]["seen"] == 3 for t in study.trials)
    study = thrifty.tune(f"{file}:curve", SPACE, epochs=12, max_epochs=4, policy="random", limits=["ms <= 2"], **TWO)
    assert all(point.epoch == 2 for point in study.front)
    assert study.trials[0].others["ms"] == (1.0, 2.0, 3.0, 4.0)
    with pytest.raises(thrifty.ExternalError, match=r"in trial 9 the objective gave 'loss', without the metric 'size'"):
        thrifty.tune(f"{file}:one", SPACE, trials=30, **TWO)
