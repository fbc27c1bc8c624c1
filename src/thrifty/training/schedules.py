"""How the learning rate goes over a run."""

import math


def warmup_cosine(progress: float, warmup_share: float) -> float:
    """The factor on the learning rate at `progress` (0 to 1): up in a line to 1, then down half a cosine to 0.

    https://arxiv.org/abs/1608.03983
    """
    if progress < warmup_share:
        return max(progress / warmup_share, 1e-3)
    share = (progress - warmup_share) / max(1.0 - warmup_share, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
