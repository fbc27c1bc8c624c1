"""The pretrained weights that a run was told to use: names become folders, and what is in these is looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thrifty.models import catalogue, hub
from thrifty.models.weights import KINDS, Weights, find


def resolve(wishes: Mapping[str, Any], offline: bool) -> tuple[dict[str, Any], dict[str, Weights]]:
    """The wishes with a folder where a model of the hub was named, and the named weights by kind.

    Raises UsageError, DataError or ExternalError for what cannot be had or read.
    """
    wishes = dict(wishes)
    named: dict[str, Weights] = {}
    for kind in KINDS:
        path = f"preparation.{kind}_backbone"
        if wishes.get(path) is None:
            continue
        folder = Path(str(wishes[path]))
        if not folder.is_dir():
            wish = str(wishes[path])
            folder = hub.folder_of(catalogue.choose(kind, wish).name if catalogue.asked(wish) else wish, offline)
        wishes[path] = str(folder)
        found = find(kind, folder)
        assert found is not None
        named[kind] = found
    return wishes, named


def sizes(named: Mapping[str, Weights]) -> dict[str, float]:
    """Megabytes of the named weights that can be trained on, by kind."""
    return {k: w.path.stat().st_size / 1e6 for k, w in named.items() if w.architecture != "speech_embedding"}
