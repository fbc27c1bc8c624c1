import numpy as np
import pytest
import torch

from thrifty.core.errors import UsageError
from thrifty.training.augment import image, sound, waveform
from thrifty.training.augment.cutmix import mixing
from thrifty.training.augment.image import images
from thrifty.training.augment.sound import frames
from thrifty.training.augment.table import features
from thrifty.training.augment.text import tokens
from thrifty.training.augment.waveform import waveforms
from thrifty.training.batches import Batch


def batch(**inputs: torch.Tensor) -> Batch:
    num_rows = len(next(iter(inputs.values())))
    return Batch(inputs, torch.zeros(num_rows, 2), torch.ones(num_rows))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_keep_their_shape_and_type_and_the_same_seed_gives_the_same() -> None:
    pixels = torch.randint(0, 256, (9, 12, 10, 3), dtype=torch.uint8)
    first = images(1.0)(batch(pixels=pixels), generator()).inputs["pixels"]
    again = images(1.0)(batch(pixels=pixels), generator()).inputs["pixels"]
    assert first.shape == pixels.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, pixels)


def test_moving_an_image_mirrors_its_border_and_never_leaves_it() -> None:
    pixels = torch.arange(5, dtype=torch.uint8)[None, :, None, None].repeat(200, 1, 5, 1)
    moved = image.move(pixels, 2, generator())
    rows = {tuple(one[:, 0, 0].tolist()) for one in moved}
    assert rows == {(2, 1, 0, 1, 2), (1, 0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 3), (2, 3, 4, 3, 2)}


def test_erasing_touches_at_most_a_third_of_each_side() -> None:
    pixels = torch.zeros((300, 12, 12, 1), dtype=torch.uint8)
    pixels[:, ::2] = 255
    changed = (image.erase(pixels, torch.rand(300), generator()) != pixels)[..., 0]
    assert int(changed.any(dim=1).sum(dim=1).max()) <= 4
    assert int(changed.any(dim=2).sum(dim=1).max()) <= 4
    assert changed.any()


def test_each_image_goes_through_another_operation_and_some_through_none() -> None:
    pixels = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8).repeat(200, 1, 1, 1)
    changed = image.one_operation(pixels, 1.0, generator())
    assert len({one.numpy().tobytes() for one in changed}) > 100
    kept = (changed == pixels).flatten(1).all(dim=1)
    assert 0.05 < kept.float().mean() < 0.3
    assert torch.equal(image.one_operation(pixels, 0.0, generator()), pixels)


def test_turning_by_an_amount_turns_what_is_seen() -> None:
    pixels = torch.zeros((2, 33, 33, 1), dtype=torch.uint8)
    pixels[:, 16, 4:29] = 255
    bent = image.bend(pixels, torch.full((2,), image.TURN), torch.tensor([1.0, 0.0]))[..., 0]
    assert torch.equal(bent[1], pixels[1, ..., 0])
    rows, columns = torch.nonzero(bent[0] > 100, as_tuple=True)
    centred = columns.double() - 16
    slope = float((centred * (rows.double() - 16)).sum() / centred.square().sum())
    assert abs(abs(slope) - np.tan(image.MOST_TURNED)) < 0.1


def test_flips_are_those_that_were_named() -> None:
    pixels = torch.arange(4, dtype=torch.uint8).view(1, 2, 2, 1).repeat(100, 1, 1, 1)

    def seen(*names: str) -> set[tuple[int, ...]]:
        return {tuple(one.flatten().tolist()) for one in image.flip(pixels, names, generator())}

    assert seen() == {(0, 1, 2, 3)}
    assert seen("left-right") == {(0, 1, 2, 3), (1, 0, 3, 2)}
    assert seen("up-down") == {(0, 1, 2, 3), (2, 3, 0, 1)}
    assert seen("quarter-turns") == {(0, 1, 2, 3), (1, 3, 0, 2), (3, 2, 1, 0), (2, 0, 3, 1)}
    for mirrored in (("left-right",), ("up-down",), ("left-right", "up-down")):
        assert len(seen(*mirrored, "quarter-turns")) == 8
    with pytest.raises(UsageError, match="sideways"):
        images(0.5, ("sideways",))


