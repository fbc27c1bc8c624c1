"""Late fusion of what a row has of several kinds: columns of a table, images, texts, sounds.

Each kind's features are taken to one width by a small network of its own, images and sounds also by convolutions
trained along. What is missing is a learned vector: the features' network of zeros (which is where missing values lie
once scaled), or the convolutions' `absent`. In training whole kinds are left out at random (ModDrop,
https://arxiv.org/abs/1501.00102), so that the rest is used when one is not there.

Shapes: N rows, D features, M kinds, W width, P pairs of kinds, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.models.networks.audio import AudioNetwork
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.layers import Dropout


class FusionNetwork(nn.Module):
    """Scores float32 [N, K] from `features` float32 [N, D], and optionally `pixels` and `frames`.

    kind_D: the kind of each feature, from 0. image, audio: networks whose outputs have `width` numbers. The kinds'
    vectors and the products of each two go through a hidden layer: an answer that hangs on two kinds together is
    learnt from few rows so. modality_dropout: the share of rows that a kind is left out of in training.
    """

    def __init__(
        self, kind_D: np.ndarray, num_outputs: int, width: int, dropout: float, modality_dropout: float,
        image: ImageNetwork | None = None, audio: AudioNetwork | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modality_dropout = modality_dropout
        self.places = [np.flatnonzero(kind_D == kind).tolist() for kind in range(int(kind_D.max()) + 1)]
        self.encoders = nn.ModuleList(_encoder(len(places), width, dropout) for places in self.places)
        self.image, self.audio = image, audio
        self.absent = nn.ParameterList(nn.Parameter(torch.zeros(width)) for part in (image, audio) if part is not None)
        num_parts = len(self.places) + len(self.absent)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_parts))
        self.pairs = list(itertools.combinations(range(num_parts), 2))
        num_inputs = width * (num_parts + len(self.pairs))
        self.hidden = nn.Sequential(nn.Linear(num_inputs, width), nn.ReLU(), Dropout(dropout))
        self.head = nn.Linear(width, num_outputs)

    def forward(self, features: Tensor, pixels: Tensor | None = None, frames: Tensor | None = None) -> Tensor:
        parts = []
        for places, encoder in zip(self.places, self.encoders):
            parts.append(encoder(features[:, places] * self._kept(features)))
        media = [(self.image, pixels), (self.audio, frames)]
        for absent, (network, values) in zip(self.absent, [one for one in media if one[0] is not None]):
            assert network is not None
            assert values is not None
            there_N1 = (values.flatten(1).float().abs().amax(dim=1, keepdim=True) > 0).float() * self._kept(features)
            parts.append(network(values) * there_N1 + absent * (1.0 - there_N1))
        parts = [norm(part) for norm, part in zip(self.norms, parts)]
        products = [parts[a] * parts[b] for a, b in self.pairs]
        scores_NK: Tensor = self.head(self.hidden(torch.cat([*parts, *products], dim=1)))
        return scores_NK

    def _kept(self, features: Tensor) -> Tensor:
        """1 or, in training, 0 for the rows [N, 1] that a kind is left out of."""
        if not self.training or self.modality_dropout <= 0:
            return torch.ones((1, 1), device=features.device)
        return (torch.rand((len(features), 1), device=features.device) >= self.modality_dropout).float()


def _encoder(num_features: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        Dropout(dropout / 2), nn.Linear(num_features, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, width)
    )


def kinds_of(names: Sequence[str], widths: Sequence[int]) -> np.ndarray:
    """The kind of each feature of blocks with these names, numbered from 0 in the order in which kinds appear."""
    words = {"image": "image", "text": "text", "speech": "sound", "log": "sound"}
    found = [words.get(name.split("_")[0], "table") for name in names]
    order = list(dict.fromkeys(found))
    return np.repeat([order.index(kind) for kind in found], widths)
