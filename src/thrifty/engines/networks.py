"""The networks that recipes ask for: what they are fed, how they are built, what they answer.

Shapes: N rows, K outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from thrifty.core import seeds
from thrifty.core.errors import UsageError
from thrifty.data.column import Meaning
from thrifty.data.encode.subwords import num_tokens_of
from thrifty.engines.backbones import body, weights_of
from thrifty.engines.inputs import Inputs, of_features, of_media, of_mixture, of_pretrained_tokens, of_trained_tokens
from thrifty.engines.trial import Trial
from thrifty.models.networks.audio import AudioNetwork
from thrifty.models.networks.bert import BertNetwork
from thrifty.models.networks.finetuned import TUNED, FineTuned
from thrifty.models.networks.fusion import FusionNetwork
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.table import Bins, TableNetwork
from thrifty.models.networks.text import TextNetwork
from thrifty.models.weights import Kind
from thrifty.recipe import AudioFinetune, ImageFinetune, TextFinetune
from thrifty.recipe import AudioNetwork as AudioRecipe
from thrifty.recipe import FusionNetwork as FusionRecipe
from thrifty.recipe import ImageNetwork as ImageRecipe
from thrifty.recipe import TableNetwork as TableRecipe
from thrifty.recipe import TextNetwork as TextRecipe
from thrifty.training.batches import in_order
from thrifty.training.precision import Precision

PREDICT_ROWS = 256  # at once
PADDED_ROWS = 32  # at once on a processor, where they are padded to the longest of them
MOST_BINNED = 300  # features that get bins


def inputs_of(trial: Trial, rows: np.ndarray) -> Inputs:
    """What the network is fed; encoders that learn are fitted to the given rows."""
    model = trial.recipe.model
    if isinstance(model, TableRecipe):
        return of_features(trial, rows)
    if isinstance(model, TextFinetune):
        return of_pretrained_tokens(trial, rows, weights_of(trial.recipe.preparation, "text"), model.max_tokens)
    if isinstance(model, TextRecipe):
        return of_trained_tokens(trial, rows, model.num_tokens, model.max_tokens)
    if isinstance(model, FusionRecipe):
        return of_mixture(trial, rows, model.image_size, model.convolutions > 0)
    of_images = isinstance(model, (ImageRecipe, ImageFinetune))
    return of_media(trial, rows, Meaning.IMAGE if of_images else Meaning.AUDIO)


def build(trial: Trial, inputs: Inputs, places: np.ndarray) -> nn.Module:
    model = trial.recipe.model
    torch.manual_seed(seeds.derive(trial.recipe.seed, "weights"))
    if isinstance(model, TableRecipe):
        x_ND = inputs.arrays["features"]
        bins = Bins(x_ND[places], _binned(x_ND.shape[1]), model.num_bins)
        return TableNetwork(
            bins, x_ND.shape[1], trial.num_outputs, trial.task, model.width, model.num_layers, model.num_members,
            model.dropout,
        )  # fmt: skip
    if isinstance(model, ImageRecipe):
        return _of_pixels(inputs, places, trial.num_outputs, model.width, model.blocks_per_stage, model.dropout)
    if isinstance(model, FusionRecipe):
        assert inputs.kind_D is not None
        image = audio = None
        if "pixels" in inputs.arrays:
            image = _of_pixels(inputs, places, model.width, model.convolutions, 1, model.dropout)
        if "frames" in inputs.arrays:
            audio = AudioNetwork(model.width, model.convolutions, 1, model.dropout)
        return FusionNetwork(
            inputs.kind_D, trial.num_outputs, model.width, model.dropout, model.modality_dropout, image, audio
        )
    if isinstance(model, TextRecipe):
        assert inputs.tokenizer is not None
        num_tokens = num_tokens_of(inputs.tokenizer)
        return TextNetwork(num_tokens, trial.num_outputs, model.width, model.num_layers, model.dropout)
    if isinstance(model, (TextFinetune, ImageFinetune, AudioFinetune)):
        return _finetuned(trial, model)
    if isinstance(model, AudioRecipe):
        return AudioNetwork(trial.num_outputs, model.width, model.blocks_per_stage, model.dropout)
    raise UsageError(f"the engine of networks does not fit a {model.kind} recipe")


def _finetuned(trial: Trial, model: TextFinetune | ImageFinetune | AudioFinetune) -> nn.Module:
    """A pretrained network with an output layer; one of BERT writes its own file."""
    if model.tuned not in TUNED:
        raise UsageError(f"model.tuned is {model.tuned!r}; it must be one of {', '.join(TUNED)}")
    preparation = trial.recipe.preparation
    kind: Kind = (
        "text" if isinstance(model, TextFinetune) else "image" if isinstance(model, ImageFinetune) else "speech"
    )
    weights = weights_of(preparation, kind)
    if weights.architecture == "bert":
        return BertNetwork(weights, trial.num_outputs, model.num_trained, model.dropout, model.tuned)
    network = body(weights, preparation.audio_seconds)
    return FineTuned(network, trial.num_outputs, model.tuned, model.num_trained, model.dropout)


def _of_pixels(
    inputs: Inputs, places: np.ndarray, num_outputs: int, width: int, blocks_per_stage: int, dropout: float
) -> ImageNetwork:
    """A network on pixels, standardised by some of the training rows."""
    array = inputs.arrays["pixels"]
    _, size, _, channels = array.shape
    network = ImageNetwork(size, channels, num_outputs, width, blocks_per_stage, dropout)
    some = places[:: max(1, len(places) // 1000)]
    network.standardise(torch.from_numpy(np.array(array[some])))
    return network


def _binned(num_features: int) -> np.ndarray:
    """Which features get bins: all of a narrow table; a wide one has enough without."""
    return np.arange(num_features if num_features <= MOST_BINNED else 0)


def predict(network: nn.Module, inputs: Inputs, rows: np.ndarray, precision: Precision) -> np.ndarray:
    """Scores float32 [N, K] of the given rows; those of like length together, where they are padded."""
    network.eval()
    places = inputs.places(rows)
    order = np.arange(len(rows)) if inputs.lengths is None else np.argsort(inputs.lengths[places], kind="stable")
    padded = inputs.lengths is not None and precision.device == "cpu"
    parts = []
    with torch.inference_mode(), precision.autocast():
        for batch in in_order(inputs.arrays, places[order], PADDED_ROWS if padded else PREDICT_ROWS):
            scores_NK = network(**{name: precision.move(tensor) for name, tensor in batch.items()})
            parts.append(scores_NK.float().cpu().numpy())
    scores_NK = np.concatenate(parts)
    found_NK = np.empty_like(scores_NK)
    found_NK[order] = scores_NK
    return found_NK


def answers(network: nn.Module, inputs: Inputs, rows: np.ndarray, precision: Precision) -> np.ndarray:
    """Scores as the model gives them: the usual ones for rows that lack the one column that the network reads."""
    return inputs.with_usual(predict(network, inputs, rows, precision), rows)
