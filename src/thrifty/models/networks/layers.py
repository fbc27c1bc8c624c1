"""The parts that convolutional networks here are made of.

Shapes: N rows, C channels, H height, W width.
"""

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
