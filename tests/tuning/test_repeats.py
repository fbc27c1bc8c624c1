"""Noisy objectives: repeats, their noise, the winner, and who gets another run."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import thrifty
from thrifty.tuning.policies.asha import Asha
from thrifty.tuning.policies.pbt import Pbt
from thrifty.tuning.repeats import estimates, noise_of, winner, worth_repeating
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Proposal, State

SPACE = {"x": thrifty.Float(0.0, 1.0)}


def noisy(x: float, repeat: int, trial: int) -> float:
    return x + 0.3 * float(np.random.default_rng([trial, repeat]).normal())


def searched(repeats: int, seed: int, runs: int = 60, policy: str = "random") -> Study:
    study = Study(SPACE, repeats=repeats, seed=seed, policy=policy)
    while study.epochs_spent < runs:
        asked = study.ask()
        repeat = study.trial(asked.trial).epoch
        study.tell(asked.trial, noisy(asked.config["x"], repeat, asked.trial))
    return study


def test_the_noise_is_pooled_over_configurations():
    assert noise_of([[1.0, 3.0], [10.0, 12.0]]) is None
    assert noise_of([[1.0, 3.0], [10.0, 12.0], [5.0, 7.0], [9.0]]) == pytest.approx(2**0.5)
    assert noise_of([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]) == 0.0


def test_the_luckiest_single_run_does_not_win():
    found = estimates({0: [0.5], 1: [0.62, 0.66, 0.6, 0.64], 2: [0.7, 1.1, 0.9], 3: [1.4, 1.0], 4: [1.2, 0.8]})
    assert min(found, key=lambda i: found[i].mean) == 0
    assert found[0].shrunken > found[0].mean
    assert winner(found) == 1


def test_without_noise_the_best_mean_wins_and_nothing_is_run_again():
    found = estimates({0: [3.0, 3.0], 1: [1.0, 1.0], 2: [2.0, 2.0], 3: [0.5]})
    assert winner(found) == 3
    assert worth_repeating(found, 5) is None


def test_only_what_can_still_be_the_best_is_run_again():
    runs = {0: [0.1, 0.3, 0.2], 1: [0.25, 0.15], 2: [9.0, 9.1], 3: [5.0, 5.2], 4: [7.0]}
    found = estimates(runs)
    assert worth_repeating(found, 9) in (0, 1)
    assert worth_repeating(found, 9, busy=(0, 1)) is None
    assert worth_repeating(found, 2) in (1, None)


def test_runs_go_to_good_configurations_and_each_to_its_limit():
    study = searched(5, seed=0)
    counts = [trial.epoch for trial in study.trials]
    assert sum(counts) == study.epochs_spent == 60
    assert max(counts) <= 5
    assert 45 <= len(counts) < 50
    often = [t.config["x"] for t in study.trials if t.epoch >= 3]
    assert np.mean(often) < np.mean([t.config["x"] for t in study.trials]) - 0.1
    assert all((t.state is State.DONE) == (t.epoch == 5) for t in study.trials)


def test_the_winner_and_its_value_are_nearer_the_truth_than_those_of_single_runs():
    single, repeated = ([searched(n, seed).best for seed in range(40)] for n in (1, 5))

    def error(found: list) -> float:
        return float(np.mean([abs(best.value - best.config["x"]) for best in found]))

    assert np.mean([best.config["x"] for best in repeated]) < np.mean([best.config["x"] for best in single])
    assert error(repeated) < 0.7 * error(single)


@pytest.mark.parametrize("policy", ["random", "auto", "optuna-tpe"])
def test_the_same_seed_gives_the_same_decisions_and_an_opened_study_goes_on(policy, tmp_path):
    pytest.importorskip("optuna")
    whole = searched(3, 1, 30, policy)
    study = Study(SPACE, repeats=3, seed=1, policy=policy, folder=tmp_path)
    for turn in range(30):
        if turn == 17:
            study.close()
            study = Study(SPACE, repeats=3, seed=1, policy=policy, folder=tmp_path)
        asked = study.ask()
        study.tell(asked.trial, noisy(asked.config["x"], study.trial(asked.trial).epoch, asked.trial))
    assert [(t.config, t.values) for t in study.trials] == [(t.config, t.values) for t in whole.trials]
    assert study.best == whole.best
    with pytest.raises(thrifty.StoreError, match="whose repeats are 3, not null"):
        Study(SPACE, folder=tmp_path)


@pytest.mark.parametrize("policy", ["optuna-cmaes", "optuna-nsga2"])
def test_policies_that_go_by_generations_learn_from_first_runs(policy):
    pytest.importorskip("optuna")
    pytest.importorskip("cmaes")
    study = Study({"x": thrifty.Float(0, 1), "y": thrifty.Float(0, 1)}, repeats=3, policy=policy)
    for turn in range(40):
        asked = study.ask()
        study.tell(asked.trial, float("nan") if turn == 5 else noisy(asked.config["x"], turn, asked.trial))
    assert study.epochs_spent > study.num_trials
    study.ask()
    source = study.policy.policy._source
    told = {ident: source._library.trials[source._number_of[ident]].value for ident in source._scored}
    ended = [trial for trial in study.trials if trial.state is not State.RUNNING or trial.values]
    assert told == {trial.id: trial.values[0] if trial.values else float("inf") for trial in ended}


def next_of(study: Study) -> Proposal | None:
    try:
        return study.ask()
    except thrifty.Exhausted:
        return None


def test_a_small_space_is_repeated_to_the_end_and_failures_do_not_win():
    study = Study({"x": [1, 2, 3]}, repeats=3, policy="grid")
    while (asked := next_of(study)) is not None:
        repeat = study.trial(asked.trial).epoch
        if asked.config["x"] == 1 and repeat:
            study.tell(asked.trial, failed="out of memory")
        else:
            study.tell(asked.trial, asked.config["x"] + 0.9 * (-1) ** repeat)
    assert study.trials[0].state is State.FAILED
    assert study.best is not None
    assert study.best.config == {"x": 2}
    assert study.best.runs == 3


def test_repeats_need_one_metric_and_no_epochs():
    for options in ({"max_epochs": 3}, {"metric": ["loss", "size"]}, {"limits": ["ms <= 3"]}):
        with pytest.raises(thrifty.UsageError, match="repeats are for"):
            Study(SPACE, repeats=2, **options)
    for policy in ("freeze-thaw", "asha+sobol", Asha(), Pbt()):
        with pytest.raises(thrifty.UsageError, match="cannot be used with repeats"):
            Study(SPACE, repeats=2, policy=policy)


OBJECTIVES = """
import os, time
from pathlib import Path

