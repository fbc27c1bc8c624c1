"""Sobol points: configurations spread more evenly than random ones (https://en.wikipedia.org/wiki/Sobol_sequence)."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.domain import SHARE_OF_BELIEF
from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.seeds import generator
from thrifty.core.space import Belief, Choice, Domain, Float, Int, Space
from thrifty.tuning.policies.random import Fresh, space_of

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

MOST_MISSES = 64
PLACES = 257  # at which the share of draws below is worked out, for a belief


class Sobol:
    """Takes the sequence's points in order, shifted by the seed, and leaves out those that repeat or break constraints.

    A study that is opened again goes through the points from the first, past those that it has.
    """

    name = "sobol"

    def __init__(self) -> None:
        self._points: _Points | None = None
        self._next = 0
        self._rest: Fresh | None = None

    def draw(self, study: Study) -> dict[str, Any] | None:
        """A new configuration; random ones once point after point is of no use."""
        space = space_of(study)
        if self._points is None:
            self._points = _Points(len(space), study.seed)
        if self._rest is None:
            for _ in range(MOST_MISSES * (1 + study.num_trials)):
                config = _at(space, self._points[self._next])
                self._next += 1
                if config is not None and not study.seen(config):
                    return config
            self._rest = Fresh()
        return self._rest.draw(study)


class _Points:
    """The sequence in `dimensions`, made in blocks; each seed has its own shift, modulo 1."""

    def __init__(self, dimensions: int, seed: int) -> None:
        try:
            from scipy.stats import qmc
        except ModuleNotFoundError as error:
            raise MissingExtraError("the policy 'sobol'", "tune", "scipy") from error
        if dimensions > qmc.Sobol.MAXDIM:
            raise UsageError(f"the policy 'sobol' takes at most {qmc.Sobol.MAXDIM} parameters, not {dimensions}")
        self._sequence = qmc.Sobol(dimensions, scramble=False)
        self._shift = generator(seed, "sobol").random(dimensions)
        self._made = np.empty((0, dimensions))

    def __getitem__(self, at: int) -> np.ndarray:
        while at >= len(self._made):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of balance, which any prefix of the sequence lacks
                block = self._sequence.random(max(64, len(self._made)))
            self._made = np.vstack([self._made, (block + self._shift) % 1.0])
        return self._made[at]


def _at(space: Space, point: np.ndarray) -> dict[str, Any] | None:
    """The configuration at a point of the unit cube, or None when it breaks a constraint."""
    place = dict(zip(space, point))

    def value_of(name: str, domain: Domain) -> Any:
        u = float(place[name])
        if isinstance(domain, Choice):
            weights = np.array(domain.weights or [1.0] * len(domain.options))
            shares = SHARE_OF_BELIEF * weights / weights.sum() + (1 - SHARE_OF_BELIEF) / len(weights)
            return domain.options[min(int(np.searchsorted(np.cumsum(shares), u, side="right")), len(weights) - 1)]
        return domain.from_unit(u if domain.belief is None else _by_belief(domain, domain.belief, u))

    try:
        return space.build(value_of)
    except UsageError:
        return None


def _by_belief(domain: Float | Int, belief: Belief, u: float) -> float:
    """The place below which a share `u` of random draws lies, of which most are normal round the belief."""
    centre = Float(domain.low, domain.high, domain.log).to_unit(belief.value)
    places = np.linspace(0, 1, PLACES)
    edges = np.array([math.erf((x - centre) / (belief.spread * 2**0.5)) for x in places])
    below = SHARE_OF_BELIEF * (edges - edges[0]) / (edges[-1] - edges[0]) + (1 - SHARE_OF_BELIEF) * places
    return float(np.interp(u, below, places))
