"""Many heads on the same dense features, trained at once; the best on validation is kept.

Shapes: N rows, V validation rows, D features, J heads, K outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thrifty.core import seeds
from thrifty.engines import balance, features
from thrifty.engines.features import Block, Features, Style
from thrifty.engines.scaling import LARGEST, Scaling, network_targets
from thrifty.engines.trial import (
    LEAST_WHOLE,
    Epochs,
    Trial,
    check_whole,
    epoch_across,
    finish,
    model_folder,
    parity_rows,
    value_and_loss,
    write_chosen,
    write_parity,
)
from thrifty.models.networks.heads import Head, Heads
from thrifty.models.onnx_graph import OnnxGraph
from thrifty.recipe import Heads as HeadsRecipe
from thrifty.recipe import Training
from thrifty.runtime.nodes import onnx_node, write_model
from thrifty.training.augment.table import features as noise
from thrifty.training.batches import Rows
from thrifty.training.events import EpochEnded, Finished, Validated
from thrifty.training.loop import FitConfig
from thrifty.training.loop import fit as train
from thrifty.training.losses import Loss, adjusted, loss_of
from thrifty.training.optimizers import PerHeadAdamW
from thrifty.training.precision import best_precision
from thrifty.training.state import State, begin

WRITE_SECONDS = 0.5

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights float32 [inputs, outputs] and biases of one layer or two, ReLU between them."""


@dataclass
class _Best:
    """A head's best epoch so far: its value, weights, validation scores, and its place in the schedule."""

    value: float = -math.inf
    layers: Layers = dataclasses.field(default_factory=list)
    scores_VK: np.ndarray | None = None
    epochs: float = 0.0
    stop_epoch: float = 0.0


@dataclass(frozen=True)
class _Fitted:
    """The features and scaling of one fit, the best of each head, and how the epochs went."""

    features: Features
    scaling: Scaling
    best: list[_Best]
    epochs: Epochs
    because: str


def fit(trial: Trial) -> dict[str, Any]:
    """Fits a Heads recipe; see `engines.trial` for what it writes and gives."""
    if trial.rows == "development":
        final = _refit(trial)
        _write(trial, final)
        final.features.remove()
        return finish(trial, None, {"head": dict(trial.chosen.get("head", {}))})
    heads = _heads(trial)
    rounds = trial.rounds()
    num_fits = len(rounds) + (len(rounds) > 1)
    fitted = []
    for number, round_ in enumerate(rounds):
        seconds = _seconds(trial) / (num_fits - number)
        fitted.append(_train(trial, heads, round_.train, round_.validation, seconds, report=len(rounds) == 1))
    if len(rounds) > 1:
        j, stop, whole, scores_VK = epoch_across(trial, rounds, [one.epochs for one in fitted])
    else:
        values_J = np.array([best.value for best in fitted[0].best])
        j = int(np.argmax(np.where(np.isfinite(values_J), values_J, -np.inf)))
        best = fitted[0].best[j]
        stop, whole = best.stop_epoch, best.epochs
        scores_VK = trial.place(rounds, [] if best.scores_VK is None else [best.scores_VK])
    chosen = {"head": dataclasses.asdict(heads[j]), "epochs": whole, "stop_epoch": stop}
    write_chosen(trial, chosen)
    final = replace(fitted[0], best=[fitted[0].best[j]])
    if len(rounds) > 1:
        final = _refit(replace(trial, chosen=chosen))
        check_whole(final.because == "asked" or final.best[0].stop_epoch < LEAST_WHOLE * stop)
    _write(trial, final)
    for one in (*fitted, final):
        one.features.remove()
    return finish(trial, scores_VK, {**chosen, "num_heads": len(heads)})


