"""The command: exit codes and what it says when it is used wrongly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


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


def test_inspect_says_the_task_first_and_prints_json_alone(data):
    shown = thrifty("inspect", "rows.csv", "--target", "label", cwd=data).stdout
    assert shown.startswith("label: binary")
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads(thrifty("inspect", "rows.csv", "--target", "label", "--json", cwd=data).stdout)
    assert [column["name"] for column in found["columns"]] == ["n", "m"]
