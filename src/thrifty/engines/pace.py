"""What a network's fit takes beside its training, measured before it: so that all of it ends in time."""

from __future__ import annotations

import statistics
import time
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
NUM_TIMES = 3
MEASURE_SECONDS = 0.3


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
    in_full = _row_seconds(network, inputs, exact(trial))
    low = in_full if precision == exact(trial) else _row_seconds(network, inputs, precision)
    build_seconds = 0.0
    if len(trial.rounds()) > 1:
        began = time.monotonic()
        begin(build(trial, inputs, places), [])
        build_seconds = time.monotonic() - began
    return Pace(in_full, low, build_seconds)


def _row_seconds(network: nn.Module, inputs: Inputs, precision: Precision) -> float:
    """Seconds to predict a row: by a few after a few, by more of them where these took no time to speak of.

    The middle of several times counts: what else runs on the machine may make any one of them ten times as long.
    """
    predict(network, inputs, inputs.every[:1], precision)
    started = time.monotonic()
    for most in (FEW_ROWS, MORE_ROWS):
        some = inputs.every[:: max(1, len(inputs.every) // most)][:most]
        times: list[float] = []
        while len(times) < NUM_TIMES and (not times or time.monotonic() - started < MEASURE_SECONDS):
            began = time.monotonic()
            predict(network, inputs, some, precision)
            times.append(time.monotonic() - began)
        took = statistics.median(times)
        if took > 0.1 or time.monotonic() - started > MEASURE_SECONDS:
            break
    return took / len(some)


def end_seconds_of(trial: Trial, network: nn.Module, pace: Pace, round_: Round | None) -> float:
    """What comes after the training: scores of validation rows in full precision, the file, and its check."""
    rows = len(parity_rows(trial.dataset.splits))
    if round_ is not None and len(trial.rounds()) == 1:
        rows += len(round_.validation)
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    return max(EXPORT_SECONDS, pace.exact * rows + WRITE_SECONDS * num_weights + EXPORT_SECONDS / 2)
