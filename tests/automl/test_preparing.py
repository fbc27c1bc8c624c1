"""Where what is computed on the way to a Dataset is kept."""

from pathlib import Path

import pytest

import thrifty
from thrifty.automl.preparing import cache_folder


def test_a_cache_that_cannot_be_written_gives_way_to_one_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for name, folder in (("shared", "shared"), ("file", "own/cache"), ("file/below", "own/cache")):
        monkeypatch.setenv("THRIFTY_CACHE", str(tmp_path / name))
        assert cache_folder(tmp_path / "own") == tmp_path / folder
    assert cache_folder(tmp_path / "own", shared=False) == tmp_path / "own" / "cache"


def test_data_is_inspected_though_the_cache_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRIFTY_CACHE", "/dev/null/cache")
    rows = [{"size": i % 7, "label": "ab"[i % 2]} for i in range(60)]
    assert thrifty.inspect(rows, "label")["columns"][0]["name"] == "size"
