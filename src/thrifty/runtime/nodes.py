"""The nodes of a model: encoders and ONNX files, each with a name, in an order in which they can run.

    {"name": "text", "kind": "encoder", "encoder": {"kind": "tfidf", "columns": ["review"], ..., "files": {...}}}
    {"name": "head", "kind": "onnx", "file": "head.onnx", "inputs": {"i": "text.indices", "w": "text.weights"},
     "outputs": ["scores"]}

An array is called NODE.OUTPUT. A model folder holds model.json, {"nodes": [...], "output": "head.scores"}, and the
files that its nodes name.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError
from thrifty.core.files import read_json, write_json
from thrifty.data.encode.encoder import Encoder
from thrifty.data.encode.registry import save_encoder

Node = Mapping[str, Any]
ENCODERS_VERSION = 1  # raised when an encoder gives other numbers than before, so that no cache answers for it


def encoder_node(name: str, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """The node of an encoder, whose files it writes into `folder` as NAME.KEY.npy or .txt."""
    return {"name": name, "kind": "encoder", "encoder": save_encoder(encoder, folder, name)}


def onnx_node(name: str, file: str, inputs: Mapping[str, str], outputs: Sequence[str] = ("scores",)) -> dict[str, Any]:
    """The node of an ONNX file that lies in the model's folder. inputs: {its input: NODE.OUTPUT}."""
    return {"name": name, "kind": "onnx", "file": file, "inputs": dict(inputs), "outputs": list(outputs)}


def read_model(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The nodes of a model folder and the array that its scores are in. Raises StoreError."""
    try:
        value = read_json(folder / "model.json")
        return list(value["nodes"]), str(value["output"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} is not a model: its model.json cannot be read ({error!r})") from error


def write_model(folder: Path, nodes: Iterable[Node], output: str) -> None:
    """Writes model.json beside the files that the nodes name."""
    write_json(folder / "model.json", {"nodes": list(nodes), "output": output})


def files_of(node: Node) -> dict[str, str]:
    """The files of a node, {what for: name}."""
    if node["kind"] == "onnx":
        return {"onnx": node["file"]}
    return dict(node["encoder"].get("files", {}))


def digests(nodes: Iterable[Node], folder: Path) -> dict[str, str]:
    """{name: SHA-256} of every file that the nodes name. Raises StoreError when one is not there."""
    return {name: _file_hash(folder / name) for node in nodes for name in files_of(node).values()}


def needed(nodes: Sequence[Node], wanted: Iterable[str]) -> list[Node]:
    """The nodes that the wanted arrays depend on, in their order. Raises StoreError for an array no node gives."""
    by_name = {node["name"]: node for node in nodes}
    names: set[str] = set()
    waiting = [array.rpartition(".")[0] for array in wanted]
    while waiting:
        name = waiting.pop()
        if name not in by_name:
            raise StoreError(f"the model has no node {name!r}; its nodes are {', '.join(by_name)}")
        if name not in names:
            names.add(name)
            waiting += [array.rpartition(".")[0] for array in by_name[name].get("inputs", {}).values()]
    return [node for node in nodes if node["name"] in names]


def node_keys(nodes: Sequence[Node], folder: Path) -> dict[str, str]:
    """Each node's key: nodes that compute the same from the same have the same one, whatever their names."""
    keys: dict[str, str] = {}
    for node in nodes:
        files = {what: _file_hash(folder / name) for what, name in files_of(node).items()}
        if node["kind"] == "encoder":
            spec = {k: v for k, v in node["encoder"].items() if k != "files"}
            what: dict[str, Any] = {"encoder": spec, "version": ENCODERS_VERSION}
        elif node["kind"] == "onnx":
            inputs = {}
            for name, array in node["inputs"].items():
                source, _, output = array.rpartition(".")
                inputs[name] = [keys[source], output]
            what = {"inputs": inputs, "outputs": node["outputs"]}
        else:
            raise StoreError(f"a node of unknown kind {node['kind']!r}; this version has encoder and onnx")
        text = json.dumps({**what, "files": files}, sort_keys=True, ensure_ascii=False)
        keys[node["name"]] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def _file_hash(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        raise StoreError(f"the model file {path} is not there; the folder is damaged") from None
    return _hash_of(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
