"""The engine of networks: its entry is `fit`, for networks from scratch on images and sounds, and for heads.

Shapes: N rows, V validation rows, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from thrifty.core import seeds
from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import Meaning, Task
from thrifty.data.encode.encoder import Encoder
from thrifty.data.encode.image import Image, channels_of
from thrifty.data.encode.log_mel import LogMel
from thrifty.engines import heads
from thrifty.engines.trial import (
    Round,
    Trial,
    finish,
    model_folder,
    open_trial,
    parity_rows,
    value_of,
    write_chosen,
    write_parity,
)
from thrifty.execution.job import Channel
from thrifty.exporting.onnx import Exported, export_module
from thrifty.models.networks.audio import AudioNetwork
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.output import InUnits
from thrifty.recipe import AudioNetwork as AudioRecipe
from thrifty.recipe import Heads as HeadsRecipe
from thrifty.recipe import ImageNetwork as ImageRecipe
from thrifty.recipe import Training
from thrifty.runtime.graph import evaluate
from thrifty.runtime.nodes import encoder_node, onnx_node, write_model
from thrifty.training import augment
from thrifty.training.batches import Rows, in_order
from thrifty.training.loop import Diverged, EpochEnded, Finished, FitConfig
from thrifty.training.loop import fit as train
from thrifty.training.losses import dense_targets, loss_of
from thrifty.training.optimizers import for_convolutions
from thrifty.training.precision import Precision, best_precision
from thrifty.training.state import State, begin

EXPORT_SECONDS = 1.5  # kept for writing and checking the model
PREDICT_ROWS = 256  # at once


def fit(arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """A job's entry: fits an ImageNetwork, AudioNetwork or Heads recipe.

    Gives {"value", "seconds", "notes"} and writes validation.npy, chosen.json and model/ as `engines.trial` says.
    """
    torch.set_num_threads(channel.cores)
    trial = open_trial(arguments, channel)
    if isinstance(trial.recipe.model, HeadsRecipe):
        return heads.fit(trial)
    return _fit_network(trial)


@dataclass(frozen=True)
class _Inputs:
    """The encoder of the network's one column, and its `array` for all development rows `every`."""

    encoder: Encoder
    output: str
    every: np.ndarray
    array: np.ndarray

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the given development rows are in `array`."""
        return np.searchsorted(self.every, rows)


@dataclass(frozen=True)
class _Trained:
    """A network with its best weights, in eval mode, and how it came to them."""

    network: nn.Module
    value: float
    epochs: float
    stop_epoch: float
    because: str
    restarts: int


def _fit_network(trial: Trial) -> dict[str, Any]:
    inputs = _inputs(trial)
    if trial.rows == "development":
        final = _train(trial, inputs, trial.final_rows(), None, _seconds(trial))
        return finish(trial, None, _notes([final], _write(trial, inputs, final.network)))
    rounds = trial.rounds()
    num_fits = len(rounds) + (len(rounds) > 1)
    trained: list[_Trained] = []
    scores: list[np.ndarray] = []
    for number, round_ in enumerate(rounds):
        seconds = _seconds(trial) / (num_fits - number)
        trained.append(_train(trial, inputs, round_.train, round_, seconds))
        scores.append(_predict(trained[-1].network, inputs, round_.validation, _exact(trial)))
        if len(rounds) > 1:
            trial.report(number + 1, float(np.mean([one.value for one in trained])))
    chosen = {name: float(np.mean([getattr(one, name) for one in trained])) for name in ("epochs", "stop_epoch")}
    write_chosen(trial, chosen)
    network = trained[0].network
    if len(rounds) > 1:
        again = replace(trial, chosen=chosen)
        network = _train(again, inputs, trial.final_rows(), None, _seconds(trial)).network
    exported = _write(trial, inputs, network)
    return finish(trial, trial.place(rounds, scores), _notes(trained, exported))


def _seconds(trial: Trial) -> float:
    """What is left for training: of the job, and of the recipe's bound on it."""
    training = trial.recipe.training
    bound = math.inf if training is None or training.seconds is None else training.seconds - trial.clock.elapsed()
    return min(trial.seconds_left() - EXPORT_SECONDS, bound)


