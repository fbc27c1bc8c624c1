"""What a job is, what it is called with, and what is told about it."""

import importlib
import importlib.util
import json
import sys
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from thrifty.core.errors import UsageError
from thrifty.execution.words import plain_line

LONGEST_MESSAGE = 500

Outcome = Literal["done", "failed", "crashed", "timeout", "memory", "stopped"]
"""How a job ended: with a result; with an exception; without either; over its seconds; over its memory; when asked."""


class Channel(Protocol):
    """A job's line to the coordinator, given to its entry."""

    @property
    def cores(self) -> int:
        """How many threads the job should use; those of OpenMP, BLAS and torch are set already."""

    def report(self, message: Mapping[str, Any]) -> None:
        """Tells the coordinator something that JSON can hold."""

    def should_stop(self) -> bool:
        """Whether the coordinator asked for an early end: save, return a result. Cheap: ask once a batch."""

    def seconds_left(self) -> float:
        """Seconds until the job is killed for running too long, negative when over; infinite without a limit."""


Entry = Callable[[dict[str, Any], Channel], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One call of `entry`, or of `function`, as entry(arguments, channel) -> JSON dict.

    entry: "package.module:function" or "path/to/file.py:function". preload: modules, or such files, that the job's
    server imports once, before it forks: jobs with the same preload share it, and a job without any starts from a bare
    interpreter. `memory_bytes` bounds the proportional memory (PSS) of the job's process tree without pages of mapped
    files, `seconds` its time since it was forked; None is no bound of its own.
    """

    entry: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    cores: int = 1
    memory_bytes: int | None = None
    seconds: float | None = None
    label: str = ""
    function: Entry | None = None

    def __post_init__(self) -> None:
        if bool(self.entry) == (self.function is not None):
            raise UsageError("a job needs either an entry or a function")
        if self.entry and self.entry.count(":") != 1:
            raise UsageError(f"a job's entry is written 'package.module:function', not {self.entry!r}")
        if self.cores < 1:
            raise UsageError(f"a job needs at least 1 core, not {self.cores}")


@dataclass(frozen=True)
class Reported:
    """A message that a running job reported."""

    handle: int
    message: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """How a job ended. `why` is one line, empty when done; `seconds` count from its fork.

    `result` is there when the job is done, and when it was asked to stop and returned within its grace.
    """

    handle: int
    outcome: Outcome
    result: dict[str, Any] | None
    why: str
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Returned:
    """What came of calling an entry in its process: a result, or an error and what it says in one line."""

    outcome: Literal["done", "failed", "memory"]
    result: dict[str, Any] | None = None
    why: str = ""
    traceback: str = ""


def load_module(name: str) -> ModuleType:
    """Imports a module by its name or, once a process, the file at a path that ends in .py.

    The folder of such a file joins `sys.path`, so that it can import what lies beside it.
    """
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name).resolve()
    module_name = path.stem
    known = sys.modules.get(module_name)
    if known is not None and getattr(known, "__file__", None) != str(path):
        module_name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
        known = sys.modules.get(module_name)
    if known is not None:
        return known
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def resolve(entry: str) -> Entry:
    """The function that "package.module:name" or "path/to/file.py:name" names."""
    module, _, name = entry.rpartition(":")
    target: Any = load_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    return target


def call(target: Callable[[], Entry], arguments: dict[str, Any], channel: Channel) -> Returned:
    """Finds and calls an entry; whatever it raises is an outcome, for nothing that a job does may end who runs it."""
    try:
        result = target()(arguments, channel)
        if not isinstance(result, dict):
            return Returned("failed", why=f"the job returned {type(result).__name__}, not a dict")
        return Returned("done", decode(encode(result)))
    except MemoryError as error:
        return Returned("memory", why=one_line(error), traceback=traceback.format_exc())
    except BaseException as error:  # noqa: BLE001  a job may raise anything, SystemExit too
        return Returned("failed", why=one_line(error), traceback=traceback.format_exc())


def encode(message: Mapping[str, Any]) -> bytes:
    """One line of JSON (NaN allowed); numpy scalars become numbers."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    return json.loads(line)


def one_line(error: BaseException) -> str:
    """ "ValueError: what it says (file.py:12)", shortened."""
    try:
        text = plain_line(str(error))
    except Exception:  # noqa: BLE001  the user's own __str__ may raise anything
        text = "its text cannot be made"
    text = text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    raise TypeError(f"a message between processes holds JSON alone, not {type(value).__name__}")
