"""Model folders become one artifact: nodes that compute the same are kept once, the folder is whole or absent."""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.core.files import write_json
from thrifty.data.column import Schema
from thrifty.runtime.manifest import FORMAT
from thrifty.runtime.nodes import Node, digests, files_of, node_keys, read_model

REQUIREMENTS: Mapping[str, str] = {
    "numpy": "numpy>=1.26",
    "onnxruntime": "onnxruntime>=1.21",
    "pillow": "pillow>=10.3",
    "pyarrow": "pyarrow>=17",
    "soundfile": "soundfile>=0.12.1",
    "soxr": "soxr>=0.5",
    "tokenizers": "tokenizers>=0.20",
}
_SOUND = ("soundfile", "soxr")
_NEEDED_BY: Mapping[str, tuple[str, ...]] = {
    "image": ("pillow",),
    "image_statistics": ("pillow",),
    "tokens": ("tokenizers",),
    "waveform": _SOUND,
    "log_mel": _SOUND,
    "log_mel_statistics": _SOUND,
}


@dataclass(frozen=True)
class Member:
    """A model folder (with model.json), its weight in the mean, and the temperature that its scores are divided by."""

    folder: Path
    weight: float = 1.0
    temperature: float = 1.0


def assemble(
    members: Sequence[Member],
    schema: Schema,
    folder: Path,
    *,
    temperature: float = 1.0,
    decision: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    threads: int = 1,
    positive: int | None = None,
    metric: str | None = None,
) -> Path:
    """Writes the artifact of one or several models to `folder`, which replaces what is there in one step.

    temperature: what the logits of several members' mean are divided by. decision: as `runtime.scores.decided` takes
    it. card: what is known of the model, written as card.json and card.md. threads: what the artifact predicts with
    unless told otherwise. positive: with two classes, the code of the one that average precision looks for. metric:
    that choices were made by. Raises StoreError for a damaged model folder.
    """
    if not members:
        raise UsageError("an artifact needs at least one model")
    with replacing_folder(folder) as aside:
        nodes, outputs = _merge([member.folder for member in members], aside)
        manifest = {
            "format": FORMAT,
            "thrifty": _version(),
            "task": str(schema.task),
            "target": schema.target,
            "classes": list(schema.classes),
            "positive": positive,
            "metric": metric,
            "weight": schema.weight,
            "group": schema.group,
            "columns": {name: str(meaning) for name, meaning in schema.inputs.items()},
            "rows": "folder" if schema.folder else "table",
            "nodes": nodes,
            "members": [
                {"output": output, "weight": float(member.weight), "temperature": float(member.temperature)}
                for member, output in zip(members, outputs, strict=True)
            ],
            "temperature": float(temperature),
            "decision": None if decision is None else dict(decision),
            "threads": threads,
            "files": digests(nodes, aside),
        }
        write_json(aside / "artifact.json", manifest)
        lines = [
            f"# What the artifact needs beside thrifty {manifest['thrifty']} itself",
            *requirements(nodes),
        ]
        (aside / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_card(aside, {} if card is None else card)
    return folder


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes card.json and, for people, card.md into an artifact's folder."""
    write_json(folder / "card.json", dict(card))
    title = str(card.get("title", "Model card"))
    lines = [f"# {title}", "", *_lines({k: v for k, v in card.items() if k != "title"}, 0)]
    (folder / "card.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def requirements(nodes: Sequence[Node]) -> list[str]:
    """What must be installed for these nodes to run, in pip's notation; pyarrow is for reading tables."""
    kinds = {node["encoder"]["kind"] for node in nodes if node["kind"] == "encoder"}
    names = {"numpy", "onnxruntime", "pyarrow"}.union(*(_NEEDED_BY.get(kind, ()) for kind in kinds))
    return [REQUIREMENTS[name] for name in sorted(names)]


def _merge(folders: Sequence[Path], target: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The nodes of all models, each once, with their files in `target`, and the array of each model's scores."""
    merged: list[dict[str, Any]] = []
    name_of_key: dict[str, str] = {}
    outputs = []
    for folder in folders:
        nodes, output = read_model(folder)
        keys = node_keys(nodes, folder)
        renamed: dict[str, str] = {}
        for node in nodes:
            name, key = node["name"], keys[node["name"]]
            if key not in name_of_key:
                new = _free_name(name, set(name_of_key.values()))
                name_of_key[key] = new
                merged.append(_moved(node, new, renamed, folder, target))
            renamed[name] = name_of_key[key]
        source, _, array = output.rpartition(".")
        outputs.append(f"{renamed[source]}.{array}")
    return merged, outputs


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    free = name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _moved(node: Node, name: str, renamed: Mapping[str, str], folder: Path, target: Path) -> dict[str, Any]:
    """The node under its new name, its inputs under theirs, its files copied as NAME.WHAT.ending."""
    files = {}
    for what, file in files_of(node).items():
        files[what] = f"{name}.onnx" if what == "onnx" else f"{name}.{what}{Path(file).suffix}"
        shutil.copyfile(folder / file, target / files[what])
    if node["kind"] == "encoder":
        encoder = {k: v for k, v in node["encoder"].items() if k != "files"}
        return {"name": name, "kind": "encoder", "encoder": {**encoder, "files": files} if files else encoder}
    inputs = {}
    for key, array in node["inputs"].items():
        source, _, output = array.rpartition(".")
        inputs[key] = f"{renamed[source]}.{output}"
    return {"name": name, "kind": "onnx", "file": files["onnx"], "inputs": inputs, "outputs": list(node["outputs"])}


def _lines(value: Any, depth: int) -> list[str]:
    """JSON values as nested Markdown lists."""
    indent = "  " * depth
    if isinstance(value, Mapping):
        lines = []
        for key, item in value.items():
            if isinstance(item, (Mapping, list)) and item:
                lines += [f"{indent}- **{key}**:", *_lines(item, depth + 1)]
            else:
                lines.append(f"{indent}- **{key}**: {_word(item)}")
        return lines
    if isinstance(value, list):
        lines = []
        for number, item in enumerate(value, 1):
            if isinstance(item, (Mapping, list)) and item:
                lines += [f"{indent}- {number}:", *_lines(item, depth + 1)]
            else:
                lines.append(f"{indent}- {_word(item)}")
        return lines
    return [f"{indent}- {_word(value)}"]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value in (None, {}, []) else str(value)


def _version() -> str:
    try:
        return version("thrifty")
    except PackageNotFoundError:  # run from the source tree
        return "0.1.0"


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`; when the block succeeds it is synced and takes `folder`'s place.

    A kill at any moment leaves the old folder or the new one, whole.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield aside
        for file in aside.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        aside.chmod(0o755)
        if folder.exists():
            _exchange(aside, folder)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Swaps two folders in one step where the system can (Linux's renameat2), else in two."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        at_working_directory, exchange = -100, 2
        if renameat2(at_working_directory, os.fsencode(one), at_working_directory, os.fsencode(other), exchange) == 0:
            return
        if ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    old = one.with_name(f"{one.name}.old")
    other.rename(old)
    one.rename(other)
    old.rename(one)
