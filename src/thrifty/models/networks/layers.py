"""The parts that networks here are made of.

Shapes: N rows, C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def convolution(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; exporters fold the first two into one."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions added to their input. https://arxiv.org/abs/1512.03385"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.inner(x_NCHW)


def stage(channels_in: int, channels_out: int, num_blocks: int) -> nn.Sequential:
    """Halves height and width, then `num_blocks` residual blocks."""
    blocks = [Residual(channels_out) for _ in range(num_blocks)]
    return nn.Sequential(convolution(channels_in, channels_out, stride=2), *blocks)


def random_bytes(shape: Sequence[int], device: torch.device) -> Tensor:
    """uint8 of that shape, eight of a draw: on a processor an eighth of what `bernoulli_` takes."""
    count = math.prod(shape)
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].view(*shape)


class Dropout(nn.Module):
    """Dropout whose share is rounded to 256ths, and drawn by `random_bytes`."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.level = min(255, round(256 * share))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.level == 0:
            return x
        kept = random_bytes(x.shape, x.device) >= self.level
        return x * (kept.to(x.dtype) * (256 / (256 - self.level)))
