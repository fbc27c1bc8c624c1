"""The models of the hub that are worth trying, smallest first: catalogue.json beside this file.

An entry: name; kind; languages (ISO 639-1, `*` for many, none for what has no language); millions of parameters;
megabytes (10^6 bytes) of the weights; cost (`small`, `medium`, `large`: what a row costs); licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thrifty.core.errors import UsageError
from thrifty.core.files import read_json
from thrifty.models.weights import WISHES, Kind

WORD = "catalogue"  # `--set backbone.text=catalogue`, or catalogue:LANGUAGE


@dataclass(frozen=True)
class Entry:
    """One model of the hub."""

    name: str
    kind: Kind
    languages: tuple[str, ...]
    millions: float
    megabytes: float
    cost: str
    licence: str


def entries() -> tuple[Entry, ...]:
    """All of the catalogue, in its order."""
    found = read_json(Path(__file__).with_name("catalogue.json"))
    return tuple(Entry(**{**one, "languages": tuple(one["languages"])}) for one in found)


def asked(wish: str) -> bool:
    """Whether a wish is for a model of the catalogue."""
    return wish.partition(":")[0] == WORD


def choose(kind: Kind, wish: str) -> Entry:
    """The first entry of a kind for the language after the colon; without one, for any language.

    Raises UsageError when there is none.
    """
    language = wish.partition(":")[2]
    for entry in entries():
        if entry.kind == kind and (not entry.languages or language in entry.languages or "*" in entry.languages):
            return entry
    raise UsageError(f"the catalogue has no model for backbone.{WISHES[kind]}={wish}; name a folder or a model")
