"""Noise on the dense features of tables and of frozen networks.

Shapes: N rows, D features.
"""

from __future__ import annotations

import torch

from thrifty.training.augment.draws import Noise, uniform
from thrifty.training.batches import Augment, Batch

MOST_NOISE = 0.3  # in units of a feature's deviation


def features(strength: float) -> Augment:
    """Adds to `features`, float32 [N, D] of deviation 1, normal noise of up to MOST_NOISE times `strength` in a row."""
    noise = Noise()

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        x_ND = batch.inputs["features"]
        amount_N = uniform((len(x_ND),), 0.0, MOST_NOISE * strength, generator)
        return batch._replace(inputs={**batch.inputs, "features": noise.add(x_ND, amount_N, generator)})

    return change
