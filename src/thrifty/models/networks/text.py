"""A pretrained text encoder with an output layer, trained together.

Shapes: N rows, L tokens, D width of the encoder, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.models.backbones import bert
from thrifty.models.weights import Weights

HEAD_FACTOR = 10.0  # on the learning rate, for the output layer starts from nothing
LAYER_FACTOR = 0.85  # on the learning rate of each layer below the top one (https://arxiv.org/abs/1801.06146)


class TextNetwork(nn.Module):
    """Scores float32 [N, K] from `ids` and `mask`, int64 [N, L], by the mean of the last layer's vectors.

    What is padding in all rows of a batch is cut off. The embeddings and all but the `num_trained` uppermost layers
    stay as they were pretrained.
    """

    def __init__(self, weights: Weights, num_outputs: int, num_trained: int, dropout: float) -> None:
        """Raises DataError for an encoder that cannot be read."""
        super().__init__()
        from transformers import BertModel

        self.config = bert.read_config(weights.folder)
        self.encoder = BertModel.from_pretrained(weights.folder, add_pooling_layer=False, local_files_only=True).float()
        layers = list(self.encoder.encoder.layer)
        self.trained = layers[max(0, len(layers) - num_trained) :]
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(False)
        for layer in self.trained:
            for parameter in layer.parameters():
                parameter.requires_grad_(True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(self.config["hidden_size"]), num_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        longest = max(1, int(mask.sum(dim=1).max()))
        ids, mask = ids[:, :longest], mask[:, :longest]
        x_NLD = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        seen_NL1 = mask[:, :, None].float()
        x_ND = (x_NLD * seen_NL1).sum(dim=1) / seen_NL1.sum(dim=1).clamp(min=1.0)
        scores_NK: Tensor = self.head(self.dropout(x_ND))
        return scores_NK

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW: each layer below learns more slowly, the output layer faster; biases do not decay."""
        parts = [(LAYER_FACTOR**depth, layer) for depth, layer in enumerate(reversed(self.trained))]
        groups = []
        for factor, part in [(HEAD_FACTOR, self.head), *parts]:
            for decays in (True, False):
                some = [p for p in part.parameters() if (p.ndim > 1) == decays]
                groups.append({"params": some, "weight_decay": weight_decay if decays else 0.0, "factor": factor})
        return groups

    def to_units(self, mean: float, scale: float) -> None:
        """Has the scores of a network trained on standardised targets be in the target's own units."""
        with torch.no_grad():
            self.head.weight.mul_(scale)
            self.head.bias.mul_(scale).add_(mean)

    def write_onnx(self, examples: Mapping[str, Tensor], path: Path, output: str) -> None:
        """Writes the network as ONNX for any number of rows and tokens."""
        state = {name: np.asarray(value.detach().float().cpu()) for name, value in self.encoder.state_dict().items()}
        head = (np.asarray(self.head.weight.detach().cpu()), np.asarray(self.head.bias.detach().cpu()))
        bert.write_scores(self.config, state, head, path, output)
