"""The engine of networks: its entry is `fit`, for networks on images, sounds and dense features, and for heads.

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

from thrifty.engines import balance, heads
from thrifty.engines.changes import augment_of
from thrifty.engines.inputs import Inputs
from thrifty.engines.networks import answers, build, inputs_of, predict
from thrifty.engines.pace import EXPORT_SECONDS, Pace, device_of, end_seconds_of, exact, pace_of
from thrifty.engines.scaling import network_targets
from thrifty.engines.teachers import taught
from thrifty.engines.trial import (
    LEAST_WHOLE,
    Epochs,
    Round,
    Trial,
    check_whole,
    epoch_across,
    finish,
    model_folder,
    open_trial,
    parity_rows,
    value_and_loss,
    write_chosen,
    write_parity,
)
from thrifty.execution.job import Channel
from thrifty.exporting.onnx import Exported, export_module
from thrifty.models.networks.finetuned import FineTuned
from thrifty.models.networks.output import InUnits
from thrifty.models.networks.table import TableNetwork
from thrifty.recipe import Heads as HeadsRecipe
from thrifty.recipe import Training
from thrifty.runtime.nodes import onnx_node, write_model
from thrifty.training.batches import Rows, steps_per_epoch
from thrifty.training.events import Compiled, Diverged, EpochEnded, Finished, MemoryRanOut, Validated
from thrifty.training.loop import FitConfig
from thrifty.training.loop import fit as train
from thrifty.training.losses import adjusted, loss_of, of_members
from thrifty.training.optimizers import for_network
from thrifty.training.precision import best_precision
from thrifty.training.state import begin


def fit(arguments: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """A job's entry: fits a recipe of a network or of heads.

    Gives {"value", "seconds", "notes"} and writes validation.npy, chosen.json and model/ as `engines.trial` says.
    """
    torch.set_num_threads(channel.cores)
    trial = taught(open_trial(arguments, channel))
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
    pace: Pace | None


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
            values = [one.value for one in trained if math.isfinite(one.value)]
            if values:  # a fold may lack a class, and then has none
                trial.report(number + 1, float(np.mean(values)))
    if len(rounds) > 1:
        _, stop, whole, scores_VK = epoch_across(trial, rounds, [one.history for one in trained])
        chosen = {"epochs": whole, "stop_epoch": stop}
        final = _train(replace(trial, chosen=chosen), trial.final_rows(), None, 1, trained[-1].pace)
        check_whole(final.because == "asked" or final.stop_epoch < LEAST_WHOLE * stop)
    else:
        final = trained[0]
        chosen = {"epochs": final.epochs, "stop_epoch": final.stop_epoch}
        scores_VK = answers(final.network, final.inputs, rounds[0].validation, exact(trial))
    write_chosen(trial, chosen)
    return finish(trial, scores_VK, _notes(trained, _write(trial, final)))


def _seconds(trial: Trial, end_seconds: float) -> float:
    """What is left for training: of the job, and of the recipe's bound on it.

    end_seconds: what comes after the training. The recipe's bound has EXPORT_SECONDS beside it for that.
    """
    training = trial.recipe.training
    bound = math.inf if training is None or training.seconds is None else training.seconds - trial.clock.elapsed()
    return min(trial.seconds_left() - end_seconds, bound - max(0.0, end_seconds - EXPORT_SECONDS))


def _train(trial: Trial, rows: np.ndarray, round_: Round | None, num_left: int, pace: Pace | None = None) -> _Trained:
    """Trains on the rows; with a round, the weights that did best on its validation rows are kept.

    num_left: how many fits, this one included, share the time that is left. pace: as an earlier fit measured it.
    """
    inputs, history = inputs_of(trial, rows), Epochs()
    training = trial.recipe.training or Training()
    targets_NK, mean, scale = network_targets(trial, rows, training.label_smoothing)
    places = inputs.places(rows)
    lengths = None if inputs.lengths is None else inputs.lengths[places]
    data = Rows(inputs.arrays, places, targets_NK, trial.dataset.weights(rows), lengths)
    precision = best_precision(device_of(trial))
    model = precision.place(build(trial, inputs, data.rows_N))
    state = begin(model, for_network(model, training.weight_decay))
    reserve, seconds = 0.0, math.inf
    if _seconds(trial, EXPORT_SECONDS) < math.inf:
        pace = pace or pace_of(trial, inputs, state.average, data.rows_N, precision)
        reserve = 0.0 if round_ is None else pace.low * len(round_.validation)
        end_seconds = end_seconds_of(trial, state.average, pace, round_)
        seconds = (_seconds(trial, end_seconds) - (num_left - 1) * pace.build) / num_left
    config = replace(_config(trial, training, len(rows), seconds), reserve_seconds=reserve)
    per_epoch = steps_per_epoch(len(rows), config.batch_size)
    shift_K, loss = balance.shift(trial, rows), loss_of(trial.task)
    if shift_K is not None:
        loss = adjusted(loss, precision.move(torch.from_numpy(shift_K)))
    finished = None

    def validate(network: nn.Module) -> Validated:
        assert round_ is not None
        scores_VK = predict(network, inputs, round_.validation, precision) * scale + mean
        scores_VK = inputs.with_usual(scores_VK, round_.validation)
        if len(trial.rounds()) > 1:
            stop = state.step / per_epoch
            history.add(scores_VK[:, None], stop, stop / max(state.progress, 1e-3))
        y, weights = trial.dataset.targets(round_.validation), trial.dataset.weights(round_.validation)
        return Validated(*value_and_loss(trial, y, scores_VK, weights))

    for event in train(
        state, data, config, of_members(loss) if isinstance(model, TableNetwork) else loss, precision,
        augment=augment_of(inputs, training),
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
    write_parity(trial, answers(trained.network, inputs, parity_rows(trial.dataset.splits), exact(trial)))
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
