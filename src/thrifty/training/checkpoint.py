"""A training state on disk, from which training goes on with the same losses."""

from __future__ import annotations

from pathlib import Path

import torch

from thrifty.core.errors import StoreError
from thrifty.core.files import replacing
from thrifty.training.state import State, counters

FORMAT = 2


def save(state: State, path: Path) -> None:
    """Writes the state, whole or not at all. After any `Stepped` or `EpochEnded` training goes on from it exactly.

    Nothing random is kept: what is drawn in a step comes from the seed and the step's number.
    """
    content = {
        "format": FORMAT,
        "counters": counters(state),
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "initial": state.initial,
        "best": state.best,
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load(state: State, path: Path) -> None:
    """Puts what `save` wrote into a state begun with a model of its shape. Raises StoreError when it does not fit."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content.get("format") != FORMAT:
        raise StoreError(f"{path}: a checkpoint of format {content.get('format')}; this version reads {FORMAT}")
    try:
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        for optimizer, kept in zip(state.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"{path}: the checkpoint is of another network: {error}") from error
    state.initial, state.best = content["initial"], content["best"]
    for name, value in content["counters"].items():
        setattr(state, name, value)
