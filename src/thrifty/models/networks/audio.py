"""A small residual network on log-mel spectrograms.

Shapes: N rows, T frames, M mel bands, C channels, K outputs.
"""

import itertools

from torch import Tensor, cat, nn

from thrifty.models.networks.layers import convolution, stage


class AudioNetwork(nn.Module):
    """Scores float32 [N, K] from `frames`, float32 [N, T, M], of any number of frames from 16 up.

    Time and pitch are halved by the first convolution and by each of three stages; what remains is averaged, and the
    largest value is taken too, so that a short sound in a long clip still counts.
    """

    def __init__(self, num_outputs: int, width: int, blocks_per_stage: int, dropout: float) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 4 * width]
        self.stem = convolution(1, width, kernel=5, stride=2)
        self.stages = nn.Sequential(*[stage(a, b, blocks_per_stage) for a, b in itertools.pairwise(widths)])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], num_outputs)

    def forward(self, frames: Tensor) -> Tensor:
        x_NCTM = self.stages(self.stem(frames[:, None]))
        x_N2C = cat([x_NCTM.mean(dim=(2, 3)), x_NCTM.amax(dim=(2, 3))], dim=1)
        return self.head(self.dropout(x_N2C))
