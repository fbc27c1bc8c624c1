"""Random changes to images: flips that keep labels, a small move, and one operation of random strength for each.

One operation at a time, evenly drawn, does as well as searched sequences: https://arxiv.org/abs/2103.10158
Shapes: N rows, H height, W width, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from thrifty.core.errors import UsageError
from thrifty.training.augment.draws import span, uniform
from thrifty.training.batches import Augment, Batch

SYMMETRIES = ("left-right", "up-down", "quarter-turns")
MOST_MOVED = 1 / 6  # of the side
MOST_TURNED = 0.5  # radians
MOST_SHEARED = 0.3
MOST_ZOOMED = 0.3  # log
MOST_BRIGHT = 0.5  # log
MOST_CONTRAST = 0.7  # log
MOST_BITS = 5  # taken from the 8 of each channel

TURN, SHEAR, ZOOM, ERASE, BRIGHTNESS, CONTRAST, POSTERISE, KEEP = range(8)


def images(strength: float, symmetries: tuple[str, ...] = ()) -> Augment:
    """Changes `pixels`, uint8 [N, H, W, C]. symmetries: those of SYMMETRIES that keep labels.

    Raises UsageError for another name.
    """
    for name in symmetries:
        if name not in SYMMETRIES:
            raise UsageError(f"training.symmetries has {name!r}; it may have {', '.join(SYMMETRIES)}")

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        pixels_NHWC = flip(batch.inputs["pixels"], symmetries, generator)
        pixels_NHWC = move(pixels_NHWC, round(MOST_MOVED * strength * pixels_NHWC.shape[1]), generator)
        pixels_NHWC = one_operation(pixels_NHWC, strength, generator)
        return batch._replace(inputs={**batch.inputs, "pixels": pixels_NHWC})

    return change


def flip(pixels_NHWC: Tensor, symmetries: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Mirrors or turns each image, evenly among the symmetries named and what they make together."""
    if not symmetries:
        return pixels_NHWC
    draws_3N = torch.rand((3, len(pixels_NHWC)), generator=generator) < 0.5
    pixels_NHWC = pixels_NHWC.clone()
    height, width = pixels_NHWC.shape[1:3]
    if "quarter-turns" in symmetries and height == width:
        pixels_NHWC[draws_3N[0]] = pixels_NHWC[draws_3N[0]].rot90(1, (1, 2))
        if not {"left-right", "up-down"} <= set(symmetries):  # which make half a turn together
            half_N = draws_3N[2 if "left-right" in symmetries else 1]
            pixels_NHWC[half_N] = pixels_NHWC[half_N].rot90(2, (1, 2))
    if "left-right" in symmetries:
        pixels_NHWC[draws_3N[1]] = pixels_NHWC[draws_3N[1]].flip(2)
    if "up-down" in symmetries:
        pixels_NHWC[draws_3N[2]] = pixels_NHWC[draws_3N[2]].flip(1)
    return pixels_NHWC