def _device(trial: Trial) -> str:
    return str(trial.arguments.get("device") or "cpu")


def _exact(trial: Trial) -> Precision:
    return Precision(torch.float32, _device(trial))


def _inputs(trial: Trial) -> _Inputs:
    """Encodes the network's column for all development rows, or finds that in the cache."""
    dataset, preparation = trial.dataset, trial.recipe.preparation
    every = dataset.splits.development_rows
    meaning = Meaning.IMAGE if isinstance(trial.recipe.model, ImageRecipe) else Meaning.AUDIO
    names = dataset.schema.names_of(meaning)
    if len(names) != 1:
        raise DataError(f"a network on {meaning.value} needs one such column; there are {len(names)}")
    encoder: Encoder
    if meaning == Meaning.IMAGE:
        channels = channels_of(dataset.columns(every, names)[names[0]])
        encoder, output = Image(names, preparation.image_size, channels), "pixels"
    else:
        encoder, output = LogMel(names, preparation.audio_seconds), "frames"
    node = encoder_node("input", encoder, trial.folder)
    wanted = f"input.{output}"
    threads = trial.channel.cores
    found = evaluate([node], trial.folder, (wanted,), dataset, every, trial.cache, threads=threads)
    return _Inputs(encoder, output, every, found[wanted])


