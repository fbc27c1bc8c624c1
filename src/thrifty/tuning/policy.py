"""The seam of policies: a policy looks at a study and decides the next purchase.

Continuing a trial and starting a configuration are one decision. A policy draws its random numbers from
`thrifty.core.seeds.generator(study.seed, ..., study.num_proposals)`, so that a seed gives the same decisions and a
study opened again goes on as if it had never been closed. A policy may have `drop(study, clock) -> [(trial, why)]` too,
asked after every report and by `Study.ask`: trials to give up. One whose purchases have a parent has
`branches(study)`: the epochs after which checkpoints are kept for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from thrifty.core.budget import Clock
from thrifty.tuning.trial import Parent

if TYPE_CHECKING:
    from thrifty.tuning.study import Study


@dataclass(frozen=True, slots=True)
class Purchase:
    """Go on with `trial`, or start `config`, up to the epoch `until` (None in a study without epochs).

    parent: `config` begins from the checkpoint of another trial, at the epoch of that.
    """

    trial: int | None = None
    config: dict[str, Any] | None = None
    until: int | None = None
    why: str = ""
    inputs: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to buy until a running trial reports."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing left that is worth buying."""

    why: str


Decision = Purchase | Wait | Stop


class Policy(Protocol):
    """Decides what to buy next."""

    def decide(self, study: Study, clock: Clock) -> Decision: ...
