"""Pretrained networks that are trained on: which parts learn, how fast, and what low-rank updates come to."""

import numpy as np
import pytest
import torch
from torch import nn

from thrifty.core.errors import UsageError
from thrifty.models.backbones.efficientnet_lite_network import EfficientNetLite
from thrifty.models.networks import lora
from thrifty.models.networks.finetuned import FineTuned


class Tower(nn.Module):
    """Three linear layers between an input and an output part."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(4, 6)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3))
        self.norm = nn.LayerNorm(6)

    @property
    def ends(self) -> list[nn.Parameter]:
        return list(self.norm.parameters())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def learning(network: FineTuned) -> set[str]:
    return {name.split(".")[1] for name, p in network.body.named_parameters(prefix="body") if p.requires_grad}


def test_last_trains_the_upper_layers_and_what_comes_after_them() -> None:
    network = FineTuned(Tower(), 2, "last", 2, 0.0)
    assert learning(network) == {"layers", "norm"}
    assert [any(p.requires_grad for p in layer.parameters()) for layer in network.body.layers] == [False, True, True]
    factors = [group["factor"] for group in network.parameter_groups(0.1)]
    assert factors == [10.0, 10.0, 1.0, 1.0, 0.85, 0.85]


def test_full_trains_everything_the_first_part_most_slowly() -> None:
    network = FineTuned(Tower(), 2, "full", 1, 0.0)
    assert learning(network) == {"embed", "layers", "norm"}
    assert network.parameter_groups(0.1)[-1]["factor"] == pytest.approx(0.85**3)


def test_low_rank_updates_are_few_begin_as_nothing_and_merge_into_the_layers() -> None:
    x = torch.randn(5, 4)
    plain, network = Tower(), FineTuned(Tower(), 2, "lora", 3, 0.0).eval()
    assert torch.allclose(network.body(x), plain(x))
    trained = [p for group in network.parameter_groups(0.1)[2:] for p in group["params"]]
    assert {id(p) for p in network.body.parameters() if p.requires_grad} == {id(p) for p in trained}
    with torch.no_grad():
        for p in trained:
            p.normal_()
    changed = network.body(x)
    assert not torch.allclose(changed, plain(x), atol=1e-2)
    network.merge()
    assert not any(isinstance(part, lora.LowRankLinear) for part in network.modules())
    assert torch.allclose(network.body(x), changed, atol=1e-5)


def test_a_backbone_without_linear_layers_has_no_low_rank_updates() -> None:
    with pytest.raises(UsageError, match="linear layers"):
        FineTuned(EfficientNetLite({}), 2, "lora", 2, 0.0)


def test_statistics_of_batch_normalisation_stay_as_they_were_pretrained() -> None:
    network = FineTuned(EfficientNetLite({}), 2, "full", 9, 0.0).train()
    before = {name: value.clone() for name, value in network.body.named_buffers()}
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    network(pixels=pixels).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.body.named_buffers())
    assert len(network.trained) == len(network.body.layers) + 1
