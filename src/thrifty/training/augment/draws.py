"""What the kinds of changes share.

Shapes: N rows, L places in a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

POOL_SIZE = 1 << 18  # normal numbers that noise is taken from


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Evenly drawn between low and high."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def span(place_N: Tensor, length_N: Tensor, size: int) -> Tensor:
    """True [N, L] in a span of a third of the `size` L times `length_N`; both arguments are 0 to 1."""
    length_N = (length_N * size / 3).ceil()
    start_N = (place_N * (size - length_N)).floor()
    at = torch.arange(size)[None]
    return (at >= start_N[:, None]) & (at < (start_N + length_N)[:, None])


class Noise:
    """Normal noise for rows of any length, each from a random place of one pool: far cheaper than drawing it anew."""

    def __init__(self) -> None:
        self.pool = torch.randn(POOL_SIZE, generator=torch.Generator().manual_seed(0))

    def add(self, x: Tensor, amount_N: Tensor, generator: torch.Generator) -> Tensor:
        """x [N, ...] plus noise of each row's standard deviation `amount_N`."""
        num_rows, length = len(x), x[0].numel()
        while len(self.pool) <= 2 * length:
            self.pool = torch.cat([self.pool, self.pool.flip(0)])
        start_N = torch.randint(len(self.pool) - length, (num_rows,), generator=generator)
        noise_NL = torch.stack([self.pool[start : start + length] for start in start_N.tolist()])
        return x + (amount_N[:, None] * noise_NL).view(x.shape)
