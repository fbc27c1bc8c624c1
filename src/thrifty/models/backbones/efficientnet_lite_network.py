"""EfficientNet-Lite0 as a network that can be trained on, with the names of its published weights.

Shapes: N rows, H height, W width, C channels, D features.
https://arxiv.org/abs/1905.11946
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from thrifty.models.backbones.efficientnet_lite import EPSILON, NUM_FEATURES, STAGES, Stage, Weights

STEM_WIDTH = 32


class EfficientNetLite(nn.Module):
    """Features float32 [N, D] of `pixels`, uint8 [N, H, W, C] with C of 1 or 3.

    layers: its parts from the first to the last, each a list of modules that learn at one rate.
    """

    width = NUM_FEATURES
    ends: tuple[nn.Parameter, ...] = ()

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, STEM_WIDTH, 3, 2)
        self._bn0 = nn.BatchNorm2d(STEM_WIDTH, eps=EPSILON)
        self._blocks = nn.ModuleList()
        stages, channels = [], STEM_WIDTH
        for stage in STAGES:
            blocks = []
            for repeat in range(stage.repeats):
                blocks.append(_Block(channels, stage, repeat))
                channels = stage.width
            self._blocks.extend(blocks)
            stages.append(blocks)
        self._conv_head = _Convolution(channels, NUM_FEATURES, 1, 1)
        self._bn1 = nn.BatchNorm2d(NUM_FEATURES, eps=EPSILON)
        own = self.state_dict()
        self.load_state_dict({name: torch.from_numpy(weights[name]) for name in own if name in weights}, strict=False)
        self.layers = [
            nn.ModuleList([self._conv_stem, self._bn0]),
            *[nn.ModuleList(blocks) for blocks in stages],
            nn.ModuleList([self._conv_head, self._bn1]),
        ]

    def forward(self, pixels: Tensor) -> Tensor:
        x_NCHW = pixels.permute(0, 3, 1, 2).float()
        x_NCHW = (x_NCHW.expand(-1, 3, -1, -1) - 127.0) / 128.0
        x_NCHW = functional.relu6(self._bn0(self._conv_stem(x_NCHW)))
        for block in self._blocks:
            x_NCHW = block(x_NCHW)
        return functional.relu6(self._bn1(self._conv_head(x_NCHW))).mean(dim=(2, 3))


class _Convolution(nn.Conv2d):
    """A convolution whose output is input / stride, rounded up; what must be added goes to the right and below."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        above, below = _padding(int(x_NCHW.shape[2]), kernel, stride)
        left, right = _padding(int(x_NCHW.shape[3]), kernel, stride)
        if (above, left) == (below, right):
            return functional.conv2d(x_NCHW, self.weight, None, self.stride, (above, left), groups=self.groups)
        return super().forward(functional.pad(x_NCHW, (left, right, above, below)))


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    whole = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return whole // 2, whole - whole // 2


class _Block(nn.Module):
    """Widen, filter each channel alone, narrow; added to its input from a stage's second block on."""

    def __init__(self, channels_in: int, stage: Stage, repeat: int) -> None:
        super().__init__()
        inner = channels_in * stage.expansion
        self.adds = repeat > 0
        self._expand_conv = _Convolution(channels_in, inner, 1, 1) if stage.expansion > 1 else None
        self._bn0 = nn.BatchNorm2d(inner, eps=EPSILON) if stage.expansion > 1 else None
        stride = stage.stride if repeat == 0 else 1
        self._depthwise_conv = _Convolution(inner, inner, stage.kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._project_conv = _Convolution(inner, stage.width, 1, 1)
        self._bn2 = nn.BatchNorm2d(stage.width, eps=EPSILON)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        inner = x_NCHW
        if self._expand_conv is not None and self._bn0 is not None:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return x_NCHW + inner if self.adds else inner
