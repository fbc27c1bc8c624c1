"""`thrifty.tune`: functions and generators in processes, what failed, what is kept, and going on after a kill."""

import functools
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import thrifty
from thrifty.core.errors import StoreError
from thrifty.tuning import kept
from thrifty.tuning.kept import start
from thrifty.tuning.objective import check_signature
from thrifty.tuning.trial import State

SPACE = {"x": thrifty.Float(0.0, 1.0)}
OBJECTIVES = """
import json, math, os, time
from pathlib import Path

def square(config):
    return (config["x"] - 0.3) ** 2

def named(config):
    return {"error": abs(config["x"] - 0.3), "size": 7}

def traded(config):
    return {"loss": config["x"], "size": (config["x"] - 1) ** 2, "ms": 30 * config["x"]}

def fails(config):
    if config["x"] > 0.5:
        raise ValueError("x is too large")
    return math.nan if config["x"] < 0.1 else config["x"]

def hangs(config):
    time.sleep(60 if config["x"] > 0.5 else 0)
    return config["x"]

def broken(config):
    raise RuntimeError("always")

def curve(config, checkpoint):
    epoch = int((Path(checkpoint) / "epoch").read_text()) if checkpoint else 0
    while True:
        epoch += 1
        folder = Path(os.environ["PLACE"]) / f"{config['x']:.6f}-{epoch}"
        folder.mkdir(parents=True, exist_ok=True)
        with (Path(os.environ["PLACE"]) / "log").open("a") as log:
            log.write(json.dumps([config["x"], epoch]) + "\\n")
        (folder / "epoch").write_text(str(epoch))
        time.sleep(float(os.environ.get("SLOW", "0")))
        yield {"loss": (config["x"] - 0.3) ** 2 + 1 / epoch}, folder

def forgetful(config, checkpoint):
    assert checkpoint is None
    for epoch in range(1, 5):
        yield config["x"] + 1 / epoch
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("objectives") / "objectives_of_tests.py"
    path.write_text(OBJECTIVES)
    return path


def epochs_run(place: Path) -> list[tuple[float, int]]:
    return [tuple(json.loads(line)) for line in (place / "log").read_text().splitlines()]


def test_a_function_is_searched(file):
    study = thrifty.tune(f"{file}:square", SPACE, trials=12, workers=2, first=[{"x": 0.31}])
    assert study.num_trials == 12
    assert {trial.state for trial in study.trials} == {State.DONE}
    assert study.trials[0].config == {"x": 0.31}
    assert study.best is not None
    assert study.best.value <= 0.0001 + 1e-9


def test_a_function_from_here_with_what_it_refers_to():
    offset = 0.25
    study = thrifty.tune(lambda config: abs(config["x"] - offset), SPACE, trials=3, metric="error")
    assert [trial.values[0] for trial in study.trials] == [abs(t.config["x"] - 0.25) for t in study.trials]


def test_one_metric_of_several_is_searched_and_the_others_are_kept(file):
    study = thrifty.tune(f"{file}:named", SPACE, trials=2, metric="error")
    assert study.trials[1].extra["metrics"] == {"size": 7}
    with pytest.raises(thrifty.ExternalError, match=r"'error', 'size', without the metric 'loss'"):
        thrifty.tune(f"{file}:named", SPACE, trials=30)


def test_failures_and_nan_are_outcomes(file):
    study = thrifty.tune(f"{file}:fails", SPACE, trials=20, seed=1)
    for trial in study.trials:
        x = trial.config["x"]
        assert trial.state is (State.DONE if 0.1 <= x <= 0.5 else State.FAILED)
        assert ("x is too large" in trial.why) == (x > 0.5)
    with pytest.raises(thrifty.ExternalError, match=r"the first 10 trials failed.*RuntimeError: always"):
        thrifty.tune(f"{file}:broken", SPACE, trials=100)


def test_a_trial_that_hangs_ends_alone(file):
    study = thrifty.tune(f"{file}:hangs", SPACE, trials=4, seed=2, trial_seconds=0.5, workers=2)
    late = [trial for trial in study.trials if trial.config["x"] > 0.5]
    assert late
    assert all(trial.state is State.FAILED and "0.5 s" in trial.why for trial in late)


def test_no_epoch_is_run_twice_however_trials_are_paused(file, place):
    study = thrifty.tune(f"{file}:curve", SPACE, epochs=40, max_epochs=8, policy="hyperband")
    assert study.epochs_spent == 40
    run = epochs_run(place)
    assert len(run) == len({*run}) == 40
    paused = [trial for trial in study.trials if trial.extra.get("checkpoint")]
    assert all(Path(trial.extra["checkpoint"]).name.endswith(f"-{trial.epoch}") for trial in paused)


def test_a_generator_without_checkpoints_begins_again_and_may_end_early(file):
    study = thrifty.tune(f"{file}:forgetful", SPACE, epochs=12, max_epochs=9, policy="random")
    assert {len(trial.values) for trial in study.trials} == {4}
    assert {trial.state for trial in study.trials[:-1]} == {State.DONE}  # the last may wait for more epochs


@pytest.mark.parametrize("budget", [{"trials": 3, "epochs": 100}, {"trials": 9, "epochs": 30}])
def test_the_smaller_of_two_budgets_ends_the_search(file, place, budget):
    study = thrifty.tune(f"{file}:curve", SPACE, max_epochs=10, policy="random", **budget)
    assert study.epochs_spent == 30
    assert {trial.state for trial in study.trials} == {State.DONE}


def test_a_folder_is_gone_on_with_and_decides_as_if_it_had_not_ended(file, tmp_path):
    options = {"seed": 3, "metric": "loss"}
    whole = thrifty.tune(f"{file}:square", SPACE, trials=10, **options)
    with thrifty.tune(f"{file}:square", SPACE, trials=4, folder=tmp_path / "s", **options):
        pass
    with thrifty.tune(f"{file}:square", SPACE, trials=10, folder=tmp_path / "s", **options) as study:
        assert [trial.config for trial in study.trials] == [trial.config for trial in whole.trials]
    with pytest.raises(thrifty.StoreError, match="whose space"):
        thrifty.tune(f"{file}:square", {"x": [1, 2]}, trials=4, folder=tmp_path / "s")


@pytest.mark.parametrize(
    ("objective", "options", "said"),
    [
        ("square", {}, "minutes=, trials= or epochs="),
        ("square", {"trials": 0}, "trials is 0; it must be a whole number of at least 1"),
        ("square", {"trials": 2, "trial_seconds": -5}, "trial_seconds is -5; it must be a positive number"),
        ("square", {"trials": 2, "trial_memory_mb": math.nan}, "trial_memory_mb is nan"),
        ("square", {"minutes": math.inf}, "minutes is inf"),
        ("square", {"trials": 2, "max_epochs": 3}, "gives one value"),
        ("curve", {"trials": 2}, "max_epochs="),
        ("nothing", {"trials": 2}, "no function 'nothing'"),
        ("square", {"trials": 2, "workers": 0}, "workers"),
        ("square", {"trials": 2, "policy": "magic"}, "policy"),
    ],
)
def test_wrong_use_is_said(file, objective, options, said):
    with pytest.raises(thrifty.UsageError, match=said):
        thrifty.tune(f"{file}:{objective}", SPACE, **options)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, 1e300])
@pytest.mark.parametrize("name", ["minutes", "trial_seconds", "trial_memory_mb"])
def test_an_amount_that_cannot_be_is_refused_before_anything_is_written(space_file, tmp_path, name, value):
    options = {"trials": 2, "metric": "loss", name: value}
    with pytest.raises(thrifty.UsageError, match=f"^--{name.replace('_', '-')} is "):
        start("x.py:f", space_file, options, out=tmp_path / "run", watch=print, started=time.time())
    assert not (tmp_path / "run").exists()


def test_wrong_use_that_is_found_late_leaves_what_was_told(file, space_file, tmp_path):
    def watch(study, event):
        if study.num_trials > 5:
            raise thrifty.UsageError("it is wrong")

    options = {
        "minutes": None, "trials": 9, "epochs": None, "metric": "loss", "direction": None, "max_epochs": None,
        "workers": 1, "policy": "random", "seed": 0, "trial_seconds": None, "trial_memory_mb": None,
    }  # fmt: skip
    with pytest.raises(thrifty.UsageError, match="it is wrong"):
        start(f"{file}:square", space_file, options, out=tmp_path / "run", watch=watch, started=time.time())
    assert sum(bool(trial.values) for trial in thrifty.Study.look(tmp_path / "run").trials) >= 5
    options["policy"] = "magic"
    with pytest.raises(thrifty.UsageError, match="magic"):
        start(f"{file}:square", space_file, options, out=tmp_path / "other", watch=watch, started=time.time())
    assert not (tmp_path / "other").exists()


def test_objectives_that_cannot_be_used_are_said(tmp_path):
    with pytest.raises(thrifty.UsageError, match=r"there is no file .*nothing\.py"):
        thrifty.tune(f"{tmp_path}/nothing.py:f", SPACE, trials=2)
    (tmp_path / "wrong.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(thrifty.UsageError, match="cannot be imported: ModuleNotFoundError"):
        thrifty.tune(f"{tmp_path}/wrong.py:f", SPACE, trials=2)
    with pytest.raises(thrifty.UsageError, match="it must be a function"):
        thrifty.tune(3, SPACE, trials=2)


def _takes_nothing():
    return 1.0


def _takes_another_by_name(config, *, width):
    return 1.0


def _takes_no_checkpoint(config):
    yield 1.0


def _takes_three(config, checkpoint, width):
    yield 1.0


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        (_takes_nothing, "(config):"),
        (_takes_another_by_name, "(config):"),
        (_takes_no_checkpoint, "(config, checkpoint):"),
        (_takes_three, "(config, checkpoint):"),
    ],
)
def test_an_objective_that_cannot_be_called_is_refused_with_the_signature_that_is_needed(objective, needed):
    options = {"max_epochs": 2} if "checkpoint" in needed else {}
    with pytest.raises(thrifty.UsageError, match=re.escape(f"write it as `def {objective.__name__}{needed}`")):
        thrifty.tune(objective, SPACE, trials=2, **options)


def test_objectives_may_take_more_than_they_are_given():
    for objective in (lambda config, width=3: 0, lambda *given, **named: 0, functools.partial(max, 3)):
        check_signature(objective, 1)
    for repeats in (1, 2):
        check_signature(lambda config, repeat: 0, repeats)
        check_signature(lambda config, *, repeat: 0, repeats)
        check_signature(lambda config, repeat=1: 0, repeats)


def command(*words: str, place: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "thrifty", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PLACE": str(place), **environment},
    )  # fmt: skip


@pytest.fixture
def space_file(tmp_path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(
        textwrap.dedent("""
        parameters:
          x: {type: float, low: 0.0, high: 1.0}
    """)
    )
    return path


def test_the_command_prints_the_best_and_keeps_what_was_asked(file, space_file, tmp_path, place):
    words = ["tune", f"{file}:square", "--space", str(space_file), "--trials", "5", "--out", str(tmp_path / "run")]
    process = command(*words, "--json", place=place)
    found = json.loads(process.communicate()[0].split("\n{", 1)[-1].join(["{", ""]))
    assert process.returncode == 0
    assert found["num_trials"] == 5
    assert found["best"]["value"] == min(trial["value"] for trial in found["trials"])
    again = command("report", str(tmp_path / "run"), place=place)
    assert f"{found['best']['value']:.6g}" in again.communicate()[0]
    more = command("resume", str(tmp_path / "run"), "--minutes", "0.02", place=place)
    assert more.wait() == 0
    other = command(*words, place=place)
    assert "holds a run already" in other.communicate()[0]
    assert other.returncode == 2


def test_the_command_takes_several_metrics_and_limits_and_goes_on_with_them(file, space_file, tmp_path, place):
    out = tmp_path / "run"
    words = ["tune", f"{file}:traded", "--space", str(space_file), "--trials", "8", "--out", str(out), "--json"]
    words += ["--metric", "loss", "--metric", "size", "--limits", "ms <= 20", "--policy", "sobol"]
    process = command(*words, place=place)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    found = json.loads(said[said.index("{\n") :])
    assert found["limits"] == ["ms <= 20"]
    kept = [t["trial"] for t in found["trials"] if t["keeps_limits"]]
    assert sorted(point["trial"] for point in found["front"]) == kept
    assert found["best"]["metrics"] == next(
        t["metrics"] for t in found["trials"] if t["trial"] == found["best"]["trial"]
    )
    more = command("resume", str(out), "--minutes", "0.01", place=place).communicate()[0]
    assert "the front" in more
    assert 'id="front"' in (out / "report.html").read_text()


def test_the_command_goes_on_after_a_kill_and_pays_for_no_epoch_twice(file, space_file, tmp_path, place):
    out = tmp_path / "run"
    words = ["tune", f"{file}:curve", "--space", str(space_file), "--epochs", "60", "--max-epochs", "10"]
    process = command(*words, "--workers", "2", "--out", str(out), place=place, SLOW="0.05")
    for _ in range(3):
        until = time.monotonic() + 20
        seen = len(epochs_run(place)) if (place / "log").exists() else 0
        while time.monotonic() < until and (not (place / "log").exists() or len(epochs_run(place)) < seen + 8):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = command("resume", str(out), place=place, SLOW="0.05")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    run = epochs_run(place)
    # Each kill may cost what its two workers were in the middle of.
    assert len({*run}) <= len(run) <= len({*run}) + 3 * 2
    with thrifty.Study({"x": thrifty.Float(0.0, 1.0)}, metric="loss", max_epochs=10, folder=out) as study:
        assert study.epochs_spent == 60
        for trial in study.trials:
            x = trial.config["x"]
            assert trial.values == pytest.approx([(x - 0.3) ** 2 + 1 / e for e in range(1, trial.epoch + 1)])


def test_ctrl_c_keeps_the_best_and_ends_with_130(file, space_file, tmp_path, place):
    words = ["tune", f"{file}:curve", "--space", str(space_file), "--minutes", "2", "--max-epochs", "10"]
    process = command(*words, "--out", str(tmp_path / "run"), place=place, SLOW="0.05")
    until = time.monotonic() + 20
    while time.monotonic() < until and (not (place / "log").exists() or len(epochs_run(place)) < 15):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[0]
    assert process.returncode == 130
    assert "thrifty resume" in said


def test_what_is_left_of_further_minutes_is_there_for_the_next_sitting(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(kept, "_go", lambda directory, asked, options, *rest: given.append(options["minutes"]))
    (tmp_path / "request.json").write_text(json.dumps({"format": 1, "options": {"minutes": 1.0, "trials": 5}}))
    for seconds, minutes in ((50, None), (70, 2.0), (100, None)):
        event = {"seq": 1, "time_seconds": seconds, "kind": "pulse", "trial": None}
        (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
        kept.resume(tmp_path, minutes=minutes, watch=print)
    assert [60 * minutes for minutes in given] == pytest.approx([10, 120, 90])


def test_a_search_whose_study_is_gone_is_not_begun_again(tmp_path):
    asked = {"format": 1, "objective": "x.py:f", "space": {}, "options": {"minutes": 1.0}}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    event = {"seq": 1, "time_seconds": 1.0, "kind": "trial_started", "trial": 0}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    with pytest.raises(StoreError, match=r"study.sqlite3 is missing.*put it back"):
        kept.resume(tmp_path, minutes=2.0, watch=print)
    assert json.loads((tmp_path / "request.json").read_text()) == asked
