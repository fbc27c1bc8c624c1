import json

import numpy as np
import pytest
import torch

from thrifty.engines.changes import augment_of
from thrifty.engines.inputs import Inputs
from thrifty.recipe import Training
from thrifty.training.batches import Batch


def changed(training: Training, tokenizer: str | None = None, **arrays: torch.Tensor) -> Batch:
    """A batch of the arrays after the changes that the recipe asks for."""
    plain = {name: tensor.numpy() for name, tensor in arrays.items()}
    rows = len(next(iter(plain.values())))
    inputs = Inputs(plain, np.arange(rows), lambda folder: [], {}, {}, tokenizer=tokenizer)
    batch = Batch(arrays, torch.eye(rows), torch.ones(rows))
    augment = augment_of(inputs, training)
    return batch if augment is None else augment(batch, torch.Generator().manual_seed(0))


KINDS = {
    "pixels": torch.randint(0, 256, (20, 16, 16, 3), dtype=torch.uint8),
    "frames": torch.randn(20, 30, 16),
    "waveform": torch.randn(20, 900),
    "features": torch.randn(20, 9),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_is_changed_and_strength_0_changes_none(kind: str) -> None:
    assert not torch.equal(changed(Training(augmentation=0.5), **{kind: KINDS[kind]}).inputs[kind], KINDS[kind])
    assert torch.equal(changed(Training(augmentation=0.0), **{kind: KINDS[kind]}).inputs[kind], KINDS[kind])


def test_words_become_the_tokenizers_mask_and_its_special_tokens_stay() -> None:
    added = [{"id": 0, "content": "[PAD]", "special": True}, {"id": 4, "content": "[MASK]", "special": True}]
    ids = torch.randint(10, 20, (60, 30))
    ids[:, 0] = 0
    made = changed(Training(augmentation=1.0), json.dumps({"added_tokens": added}), ids=ids, mask=torch.ones_like(ids))
    assert torch.equal(made.inputs["ids"][:, 0], ids[:, 0])
    assert (made.inputs["ids"] == 4).any()


def test_images_are_mixed_alone_and_flipped_without_any_strength() -> None:
    training = Training(augmentation=0.0, mixing=1.0)
    pixels = KINDS["pixels"]
    assert not torch.equal(changed(training, pixels=pixels).targets_NK, torch.eye(20))
    assert torch.equal(changed(training, pixels=pixels, features=KINDS["features"]).targets_NK, torch.eye(20))
    flipped = changed(Training(augmentation=0.0, symmetries="up-down"), pixels=pixels).inputs["pixels"]
    turned = [not torch.equal(a, b) for a, b in zip(flipped, pixels, strict=True)]
    assert 0 < sum(turned) < 20
    assert all(torch.equal(a, b.flip(0)) for a, b, t in zip(flipped, pixels, turned, strict=True) if t)
