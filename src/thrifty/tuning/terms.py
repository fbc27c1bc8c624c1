"""What a study was asked for: what its store says of it, whether a folder's is the same, and configurations of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.events import json_text
from thrifty.core.files import read_json, write_json
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.goals import Goals
from thrifty.tuning.policies.named import needs_epochs, policy_of
from thrifty.tuning.policy import Policy

LENGTH = "runs.json"  # beside a study with repeats of a generator, whose header has no epochs
MOST_COMPLETIONS = 1000  # draws of what an enqueued configuration leaves out, to meet the constraints


def header_of(space: Space | None, goals: Goals, max_epochs: int | None, seed: int, repeats: int) -> dict[str, Any]:
    """As a study's store keeps it."""
    return {
        "format": 3 if repeats > 1 else 1 if goals.plain else 2,
        "space": None if space is None else space.to_json(),
        **goals.header(),
        "max_epochs": max_epochs,
        "seed": seed,
        **({"repeats": repeats} if repeats > 1 else {}),
    }


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any], space: Space | None, folder: Path | None) -> None:
    """Raises StoreError when the study in `folder` is of other terms. stored, given: headers; space: the given one."""
    for name in ("space", "metric", "direction", "limits", "max_epochs", "repeats"):
        same = stored.get(name) == given.get(name)
        if name == "space" and stored[name] is not None and given[name] is not None:
            same = Space.from_json(stored[name]) == space
        if not same:
            there, here = _short(stored.get(name)), _short(given.get(name))
            verb = "are" if name in ("limits", "repeats") else "is"
            raise StoreError(
                f"{folder} holds a study whose {name} {verb} {there}, not {here}. "
                f"Give the same {name} to go on with it, or another folder"
            )


def check_length(folder: Path, max_epochs: int) -> None:
    """Raises StoreError when the repeats of the study in `folder` are of other epochs."""
    if not (folder / "study.sqlite3").exists() or not (folder / LENGTH).exists():
        return
    there = read_json(folder / LENGTH)["max_epochs"]
    if there != max_epochs:
        raise StoreError(
            f"{folder} holds a study whose max_epochs is {there}, not {max_epochs}. "
            "Give the same max_epochs to go on with it, or another folder"
        )


def keep_length(folder: Path, max_epochs: int) -> None:
    """Writes how many epochs each repeat has beside a study."""
    write_json(folder / LENGTH, {"max_epochs": max_epochs})


def completed(space: Space | None, config: Mapping[str, Any], seed: int, at: int) -> dict[str, Any]:
    """`config` with what it lacks drawn at random, as the `at`-th such draw. Raises UsageError."""
    if space is None:
        return as_json(config, "a configuration")
    rng = generator(seed, "enqueued", at)
    try:
        drawn = space.build(lambda n, d: config[n] if n in config else d.sample(rng), MOST_COMPLETIONS)
    except UsageError as error:
        raise UsageError(
            f"the configuration {dict(config)} to be tried first cannot meet the constraints "
            f"{', '.join(space.constraints)}; change it or leave out more of it"
        ) from error
    return space.validate({**drawn, **config})


def chosen_policy(policy: str | Policy, goals: Goals, max_epochs: int | None, repeats: int) -> Policy:
    """The policy of that name; of several metrics or with limits, asked about one number; with repeats, about means."""
    if repeats > 1:
        if max_epochs is not None or not goals.plain:
            raise UsageError("repeats are for studies of one metric, without limits and without epochs")
        if needs_epochs(policy):
            name = repr(policy) if isinstance(policy, str) else type(policy).__name__
            raise UsageError(f"the policy {name} needs epochs, and such policies cannot be used with repeats")
        from thrifty.tuning.policies.racing import Racing

        return Racing(policy)
    if goals.plain:
        return policy_of(policy, max_epochs)
    from thrifty.tuning.scalarisation import Scalarised

    return Scalarised(policy, max_epochs)


def as_json(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is a dict, not {value!r}")
    if not value:
        return {}
    return json.loads(json_text(dict(value)))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else text[:297] + "..."
