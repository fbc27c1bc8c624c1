"""Sound as log-mel spectrograms.

Shapes: N rows, S samples, T frames, F frequencies, M mel bands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.audio import RATE, read_waves
from thrifty.data.encode.encoder import Arrays, Columns, Problem, State

WINDOW, HOP, NUM_FFT = 400, 160, 512  # samples: 25 ms, 10 ms, 32 ms
_LOW_HZ, _HIGH_HZ = 50.0, 7600.0
_FLOOR = 1e-6
_BATCH_FRAMES = 256  # at once, to stay in the processor's cache
_ONE_THREAD = 1 << 18  # multiplications up to which OpenBLAS uses one thread


@cache
def mel_bands(num_bands: int) -> np.ndarray:
    """Triangular weights of frequencies in bands evenly spaced in mel (HTK's formula), float32 [F,M]."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (_LOW_HZ, _HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, num_bands + 2) / 2595) - 1)
    bins_F = _bins()
    hz_F1 = bins_F[:, None] * RATE / NUM_FFT
    rising = (hz_F1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz_F1) / (edges[2:] - edges[1:-1])
    weights_FM = np.maximum(0, np.minimum(rising, falling))
    # A narrow band may fall between two frequencies: it takes the nearest.
    for band in np.flatnonzero(weights_FM.sum(axis=0) == 0):
        weights_FM[np.abs(hz_F1[:, 0] - edges[band + 1]).argmin(), band] = 1
    return weights_FM.astype(np.float32)


def _bins() -> np.ndarray:
    """The frequencies of the transform that lie within the bands."""
    return np.arange(int(_LOW_HZ * NUM_FFT / RATE), int(_HIGH_HZ * NUM_FFT / RATE) + 2)


@cache
def _window() -> np.ndarray:
    return np.hanning(WINDOW + 2)[1:-1]


def log_mel(wave_NS: np.ndarray, num_bands: int) -> np.ndarray:
    """Natural logarithm of the energy in each mel band of each frame, float32 [N,T,M].

    T is 1 + (S - 400) // 160; a sound shorter than a window has one frame.
    """
    num_rows, num_samples = wave_NS.shape
    if num_samples < WINDOW:
        wave_NS = np.pad(wave_NS, ((0, 0), (0, WINDOW - num_samples)))
    frames_NTW = np.lib.stride_tricks.sliding_window_view(wave_NS, WINDOW, axis=1)[:, ::HOP]
    num = frames_NTW.shape[1]
    out_NTM = np.empty((num_rows, num, num_bands), np.float32)
    window_W, bands_FM, bins = _window(), mel_bands(num_bands), _bins()
    rows, frames = max(1, _BATCH_FRAMES // num), min(num, _BATCH_FRAMES)
    for row in range(0, num_rows, rows):
        for frame in range(0, num, frames):
            part = np.s_[row : row + rows, frame : frame + frames]
            spectrum = np.fft.rfft(frames_NTW[part] * window_W, NUM_FFT)[..., bins[0] : bins[-1] + 1]
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
            out_NTM[part] = product(power.reshape(-1, len(bins)), bands_FM).reshape(out_NTM[part].shape)
    out_NTM += np.float32(_FLOOR)
    return np.log(out_NTM, out=out_NTM)


def product(x_BK: np.ndarray, y_KM: np.ndarray) -> np.ndarray:
    """x @ y in pieces that OpenBLAS multiplies on one thread: on busy cores its threads cost ten times the time."""
    size = max(1, _ONE_THREAD // y_KM.size)
    whole = len(x_BK) // size * size
    pieces = x_BK[:whole].reshape(-1, size, x_BK.shape[1]) @ y_KM
    return np.concatenate([pieces.reshape(whole, y_KM.shape[1]), x_BK[whole:] @ y_KM])


@dataclass(frozen=True)
class LogMel:
    """One column of sounds as `frames` float32 [N,T,M] and `present` float32 [N,1].

    The middle `seconds` of a sound are taken, a shorter one is padded with silence on both sides. Each clip has mean 0
    and deviation 1 (at least that of faint noise); a missing one is all zeros.
    """

    kind: ClassVar[str] = "log_mel"
    columns: tuple[str, ...]
    seconds: float
    bands: int = 64

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("frames", "present")

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        arrays, problems = read_waves(columns, self.columns[0], self.seconds, threads)
        frames_NTM = log_mel(arrays["waveform"], self.bands)
        frames_NTM -= frames_NTM.mean(axis=(1, 2), keepdims=True)
        frames_NTM /= np.maximum(frames_NTM.std(axis=(1, 2), keepdims=True), np.float32(0.1))
        frames_NTM *= arrays["present"][:, :, None]
        return {"frames": frames_NTM, "present": arrays["present"]}, problems

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns), "seconds": self.seconds, "bands": self.bands}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), value["seconds"], value["bands"])
