"""Sound as a waveform: any file that libsndfile reads, mono, at one rate.

Shapes: N rows, T samples.
"""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, UnreadableError, read_each
from thrifty.data.encode.values import is_missing

RATE = 16_000  # samples a second of every decoded sound
MAX_SECONDS = 600.0  # of a longer sound its middle is read
_MAX_CHANNELS = 64


def decode_audio(value: Any, *, seconds: float = MAX_SECONDS) -> np.ndarray:
    """A sound as float32 [T], mono (the mean of its channels), at 16,000 samples a second, about -1 to 1.

    value: a path, the bytes of a file, or (samples [T] or [T, channels], rate).
    seconds: of a longer sound the middle part of this length is read.
    Raises UnreadableError, whose text is the reason.
    """
    if isinstance(value, tuple) and len(value) == 2:
        samples, rate = np.asarray(value[0], np.float32), int(value[1])
        keep = int(seconds * rate)
        start = max(0, (len(samples) - keep) // 2)
        samples = samples[start : start + keep]
    elif isinstance(value, (str, Path, bytes, bytearray, memoryview)):
        samples, rate = _read(value, seconds)
    else:
        raise UnreadableError(f"not a sound but a value of type {type(value).__name__}")
    if len(samples) == 0:
        raise UnreadableError("0 samples")
    mono_T = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
    if not np.isfinite(mono_T).all():
        mono_T = np.nan_to_num(mono_T, nan=0.0, posinf=1.0, neginf=-1.0)
    if rate != RATE:
        mono_T = _soxr().resample(mono_T, rate, RATE, quality="MQ")
        if len(mono_T) == 0:
            raise UnreadableError("0 samples")
    return np.ascontiguousarray(mono_T, np.float32)


@cache
def _soundfile() -> Any:
    import soundfile

    return soundfile


@cache
def _soxr() -> Any:
    import soxr

    return soxr


def _read(value: "str | Path | bytes | bytearray | memoryview", seconds: float) -> tuple[np.ndarray, int]:
    """Samples float32 [T] or [T, channels] and their rate."""
    soundfile = _soundfile()
    if isinstance(value, (bytes, bytearray, memoryview)):
        source: Any = _Bytes(value)
        length = len(value)
    else:
        path = Path(value)
        if not path.is_file():
            raise UnreadableError(f"{value} is a folder, not a sound" if path.is_dir() else f"there is no file {value}")
        source, length = str(value), path.stat().st_size
    if length == 0:
        raise UnreadableError("empty: 0 bytes")
    try:
        with soundfile.SoundFile(source) as file:
            if file.channels > _MAX_CHANNELS:
                raise UnreadableError(f"{file.channels} channels, more than the limit of {_MAX_CHANNELS}")
            frames, rate, form = file.frames, file.samplerate, file.format
            if frames >= 1 << 62:  # soundfile cannot read what is left of such a file
                raise UnreadableError(
                    "its header does not say how long it is; convert it again to a file, not a stream"
                )
            keep = max(1, int(seconds * rate))
            if frames > keep and file.seekable():
                file.seek((frames - keep) // 2)
            expected = min(frames, keep)
            samples = file.read(expected, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise UnreadableError(f"not a sound that can be read: {_said(error)}") from error
    if len(samples) < expected * 0.98 - rate * 0.05:  # a lossy file's length is an estimate
        raise UnreadableError(f"truncated: {len(samples):,} of {expected:,} samples")
    if form in _SAID_LENGTH and len(samples):
        missing = _SAID_LENGTH[form](value, length)
        if missing > 1:
            raise UnreadableError(f"truncated: {missing:,} bytes are missing at its end")
    return samples, rate


class _Bytes(io.BytesIO):
    """Bytes as a file that takes the seeks of a damaged one before its start in silence."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return super().seek(0)


def _said(error: Exception) -> str:
    said = getattr(error, "error_string", "") or str(error) or type(error).__name__
    return str(said).rsplit("\n", 1)[-1].strip()


def _bytes_at(value: "str | Path | bytes | bytearray | memoryview", start: int, size: int) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[start : start + size])
    with open(value, "rb") as file:
        file.seek(start)
        return file.read(size)


def _missing_of_wav(value: "str | Path | bytes | bytearray | memoryview", length: int) -> int:
    """How many bytes a WAV file's data chunk lacks (libsndfile reads what is there in silence)."""
    head = _bytes_at(value, 0, 65536)
    at = 12
    while at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"data":
            streamed = size >= 0x7FFFFF00  # written before the length was known
            return 0 if streamed else at + 8 + size - length
        at += 8 + size + (size & 1)
    return 0


def _missing_of_aiff(value: "str | Path | bytes | bytearray | memoryview", length: int) -> int:
    return 8 + int.from_bytes(_bytes_at(value, 4, 4), "big") - length


def _missing_of_ogg(value: "str | Path | bytes | bytearray | memoryview", length: int) -> int:
    """How many bytes an Ogg file's last page lacks."""
    start = max(0, length - 66_000)  # a page has at most 65,307 bytes
    tail = _bytes_at(value, start, 66_000)
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return 0
    num_segments = tail[at + 26]
    return at + 27 + num_segments + sum(tail[at + 27 : at + 27 + num_segments]) - len(tail)


_SAID_LENGTH = {"WAV": _missing_of_wav, "AIFF": _missing_of_aiff, "OGG": _missing_of_ogg}


def fit_length(wave_T: np.ndarray, length: int) -> np.ndarray:
    """The middle `length` samples of a sound, or the sound amid zeros, float32 [length]."""
    if len(wave_T) >= length:
        start = (len(wave_T) - length) // 2
        return wave_T[start : start + length]
    out_T = np.zeros(length, np.float32)
    start = (length - len(wave_T)) // 2
    out_T[start : start + len(wave_T)] = wave_T
    return out_T


def read_waves(columns: Columns, column: str, seconds: float, threads: int) -> tuple[Arrays, list[Problem]]:
    """`waveform` float32 [N,T] (the middle, or padded) and `present` float32 [N,1], both 0 where it is missing."""
    values = columns[column]
    wave_NT = np.zeros((len(values), round(seconds * RATE)), np.float32)
    present_N1 = np.zeros((len(values), 1), np.float32)

    def read(row: int, value: Any) -> None:
        if not is_missing(value):
            wave_NT[row] = fit_length(decode_audio(value, seconds=seconds + 0.1), wave_NT.shape[1])
            present_N1[row] = 1

    problems = read_each(values, read, column, threads)
    return {"waveform": wave_NT, "present": present_N1}, problems