def _heads(trial: Trial) -> list[Head]:
    """A third of the heads linear from little to much decay, the others with a hidden layer and varied dropout."""
    model, training = trial.recipe.model, trial.recipe.training or Training()
    assert isinstance(model, HeadsRecipe)
    num_linear = max(1, model.num_heads // 3)
    heads = []
    for number in range(num_linear):
        decay = 10.0 ** np.linspace(-3.0, 0.0, num_linear)[number]
        heads.append(Head(0, 0.0, (0.0, 0.3)[number % 2], float(decay), 1.0))
    for number in range(model.num_heads - num_linear):
        dropout = (model.dropout, min(0.8, model.dropout + 0.3))[number % 2]
        feature_dropout = (0.0, 0.2)[number // 2 % 2]
        rate = (1.0, 0.3, 3.0)[number // 4 % 3]
        heads.append(Head(model.hidden, dropout, feature_dropout, training.weight_decay, rate))
    return heads


def _refit(trial: Trial) -> _Fitted:
    """The chosen head on all development rows, as long as was best before."""
    heads = [Head(**trial.chosen["head"])] if "head" in trial.chosen else _heads(trial)[-1:]
    return _train(trial, heads, trial.final_rows(), np.zeros(0, np.int64), _seconds(trial), report=False)


def _seconds(trial: Trial) -> float:
    training = trial.recipe.training
    bound = math.inf if training is None or training.seconds is None else training.seconds - trial.clock.elapsed()
    return min(trial.seconds_left() - WRITE_SECONDS, bound)


def _train(
    trial: Trial, heads: list[Head], rows: np.ndarray, validation: np.ndarray, seconds: float, report: bool
) -> _Fitted:
    """Trains all heads on the rows, and follows each one's best epoch on validation rows (without any: the last)."""
    training = trial.recipe.training or Training()
    found = features.build(trial, rows, Style.DENSE)
    started = trial.clock.elapsed()
    arrays = found.arrays(rows)
    scaling = Scaling.of(found.blocks, arrays)
    x_ND = scaling.apply(np.concatenate(arrays, axis=1))
    targets_NK, mean, scale = network_targets(trial, rows, training.label_smoothing)
    data = Rows({"features": x_ND}, np.arange(len(rows)), targets_NK, trial.dataset.weights(rows))
    torch.manual_seed(seeds.derive(trial.recipe.seed, "weights"))
    model = Heads(heads, x_ND.shape[1], trial.num_outputs)
    state = begin(model, [PerHeadAdamW(model.groups())])
    best, epochs = [_Best() for _ in heads], Epochs()
    follow = None
    if len(validation):
        v_VD = scaling.apply(np.concatenate(found.arrays(validation), axis=1))
        follow = _follower(trial, state, best, epochs, validation, v_VD, len(rows), mean, scale)
    config = _config(trial, training, len(rows), seconds - (trial.clock.elapsed() - started))
    shift_K, loss = balance.shift(trial, rows), loss_of(trial.task)
    if shift_K is not None:
        loss = adjusted(loss, torch.from_numpy(shift_K))
    because = ""
    for event in train(
        state, data, config, _summed(loss, len(heads)), best_precision(),
        augment=noise(training.augmentation) if training.augmentation > 0 else None, validate=follow,
        should_stop=trial.channel.should_stop,
    ):  # fmt: skip
        match event:
            case EpochEnded() if report:
                trial.report(event.epoch, event.value, loss=event.loss / len(heads))
            case Finished():
                because = event.because
                if follow is None:
                    state.average.load_state_dict(state.best)
                    layers = [_layers(state.average, j, mean, scale) for j in range(len(heads))]
                    best = [_Best(layers=some, stop_epoch=event.epochs) for some in layers]
    return _Fitted(found, scaling, best, epochs, because)


def _config(trial: Trial, training: Training, num_rows: int, seconds: float) -> FitConfig:
    chosen: Mapping[str, Any] = trial.chosen
    return FitConfig(
        epochs=float(chosen.get("epochs", training.epochs)),
        batch_size=min(training.batch_size, num_rows),
        learning_rate=training.learning_rate,
        warmup_share=training.warmup_share,
        seconds=max(0.1, seconds) if math.isfinite(seconds) else None,
        stop_epoch=chosen.get("stop_epoch"),
        patience=training.patience,
        clip_norm=math.inf,  # PerHeadAdamW clips
        seed=trial.recipe.seed,
    )


def _summed(loss: Loss, num_heads: int) -> Loss:
    """The loss of each row, summed over its heads."""

    def total(scores_NJK: Tensor, targets_NK: Tensor) -> Tensor:
        repeated = targets_NK.repeat_interleave(num_heads, dim=0)
        return loss(scores_NJK.flatten(0, 1), repeated).reshape(-1, num_heads).sum(dim=1)

    return total


def _follower(
    trial: Trial, state: State, best: list[_Best], epochs: Epochs, rows: np.ndarray, x_VD: np.ndarray, num_rows: int,
    mean: float, scale: float,
) -> Any:  # fmt: skip
    """A validation that remembers each head's best epoch in `best`, all in `epochs`, and gives the highest value."""
    training = trial.recipe.training or Training()
    per_epoch = max(1, num_rows // min(training.batch_size, num_rows))
    y, weights = trial.dataset.targets(rows), trial.dataset.weights(rows)
    x = torch.from_numpy(x_VD)

    def validate(network: nn.Module) -> Validated:
        with torch.inference_mode():
            scores_VJK = network(features=x).numpy() * scale + mean
        found = [value_and_loss(trial, y, scores_VJK[:, j], weights) for j in range(len(best))]
        stop = state.step / per_epoch
        whole = stop / max(state.progress, 1e-3)
        if len(trial.rounds()) > 1:
            epochs.add(scores_VJK, stop, whole)
        for j, (value, _) in enumerate(found):
            if best[j].scores_VK is None or value > best[j].value:
                best[j] = _Best(value, _layers(network, j, mean, scale), scores_VJK[:, j].copy(), whole, stop)
        return Validated(_highest([value for value, _ in found]), -_highest([-loss for _, loss in found]))

    return validate


def _highest(values: list[float]) -> float:
    """The highest that is a number; NaN when none is."""
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan


def _layers(network: nn.Module, head: int, mean: float, scale: float) -> Layers:
    """A copy of a head's layers, the last one giving values in the target's units."""
    assert isinstance(network, Heads)
    layers = [
        (weight.detach().numpy().copy(), bias.detach().numpy().copy()) for weight, bias in network.layers_of(head)
    ]
    weight, bias = layers[-1]
    layers[-1] = (weight * np.float32(scale), bias * np.float32(scale) + np.float32(mean))
    return layers


def _write(trial: Trial, fitted: _Fitted) -> None:
    """Writes model/: the features' nodes and one head."""
    with model_folder(trial.folder) as folder:
        nodes = fitted.features.write(folder)
        blocks = fitted.features.blocks
        write_head(folder / "head.onnx", blocks, fitted.scaling.mean_D, fitted.scaling.scale_D, fitted.best[0].layers)
        nodes.append(onnx_node("head", "head.onnx", {block.name: block.sources[0] for block in blocks}))
        write_model(folder, nodes, "head.scores")
    rows = parity_rows(trial.dataset.splits)
    x = fitted.scaling.apply(np.concatenate(fitted.features.arrays(rows), axis=1))
    for number, (weight, bias) in enumerate(fitted.best[0].layers):
        x = np.maximum(x, 0) @ weight + bias if number else x @ weight + bias
    write_parity(trial, x)


def write_head(path: Path, blocks: list[Block], mean_D: np.ndarray, scale_D: np.ndarray, layers: Layers) -> Path:
    """Writes scaling, clipping and layers as ONNX; its inputs are the blocks' names."""
    graph = OnnxGraph("head")
    inputs = [graph.input(block.name, np.float32, ("N", block.width)) for block in blocks]
    x_ND = inputs[0] if len(inputs) == 1 else graph.node("Concat", *inputs, axis=1)
    x_ND = graph.node("Div", graph.node("Sub", x_ND, graph.constant(mean_D)), graph.constant(scale_D))
    x_ND = graph.node("Where", graph.node("IsNaN", x_ND), graph.constant(0.0), x_ND)
    x = graph.node("Clip", x_ND, graph.constant(-LARGEST), graph.constant(LARGEST))
    for number, (weight, bias) in enumerate(layers):
        if number:
            x = graph.node("Relu", x)
        x = graph.node("Gemm", x, graph.constant(weight), graph.constant(bias))
    graph.output(x, "scores", np.float32, ("N", layers[-1][0].shape[1]))
    return graph.save(path)
