import numpy as np
import pytest
import torch
from torch import nn

from thrifty.training.optimizers import Muon, adamw, for_convolutions, groups, orthogonal


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (128, 600)])
def test_a_matrix_is_brought_near_to_an_orthogonal_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    singular = np.linalg.svd(orthogonal(matrix, 5).numpy(), compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def test_kernels_go_to_muon_and_the_rest_to_adamw_without_decay_of_biases() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    muon, adam = for_convolutions(model, 0.5)
    assert isinstance(muon, Muon)
    assert [p is model[1].weight for group in muon.param_groups for p in group["params"]] == [True]
    decays = {p.ndim: group["weight_decay"] for group in adam.param_groups for p in group["params"]}
    assert decays == {4: 0.5, 2: 0.5, 1: 0.0}
    assert len(for_convolutions(nn.Linear(2, 2), 0.5)) == 1


def test_both_lower_a_loss() -> None:
    for make in (lambda m: for_convolutions(m, 0.0), lambda m: [adamw(groups(m.parameters(), 0.0))]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 3))
        optimizers = make(model)
        x = torch.randn(16, 2, 7, 7)
        losses = []
        for _ in range(30):
            loss = (model(x).mean(dim=(1, 2, 3)) - x[:, 0].mean(dim=(1, 2))).square().mean()
            losses.append(float(loss.detach()))
            model.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = 3e-3 * group["factor"]
                optimizer.step()
        assert losses[-1] < 0.5 * losses[0]
