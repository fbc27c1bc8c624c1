import numpy as np
import pytest
import torch
from torch.nn import functional

from thrifty.training.losses import binary_cross_entropy, cross_entropy, dense_targets, loss_of, squared_error


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
