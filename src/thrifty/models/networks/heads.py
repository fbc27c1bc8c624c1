"""Many small networks on the same features, computed at once by batched matrix products.

Shapes: N rows, D features, J heads, M hidden units, K outputs.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thrifty.models.networks.layers import random_bytes


@dataclass(frozen=True)
class Head:
    """One head: linear when `hidden` is 0, else with one hidden layer.

    dropout: of hidden units. feature_dropout: of features. learning_rate_factor: on the common learning rate.
    """

    hidden: int
    dropout: float
    feature_dropout: float
    weight_decay: float
    learning_rate_factor: float


class HeadBank(nn.Module):
    """Heads with the same number of hidden units (or none): `features` float32 [N, D] to scores float32 [N, J, K]."""

    dropout_J11: Tensor
    feature_dropout_J11: Tensor

    def __init__(self, heads: list[Head], num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.heads = heads
        (self.hidden,) = {head.hidden for head in heads}
        widths = [num_features, self.hidden, num_outputs] if self.hidden else [num_features, num_outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for wide, narrow in itertools.pairwise(widths):
            reach = 1.0 / math.sqrt(wide) if self.hidden else 0.0
            self.weights.append(nn.Parameter(torch.empty(len(heads), wide, narrow).uniform_(-reach, reach)))
            self.biases.append(nn.Parameter(torch.zeros(len(heads), 1, narrow)))
        self.register_buffer("dropout_J11", torch.tensor([h.dropout for h in heads])[:, None, None])
        self.register_buffer("feature_dropout_J11", torch.tensor([h.feature_dropout for h in heads])[:, None, None])

    def forward(self, features: Tensor) -> Tensor:
        x = self._drop(features[None], self.feature_dropout_J11)
        if self.hidden:
            x = self._drop(torch.relu(torch.matmul(x, self.weights[0]) + self.biases[0]), self.dropout_J11)
        return (torch.matmul(x, self.weights[-1]) + self.biases[-1]).transpose(0, 1)

    def _drop(self, x_JNi: Tensor, share_J11: Tensor) -> Tensor:
        if not self.training or not bool((share_J11 > 0).any()):
            return x_JNi
        shape = (len(share_J11), *x_JNi.shape[1:])
        level_J11 = (256 * share_J11).round().clamp(max=255)
        kept = random_bytes(shape, x_JNi.device) >= level_J11.to(torch.uint8)
        return x_JNi * (kept * (256 / (256 - level_J11)))


class Heads(nn.Module):
    """Banks of heads side by side: scores float32 [N, J, K], heads in the order of `heads`."""

    def __init__(self, heads: list[Head], num_features: int, num_outputs: int) -> None:
        super().__init__()
        members = [[i for i, h in enumerate(heads) if h.hidden == size] for size in sorted({h.hidden for h in heads})]
        self.banks = nn.ModuleList(HeadBank([heads[i] for i in some], num_features, num_outputs) for some in members)
        self.places = [
            (bank, some.index(i)) for i in range(len(heads)) for bank, some in enumerate(members) if i in some
        ]
        self.order = torch.tensor([i for some in members for i in some]).argsort().tolist()

    def forward(self, features: Tensor) -> Tensor:
        scores_NJK = torch.cat([bank(features) for bank in self.banks], dim=1)
        return scores_NJK[:, self.order]

    def _bank(self, number: int) -> HeadBank:
        bank = self.banks[number]
        assert isinstance(bank, HeadBank)
        return bank

    def layers_of(self, head: int) -> list[tuple[Tensor, Tensor]]:
        """Weights [inputs, outputs] and biases [outputs] of each layer of one head."""
        number, place = self.places[head]
        bank = self._bank(number)
        return [(weight[place], bias[place, 0]) for weight, bias in zip(bank.weights, bank.biases)]

    def groups(self) -> list[dict[str, object]]:
        """Parameters for `PerHeadAdamW`: weights decay by each head's own decay, biases do not."""
        found: list[dict[str, object]] = []
        for bank in map(self._bank, range(len(self.banks))):
            factor_J11 = torch.tensor([head.learning_rate_factor for head in bank.heads])[:, None, None]
            decay_J11 = torch.tensor([head.weight_decay for head in bank.heads])[:, None, None]
            for parameters, decay in ((bank.weights, decay_J11), (bank.biases, torch.zeros_like(decay_J11))):
                found.append({"params": list(parameters), "factor": 1.0, "factor_J11": factor_J11, "decay_J11": decay})
        return found
