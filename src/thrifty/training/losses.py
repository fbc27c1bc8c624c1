"""Losses per row on dense targets, so that smoothed and mixed ones are like any other.

Shapes: N rows, K classes, labels or 1.
"""

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
"""(scores_NK, targets_NK) -> loss of each row, float32 [N]."""


def cross_entropy(scores_NK: Tensor, targets_NK: Tensor) -> Tensor:
    """Cross-entropy with the classes' shares in `targets_NK`, which sum to 1."""
    return -(targets_NK * functional.log_softmax(scores_NK.float(), dim=1)).sum(dim=1)


def binary_cross_entropy(scores_NK: Tensor, targets_NK: Tensor) -> Tensor:
    """The mean over the labels of each one's cross-entropy."""
    losses_NK = functional.binary_cross_entropy_with_logits(scores_NK.float(), targets_NK, reduction="none")
    return losses_NK.mean(dim=1)


def squared_error(scores_NK: Tensor, targets_NK: Tensor) -> Tensor:
    return (scores_NK.float() - targets_NK).square().mean(dim=1)


def loss_of(task: str) -> Loss:
    """The loss of a task (`binary`, `multiclass`, `multilabel`, `regression`)."""
    return {"multilabel": binary_cross_entropy, "regression": squared_error}.get(task, cross_entropy)


def adjusted(loss: Loss, shift_K: Tensor) -> Loss:
    """The loss of scores + shift_K, which holds for soft targets and labels too: logit adjustment.

    Once trained, the scores alone are right less the shift. https://arxiv.org/abs/2007.07314
    """
    return lambda scores_NK, targets_NK: loss(scores_NK.float() + shift_K, targets_NK)


def of_members(loss: Loss) -> Loss:
    """The mean over members J of each one's loss, for scores [N, J, K]."""

    def mean(scores_NJK: Tensor, targets_NK: Tensor) -> Tensor:
        num_members = scores_NJK.shape[1]
        losses = loss(scores_NJK.flatten(0, 1), targets_NK.repeat_interleave(num_members, dim=0))
        return losses.view(-1, num_members).mean(dim=1)

    return mean


def dense_targets(task: str, y: np.ndarray, num_outputs: int, label_smoothing: float = 0.0) -> np.ndarray:
    """Targets as float32 [N, K] from class codes [N], labels [N, K] or (already standardised) values [N].

    label_smoothing: the share of each target spread evenly over all classes. https://arxiv.org/abs/1512.00567
    """
    if task == "regression":
        return np.asarray(y, np.float32).reshape(len(y), 1)
    if task == "multilabel":
        return (np.asarray(y, np.float32) * (1.0 - label_smoothing) + 0.5 * label_smoothing).astype(np.float32)
    targets_NK = np.full((len(y), num_outputs), label_smoothing / num_outputs, np.float32)
    targets_NK[np.arange(len(y)), y] += 1.0 - label_smoothing
    return targets_NK
