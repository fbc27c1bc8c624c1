"""What numbers a network is trained in: bfloat16 where the device has it, on other GPUs float16, else float32.

float16 reaches only down to 6e-8, so that small gradients would become 0: the loss is scaled up before the backward
pass and the gradients down after it (https://arxiv.org/abs/1710.03740). bfloat16 has the range of float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thrifty.execution.resources import fast_bfloat16


@dataclass(frozen=True)
class Precision:
    """`low`: the type that matrix products and convolutions are computed in; weights and sums stay float32.

    Networks with convolutions are laid out channels-last, which these run 2 to 4 times faster in.
    """

    low: torch.dtype
    device: str = "cpu"

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(torch.device(self.device).type, self.low, enabled=self.low != torch.float32)

    @property
    def scaled(self) -> bool:
        """Whether the loss has to be scaled for its gradients to be kept."""
        return self.low == torch.float16

    def place(self, model: nn.Module) -> nn.Module:
        """Moves a model to the device, its convolutions channels-last."""
        has_convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
        layout = torch.channels_last if has_convolutions else torch.preserve_format
        return model.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]

    def move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def best_precision(device: str = "cpu") -> Precision:
    """bfloat16 where the processor or the GPU multiplies it itself, float16 on other GPUs, else float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        with torch.cuda.device(device):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(torch.bfloat16 if fast else torch.float16, device)
    if kind == "mps":
        return Precision(torch.float16, device)
    return Precision(torch.bfloat16 if kind == "cpu" and fast_bfloat16() else torch.float32, device)