def move(pixels_NHWC: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Moves every image by up to `reach` pixels both ways; its border is mirrored into what becomes free."""
    if reach < 1:
        return pixels_NHWC
    num_rows, height, width, _ = pixels_NHWC.shape
    reach = min(reach, height - 1, width - 1)
    wide = torch.cat([pixels_NHWC[:, 1 : reach + 1].flip(1), pixels_NHWC, pixels_NHWC[:, -reach - 1 : -1].flip(1)], 1)
    wide = torch.cat([wide[:, :, 1 : reach + 1].flip(2), wide, wide[:, :, -reach - 1 : -1].flip(2)], 2)
    first_N2 = torch.randint(2 * reach + 1, (num_rows, 2), generator=generator).tolist()
    return torch.stack([wide[n, i : i + height, j : j + width] for n, (i, j) in enumerate(first_N2)])


def one_operation(pixels_NHWC: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turns, shears, zooms, erases, brightens, changes the contrast or the depth of each image, or keeps it."""
    num_rows = len(pixels_NHWC)
    which_N = torch.randint(KEEP + 1, (num_rows,), generator=generator)
    amount_N = uniform((num_rows,), -strength, strength, generator)
    changed_NHWC = pixels_NHWC.clone()
    bent = torch.nonzero(which_N <= ZOOM)[:, 0]
    if len(bent):
        changed_NHWC[bent] = bend(pixels_NHWC[bent], which_N[bent], amount_N[bent])
    for operation in (ERASE, BRIGHTNESS, CONTRAST, POSTERISE):
        rows = torch.nonzero(which_N == operation)[:, 0]
        if not len(rows):
            continue
        some_NHWC, amount = pixels_NHWC[rows], amount_N[rows]
        if operation == ERASE:
            changed_NHWC[rows] = erase(some_NHWC, amount.abs(), generator)
        elif operation == BRIGHTNESS:
            changed_NHWC[rows] = stretch(some_NHWC, (MOST_BRIGHT * amount).exp(), around_mean=False)
        elif operation == CONTRAST:
            changed_NHWC[rows] = stretch(some_NHWC, (MOST_CONTRAST * amount).exp(), around_mean=True)
        else:
            changed_NHWC[rows] = posterise(some_NHWC, (MOST_BITS * amount.abs()).round().to(torch.uint8))
    return changed_NHWC


def bend(pixels_NHWC: Tensor, which_N: Tensor, amount_N: Tensor) -> Tensor:
    """Turns, shears along one side or zooms each image by its amount, -1 to 1; the border is mirrored outwards."""
    turn_N = torch.where(which_N == TURN, MOST_TURNED * amount_N, 0.0)
    shear_N = torch.where(which_N == SHEAR, MOST_SHEARED * amount_N, 0.0)
    zoom_N = torch.where(which_N == ZOOM, MOST_ZOOMED * amount_N, 0.0).exp()
    across_N = shear_N * (torch.arange(len(which_N)) % 2 == 0)
    height, width = pixels_NHWC.shape[1:3]
    y_H1, x_1W = _places(height)[:, None], _places(width)[None]

    def source(along_x_N: Tensor, along_y_N: Tensor) -> Tensor:
        return along_x_N[:, None, None] * x_1W + along_y_N[:, None, None] * y_H1

    diagonal_N = zoom_N * turn_N.cos()
    grid_NHW2 = torch.stack(
        [source(diagonal_N, across_N - turn_N.sin()), source(shear_N - across_N + turn_N.sin(), diagonal_N)], dim=3
    )
    x_NCHW = functional.grid_sample(
        pixels_NHWC.permute(0, 3, 1, 2).float(), grid_NHW2, padding_mode="reflection", align_corners=False
    )
    return x_NCHW.add_(0.5).to(torch.uint8).permute(0, 2, 3, 1)


def _places(size: int) -> Tensor:
    """The middles of pixels along a side from -1 to 1."""
    return (2 * torch.arange(size) + 1) / size - 1


def erase(pixels_NHWC: Tensor, size_N: Tensor, generator: torch.Generator) -> Tensor:
    """Fills a patch of up to a third of the side times `size_N`, 0 to 1, with the image's mean.

    https://arxiv.org/abs/1708.04896
    """
    num_rows, height, width, _ = pixels_NHWC.shape
    draws_2N = torch.rand((2, num_rows), generator=generator)
    mask_NHW = span(draws_2N[0], size_N, height)[:, :, None] & span(draws_2N[1], size_N, width)[:, None, :]
    mean_NHWC = pixels_NHWC.float().mean(dim=(1, 2, 3), keepdim=True).to(pixels_NHWC.dtype)
    return torch.where(mask_NHW[..., None], mean_NHWC, pixels_NHWC)


def stretch(pixels_NHWC: Tensor, factor_N: Tensor, around_mean: bool) -> Tensor:
    """Multiplies each image by its factor, or its distance from its mean."""
    x_NHWC = pixels_NHWC.float()
    centre = x_NHWC.mean(dim=(1, 2, 3), keepdim=True) if around_mean else 0.0
    x_NHWC = x_NHWC.sub_(centre).mul_(factor_N[:, None, None, None]).add_(centre + 0.5)
    return x_NHWC.clamp_(0, 255).to(torch.uint8)


def posterise(pixels_NHWC: Tensor, bits_N: Tensor) -> Tensor:
    """Takes the lowest `bits_N`, uint8, of the 8 bits of each image's channels."""
    keep_N = torch.bitwise_left_shift(torch.full_like(bits_N, 255), bits_N)
    return pixels_NHWC & keep_N[:, None, None, None]
