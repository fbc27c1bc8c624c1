"""Thrifty: labelled data, a budget and limits in; a small deployable model and an honest report out.

Layers, highest first, each importing only what is below:
cli, testing > api > automl > engines > recipe > exporting > training > models, evaluation, runtime > data, tuning >
execution > core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thrifty.core.version import VERSION

if TYPE_CHECKING:
    from thrifty.api import Run, evaluate, inspect, load, predict, resume, run, train
    from thrifty.core.errors import (
        DataError,
        Exhausted,
        ExternalError,
        MissingExtraError,
        StoreError,
        ThriftyError,
        UsageError,
    )
    from thrifty.core.space import Choice, Float, Int
    from thrifty.tuning.study import Study
    from thrifty.tuning.tune import tune

__version__ = VERSION

_HOMES = {
    "thrifty.api": ("Run", "evaluate", "inspect", "load", "predict", "resume", "run", "train"),
    "thrifty.core.errors": (
        "DataError", "Exhausted", "ExternalError", "MissingExtraError", "StoreError", "ThriftyError", "UsageError",
    ),
    "thrifty.core.space": ("Choice", "Float", "Int"),
    "thrifty.tuning.study": ("Study",),
    "thrifty.tuning.tune": ("tune",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Choice", "DataError", "Exhausted", "ExternalError", "Float", "Int", "MissingExtraError", "Run", "StoreError",
    "Study", "ThriftyError", "UsageError", "evaluate", "inspect", "load", "predict", "resume", "run", "train",
    "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used, so that `import thrifty` stays light."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'thrifty' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
