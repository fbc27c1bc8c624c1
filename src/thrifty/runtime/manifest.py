"""artifact.json, read and checked field by field, so that nothing is predicted from one that does not hold together.

    {"format": 1, "thrifty": version, "task", "target", "classes": [...], "positive": null | code,
     "metric": null | name, "weight": null | column, "group": null | column,
     "columns": {name: meaning}, "rows": "table" | "folder",
     "nodes": [...], "members": [{"output": "head.scores", "weight": 1.0, "temperature": 1.0}],
     "temperature": 1.0, "decision": null | {...}, "threads": 1, "files": {name: SHA-256}}

`temperature` divides the logits of what several members give together. `files` has each file that the nodes name.
`metric`, `weight` and `group` say how the model was scored. Artifacts of the first versions are without these.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError
from thrifty.data.column import MEDIA, Meaning, Task
from thrifty.data.encode.registry import REGISTRY
from thrifty.runtime.nodes import digests, files_of

FORMAT = 1
MAX_THREADS = 1024
_MEANINGS = tuple(str(meaning) for meaning in Meaning if meaning is not Meaning.IGNORED)
_FEWEST = {Task.MULTICLASS: 2, Task.MULTILABEL: 1}


class _WrongError(Exception):
    """What is wrong with a field."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The artifact.json of a folder. Raises StoreError naming the file and the field that is wrong."""
    path = folder / "artifact.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or found < 1:
        raise StoreError(f"{path} has no format number; it is not an artifact of Thrifty")
    if found > FORMAT:
        raise StoreError(
            f"{folder} has format {found}, made by Thrifty {manifest.get('thrifty', 'unknown')}; this version "
            f"reads formats up to {FORMAT}. Upgrade Thrifty to use it"
        )
    try:
        _check(manifest)
    except _WrongError as error:
        raise StoreError(f"{path} is damaged: {error}. Copy the artifact again from where it was made") from None
    return dict(manifest)


