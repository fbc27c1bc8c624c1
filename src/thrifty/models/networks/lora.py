"""Low-rank updates of linear layers: the layer stays as it was pretrained, a product of two thin matrices is learnt.

https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

RANK = 8
SCALE = 2.0  # on the product


class LowRankLinear(nn.Linear):
    """A linear layer that stays as it is, with an update; until that is trained it gives what the layer gives."""

    def __init__(self, layer: nn.Linear, rank: int = RANK) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        rank = min(rank, layer.in_features, layer.out_features)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features).uniform_(-1, 1) / math.sqrt(layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        whole = functional.linear(x, self.weight, self.bias)
        return whole + SCALE * functional.linear(functional.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """A plain linear layer that gives the same."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter((self.weight + SCALE * (self.up @ self.down)).detach(), requires_grad=False)
        layer.bias = self.bias
        return layer


def add(layer: nn.Module, rank: int = RANK) -> int:
    """Puts an update beside every linear layer within a module; gives how many there are."""
    found = [(name, part) for name, part in layer.named_modules() if name and type(part) is nn.Linear]
    for name, part in found:
        _replace(layer, name, LowRankLinear(part, rank))
    return len(found)


def merge(layer: nn.Module) -> None:
    """Adds every update to its layer's weight, so that only plain linear layers are left."""
    for name, part in [(n, p) for n, p in layer.named_modules() if isinstance(p, LowRankLinear)]:
        _replace(layer, name, part.merged())


def _replace(layer: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(layer.get_submodule(parent), last, part)
