"""Folders of images or of sounds: what lies in them, which part and which class each file belongs to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from thrifty.core.errors import DataError
from thrifty.data.formats.kind import medium_of_bytes, medium_of_name, table_kind

PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
    "valid": "validation", "validation": "validation", "dev": "validation",
}  # fmt: skip
NAME_REASON = "the file's name is not UTF-8: rename it"
_TEXT_ENDINGS = (".txt", ".md", ".xml", ".html", ".yaml", ".yml", ".toml", ".py", ".log", ".gz", ".zip")
_NOT_DATA = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r"))


@dataclass
class Listing:
    """The media of a folder, sorted by path relative to it ("/" between names).

    labels, parts: per file, None where it has none. left_out: (file, reason) of files that are no rows. others: files
    of other kinds, passed over. unnamed: those of `files` whose real name is not UTF-8; here it is shown with marks.
    """

    root: Path
    files: list[str]
    labels: list[str | None] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unnamed: frozenset[str] = frozenset()


def media(root: Path) -> Listing:
    """Every image or sound below a folder, hidden files passed over. Raises DataError when there is none."""
    files: list[str] = []
    others: list[str] = []
    unnamed: set[str] = set()
    for relative, path in _walk(root):
        name = relative.rpartition("/")[2]
        medium = medium_of_name(name)
        if medium is None and table_kind(Path(name)) is None and not name.lower().endswith(_TEXT_ENDINGS):
            medium = _sniffed(path)
        known = shown(relative)
        if known != relative and medium is not None:
            unnamed.add(known)
        (others if medium is None else files).append(known)
    if not files:
        raise DataError(
            f"{root} holds no image, sound or table" + (f" among its {len(others)} files" if others else "")
        )
    return Listing(root, sorted(files), others=sorted(others), unnamed=frozenset(unnamed))


def shown(name: str) -> str:
    """A file's name with marks in the place of bytes that are not UTF-8."""
    return name if name.isascii() else name.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def labelled(root: Path) -> Listing:
    """The media of a folder with a folder per class, perhaps below `train`, `test` and `val`.

    Raises DataError when there are no class folders.
    """
    listing = _unwrapped(media(root))
    split = [file.split("/") for file in listing.files]
    tops = {names[0] for names in split if len(names) > 1}
    in_parts = bool(tops) and all(top.lower() in PARTS for top in tops) and any(len(n) > 2 for n in split)
    kept = []
    unread: set[str] = set()  # classes of files that are left out for their names
    for file, names in zip(listing.files, split, strict=True):
        below = names[1:] if in_parts and len(names) > 1 else names
        if len(below) < 2 or (in_parts and len(names) < 2):
            listing.left_out.append((file, "missing label: the file lies outside of the class folders"))
            continue
        if file in listing.unnamed:
            listing.left_out.append((file, NAME_REASON))
            unread.add(below[0])
            continue
        kept.append(file)
        listing.labels.append(below[0])
        listing.parts.append(PARTS[names[0].lower()] if in_parts else "train")
    if not kept:
        raise DataError(
            f"{root} has no label: its {len(listing.files)} files lie in no folder per class. "
            "Put each class's files into a folder with the class's name, or give a table with a target column"
        )
    if len(set(listing.labels)) < 2 and unread - set(listing.labels):
        first = min(listing.unnamed)
        raise DataError(f"{root} has names that are not UTF-8, such as {first}: rename them")
    listing.files = kept
    _one_medium(listing)
    return listing


def _one_medium(listing: Listing) -> None:
    """Leaves out the images of a folder of sounds, or the sounds of a folder of images."""
    kinds = [medium_of_name(file) or medium_of_bytes(_head(listing.root / file)) for file in listing.files]
    counts = Counter(kinds)
    if len(counts) < 2:
        return
    main = counts.most_common(1)[0][0]
    reason = "a sound in a folder of images" if main == "image" else "an image in a folder of sounds"
    keep = [i for i, kind in enumerate(kinds) if kind == main]
    if len({listing.labels[i] for i in keep}) < 2 <= len(set(listing.labels)):
        said = " and ".join(
            f"{counts[kind]:,} {word} ({_classes_of(listing, kinds, kind)})"
            for kind, word in (("image", "images"), ("audio", "sounds"))
        )
        raise DataError(
            f"{listing.root} mixes images and sounds: {said}. The files of a folder must be of one kind; give a folder "
            "with classes of images, or one with classes of sounds"
        )
    listing.left_out += [(listing.files[i], reason) for i, kind in enumerate(kinds) if kind != main]
    listing.files = [listing.files[i] for i in keep]
    listing.labels = [listing.labels[i] for i in keep]
    listing.parts = [listing.parts[i] for i in keep]


def _classes_of(listing: Listing, kinds: list[str | None], kind: str) -> str:
    names = sorted({str(label) for label, one in zip(listing.labels, kinds, strict=True) if one == kind})
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def _unwrapped(listing: Listing) -> Listing:
    """The listing from the first folder on that holds more than one folder: a zip often wraps all in one."""
    while True:
        tops = {file.split("/")[0] for file in listing.files}
        if len(tops) != 1 or any(file.count("/") < 2 for file in listing.files):
            return listing
        top = next(iter(tops))
        if top.lower() in PARTS:
            return listing
        cut = len(top) + 1
        others = [other[cut:] for other in listing.others if other.startswith(top + "/")]
        unnamed = frozenset(file[cut:] for file in listing.unnamed)
        files = [file[cut:] for file in listing.files]
        listing = Listing(listing.root / top, files, others=others, unnamed=unnamed)


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """(relative path, path) of every file below a folder; links are followed, once."""
    waiting, seen = [(str(root), "")], set()
    while waiting:
        folder, relative = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_DATA:
                continue
            if entry.is_dir():
                waiting.append((entry.path, f"{relative}{entry.name}/"))
            elif entry.is_file():
                yield relative + entry.name, entry.path


def _sniffed(path: str) -> str | None:
    return medium_of_bytes(_head(Path(path)))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""


def tables_in(root: Path) -> dict[str, list[Path]]:
    """The table files directly in a folder that is one table, {part: files}; empty when it is a folder of media.

    Files named after parts (train.csv, test.csv) are those parts; otherwise all of one kind are one table. A lone
    table beside several folders of media is not the data.
    """
    try:
        entries = sorted(e for e in root.iterdir() if not e.name.startswith(".") and e.name not in _NOT_DATA)
    except OSError as error:
        raise DataError(f"the folder {root} cannot be read: {error.strerror or error}") from error
    tables = [e for e in entries if e.is_file() and table_kind(e) and e.name != "meta.json"]
    folders = [e for e in entries if e.is_dir()]
    if not tables:
        return tables_in(folders[0]) if len(folders) == 1 and len(entries) == 1 else {}
    named: dict[str, list[Path]] = {}
    for table in tables:
        stem = table.name.split(".")[0].lower()
        if stem in PARTS:
            named.setdefault(PARTS[stem], []).append(table)
    if named:
        return named
    if len([f for f in folders if _has_media(f)]) > 1:
        return {}
    kinds = Counter(table_kind(t) for t in tables)
    most = kinds.most_common(1)[0][0]
    return {"train": [t for t in tables if table_kind(t) == most]}


def _has_media(folder: Path) -> bool:
    return any(medium_of_name(relative) is not None for relative, _ in _walk(folder))
