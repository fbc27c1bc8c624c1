"""What a run was asked for: one frozen value that goes to request.json and back."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError, UsageError

MIN_MINUTES = 1 / 60
MAX_MINUTES = 1e7  # nineteen years
LIMITS_NOT_MET = 3  # the exit code


@dataclass(frozen=True)
class Request:
    """data, test, validation: paths. minutes: wall clock of the command. Limits: milliseconds, 10^6 bytes, points.

    recipe: nested wishes (`{"model": {"width": 32}}`); meanings: {column: meaning}. command: `run`, or `train` for the
    one recipe. max_bad_share: the share of rows that may be set aside, 0 to 1. words: of the first command.
    """

    data: str
    target: str | None = None
    test: str | None = None
    validation: str | None = None
    minutes: float = 10.0
    metric: str | None = None
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_accuracy_loss: float = 0.5
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    folds: int | None = None
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    exclude: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    cache: bool = True
    max_bad_share: float = 0.05
    command: str = "run"
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            _check_type(name, getattr(self, name), hint)
        for name in ("minutes", "max_latency_ms", "max_size_mb"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{_option(name)} must be a positive number, not {value!r}")
        if self.minutes < MIN_MINUTES:
            raise UsageError(f"--minutes {self.minutes:g} is less than a second; give at least {MIN_MINUTES:.3f}")
        if self.minutes > MAX_MINUTES:
            raise UsageError(f"--minutes {self.minutes:g} is more than can be meant; give at most {MAX_MINUTES:g}")
        if not 0 <= self.max_accuracy_loss <= 100:
            raise UsageError(f"--max-accuracy-loss must be between 0 and 100 points, not {self.max_accuracy_loss!r}")
        if not 0 <= self.max_bad_share < 1:
            raise UsageError(f"--max-bad-share must be at least 0 and below 1, not {self.max_bad_share!r}")
        if self.folds is not None and not 2 <= self.folds <= 20:
            raise UsageError(f"--folds must be between 2 and 20, not {self.folds!r}")
        if self.seed < 0:
            raise UsageError(f"--seed must be a whole number of at least 0, not {self.seed!r}")
        if not 1 <= self.threads <= 1024:
            raise UsageError(f"--threads must be from 1 to 1024, not {self.threads!r}")
        if self.device not in ("auto", "cpu"):
            raise UsageError(f"--device {self.device}: this version trains on the processor alone; use auto or cpu")
        if self.command not in ("run", "train"):
            raise UsageError(f"the command must be run or train, not {self.command!r}")

    def to_json(self) -> dict[str, Any]:
        plain = {name: _plain(value) for name, value in dataclasses.asdict(self).items()}
        return {**plain, "exclude": list(self.exclude)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Request:
        names = {f.name for f in dataclasses.fields(cls)}
        given = {k: v for k, v in value.items() if k in names}
        try:
            return cls(**{**given, **{name: tuple(given.get(name, ())) for name in ("exclude", "words")}})
        except (TypeError, UsageError) as error:
            raise StoreError(f"request.json is damaged: {error}") from error


def _plain(value: Any) -> Any:
    """A numpy number as Python's own."""
    return value.item() if isinstance(value, numbers.Number) and hasattr(value, "item") else value


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raises UsageError for a value that is not of its field's type; a whole number is a number, True is none."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(_NUMBERS.get(kind, typing.get_origin(kind) or kind) for kind in kinds)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(f"{_option(name)} must be {_KINDS.get(kinds[0], 'a mapping')}, not {value!r}")
    if name == "exclude" and not all(isinstance(item, str) for item in value):
        raise UsageError(f"--exclude must be names of candidates, not {value!r}")


_NUMBERS = {float: numbers.Real, int: numbers.Integral}
_KINDS: Mapping[Any, str] = {
    str: "text",
    numbers.Real: "a number",
    numbers.Integral: "a whole number",
    bool: "True or False",
    tuple: "a list of names",
}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse_settings(settings: Mapping[str, Any] | list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Splits `path=value` settings into (nested recipe wishes, column meanings).

    `schema.COLUMN=meaning` overrides a column, `backbone.text=FOLDER_OR_NAME` (image, audio) names pretrained
    weights; every other path is PART.FIELD of a recipe. Values are read as YAML.
    """
    import yaml

    if isinstance(settings, Mapping):
        pairs = [(str(path), value) for path, value in settings.items()]
    else:
        pairs = []
        for setting in settings:
            path, equals, text = setting.partition("=")
            if not equals or not path:
                raise UsageError(f"--set {setting!r} is not of the form path=value")
            try:
                pairs.append((path, _numbers(yaml.safe_load(text))))
            except yaml.YAMLError as error:
                raise UsageError(f"--set {path}: the value {text!r} cannot be read: {error}") from error
    recipe: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    for path, value in pairs:
        part, _, name = path.partition(".")
        if not name:
            raise UsageError(f"--set {path}: a path is PART.FIELD, like model.width or schema.COLUMN")
        if part == "schema":
            meanings[name] = str(value)
        elif part == "backbone":
            recipe.setdefault("preparation", {})[f"{_backbone(name)}_backbone"] = _folder(value)
        elif part in ("model", "training", "preparation"):
            recipe.setdefault(part, {})[name] = value
        else:
            raise UsageError(
                f"--set {path}: the part before the dot must be schema, backbone, preparation, model or training"
            )
    return recipe, meanings


def merged(recipe: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested wishes with the fields that `settings` name in place of the recipe's own, and its others as they are."""
    found = dict(recipe)
    for part, fields in settings.items():
        if not isinstance(found.get(part, {}), Mapping):
            raise UsageError(f"recipe part {part!r} must be fields like {{kind: trees}}, not {found[part]!r}")
        found[part] = {**found.get(part, {}), **fields}
    return found


def _backbone(name: str) -> str:
    """The kind of weights that `backbone.NAME` is about."""
    kinds = {"text": "text", "image": "image", "audio": "speech"}
    if name not in kinds:
        raise UsageError(f"--set backbone.{name}: there are backbone.text, backbone.image and backbone.audio")
    return kinds[name]


def _folder(value: Any) -> str:
    """A folder's absolute path; what is no folder is a model's name, as it stands."""
    path = os.path.expanduser(str(value))
    return os.path.abspath(path) if os.path.isdir(path) else str(value)


def read_recipe(path: Path) -> dict[str, Any]:
    """The nested wishes of a YAML recipe file, or of a trial's recipe.json, whose seed and empty parts say nothing.

    Raises UsageError when it cannot be read as a mapping.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--recipe {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UsageError(
            f"--recipe {path} must hold a mapping like `model: {{kind: trees}}`, not {type(tree).__name__}"
        )
    tree = {part: fields for part, fields in tree.items() if part != "seed" and fields is not None}
    for part in tree:
        if part not in ("model", "training", "preparation"):
            raise UsageError(
                f"--recipe {path}: {part!r} is no part of a recipe; parts are preparation, model, training"
            )
    plain: dict[str, Any] = _numbers(tree)
    return plain


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text; here it is a number."""
    if isinstance(value, dict):
        return {str(k): _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
