"""What generators yield to be gone on with: the last checkpoint of each trial, and copies that other trials begin from.

`trials/ID/checkpoint.json` says what trial ID yielded last. `trials/ID/after-EPOCH/` is a copy of what it yielded after
that epoch, whole before the epoch is told, so that the objective may write over its own or remove it. A child begins
from a copy of that copy, in its own folder, for it may write over what it is given.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core.errors import UsageError
from thrifty.core.files import read_json, write_json
from thrifty.tuning.trial import Trial

FILE = "checkpoint.json"
BEGUN = "begun-from"  # in a child's folder, until it has a checkpoint of its own


@dataclass
class Checkpoint:
    """What a generator yielded last with a folder, kept in a trial's own folder.

    checkpoint.json is {"epoch", "checkpoint", "values" {epoch: value}, "metrics" {epoch: what else was told}}.
    """

    folder: Path
    epoch: int
    checkpoint: str | None
    values: dict[int, float]
    metrics: dict[int, dict[str, float]]

    @classmethod
    def read(cls, folder: Path, parent: Mapping[str, Any] | None = None) -> Checkpoint:
        """What is kept in `folder`; where there is nothing, or the checkpoint has gone, where the trial begins.

        parent: {"trial", "epoch", "folder"} of the trial that it begins from. Raises UsageError when that has gone.
        """
        file = folder / FILE
        if file.exists():
            found = read_json(file)
            values = {int(epoch): v for epoch, v in _numbers(found["values"]).items()}
            metrics = {int(epoch): _numbers(told) for epoch, told in found.get("metrics", {}).items()}
            if Path(found["checkpoint"]).exists():
                return cls(folder, int(found["epoch"]), str(found["checkpoint"]), values, metrics)
        if parent is None:
            return cls(folder, 0, None, {}, {})
        copy = copy_of(Path(parent["folder"]), parent["epoch"])
        if not copy.is_dir():
            raise UsageError(
                f"there is no checkpoint of trial {parent['trial']} after epoch {parent['epoch']} (any more), "
                "which this trial begins from"
            )
        return cls(folder, int(parent["epoch"]), str(_copy(next(copy.iterdir()), folder / BEGUN)), {}, {})

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"epoch": self.epoch, "checkpoint": self.checkpoint, "values": _plain(self.values)}
        metrics = {str(epoch): _plain(told) for epoch, told in self.metrics.items() if told}
        write_json(self.folder / FILE, {**kept, "metrics": metrics})

    def settle(self) -> None:
        """Removes the copy that a child began from, once it has a checkpoint elsewhere."""
        begun = (self.folder / BEGUN).resolve()
        if not begun.exists() or not (self.folder / FILE).exists():
            return
        if not Path(self.checkpoint or "").resolve().is_relative_to(begun):
            shutil.rmtree(begun)


def copy_of(folder: Path, epoch: int) -> Path:
    """Where the copy of a trial's checkpoint after `epoch` is kept. folder: the trial's."""
    return folder / f"after-{epoch}"


def keep_copy(folder: Path, epoch: int, checkpoint: Path) -> None:
    """Copies a checkpoint for other trials to begin from."""
    _copy(checkpoint, copy_of(folder, epoch))


def remove_unneeded(trials: Collection[Trial], folder: Path) -> None:
    """Removes copies that no trial can begin from any more. folder: that of all trials' folders.

    Kept are the newest of each trial that can go on, and those of children that have no checkpoint of their own yet.
    """
    of = {str(trial.id): trial for trial in trials}
    needed = {
        copy_of(folder / str(trial.parent.trial), trial.parent.epoch)
        for trial in trials
        if trial.open and trial.parent is not None and not (folder / str(trial.id) / FILE).exists()
    }
    copies: dict[str, dict[int, Path]] = {}
    for copy in folder.glob("*/after-*"):
        if copy.parent.name in of:
            copies.setdefault(copy.parent.name, {})[int(copy.name.removeprefix("after-"))] = copy
    for name, at in copies.items():
        trial = of[name]
        newest = max((epoch for epoch in at if epoch <= trial.epoch), default=0) if trial.open else math.inf
        for epoch, copy in at.items():
            if epoch < newest and copy not in needed:
                shutil.rmtree(copy)


def _copy(source: Path, into: Path) -> Path:
    """Copies a folder or file into the folder `into`, which is there whole or not at all; gives the copy's path."""
    begun = into.with_name(f".{into.name}")
    if begun.exists():
        shutil.rmtree(begun)
    begun.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, begun / source.name)
    else:
        shutil.copy2(source, begun / source.name)
    if into.exists():
        shutil.rmtree(into)
    begun.rename(into)
    return into / source.name


def _numbers(told: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers as JSON kept them, where None stands for what is not finite."""
    return {name: math.nan if value is None else float(value) for name, value in told.items()}


def _plain(told: Mapping[Any, float]) -> dict[str, float | None]:
    return {str(name): value if math.isfinite(value) else None for name, value in told.items()}
