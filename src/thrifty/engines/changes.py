"""Which random changes a network's training rows go through, by what the network is fed."""

from __future__ import annotations

import json
from typing import Any

import torch

from thrifty.engines.inputs import Inputs
from thrifty.recipe import Training
from thrifty.training.augment.cutmix import mixing
from thrifty.training.augment.image import images
from thrifty.training.augment.sound import frames
from thrifty.training.augment.table import features
from thrifty.training.augment.text import tokens
from thrifty.training.augment.waveform import waveforms
from thrifty.training.batches import Augment, Batch

BLANKS = ("[MASK]", "<mask>", "[UNK]", "<unk>")  # what a tokenizer calls a hidden or unknown word


def augment_of(inputs: Inputs, training: Training) -> Augment | None:
    """The changes for pixels, frames, waveforms, tokens and features, those that there are; None for none."""
    strength = training.augmentation
    changes: list[Augment] = []
    symmetries = tuple(training.symmetries.split())
    if "pixels" in inputs.arrays and (strength > 0 or symmetries):
        changes.append(images(strength, symmetries))
    if strength > 0:
        for name, of in (("frames", frames), ("waveform", waveforms), ("features", features)):
            if name in inputs.arrays:
                changes.append(of(strength))
        if inputs.tokenizer is not None:
            changes.append(tokens(strength, *_special(json.loads(inputs.tokenizer))))
    if training.mixing > 0 and set(inputs.arrays) == {"pixels"}:
        changes.append(mixing(training.mixing))
    if not changes:
        return None

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        for one in changes:
            batch = one(batch, generator)
        return batch

    return change


def _special(tokenizer: dict[str, Any]) -> tuple[int | None, set[int]]:
    """The token for a hidden or unknown word, None without one, and those that are no words, of a tokenizer.json."""
    added = {str(token["content"]): int(token["id"]) for token in tokenizer.get("added_tokens", ())}
    special = {int(token["id"]) for token in tokenizer.get("added_tokens", ()) if token.get("special")}
    return next((added[name] for name in BLANKS if name in added), None), special
