"""The command: exit codes and what it says when it is used wrongly."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from linear_model import model_of
from typer.testing import CliRunner

from thrifty.api import Run
from thrifty.cli import main as cli
from thrifty.core.space import Float, Space
from thrifty.data.column import Column, Meaning, Schema, Task
from thrifty.exporting.artifact import Member, assemble


def thrifty(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thrifty", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = [f"{i},{'ab'[i % 2]},{i % 7}" for i in range(60)]
    (folder / "rows.csv").write_text("n,label,m\n" + "\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "rows.csv"], "perhaps 'label'"),
        (["run", "rows.csv", "--target", "labl"], "did you mean 'label'"),
        (["run", "nothing.csv", "--target", "label"], "nothing.csv"),
        (["run", "rows.csv", "--target", "label", "--metric", "acuracy"], "did you mean accuracy"),
        (["run", "rows.csv", "--target", "label", "--set", "model.kind=tree"], "did you mean trees"),
        (["run", "nothing.csv", "--target", "label", "--set", "model.kind=tree"], "did you mean trees"),
        (["run", "nothing.csv", "--target", "label", "--set", "model.widht=9"], "did you mean width"),
        (["run", "nothing.csv", "--target", "label", "--set", "model.knd=trees"], "did you mean kind"),
        (
            ["run", "nothing.csv", "--target", "label", "--set", "model.kind=trees", "--set", "model.width=3"],
            "no recipe of trees has a field 'model.width'; see",
        ),
        (["run", "nothing.csv", "--target", "label", "--set", "model.kind=[trees, kernel]"], "one kind of model"),
        (["run", "rows.csv", "--target", "label", "--exclude", "forest"], "there is no candidate 'forest'"),
        (["run", "rows.csv", "--target", "label", "--minutes", "0"], "minutes"),
        (["predict", "nothing", "rows.csv"], "nothing"),
        (["resume", "rows.csv"], "rows.csv"),
    ],
)
def test_wrong_use_is_said_in_a_few_words_and_leaves_nothing(data, words, said):
    before = sorted(data.rglob("*"))
    done = thrifty(*words, cwd=data)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(data.rglob("*")) == before


INTERRUPTED = """
import os, signal, time
from thrifty.cli.main import _interruptible

with _interruptible():
    try:
        os.kill(os.getpid(), signal.{first})
        time.sleep(20)
    finally:
        print("taken away", flush=True)
        {then}
        print("ended", flush=True)
"""


@pytest.mark.parametrize(("first", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("again", [False, True])
def test_a_signal_takes_away_what_is_half_written_and_a_second_one_ends_all(first, code, again):
    then = f"os.kill(os.getpid(), signal.{first})" if again else ""
    script = INTERRUPTED.format(first=first, then=then)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=15)
    assert done.returncode == code
    assert done.stdout == "taken away\n" + "ended\n" * (not again)
    assert done.stderr == "thrifty: interrupted\n" * (not again)


def test_inspect_says_the_task_first_and_prints_json_alone(data):
    shown = thrifty("inspect", "rows.csv", "--target", "label", cwd=data).stdout
    assert shown.startswith("label: binary")
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads(thrifty("inspect", "rows.csv", "--target", "label", "--json", cwd=data).stdout)
    assert [column["name"] for column in found["columns"]] == ["n", "m"]


def unread(*words: str, cwd: Path) -> tuple[int, str]:
    """The exit code, and what is on stderr, of a command that writes to a pipe which nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "thrifty", *words]
        done = subprocess.run(command, cwd=cwd, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "rows.csv", "--target", "label"],
        ["inspect", "rows.csv", "--target", "label", "--json"],
        ["predict", "artifact", "rows.csv"],
        ["predict", "artifact", "many.csv"],
        ["--help"],
    ],
)
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(data, words):
    if "predict" in words and not (data / "artifact").exists():
        schema = Schema(
            (Column("n", Meaning.NUMBER, ""), Column("m", Meaning.NUMBER, "")), "label", Task.BINARY, ("a", "b")
        )
        assemble([Member(model_of(data / "model", np.eye(2), ("n", "m")))], schema, data / "artifact")
        (data / "many.csv").write_text("n,m\n" + "1,2\n" * 5000)
    assert unread(*words, cwd=data) == (0, "")


def test_a_failure_keeps_its_exit_code_though_nobody_reads(data):
    code, said = unread("predict", "nothing", "rows.csv", cwd=data)
    assert code == 2
    assert said.startswith("thrifty: there is no run directory")


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_stream_that_the_shell_closed_changes_no_exit_code(data, closed):
    for words, code in ((["doctor"], 0), (["predict", "nothing", "rows.csv"], 2)):
        command = " ".join([sys.executable, "-m", "thrifty", *words, f"{closed}>&-"])
        done = subprocess.run(command, shell=True, cwd=data, capture_output=True, text=True)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_named(data):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "thrifty", "inspect", "rows.csv", "--target", "label"]
        done = subprocess.run(command, cwd=data, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("thrifty: the output or a file: No space left on device")


def test_json_is_alone_on_stdout_though_the_objective_prints(tmp_path):
    (tmp_path / "objective.py").write_text("print('hello')\ndef loss(config):\n    return config['x'] ** 2\n")
    (tmp_path / "space.yaml").write_text("x: {low: -1.0, high: 1.0}\n")
    options = ["--space", "space.yaml", "--trials", "2", "--json", "--out", "out"]
    done = thrifty("tune", "objective.py:loss", *options, cwd=tmp_path)
    assert json.loads(done.stdout)["num_trials"] == 2
    assert "hello" in done.stderr
    done = thrifty("resume", "out", "--minutes", "0.01", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["num_trials"] >= 2


def test_the_help_of_tune_shows_a_space_that_can_be_read():
    lines = CliRunner().invoke(cli.app, ["tune", "--help"], terminal_width=80).output.splitlines()
    after = next(k for k, line in enumerate(lines) if "--space" in line)
    space = Space.from_yaml("\n".join(line.strip() for line in lines[after + 1 : after + 3]))
    assert space == Space({"lr": Float(1e-4, 1.0, log=True), "kind": ["a", "b"]})


def test_a_search_that_has_tried_all_there_is_says_so_and_so_does_its_resume(tmp_path):
    (tmp_path / "objective.py").write_text("def loss(config):\n    return config['x'] ** 2\n")
    (tmp_path / "grid.yaml").write_text("x: [-5.0, 5.0]\nkind: [a, b]\n")
    done = thrifty("tune", "objective.py:loss", "--space", "grid.yaml", "--trials", "9", "--out", "out", cwd=tmp_path)
    said = "all 4 configurations of the space have been tried"
    assert done.stdout.splitlines()[-1] == said
    assert "--minutes 10" not in done.stdout
    assert done.stderr.count("x is a choice of -5.0 and 5.0") == 1
    page = (tmp_path / "out/report.html").read_text()
    assert f"--space {(tmp_path / 'grid.yaml').resolve()}" in page
    for options in ([], ["--minutes", "1"]):
        done = thrifty("resume", "out", *options, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == said
        assert "is a choice of" not in done.stderr


class Unread(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_run_keeps_its_exit_code_though_nobody_reads_its_report(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Unread())
    with pytest.raises(typer.Exit) as ended:
        cli._finish(Run(tmp_path, {"stopped_because": "limits"}, 3), as_json=True)
    assert ended.value.exit_code == 3
