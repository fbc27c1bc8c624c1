"""Sounds as a row of numbers for linear models and trees: how the spectrum is spread, how it moves, and in what order.

Shapes: N rows, S samples, T frames, M mel bands, K cepstral coefficients, D numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.audio import RATE, decode_audio
from thrifty.data.encode.encoder import Arrays, Columns, Problem, State, read_each
from thrifty.data.encode.log_mel import log_mel, product
from thrifty.data.encode.values import is_missing

_BANDS = 40
_CEPSTRA = 20
_SECONDS = 30.0  # of a longer sound the middle is looked at
_PARTS = 8  # equal parts of the sounding stretch, to know the order of things
_QUIET = 3.0  # natural logarithms below the loud frames: 26 dB in amplitude


@dataclass(frozen=True)
class LogMelStatistics:
    """One column of sounds as `values` float32 [N,D], all zeros where it is missing."""

    kind: ClassVar[str] = "log_mel_statistics"
    columns: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("values",)

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        values = columns[self.columns[0]]
        values_ND = np.zeros((len(values), num_statistics()), np.float32)

        def read(row: int, value: Any) -> None:
            if not is_missing(value):
                values_ND[row] = statistics_of(decode_audio(value, seconds=_SECONDS))

        return {"values": values_ND}, read_each(values, read, self.columns[0], threads)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns)}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]))


@cache
def num_statistics() -> int:
    """D, the length of what `statistics_of` gives."""
    return len(statistics_of(np.zeros(RATE, np.float32)))


def statistics_of(wave_S: np.ndarray) -> np.ndarray:
    """The statistics of one sound at 16 kHz, float32 [D]."""
    mel_TM = log_mel(wave_S[None], _BANDS)[0]
    loudness_T = mel_TM.mean(axis=1)
    loud = float(_quantiles(loudness_T, (0.95,))[0])
    heard = np.flatnonzero(loudness_T > loud - _QUIET)
    stretch_TM = mel_TM[heard[0] : heard[-1] + 1]
    sounding_TM = mel_TM[heard]
    level = sounding_TM.mean()
    cepstra_TK = product(sounding_TM - level, _cosines())
    along_TK = product(stretch_TM - level, _cosines())
    parts = [
        [1.0, np.log(len(wave_S) / RATE), np.log(len(stretch_TM)), len(heard) / len(stretch_TM), level, loud],
        _spread(loudness_T - loud),
        sounding_TM.mean(axis=0) - level,
        sounding_TM.std(axis=0),
        *_quantiles(cepstra_TK, (0.1, 0.5, 0.9)),
        cepstra_TK.std(axis=0),
        _movement(along_TK),
        _texture(cepstra_TK),
        _in_order(along_TK).ravel(),
        _rhythm(loudness_T),
        _pitch(wave_S),
    ]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


@cache
def _cosines() -> np.ndarray:
    """The discrete cosine transform without its constant, float32 [M,K]."""
    angle = np.pi / _BANDS * (np.arange(_BANDS) + 0.5)[:, None] * np.arange(1, _CEPSTRA + 1)
    return (np.cos(angle) * np.sqrt(2 / _BANDS)).astype(np.float32)


def _quantiles(x: np.ndarray, shares: tuple[float, ...]) -> list[np.ndarray]:
    """Quantiles along the first axis (numpy's own cost more than all the rest here)."""
    ordered = np.sort(x, axis=0)
    found = []
    for share in shares:
        at = share * (len(x) - 1)
        low = int(at)
        high = min(low + 1, len(x) - 1)
        found.append(ordered[low] + np.float32(at - low) * (ordered[high] - ordered[low]))
    return found


def _spread(x_T: np.ndarray) -> np.ndarray:
    return np.array([x_T.mean(), x_T.std(), *_quantiles(x_T, (0.1, 0.25, 0.5, 0.75))])


def _movement(along_TK: np.ndarray) -> np.ndarray:
    """How fast the cepstra change over 20 and 60 ms."""
    found = []
    for step in (2, 6):
        change_TK = along_TK[step:] - along_TK[:-step] if len(along_TK) > step else np.zeros((1, _CEPSTRA))
        found += [np.abs(change_TK).mean(axis=0), change_TK.std(axis=0)]
    return np.concatenate(found)


def _texture(cepstra_TK: np.ndarray) -> np.ndarray:
    """How the first cepstra go together: the upper triangle of their correlations."""
    some_TK = cepstra_TK[:, :10] - cepstra_TK[:, :10].mean(axis=0)
    some_TK = some_TK / (some_TK.std(axis=0) + np.float32(1e-3))
    return (some_TK.T @ some_TK / len(some_TK))[np.triu_indices(10, 1)]


def _in_order(along_TK: np.ndarray) -> np.ndarray:
    """Mean cepstra of equal parts of the sounding stretch, in order."""
    edges = np.linspace(0, len(along_TK), _PARTS + 1)
    sums_TK = np.concatenate([np.zeros((1, _CEPSTRA)), np.cumsum(along_TK, axis=0, dtype=np.float64)])
    whole = np.minimum(edges.astype(int), len(along_TK) - 1)
    at_edges = sums_TK[whole] + (edges - whole)[:, None] * along_TK[whole]
    return np.diff(at_edges, axis=0) / (len(along_TK) / _PARTS)


def _rhythm(loudness_T: np.ndarray) -> np.ndarray:
    """Shares of the loudness curve's energy at 1 to 2, 2 to 4, 4 to 8 and 8 to 16 Hz."""
    curve_T = loudness_T - loudness_T.mean()
    power = np.abs(np.fft.rfft(curve_T, max(256, len(curve_T)))) ** 2
    hz = np.arange(len(power)) * 100.0 / max(256, len(curve_T))
    total = power[hz < 32].sum() + 1e-6
    return np.array([power[(hz >= low) & (hz < 2 * low)].sum() / total for low in (1, 2, 4, 8)])


def _pitch(wave_S: np.ndarray) -> np.ndarray:
    """Log pitch's middle, spread and range, and how voiced the sound is, by autocorrelation of 40 ms frames."""
    half_S = wave_S[: len(wave_S) // 2 * 2].reshape(-1, 2).mean(axis=1)
    rate, size, hop = RATE // 2, 320, 160
    if len(half_S) < size:
        half_S = np.pad(half_S, (0, size - len(half_S)))
    frames_TS = np.lib.stride_tricks.sliding_window_view(half_S, size)[::hop]
    frames_TS = frames_TS - frames_TS.mean(axis=1, keepdims=True)
    energy_T = np.einsum("ts,ts->t", frames_TS, frames_TS)
    low, high = rate // 400, rate // 70
    spectrum = np.fft.rfft(frames_TS, size + high)  # long enough for the lags looked at
    auto = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size + high)
    shares = auto[:, low:high] / (auto[:, :1] + 1e-6) * (size / (size - np.arange(low, high)))
    best = shares.argmax(axis=1)
    voiced = (shares[np.arange(len(best)), best] > 0.5) & (energy_T > 0.05 * energy_T.max())
    if not voiced.any():
        return np.zeros(6)
    log_pitch = np.log2(rate / (best[voiced] + low) / 100)
    change = np.abs(np.diff(log_pitch)).mean() if len(log_pitch) > 1 else 0.0
    return np.array([voiced.mean(), *_quantiles(log_pitch, (0.1, 0.5, 0.9)), log_pitch.std(), change])
