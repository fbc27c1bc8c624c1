"""Configurations as rows of numbers, many at a time, for models of how a space's parameters act.

units_MP has a column for each parameter: a number's or an ordered choice's place in 0..1, a plain choice's index, NaN
where the configuration lacks it. x_MC is what models see: a plain choice of more than two options becomes one column an
option, and an absent parameter stands at the middle (what its absence does, the parameter that its condition names
tells already).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thrifty.core.domain import SHARE_OF_BELIEF
from thrifty.core.space import Choice, Domain, Float, Int, Space, When

MIDDLE = 0.5
MOST_CELLS = 100_000  # values of an Int or ordered choice up to which places are moved to the middle of their cell


class Encoding:
    """The columns of a space. `parameter_C` numbers the parameter of each column of x_MC."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.domains: list[Domain] = list(space.values())
        self.num_parameters = len(self.domains)
        widths = [(d.size or 1) if _is_nominal(d) and (d.size or 0) > 2 else 1 for d in self.domains]
        self.parameter_C = np.repeat(np.arange(self.num_parameters), widths)
        self._starts = np.cumsum([0, *widths])
        self._cells = [_cells(d) for d in self.domains]
        self._at = {name: i for i, name in enumerate(space)}
        self._ordered_conditions = [n for n in space.order if isinstance(space.entries[n], When)]
        self._constrained_names = [n for n in space if n in space.constrained]
        self._constrained = [self._at[n] for n in self._constrained_names]

    def units(self, config: Mapping[str, Any]) -> np.ndarray:
        """[P] of one configuration."""
        places = [d.to_unit(config[n]) if n in config else np.nan for n, d in self.space.items()]
        return np.array(places, float)

    def config(self, units_P: np.ndarray) -> dict[str, Any]:
        """The configuration at units that were settled."""
        return {n: d.from_unit(u) for (n, d), u in zip(self.space.items(), units_P.tolist()) if u == u}

    def columns(self, units_MP: np.ndarray) -> np.ndarray:
        """x_MC of settled units."""
        x_MC = np.full((len(units_MP), len(self.parameter_C)), MIDDLE)
        for i, domain in enumerate(self.domains):
            u_M, start, stop = units_MP[:, i], self._starts[i], self._starts[i + 1]
            there = ~np.isnan(u_M)
            if stop - start > 1:  # two options are as far apart as the ends of a number
                x_MC[:, start:stop] = 0.5**0.5 / (stop - start)
                x_MC[there, start:stop] = 0.5**0.5 * np.eye(stop - start)[u_M[there].astype(int)]
            elif domain.size != 1:
                x_MC[there, start] = u_M[there]
        return x_MC

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Units [count, P] of random configurations, by their beliefs, not settled yet."""
        units_MP = rng.random((count, self.num_parameters))
        for i, domain in enumerate(self.domains):
            if _is_nominal(domain):
                units_MP[:, i] = _draw_options(domain, units_MP[:, i], rng)
            elif isinstance(domain, (Float, Int)) and domain.belief is not None:
                centre = Float(domain.low, domain.high, domain.log).to_unit(domain.belief.value)
                near = centre + domain.belief.spread * rng.standard_normal(count)
                use = (rng.random(count) < SHARE_OF_BELIEF) & (near >= 0) & (near <= 1)
                units_MP[use, i] = near[use]
        return units_MP

    def near(
        self, units_MP: np.ndarray, rng: np.random.Generator, step_M: np.ndarray, share_M: np.ndarray
    ) -> np.ndarray:
        """Each row with some of its parameters changed: a step of that size, or for a plain choice another draw."""
        fresh_MP = self.draw(rng, len(units_MP))
        change_MP = rng.random(units_MP.shape) < share_M[:, None]
        moved_MP = np.abs(units_MP + step_M[:, None] * rng.standard_normal(units_MP.shape))
        moved_MP = np.clip(np.where(moved_MP > 1, 2 - moved_MP, moved_MP), 0, 1)
        nominal_P = np.array([_is_nominal(d) for d in self.domains])
        moved_MP = np.where(nominal_P, fresh_MP, moved_MP)
        result_MP = np.where(change_MP, moved_MP, units_MP)
        return np.where(np.isnan(result_MP), fresh_MP, result_MP)

    def settle(self, units_MP: np.ndarray) -> np.ndarray:
        """Moves units to values that exist and takes out absent parameters and rows that break a constraint."""
        units_MP = units_MP.copy()
        for i, cells in enumerate(self._cells):
            if cells is not None:
                middles, edges = cells
                units_MP[:, i] = middles[np.searchsorted(edges, units_MP[:, i], side="right")]
        for name in self._ordered_conditions:
            entry = self.space.entries[name]
            assert isinstance(entry, When)
            there = np.ones(len(units_MP), bool)
            for parent, _ in entry.conditions:
                there &= self._meets(entry, parent, units_MP[:, self._at[parent]])
            units_MP[~there, self._at[name]] = np.nan
        if self.space.constraints:
            units_MP = units_MP[[self._allows(row) for row in units_MP[:, self._constrained].tolist()]]
        return units_MP

    def _allows(self, places: list[float]) -> bool:
        """Whether the parameters that constraints name, at these places, meet them; NaN is an absent one."""
        named = zip(self._constrained_names, places)
        return self.space.allows({n: self.space[n].from_unit(u) for n, u in named if u == u})

    def _meets(self, entry: When, parent: str, u_M: np.ndarray) -> np.ndarray:
        """Where the values of `parent` at u_M are as the condition wants; each distinct place is looked up once."""
        domain = self.space[parent]
        places, back = np.unique(u_M, return_inverse=True)
        meets = [u == u and entry.meets(parent, domain.from_unit(u)) for u in places.tolist()]
        return np.array(meets, bool)[back]


def _is_nominal(domain: Domain) -> bool:
    return isinstance(domain, Choice) and not domain.ordered


def _cells(domain: Domain) -> tuple[np.ndarray, np.ndarray] | None:
    """The middles of the values' cells and the edges between them, None where there are none or too many."""
    if _is_nominal(domain) or isinstance(domain, Float) or not 1 <= (domain.size or 0) <= MOST_CELLS:
        return None
    if isinstance(domain, Int):
        middles = np.array([domain.to_unit(v) for v in range(domain.low, domain.high + 1)])
        if domain.log:
            half = np.arange(domain.low, domain.high) + 0.5
            return middles, np.log(half / (domain.low - 0.5)) / np.log((domain.high + 0.5) / (domain.low - 0.5))
    else:
        middles = (np.arange(domain.size or 1) + 0.5) / (domain.size or 1)
    return middles, (middles[1:] + middles[:-1]) / 2


def _draw_options(domain: Domain, u_M: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    assert isinstance(domain, Choice)
    count = len(domain.options)
    drawn = np.minimum((u_M * count).astype(int), count - 1)
    if domain.weights is not None:
        by_weight = rng.choice(count, len(u_M), p=np.array(domain.weights) / sum(domain.weights))
        drawn = np.where(rng.random(len(u_M)) < SHARE_OF_BELIEF, by_weight, drawn)
    return drawn.astype(float)
