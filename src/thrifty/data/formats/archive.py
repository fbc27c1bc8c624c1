"""Zip archives, unpacked into the workspace; gzipped files, unpacked in memory."""

from __future__ import annotations

import gzip
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from thrifty.core.errors import DataError, ExternalError
from thrifty.data.formats.kind import head_of, medium_of_name, mismatch

_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def unpack(path: Path, workspace: Path) -> Path:
    """The folder in the workspace with what the zip holds; entries that point outside of it are passed over.

    A damaged image or sound is left as an empty file, so that it is counted where it stood. Raises DataError for an
    archive that cannot be read, has a password, or is larger than the free disk.
    """
    target = unused(workspace, f"{path.stem}.unpacked")
    aside = workspace / f".{path.stem}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    head = head_of(path)
    try:
        archive = zipfile.ZipFile(path)
    except _FAULTS as error:
        raise mismatch(path, f"a zip archive that can be read ({error})", b"" if head[:2] == b"PK" else head) from error
    with archive:
        entries = [e for e in archive.infolist() if not e.is_dir() and _is_inside(e.filename)]
        if not entries:
            raise DataError(f"{path} is an empty zip archive")
        if any(e.flag_bits & 1 for e in entries):
            raise DataError(f"{path} has a password; unpack it first")
        aside.mkdir(parents=True)
        size, free = sum(e.file_size for e in entries), shutil.disk_usage(aside).free
        if size > 0.9 * free:
            shutil.rmtree(aside)
            raise DataError(f"{path} holds {size / 1e6:,.0f} MB, but {workspace} has {free / 1e6:,.0f} MB free")
        for entry in entries:
            _unpack_one(archive, entry, aside, path)
    aside.rename(target)
    return target


def unused(folder: Path, name: str) -> Path:
    """A path in a folder where nothing is yet: files of several folders may have one name."""
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{number}.{name}"
    return path


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and ":" not in parts[0]


def _unpack_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, path: Path) -> None:
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            try:
                with archive.open(entry) as source:
                    shutil.copyfileobj(source, out, 1 << 20)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                if medium_of_name(entry.filename) is None:
                    raise DataError(f"{path}: {entry.filename} in it is damaged: {error}") from error
                out.seek(0)
                out.truncate()
    except OSError as error:
        raise ExternalError(f"{target} cannot be written: {error.strerror or error}") from error


def gunzip(path: Path) -> bytes:
    """What a gzipped file holds. Raises DataError when it is damaged, cut off or not gzipped."""
    head = head_of(path)
    if head[:2] != b"\x1f\x8b":
        raise mismatch(path, "a gzip file", head)
    try:
        with gzip.open(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}") from error