def fold(config, repeat):
    with (Path(os.environ["PLACE"]) / "log").open("a") as log:
        log.write(f"{config['x']} {repeat}\\n")
    time.sleep(float(os.environ.get("SLOW", "0")))
    return config["x"] + 0.1 * repeat * (-1) ** repeat

def many(config, repeat=7):
    return repeat

def curve(config, checkpoint, repeat):
    epoch = int((Path(checkpoint) / "epoch").read_text()) if checkpoint else 0
    while True:
        epoch += 1
        folder = Path(os.environ["PLACE"]) / f"{config['x']}-{repeat}-{epoch}"
        folder.mkdir()
        (folder / "epoch").write_text(str(epoch))
        yield config["x"] + repeat + 1 / epoch, folder
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    path = tmp_path / "repeated_objectives.py"
    path.write_text(OBJECTIVES)
    (tmp_path / "space.yaml").write_text("parameters:\n  x: {type: float, low: 0.0, high: 1.0}\n")
    return path


def test_a_function_is_told_which_run_it_is(file):
    study = thrifty.tune(f"{file}:fold", SPACE, trials=16, repeats=3, workers=2, policy="random", seed=0)
    assert sum(t.epoch for t in study.trials) == 16
    assert 1 < max(t.epoch for t in study.trials) <= 3
    for trial in study.trials:
        x = trial.config["x"]
        assert trial.values == pytest.approx([x, x - 0.1, x + 0.2][: trial.epoch])


def test_without_repeats_an_objective_that_asks_which_run_it_is_has_its_first(file):
    study = thrifty.tune(f"{file}:fold", SPACE, trials=2, policy="random")
    assert [trial.values for trial in study.trials] == [(trial.config["x"],) for trial in study.trials]
    with pytest.raises(thrifty.UsageError, match="cannot be used with repeats"):
        thrifty.tune(f"{file}:curve", SPACE, trials=2, repeats=2, max_epochs=4, policy="asha")
    study = thrifty.tune(f"{file}:curve", SPACE, trials=1, max_epochs=4, policy="random")
    assert study.trials[0].values[-1] == pytest.approx(study.trials[0].config["x"] + 0.25)
    study = thrifty.tune(f"{file}:many", SPACE, trials=1, policy="random")
    assert study.trials[0].values == (7.0,)  # it has a meaning of its own


def test_a_generator_is_run_to_its_last_epoch_each_time(file):
    study = thrifty.tune(f"{file}:curve", SPACE, trials=8, repeats=2, max_epochs=4, policy="random")
    assert sum(t.epoch for t in study.trials) == 8
    for trial in study.trials:
        assert trial.values == pytest.approx([trial.config["x"] + r + 0.25 for r in range(trial.epoch)])
    with pytest.raises(thrifty.UsageError, match="trials= or minutes="):
        thrifty.tune(f"{file}:curve", SPACE, epochs=8, repeats=2, max_epochs=4)


def test_runs_of_another_length_are_of_another_study(file, tmp_path):
    options = {"repeats": 2, "policy": "random", "folder": tmp_path / "study"}
    for trials in (1, 2):
        thrifty.tune(f"{file}:curve", SPACE, trials=trials, max_epochs=2, **options).close()
    with pytest.raises(thrifty.StoreError, match="whose max_epochs is 2, not 4"):
        thrifty.tune(f"{file}:curve", SPACE, trials=3, max_epochs=4, **options)


def test_a_kill_loses_no_finished_run(file, tmp_path):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "thrifty"]
    asked = ["tune", f"{file}:fold", "--space", str(tmp_path / "space.yaml"), "--trials", "14", "--repeats", "3"]
    environment = {**os.environ, "SLOW": "0.1"}

    def ran() -> int:
        return (tmp_path / "log").read_text().count("\n") if (tmp_path / "log").exists() else 0

    process = subprocess.Popen([*words, *asked, "--workers", "2", "--out", str(out)], env=environment)
    for _ in range(2):
        until, seen = time.monotonic() + 60, ran()
        while time.monotonic() < until and ran() < seen + 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = [t.values for t in Study.look(out).trials]
        process = subprocess.Popen([*words, "resume", str(out)], env=environment, stdout=subprocess.PIPE, text=True)
    printed = process.communicate()[0]
    assert process.returncode == 0
    study = Study.look(out)
    assert all(t.values[: len(values)] == values for t, values in zip(study.trials, before))
    assert any(before)
    assert study.epochs_spent == 14
    assert ran() <= 14 + 2 * 2 + 1  # each kill costs what the two workers were at
    assert "(n=2)" in printed
    assert study.best is not None
    report = json.loads((out / "report.json").read_text())
    assert report["best"]["runs"] == study.best.runs
    assert "mean of" in (out / "report.html").read_text()
