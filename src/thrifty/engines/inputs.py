"""What a network is fed: arrays of all development rows, and the nodes that make the same of raw rows.

Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.core.errors import DataError
from thrifty.data.column import Meaning
from thrifty.data.encode.encoder import Encoder
from thrifty.data.encode.image import Image, channels_of
from thrifty.data.encode.log_mel import LogMel
from thrifty.data.encode.subwords import train_tokenizer
from thrifty.data.encode.tokens import Tokens
from thrifty.data.encode.values import text_of
from thrifty.data.encode.waveform import Waveform
from thrifty.engines import features
from thrifty.engines.absence import Usual
from thrifty.engines.features import Style
from thrifty.engines.scaling import LARGEST, Scaling
from thrifty.engines.trial import Trial
from thrifty.models.networks.fusion import kinds_of
from thrifty.models.weights import Weights
from thrifty.recipe import AudioFinetune
from thrifty.runtime.graph import evaluate
from thrifty.runtime.nodes import encoder_node

NUM_EXAMPLES = 8


@dataclass(frozen=True)
class Inputs:
    """The inputs of one fit.

    arrays: by the network's argument, for the development rows `every`, which are sorted.
    write: puts the nodes' files into a model's folder and gives the nodes; sources: the inputs of the network as it is
    exported, {input: "node.output"}; examples: a few rows of these; exported: what is exported around the network.
    kind_D: the kind of each of `features`, for a network of mixtures.
    lengths: of the development rows whose arrays are padded. tokenizer: the text of the tokenizer.json of tokens.
    usual: for a network of one column, what it answers for rows that lack it, the array [N, L] of the development rows
    that tells, and this array's "node.output".
    """

    arrays: Mapping[str, np.ndarray]
    every: np.ndarray
    write: Callable[[Path], list[dict[str, Any]]]
    sources: Mapping[str, str]
    examples: Mapping[str, np.ndarray]
    kind_D: np.ndarray | None = None
    lengths: np.ndarray | None = None
    tokenizer: str | None = None
    usual: tuple[Usual, np.ndarray, str] | None = None
    exported: Callable[[nn.Module], nn.Module] = lambda network: network
    remove: Callable[[], None] = lambda: None

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the given development rows are in the arrays."""
        return np.searchsorted(self.every, rows)

    def with_usual(self, scores_NK: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The network's scores of the given rows, the usual ones for those that lack its one column."""
        if self.usual is None:
            return scores_NK
        usual, sign_NL, _ = self.usual
        return usual.apply(scores_NK, np.asarray(sign_NL[self.places(rows)]))

    def example_tensors(self) -> dict[str, Tensor]:
        """NUM_EXAMPLES rows of what the exported network takes, repeated where there are fewer."""
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in self.examples.items()}
        return {name: t[torch.arange(NUM_EXAMPLES) % len(t)] for name, t in tensors.items()}


def of_media(
    trial: Trial, rows: np.ndarray, meaning: Meaning, image_size: int | None = None, name: str = "input"
) -> Inputs:
    """The one column of images (`pixels`) or sounds (`frames`; for pretrained networks `waveform`), encoded.

    rows: to train on. image_size: that of the preparation unless given. name: of the node.
    """
    dataset, preparation = trial.dataset, trial.recipe.preparation
    every = dataset.splits.development_rows
    names = dataset.schema.names_of(meaning)
    if len(names) != 1:
        raise DataError(f"a network on {meaning.value} needs one such column; there are {len(names)}")
    encoder: Encoder
    if isinstance(trial.recipe.model, AudioFinetune):
        encoder, output = Waveform(names, preparation.audio_seconds), "waveform"
    elif meaning == Meaning.IMAGE:
        channels = channels_of(dataset.cells(names[0], every))
        encoder, output = Image(names, image_size or preparation.image_size, channels), "pixels"
    else:
        encoder, output = LogMel(names, preparation.audio_seconds), "frames"
    node = encoder_node(name, encoder, trial.folder)
    source, sign = f"{name}.{output}", f"{name}.present"
    found = evaluate([node], trial.folder, (source, sign), dataset, every, trial.cache, workers=trial.channel.cores)
    return Inputs(
        arrays={output: found[source]},
        every=every,
        write=lambda folder: [encoder_node(name, encoder, folder)],
        sources={output: source},
        examples={output: found[source][:NUM_EXAMPLES]},
        usual=(Usual.fit(trial, rows, "present", 0.0), found[sign], sign),
    )


def of_pretrained_tokens(trial: Trial, rows: np.ndarray, weights: Weights, max_tokens: int) -> Inputs:
    """All texts of a row as `ids` and `mask` of a pretrained encoder's own tokenizer. rows: to train on."""
    return _of_tokens(trial, rows, (weights.folder / "tokenizer.json").read_text(encoding="utf-8"), max_tokens)


