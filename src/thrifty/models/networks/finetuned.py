"""A pretrained network with an output layer of its own, trained together.

Shapes: N rows, D width of the backbone's features, K outputs.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from thrifty.core.errors import UsageError
from thrifty.models.networks import lora

Tuned = Literal["last", "lora", "full"]
TUNED: tuple[Tuned, ...] = typing.get_args(Tuned)

HEAD_FACTOR = 10.0  # on the learning rate, for the output layer starts from nothing
LAYER_FACTOR = 0.85  # on the learning rate of each layer below the top one (https://arxiv.org/abs/1801.06146)
LORA_FACTOR = 2.0  # on the learning rate, for updates of low rank start from nothing too


class Body(Protocol):
    """What a pretrained network must be: a module that gives features float32 [N, width] of an encoder's arrays.

    layers: its parts from the first to the last, each of which learns at one rate. ends: parameters after the last.
    """

    width: int

    @property
    def layers(self) -> Sequence[nn.Module]: ...

    @property
    def ends(self) -> Sequence[nn.Parameter]: ...


class FineTuned(nn.Module):
    """Scores float32 [N, K] by a linear layer on the features of a body.

    tuned: `last` trains the `num_trained` uppermost layers, `lora` updates of low rank within these, `full` all
    there is. What is not trained stays as it was pretrained, and so do the statistics of every batch normalisation.
    Raises UsageError for `lora` where the layers have no linear part.
    """

    def __init__(self, body: Any, num_outputs: int, tuned: Tuned, num_trained: int, dropout: float) -> None:
        super().__init__()
        self.body, self.tuned = body, tuned
        self.free_axes: Mapping[str, Mapping[int, str]] = getattr(body, "free_axes", {})
        layers = list(body.layers)
        num_trained = len(layers) if tuned == "full" else num_trained
        self.trained: list[list[nn.Parameter]] = []
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        for depth, layer in enumerate(reversed(layers[max(0, len(layers) - num_trained) :])):
            self.trained.append(self._trained_of(layer, [] if depth else list(body.ends)))
        if tuned == "full":
            grouped = {id(p) for some in self.trained for p in some}
            self.trained.append([p for p in body.parameters() if id(p) not in grouped])
        for some in self.trained:
            for parameter in some:
                parameter.requires_grad_(True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(body.width, num_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _trained_of(self, layer: nn.Module, ends: list[nn.Parameter]) -> list[nn.Parameter]:
        """What is trained of one layer; with lora the updates that are put into it."""
        if self.tuned != "lora":
            return [*layer.parameters(), *ends]
        if not lora.add(layer):
            raise UsageError("model.tuned=lora needs linear layers, which this backbone has not; use last or full")
        return [p for part in layer.modules() if isinstance(part, lora.LowRankLinear) for p in (part.down, part.up)]

    def train(self, mode: bool = True) -> FineTuned:
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, **inputs: Tensor) -> Tensor:
        features_ND = self.body(**inputs).float()
        scores_NK: Tensor = self.head(self.dropout(features_ND))
        return scores_NK

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW: each layer below learns more slowly, the output layer faster; biases do not decay."""
        rate = LORA_FACTOR if self.tuned == "lora" else 1.0
        parts = [(HEAD_FACTOR, list(self.head.parameters()))]
        parts += [(rate * LAYER_FACTOR**depth, some) for depth, some in enumerate(self.trained)]
        groups = []
        for factor, part in parts:
            for decays in (True, False):
                some = [p for p in part if (p.ndim > 1) == decays]
                if some:
                    decay = weight_decay if decays and not (rate != 1.0 and factor != HEAD_FACTOR) else 0.0
                    groups.append({"params": some, "weight_decay": decay, "factor": factor})
        return groups

    def to_units(self, mean: float, scale: float) -> None:
        """Has the scores of a network trained on standardised targets be in the target's own units."""
        with torch.no_grad():
            self.head.weight.mul_(scale)
            self.head.bias.mul_(scale).add_(mean)

    def merge(self) -> None:
        """Adds updates of low rank to their layers, for export."""
        lora.merge(self.body)
