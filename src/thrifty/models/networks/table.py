"""An ensemble of networks inside one, on dense features (TabM, https://arxiv.org/abs/2410.24210).

The members share every layer's weights; each has vectors of its own that scale a layer's inputs and outputs, and an
output layer of its own. Numbers come with their place among the bins of their training values, so that a network need
not bend a straight line (https://arxiv.org/abs/2203.05556).

Shapes: N rows, D features, P of them with bins, B bins, J members, M hidden units, K outputs.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.data.column import Task
from thrifty.models.networks.layers import Dropout

OPEN = 1e9  # how far the first bin reaches down and the last one up


class Bins(nn.Module):
    """Where each of P features lies in its bins, float32 [N, P * B]: 1 in those below it, 0 in those above."""

    places_P: Tensor
    low_PB: Tensor
    inverse_PB: Tensor
    floor_PB: Tensor
    ceiling_PB: Tensor

    def __init__(self, x_ND: np.ndarray, places_P: np.ndarray, num_bins: int) -> None:
        """x_ND: training rows, whose quantiles are the bins' edges. places_P: the features that get bins."""
        super().__init__()
        shape = (len(places_P), num_bins)
        low_PB, inverse_PB = np.zeros(shape), np.zeros(shape)
        floor_PB, ceiling_PB = np.zeros(shape), np.ones(shape)
        for p, place in enumerate(places_P):
            edges = np.unique(np.quantile(x_ND[:, place], np.linspace(0.0, 1.0, num_bins + 1)))
            if len(edges) < 2:
                continue
            last = len(edges) - 2
            low_PB[p, : last + 1] = edges[:-1]
            inverse_PB[p, : last + 1] = 1.0 / np.maximum(np.diff(edges), 1e-6)
            floor_PB[p, 0], ceiling_PB[p, last] = -OPEN, OPEN
        self.register_buffer("places_P", torch.from_numpy(np.asarray(places_P, np.int64)))
        for name, array in (
            ("low_PB", low_PB), ("inverse_PB", inverse_PB), ("floor_PB", floor_PB), ("ceiling_PB", ceiling_PB)
        ):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(array.astype(np.float32)))

    def forward(self, features: Tensor) -> Tensor:
        place_NPB = (features[:, self.places_P, None] - self.low_PB) * self.inverse_PB
        return torch.minimum(torch.maximum(place_NPB, self.floor_PB), self.ceiling_PB).flatten(1)


class TableNetwork(nn.Module):
    """Scores float32 [N, K] from `features` float32 [N, D]; in training those of each member, [N, J, K].

    Vectors that scale and shift are kept flat, so that they are taken for biases, which do not decay.
    """

    def __init__(
        self, bins: Bins, num_features: int, num_outputs: int, task: Task, width: int, num_layers: int,
        num_members: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bins, self.task, self.num_members = bins, task, num_members
        widths = [num_features + bins.low_PB.numel(), *[width] * num_layers]
        pairs = list(itertools.pairwise(widths))
        signs = torch.randint(0, 2, (num_members * widths[0],)).float() * 2 - 1
        self.layers = nn.ModuleList(nn.Linear(wide, narrow, bias=False) for wide, narrow in pairs)
        self.scale_in = nn.ParameterList(
            nn.Parameter(torch.ones(num_members * wide) if number else signs) for number, (wide, _) in enumerate(pairs)
        )
        self.scale_out = nn.ParameterList(nn.Parameter(torch.ones(num_members * narrow)) for _, narrow in pairs)
        self.biases = nn.ParameterList(_uniform((num_members * narrow,), wide) for wide, narrow in pairs)
        self.dropout = Dropout(dropout)
        self.head = _uniform((num_members, width, num_outputs), width)
        self.head_bias = nn.Parameter(torch.zeros(num_members * num_outputs))

    def forward(self, features: Tensor) -> Tensor:
        x_JNM = torch.cat([features, self.bins(features)], dim=1)[None]
        for layer, scale_in, scale_out, bias in zip(self.layers, self.scale_in, self.scale_out, self.biases):
            x_JNM = layer(x_JNM * self._each(scale_in))
            x_JNM = self.dropout(torch.relu(x_JNM * self._each(scale_out) + self._each(bias)))
        scores_JNK = torch.matmul(x_JNM, self.head) + self._each(self.head_bias)
        return scores_JNK.transpose(0, 1) if self.training else self._mixed(scores_JNK.float())

    def _each(self, flat: Tensor) -> Tensor:
        return flat.view(self.num_members, 1, -1)

    def _mixed(self, scores_JNK: Tensor) -> Tensor:
        """The scores whose probabilities (or values) are the mean of the members'."""
        if self.task == Task.REGRESSION:
            return scores_JNK.mean(dim=0)
        if self.task == Task.MULTILABEL:
            p_NK = torch.sigmoid(scores_JNK).mean(dim=0).clamp(1e-6, 1.0 - 1e-6)
            return torch.log(p_NK) - torch.log(1.0 - p_NK)
        return torch.log(torch.softmax(scores_JNK, dim=2).mean(dim=0).clamp(min=1e-9))


def _uniform(shape: tuple[int, ...], num_inputs: int) -> nn.Parameter:
    reach = num_inputs**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-reach, reach))
