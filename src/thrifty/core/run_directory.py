"""The run directory: where what was asked, what happened and what came of it lie.

request.json   what was asked; there within a second of the start
data/          the prepared Dataset
study.sqlite3  the trials; events.jsonl  every event, append-only
trials/ID/     one trial's files
artifact/      the best model so far
report.json, report.html, bad_rows.csv
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.events import tells_of_trials
from thrifty.core.files import read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class RunDirectory:
    path: Path

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def bad_rows(self) -> Path:
        return self.path / "bad_rows.csv"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def study(self) -> Path:
        return self.path / "study.sqlite3"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def unfinished(self) -> Path:
        """An empty file, there until the run has ended by itself."""
        return self.path / "unfinished"

    def trial(self, number: int) -> Path:
        return self.path / "trials" / str(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Has the directory for this process alone. Raises StoreError while another has it."""
        import fcntl

        with self.unfinished.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"the run in {self.path} goes on in another process; wait for it to end") from None
            except OSError:
                pass  # a file system without locks: the study's lease is what is left
            yield

    def check_study(self, *, empty: bool = False) -> None:
        """Raises StoreError where there were trials, and the database that keeps them is missing or empty.

        empty: whether it is known to hold no table, though it has some bytes.
        """
        exists = self.study.exists()
        if (not exists or empty or not self.study.stat().st_size) and tells_of_trials(self.events):
            raise StoreError(
                f"{self.study} is {'empty' if exists else 'missing'}, though {self.events.name} tells of trials that "
                "it kept: put it back, or start anew in another folder with --out"
            )

    def ask_again(self, request: Mapping[str, Any]) -> None:
        """Writes anew what is asked; the file's time stays, which is when the run began."""
        status = self.request.stat()
        write_json(self.request, {**request, "format": FORMAT})
        os.utime(self.request, (status.st_atime, status.st_mtime))

    def sweep(self) -> None:
        """Removes what a process that was killed was writing."""
        files = ("artifact", "artifact-int8", "int8", "request.json", "report.json", "report.html")
        for pattern in (*(f".{name}.*" for name in files), "artifact-int8", "trials/*/.*", "trials/*/refit/.*"):
            for path in self.path.glob(pattern):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def create(out: Path | None, name: str, request: dict[str, Any]) -> RunDirectory:
    """Makes the folder (`runs/NAME-N` without `out`) and writes what was asked into it.

    Raises UsageError when the folder holds something already, or cannot be made, or what was asked is not JSON.
    """
    asked = {"format": FORMAT, **request}
    try:
        json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"what is asked cannot be kept: {error}; give texts and finite numbers") from error
    try:
        path = _claim(out) if out is not None else _next(Path("runs"), name)
        directory = RunDirectory(path.resolve())
        write_json(directory.request, asked, once=True)  # of two that were started at once, one
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        where = out or Path("runs")
        raise UsageError(
            f"the run directory {where} cannot be written: {error.strerror}; name another with --out"
        ) from error
    return directory


def _claim(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path} is a file; name a folder")
    if path.exists() and any(path.iterdir()):
        held = (
            "holds a run already; go on with it by `thrifty resume`, or"
            if (path / "request.json").exists()
            else "is not empty;"
        )
        raise UsageError(f"the folder {path} {held} name another with --out")
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise UsageError(f"the folder {path} cannot be written; name another with --out")
    return path


def _next(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def open_run(path: Path) -> tuple[RunDirectory, dict[str, Any]]:
    """The run directory at `path` (or that an artifact at `path` lies in) and what was asked.

    Raises StoreError when there is none, or when it is of a newer version.
    """
    path = path.resolve()
    if path.name == "artifact" and not (path / "request.json").exists():
        path = path.parent
    directory = RunDirectory(path)
    if not directory.request.exists():
        raise StoreError(f"{path} is not a run directory: it has no request.json")
    try:
        request = read_json(directory.request)
    except (OSError, ValueError) as error:
        raise StoreError(f"{directory.request} cannot be read: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("format"), int):
        raise StoreError(f"{directory.request} is damaged: it does not say what was asked")
    if request.get("format", 0) > FORMAT:
        raise StoreError(
            f"{path} was made by a newer version of Thrifty (format {request['format']}); upgrade to open it"
        )
    return directory, request


def command_of(path: Path) -> str:
    """The command that made the run directory at `path`: run, train or tune. Raises StoreError as `open_run`."""
    return str(open_run(path)[1].get("command"))


def discard(directory: RunDirectory, *, named: bool) -> None:
    """Removes a run that never began, so that nothing half-written stays.

    named: whether the user named the folder; else an empty `runs` goes too.
    """
    shutil.rmtree(directory.path, ignore_errors=True)
    if not named:
        with suppress(OSError):
            directory.path.parent.rmdir()
