"""Images as a row of numbers for linear models and trees: small pixels, edges by direction, colours, shape.

Edges are histograms of oriented gradients (Dalal and Triggs 2005, https://doi.org/10.1109/CVPR.2005.177).

Shapes: N rows, H height, W width, C channels, O directions, B cells along a side, D numbers.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State, read_each
from thrifty.data.encode.image import decode_sized, square
from thrifty.data.encode.values import is_missing

_SIDE = 32  # pixels along a side of what is looked at
_DIRECTIONS = 8
_COLOURS = 4  # levels a channel
_BATCH = 64  # rows at once, to stay in the processor's cache


@dataclass(frozen=True)
class ImageStatistics:
    """One column of images as `values` float32 [N,D], all zeros where it is missing.

    channels: 1 or 3; with 3 the colours are described too. small: side of the small grey copy in pixels, a divisor
    of 32. cells: sides in pixels of the cells whose edges are described, divisors of 32. With 16 and (8, 4) a grey
    image has 899 numbers, with 8 and (8,) 195.
    """

    kind: ClassVar[str] = "image_statistics"
    columns: tuple[str, ...]
    channels: int = 3
    small: int = 16
    cells: tuple[int, ...] = (8, 4)

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("values",)

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        values = columns[self.columns[0]]
        pixels_NHWC = np.zeros((len(values), _SIDE, _SIDE, self.channels), np.uint8)
        shape_N3 = np.zeros((len(values), 3), np.float32)

        def read(row: int, value: Any) -> None:
            if not is_missing(value):
                image, (width, height) = decode_sized(value, side=_SIDE)
                shape_N3[row] = 1, np.log2(width * height) / 20, np.log2(width / height)
                pixels_NHWC[row] = square(image, _SIDE, self.channels)

        def describe(start: int) -> np.ndarray:
            return self._describe(pixels_NHWC[start : start + _BATCH], shape_N3[start : start + _BATCH])

        problems = read_each(values, read, self.columns[0], threads)
        starts = range(0, max(1, len(values)), _BATCH)
        if threads <= 1 or len(starts) < 2:
            return {"values": np.concatenate([describe(start) for start in starts])}, problems
        with ThreadPoolExecutor(threads) as pool:
            return {"values": np.concatenate(list(pool.map(describe, starts)))}, problems

    def _describe(self, pixels_NHWC: np.ndarray, shape_N3: np.ndarray) -> np.ndarray:
        scaled_NHWC = pixels_NHWC.astype(np.float32) / np.float32(255)
        grey_NHW = scaled_NHWC.mean(axis=3)
        parts = [
            shape_N3,
            _pooled(grey_NHW, self.small).reshape(len(grey_NHW), -1),
            *(cells_NBBO.reshape(len(grey_NHW), -1) for cells_NBBO in _oriented(grey_NHW, self.cells)),
        ]
        if self.channels == 3:
            parts += [_colours(pixels_NHWC), _pooled_colours(scaled_NHWC)]
        values_ND = np.concatenate(parts, axis=1).astype(np.float32)
        return values_ND * shape_N3[:, :1]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind, "columns": list(self.columns), "channels": self.channels}
        return value | {"small": self.small, "cells": list(self.cells)}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), value["channels"], value["small"], tuple(value["cells"]))


def _pooled(x_NHW: np.ndarray, side: int) -> np.ndarray:
    """Means over a grid of side x side cells."""
    step = x_NHW.shape[1] // side
    rows = sum(x_NHW[:, i::step] for i in range(step))  # four times as fast as numpy's mean over two axes
    assert isinstance(rows, np.ndarray)
    cells = sum(rows[:, :, i::step] for i in range(step))
    return np.asarray(cells * np.float32(1 / step**2))


def _pooled_colours(scaled_NHWC: np.ndarray) -> np.ndarray:
    """Mean of each channel on a grid of 4 x 4 cells, and its mean and deviation over the image."""
    num_rows = len(scaled_NHWC)
    cells = scaled_NHWC.reshape(num_rows, 4, _SIDE // 4, 4, _SIDE // 4, 3).mean(axis=(2, 4)).reshape(num_rows, -1)
    return np.concatenate([cells, scaled_NHWC.mean(axis=(1, 2)), scaled_NHWC.std(axis=(1, 2))], axis=1)


def _colours(pixels_NHWC: np.ndarray) -> np.ndarray:
    """Square roots of the shares of pixels of each of 64 colours."""
    num_rows = len(pixels_NHWC)
    levels = (pixels_NHWC // (256 // _COLOURS)).astype(np.int64).reshape(num_rows, -1, 3)
    colour = levels @ np.array([_COLOURS**2, _COLOURS, 1]) + (np.arange(num_rows) * _COLOURS**3)[:, None]
    counts = np.bincount(colour.ravel(), minlength=num_rows * _COLOURS**3).reshape(num_rows, -1)
    return np.sqrt(counts / (_SIDE * _SIDE)).astype(np.float32)


def _oriented(grey_NHW: np.ndarray, cells: tuple[int, ...]) -> list[np.ndarray]:
    """Gradient energy by direction in cells of so many pixels a side, each scaled by its surroundings, [N,B,B,O]."""
    padded = np.pad(grey_NHW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down_NHW = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    right_NHW = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    strength_NHW = np.sqrt(down_NHW**2 + right_NHW**2)
    # The direction modulo half a turn, in units of one bin, shared between the two nearest bins.
    bin_NHW = np.arctan2(down_NHW, right_NHW) * np.float32(_DIRECTIONS / np.pi)
    bin_NHW += np.float32(_DIRECTIONS) * (bin_NHW < 0)
    low_NHW = np.floor(bin_NHW)
    upper_NHW = (bin_NHW - low_NHW) * strength_NHW
    lower_NHW = strength_NHW - upper_NHW
    low_NHW = low_NHW.astype(np.int8) % _DIRECTIONS
    finest = min(cells)
    side = _SIDE // finest
    finest_NBBO = np.empty((len(grey_NHW), side, side, _DIRECTIONS), np.float32)
    for direction in range(_DIRECTIONS):
        here_NHW = lower_NHW * (low_NHW == direction) + upper_NHW * (low_NHW == (direction - 1) % _DIRECTIONS)
        finest_NBBO[..., direction] = _pooled(here_NHW, side)
    return [_scaled(_coarser(finest_NBBO, cell // finest)) for cell in cells]


def _coarser(cells_NBBO: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step cells."""
    if step == 1:
        return cells_NBBO
    num_rows, side = len(cells_NBBO), cells_NBBO.shape[1] // step
    grouped = cells_NBBO.reshape(num_rows, side, step, side, step, _DIRECTIONS)
    return np.asarray(grouped.mean(axis=(2, 4)))


def _scaled(cells_NBBO: np.ndarray) -> np.ndarray:
    side = cells_NBBO.shape[1]
    energy_NBB = (cells_NBBO**2).sum(axis=3)
    around = np.pad(energy_NBB, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total_NBB = sum(around[:, i : i + side, j : j + side] for i in range(3) for j in range(3))
    return np.asarray(np.sqrt(cells_NBBO / np.sqrt(total_NBB + np.float32(1e-4))[..., None]))
