"""Text as the token ids of a pretrained network's own tokenizer.

Shapes: N rows, L tokens of the longest row of the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State
from thrifty.data.encode.values import text_of

_CHARS_PER_TOKEN = 64  # no tokenizer's tokens are this long on average


@dataclass(frozen=True, eq=False)
class Tokens:
    """Text columns, joined by line breaks, as `ids` and `mask` int64 [N,L].

    tokenizer: the text of a `tokenizer.json`. max_length: tokens kept of a row, special ones included.
    """

    kind: ClassVar[str] = "tokens"
    columns: tuple[str, ...]
    tokenizer: str
    max_length: int = 256

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("ids", "mask")

    @cached_property
    def _ready(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer)
        tokenizer.enable_truncation(self.max_length)
        tokenizer.no_padding()
        return tokenizer

    def texts(self, columns: Columns) -> list[str]:
        """Each row's text."""
        parts = [[text_of(value) for value in columns[name]] for name in self.columns]
        return parts[0] if len(parts) == 1 else ["\n".join(filter(None, row)) for row in zip(*parts)]

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        longest = self.max_length * _CHARS_PER_TOKEN
        texts = [text[:longest].encode("utf-8", "replace").decode() for text in self.texts(columns)]
        if threads == 1:
            encodings = [self._ready.encode(text) for text in texts]
        else:
            encodings = self._ready.encode_batch_fast(texts)
        rows = [encoding.ids for encoding in encodings]
        longest = max(map(len, rows), default=0) or 1
        ids_NL = np.zeros((len(rows), longest), np.int64)
        mask_NL = np.zeros((len(rows), longest), np.int64)
        for row, ids in enumerate(rows):
            ids_NL[row, : len(ids)] = ids
            mask_NL[row, : len(ids)] = 1
        return {"ids": ids_NL, "mask": mask_NL}, []

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns), "max_length": self.max_length}

    def state(self) -> dict[str, np.ndarray | str]:
        return {"tokenizer": self.tokenizer}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), str(state["tokenizer"]), value["max_length"])
