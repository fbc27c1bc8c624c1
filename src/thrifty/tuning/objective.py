"""What runs in a trial's process: the user's function of a configuration, or their generator with a value an epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.core.files import read_json, write_json
from thrifty.execution.job import Channel, resolve

Function = Callable[..., Any]


def is_generator(objective: Function) -> bool:
    """Whether it gives a value an epoch (a generator of a configuration and a checkpoint) or one value."""
    call = objective if inspect.isroutine(objective) else getattr(objective, "__call__", objective)  # noqa: B004
    return inspect.isgeneratorfunction(getattr(call, "func", call))


@dataclass(frozen=True)
class Objective:
    """A job's entry around the user's objective, which is a callable, or "FILE.py:FUNCTION" (or "module:function").

    arguments: `config`, and for generators `from_epoch`, `until` and `folder`, where checkpoint.json says what was
    yielded last: {"epoch", "checkpoint", "values" {epoch: value}}. It is written before the epoch is reported, so that
    an epoch whose report was lost is not run again.
    """

    objective: Function | str
    metric: str

    def __call__(self, arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
        function: Function = resolve(self.objective) if isinstance(self.objective, str) else self.objective
        if is_generator(function):
            return self._epochs(function, arguments, channel)
        value, others = value_of(function(dict(arguments["config"])), self.metric)
        return {"value": value, **({"metrics": others} if others else {})}

    def _epochs(self, function: Function, arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
        told, until = int(arguments["from_epoch"]), int(arguments["until"])
        kept = Checkpoint.read(Path(arguments["folder"]))
        for epoch in range(told + 1, min(kept.epoch, until) + 1):  # what a process that was killed had no time to tell
            channel.report({"epoch": epoch, "value": kept.values[epoch]})
            told = epoch
        epoch = kept.epoch
        if told >= until:
            return {"checkpoint": kept.checkpoint}
        generator = function(dict(arguments["config"]), kept.checkpoint)
        try:
            for given in generator:
                epoch += 1
                value, others, folder = _yielded(given, self.metric, epoch)
                kept.values[epoch] = value
                if folder is not None:
                    kept.epoch, kept.checkpoint = epoch, folder
                    kept.write()
                if epoch > told:
                    channel.report({"epoch": epoch, "value": value, **others})
                if epoch >= until or channel.should_stop():
                    break
        finally:
            generator.close()
        return {"checkpoint": kept.checkpoint}


@dataclass
class Checkpoint:
    """What a generator yielded last with a folder, kept in a trial's own folder."""

    folder: Path
    epoch: int
    checkpoint: str | None
    values: dict[int, float]

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """What is kept in `folder`; from the beginning where there is nothing, or where the checkpoint has gone."""
        file = folder / "checkpoint.json"
        if file.exists():
            found = read_json(file)
            values = {int(epoch): math.nan if v is None else float(v) for epoch, v in found["values"].items()}
            if Path(found["checkpoint"]).exists():
                return cls(folder, int(found["epoch"]), str(found["checkpoint"]), values)
        return cls(folder, 0, None, {})

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {str(epoch): v if math.isfinite(v) else None for epoch, v in self.values.items()}
        write_json(
            self.folder / "checkpoint.json", {"epoch": self.epoch, "checkpoint": self.checkpoint, "values": values}
        )


def value_of(given: Any, metric: str) -> tuple[float, dict[str, float]]:
    """The metric that an objective gave, as a number or in a dict of numbers, and what else it told."""
    if isinstance(given, Mapping):
        if metric not in given:
            raise UsageError(f"the objective gave {_names(given)}, without the metric {metric!r}")
        return _number(given[metric], metric), {
            str(name): _number(value, str(name)) for name, value in given.items() if name != metric
        }
    return _number(given, metric), {}


def _yielded(given: Any, metric: str, epoch: int) -> tuple[float, dict[str, float], str | None]:
    """The value, what else was told, and the absolute path of the checkpoint's folder of one yield."""
    folder = None
    if isinstance(given, tuple):
        if len(given) != 2:
            raise UsageError(f"the objective yielded {len(given)} things; yield the metric, or (the metric, a folder)")
        given, folder = given
    value, others = value_of(given, metric)
    if folder is None:
        return value, others, None
    path = Path(folder).absolute()
    if not path.exists():
        raise UsageError(f"the checkpoint {path} that was yielded after epoch {epoch} is not there")
    return value, others, str(path)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the objective gave {value!r} for {name!r}; it must be a number") from error


def _names(given: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, given)) or "an empty dict"
