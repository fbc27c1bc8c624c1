"""Several processes that train one network together, each on its share of every batch.

    ranks = join(rank, 2, folder / "meeting", precision.device)
    for event in fit(state, rows, config, loss, precision, ranks=ranks): ...

Every process calls `fit` with the same arguments and an equal state, and sees the same events. The first one's clock
and validation decide for all. With batch normalisation each process normalises by its own share of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=10)  # with a process that does not answer


@dataclass(frozen=True)
class Ranks:
    """This process's number, how many there are, and the device that they exchange tensors on."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def together(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the processes; alone it is as it was."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model)

    def apart(self, model: nn.Module) -> AbstractContextManager[None]:
        """While entered, the model's gradients are added up in this process alone."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

    def sum(self, value: float) -> float:
        """The sum of every process's value."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total)

    def first(self, values: Sequence[float]) -> list[float]:
        """The first process's values."""
        if self.size == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return shared.tolist()

    def follow_first(self, tensors: Iterable[Tensor]) -> None:
        """Makes the tensors those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


ALONE = Ranks()


def join(rank: int, size: int, meeting: Path, device: str = "cpu") -> Ranks:
    """Meets the other processes over a file that all see and none has written yet; waits until all have come.

    device: this process's own (`cuda:1`), on which it trains; GPUs exchange by NCCL, processors by Gloo.
    """
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{meeting.absolute()}", rank=rank, world_size=size, timeout=PATIENCE
    )
    return Ranks(rank, size, device)


def leave() -> None:
    """Ends what `join` began."""
    distributed.destroy_process_group()
