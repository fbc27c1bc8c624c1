"""Random changes to sounds as log-mel frames: speed, place in time, pitch, noise, and spans that are masked.

Shapes: N rows, T frames, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thrifty.training.augment.draws import Noise, span, uniform
from thrifty.training.batches import Augment, Batch

MOST_SPEED = 0.2  # faster or slower, log
MOST_NOISE = 0.4  # in units of a clip's deviation


def frames(strength: float) -> Augment:
    """Changes `frames`, float32 [N, T, M], standardised."""
    noise = Noise()

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        frames_NTM = batch.inputs["frames"]
        num_rows, num_frames, num_bands = frames_NTM.shape
        frames_NTM = retime(frames_NTM, MOST_SPEED * strength, round(strength * num_frames / 4), generator)
        frames_NTM = repitch(frames_NTM, round(strength * num_bands / 16), generator)
        amount_N = uniform((num_rows,), 0.0, MOST_NOISE * strength, generator)
        frames_NTM = mask(noise.add(frames_NTM, amount_N, generator), strength, generator)
        return batch._replace(inputs={**batch.inputs, "frames": frames_NTM})

    return change


def retime(frames_NTM: Tensor, most_speed: float, reach: int, generator: torch.Generator) -> Tensor:
    """Plays every sound faster or slower by a factor of up to exp(most_speed), moved by up to `reach` frames.

    The middle stays the middle but for the move; what leaves at one end comes in at the other.
    """
    num_rows, num_frames, _ = frames_NTM.shape
    shift_N1 = torch.randint(-reach, reach + 1, (num_rows, 1), generator=generator)
    speed_N1 = uniform((num_rows, 1), -most_speed, most_speed, generator).exp()
    middle = (num_frames - 1) / 2
    frame_NT = (((torch.arange(num_frames)[None] - middle) * speed_N1 + middle).round().long() + shift_N1) % num_frames
    return frames_NTM[torch.arange(num_rows)[:, None], frame_NT]


def repitch(frames_NTM: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Moves every sound by up to `reach` mel bands; the outermost band is repeated into what becomes free."""
    num_rows, _, num_bands = frames_NTM.shape
    shift_N1 = torch.randint(-reach, reach + 1, (num_rows, 1), generator=generator)
    bands_NM = (torch.arange(num_bands)[None] + shift_N1).clamp(0, num_bands - 1)
    return frames_NTM.gather(2, bands_NM[:, None].expand(frames_NTM.shape))


def mask(frames_NTM: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Sets a span of up to a third of the frames and one of up to a third of the bands to the mean, 0.

    https://arxiv.org/abs/1904.08779
    """
    num_rows, num_frames, num_bands = frames_NTM.shape
    draws_4N = torch.rand((4, num_rows), generator=generator)
    masked_NTM = span(draws_4N[0], draws_4N[1] * strength, num_frames)[:, :, None]
    masked_NTM = masked_NTM | span(draws_4N[2], draws_4N[3] * strength, num_bands)[:, None, :]
    return frames_NTM.masked_fill(masked_NTM, 0.0)
