"""The engine of networks: its entry is `fit`, for networks on images, sounds and dense features, and for heads.

Shapes: N rows, V validation rows, K outputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from thrifty.core import seeds
from thrifty.core.errors import UsageError
from thrifty.data.column import Meaning
from thrifty.engines import heads
from thrifty.engines.backbones import body, weights_of
from thrifty.engines.inputs import Inputs, of_features, of_media, of_mixture, of_tokens
from thrifty.engines.scaling import network_targets
from thrifty.engines.trial import (
    Epochs,
    Round,
    Trial,
    epoch_across,
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
from thrifty.models.networks.finetuned import TUNED, FineTuned
from thrifty.models.networks.fusion import FusionNetwork
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.output import InUnits
from thrifty.models.networks.table import Bins, TableNetwork
from thrifty.models.networks.text import TextNetwork
from thrifty.models.weights import Kind
from thrifty.recipe import AudioFinetune, ImageFinetune, Training
from thrifty.recipe import AudioNetwork as AudioRecipe
from thrifty.recipe import FusionNetwork as FusionRecipe
from thrifty.recipe import Heads as HeadsRecipe
from thrifty.recipe import ImageNetwork as ImageRecipe
from thrifty.recipe import TableNetwork as TableRecipe
from thrifty.recipe import TextNetwork as TextRecipe
from thrifty.runtime.nodes import onnx_node, write_model
from thrifty.training import augment
from thrifty.training.batches import Rows, in_order, steps_per_epoch
from thrifty.training.events import Compiled, Diverged, EpochEnded, Finished, MemoryRanOut
from thrifty.training.loop import FitConfig
from thrifty.training.loop import fit as train
from thrifty.training.losses import loss_of, of_members
from thrifty.training.optimizers import for_network
from thrifty.training.precision import Precision, best_precision
from thrifty.training.state import begin

EXPORT_SECONDS = 1.5  # kept for writing and checking the model
WRITE_SECONDS = 5e-8  # of one of its weights
FEW_ROWS, MORE_ROWS = 8, 64  # whose prediction is timed before training, to know what validation will take
PREDICT_ROWS = 256  # at once
MOST_BINNED = 300  # features that get bins


def fit(arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """A job's entry: fits an ImageNetwork, AudioNetwork, TextNetwork, TableNetwork or Heads recipe.

    Gives {"value", "seconds", "notes"} and writes validation.npy, chosen.json and model/ as `engines.trial` says.
    """
    torch.set_num_threads(channel.cores)
    trial = open_trial(arguments, channel)
    if isinstance(trial.recipe.model, HeadsRecipe):
        return heads.fit(trial)
    return _fit_network(trial)


@dataclass(frozen=True)
class _Trained:
    """A network with its best weights, in eval mode, how it came to them, and what it was fed."""

    network: nn.Module
    inputs: Inputs
    history: Epochs
    value: float
    epochs: float
    stop_epoch: float
    because: str
    restarts: int
    waiting_share: float
    micro_batch: int
    pace: _Pace | None


def _fit_network(trial: Trial) -> dict[str, Any]:
    if trial.rows == "development":
        final = _train(trial, trial.final_rows(), None, 1)
        return finish(trial, None, _notes([final], _write(trial, final)))
    rounds = trial.rounds()
    num_fits = len(rounds) + (len(rounds) > 1)
    trained: list[_Trained] = []
    for number, round_ in enumerate(rounds):
        trained.append(_train(trial, round_.train, round_, num_fits - number, trained[-1].pace if trained else None))
        if len(rounds) > 1:
            trained[-1].inputs.remove()
            trial.report(number + 1, float(np.mean([one.value for one in trained])))
    if len(rounds) > 1:
        _, stop, whole, scores_VK = epoch_across(trial, rounds, [one.history for one in trained])
        chosen = {"epochs": whole, "stop_epoch": stop}
        final = _train(replace(trial, chosen=chosen), trial.final_rows(), None, 1, trained[-1].pace)
    else:
        final = trained[0]
        chosen = {"epochs": final.epochs, "stop_epoch": final.stop_epoch}
        scores_VK = _answers(final.network, final.inputs, rounds[0].validation, _exact(trial))
    write_chosen(trial, chosen)
    return finish(trial, scores_VK, _notes(trained, _write(trial, final)))


def _seconds(trial: Trial, end_seconds: float) -> float:
    """What is left for training: of the job, and of the recipe's bound on it.

    end_seconds: what comes after the training. The recipe's bound has EXPORT_SECONDS beside it for that.
    """
    training = trial.recipe.training
    bound = math.inf if training is None or training.seconds is None else training.seconds - trial.clock.elapsed()
    return min(trial.seconds_left() - end_seconds, bound - max(0.0, end_seconds - EXPORT_SECONDS))


@dataclass(frozen=True)
class _Pace:
    """Seconds to predict a row in full precision and in that of the training, and to build a network again."""

    exact: float
    low: float
    build: float


def _pace_of(trial: Trial, inputs: Inputs, network: nn.Module, places: np.ndarray, precision: Precision) -> _Pace:
    """Measures what each fit will take beside its training; what is imported first is not counted."""
    exact = _row_seconds(network, inputs, _exact(trial))
    low = exact if precision == _exact(trial) else _row_seconds(network, inputs, precision)
    build = 0.0
    if len(trial.rounds()) > 1:
        began = time.monotonic()
        begin(_build(trial, inputs, places), [])
        build = time.monotonic() - began
    return _Pace(exact, low, build)


def _row_seconds(network: nn.Module, inputs: Inputs, precision: Precision) -> float:
    """Seconds to predict a row: by a few after a few, by more of them where these took no time to speak of."""
    _predict(network, inputs, inputs.every[:1], precision)
    took, most = 0.0, FEW_ROWS
    while most <= MORE_ROWS and took < 0.1:
        some, began = inputs.every[:: max(1, len(inputs.every) // most)][:most], time.monotonic()
        _predict(network, inputs, some, precision)
        took, most = time.monotonic() - began, 8 * most
    return took / len(some)


def _end_seconds(trial: Trial, network: nn.Module, pace: _Pace, round_: Round | None) -> float:
    """What comes after the training: scores of validation rows in full precision, the file, and its check."""
    rows = len(parity_rows(trial.dataset.splits))
    if round_ is not None and len(trial.rounds()) == 1:
        rows += len(round_.validation)
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    return max(EXPORT_SECONDS, pace.exact * rows + WRITE_SECONDS * num_weights + EXPORT_SECONDS / 2)


def _device(trial: Trial) -> str:
    return str(trial.arguments.get("device") or "cpu")


def _exact(trial: Trial) -> Precision:
    return Precision(torch.float32, _device(trial))


def _inputs(trial: Trial, rows: np.ndarray) -> Inputs:
    """What the network is fed; encoders that learn are fitted to the given rows."""
    model = trial.recipe.model
    if isinstance(model, TableRecipe):
        return of_features(trial, rows)
    if isinstance(model, TextRecipe):
        return of_tokens(trial, rows, weights_of(trial.recipe.preparation, "text"), model.max_tokens)
    if isinstance(model, FusionRecipe):
        return of_mixture(trial, rows, model.image_size, model.convolutions > 0)
    of_images = isinstance(model, (ImageRecipe, ImageFinetune))
    return of_media(trial, rows, Meaning.IMAGE if of_images else Meaning.AUDIO)


def _build(trial: Trial, inputs: Inputs, places: np.ndarray) -> nn.Module:
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
    if isinstance(model, (TextRecipe, ImageFinetune, AudioFinetune)):
        return _finetuned(trial, model)
    if isinstance(model, AudioRecipe):
        return AudioNetwork(trial.num_outputs, model.width, model.blocks_per_stage, model.dropout)
    raise UsageError(f"the engine of networks does not fit a {model.kind} recipe")


def _finetuned(trial: Trial, model: TextRecipe | ImageFinetune | AudioFinetune) -> nn.Module:
    """A pretrained network with an output layer; one of BERT writes its own file."""
    if model.tuned not in TUNED:
        raise UsageError(f"model.tuned is {model.tuned!r}; it must be one of {', '.join(TUNED)}")
    preparation = trial.recipe.preparation
    kind: Kind = "text" if isinstance(model, TextRecipe) else "image" if isinstance(model, ImageFinetune) else "speech"
    weights = weights_of(preparation, kind)
    if weights.architecture == "bert":
        return TextNetwork(weights, trial.num_outputs, model.num_trained, model.dropout, model.tuned)
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


def _train(trial: Trial, rows: np.ndarray, round_: Round | None, num_left: int, pace: _Pace | None = None) -> _Trained:
    """Trains on the rows; with a round, the weights that did best on its validation rows are kept.

    num_left: how many fits, this one included, share the time that is left. pace: as an earlier fit measured it.
    """
    inputs, history = _inputs(trial, rows), Epochs()
    training = trial.recipe.training or Training()
    targets_NK, mean, scale = network_targets(trial, rows, training.label_smoothing)
    places = inputs.places(rows)
    lengths = None if inputs.lengths is None else inputs.lengths[places]
    data = Rows(inputs.arrays, places, targets_NK, trial.dataset.weights(rows), lengths)
    precision = best_precision(_device(trial))
    model = precision.place(_build(trial, inputs, data.rows_N))
    state = begin(model, for_network(model, training.weight_decay))
    reserve, seconds = 0.0, math.inf
    if _seconds(trial, EXPORT_SECONDS) < math.inf:
        pace = pace or _pace_of(trial, inputs, state.average, data.rows_N, precision)
        reserve = 0.0 if round_ is None else pace.low * len(round_.validation)
        end_seconds = _end_seconds(trial, state.average, pace, round_)
        seconds = (_seconds(trial, end_seconds) - (num_left - 1) * pace.build) / num_left
    config = replace(_config(trial, training, len(rows), seconds), reserve_seconds=reserve)
    per_epoch = steps_per_epoch(len(rows), config.batch_size)
    loss = loss_of(trial.task)
    finished = None

    def validate(network: nn.Module) -> float:
        assert round_ is not None
        scores_VK = _predict(network, inputs, round_.validation, precision) * scale + mean
        if len(trial.rounds()) > 1:
            stop = state.step / per_epoch
            history.add(scores_VK[:, None], stop, stop / max(state.progress, 1e-3))
        y, weights = trial.dataset.targets(round_.validation), trial.dataset.weights(round_.validation)
        return value_of(trial, y, scores_VK, weights)

    for event in train(
        state, data, config, of_members(loss) if isinstance(model, TableNetwork) else loss, precision,
        augment=_augment(inputs, training.augmentation),
        validate=validate if round_ else None,
        should_stop=trial.channel.should_stop,
    ):  # fmt: skip
        match event:
            case EpochEnded() if round_ and len(trial.rounds()) == 1:
                trial.report(event.epoch, event.value, loss=event.loss)
            case Diverged():
                trial.channel.report({"note": f"diverged at step {event.step}, loss {event.loss:.3g}"})
            case MemoryRanOut():
                said = f"out of memory at step {event.step}: {event.micro_batch} rows at a time from now on"
                trial.channel.report({"note": said})
            case Compiled():
                said = f"{event.speedup:.2f} times as fast ({event.why})" if event.kept else f"not kept: {event.why}"
                trial.channel.report({"note": f"compiled in {event.seconds:.0f} s, {said}"})
            case Finished():
                finished = event
    assert finished is not None
    network = state.average
    network.load_state_dict(state.best)
    if round_ and len(trial.rounds()) > 1 and not history.seen:  # it diverged before it was validated
        validate(network)
    stop = state.best_step / per_epoch
    return _Trained(
        network=_in_units(network, mean, scale).eval(),
        inputs=inputs,
        history=history,
        value=state.best_value,
        epochs=stop / max(state.best_progress, 1e-3),
        stop_epoch=stop,
        because=finished.because,
        restarts=state.num_restarts,
        waiting_share=finished.waiting_share,
        micro_batch=state.micro_batch,
        pace=pace,
    )


def _in_units(network: nn.Module, mean: float, scale: float) -> nn.Module:
    """The network with its scores in the target's own units."""
    if (mean, scale) == (0.0, 1.0):
        return network
    if isinstance(network, FineTuned):
        network.to_units(mean, scale)
        return network
    return InUnits(network, mean, scale)


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


