"""What a text looks like, in a few numbers: lengths, and shares of kinds of characters.

Shapes: N rows, D numbers, S statistics of one column, C code points of all texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.codepoints import IDEOGRAPH, SPACE, SYMBOL, classes_of, codepoints_of
from thrifty.data.encode.encoder import Arrays, Columns, Problem, State
from thrifty.data.encode.values import text_of

STATISTICS = (
    "missing", "log_chars", "log_words", "mean_word_length", "log_lines", "digit_share", "upper_share",
    "symbol_share", "space_share", "beyond_ascii_share", "ideograph_share", "exclamations", "questions", "commas",
    "full_stops", "quotes", "at_signs", "hash_signs", "slashes", "repeated_share", "starts_upper",
)  # fmt: skip
_MAX_CHARS = 20_000


@dataclass(frozen=True)
class TextStatistics:
    """Text columns as `values` float32 [N,D], STATISTICS for each in turn. A text counts to 20,000 characters."""

    kind: ClassVar[str] = "text_statistics"
    columns: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("values",)

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        parts = [_statistics([text_of(v)[:_MAX_CHARS] for v in columns[name]]) for name in self.columns]
        return {"values": np.concatenate(parts, axis=1).astype(np.float32)}, []

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns)}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]))


def _statistics(texts: Sequence[str]) -> np.ndarray:
    """STATISTICS of each text, float64 [N,S]."""
    codes_C, starts = codepoints_of(texts)
    length_N = np.diff(starts)
    some_N = np.maximum(1, length_N)

    def count(where_C: np.ndarray) -> np.ndarray:
        sums = np.zeros(len(codes_C) + 1, np.int64)
        np.cumsum(where_C, out=sums[1:])
        return np.diff(sums[starts])

    class_C = classes_of(codes_C)
    inside_C = np.ones(len(codes_C), bool)  # false where a text begins
    inside_C[starts[:-1][length_N > 0]] = False
    before_C = np.where(inside_C, np.roll(class_C, 1), SPACE)
    words_N = count((class_C != SPACE) & ((before_C == SPACE) | (class_C == IDEOGRAPH)))
    spaces_N = count(class_C == SPACE)
    upper_C = (codes_C >= 65) & (codes_C <= 90) | (codes_C >= 0xC0) & (codes_C <= 0xDE) & (codes_C != 0xD7)
    upper_C |= (codes_C >= 0x391) & (codes_C <= 0x3A9) | (codes_C >= 0x400) & (codes_C <= 0x42F)
    repeated_C = inside_C & (codes_C == np.roll(codes_C, 1))
    exclamations_N, questions_N, *signs = (count(codes_C == ord(sign)) for sign in '!?,."@#/')
    columns = [
        length_N == 0, np.log1p(length_N), np.log1p(words_N), (length_N - spaces_N) / np.maximum(1, words_N),
        np.log1p(count(codes_C == 10)), count((codes_C >= 48) & (codes_C <= 57)) / some_N, count(upper_C) / some_N,
        count(class_C == SYMBOL) / some_N, spaces_N / some_N, count(codes_C > 127) / some_N,
        count(class_C == IDEOGRAPH) / some_N, np.log1p(exclamations_N), np.log1p(questions_N),
        *(np.log1p(sign_N) for sign_N in signs), count(repeated_C) / some_N, count(upper_C & ~inside_C),
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float64)
