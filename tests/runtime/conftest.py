"""Makes the hand-made models of runtime_models.py importable here, and gives one of each."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from runtime_models import build_image_model, build_text_model, text_rows


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_text_model(tmp_path_factory.mktemp("text") / "model", text_rows())


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image_model(tmp_path_factory.mktemp("image") / "model")
