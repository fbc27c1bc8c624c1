"""`thrifty.tune` by population-based training: children begin from exactly what was named, through kills too."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import thrifty
from thrifty.core.space import Space
from thrifty.tuning.policies.pbt import Pbt
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State

SPACE = Space({"x": thrifty.Float(0.001, 1.0, log=True)})
OBJECTIVES = """
import json, math, os, shutil, tempfile, time
from pathlib import Path

PLACE = Path(os.environ["PLACE"])

def path_of(checkpoint):
    return json.loads((Path(checkpoint) / "path.json").read_text()) if checkpoint else []

def epochs(config, path):
    '''Trains, and notes what was trained with which x: the path so far, and each epoch in the log.'''
    while True:
        path = [*path, config["x"]]
        time.sleep(float(os.environ.get("SLOW", "0")))
        with (PLACE / "log").open("a") as log:
            log.write(json.dumps(path) + "\\n")
        loss = sum(abs(math.log10(x) + 2) for x in path) / len(path) + 1 / len(path)
        yield path, {"loss": loss, "total": sum(path)}

def fresh(config, checkpoint):
    '''A new folder after each epoch.'''
    for path, told in epochs(config, path_of(checkpoint)):
        folder = Path(tempfile.mkdtemp(dir=PLACE))
        (folder / "path.json").write_text(json.dumps(path))
        yield told, folder

def overwriting(config, checkpoint):
    '''Writes over the folder that it was given, a file at a time.'''
    folder = Path(checkpoint) if checkpoint else Path(tempfile.mkdtemp(dir=PLACE))
    for path, told in epochs(config, path_of(checkpoint)):
        (folder / "path.json.new").write_text(json.dumps(path))
        (folder / "path.json.new").replace(folder / "path.json")
        yield told, folder

def removing(config, checkpoint):
    '''Yields single files, and removes the last one at the next epoch. A child says when it begins, and waits.'''
    last = checkpoint
    if checkpoint and "begun-from" in checkpoint:
        with (PLACE / "begun").open("a") as begun:
            begun.write(checkpoint + "\\n")
        time.sleep(float(os.environ.get("WAIT", "0")))
    path = json.loads(Path(checkpoint).read_text()) if checkpoint else []
    for path, told in epochs(config, path):
        file = Path(tempfile.mkdtemp(dir=PLACE)) / "path.json"
        file.write_text(json.dumps(path))
        yield told, file
        if last:
            Path(last).unlink()
        last = file

def without(config, checkpoint):
    for path, told in epochs(config, []):
        yield told

def sparse(config, checkpoint):
    for path, told in epochs(config, path_of(checkpoint)):
        folder = None
        if len(path) % 4 == 0:
            folder = Path(tempfile.mkdtemp(dir=PLACE))
            (folder / "path.json").write_text(json.dumps(path))
        yield told, folder

def patchy(config, checkpoint):
    '''Some yield no folder after some epochs.'''
    for path, told in epochs(config, path_of(checkpoint)):
        folder = None
        if len(path) % 3 or int(1e9 * path[-1]) % 4:
            folder = Path(tempfile.mkdtemp(dir=PLACE))
            (folder / "path.json").write_text(json.dumps(path))
        yield told, folder

def unwilling(config, checkpoint):
    '''It cannot go on with another x.'''
    for path, told in epochs(config, path_of(checkpoint)):
        if len({*path}) > 1:
            raise ValueError("the shapes differ")
        folder = Path(tempfile.mkdtemp(dir=PLACE))
        (folder / "path.json").write_text(json.dumps(path))
        yield told, folder

def fragile(config, checkpoint):
    '''Some give NaN, raise or hang on the way.'''
    for path, told in epochs(config, path_of(checkpoint)):
        wrong = int(1e9 * path[-1])
        if len(path) % 3 == 0 and wrong % 5 == 0:
            raise ValueError("it broke")
        if len(path) % 3 == 0 and wrong % 5 == 1:
            told["loss"] = math.nan
        if len(path) % 3 == 0 and wrong % 15 == 2:
            time.sleep(60)
        folder = Path(tempfile.mkdtemp(dir=PLACE))
        (folder / "path.json").write_text(json.dumps(path))
        yield told, folder

def plain(config):
    return config["x"]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("objectives") / "population_of_tests.py"
    path.write_text(OBJECTIVES)
    return path


def run(place: Path) -> list[tuple[float, ...]]:
    """The epochs that were computed, each as the path of x that it ended."""
    return [tuple(json.loads(line)) for line in (place / "log").read_text().splitlines()]


def path_of(study: Study, trial: int, until: int) -> tuple[float, ...]:
    """What a trial should have been trained with up to an epoch."""
    path: list[float] = []
    for part in study.lineage(trial):
        path += [part.config["x"]] * (part.until_epoch - part.from_epoch)
    return tuple(path[:until])


