"""A corpus as one array of code points, so that numpy works on all texts at once.

Shapes: N texts, C code points of all texts one after the other.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

SPACE, WORD, SYMBOL, IDEOGRAPH = 0, 1, 2, 3
"""Classes of code points: an ideograph (and a letter of the scripts that set no spaces) is a word by itself."""

_BLOCK = 256
_NUM_BLOCKS = 0x110000 // _BLOCK
_classes = np.zeros(0x110000, np.uint8)
_known_blocks = np.zeros(_NUM_BLOCKS, bool)
_SPACELESS = (
    (0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF),
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3040, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0x1B000, 0x1B2FF), (0x20000, 0x3FFFF),
)  # fmt: skip


def codepoints_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All texts' code points uint32 [C] and each text's start, with the end, int64 [N+1]."""
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, np.uint32), starts


def classes_of(codes_C: np.ndarray) -> np.ndarray:
    """Each code point's class, uint8 [C]."""
    blocks = np.flatnonzero(np.bincount(codes_C >> 8, minlength=1))
    for block in blocks[~_known_blocks[blocks]].tolist():
        start = block * _BLOCK
        _classes[start : start + _BLOCK] = [_class_of(code) for code in range(start, start + _BLOCK)]
        _known_blocks[block] = True
    return _classes[codes_C]


def _class_of(code: int) -> int:
    char = chr(code)
    if char.isspace() or code == 0:
        return SPACE
    if char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M":
        spaceless = not char.isdigit() and any(low <= code <= high for low, high in _SPACELESS)
        return IDEOGRAPH if spaceless else WORD
    return SYMBOL
