"""From what a network is trained to give to what is asked of it."""

from torch import Tensor, nn


class InUnits(nn.Module):
    """A network of standardised targets whose scores are in the target's own units."""

    def __init__(self, network: nn.Module, mean: float, scale: float) -> None:
        super().__init__()
        self.network, self.mean, self.scale = network, mean, scale
        self.free_axes = getattr(network, "free_axes", {})

    def forward(self, **inputs: Tensor) -> Tensor:
        scores_NK: Tensor = self.network(**inputs)
        return scores_NK * self.scale + self.mean