def _build(trial: Trial, inputs: _Inputs, places: np.ndarray) -> nn.Module:
    model = trial.recipe.model
    torch.manual_seed(seeds.derive(trial.recipe.seed, "weights"))
    if isinstance(model, ImageRecipe):
        _, size, _, channels = inputs.array.shape
        network = ImageNetwork(size, channels, trial.num_outputs, model.width, model.blocks_per_stage, model.dropout)
        some = places[:: max(1, len(places) // 1000)]
        network.standardise(torch.from_numpy(np.array(inputs.array[some])))
        return network
    if isinstance(model, AudioRecipe):
        return AudioNetwork(trial.num_outputs, model.width, model.blocks_per_stage, model.dropout)
    raise UsageError(f"the engine of networks does not fit a {model.kind} recipe")


def _train(trial: Trial, inputs: _Inputs, rows: np.ndarray, round_: Round | None, seconds: float) -> _Trained:
    """Trains on the rows; with a round, the weights that did best on its validation rows are kept."""
    training = trial.recipe.training or Training()
    targets_NK, mean, scale = _targets(trial, rows, training.label_smoothing)
    data = Rows({inputs.output: inputs.array}, inputs.places(rows), targets_NK, trial.dataset.weights(rows))
    precision = best_precision(_device(trial))
    model = precision.place(_build(trial, inputs, data.rows_N))
    state = begin(model, for_convolutions(model, training.weight_decay))
    config = _config(trial, training, len(rows), seconds)
    finished = None
    for event in train(
        state, data, config, loss_of(trial.task), precision,
        augment=_augment(trial, training.augmentation),
        validate=_validate(trial, inputs, round_, precision, mean, scale) if round_ else None,
        should_stop=trial.channel.should_stop,
    ):  # fmt: skip
        match event:
            case EpochEnded() if round_ and len(trial.rounds()) == 1:
                trial.report(event.epoch, event.value, loss=event.loss)
            case Diverged():
                trial.channel.report({"note": f"diverged at step {event.step}, loss {event.loss:.3g}"})
            case Finished():
                finished = event
    assert finished is not None
    return _trained(state, finished, mean, scale)


def _trained(state: State, finished: Finished, mean: float, scale: float) -> _Trained:
    network = state.average
    network.load_state_dict(state.best)
    per_epoch = finished.step / finished.epochs
    stop = state.best_step / per_epoch
    return _Trained(
        network=InUnits(network, mean, scale).eval() if (mean, scale) != (0.0, 1.0) else network.eval(),
        value=state.best_value,
        epochs=stop / max(state.best_progress, 1e-3),
        stop_epoch=stop,
        because=finished.because,
        restarts=state.num_restarts,
    )


def _config(trial: Trial, training: Training, num_rows: int, seconds: float) -> FitConfig:
    """The loop's config; on all development rows it takes as long as was found best before."""
    chosen = trial.chosen
    return FitConfig(
        epochs=float(chosen.get("epochs", training.epochs)),
        batch_size=min(training.batch_size, num_rows),
        learning_rate=training.learning_rate,
        warmup_share=training.warmup_share,
        seconds=max(0.1, seconds) if math.isfinite(seconds) else None,
        stop_epoch=chosen.get("stop_epoch"),
        patience=training.patience,
        seed=trial.recipe.seed,
    )


def _targets(trial: Trial, rows: np.ndarray, label_smoothing: float) -> tuple[np.ndarray, float, float]:
    """Dense targets [N, K], and for regression the mean and scale that they were standardised with (else 0 and 1)."""
    y = trial.dataset.targets(rows)
    if trial.task != Task.REGRESSION:
        return dense_targets(trial.task, y, trial.num_outputs, label_smoothing), 0.0, 1.0
    mean, scale = float(y.mean()), max(float(y.std()), 1e-9)
    return dense_targets(trial.task, (y - mean) / scale, 1), mean, scale


def _augment(trial: Trial, strength: float) -> augment.Augment | None:
    if strength <= 0:
        return None
    return augment.images(strength) if isinstance(trial.recipe.model, ImageRecipe) else augment.sounds(strength)


def _validate(trial: Trial, inputs: _Inputs, round_: Round, precision: Precision, mean: float, scale: float) -> Any:
    y, weights = trial.dataset.targets(round_.validation), trial.dataset.weights(round_.validation)

    def validate(network: nn.Module) -> float:
        scores_VK = _predict(network, inputs, round_.validation, precision)
        return value_of(trial, y, scores_VK * scale + mean, weights)

    return validate


def _predict(network: nn.Module, inputs: _Inputs, rows: np.ndarray, precision: Precision) -> np.ndarray:
    """Scores float32 [N, K] of the given rows."""
    network.eval()
    parts = []
    with torch.inference_mode(), precision.autocast():
        for batch in in_order({inputs.output: inputs.array}, inputs.places(rows), PREDICT_ROWS):
            scores_NK = network(**{name: precision.move(tensor) for name, tensor in batch.items()})
            parts.append(scores_NK.float().cpu().numpy())
    return np.concatenate(parts)


def _write(trial: Trial, inputs: _Inputs, network: nn.Module) -> Exported:
    """Writes model/: the encoder and the network as ONNX."""
    examples = {inputs.output: torch.from_numpy(np.array(inputs.array[:8]))}
    if len(inputs.array) < 5:
        examples = {name: tensor[torch.arange(5) % len(tensor)] for name, tensor in examples.items()}
    with model_folder(trial.folder) as folder:
        exported = export_module(network, examples, folder / "network.onnx")
        nodes = [
            encoder_node("input", inputs.encoder, folder),
            onnx_node("network", "network.onnx", {inputs.output: f"input.{inputs.output}"}),
        ]
        write_model(folder, nodes, "network.scores")
    write_parity(trial, _predict(network, inputs, parity_rows(trial.dataset.splits), _exact(trial)))
    return exported


def _notes(trained: list[_Trained], exported: Exported) -> dict[str, Any]:
    return {
        "epochs": [round(one.stop_epoch, 2) for one in trained],
        "stopped_because": [one.because for one in trained],
        "restarts": sum(one.restarts for one in trained),
        "export": exported.route,
        "export_difference": exported.max_abs_difference,
    }
