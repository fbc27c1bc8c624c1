"""A run directory is claimed once, and leaves nothing when its run never began."""

import pytest

from thrifty.core import run_directory
from thrifty.core.errors import StoreError, UsageError


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [run_directory.create(None, "iris", {}).path.name for _ in range(2)]
    assert names == ["iris-1", "iris-2"]


def test_a_refused_run_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_directory.discard(run_directory.create(None, "iris", {}), named=False)
    assert list(tmp_path.iterdir()) == []


def test_earlier_runs_stay_when_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run_directory.create(None, "iris", {})
    run_directory.discard(run_directory.create(None, "iris", {}), named=False)
    assert first.request.exists()


def test_an_empty_folder_may_be_given_and_a_used_one_is_refused(tmp_path):
    run_directory.create(tmp_path, "x", {})
    with pytest.raises(UsageError, match="holds a run"):
        run_directory.create(tmp_path, "x", {})


def test_a_file_is_no_run_directory(tmp_path):
    path = tmp_path / "out"
    path.write_text("hello")
    with pytest.raises(UsageError, match="is a file"):
        run_directory.create(path, "x", {})


def test_what_was_asked_is_read_again_from_the_artifact_too(tmp_path):
    directory = run_directory.create(tmp_path / "run", "x", {"data": "d.csv"})
    directory.artifact.mkdir()
    assert run_directory.open_run(directory.artifact)[1]["data"] == "d.csv"


def test_a_run_of_a_newer_version_is_refused(tmp_path):
    directory = run_directory.create(tmp_path / "run", "x", {})
    directory.request.write_text('{"format": 99}')
    with pytest.raises(StoreError, match="newer version"):
        run_directory.open_run(directory.path)
