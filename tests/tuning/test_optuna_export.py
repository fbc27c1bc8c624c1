"""A study read back from the Optuna storage that it was exported to."""

import pytest

import thrifty
from thrifty.core.space import Space, When

optuna = pytest.importorskip("optuna")

SPACE = Space(
    {
        "lr": thrifty.Float(1e-4, 1.0, log=True),
        "kind": ["sgd", "adam", None],
        "momentum": When(thrifty.Float(0, 1), {"kind": "sgd"}),
        "layers": thrifty.Int(1, 64, log=True),
    }
)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def test_trials_states_curves_and_distributions_arrive(url, tmp_path):
    study = thrifty.Study(SPACE, metric="loss", max_epochs=4, policy="random", folder=tmp_path / "mine", seed=3)
    for _ in range(6):
        asked = study.ask()
        study.tell(asked.trial, [4.0, 2.0, 3.0, 2.5], cost_seconds=1.5, extra={"note": "x"})
    study.tell(study.ask().trial, [5.0, float("nan")])
    study.skip(study.ask().trial, "not worth it")
    running = study.ask().trial
    study.report(running, 1, 7.0)
    study.pause(study.start({"lr": 0.5, "kind": "adam", "layers": 2}))
    study.to_optuna(url)
    there = optuna.load_study(study_name="mine", storage=url)
    states = [t.state.name for t in there.trials]
    assert states == [*["COMPLETE"] * 6, "FAIL", "PRUNED", "RUNNING", "WAITING"]
    assert there.best_value == study.best.value == 2.0
    for mine, theirs in zip(study.trials, there.trials):
        assert theirs.params == mine.config
        assert ("momentum" in theirs.distributions) == ("momentum" in mine.config)
    first = there.trials[0]
    assert first.intermediate_values == {1: 4.0, 2: 2.0, 3: 3.0, 4: 2.5}
    assert first.user_attrs["cost_seconds"] == 1.5
    assert first.user_attrs["note"] == "x"
    assert first.distributions["lr"] == optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    assert first.distributions["layers"] == optuna.distributions.IntDistribution(1, 64, log=True)
    assert first.distributions["kind"].choices == ("sgd", "adam", None)
    assert "nan" in there.trials[6].user_attrs["why"]
    assert there.trials[running].intermediate_values == {1: 7.0}


def test_a_maximised_study_without_epochs_keeps_its_direction(url):
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="accuracy", policy="random")
    for value in (0.2, 0.9, 0.4):
        study.tell(study.ask().trial, value)
    there = study.to_optuna(url, "named")
    assert there.best_value == 0.9
    assert there.trials[1].intermediate_values == {}
    with pytest.raises(thrifty.UsageError, match="holds a study named 'named' already"):
        study.to_optuna(url, "named")
    with pytest.raises(thrifty.UsageError, match="cannot be"):
        study.to_optuna("nonsense://x", "other")


def test_a_trial_that_may_be_run_again_is_complete_with_its_mean(url):
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="loss", repeats=3, policy="random")
    first, second = study.ask().trial, study.ask().trial
    study.tell(first, 3.0)
    study.tell(second, 2.5)
    study.proceed(second)
    study.tell(second, 1.5)
    assert [event.payload["best"] for event in study.events() if event.kind == "trial_paused"] == [3.0, 2.5, 2.0]
    there = study.to_optuna(url)
    assert (there.best_trial.number, there.best_value) == (second, 2.0)


def test_a_study_that_another_process_holds_can_be_looked_at_and_exported(url, tmp_path):
    options = {"metric": "loss", "max_epochs": 3, "policy": "random"}
    with thrifty.Study({"x": thrifty.Float(0, 1)}, folder=tmp_path / "s", **options) as study:
        study.tell(study.ask().trial, [3.0, 2.0, 1.0])
        asked = study.ask()
        looked = thrifty.Study.look(tmp_path / "s")
        assert looked.running == (asked.trial,)
        assert looked.best == study.best
        looked.to_optuna(url, "s")
        study.tell(asked.trial, [0.5, 0.4, 0.3])  # the one who works on it is not disturbed
        assert looked.num_trials == study.num_trials
        with pytest.raises(thrifty.UsageError, match="opened to be looked at"):
            looked.ask()
    with pytest.raises(thrifty.StoreError, match="holds no study"):
        thrifty.Study.look(tmp_path / "nothing")


def test_several_metrics_and_limits_become_optunas(tmp_path):
    options = {"metric": ["loss", "size"], "direction": ["minimize", "maximize"], "limits": ["ms <= 2"]}
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, max_epochs=2, policy="random", **options)
    study.tell(study.ask().trial, {"loss": [3.0, 2.0], "size": 5, "ms": 1})
    study.tell(study.ask().trial, {"loss": 1.0, "size": 1, "ms": 3})
    study.tell(study.ask().trial, failed="it broke")
    study.ask()
    there = study.to_optuna(f"sqlite:///{tmp_path / 'o.db'}", "two")
    assert [d.name for d in there.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert there.metric_names == ["loss", "size"]
    assert [t.state.name for t in there.trials] == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING"]
    assert there.trials[0].values == [2.0, 5.0]
    assert there.trials[0].user_attrs["curves"]["loss"] == [3.0, 2.0]
    assert [t.number for t in there.best_trials] == [0]
