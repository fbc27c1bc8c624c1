import numpy as np
import pytest
import torch
from torch.nn import functional

from thrifty.training.losses import (
    Loss,
    adjusted,
    binary_cross_entropy,
    cross_entropy,
    dense_targets,
    loss_of,
    of_members,
    squared_error,
)


def test_smoothed_targets_give_the_loss_of_torch() -> None:
    scores = torch.randn(7, 3)
    y = np.array([0, 1, 2, 0, 1, 2, 2])
    ours = cross_entropy(scores, torch.from_numpy(dense_targets("multiclass", y, 3, 0.1)))
    theirs = functional.cross_entropy(scores, torch.from_numpy(y), label_smoothing=0.1, reduction="none")
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_labels_are_smoothed_towards_a_half() -> None:
    targets = dense_targets("multilabel", np.array([[1.0, 0.0]]), 2, 0.1)
    assert targets.tolist() == [[pytest.approx(0.95), pytest.approx(0.05)]]


def test_each_task_has_its_loss() -> None:
    assert loss_of("binary") is loss_of("multiclass") is cross_entropy
    assert loss_of("multilabel") is binary_cross_entropy
    assert loss_of("regression") is squared_error
    assert squared_error(torch.tensor([[1.0]]), torch.tensor([[3.0]])).tolist() == [4.0]
    assert dense_targets("regression", np.array([1.5, 2.0]), 1).shape == (2, 1)


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_an_adjusted_loss_is_least_for_the_log_shares_less_the_shift(loss: Loss) -> None:
    targets = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05]])  # soft, as smoothed and mixed ones are
    shift = torch.tensor([1.0, 0.0, -2.0])
    right = targets.log() if loss is cross_entropy else torch.logit(targets)
    scores = (right - shift).requires_grad_()
    adjusted(loss, shift)(scores, targets).sum().backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-6
    assert torch.allclose(adjusted(loss, shift)(right - shift, targets), loss(right, targets))


def test_the_members_of_an_ensemble_are_each_adjusted() -> None:
    scores, targets, shift = torch.randn(5, 4, 3), torch.eye(3)[[0, 1, 2, 0, 1]], torch.tensor([0.5, 0.0, -0.5])
    together = of_members(adjusted(cross_entropy, shift))(scores, targets)
    apart = torch.stack([cross_entropy(scores[:, j] + shift, targets) for j in range(4)]).mean(dim=0)
    assert torch.allclose(together, apart, atol=1e-6)
