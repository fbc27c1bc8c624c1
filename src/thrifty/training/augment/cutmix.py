"""Mixing of images with soft targets.

Shapes: N rows, H height, W width, C channels, K outputs.
"""

from __future__ import annotations

import math

import torch

from thrifty.training.batches import Augment, Batch


def mixing(share: float) -> Augment:
    """In a share of the batches puts a patch of another image into every one of `pixels`, uint8 [N, H, W, C]: CutMix.

    Targets and rows' weights are mixed by the share of the pixels. The patch covers any part of the image.
    https://arxiv.org/abs/1905.04899
    """

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        draws = torch.rand(4, generator=generator).tolist()
        if draws[0] >= share:
            return batch
        pixels_NHWC = batch.inputs["pixels"]
        num_rows, height, width, _ = pixels_NHWC.shape
        side = math.sqrt(draws[1])
        tall, wide = round(side * height), round(side * width)
        top, left = round(draws[2] * (height - tall)), round(draws[3] * (width - wide))
        other_N = torch.randperm(num_rows, generator=generator)
        patched_NHWC = pixels_NHWC.clone()
        here = (slice(None), slice(top, top + tall), slice(left, left + wide))
        patched_NHWC[here] = pixels_NHWC[here][other_N]
        part = tall * wide / (height * width)
        own_N, others_N = (1 - part) * batch.weights_N, part * batch.weights_N[other_N]
        weights_N = own_N + others_N
        share_N1 = torch.where(weights_N > 0, others_N / weights_N, part)[:, None]
        targets_NK = (1 - share_N1) * batch.targets_NK + share_N1 * batch.targets_NK[other_N]
        return Batch({**batch.inputs, "pixels": patched_NHWC}, targets_NK, weights_N)

    return change