def expected(study: Study) -> set[tuple[float, ...]]:
    """The epochs that the study has paid for."""
    return {
        path_of(study, trial.id, epoch)
        for trial in study.trials
        for epoch in range(1 + (trial.parent.epoch if trial.parent else 0), len(trial.values) + 1)
    }


def check(study: Study, place: Path, again: int = 0) -> None:
    """Each epoch is of the right trial at the right epoch, and at most `again` were run again or in vain."""
    computed = run(place)
    paid = expected(study)
    assert len(paid) == study.epochs_spent
    assert paid <= {*computed}
    assert len(computed) <= len(paid) + again
    children = [trial for trial in study.trials if trial.parent is not None]
    assert len(children) > 1
    for trial in study.trials:
        last = trial.extra.get("checkpoint")
        if trial.state is State.DONE and last is not None and Path(last).is_relative_to(place):
            content = Path(last) / "path.json" if Path(last).is_dir() else Path(last)
            assert tuple(json.loads(content.read_text())) == path_of(study, trial.id, trial.epoch)


@pytest.mark.parametrize("objective", ["fresh", "overwriting", "removing"])
@pytest.mark.parametrize("workers", [1, 3])
def test_children_begin_from_their_parents_checkpoint_whatever_becomes_of_that(file, place, objective, workers):
    options = {"max_epochs": 9, "policy": Pbt(size=5, interval=3), "seed": 1, "folder": place / "study"}
    with thrifty.tune(f"{file}:{objective}", SPACE, epochs=80, workers=workers, **options) as study:
        assert study.epochs_spent == 80
        check(study, place)
        skipped = [trial for trial in study.trials if trial.state is State.SKIPPED]
        assert all("replaced by trial" in trial.why for trial in skipped)
        assert len(skipped) > 1
    copies = sorted((place / "study" / "trials").glob("*/after-*"))
    assert len(copies) <= 2 * sum(trial.open for trial in study.trials) + 1
    assert not list((place / "study" / "trials").glob("*/.*"))


def test_children_that_write_into_what_they_are_given_keep_it_in_a_relative_folder(file, place, monkeypatch):
    monkeypatch.chdir(place)
    options = {"max_epochs": 9, "policy": Pbt(size=5, interval=3), "seed": 1, "folder": "study"}
    with thrifty.tune(f"{file}:overwriting", SPACE, epochs=60, **options) as study:
        check(study, place)
        written = [trial for trial in study.trials if "begun-from" in trial.extra.get("checkpoint", "")]
        assert written
        assert all(Path(trial.extra["checkpoint"]).exists() for trial in written)


def test_one_worker_decides_and_finds_the_same_twice_and_in_parts(file, place, tmp_path):
    options = {"max_epochs": 30, "policy": Pbt(size=4, interval=3), "seed": 4}

    def seen(study):
        return [(t.config, t.parent, t.values, t.inputs, t.extra.get("replaces")) for t in study.trials]

    whole = thrifty.tune(f"{file}:fresh", SPACE, epochs=70, **options)
    again = thrifty.tune(f"{file}:fresh", SPACE, epochs=70, **options)
    assert any(trial.parent for trial in whole.trials)
    assert seen(whole) == seen(again)
    for epochs in (31, 70):
        with thrifty.tune(f"{file}:fresh", SPACE, epochs=epochs, folder=tmp_path / "parts", **options) as study:
            assert study.epochs_spent == epochs
    assert seen(whole) == seen(study)
    assert [t.state for t in whole.trials] == [t.state for t in study.trials]


def test_several_metrics_with_limits_have_children_too(file, place):
    study = thrifty.tune(
        f"{file}:removing", SPACE, epochs=80, max_epochs=9, policy=Pbt(size=5, interval=3), metric=["loss", "total"],
        direction=["minimize", "minimize"], limits=["total <= 3"], workers=2,
    )  # fmt: skip
    check(study, place)
    assert all(point.metrics["total"] <= 3 for point in study.front)
    assert all(
        len(t.others["total"]) == len(t.values) and t.others["total"][: t.parent.epoch] == (None,) * t.parent.epoch
        for t in study.trials
        if t.parent and t.values
    )


def test_failures_nan_and_timeouts_of_members_are_outcomes(file, place):
    study = thrifty.tune(
        f"{file}:fragile", SPACE, epochs=60, max_epochs=12, policy=Pbt(size=6, interval=3), seed=3, workers=2,
        trial_seconds=1.0,
    )  # fmt: skip
    failed = [trial for trial in study.trials if trial.state is State.FAILED]
    assert {"it broke" in t.why for t in failed} == {True, False}
    assert study.epochs_spent == 60
    replaced = {trial.extra.get("replaces") for trial in study.trials}
    assert sum(trial.id in replaced for trial in failed) >= len(failed) - 2
    check(study, place, again=2 * len(failed))  # one that gave NaN may be in its next epoch when it is stopped


