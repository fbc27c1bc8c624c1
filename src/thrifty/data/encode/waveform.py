"""Sound as it is, of one length.

Shapes: N rows, T samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.audio import read_waves
from thrifty.data.encode.encoder import Arrays, Columns, Problem, State


@dataclass(frozen=True)
class Waveform:
    """One column of sounds as `waveform` float32 [N,T] at 16 kHz and `present` float32 [N,1]."""

    kind: ClassVar[str] = "waveform"
    columns: tuple[str, ...]
    seconds: float

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("waveform", "present")

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        return read_waves(columns, self.columns[0], self.seconds, threads)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns), "seconds": self.seconds}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), value["seconds"])
