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
from thrifty.data.column import Task
from thrifty.engines import features
from thrifty.engines.features import Block, Features, Style
from thrifty.engines.trial import (
    Round,
    Trial,
    choose_across,
    finish,
    model_folder,
    parity_rows,
    value_of,
    write_chosen,
    write_parity,
)
from thrifty.models.networks.heads import Head, Heads
from thrifty.models.onnx_graph import OnnxGraph
from thrifty.recipe import Heads as HeadsRecipe
from thrifty.recipe import Training
from thrifty.runtime.nodes import onnx_node, write_model
from thrifty.training.batches import Rows
from thrifty.training.loop import EpochEnded, Finished, FitConfig
from thrifty.training.loop import fit as train
from thrifty.training.losses import Loss, dense_targets, loss_of
from thrifty.training.optimizers import PerHeadAdamW
from thrifty.training.precision import best_precision
from thrifty.training.state import State, begin

LARGEST = 8.0  # deviations from the mean; what is further off is taken as that
WRITE_SECONDS = 0.5
MOST_EPOCHS = 16  # of a round of cross-validation whose scores are kept

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights float32 [inputs, outputs] and biases of one layer or two, ReLU between them."""


@dataclass(frozen=True)
class _Scaling:
    """Features are (x - mean_D) / scale_D, clipped; NaN becomes 0."""

    mean_D: np.ndarray
    scale_D: np.ndarray

    def apply(self, x_ND: np.ndarray) -> np.ndarray:
        x_ND = np.nan_to_num((x_ND - self.mean_D) / self.scale_D, nan=0.0)
        return x_ND.clip(-LARGEST, LARGEST).astype(np.float32)


@dataclass
class _Best:
    """A head's best epoch so far: its value, weights, validation scores, and its place in the schedule."""

    value: float = -math.inf
    layers: Layers = dataclasses.field(default_factory=list)
    scores_VK: np.ndarray | None = None
    epochs: float = 0.0
    stop_epoch: float = 0.0