def of_trained_tokens(trial: Trial, rows: np.ndarray, num_tokens: int, max_tokens: int) -> Inputs:
    """All texts of a row as `ids` and `mask` of a tokenizer of `num_tokens` at most, trained on the given rows."""
    columns = trial.dataset.columns(rows, trial.dataset.schema.names_of(Meaning.TEXT))
    texts = [text_of(value) for values in columns.values() for value in values]
    return _of_tokens(trial, rows, train_tokenizer(texts, num_tokens), max_tokens)


def _of_tokens(trial: Trial, rows: np.ndarray, tokenizer: str, max_tokens: int) -> Inputs:
    """All texts of a row as `ids` and `mask`. rows: to train on. tokenizer: the text of a `tokenizer.json`."""
    dataset = trial.dataset
    every, names = dataset.splits.development_rows, dataset.schema.names_of(Meaning.TEXT)
    if not names:
        raise DataError("a network on text needs a column of texts; there is none")
    encoder = Tokens(names, tokenizer, max_tokens)
    node = encoder_node("input", encoder, trial.folder)
    sources = {output: f"input.{output}" for output in encoder.outputs}
    found = evaluate(
        [node], trial.folder, tuple(sources.values()), dataset, every, trial.cache, workers=trial.channel.cores
    )
    arrays = {output: found[source] for output, source in sources.items()}
    least = float(encoder.encode({name: [""] for name in names})[0]["mask"].sum())  # special tokens alone
    return Inputs(
        arrays=arrays,
        every=every,
        write=lambda folder: [encoder_node("input", encoder, folder)],
        sources=sources,
        examples={name: array[:NUM_EXAMPLES] for name, array in arrays.items()},
        usual=(Usual.fit(trial, rows, "mask", least), arrays["mask"], sources["mask"]),
        lengths=np.asarray(arrays["mask"]).sum(axis=1),
        tokenizer=encoder.tokenizer,
    )


def of_features(trial: Trial, rows: np.ndarray) -> Inputs:
    """All dense blocks of the recipe side by side as `features`, fitted to and scaled by the given rows."""
    found = features.build(trial, rows, Style.DENSE)
    every = trial.dataset.splits.development_rows
    scaling = Scaling.of(found.blocks, found.arrays(rows))
    arrays = found.arrays(every)
    names = [block.name for block in found.blocks]
    return Inputs(
        arrays={"features": scaling.apply(np.concatenate(arrays, axis=1))},
        every=every,
        write=found.write,
        sources={block.name: block.sources[0] for block in found.blocks},
        examples={name: array[:NUM_EXAMPLES] for name, array in zip(names, arrays, strict=True)},
        kind_D=kinds_of(names, [block.width for block in found.blocks]),
        exported=lambda network: Joined(network, names, scaling),
        remove=found.remove,
    )


def of_mixture(trial: Trial, rows: np.ndarray, image_size: int, convolutions: bool) -> Inputs:
    """All dense blocks as `features`, and with convolutions the `pixels` or `frames` of a single such column."""
    inputs = of_features(trial, rows)
    for meaning in (Meaning.IMAGE, Meaning.AUDIO) if convolutions else ():
        if len(trial.dataset.schema.names_of(meaning)) == 1:
            inputs = _beside(inputs, of_media(trial, rows, meaning, image_size, f"{meaning.value}_input"))
    return inputs


def _beside(inputs: Inputs, media: Inputs) -> Inputs:
    return replace(
        inputs,
        arrays={**inputs.arrays, **media.arrays},
        write=lambda folder: [*inputs.write(folder), *media.write(folder)],
        sources={**inputs.sources, **media.sources},
        examples={**inputs.examples, **media.examples},
    )


class Joined(nn.Module):
    """A network of `features` as one of the blocks that they are made of, unscaled; other inputs go through."""

    mean_D: Tensor
    scale_D: Tensor

    def __init__(self, network: nn.Module, names: Sequence[str], scaling: Scaling) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)
        self.register_buffer("mean_D", torch.from_numpy(scaling.mean_D))
        self.register_buffer("scale_D", torch.from_numpy(scaling.scale_D))

    def forward(self, **blocks: Tensor) -> Tensor:
        x_ND = (torch.cat([blocks[name] for name in self.names], dim=1) - self.mean_D) / self.scale_D
        x_ND = torch.where(torch.isnan(x_ND), torch.zeros_like(x_ND), x_ND)
        others = {name: value for name, value in blocks.items() if name not in self.names}
        scores_NK: Tensor = self.network(features=x_ND.clamp(-LARGEST, LARGEST), **others)
        return scores_NK
