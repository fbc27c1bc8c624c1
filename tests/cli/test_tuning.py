"""The live table of `thrifty tune`."""

import io

from rich.console import Console

import thrifty
from thrifty.cli.tuning import TuneProgress


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
