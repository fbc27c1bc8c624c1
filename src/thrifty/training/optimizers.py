"""AdamW over groups of parameters, each with its own decay and share of the learning rate.

https://arxiv.org/abs/1711.05101
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

Group = dict[str, Any]
BETAS = (0.9, 0.99)


def groups(parameters: Iterable[nn.Parameter], weight_decay: float, factor: float = 1.0) -> list[Group]:
    """Groups of the parameters that are trained; those with one axis (biases, norms) do not decay.

    factor: on the learning rate that the loop sets at each step.
    """
    trained = [p for p in parameters if p.requires_grad]
    split = ((weight_decay, [p for p in trained if p.ndim > 1]), (0.0, [p for p in trained if p.ndim <= 1]))
    return [{"params": some, "weight_decay": decay, "factor": factor} for decay, some in split if some]


def adamw(groups: list[Group]) -> torch.optim.AdamW:
    """The optimizer; its learning rate is what the loop sets."""
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


class PerHeadAdamW(torch.optim.Optimizer):
    """AdamW on parameters whose first axis counts heads J, each with its own learning rate and decay.

    A group has `factor_J11` (on the learning rate) and `decay_J11`. Each head's gradient is clipped to norm 1 alone,
    so that one head that goes astray does not hold the others back.
    """

    def __init__(self, groups: list[Group]) -> None:
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate_J11 = group["lr"] * group["factor_J11"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                norm_J11 = gradient.flatten(1).norm(dim=1)[:, None, None]
                gradient.mul_(1.0 / norm_J11.clamp(min=1.0))
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                first, second = BETAS
                state["mean"].lerp_(gradient, 1.0 - first)
                state["square"].mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
                scale = (state["square"] / (1.0 - second ** state["step"])).sqrt_().add_(1e-8)
                parameter.mul_(1.0 - rate_J11 * group["decay_J11"])
                parameter.sub_(state["mean"] / scale * (rate_J11 / (1.0 - first ** state["step"])))
