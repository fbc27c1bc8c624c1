"""How large an artifact is, and how long one raw row takes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import UsageError
from thrifty.runtime.predictor import Predictor


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one raw row, decoding included: the median and the 95th percentile of `num` calls."""

    p50: float
    p95: float
    num: int

    def to_json(self) -> dict[str, float]:
        return {"p50": self.p50, "p95": self.p95}


def latency(
    predictor: Predictor, rows: Sequence[Mapping[str, Any]], *, seconds: float = 1.0, most: int = 300, warm_up: int = 5
) -> Latency:
    """Times single raw rows, the given ones in turn, for about `seconds` (at least 10 calls, at most `most`)."""
    if not rows:
        raise UsageError("latency is measured on at least one row")
    singles = [[row] for row in rows]
    for call in range(warm_up):
        predictor.predict(singles[call % len(singles)])
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < most and (len(times) < 10 or time.perf_counter() < end):
        single = singles[len(times) % len(singles)]
        start = time.perf_counter()
        predictor.predict(single)
        times.append(time.perf_counter() - start)
    p50, p95 = np.quantile(times, (0.5, 0.95)) * 1000
    return Latency(round(float(p50), 4), round(float(p95), 4), len(times))


def size_bytes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