def _augment(inputs: Inputs, strength: float) -> augment.Augment | None:
    """Random changes to pixels and frames, where there are some."""
    changes = []
    if strength > 0 and "pixels" in inputs.arrays:
        changes.append(augment.images(strength))
    if strength > 0 and "frames" in inputs.arrays:
        changes.append(augment.sounds(strength))
    if len(changes) < 2:
        return changes[0] if changes else None
    return lambda batch, generator: changes[1](changes[0](batch, generator), generator)


def _predict(network: nn.Module, inputs: Inputs, rows: np.ndarray, precision: Precision) -> np.ndarray:
    """Scores float32 [N, K] of the given rows; those of like length together, where they are padded."""
    network.eval()
    places = inputs.places(rows)
    order = np.arange(len(rows)) if inputs.lengths is None else np.argsort(inputs.lengths[places], kind="stable")
    parts = []
    with torch.inference_mode(), precision.autocast():
        for batch in in_order(inputs.arrays, places[order], PREDICT_ROWS):
            scores_NK = network(**{name: precision.move(tensor) for name, tensor in batch.items()})
            parts.append(scores_NK.float().cpu().numpy())
    scores_NK = np.concatenate(parts)
    found_NK = np.empty_like(scores_NK)
    found_NK[order] = scores_NK
    return found_NK