def test_mixed_images_have_the_targets_of_their_pixels() -> None:
    pixels = torch.arange(50, dtype=torch.uint8)[:, None, None, None].repeat(1, 8, 8, 1)
    targets = torch.eye(50)
    weights = torch.rand(50) + 0.5
    mixed = mixing(1.0)(Batch({"pixels": pixels}, targets, weights), generator(3))
    shares = torch.stack([torch.bincount(one.flatten().long(), minlength=50) / 64 for one in mixed.inputs["pixels"]])
    assert torch.allclose(mixed.targets_NK.sum(dim=1), torch.ones(50))
    assert torch.allclose(mixed.targets_NK * mixed.weights_N[:, None], shares * weights[None], atol=1e-6)
    assert int((shares > 0).sum()) > 60
    same = mixing(0.0)(Batch({"pixels": pixels}, targets, weights), generator())
    assert torch.equal(same.inputs["pixels"], pixels)


def test_sounds_keep_their_shape_and_strength_0_changes_nothing() -> None:
    x = torch.randn(6, 20, 16)
    assert frames(1.0)(batch(frames=x), generator()).inputs["frames"].shape == x.shape
    assert torch.equal(frames(0.0)(batch(frames=x), generator()).inputs["frames"], x)


def test_a_sound_that_is_moved_keeps_its_frames() -> None:
    clip = torch.from_numpy(np.arange(8, dtype=np.float32))[None, :, None].repeat(50, 1, 2)
    moved = sound.retime(clip, 0.0, 3, generator())
    assert torch.equal(moved.sort(dim=1).values, clip)
    assert len({tuple(one[:, 0].tolist()) for one in moved}) == 7


def test_a_faster_sound_is_shorter() -> None:
    clip = torch.zeros(40, 60, 1)
    clip[:, 20:40] = 1.0
    lengths = sound.retime(clip, 0.4, 0, generator()).sum(dim=(1, 2))
    assert 12 <= float(lengths.min()) < 17
    assert 24 < float(lengths.max()) <= 31
    played = waveform.resample(clip[..., 0], 0.4, 0, generator()).sum(dim=1)
    assert 12 < float(played.min()) < 17
    assert 24 < float(played.max()) < 31


def test_waveforms_keep_their_length_and_strength_0_changes_nothing() -> None:
    waves = torch.randn(5, 400)
    changed = waveforms(1.0)(batch(waveform=waves), generator()).inputs["waveform"]
    assert changed.shape == waves.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, waves)
    same = waveforms(0.0)(batch(waveform=waves), generator()).inputs["waveform"]
    assert torch.allclose(same, waves, atol=1e-6)


def test_words_are_dropped_or_come_from_other_texts_and_special_tokens_stay() -> None:
    ids = torch.randint(10, 20, (200, 30), generator=generator())
    ids[:, 0], ids[:, 20:] = 1, 0
    mask = (ids > 0).long()
    changed = tokens(1.0, 3, {0, 1, 3})(batch(ids=ids, mask=mask), generator()).inputs["ids"]
    assert torch.equal(changed[:, 0], ids[:, 0])
    assert torch.equal(changed[:, 20:], ids[:, 20:])
    share = (changed != ids)[:, 1:20].float().mean(dim=1)
    assert 0.1 < share.mean() < 0.2  # half of 30 %, less what is drawn alike
    assert set(changed[changed != ids].tolist()) == {3, *range(10, 20)}
    without = tokens(1.0, None, {0, 1})(batch(ids=ids, mask=mask), generator()).inputs
    assert set(without["ids"][without["ids"] != ids].tolist()) == set(range(10, 20))
    hidden = (without["mask"] != mask).float()
    assert 0.05 < hidden[:, 1:20].mean() < 0.1  # a quarter of 30 %
    assert hidden[:, 0].sum() == hidden[:, 20:].sum() == 0


def test_noise_of_features_grows_with_strength_and_differs_between_rows() -> None:
    x = torch.zeros(300, 50)
    for strength in (0.5, 1.0):
        noise = features(strength)(batch(features=x), generator()).inputs["features"]
        root = noise.square().mean().sqrt()
        assert abs(float(root) - 0.3 * strength / 3**0.5) < 0.02
        assert len({tuple(row) for row in noise.tolist()}) == 300


def test_pitch_moves_by_whole_bands() -> None:
    bands = torch.arange(6.0)[None, None].repeat(60, 3, 1)
    moved = sound.repitch(bands, 1, generator())
    found = {tuple(one[0].tolist()) for one in moved}
    assert found == {(0, 0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 5)}