def check_files(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raises StoreError when a file is not the one that the artifact was made with."""
    if "files" not in manifest:
        return
    for name, digest in digests(manifest["nodes"], folder).items():
        if manifest["files"][name] != digest:
            raise StoreError(
                f"{folder / name} is not the file that the artifact was made with: its SHA-256 differs from that "
                f"under `files` in artifact.json. Copy the artifact again from where it was made"
            )


def _check(manifest: Mapping[str, Any]) -> None:
    task = _one_of("task", manifest.get("task"), [str(task) for task in Task])
    _text("target", manifest.get("target"))
    num_classes = _check_classes(Task(task), manifest.get("classes"))
    positive = manifest.get("positive")
    if positive is not None and not (task == Task.BINARY and _is_whole(positive) and positive in (0, 1)):
        raise _WrongError(f"the field positive must be null, or 0 or 1 for a binary task, not {_said(positive)}")
    for name in ("metric", "weight", "group"):
        if manifest.get(name) is not None:
            _text(name, manifest[name])
    columns = _check_columns(manifest.get("columns"))
    of_folder = _one_of("rows", manifest.get("rows"), ["table", "folder"]) == "folder"
    if of_folder and (list(columns) != ["file"] or columns["file"] not in MEDIA):
        raise _WrongError('the field rows is "folder", but the one column of a folder is "file", image or audio')
    arrays = _check_nodes(manifest.get("nodes"), columns)
    _check_members(manifest.get("members"), arrays)
    if _number("temperature", manifest.get("temperature", 1.0)) <= 0:
        raise _WrongError(f"the field temperature must be above 0, not {_said(manifest['temperature'])}")
    _check_decision(Task(task), num_classes, manifest.get("decision"))
    threads: Any = manifest.get("threads")
    if not _is_whole(threads) or not 1 <= threads <= MAX_THREADS:
        raise _WrongError(f"the field threads must be a whole number of 1 to {MAX_THREADS}, not {_said(threads)}")
    if "files" in manifest:
        _check_digests(manifest["files"], manifest["nodes"])


def _check_classes(task: Task, classes: Any) -> int:
    """How many there are."""
    names = _list("classes", classes)
    for name in names:
        _text("classes", name)
    if len(set(names)) < len(names):
        raise _WrongError(f"the field classes has {_twice(names)!r} twice")
    if task == Task.REGRESSION and names:
        raise _WrongError(f"the field classes must be empty for a regression, but has {len(names)}")
    if task == Task.BINARY and len(names) != 2:
        raise _WrongError(f"the field classes must have 2 for a binary task, but has {len(names)}")
    if len(names) < _FEWEST.get(task, 0):
        raise _WrongError(f"the field classes must have at least {_FEWEST[task]} for a {task} task, not {len(names)}")
    return len(names)


def _check_columns(columns: Any) -> Mapping[str, str]:
    named = _mapping("columns", columns)
    if not named:
        raise _WrongError("the field columns is empty")
    for name, meaning in named.items():
        _one_of(f"columns.{name}", meaning, _MEANINGS)
    return named


def _check_nodes(nodes: Any, columns: Mapping[str, str]) -> dict[str, Sequence[str] | None]:
    """{node: its outputs}, None for an encoder, which knows its outputs by itself."""
    arrays: dict[str, Sequence[str] | None] = {}
    for number, node in enumerate(_list("nodes", nodes)):
        field = f"nodes[{number}]"
        name = _text(f"{field}.name", _mapping(field, node).get("name"))
        if name in arrays:
            raise _WrongError(f"the field nodes has {name!r} twice")
        if _one_of(f"{field}.kind", node.get("kind"), ["encoder", "onnx"]) == "encoder":
            _check_encoder(f"{field}.encoder", node.get("encoder"), columns)
            arrays[name] = None
            continue
        _file(f"{field}.file", node.get("file"))
        for into, array in _mapping(f"{field}.inputs", node.get("inputs")).items():
            _array(f"{field}.inputs.{into}", array, arrays, " before it")
        arrays[name] = [_text(f"{field}.outputs", output) for output in _list(f"{field}.outputs", node.get("outputs"))]
    return arrays


def _check_encoder(field: str, encoder: Any, columns: Mapping[str, str]) -> None:
    _one_of(f"{field}.kind", _mapping(field, encoder).get("kind"), REGISTRY)
    for name in _list(f"{field}.columns", encoder.get("columns")):
        if _text(f"{field}.columns", name) not in columns:
            raise _WrongError(f"the field columns lacks {name!r}, which {field} reads")
    for what, file in _mapping(f"{field}.files", encoder.get("files", {})).items():
        _file(f"{field}.files.{what}", file)


def _check_members(members: Any, arrays: Mapping[str, Sequence[str] | None]) -> None:
    total = 0.0
    for number, member in enumerate(_list("members", members)):
        field = f"members[{number}]"
        _array(f"{field}.output", _mapping(field, member).get("output"), arrays)
        total += _number(f"{field}.weight", member.get("weight"))
        if _number(f"{field}.temperature", member.get("temperature")) <= 0:
            raise _WrongError(f"the field {field}.temperature must be above 0, not {_said(member['temperature'])}")
    if not 0 < total <= sys.float_info.max:
        raise _WrongError("the field members " + ("has weights whose sum is not above 0" if members else "is empty"))


def _check_decision(task: Task, num_classes: int, decision: Any) -> None:
    """That it is one that `scores.decided` can apply to the scores of these classes."""
    if decision is None:
        return
    kinds = {Task.BINARY: ["threshold", "offsets"], Task.MULTICLASS: ["offsets"], Task.MULTILABEL: ["thresholds"]}
    kind = _one_of("decision.kind", _mapping("decision", decision).get("kind"), kinds.get(task, []))
    if kind == "threshold":
        _number("decision.value", decision.get("value"))
        return
    values = [_number("decision.values", value) for value in _list("decision.values", decision.get("values"))]
    if len(values) != num_classes:
        raise _WrongError(f"the field decision.values must have {num_classes}, one for each class, not {len(values)}")


def _check_digests(files: Any, nodes: Sequence[Mapping[str, Any]]) -> None:
    for name in (name for node in nodes for name in files_of(node).values()):
        _text(f"files.{name}", _mapping("files", files).get(name))


def _array(field: str, array: Any, arrays: Mapping[str, Sequence[str] | None], where: str = "") -> None:
    """That NODE.OUTPUT is there, as far as the manifest tells."""
    node, _, output = _text(field, array).rpartition(".")
    if node not in arrays:
        raise _WrongError(f"the field {field} is {array!r}, but there is no node {node!r}{where}")
    outputs = arrays[node]
    if outputs is not None and output not in outputs:
        raise _WrongError(f"the field {field} is {array!r}, but the node {node!r} gives {', '.join(outputs)}")


def _file(field: str, name: Any) -> None:
    if _text(field, name) in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise _WrongError(f"the field {field} must be the name of a file beside it, without a path, not {_said(name)}")


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongError(f"the field {field} must be a text, not {_said(value)}")
    return value


def _list(field: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _WrongError(f"the field {field} must be a list, not {_said(value)}")
    return value


def _mapping(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongError(f"the field {field} must be an object, not {_said(value)}")
    return value


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise _WrongError(f"the field {field} must be a finite number, not {_said(value)}")
    return value


def _one_of(field: str, value: Any, known: Iterable[str]) -> str:
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise _WrongError(f"the field {field} must be {' or '.join(known) or 'absent'}, not {_said(value)}")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _twice(names: Sequence[str]) -> str:
    return next(name for place, name in enumerate(names) if name in names[:place])


def _said(value: Any) -> str:
    """The value as it stands in the file, shortened; `missing` for none."""
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)[:60]
