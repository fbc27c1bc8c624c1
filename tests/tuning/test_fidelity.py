"""Grids that contain a number of epochs: one run for each configuration of the other parameters."""

import json
from pathlib import Path

import pytest

import thrifty
from thrifty.core.space import Space, When
from thrifty.tuning.fidelity import Fidelity, hint
from thrifty.tuning.trial import Trial

GRID = {"lr": [0.1, 0.2], "epochs": [2, 3, 6]}
OBJECTIVES = """
import os
from pathlib import Path

def curve(config, checkpoint):
    epoch = int((Path(checkpoint) / "epoch").read_text()) if checkpoint else 0
    while True:
        epoch += 1
        with (Path(os.environ["PLACE"]) / "log").open("a") as log:
            log.write(f"{config['lr']} {epoch} {config['epochs']}\\n")
        folder = Path(os.environ["PLACE"]) / f"{config['lr']}-{epoch}"
        folder.mkdir(exist_ok=True)
        (folder / "epoch").write_text(str(epoch))
        # best at epoch 4, which no grid point has, then at 3
        yield {"loss": config["lr"] + {4: 0.0, 3: 0.1}.get(epoch, 0.5)}, folder

def plain(config):
    return config["lr"]
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PLACE", str(tmp_path))
    path = tmp_path / "fidelity_objectives.py"
    path.write_text(OBJECTIVES)
    return path


def test_each_configuration_is_run_once_and_scored_at_the_listed_epochs(file, tmp_path, capsys):
    study = thrifty.tune(f"{file}:curve", GRID, fidelity="epochs", trials=10, workers=2, folder=tmp_path / "s")
    assert [t.config for t in study.trials] == [{"lr": 0.1}, {"lr": 0.2}]
    for trial in study.trials:
        lr = trial.config["lr"]
        assert trial.values == pytest.approx([None, lr + 0.5, lr + 0.1, None, None, lr + 0.5])
    assert study.best is not None
    assert (study.best.config, study.best.epoch) == ({"lr": 0.1}, 3)
    ran = sorted((tmp_path / "log").read_text().splitlines())
    assert ran == sorted(f"{lr} {epoch} 6" for lr in (0.1, 0.2) for epoch in range(1, 7))
    assert "12 epochs were run, 10 were saved" in capsys.readouterr().err
    study.close()
    with pytest.raises(thrifty.StoreError, match="whose fidelity is epochs of"):
        thrifty.tune(f"{file}:curve", {**GRID, "epochs": [1, 6]}, fidelity="epochs", trials=10, folder=tmp_path / "s")


def test_only_what_was_run_counts_as_saved():
    fidelity, rest = Fidelity.of("epochs", Space(GRID))
    assert list(rest) == ["lr"]
    trials = [Trial(0, {}, values=(None,) * 6), Trial(1, {}, values=(None,) * 3), Trial(2, {})]
    assert "2 configurations" in fidelity.summary(trials)
    assert "9 epochs were run, 7 were saved" in fidelity.summary(trials)


def test_a_grid_is_told_of_the_option_and_otherwise_left_as_it_is(file, capsys):
    study = thrifty.tune(f"{file}:curve", GRID, policy="grid", trials=6, max_epochs=2)
    assert "fidelity='epochs'" in capsys.readouterr().err
    assert study.num_trials == 6
    thrifty.tune(f"{file}:curve", GRID, policy="random", trials=1, max_epochs=2)
    assert capsys.readouterr().err == ""


def test_names_that_say_how_long():
    for name in ("epochs", "max_epochs", "num_epochs", "n_estimators", "max_iter"):
        assert name in str(hint(Space({"lr": thrifty.Float(0, 1), name: [1, 2]})))
    for name in ("lr", "epochs_of_warmup", "depth"):
        assert hint(Space({name: [1, 2]})) is None
    assert hint(Space({"epochs": [3]})) is None


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        ({"lr": [1, 2]}, {}, "not in the space"),
        ({"epochs": [1, 2]}, {}, "no parameter beside"),
        ({"lr": [1, 2], "epochs": thrifty.Float(1, 2)}, {}, "whole numbers"),
        ({"lr": [1, 2], "epochs": [0, 2]}, {}, "whole numbers"),
        ({"lr": [1, 2], "epochs": When(thrifty.Int(1, 2), {"lr": 1})}, {}, "conditions"),
        (Space({"lr": [1, 2], "epochs": [1, 2]}, ["lr * epochs <= 2"]), {}, "constraints"),
        (GRID, {"policy": "asha"}, "runs to its end"),
        (GRID, {"max_epochs": 5}, "leave max_epochs out"),
        (GRID, {"epochs": 5}, "trials= or minutes="),
        (GRID, {"repeats": 2}, "no repeats"),
        (GRID, {"objective": "plain"}, "yields"),
    ],
)
def test_what_cannot_be_one_pass(file, space, options, said):
    objective = options.pop("objective", "curve")
    with pytest.raises(thrifty.UsageError, match=said):
        thrifty.tune(f"{file}:{objective}", space, fidelity="epochs", **{"trials": 2, **options})


def test_a_start_that_fails_decides_nothing_for_the_next(file, tmp_path):
    options = {"trials": 1, "folder": tmp_path / "study"}
    with pytest.raises(thrifty.UsageError, match="direction"):
        thrifty.tune(f"{file}:curve", GRID, fidelity="epochs", metric="strange", **options)
    assert not (tmp_path / "study" / "fidelity.json").exists()
    other = {**GRID, "epochs": [1, 2]}
    thrifty.tune(f"{file}:curve", other, fidelity="epochs", **options).close()
    with pytest.raises(thrifty.StoreError, match=r"fidelity is epochs of \[1, 2\]"):
        thrifty.tune(f"{file}:curve", GRID, fidelity="epochs", **options)


def test_the_command_takes_a_fidelity_and_goes_on_with_it(file, tmp_path):
    from typer.testing import CliRunner

    from thrifty.cli.main import app

    (tmp_path / "space.yaml").write_text(Space(GRID).to_yaml())
    words = ["tune", f"{file}:curve", "--space", str(tmp_path / "space.yaml"), "--fidelity", "epochs", "--json"]
    first = CliRunner().invoke(app, [*words, "--trials", "1", "--out", str(tmp_path / "run")])
    assert first.exit_code == 0, first.output
    minutes = "600"  # from the start of this process
    more = CliRunner().invoke(app, ["resume", str(tmp_path / "run"), "--minutes", minutes])
    assert more.exit_code == 0, more.output
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num_trials"] == 2
    assert report["best"]["epoch"] == 3
    again = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert again.exit_code == 0, again.output
    looked_at = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (looked_at["policy"], looked_at["beliefs"]) == (report["policy"], [])
