"""A small network on tokens, trained from scratch.

It is made of products alone, without convolutions of the framework: products and the table of embeddings become int8
in an artifact, and each row gives the same alone and in a batch.

Shapes: N rows, L tokens, D width, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from thrifty.models.networks.layers import Dropout

EMBEDDING_STD = 0.1
UNSEEN = -1e4  # added to what the mask hides, below any value


class TextNetwork(nn.Module):
    """Scores float32 [N, K] from `ids` and `mask`, int64 [N, L].

    The mean and the largest value of the tokens' vectors go to the outputs, by a linear layer
    (https://arxiv.org/abs/1607.01759) and a hidden one together. Before, each of `num_layers` layers adds to a token's
    vector what it makes of it and its two neighbours (https://arxiv.org/abs/1408.5882). What is padding in all rows of
    a batch is cut off.
    """

    free_axes: Mapping[str, Mapping[int, str]] = {"ids": {1: "L"}, "mask": {1: "L"}}

    def __init__(self, num_tokens: int, num_outputs: int, width: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, width)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(num_layers)])
        self.layers = nn.ModuleList([nn.Linear(3 * width, width) for _ in range(num_layers)])
        self.dropout = Dropout(dropout)
        self.hidden = nn.Linear(2 * width, width)
        self.head = nn.Linear(3 * width, num_outputs)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        if not (torch.jit.is_tracing() or torch.compiler.is_exporting()):
            last_L = torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask.amax(dim=0)
            longest = max(1, int(last_L.max()))
            ids, mask = ids[:, :longest], mask[:, :longest]
        seen_NL1 = mask[:, :, None].float()
        x_NLD = self.embedding(ids) * seen_NL1
        for norm, layer in zip(self.norms, self.layers):
            padded = functional.pad(norm(x_NLD) * seen_NL1, (0, 0, 1, 1))
            near_NL3D = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=2)
            x_NLD = (x_NLD + functional.relu(layer(near_NL3D))) * seen_NL1
        mean_ND = x_NLD.sum(dim=1) / seen_NL1.sum(dim=1).clamp(min=1.0)
        largest_ND = (x_NLD + UNSEEN * (1.0 - seen_NL1)).amax(dim=1) * seen_NL1.amax(dim=1)
        x_N2D = self.dropout(torch.cat([mean_ND, largest_ND], dim=1))
        hidden_ND = self.dropout(functional.relu(self.hidden(x_N2D)))
        scores_NK: Tensor = self.head(torch.cat([x_N2D, hidden_ND], dim=1))
        return scores_NK
