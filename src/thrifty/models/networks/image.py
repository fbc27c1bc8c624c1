"""A small residual network on pixels.

Shapes: N rows, H height, W width, C channels, K outputs.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from thrifty.models.networks.layers import convolution, stage


class ImageNetwork(nn.Module):
    """Scores float32 [N, K] from `pixels`, uint8 [N, H, W, C].

    size: H and W in pixels. From 48 pixels up the first convolution halves them; then each stage halves them and
    doubles the channels, down to a map of 5 to 10 pixels a side, which is averaged.
    """

    mean_C: Tensor
    scale_C: Tensor

    def __init__(
        self, size: int, channels: int, num_outputs: int, width: int, blocks_per_stage: int, dropout: float
    ) -> None:
        super().__init__()
        stride = 2 if size >= 48 else 1
        num_stages = max(1, round(math.log2(size / stride / 7.5)))
        widths = [width * 2**i for i in range(num_stages + 1)]
        self.register_buffer("mean_C", torch.full((channels, 1, 1), 127.5))
        self.register_buffer("scale_C", torch.full((channels, 1, 1), 64.0))
        self.stem = convolution(channels, width, kernel=3 if stride == 1 else 5, stride=stride)
        self.stages = nn.Sequential(*[stage(a, b, blocks_per_stage) for a, b in itertools.pairwise(widths)])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_outputs)

    def standardise(self, pixels_NHWC: Tensor) -> None:
        """Sets the mean and scale of each channel from some training images."""
        pixels_NHWC = pixels_NHWC.float()
        self.mean_C.copy_(pixels_NHWC.mean(dim=(0, 1, 2))[:, None, None])
        self.scale_C.copy_(pixels_NHWC.std(dim=(0, 1, 2)).clamp(min=1.0)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        x_NCHW = (pixels.permute(0, 3, 1, 2).float() - self.mean_C) / self.scale_C
        x_NC = self.stages(self.stem(x_NCHW)).mean(dim=(2, 3))
        return self.head(self.dropout(x_NC))
