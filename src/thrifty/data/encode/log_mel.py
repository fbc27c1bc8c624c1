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
_BATCH_FRAMES = 2048  # at once, to stay in the processor's cache


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
def _transform() -> np.ndarray:
    """The windowed Fourier transform as a matrix, cosines then sines, float32 [WINDOW, 2F]: faster than numpy's."""
    angle_WF = 2 * np.pi / NUM_FFT * np.arange(WINDOW)[:, None] * _bins()
    window_W1 = np.hanning(WINDOW + 2)[1:-1, None]
    return np.concatenate([window_W1 * np.cos(angle_WF), window_W1 * np.sin(angle_WF)], axis=1).astype(np.float32)


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
    transform, bands_FM = _transform(), mel_bands(num_bands)
    rows, frames = max(1, _BATCH_FRAMES // num), min(num, _BATCH_FRAMES)
    for row in range(0, num_rows, rows):
        for frame in range(0, num, frames):
            part = np.s_[row : row + rows, frame : frame + frames]
            some_BW = frames_NTW[part].reshape(-1, WINDOW)
            spectrum_B2F = some_BW @ transform
            spectrum_B2F *= spectrum_B2F
            power_BF = spectrum_B2F[:, : len(bands_FM)] + spectrum_B2F[:, len(bands_FM) :]
            out_NTM[part] = (power_BF @ bands_FM).reshape(out_NTM[part].shape)
    out_NTM += np.float32(_FLOOR)
    return np.log(out_NTM, out=out_NTM)


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
