"""A pretrained BERT encoder with an output layer, trained together, and written as ONNX without an exporter.

Shapes: N rows, L tokens, D width of the encoder, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from thrifty.models.backbones import bert
from thrifty.models.backbones.transformer import TextBody
from thrifty.models.networks.finetuned import FineTuned, Tuned
from thrifty.models.weights import Weights


class BertNetwork(FineTuned):
    """Scores float32 [N, K] from `ids` and `mask`, int64 [N, L], by the mean of the last layer's vectors."""

    def __init__(
        self, weights: Weights, num_outputs: int, num_trained: int, dropout: float, tuned: Tuned = "last"
    ) -> None:
        """Raises DataError for an encoder that cannot be read."""
        self.config = bert.read_config(weights.folder)
        super().__init__(TextBody(weights), num_outputs, tuned, num_trained, dropout)

    def write_onnx(self, examples: Mapping[str, Tensor], path: Path, output: str) -> None:
        """Writes the network as ONNX for any number of rows and tokens; updates of low rank become part of it."""
        self.merge()
        state = {name: np.asarray(t.detach().float().cpu()) for name, t in self.body.encoder.state_dict().items()}
        head = (np.asarray(self.head.weight.detach().cpu()), np.asarray(self.head.bias.detach().cpu()))
        bert.write_scores(self.config, state, head, path, output)