def _answers(network: nn.Module, inputs: Inputs, rows: np.ndarray, precision: Precision) -> np.ndarray:
    """Scores as the model gives them: the usual ones for rows that lack the one column that the network reads."""
    scores_NK = _predict(network, inputs, rows, precision)
    if inputs.usual is None:
        return scores_NK
    usual, sign_NL, _ = inputs.usual
    return usual.apply(scores_NK, np.asarray(sign_NL[inputs.places(rows)]))


def _write(trial: Trial, trained: _Trained) -> Exported:
    """Writes model/: the encoders and the network as ONNX."""
    inputs = trained.inputs
    with model_folder(trial.folder) as folder:
        network = inputs.exported(trained.network)
        if isinstance(network, FineTuned):
            network.merge()
        exported = export_module(network, inputs.example_tensors(), folder / "network.onnx")
        nodes = [*inputs.write(folder), onnx_node("network", "network.onnx", dict(inputs.sources))]
        output = "network.scores"
        if inputs.usual is not None:
            usual, _, source = inputs.usual
            (folder / "usual.onnx").write_bytes(usual.graph().SerializeToString())
            nodes.append(onnx_node("usual", "usual.onnx", {"learned": output, usual.sign: source}))
            output = "usual.scores"
        write_model(folder, nodes, output)
    write_parity(trial, _answers(trained.network, inputs, parity_rows(trial.dataset.splits), _exact(trial)))
    inputs.remove()
    return exported


def _notes(trained: list[_Trained], exported: Exported) -> dict[str, Any]:
    return {
        "epochs": [round(one.stop_epoch, 2) for one in trained],
        "stopped_because": [one.because for one in trained],
        "restarts": sum(one.restarts for one in trained),
        "waiting_share": round(float(np.mean([one.waiting_share for one in trained])), 4),
        "micro_batch": min((one.micro_batch for one in trained if one.micro_batch), default=None),
        "export": exported.route,
        "export_difference": exported.max_abs_difference,
    }
