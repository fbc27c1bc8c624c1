"""A parameter that says how long to train, searched in one pass: each configuration of the others runs to its largest
value, and is scored at each of its values on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thrifty.core.errors import StoreError, UsageError
from thrifty.core.files import read_json, write_json
from thrifty.core.space import Choice, Int, Space, When
from thrifty.tuning.policies.grid import POINTS, values_of
from thrifty.tuning.policy import Policy
from thrifty.tuning.trial import Trial

NAMES = re.compile(
    r"(max_|num_|n_|train_)?(epochs?|iterations|iters|steps|rounds|estimators|boost_rounds?)|max_iter|n_iter"
)
FILE = "fidelity.json"


@dataclass(frozen=True)
class Fidelity:
    """`name`: the parameter. `values`: epochs (or trees, rounds, …) at which a run is scored, in order."""

    name: str
    values: tuple[int, ...]

    @classmethod
    def of(cls, name: str, space: Space) -> tuple[Fidelity, Space]:
        """The fidelity of that name in a space, and the space of the other parameters. Raises UsageError."""
        if name not in space:
            raise UsageError(f"the fidelity {name!r} is not in the space; its parameters are {', '.join(space)}")
        domain, entry = space[name], space.entries[name]
        found = values_of(domain, POINTS) if isinstance(domain, (Choice, Int)) else []
        whole = [v for v in found if isinstance(v, int) and not isinstance(v, bool) and v >= 1]
        if not found or len(whole) < len(found):
            raise UsageError(f"the fidelity {name!r} must have whole numbers of at least 1, such as [10, 20, 30]")
        conditions = [n for n, e in space.entries.items() if isinstance(e, When) and name in e.conditions]
        if isinstance(entry, When) or conditions or name in space.constrained:
            raise UsageError(f"the fidelity {name!r} cannot be in conditions or constraints: a run has all its values")
        rest = {n: e for n, e in space.entries.items() if n != name}
        if not rest:
            raise UsageError(f"the space has no parameter beside the fidelity {name!r}; run the objective once")
        return cls(name, tuple(sorted(whole))), Space(rest, space.constraints)

    @property
    def last(self) -> int:
        return self.values[-1]

    def check_folder(self, folder: Path) -> None:
        """Raises StoreError when there is a study of another fidelity."""
        if not (folder / "study.sqlite3").exists():
            return
        found = read_json(folder / FILE) if (folder / FILE).exists() else None
        if found != self._kept:
            there = f"{found['name']} of {found['values']}" if found else "none"
            raise StoreError(f"{folder} holds a study whose fidelity is {there}. Give the same or another folder")

    def keep(self, folder: Path) -> None:
        """Writes what the fidelity is beside a study."""
        write_json(folder / FILE, self._kept)

    @property
    def _kept(self) -> dict[str, Any]:
        return {"name": self.name, "values": list(self.values)}

    def summary(self, trials: Iterable[Trial]) -> str:
        """What one pass a configuration saved, in one line."""
        run = saved = count = 0
        for trial in trials:
            scored = [value for value in self.values if value <= trial.epoch]
            run += trial.epoch
            saved += sum(scored) - max(scored, default=0)
            count += bool(scored)
        listed = ", ".join(map(str, self.values))
        return (
            f"{self.name}: {count} configurations, each scored at {listed} in one pass; "
            f"{run} epochs were run, {saved} were saved"
        )


def policy_with(fidelity: str | None, policy: str | Policy) -> str | Policy:
    """The policy of a search, which by default is a grid where it has a fidelity."""
    return "grid" if fidelity is not None and policy == "auto" else policy


def hint(space: Space) -> str | None:
    """What to tell about a grid that has a parameter which says how long to train; None without one."""
    names = [n for n, d in space.items() if NAMES.fullmatch(n) and isinstance(d, (Choice, Int)) and d.size != 1]
    if len(names) != 1:
        return None
    return (
        f"the grid has {names[0]!r}: if a run's curve does not depend on it, fidelity={names[0]!r} "
        f"(--fidelity {names[0]}) scores all its values in one run"
    )


def with_total(config: dict[str, Any], fidelity: Fidelity) -> dict[str, Any]:
    """The configuration as the objective sees it: of the longest run."""
    return {**config, fidelity.name: fidelity.last}
