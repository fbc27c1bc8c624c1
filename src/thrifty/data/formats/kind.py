"""What a file is, by its ending and by its first bytes."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from thrifty.core.errors import DataError

IMAGE_ENDINGS = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pcx", ".tga", ".ico", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".sgi", ".dds", ".xbm", ".xpm",
))  # fmt: skip
AUDIO_ENDINGS = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
    ".rf64", ".m4a",
))  # fmt: skip
TABLE_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
GZIP_ENDINGS = frozenset((".gz", ".gzip"))

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"fLaC", "a FLAC sound"),
    (b"OggS", "an Ogg sound"),
    (b"ID3", "an MP3 sound"),
    (b"\xff\xfb", "an MP3 sound"),
    (b"\xff\xf3", "an MP3 sound"),
    (b"\xff\xf2", "an MP3 sound"),
    (b".snd", "an AU sound"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "an old Feather file"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x93NUMPY", "a numpy file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
)


def described(head: bytes) -> str:
    """What the first bytes of a file say it is, "" when they say nothing."""
    if head[:4] == b"RIFF":
        return {b"WAVE": "a WAV sound", b"WEBP": "a WebP image"}.get(head[8:12], "a RIFF file")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "an AIFF sound"
    if head[4:8] == b"ftyp":
        return "an AVIF or HEIF image" if head[8:12] in (b"avif", b"heic", b"mif1", b"heif") else "an MP4 file"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML"
    if head[:2] == b"BM" and (len(head) < 14 or head[6:10] != b"\0\0\0\0"):
        return ""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def medium_of_bytes(head: bytes) -> str | None:
    """ "image", "audio" or None, by the first bytes of a file."""
    name = described(head)
    return "image" if name.endswith("image") else "audio" if name.endswith("sound") else None


def medium_of_name(name: str) -> str | None:
    """ "image", "audio" or None, by the ending of a file's name."""
    dot = name.rfind(".")
    ending = name[dot:].rstrip().lower() if dot >= 0 else ""
    return "image" if ending in IMAGE_ENDINGS else "audio" if ending in AUDIO_ENDINGS else None


def table_kind(path: PurePath) -> tuple[str, bool] | None:
    """(`csv`, `json`, `parquet` or `arrow`, whether gzipped) by a file's ending; None when it is not a table's."""
    endings = [e.lower() for e in path.suffixes[-2:]]
    gzipped = bool(endings) and endings[-1] in GZIP_ENDINGS
    ending = endings[-2] if gzipped and len(endings) > 1 else endings[-1] if endings else ""
    return (TABLE_ENDINGS[ending], gzipped) if ending in TABLE_ENDINGS else None


def head_of(path: Path, size: int = 4096) -> bytes:
    """The first bytes of a file. Raises DataError when it cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise DataError(f"{path} is empty (0 bytes)")
    return head


def mismatch(path: Path, expected: str, head: bytes = b"") -> DataError:
    """The error for a file that is not what its ending says."""
    name = described(head)
    seems = f"; it starts like {name}" if name else ""
    return DataError(f"{path} is not {expected}{seems}. Give the file its right ending, or another file")


def nearest(name: str, names: Sequence[str]) -> str:
    """Words for an error that name what the user may have meant: the nearest names, or all when there are few."""
    from difflib import get_close_matches

    by_lower = {n.lower(): n for n in reversed(names)}
    close = [by_lower[n] for n in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    return f"the columns are {shown}" if names else "there are no columns"
