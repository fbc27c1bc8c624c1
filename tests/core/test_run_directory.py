"""A run directory is claimed once, and leaves nothing when its run never began."""

import datetime
import math
import os

import pytest

from thrifty.core import run_directory
from thrifty.core.errors import StoreError, UsageError
from thrifty.core.run_directory import RunDirectory, create


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


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path):
    directory = RunDirectory(tmp_path)
    with directory.held(), pytest.raises(StoreError, match="goes on in another process"), directory.held():
        pass
    with directory.held():
        pass


def test_of_two_runs_that_are_started_at_once_one_has_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "_claim", lambda path: path)  # both saw it empty
    create(tmp_path, "data", {})
    with pytest.raises(UsageError, match="name another with --out"):
        create(tmp_path, "data", {})


def test_what_a_killed_process_was_writing_is_swept_away(tmp_path):
    directory = RunDirectory(tmp_path)
    kept = ("artifact", "trials/1/model", ".git")
    for name in (*kept, ".artifact.x1", "artifact-int8", ".int8.y", "trials/1/.model.z", "trials/1/refit/.model.z"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    directory.sweep()
    assert {str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob("file")} == set(kept)


@pytest.mark.parametrize("links", [True, False])
def test_what_was_asked_is_written_whole_or_not_at_all(tmp_path, monkeypatch, links):
    def link(*paths):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", link)
    for value in (math.nan, datetime.date(2024, 1, 1), "\udcff"):
        with pytest.raises(UsageError, match="cannot be kept"):
            create(tmp_path / "run", "data", {"recipe": {"model": {"width": value}}})
    assert not (tmp_path / "run").exists()
    directory = create(tmp_path / "run", "data", {"minutes": 1.0})
    assert list(directory.path.iterdir()) == [directory.request]
    monkeypatch.setattr(run_directory, "_claim", lambda path: path)
    with pytest.raises(UsageError, match="name another with --out"):
        create(directory.path, "data", {"minutes": 2.0})
    assert run_directory.open_run(directory.path)[1]["minutes"] == 1.0
    assert list(directory.path.iterdir()) == [directory.request]
