from pathlib import Path

import numpy as np
import pytest
import torch

from thrifty.data.column import Task
from thrifty.exporting.onnx import export_module
from thrifty.models.networks.audio import AudioNetwork
from thrifty.models.networks.heads import Head, Heads
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.output import InUnits
from thrifty.models.networks.table import Bins, TableNetwork
from thrifty.training.optimizers import PerHeadAdamW


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (28, 1), (64, 3), (96, 1)])
def test_images_of_any_size_give_scores_and_export(tmp_path: Path, size: int, channels: int) -> None:
    network = ImageNetwork(size, channels, 3, width=4, blocks_per_stage=1, dropout=0.1)
    pixels = torch.randint(0, 256, (6, size, size, channels), dtype=torch.uint8)
    network.standardise(pixels)
    assert network.train()(pixels).shape == (6, 3)
    assert export_module(network, {"pixels": pixels}, tmp_path / "n.onnx").max_abs_difference < 1e-4


def test_standardised_pixels_have_mean_0_and_deviation_1() -> None:
    network = ImageNetwork(16, 3, 2, 4, 1, 0.0)
    pixels = (torch.rand(50, 16, 16, 3) * torch.tensor([10.0, 100.0, 250.0])).to(torch.uint8)
    network.standardise(pixels)
    scaled = (pixels.permute(0, 3, 1, 2).float() - network.mean_C) / network.scale_C
    assert scaled.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (scaled.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("frames", [17, 98, 300])
def test_sounds_of_any_length_give_scores_and_export(tmp_path: Path, frames: int) -> None:
    network = AudioNetwork(4, width=4, blocks_per_stage=1, dropout=0.1).eval()
    sounds = torch.randn(6, frames, 64)
    assert network(sounds).shape == (6, 4)
    exported = export_module(network, {"frames": sounds}, tmp_path / "n.onnx")
    assert exported.max_abs_difference < 1e-4


def test_scores_in_the_targets_units_are_scaled_and_moved() -> None:
    network = ImageNetwork(16, 1, 1, 4, 1, 0.0).eval()
    pixels = torch.randint(0, 256, (3, 16, 16, 1), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(InUnits(network, 5.0, 2.0)(pixels=pixels), network(pixels) * 2 + 5)


def test_a_numbers_place_among_its_bins() -> None:
    x_ND = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [4.0, 5.0], [8.0, 5.0]])
    bins = Bins(x_ND, np.array([0, 1]), 4)
    values = torch.tensor([[0.0, 5.0], [3.0, 0.0], [-1.0, 9.0], [12.0, 5.0]])
    expected = [[0, 0, 0, 0], [1, 1, 0.5, 0], [-1, 0, 0, 0], [1, 1, 1, 2]]  # edges 0, 1, 2, 4, 8; open at both ends
    assert bins(values)[:, :4].tolist() == expected
    assert (bins(values)[:, 4:] == 0).all()  # a column that never varies


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.MULTILABEL, Task.REGRESSION])
def test_a_table_network_answers_with_the_mean_of_its_members_and_exports(tmp_path: Path, task: Task) -> None:
    x_ND = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    bins = Bins(x_ND, np.arange(2), 4)
    network = TableNetwork(bins, 3, 2, task, width=16, num_layers=2, num_members=3, dropout=0.0)
    features = torch.from_numpy(x_ND)
    with torch.inference_mode():
        members_NJK = network.train()(features=features)
        mixed_NK = network.eval()(features=features)
    assert members_NJK.shape == (50, 3, 2)
    apply = {Task.MULTICLASS: lambda s: s.softmax(-1), Task.MULTILABEL: torch.sigmoid, Task.REGRESSION: lambda s: s}[
        task
    ]
    assert torch.allclose(apply(mixed_NK), apply(members_NJK).mean(dim=1), atol=1e-5)
    assert export_module(network, {"features": features}, tmp_path / "n.onnx").max_abs_difference < 1e-4


HEADS = [
    Head(0, 0.0, 0.0, 0.1, 1.0),
    Head(8, 0.5, 0.2, 0.1, 1.0),
    Head(0, 0.0, 0.3, 0.1, 0.0),
    Head(8, 0.0, 0.0, 0.5, 0.3),
]


def test_heads_stand_in_their_order_and_give_what_their_layers_give() -> None:
    heads = Heads(HEADS, 5, 3).eval()
    for bank in heads.banks:
        for weight in bank.weights:
            torch.nn.init.normal_(weight)
    x = torch.randn(7, 5)
    with torch.inference_mode():
        scores = heads(x)
        assert scores.shape == (7, 4, 3)
        for number, head in enumerate(HEADS):
            layers = heads.layers_of(number)
            assert len(layers) == (2 if head.hidden else 1)
            y = x @ layers[0][0] + layers[0][1]
            if head.hidden:
                y = torch.relu(y) @ layers[1][0] + layers[1][1]
            assert torch.allclose(scores[:, number], y, atol=1e-5)


def test_each_head_learns_at_its_own_rate_and_untouched_by_the_others() -> None:
    def train(some: list[Head]) -> np.ndarray:
        torch.manual_seed(0)
        heads = Heads(some, 5, 1)
        optimizer = PerHeadAdamW(heads.groups())
        x, y = torch.randn(20, 5), torch.randn(20, 1, 1)
        for _ in range(5):
            optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.01
            optimizer.zero_grad()
            (heads(x) - y).square().mean(dim=(0, 2)).sum().backward()
            optimizer.step()
        return np.stack([heads.layers_of(i)[0][0].detach().numpy() for i in range(len(some))])

    slow, quick, still = Head(0, 0, 0, 0.1, 1.0), Head(0, 0, 0, 0.1, 3.0), Head(0, 0, 0, 0.1, 0.0)
    together = train([slow, quick, still])
    assert np.allclose(together[0], train([slow, slow, slow])[0], atol=1e-6)
    assert np.abs(together[1]).sum() > 1.5 * np.abs(together[0]).sum()
    assert (together[2] == 0).all()
