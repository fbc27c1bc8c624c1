"""Words and runs of characters of any script as 32-bit hashes, for a whole corpus at once.

A run's hash is a polynomial of its characters' mixed codes modulo 2^32: a word's comes from a running sum, an n-gram's
from the (n-1)-gram's, so each costs a few operations on whole arrays (Karp and Rabin 1987,
https://doi.org/10.1147/rd.312.0249).

Shapes: N texts, C code points of the corpus, W words, T terms.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from thrifty.data.encode.codepoints import IDEOGRAPH, SPACE, classes_of, codepoints_of

MAX_CHARS = 200_000  # a longer text counts to here
_BASE, _WORD_BASE = 0x01000193, 0x85EBCA6B
_INVERSE = pow(_BASE, -1, 1 << 32)
_powers: dict[int, np.ndarray] = {}

Terms = tuple[np.ndarray, np.ndarray]
"""Each term's text, int32 [T], and its hash, uint32 [T], in no particular order."""


def normalise(text: str) -> str:
    """Lower case, compatible forms made one (NFKC), a single space between words and around the whole."""
    text = text[:MAX_CHARS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return f" {' '.join(text.lower().split())} "


def word_terms(codes_C: np.ndarray, starts: np.ndarray, longest: int) -> Terms:
    """The runs of 1 to `longest` words of normalised texts; a run of symbols and an ideograph are words too."""
    class_C = classes_of(codes_C)
    before_C = np.empty_like(class_C)
    before_C[:1] = SPACE
    before_C[1:] = class_C[:-1]
    changes_C = class_C != before_C
    single_C = class_C == IDEOGRAPH
    begins = np.flatnonzero((class_C != SPACE) & (changes_C | single_C))
    ends = np.flatnonzero((before_C != SPACE) & (changes_C | (before_C == IDEOGRAPH)))
    # Every text ends with a space, so each word ends within it.
    sums = np.zeros(len(codes_C) + 1, np.uint32)
    np.cumsum(_mix(codes_C) * _powers_of(_BASE, len(codes_C)), dtype=np.uint32, out=sums[1:])
    word_W = _mix((sums[ends] - sums[begins]) * _powers_of(_INVERSE, len(codes_C))[begins])
    text_W = (np.searchsorted(starts, begins, side="right") - 1).astype(np.int32)
    texts, hashes = [text_W], [_mix(word_W + np.uint32(1))]
    run_W = word_W
    for n in range(2, longest + 1):
        run_W = run_W[:-1] * np.uint32(_WORD_BASE) + word_W[n - 1 :]
        inside = text_W[: len(run_W)] == text_W[n - 1 :]
        texts.append(text_W[: len(run_W)][inside])
        hashes.append(_mix(run_W[inside] + np.uint32(n)))
    return np.concatenate(texts), np.concatenate(hashes)


def char_terms(codes_C: np.ndarray, starts: np.ndarray, shortest: int, longest: int) -> Terms:
    """The runs of `shortest` to `longest` characters within words of normalised texts, the spaces around included."""
    text_C = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
    letter_C = codes_C != 32
    mixed_C = _mix(codes_C)
    run_C, inner_C = mixed_C, np.ones(len(codes_C), bool)
    texts, hashes = [], []
    for n in range(2, longest + 1):
        if n > len(codes_C):
            break
        run_C = run_C[:-1] * np.uint32(_BASE) + mixed_C[n - 1 :]
        inner_C = inner_C[:-1] & letter_C[n - 2 : -1] if n > 2 else letter_C[:-1] | letter_C[1:]
        if n < shortest:
            continue
        inside = np.flatnonzero(inner_C)
        texts.append(text_C[inside])
        hashes.append(_mix(run_C[inside] + np.uint32(0x10000 * n)))
    if not texts:
        return np.zeros(0, np.int32), np.zeros(0, np.uint32)
    return np.concatenate(texts), np.concatenate(hashes)


def parts_of(texts: Sequence[str], num_chars: int = 1 << 19) -> list[slice]:
    """Consecutive slices of the texts with about `num_chars` characters each."""
    ends = np.cumsum([min(len(text), MAX_CHARS) + 2 for text in texts])
    parts, start = [], 0
    while start < len(texts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + num_chars, side="right")))
        parts.append(slice(start, stop))
        start = stop
    return parts


def corpus(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The normalised texts' code points uint32 [C], and starts int64 [N+1]."""
    return codepoints_of([normalise(text) for text in texts])


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 32-bit numbers that spreads every bit (Wellons' lowbias32)."""
    x = x ^ (x >> np.uint32(16))
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def _powers_of(base: int, num: int) -> np.ndarray:
    """base^0, base^1, ... modulo 2^32, uint32 [num]."""
    known = _powers.get(base)
    if known is None or len(known) < num:
        known = np.full(max(4096, 2 * num), base, np.uint32)
        known[0] = 1
        np.cumprod(known, dtype=np.uint32, out=known)
        _powers[base] = known
    return known[:num]
