"""Two processes on the CPU, by Gloo, against one with the same batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from thrifty.core.errors import UsageError
from thrifty.training import parallel
from thrifty.training.batches import Rows
from thrifty.training.events import EpochEnded, Finished, Stepped, Validated
from thrifty.training.loop import FitConfig, fit
from thrifty.training.losses import cross_entropy, dense_targets
from thrifty.training.optimizers import for_convolutions
from thrifty.training.parallel import ALONE, Ranks
from thrifty.training.precision import Precision
from thrifty.training.state import begin

CONFIG = FitConfig(epochs=4, batch_size=15, learning_rate=1e-2, patience=2, micro_batch=4)


class Net(nn.Module):
    def __init__(self, normalised: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4) if normalised else nn.GroupNorm(2, 4)
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean(dim=(2, 3))


def train(ranks: Ranks, normalised: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    x = np.random.default_rng(0).normal(size=(50, 2, 6, 6)).astype(np.float32)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, 50).astype(np.float32)
    rows = Rows({"x": x}, np.arange(50), dense_targets("binary", (x[:, 0].mean((1, 2)) > 0).astype(int), 2), weights)
    torch.manual_seed(0)
    model = Net(normalised)
    state = begin(model, for_convolutions(model, 0.01))
    values = iter([0.5, 0.4, 0.3, 0.2] if ranks.rank == 0 else [0.1, 0.2, 0.3, 0.4])  # only the first one's count
    precision = Precision(torch.float32)
    events = list(
        fit(state, rows, CONFIG, cross_entropy, precision, validate=lambda _: Validated(next(values)), ranks=ranks)
    )
    return {
        "losses": [event.loss for event in events if isinstance(event, Stepped)],
        "epochs": [(event.value, event.best) for event in events if isinstance(event, EpochEnded)],
        "because": [event.because for event in events if isinstance(event, Finished)],
        "best": state.best,
    }


def work(rank: int, folder: str, normalised: bool) -> None:
    ranks = parallel.join(rank, 2, Path(folder) / "meeting")
    torch.save(train(ranks, normalised), Path(folder) / f"{rank}.pt")
    parallel.leave()


def two(folder: Path, normalised: bool) -> list[dict[str, Any]]:
    folder.mkdir()
    multiprocessing.spawn(work, (str(folder), normalised), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_give_the_losses_and_weights_of_one_with_the_same_batches(tmp_path: Path) -> None:
    expected = train(ALONE, normalised=False)
    for found in two(tmp_path / "two", normalised=False):
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)
        assert found["epochs"] == expected["epochs"] == [(0.5, True), (0.4, False), (0.3, False)]
        assert found["because"] == expected["because"] == ["patience"]
        for name, value in expected["best"].items():
            assert torch.allclose(found["best"][name], value, atol=1e-4), name


@pytest.mark.slow
def test_processes_agree_on_their_averages_with_batch_normalisation_too(tmp_path: Path) -> None:
    first, second = two(tmp_path / "two", normalised=True)
    assert first["losses"] == second["losses"]
    assert all(torch.equal(value, second["best"][name]) for name, value in first["best"].items())


def test_one_process_alone_shares_nothing() -> None:
    model = nn.Linear(1, 1)
    assert ALONE.together(model) is model
    assert ALONE.sum(2.5) == 2.5
    assert ALONE.first([1.0, 2.0]) == [1.0, 2.0]


def test_more_processes_than_rows_of_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="20 processes cannot share batches of 15 rows"):
        train(Ranks(0, 20), normalised=False)
