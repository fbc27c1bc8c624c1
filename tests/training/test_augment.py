import numpy as np
import torch

from thrifty.training import augment
from thrifty.training.batches import Batch


def batch(**inputs: torch.Tensor) -> Batch:
    num_rows = len(next(iter(inputs.values())))
    return Batch(inputs, torch.zeros(num_rows, 2), torch.ones(num_rows))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_keep_their_shape_and_type_and_the_same_seed_gives_the_same() -> None:
    pixels = torch.randint(0, 256, (9, 12, 10, 3), dtype=torch.uint8)
    first = augment.images(1.0)(batch(pixels=pixels), generator()).inputs["pixels"]
    again = augment.images(1.0)(batch(pixels=pixels), generator()).inputs["pixels"]
    assert first.shape == pixels.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, pixels)


def test_moving_an_image_mirrors_its_border_and_never_leaves_it() -> None:
    pixels = torch.arange(5, dtype=torch.uint8)[None, :, None, None].repeat(200, 1, 5, 1)
    moved = augment.move(pixels, 2, generator())
    rows = {tuple(image[:, 0, 0].tolist()) for image in moved}
    assert rows == {(2, 1, 0, 1, 2), (1, 0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 3), (2, 3, 4, 3, 2)}


def test_erasing_touches_at_most_a_third_of_each_side() -> None:
    pixels = torch.zeros((300, 12, 12, 1), dtype=torch.uint8)
    pixels[:, ::2] = 255
    changed = (augment.erase(pixels, 1.0, generator()) != pixels)[..., 0]
    assert int(changed.any(dim=1).sum(dim=1).max()) <= 4
    assert int(changed.any(dim=2).sum(dim=1).max()) <= 4
    assert changed.any()


def test_sounds_keep_their_shape_and_strength_0_changes_nothing() -> None:
    frames = torch.randn(6, 20, 16)
    assert augment.sounds(1.0)(batch(frames=frames), generator()).inputs["frames"].shape == frames.shape
    assert torch.equal(augment.sounds(0.0)(batch(frames=frames), generator()).inputs["frames"], frames)


def test_rolling_a_sound_keeps_its_frames() -> None:
    frames = torch.from_numpy(np.arange(8, dtype=np.float32))[None, :, None].repeat(50, 1, 2)
    rolled = augment.roll(frames, 3, generator())
    assert torch.equal(rolled.sort(dim=1).values, frames)
    assert len({tuple(sound[:, 0].tolist()) for sound in rolled}) == 7


def test_pitch_moves_by_whole_bands() -> None:
    frames = torch.arange(6.0)[None, None].repeat(60, 3, 1)
    moved = augment.repitch(frames, 1, generator())
    found = {tuple(sound[0].tolist()) for sound in moved}
    assert found == {(0, 0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 5)}


def test_tokens_are_hidden_more_in_some_rows_than_in_others_and_padding_stays_hidden() -> None:
    mask = torch.ones(200, 100, dtype=torch.int64)
    mask[:, 50:] = 0
    changed = augment.texts(1.0)(batch(ids=torch.ones_like(mask), mask=mask), generator()).inputs
    hidden_N = 1 - changed["mask"][:, :50].float().mean(dim=1)
    assert changed["mask"][:, 50:].sum() == 0
    assert (changed["ids"] == 1).all()
    assert hidden_N.min() < 0.05
    assert 0.3 < hidden_N.max() < 0.65
    assert 0.15 < hidden_N.mean() < 0.25