def test_a_trial_without_a_checkpoint_where_others_have_one_fails_alone(file, place):
    options = {"epochs": 60, "max_epochs": 12, "policy": Pbt(size=5, interval=3), "seed": 1}
    study = thrifty.tune(f"{file}:patchy", SPACE, **options)
    failed = [trial for trial in study.trials if trial.state is State.FAILED]
    assert study.epochs_spent == 60
    assert failed
    assert all("it yielded no checkpoint after epoch" in trial.why for trial in failed)
    assert {trial.id for trial in failed} <= {trial.extra.get("replaces") for trial in study.trials}


def test_objectives_that_cannot_be_gone_on_with_are_said(file, place):
    with pytest.raises(thrifty.UsageError, match="give a generator that yields"):
        thrifty.tune(f"{file}:plain", SPACE, trials=4, policy="pbt")
    with pytest.raises(thrifty.UsageError, match="give a generator that yields"):
        thrifty.tune(f"{file}:plain", SPACE, trials=4, policy=Pbt())
    with pytest.raises(
        thrifty.UsageError, match=r"trial 0 yielded no checkpoint after epoch 2.*yield \(the metric, a fo"
    ):
        thrifty.tune(f"{file}:without", SPACE, trials=4, policy=Pbt(interval=2), max_epochs=8)
    with pytest.raises(thrifty.UsageError, match=r"trial 0 yielded no checkpoint after epoch 2"):
        thrifty.tune(f"{file}:sparse", SPACE, trials=4, policy=Pbt(interval=2), max_epochs=8)
    with thrifty.tune(f"{file}:sparse", SPACE, trials=5, policy=Pbt(size=6, interval=4), max_epochs=16) as study:
        assert study.epochs_spent == 5 * 16
        check(study, place, again=10**6)
    with pytest.raises(thrifty.ExternalError, match=r"the shapes differ.*Pbt\(fixed"):
        thrifty.tune(f"{file}:unwilling", SPACE, epochs=900, policy=Pbt(size=6, interval=1), max_epochs=12)


def command(place: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "thrifty", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PLACE": str(place), **environment},
    )  # fmt: skip


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.slow
def test_one_worker_decides_the_same_through_kills(file, place, tmp_path):
    (tmp_path / "whole").mkdir()
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.to_yaml())
    words = ["tune", f"{file}:fresh", "--space", str(space), "--policy", "pbt", "--epochs", "130", "--max-epochs", "20"]
    assert command(tmp_path / "whole", *words, "--out", str(tmp_path / "a")).wait() == 0
    process = command(place, *words, "--out", str(tmp_path / "b"), SLOW="0.01")
    for count in (30, 7, 51):
        seen, until = lines(place / "log"), time.monotonic() + 20
        while time.monotonic() < until and lines(place / "log") < seen + count:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = command(place, "resume", str(tmp_path / "b"))
    assert process.wait() == 0
    whole, parts = (
        [(t.config, t.parent, t.values, t.state, t.extra.get("replaces")) for t in Study.look(tmp_path / at).trials]
        for at in "ab"
    )
    assert any(parent for _, parent, *_ in whole)
    assert whole == parts


@pytest.mark.parametrize(
    ("objective", "moment", "more", "environment"),
    [
        pytest.param("fresh", "log", (25, 40, 31, 2, 60), {"SLOW": "0.02"}, marks=pytest.mark.slow),
        ("removing", "begun", (1, 3, 2, 1, 5), {"SLOW": "0.02", "WAIT": "0.3"}),  # before a child's first checkpoint
    ],
)
def test_a_study_of_four_workers_goes_on_after_kills_and_pays_for_no_epoch_twice(
    file, place, tmp_path, objective, moment, more, environment
):
    out, space = tmp_path / "run", tmp_path / "space.yaml"
    space.write_text(SPACE.to_yaml())
    words = ["tune", f"{file}:{objective}", "--space", str(space), "--policy", "pbt", "--epochs", "240"]
    process = command(place, *words, "--max-epochs", "20", "--workers", "4", "--out", str(out), **environment)
    for count in more:
        seen, until = lines(place / moment), time.monotonic() + 20
        while time.monotonic() < until and lines(place / moment) < seen + count:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = command(place, "resume", str(out), "--json", **(environment if count != more[-1] else {}))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    found = json.loads(said[said.index("{\n") :])
    study = Study.look(out, "pbt")
    assert study.epochs_spent == found["epochs_spent"] == 240
    check(study, place, again=4 * len(more))
    assert not any(trial.state is State.FAILED for trial in study.trials)
    best = study.trial(found["best"]["trial"])
    if best.parent is not None:
        assert found["best"]["parent"] == {"trial": best.parent.trial, "epoch": best.parent.epoch}
        assert [part["trial"] for part in found["lineage"]] == [part.trial for part in study.lineage(best.id)]
