"""A backbone's ONNX file, written once and kept in the cache by what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from thrifty.data.cache import Cache
from thrifty.models.backbones import bert, efficientnet_lite, speech
from thrifty.models.weights import Kind, Weights

VERSION = 1  # raised when a writer gives another graph than before
INPUTS: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "image": ("image", ("pixels",)),
    "text": ("tokens", ("ids", "mask")),
    "speech": ("waveform", ("waveform",)),
}


@dataclass(frozen=True)
class Backbone:
    """An ONNX file whose one output is `features`, float32 [N, D].

    encoder: the kind of encoder that it reads; inputs: its inputs, named as that encoder's outputs.
    """

    weights: Weights
    path: Path
    encoder: str
    inputs: tuple[str, ...]


def backbone(weights: Weights, cache: Cache, image_size: int | None = None) -> Backbone:
    """The feature extractor of the weights.

    image: `pixels` uint8 [N, H, W, C] of an encoder `image`, resized in the graph to `image_size` when one is given.
    text: `ids` and `mask` int64 [N, L] of an encoder `tokens` with `weights.folder / "tokenizer.json"`.
    speech: `waveform` float32 [N, T] of an encoder `waveform`.
    """
    encoder, inputs = INPUTS[weights.kind]
    path = cache.file(
        f"backbone {VERSION} {weights.kind} {weights.sha256} {image_size}",
        "backbone.onnx",
        _writer(weights, image_size),
    )
    return Backbone(weights, path, encoder, inputs)


def _writer(weights: Weights, image_size: int | None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        if weights.kind == "image":
            efficientnet_lite.write(weights.path, path, size=image_size)
        elif weights.kind == "text":
            bert.write(weights.folder, path)
        else:
            speech.write(weights.folder, path)

    return make