@dataclass
class _Epochs:
    """Scores [V, J, K] after some epochs, and each epoch's (stop, length of the schedule): at most MOST_EPOCHS kept."""

    scores: list[np.ndarray] = dataclasses.field(default_factory=list)
    places: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, scores_VJK: np.ndarray, stop: float, whole: float) -> None:
        if self.seen % self.every == 0:
            self.scores.append(scores_VJK.copy())
            self.places.append((stop, whole))
        self.seen += 1
        if len(self.scores) > MOST_EPOCHS:
            self.scores, self.places, self.every = self.scores[::2], self.places[::2], 2 * self.every

    def at(self, epoch: int) -> int:
        """The place of what is known of an epoch (from 0), or of the last one where training had ended."""
        return min(epoch // self.every, len(self.scores) - 1)


@dataclass(frozen=True)
class _Fitted:
    """The features and scaling of one fit, the best of each head, and how the epochs went."""

    features: Features
    scaling: _Scaling
    best: list[_Best]
    epochs: _Epochs


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
        j, stop, whole, scores_VK = _across(trial, rounds, fitted)
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
    _write(trial, final)
    for one in (*fitted, final):
        one.features.remove()
    return finish(trial, scores_VK, {**chosen, "num_heads": len(heads)})


def _across(trial: Trial, rounds: list[Round], fitted: list[_Fitted]) -> tuple[int, float, float, np.ndarray]:
    """The head and the epoch that are best in all rounds together: (head, stop, length of the schedule, scores)."""
    longest = max((one.epochs for one in fitted), key=lambda epochs: epochs.seen)
    options = [(j, e) for e in range(0, longest.seen, longest.every) for j in range(len(fitted[0].best))]
    scores = [[one.epochs.scores[one.epochs.at(e)][:, j] for one in fitted] for j, e in options]
    best, scores_VK, _ = choose_across(trial, rounds, scores)
    j, epoch = options[best]
    stop, whole = np.mean([one.epochs.places[one.epochs.at(epoch)] for one in fitted], axis=0)
    return j, float(stop), float(whole), scores_VK


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
    scaling = _scaling(found.blocks, arrays)
    x_ND = scaling.apply(np.concatenate(arrays, axis=1))
    targets_NK, mean, scale = _targets(trial, rows, training.label_smoothing)
    data = Rows({"features": x_ND}, np.arange(len(rows)), targets_NK, trial.dataset.weights(rows))
    torch.manual_seed(seeds.derive(trial.recipe.seed, "weights"))
    model = Heads(heads, x_ND.shape[1], trial.num_outputs)
    state = begin(model, [PerHeadAdamW(model.groups())])
    best, epochs = [_Best() for _ in heads], _Epochs()
    follow = None
    if len(validation):
        v_VD = scaling.apply(np.concatenate(found.arrays(validation), axis=1))
        follow = _follower(trial, state, best, epochs, validation, v_VD, len(rows), mean, scale)
    config = _config(trial, training, len(rows), seconds - (trial.clock.elapsed() - started))
    loss = _summed(loss_of(trial.task), len(heads))
    for event in train(
        state, data, config, loss, best_precision(), validate=follow, should_stop=trial.channel.should_stop
    ):
        match event:
            case EpochEnded() if report:
                trial.report(event.epoch, event.value, loss=event.loss / len(heads))
            case Finished() if follow is None:
                state.average.load_state_dict(state.best)
                best = [_Best(layers=_layers(state.average, j, mean, scale)) for j in range(len(heads))]
    return _Fitted(found, scaling, best, epochs)


def _scaling(blocks: list[Block], arrays: list[Any]) -> _Scaling:
    """Means and deviations of the training rows; columns of blocks that are scaled already stay as they are."""
    means, scales = [], []
    for block, x_ND in zip(blocks, arrays, strict=True):
        mean_D, scale_D = np.zeros(block.width), np.ones(block.width)
        if not block.ready:
            seen = np.isfinite(x_ND)
            count_D = np.maximum(seen.sum(axis=0), 1)
            mean_D = np.where(seen, x_ND, 0.0).sum(axis=0, dtype=np.float64) / count_D
            variance_D = np.where(seen, (x_ND - mean_D) ** 2, 0.0).sum(axis=0) / count_D
            scale_D = np.where(variance_D > 1e-12, np.sqrt(variance_D), 1.0)
        means.append(mean_D)
        scales.append(scale_D)
    return _Scaling(np.concatenate(means).astype(np.float32), np.concatenate(scales).astype(np.float32))


def _targets(trial: Trial, rows: np.ndarray, label_smoothing: float) -> tuple[np.ndarray, float, float]:
    """Dense targets [N, K], and for regression the mean and scale that they were standardised with (else 0 and 1)."""
    y = trial.dataset.targets(rows)
    if trial.task != Task.REGRESSION:
        return dense_targets(trial.task, y, trial.num_outputs, label_smoothing), 0.0, 1.0
    mean, scale = float(y.mean()), max(float(y.std()), 1e-9)
    return dense_targets(trial.task, (y - mean) / scale, 1), mean, scale


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
    trial: Trial, state: State, best: list[_Best], epochs: _Epochs, rows: np.ndarray, x_VD: np.ndarray, num_rows: int,
    mean: float, scale: float,
) -> Any:  # fmt: skip
    """A validation that remembers each head's best epoch in `best`, all in `epochs`, and gives the highest value."""
    training = trial.recipe.training or Training()
    per_epoch = max(1, num_rows // min(training.batch_size, num_rows))
    y, weights = trial.dataset.targets(rows), trial.dataset.weights(rows)
    x = torch.from_numpy(x_VD)

    def validate(network: nn.Module) -> float:
        with torch.inference_mode():
            scores_VJK = network(features=x).numpy() * scale + mean
        values = [value_of(trial, y, scores_VJK[:, j], weights) for j in range(len(best))]
        stop = state.step / per_epoch
        whole = stop / max(state.progress, 1e-3)
        if len(trial.rounds()) > 1:
            epochs.add(scores_VJK, stop, whole)
        for j, value in enumerate(values):
            if best[j].scores_VK is None or value > best[j].value:
                best[j] = _Best(value, _layers(network, j, mean, scale), scores_VJK[:, j].copy(), whole, stop)
        return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan

    return validate


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
