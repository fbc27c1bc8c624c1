"""Computed arrays and files kept on disk by what they were computed from, shared by processes and runs."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from thrifty.core.errors import ExternalError

DEFAULT_MAX_BYTES = 20_000_000_000
CHUNK_ROWS = 1024


def default_folder() -> Path:
    """THRIFTY_CACHE, else ~/.cache/thrifty."""
    return Path(os.environ.get("THRIFTY_CACHE") or Path.home() / ".cache" / "thrifty").expanduser()


class Cache:
    """A folder of entries, each whole or absent; the least recently used go when it outgrows its cap.

    folder: None for a temporary one that goes when the process ends. max_bytes: the cap; also at most half of what is
    free on the disk. An entry in use stays readable when it is removed. since: a time of day in seconds;
    `found_older` counts the entries used that were made before it. `made_seconds`: what entries took that were missing.
    """

    def __init__(
        self, folder: Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES, since: float | None = None
    ) -> None:
        self.max_bytes, self.since, self.found_older, self.made_seconds = max_bytes, since, 0, 0.0
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="thrifty-cache-"))
            owner = os.getpid()
            atexit.register(_remove_own, folder, owner)
        self.folder = folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExternalError(
                f"the cache folder {folder} cannot be made: {error.strerror or error}; "
                "set THRIFTY_CACHE to another, or use --no-cache"
            ) from error

    def arrays(
        self,
        key: str,
        num_rows: int,
        compute: Callable[[slice], Mapping[str, np.ndarray]],
        chunk_rows: int = CHUNK_ROWS,
    ) -> dict[str, np.ndarray]:
        """The arrays of `key`, memory-mapped and read-only; computed chunk by chunk where they are not there yet.

        compute(rows): the arrays of a slice of the rows, first axis the rows. Where later axes differ between chunks
        (padded outputs) the widest is taken, the others are padded with zeros.
        """

        def make(folder: Path) -> None:
            written: dict[str, np.ndarray] = {}
            for start in range(0, max(num_rows, 1), chunk_rows):
                rows = slice(start, min(start + chunk_rows, num_rows))
                for name, part in compute(rows).items():
                    written[name] = _store(folder, name, written.get(name), part, rows, num_rows)
            for array in written.values():
                if isinstance(array, np.memmap):
                    array.flush()

        folder = self._entry(key, make)
        return {file.stem: _open_array(file) for file in sorted(folder.glob("*.npy"))}

    def file(self, key: str, name: str, make: Callable[[Path], None]) -> Path:
        """The file `name` of `key`; `make` writes it to the path it is given where it is not there yet."""
        return self._entry(key, lambda folder: make(folder / name)) / name

    def has(self, key: str) -> bool:
        return (self.folder / _name(key)).is_dir()

    def _entry(self, key: str, make: Callable[[Path], None]) -> Path:
        entry = self.folder / _name(key)
        if not entry.is_dir():
            began = time.monotonic()
            with self._locked(entry.name):
                if not entry.is_dir():
                    self._make(entry, key, make)
            self.made_seconds += time.monotonic() - began
        elif self.since is not None:
            with suppress(OSError):  # gone meanwhile
                self.found_older += (entry / "entry.json").stat().st_mtime < self.since
        with suppress(OSError):  # a cache that may only be read
            os.utime(entry)
        return entry

    def _make(self, entry: Path, key: str, make: Callable[[Path], None]) -> None:
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
        held = os.open(aside, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            make(aside)
            (aside / "entry.json").write_text(json.dumps({"key": key, "bytes": _size(aside)}), encoding="utf-8")
            self._make_room(_size(aside))
            aside.chmod(0o755)
            aside.rename(entry)
        except OSError as error:
            raise ExternalError(f"the cache {self.folder} cannot be written: {error.strerror or error}") from error
        finally:
            os.close(held)
            if aside.exists():
                shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Holds the lock file of one entry; the system frees it when the process dies."""
        locks = self.folder / ".locks"
        locks.mkdir(exist_ok=True)
        with (locks / name).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(file.fileno())  # it is not an old one
            yield

    def _make_room(self, needed: int) -> None:
        """Removes the least recently used entries until `needed` more bytes fit under the cap."""
        self._drop_leftovers()
        cap = min(self.max_bytes, shutil.disk_usage(self.folder).free // 2 + self.num_bytes())
        entries = sorted((e for e in self.folder.iterdir() if e.is_dir() and e.name[0] != "."), key=_used)
        total = sum(map(_entry_bytes, entries))
        self._drop_old_locks()
        for entry in entries:
            if total + needed <= cap:
                return
            total -= _entry_bytes(entry)
            gone = entry.with_name(f".gone-{entry.name}-{os.getpid()}")
            try:
                entry.rename(gone)
            except OSError:
                continue  # another process was quicker
            shutil.rmtree(gone, ignore_errors=True)

    def _drop_leftovers(self, age_seconds: float = 60.0) -> None:
        """Removes what processes that were killed had half made or half removed."""
        for folder in (*self.folder.glob(".making-*"), *self.folder.glob(".gone-*")):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > age_seconds and not _is_held(folder):
                    shutil.rmtree(folder, ignore_errors=True)

    def _drop_old_locks(self, age_seconds: float = 7 * 86_400) -> None:
        for lock in (self.folder / ".locks").iterdir():
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > age_seconds:
                    lock.unlink()

    def num_bytes(self) -> int:
        """What all entries take on disk."""
        return sum(_entry_bytes(e) for e in self.folder.iterdir() if e.is_dir() and e.name[0] != ".")


def _is_held(folder: Path) -> bool:
    """Whether a living process has locked a folder."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _remove_own(folder: Path, owner: int) -> None:
    """Removes a temporary cache when its maker ends; a forked child leaves it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _entry_bytes(entry: Path) -> int:
    try:
        return int(json.loads((entry / "entry.json").read_text(encoding="utf-8"))["bytes"])
    except (OSError, ValueError, KeyError):
        return 0


def _open_array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:  # arrays without elements cannot be mapped
        return np.load(file, allow_pickle=False)


def _store(
    folder: Path, name: str, before: np.ndarray | None, part: np.ndarray, rows: slice, num_rows: int
) -> np.ndarray:
    """Writes a chunk's array into the array of all rows, made or widened as needed."""
    part = np.asarray(part)
    shape = (
        part.shape[1:]
        if before is None
        else tuple(max(sizes) for sizes in zip(before.shape[1:], part.shape[1:], strict=True))
    )
    whole = before
    if whole is None or whole.shape[1:] != shape:
        path = folder / f"{name}.npy"
        aside = folder / f"{name}.wider.npy"
        size = (num_rows, *shape)
        if 0 in size:
            whole = np.zeros(size, part.dtype)
            np.save(aside, whole, allow_pickle=False)
        else:
            whole = np.lib.format.open_memmap(aside, mode="w+", dtype=part.dtype, shape=size)
            if before is not None:
                whole[(slice(0, rows.start), *map(slice, before.shape[1:]))] = before[: rows.start]
        aside.replace(path)
    whole[(rows, *map(slice, part.shape[1:]))] = part
    return whole
