"""Random changes to sounds as samples, for networks that read these: speed, place in time, loudness, noise, gaps.

Shapes: N rows, T samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thrifty.training.augment.draws import Noise, span, uniform
from thrifty.training.batches import Augment, Batch

MOST_SPEED = 0.2  # faster or slower, log
MOST_NOISE = 0.1  # of the sound's own root mean square
MOST_GAIN = 1.0  # louder or softer, log


def waveforms(strength: float) -> Augment:
    """Changes `waveform`, float32 [N, T]: speed, place in time, loudness, added noise, and a span that is silent."""
    noise = Noise()

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        wave_NT = batch.inputs["waveform"]
        num_rows, num_samples = wave_NT.shape
        wave_NT = resample(wave_NT, MOST_SPEED * strength, round(strength * num_samples / 4), generator)
        gain_N1 = uniform((num_rows, 1), -MOST_GAIN * strength, MOST_GAIN * strength, generator).exp()
        wave_NT = wave_NT * gain_N1
        loudness_N = wave_NT.square().mean(dim=1).sqrt()
        amount_N = loudness_N * uniform((num_rows,), 0.0, MOST_NOISE * strength, generator)
        wave_NT = noise.add(wave_NT, amount_N, generator)
        draws_2N = torch.rand((2, num_rows), generator=generator)
        silent_NT = span(draws_2N[0], draws_2N[1] * strength / 2, num_samples)
        wave_NT = wave_NT.masked_fill(silent_NT, 0.0)
        return batch._replace(inputs={**batch.inputs, "waveform": wave_NT})

    return change


def resample(wave_NT: Tensor, most_speed: float, reach: int, generator: torch.Generator) -> Tensor:
    """Plays every sound faster or slower by a factor of up to exp(most_speed), moved by up to `reach` samples.

    What leaves at one end comes in at the other. Samples between two are on the line through them.
    """
    num_rows, num_samples = wave_NT.shape
    speed_N = uniform((num_rows,), -most_speed, most_speed, generator).exp().tolist()
    shift_N = torch.randint(-reach, reach + 1, (num_rows,), generator=generator).tolist()
    changed_NT = torch.empty_like(wave_NT)
    for row, (speed, shift) in enumerate(zip(speed_N, shift_N, strict=True)):
        length = max(2, math.floor(num_samples / speed))
        played = torch.nn.functional.interpolate(
            wave_NT[row][None, None], size=length, mode="linear", align_corners=False
        )[0, 0]
        if length < num_samples:
            played = torch.cat([played, played.new_zeros(num_samples - length)])
        first = (len(played) - num_samples) // 2
        changed_NT[row] = played[first : first + num_samples].roll(shift)
    return changed_NT
