import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from thrifty.core.errors import DataError
from thrifty.models import weights


def test_weights_of_a_folder_come_before_those_of_packages(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text('{"model_type": "bert"}')
    found = weights.find("text", tmp_path)
    assert found is not None
    assert found.path == tmp_path / "model.safetensors"
    assert found.card()["sha256"] == hashlib.sha256(b'{"model_type": "bert"}').hexdigest()


def test_a_package_that_is_not_there_has_no_weights(monkeypatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert weights.found() == frozenset()


def test_weights_are_looked_for_without_importing_what_uses_them() -> None:
    code = (
        "import sys; from thrifty.models import weights; weights.found(); "
        "print([m for m in ('torch', 'transformers', 'onnx', 'onnxruntime', 'openwakeword') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def folder_with(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_a_folder_that_lacks_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        weights.of_folder("text", tmp_path / "none")
    with pytest.raises(DataError, match=r"no config\.json"):
        weights.of_folder("text", tmp_path)
    folder_with(tmp_path, config_json='{"model_type": "distilbert"}')
    with pytest.raises(DataError, match="safetensors alone, never a pickle"):
        weights.of_folder("text", tmp_path)
    folder_with(tmp_path, model_safetensors="x")
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        weights.of_folder("text", tmp_path)


@pytest.mark.parametrize(
    ("config", "why"), [("[", "not JSON"), ("{}", "model_type"), ('{"architecture": "resnet50d"}', "of timm")]
)
def test_a_config_of_what_is_not_known_is_refused(tmp_path: Path, config: str, why: str) -> None:
    folder_with(tmp_path, config_json=config, model_safetensors="x")
    with pytest.raises(DataError, match=why):
        weights.of_folder("image", tmp_path)


def test_the_card_has_the_licence_of_the_models_own_card(tmp_path: Path) -> None:
    folder_with(
        tmp_path, config_json='{"model_type": "vit"}', model_safetensors="x", README_md="---\nlicense: mit\n---\n"
    )
    assert weights.of_folder("image", tmp_path).card()["licence"] == "mit"
