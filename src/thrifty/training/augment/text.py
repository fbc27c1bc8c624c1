"""Token dropout, and back-off to a token that is as frequent in other texts: https://arxiv.org/abs/1703.02573.

Shapes: N rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from thrifty.training.augment.draws import uniform
from thrifty.training.batches import Augment, Batch

MOST_DROPPED = 0.3  # of a text's tokens


def tokens(strength: float, blank: int | None, special: Collection[int]) -> Augment:
    """Changes up to MOST_DROPPED times `strength` of the tokens of a row of `ids`, int64 [N, L].

    Half of them become the token `blank` (the tokenizer's for a hidden or unknown word), without one they are hidden by
    `mask`; half become a token drawn from the texts of the batch. Those where `mask` is 0 and `special` ones stay.
    """
    special_S = torch.tensor(sorted(special), dtype=torch.int64)

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        ids_NL = batch.inputs["ids"]
        words_NL = (batch.inputs["mask"] > 0) & ~torch.isin(ids_NL, special_S)
        found = ids_NL[words_NL]
        if not len(found):
            return batch
        rate_N1 = uniform((len(ids_NL), 1), 0.0, MOST_DROPPED * strength, generator)
        changed_NL = (torch.rand(ids_NL.shape, generator=generator) < rate_N1) & words_NL
        num_changed = int(changed_NL.sum())
        drawn = found[torch.randint(len(found), (num_changed,), generator=generator)]
        dropped = torch.rand(num_changed, generator=generator) < 0.5
        inputs = {**batch.inputs}
        if blank is not None:
            drawn = torch.where(dropped, blank, drawn)
        else:
            dropped_NL = torch.zeros_like(changed_NL).masked_scatter(changed_NL, dropped)
            inputs["mask"] = inputs["mask"].masked_fill(dropped_NL, 0)
        inputs["ids"] = ids_NL.masked_scatter(changed_NL, drawn)
        return batch._replace(inputs=inputs)

    return change
