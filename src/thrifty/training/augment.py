"""Random changes to batches that keep labels, each in torch on the whole batch.

Nothing is mirrored or turned: whether that keeps labels depends on the data.
Shapes: N rows, H height, W width, C channels, T frames, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thrifty.training.batches import Augment, Batch


def images(strength: float) -> Augment:
    """Changes `pixels`, uint8 [N, H, W, C]: moved by up to an eighth of their side, and a patch erased.

    strength: 0 (nothing) to 1.
    """

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        pixels_NHWC = batch.inputs["pixels"]
        pixels_NHWC = move(pixels_NHWC, round(strength * pixels_NHWC.shape[1] / 6), generator)
        pixels_NHWC = erase(pixels_NHWC, 0.5 * strength, generator)
        return batch._replace(inputs={**batch.inputs, "pixels": pixels_NHWC})

    return change


def move(pixels_NHWC: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Moves every image by up to `reach` pixels both ways; its border is mirrored into what becomes free."""
    if reach < 1:
        return pixels_NHWC
    num_rows, height, width, _ = pixels_NHWC.shape
    reach = min(reach, height - 1, width - 1)
    shift_2N = torch.randint(-reach, reach + 1, (2, num_rows), generator=generator)
    rows_NH = _mirrored(torch.arange(height)[None] + shift_2N[0][:, None], height)
    columns_NW = _mirrored(torch.arange(width)[None] + shift_2N[1][:, None], width)
    return pixels_NHWC[torch.arange(num_rows)[:, None, None], rows_NH[:, :, None], columns_NW[:, None, :]]


def _mirrored(index: Tensor, size: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def erase(pixels_NHWC: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fills a patch of up to a third of the side with the image's mean in a share of the images.

    https://arxiv.org/abs/1708.04896
    """
    num_rows, height, width, _ = pixels_NHWC.shape
    draws_5N = torch.rand((5, num_rows), generator=generator)
    mask_NHW = _span(draws_5N[0], draws_5N[1], height)[:, :, None] & _span(draws_5N[2], draws_5N[3], width)[:, None, :]
    mask_NHW &= (draws_5N[4] < probability)[:, None, None]
    mean_NHWC = pixels_NHWC.float().mean(dim=(1, 2, 3), keepdim=True).to(pixels_NHWC.dtype)
    return torch.where(mask_NHW[..., None], mean_NHWC, pixels_NHWC)


def _span(place_N: Tensor, length_N: Tensor, size: int) -> Tensor:
    """True [N, size] in a span of up to a third of the size."""
    length_N = (length_N * size / 3).ceil()
    start_N = (place_N * (size - length_N)).floor()
    at = torch.arange(size)[None]
    return (at >= start_N[:, None]) & (at < (start_N + length_N)[:, None])


def sounds(strength: float) -> Augment:
    """Changes `frames`, float32 [N, T, M]: moved in time and pitch, noise added, spans of both masked.

    strength: 0 (nothing) to 1.
    """

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        frames_NTM = batch.inputs["frames"]
        frames_NTM = roll(frames_NTM, round(strength * frames_NTM.shape[1] / 4), generator)
        frames_NTM = repitch(frames_NTM, round(strength * frames_NTM.shape[2] / 16), generator)
        frames_NTM = noise(frames_NTM, strength, generator)
        frames_NTM = mask(frames_NTM, strength, generator)
        return batch._replace(inputs={**batch.inputs, "frames": frames_NTM})

    return change


def roll(frames_NTM: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Moves every sound in time by up to `reach` frames; what leaves at one end comes in at the other."""
    num_rows, num_frames, _ = frames_NTM.shape
    shift_N1 = torch.randint(-reach, reach + 1, (num_rows, 1), generator=generator)
    frames_NT = (torch.arange(num_frames)[None] + shift_N1) % num_frames
    return frames_NTM[torch.arange(num_rows)[:, None], frames_NT]


def repitch(frames_NTM: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Moves every sound by up to `reach` mel bands; the outermost band is repeated into what becomes free."""
    num_rows, _, num_bands = frames_NTM.shape
    shift_N1 = torch.randint(-reach, reach + 1, (num_rows, 1), generator=generator)
    bands_NM = (torch.arange(num_bands)[None] + shift_N1).clamp(0, num_bands - 1)
    return frames_NTM.gather(2, bands_NM[:, None].expand(frames_NTM.shape))


def noise(frames_NTM: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Adds noise of up to 0.4 times `strength`, in units of a clip's deviation."""
    amount_N11 = torch.rand((len(frames_NTM), 1, 1), generator=generator) * (0.4 * strength)
    return frames_NTM + amount_N11 * torch.randn(frames_NTM.shape, generator=generator)


def mask(frames_NTM: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Sets a span of up to a third of the frames and one of up to a third of the bands to the mean, 0.

    https://arxiv.org/abs/1904.08779
    """
    num_rows, num_frames, num_bands = frames_NTM.shape
    draws_4N = torch.rand((4, num_rows), generator=generator)
    masked_NTM = _span(draws_4N[0], draws_4N[1] * strength, num_frames)[:, :, None]
    masked_NTM = masked_NTM | _span(draws_4N[2], draws_4N[3] * strength, num_bands)[:, None, :]
    return frames_NTM.masked_fill(masked_NTM, 0.0)


def texts(strength: float) -> Augment:
    """Hides up to a share of 0.4 times `strength` of the tokens of each row of `ids` and `mask`, int64 [N, L].

    https://arxiv.org/abs/1511.01432. strength: 0 (nothing) to 1.
    """

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        mask_NL = batch.inputs["mask"]
        share_N1 = torch.rand((len(mask_NL), 1), generator=generator) * (0.4 * strength)
        kept_NL = torch.rand(mask_NL.shape, generator=generator) >= share_N1
        return batch._replace(inputs={**batch.inputs, "mask": mask_NL * kept_NL})

    return change
