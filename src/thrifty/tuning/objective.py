"""What runs in a trial's process: the user's function of a configuration, or their generator with a value an epoch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.execution.job import Channel, resolve
from thrifty.tuning.checkpoints import Checkpoint, keep_copy

Function = Callable[..., Any]


def is_generator(objective: Function) -> bool:
    """Whether it gives a value an epoch (a generator of a configuration and a checkpoint) or one value."""
    call = objective if inspect.isroutine(objective) else getattr(objective, "__call__", objective)  # noqa: B004
    return inspect.isgeneratorfunction(getattr(call, "func", call))


def _with_repeat(objective: Function, repeat: int | None) -> Function:
    """The objective that is told by its parameter `repeat`, where it has one, which run of its configuration it is.

    repeat: None where configurations are run once; then only a parameter without a default is told.
    """
    try:
        parameter = inspect.signature(objective).parameters.get("repeat")
    except (TypeError, ValueError):
        return objective
    if parameter is None or (repeat is None and parameter.default is not parameter.empty):
        return objective
    return functools.partial(objective, repeat=repeat or 0)


def check_signature(objective: Function, repeats: int) -> None:
    """Raises UsageError where an objective cannot be called with what it is given."""
    try:
        signature = inspect.signature(objective)
        called = inspect.signature(_with_repeat(objective, None if repeats == 1 else 0))
    except (TypeError, ValueError):  # it says nothing of what it takes
        return
    generator = is_generator(objective)
    try:
        called.bind({}, *[None] * generator)
    except TypeError as error:
        given = str(getattr(objective, "__name__", ""))
        name = given if given.isidentifier() else "objective"
        raise UsageError(
            f"the objective is {name}{signature}, which cannot be called with a configuration"
            f"{' and a checkpoint' * generator} alone: write it as `def {name}(config{', checkpoint' * generator}):`"
        ) from error


@dataclass(frozen=True)
class Objective:
    """A job's entry around the user's objective, which is a callable, or "FILE.py:FUNCTION" (or "module:function").

    metrics: what the study is told, the first of them as the `value`. epochs: those that are told, by default all.
    arguments: `config`, `trial`, `repeat` (from 0) where configurations are run repeatedly, and for generators
    `from_epoch`, `until`, `folder`, where a `Checkpoint` is kept, `parent` ({"trial", "epoch", "folder"}) where it
    begins from another trial's checkpoint, and `copies`: the epochs whose checkpoints others may begin from. What is
    kept of an epoch is written before it is reported, so that one whose report was lost is not run again.
    """

    objective: Function | str
    metrics: tuple[str, ...]
    epochs: tuple[int, ...] | None = None

    def __call__(self, arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
        function: Function = resolve(self.objective) if isinstance(self.objective, str) else self.objective
        repeat, gives_epochs = arguments.get("repeat"), is_generator(function)
        function = _with_repeat(function, repeat)
        if gives_epochs:
            return (self._epochs if repeat is None else self._whole)(function, arguments, channel)
        value, others = value_of(function(dict(arguments["config"])), self.metrics, arguments.get("trial"))
        return {"value": value, **({"metrics": others} if others else {})}

    def _whole(self, function: Function, arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
        """One run of a generator, and the value of its last epoch; None when it was stopped before."""
        quiet = _Quiet(channel)
        kept = self._epochs(function, arguments, quiet)
        last = quiet.last
        if last is None or (last["epoch"] < int(arguments["until"]) and channel.should_stop()):
            return {"value": None, **kept}
        return {"value": last["value"], "metrics": last["metrics"], **kept}

    def _epochs(self, function: Function, arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
        told, until, copies = int(arguments["from_epoch"]), int(arguments["until"]), arguments.get("copies", ())

        def report(epoch: int, value: float, others: Mapping[str, float]) -> None:
            if self.epochs is None or epoch in self.epochs:
                path = {"checkpoint": kept.checkpoint} if epoch == kept.epoch else {}
                channel.report({"epoch": epoch, "value": value, "metrics": others, **path})

        kept = Checkpoint.read(Path(arguments["folder"]), arguments.get("parent"))
        for epoch in range(told + 1, min(kept.epoch, until) + 1):  # what a process that was killed had no time to tell
            report(epoch, kept.values[epoch], kept.metrics.get(epoch, {}))
            told = epoch
        epoch = kept.epoch
        if told >= until:
            return {"checkpoint": kept.checkpoint}
        generator = function(dict(arguments["config"]), kept.checkpoint)
        try:
            for given in generator:
                epoch += 1
                value, others, folder = _yielded(given, self.metrics, arguments.get("trial"), epoch)
                kept.values[epoch], kept.metrics[epoch] = value, others
                if folder is not None:
                    if epoch in copies:
                        keep_copy(kept.folder, epoch, Path(folder))
                    kept.epoch, kept.checkpoint = epoch, folder
                    kept.write()
                if epoch > told:
                    report(epoch, value, others)
                if epoch >= until or channel.should_stop():
                    break
        finally:
            generator.close()
        kept.settle()
        return {"checkpoint": kept.checkpoint}


class _Quiet:
    """A channel that keeps the last report of an epoch to itself."""

    def __init__(self, channel: Channel) -> None:
        self.cores, self.should_stop, self.seconds_left = channel.cores, channel.should_stop, channel.seconds_left
        self.last: Mapping[str, Any] | None = None

    def report(self, message: Mapping[str, Any]) -> None:
        self.last = message


def value_of(given: Any, metrics: Sequence[str], trial: int | None = None) -> tuple[float, dict[str, float]]:
    """The first metric that an objective gave, as a number or in a dict of numbers, and what else it told.

    Raises UsageError when one of the metrics is not in it.
    """
    which = "the objective" if trial is None else f"in trial {trial} the objective"
    if isinstance(given, Mapping):
        for metric in metrics:
            if metric not in given:
                raise UsageError(f"{which} gave {_names(given)}, without the metric {metric!r}")
        told = {str(name): _number(value, str(name), which) for name, value in given.items()}
        return told.pop(metrics[0]), told
    if len(metrics) > 1:
        raise UsageError(f"{which} gave {given!r}; give a dict with {', '.join(map(repr, metrics))}")
    return _number(given, metrics[0], which), {}


def _yielded(
    given: Any, metrics: Sequence[str], trial: int | None, epoch: int
) -> tuple[float, dict[str, float], str | None]:
    """The value, what else was told, and the absolute path of the checkpoint's folder of one yield."""
    folder = None
    if isinstance(given, tuple):
        if len(given) != 2:
            raise UsageError(f"the objective yielded {len(given)} things; yield the metric, or (the metric, a folder)")
        given, folder = given
    value, others = value_of(given, metrics, trial)
    if folder is None:
        return value, others, None
    path = Path(folder).absolute()
    if not path.exists():
        raise UsageError(f"the checkpoint {path} that was yielded after epoch {epoch} is not there")
    return value, others, str(path)


def _number(value: Any, name: str, which: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{which} gave {value!r} for {name!r}; it must be a number") from error


def _names(given: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, given)) or "an empty dict"
