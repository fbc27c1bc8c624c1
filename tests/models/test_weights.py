import hashlib
import subprocess
import sys
from pathlib import Path

from thrifty.models import weights


def test_weights_of_a_folder_come_before_those_of_packages(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"x")
    found = weights.find("text", tmp_path)
    assert found is not None
    assert found.path == tmp_path / "model.safetensors"
    assert found.card()["sha256"] == hashlib.sha256(b"x").hexdigest()
    assert weights.find("image", tmp_path) is None


def test_a_package_that_is_not_there_has_no_weights(monkeypatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert weights.found() == frozenset()


def test_weights_are_looked_for_without_importing_what_uses_them() -> None:
    code = (
        "import sys; from thrifty.models import weights; weights.found(); "
        "print([m for m in ('torch', 'transformers', 'onnx', 'onnxruntime', 'openwakeword') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
