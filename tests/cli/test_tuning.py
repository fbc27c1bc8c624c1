"""The live table of `thrifty tune`."""

import io
import json

import pytest
import typer
from rich.console import Console

import thrifty
from thrifty.cli.tuning import TuneProgress, _print, _schedule, _table_of, finish
from thrifty.core.run_directory import RunDirectory
from thrifty.tuning.kept import Kept
from thrifty.tuning.trial import Parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_table_says_what_each_worker_runs_and_what_is_spent(monkeypatch):
    study = thrifty.Study({"rate": thrifty.Float(0, 1)}, metric="loss", max_epochs=8, policy="random")
    progress = TuneProgress({"epochs": 40}, to_stderr=False)
    monkeypatch.setattr(progress, "stream", Terminal())
    monkeypatch.setattr(progress, "go_live", lambda: None)
    study.listeners.append(lambda event: progress.show(study, event))
    first, second = study.ask().trial, study.ask().trial
    study.report(second, 1, 0.75)
    study.pause(first)
    study.proceed(first, 4)
    console = Console(file=io.StringIO(), width=80)
    console.print(progress.view())
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "best so far: loss 0.75 (trial 1)" in lines[0]
    assert "1 of 40 epochs" in lines[1]
    assert lines[3].split() == ["worker", "trial", "epoch", "loss", "seconds", "configuration"]
    assert lines[5].split()[:5] == ["1", "0", "0", "of", "4"]
    assert lines[6].split()[:6] == ["2", "1", "1", "of", "8", "0.75"]


def test_the_table_says_where_a_child_began_and_the_schedule_how_the_best_was_trained():
    study = thrifty.Study({"rate": thrifty.Float(0, 1)}, metric="loss", max_epochs=8, policy="random")
    study.tell(study.ask().trial, [3.0, 2.0])
    study.report(study.start({"rate": 0.5}, parent=Parent(0, 2)), 3, 1.0)
    console = Console(file=io.StringIO(), width=80)
    console.print(_table_of(study, list(study.trials)[::-1]))
    console.print(_schedule([{"trial": 0, "from_epoch": 0, "until_epoch": 2, "config": {"rate": 0.25}}]))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["trial", "epochs", "from", "loss", "configuration"]
    assert lines[1] == ["1", "3", "0", "at", "2", "1", "rate=0.5"]
    assert lines[2][:3] == ["0", "2", "2"]
    assert lines[4] == ["0", "1", "to", "2", "rate=0.25"]


def test_each_run_has_its_line_and_the_summary_counts_runs(monkeypatch, tmp_path, capsys):
    study = thrifty.Study({"rate": thrifty.Float(0, 1)}, metric="loss", repeats=3, policy="random")
    progress = TuneProgress({"trials": 40}, to_stderr=False)
    monkeypatch.setattr(progress, "stream", io.StringIO())
    study.listeners.append(lambda event: progress.show(study, event))
    first, second = study.ask().trial, study.ask().trial
    study.tell(first, 3.0)
    study.tell(second, 4.0)
    study.proceed(first)
    study.tell(first, 2.0)
    lines = [line.partition("trial ")[2] for line in progress.stream.getvalue().splitlines()]
    assert lines == ["0: 3 (n=1)  best so far", "1: 4 (n=1)", "0: 2.5 (n=2)  best so far"]
    _print(RunDirectory(tmp_path), study, [study.trial(first)], [])
    assert "2 trials, 3 runs: 2 may be run again" in capsys.readouterr().out


@pytest.mark.parametrize("failed", [True, False])
def test_json_of_a_search_without_a_value_says_why_on_stderr(tmp_path, capsys, failed):
    (tmp_path / "request.json").write_text('{"format": 1, "command": "tune", "objective": "x.py:f", "options": {}}')
    with thrifty.Study({"rate": thrifty.Float(0, 1)}, folder=tmp_path) as study:
        if failed:
            study.tell(study.ask().trial, failed="ValueError: too cold")
        with pytest.raises(typer.Exit) as ended:
            finish(Kept(RunDirectory(tmp_path), study), as_json=True)
    said = capsys.readouterr()
    assert ended.value.exit_code == 1
    assert json.loads(said.out)["best"] is None
    assert said.err.startswith("thrifty: no trial gave a value" + (": ValueError: too cold\n" if failed else "\n"))
