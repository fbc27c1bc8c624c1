"""Every image and sound decoded once: is it readable, and what does it look or sound like.

A print is a hash of what was decoded (8 bytes) and what near duplicates share: of an image its brightness on 8 x 8
places (64 bytes) and its mean colour (3); of a sound nothing more.
Shapes: N rows, P bytes of a print.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.data.cache import Cache
from thrifty.data.column import Meaning
from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.values import is_missing

UNCHECKED, READABLE, UNREADABLE, MISSING = 0, 1, 2, 3
HASH_BYTES, SMALL_SIDE = 8, 8
PRINT_BYTES = HASH_BYTES + SMALL_SIDE * SMALL_SIDE + 3
_DECODED_SIDE = 64
MIN_CHECKED = 256
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class Checked:
    """state: uint8 [N] (0 no time to check, 1 readable, 2 unreadable, 3 missing). prints: uint8 [N,P].

    reasons: {row: why it cannot be read}.
    """

    state: np.ndarray
    prints: np.ndarray
    reasons: dict[int, str]


def check(
    values: Sequence[Any],
    meaning: Meaning,
    *,
    cache: Cache | None = None,
    cores: int = 2,
    order: np.ndarray | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    print_of: Callable[[Any], bytes] | None = None,
) -> Checked:
    """Decodes the values (paths or bytes, None is missing) on `cores` threads.

    order: the rows in the order in which to check them, as long as `out_of_time` is not true; the first MIN_CHECKED are
    always checked. print_of: decodes a value
    and gives its print; raises UnreadableError. What was found is kept in the cache when all was checked.
    """
    key = f"media/{meaning.value}/3/{content_key(values)}" if cache is not None else ""
    if cache is not None and cache.has(key):
        return _from_arrays(cache.arrays(key, len(values), _never))
    work = print_of or (image_print if meaning is Meaning.IMAGE else audio_print)
    found = _run(values, work, np.arange(len(values)) if order is None else order, cores, out_of_time)
    if cache is not None and not (found.state == UNCHECKED).any() and len(values) >= 64:
        texts = [found.reasons.get(row, "").encode()[:200] for row in range(len(values))]
        arrays = {"state": found.state, "prints": found.prints, "reasons": np.array(texts, "S200")}
        cache.arrays(key, len(values), lambda rows: {k: a[rows] for k, a in arrays.items()}, max(1, len(values)))
    return found


def _never(rows: slice) -> dict[str, np.ndarray]:
    raise AssertionError("the entry is there")


def _from_arrays(arrays: dict[str, np.ndarray]) -> Checked:
    state = np.array(arrays["state"])
    reasons = {int(row): arrays["reasons"][row].decode(errors="replace") for row in np.flatnonzero(state == UNREADABLE)}
    return Checked(state, np.array(arrays["prints"]), reasons)


def _run(
    values: Sequence[Any], work: Callable[[Any], bytes], order: np.ndarray, cores: int, out_of_time: Callable[[], bool]
) -> Checked:
    state = np.zeros(len(values), np.uint8)
    prints = np.zeros((len(values), PRINT_BYTES), np.uint8)
    reasons: dict[int, str] = {}

    def look(start: int) -> None:
        for place, row in enumerate(order[start : start + _CHUNK].tolist(), start):
            if place >= MIN_CHECKED and out_of_time():
                return
            value = values[row]
            if is_missing(value):
                state[row] = MISSING
                continue
            try:
                prints[row] = np.frombuffer(work(value), np.uint8)
                state[row] = READABLE
            except UnreadableError as error:
                reasons[row] = str(error)
                state[row] = UNREADABLE

    with ThreadPoolExecutor(max(1, cores)) as pool:
        running: set[Future[None]] = set()
        for start in range(0, len(order), _CHUNK):
            if start >= MIN_CHECKED and out_of_time():
                break
            running.add(pool.submit(look, start))
            if len(running) > 2 * cores:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in running:
            future.result()
    return Checked(state, prints, reasons)


def content_key(values: Sequence[Any]) -> str:
    """A hash of files by path, size and time of change, and of bytes by themselves."""
    digest = hashlib.blake2b(digest_size=20)
    for value in values:
        if isinstance(value, str):
            try:
                status = os.stat(value)
                digest.update(f"{value}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
            except (OSError, ValueError):
                digest.update(f"{value}\0none\0".encode(errors="surrogateescape"))
        elif isinstance(value, (bytes, bytearray)):
            digest.update(len(value).to_bytes(8, "big") + value)
        else:
            digest.update(b"\0missing\0")
    return digest.hexdigest()


def image_print(value: Any) -> bytes:
    """The print of an image. Raises UnreadableError."""
    from PIL.Image import Resampling

    from thrifty.data.encode.image import decode_image

    image = decode_image(value, side=_DECODED_SIDE)
    colour = image.resize((1, 1), Resampling.BOX).convert("RGB").tobytes()
    grey = image if image.mode == "L" else image.convert("L")
    small = grey.resize((SMALL_SIDE, SMALL_SIDE), Resampling.BOX).tobytes()
    size = f"{image.mode}{image.size}".encode()
    return hashlib.blake2b(size + image.tobytes(), digest_size=HASH_BYTES).digest() + small + colour


def audio_print(value: Any) -> bytes:
    """The print of a sound. Raises UnreadableError."""
    from thrifty.data.encode.audio import decode_audio

    wave = decode_audio(value)
    if not len(wave):
        raise UnreadableError("empty: 0 samples")
    whole = np.rint(wave * 8192).astype(np.int16).tobytes()
    return hashlib.blake2b(whole, digest_size=HASH_BYTES).digest().ljust(PRINT_BYTES, b"\0")
