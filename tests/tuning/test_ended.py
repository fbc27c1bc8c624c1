"""Whether a search has anything left to run."""

import pytest

import thrifty
from thrifty.tuning.ended import nothing_left


def loss(config):
    return float(config["x"])


def test_a_finite_space_is_used_up_when_every_configuration_was_tried():
    study = thrifty.Study({"x": [1, 2], "kind": ["a", "b"]}, metric="loss", policy="random")
    assert nothing_left(study) is None
    for trial in range(4):
        asked = study.ask()
        assert nothing_left(study) is None
        if trial % 2:
            study.tell(asked.trial, 1.0)
        else:
            study.tell(asked.trial, failed="no memory")
    assert nothing_left(study) == "all 4 configurations of the space have been tried"


def test_paused_trials_may_be_gone_on_with():
    study = thrifty.Study({"x": [1]}, metric="loss", policy="random", max_epochs=3)
    asked = study.ask()
    study.report(asked.trial, 1, 0.5)
    study.pause(asked.trial)
    assert nothing_left(study) is None
    study.tell(study.ask().trial, [0.4, 0.3])
    assert nothing_left(study) == "the only configuration of the space has been tried"


def test_an_infinite_space_is_never_used_up_but_a_grid_of_it_is():
    space = {"x": thrifty.Float(0, 1)}
    assert nothing_left(thrifty.tune(loss, space, trials=3, policy="random")) is None
    assert nothing_left(thrifty.tune(loss, space, trials=4, policy="grid")) is None
    done = thrifty.tune(loss, space, trials=9, policy="grid")
    assert nothing_left(done) == "all 5 configurations of the grid have been tried"


@pytest.mark.parametrize("trials", [3, 9])
def test_a_search_ends_with_a_finite_space_whatever_the_budget(trials):
    done = thrifty.tune(loss, {"x": [1, 2, 3]}, trials=trials)
    assert nothing_left(done) == "all 3 configurations of the space have been tried"


@pytest.mark.parametrize(("policy", "left"), [("pbt", True), ("random", False)])
def test_population_based_training_begins_configurations_again(policy, left):
    study = thrifty.Study({"x": [1, 2]}, metric="loss", policy=policy, max_epochs=2)
    for value in (1, 2):
        study.tell(study.start({"x": value}), [1.0, 0.5])
    assert [trial.state for trial in study.trials] == ["done", "done"]
    assert (nothing_left(study) is None) == left
