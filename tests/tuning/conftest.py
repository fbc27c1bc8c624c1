"""What tests of searches share."""

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that objectives in processes of their own find in the environment."""
    monkeypatch.setenv("PLACE", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    return tmp_path / "place"
