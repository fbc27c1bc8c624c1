"""Rows in, batches of tensors out, in an order that the seed and the epoch's number give.

Shapes: N rows of a batch, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thrifty.core import seeds

BATCHES_SORTED = 50  # whose rows are sorted by length together

Inputs = dict[str, Tensor]


class Batch(NamedTuple):
    """Inputs by the name of the network's argument, targets float32 [N, K], each row's weight float32 [N]."""

    inputs: Inputs
    targets_NK: Tensor
    weights_N: Tensor


Augment = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch at random, drawing from the generator alone."""


@dataclass(frozen=True)
class Rows:
    """What a network is trained on.

    inputs: arrays (memory-mapped ones too), in step, by the name of the network's argument.
    rows_N: which of their rows are meant; targets_NK and weights_N are of these alone. Without weights all rows count
        alike; otherwise the weights' mean should be 1.
    lengths_N: how long each of these rows is, for inputs that are padded: rows of like length are batched together.
    """

    inputs: Mapping[str, np.ndarray]
    rows_N: np.ndarray
    targets_NK: np.ndarray
    weights_N: np.ndarray | None = None
    lengths_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows_N)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Batches of an epoch; rows short of a last full one wait for another epoch, unless there is no full one."""
    return max(1, num_rows // batch_size)


def epoch_of(
    rows: Rows, batch_size: int, seed: int, epoch: int, first: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """The batches of one epoch: the same for the same seed and epoch.

    first: the batch (from 0) to begin with. share: (k, n) gives every nth row of each batch, beginning with the kth.
    """
    rng = seeds.generator(seed, "order", epoch)
    order = rng.permutation(len(rows))
    if rows.lengths_N is not None:
        order = _by_length(order, rows.lengths_N, batch_size, rng)
    for step in range(first, steps_per_epoch(len(rows), batch_size)):
        chosen = order[step * batch_size : (step + 1) * batch_size][share[0] :: share[1]]
        weights_N = np.ones(len(chosen), np.float32) if rows.weights_N is None else rows.weights_N[chosen]
        inputs = {name: _tensor(_pick(array, rows.rows_N[chosen])) for name, array in rows.inputs.items()}
        yield Batch(inputs, _tensor(rows.targets_NK[chosen]), _tensor(weights_N))


def _by_length(order: np.ndarray, lengths_N: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """The order with rows of like length together in a batch, and the batches in a random order."""
    stretch = batch_size * BATCHES_SORTED
    parts = np.split(order, range(stretch, len(order), stretch))
    order = np.concatenate([part[np.argsort(lengths_N[part], kind="stable")] for part in parts])
    whole = len(order) // batch_size * batch_size
    batches = order[:whole].reshape(-1, batch_size)
    return np.concatenate([batches[rng.permutation(len(batches))].reshape(-1), order[whole:]])


def in_order(inputs: Mapping[str, np.ndarray], rows_N: np.ndarray, batch_size: int) -> Iterator[Inputs]:
    """The inputs of the given rows, in their order."""
    for start in range(0, len(rows_N), batch_size):
        rows = rows_N[start : start + batch_size]
        yield {name: _tensor(_pick(array, rows)) for name, array in inputs.items()}


def _pick(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of an array as a new one; of a memory-mapped file in rising order, which it is read fastest in."""
    if not isinstance(array, np.memmap):
        return array[rows]
    order = np.argsort(rows, kind="stable")
    picked = np.empty((len(rows), *array.shape[1:]), array.dtype)
    picked[order] = array[rows[order]]
    return picked


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
