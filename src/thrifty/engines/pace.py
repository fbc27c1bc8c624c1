"""What a network's fit takes beside its training, measured before it: so that all of it ends in time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from thrifty.engines.inputs import Inputs
from thrifty.engines.networks import build, predict
from thrifty.engines.trial import Round, Trial, parity_rows
from thrifty.training.precision import Precision
from thrifty.training.state import begin

EXPORT_SECONDS = 1.5  # kept for writing and checking the model
WRITE_SECONDS = 5e-8  # of one of its weights
FEW_ROWS, MORE_ROWS = 8, 64  # whose prediction is timed before training, to know what validation will take
NUM_LENGTHS = 4  # different ones among these, where batches are padded
NUM_TIMES = 3
MEASURE_SECONDS = 0.3  # that measuring may take in any case,
MEASURE_SHARE = 0.03  # and of the seconds left where that is more


def device_of(trial: Trial) -> str:
    return str(trial.arguments.get("device") or "cpu")


def exact(trial: Trial) -> Precision:
    return Precision(torch.float32, device_of(trial))


@dataclass(frozen=True)
class Pace:
    """Seconds to predict a row in full precision and in that of the training, and to build a network again."""

    exact: float
    low: float
    build: float


def pace_of(trial: Trial, inputs: Inputs, network: nn.Module, places: np.ndarray, precision: Precision) -> Pace:
    """Measures what each fit will take beside its training; what is imported first is not counted."""
    most = max(MEASURE_SECONDS, MEASURE_SHARE * trial.seconds_left())
    in_full = _row_seconds(network, inputs, exact(trial), most)
    low = in_full if precision == exact(trial) else _row_seconds(network, inputs, precision, most)
    build_seconds = 0.0
    if len(trial.rounds()) > 1:
        began = time.monotonic()
        begin(build(trial, inputs, places), [])
        build_seconds = time.monotonic() - began
    return Pace(in_full, low, build_seconds)


def _row_seconds(network: nn.Module, inputs: Inputs, precision: Precision, most_seconds: float) -> float:
    """Seconds to predict a row: by a few after a few, by more of them where there is time for it.

    The middle of several times counts, and of two the lower: the first one may find things not ready, and what else
    runs on the machine may make any one of them ten times as long.
    """
    predict(network, inputs, inputs.every[:1], precision)
    row_seconds, started = 0.0, time.monotonic()
    for most in (FEW_ROWS, MORE_ROWS):
        parts = sample_of(inputs, most)
        num_rows = padded_rows(inputs, parts)
        times: list[float] = []
        if time.monotonic() - started + row_seconds * num_rows > most_seconds:
            break
        while len(times) < NUM_TIMES and (not times or time.monotonic() - started < most_seconds):
            began = time.monotonic()
            for part in parts:
                predict(network, inputs, part, precision)
            times.append(time.monotonic() - began)
        row_seconds = statistics.median_low(times) / num_rows
    return row_seconds


def sample_of(inputs: Inputs, most: int) -> list[np.ndarray]:
    """Up to `most` rows from everywhere; where batches are padded, in parts that rows of one length fill."""
    if inputs.lengths is None:
        return [inputs.every[:: max(1, len(inputs.every) // most)][:most]]
    order = np.argsort(inputs.lengths, kind="stable")
    size = max(1, min(most, len(order)) // NUM_LENGTHS)
    starts = (np.arange(NUM_LENGTHS) + 0.5) / NUM_LENGTHS * len(order) - size / 2
    return [inputs.every[np.sort(order[max(0, round(start)) :][:size])] for start in starts]


def padded_rows(inputs: Inputs, parts: Sequence[np.ndarray]) -> float:
    """How many rows of the mean length the parts are, padded."""
    if inputs.lengths is None:
        return float(sum(map(len, parts)))
    longest = [inputs.lengths[inputs.places(part)].max() for part in parts]
    return float(sum(len(part) * most for part, most in zip(parts, longest, strict=True)) / inputs.lengths.mean())


def end_seconds_of(trial: Trial, network: nn.Module, pace: Pace, round_: Round | None) -> float:
    """What comes after the training: scores of validation rows in full precision, the file, and its check."""
    rows = len(parity_rows(trial.dataset.splits))
    if round_ is not None and len(trial.rounds()) == 1:
        rows += len(round_.validation)
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    return max(EXPORT_SECONDS, pace.exact * rows + WRITE_SECONDS * num_weights + EXPORT_SECONDS / 2)
