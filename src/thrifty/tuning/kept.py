"""A search by `thrifty tune` in a directory that says what was asked, so that the shell can go on with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core import run_directory
from thrifty.core.errors import StoreError, ThriftyError, UsageError
from thrifty.core.events import last_seconds
from thrifty.core.run_directory import RunDirectory
from thrifty.core.space import Space
from thrifty.tuning.fidelity import policy_with
from thrifty.tuning.space_file import read_space
from thrifty.tuning.study import Study
from thrifty.tuning.tune import Watch, check_amounts, search_in_processes


@dataclass(frozen=True)
class Kept:
    """A search: where it is, its study, and the exit code of the command (130 or 143 when it was interrupted)."""

    directory: RunDirectory
    study: Study
    exit_code: int = 0


def start(
    objective: str, space: Path, options: Mapping[str, Any], *, out: Path | None, watch: Watch, started: float
) -> Kept:
    """Begins a search of `objective` ("FILE.py:FUNCTION") in a new directory; options as `tune` takes them.

    A search whose objective, space or options cannot be used leaves nothing behind, as long as no trial has a value.
    """
    check_amounts(options, lambda name: f"--{name.replace('_', '-')}")
    path, _, name = objective.rpartition(":")
    asked: dict[str, Any] = {
        "command": "tune",
        "objective": f"{Path(path).resolve()}:{name}" if path.endswith(".py") else objective,
        "space": read_space(space).to_json(),
        "space_file": str(space.resolve()),
        "options": dict(options),
    }
    directory = run_directory.create(out, name or "study", asked)
    try:
        return _go(directory, asked, asked["options"], watch, started)
    except ThriftyError as error:
        if not directory.events.exists() or (isinstance(error, UsageError) and not _has_values(directory)):
            run_directory.discard(directory, named=out is not None)
        raise


def resume(path: Path, *, minutes: float | None, watch: Watch, started: float | None = None) -> Kept:
    """Goes on with the search at `path`: with what was left of its budget, or for `minutes` more."""
    directory, asked = run_directory.open_run(path)
    directory.check_study()
    options = dict(asked["options"])
    spent = last_seconds(directory.events) / 60
    if minutes is not None:
        check_amounts({"minutes": minutes}, "--{}".format)
        if options["minutes"] is not None:  # what is left of them when this sitting is killed is there for the next
            directory.ask_again({**asked, "options": {**options, "minutes": spent + minutes}})
        options |= {"minutes": minutes, "trials": None, "epochs": None}
    elif options["minutes"] is not None:
        left = options["minutes"] - spent
        if left <= 0:
            return open_search(directory.path)
        options["minutes"] = left
    return _go(directory, asked, options, watch, time.time() if started is None else started)


def open_search(path: Path) -> Kept:
    """The search at `path`, to look at, even while it goes on."""
    directory, asked = run_directory.open_run(path)
    options = asked["options"]
    return Kept(directory, Study.look(directory.path, policy_with(options.get("fidelity"), options["policy"])))


def _has_values(directory: RunDirectory) -> bool:
    try:
        return any(trial.values for trial in Study.look(directory.path).trials)
    except StoreError:  # it has not begun
        return False


def _go(
    directory: RunDirectory, asked: Mapping[str, Any], options: Mapping[str, Any], watch: Watch, started: float
) -> Kept:
    study, interrupted = search_in_processes(
        asked["objective"], Space.from_json(asked["space"]), folder=directory.path, watch=watch, started=started,
        **options,
    )  # fmt: skip
    return Kept(directory, study, 0 if interrupted is None else 128 + interrupted)
