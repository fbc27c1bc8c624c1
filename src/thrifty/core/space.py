"""A space: named domains with conditions and constraints between them; to JSON and YAML and back without loss."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.constraint import Constraint
from thrifty.core.domain import Belief, Choice, Domain, Float, Int, Scalar, When, entry_from_json, values_of
from thrifty.core.errors import UsageError


class Space(Mapping[str, Domain]):
    """An ordered mapping of names to domains. A configuration lacks the parameters whose conditions do not hold.

    domains: values may be a Float, Int, Choice, When, or plainly a list of options or a single scalar (a constant).
    constraints: expressions such as "low < high" or "layers * width <= 4096"; one that names an absent parameter holds.
    """

    def __init__(self, domains: Mapping[str, Any], constraints: Sequence[str] = ()) -> None:
        if isinstance(domains, Space):
            constraints = (*domains.constraints, *constraints)
            domains = domains.entries
        if not isinstance(domains, Mapping):
            raise UsageError(f"a space is a dict of name to domain, not {type(domains).__name__}")
        self.entries: dict[str, Domain | When] = {name: _entry(name, value) for name, value in domains.items()}
        self._domains = {n: e.domain if isinstance(e, When) else e for n, e in self.entries.items()}
        self.order = _in_order_of_conditions(self.entries)
        self._constraints = tuple(Constraint(text, self._domains) for text in constraints)

    @classmethod
    def of(cls, source: Any) -> Space:
        """A space from a Space, a dict, a dataclass whose fields have `domain` metadata, or the path of a YAML file."""
        if isinstance(source, Space):
            return source
        if isinstance(source, (str, Path)):
            return cls.from_yaml(Path(source))
        if dataclasses.is_dataclass(source):
            return cls({f.name: f.metadata["domain"] for f in dataclasses.fields(source) if "domain" in f.metadata})
        return cls(source)

    @property
    def constraints(self) -> tuple[str, ...]:
        return tuple(c.text for c in self._constraints)

    @property
    def constrained(self) -> frozenset[str]:
        """The parameters that constraints name."""
        return frozenset().union(*(c.names for c in self._constraints))

    @property
    def conditional(self) -> bool:
        """Whether any parameter has a condition."""
        return any(isinstance(e, When) for e in self.entries.values())

    def __getitem__(self, name: str) -> Domain:
        return self._domains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def __eq__(self, other: object) -> bool:
        """The same parameters, conditions and constraints, in any order."""
        return isinstance(other, Space) and _canonical(self.to_json()) == _canonical(other.to_json())

    def __hash__(self) -> int:
        return hash(_canonical(self.to_json()))

    def __repr__(self) -> str:
        return f"Space({self.entries!r}" + (f", {self.constraints!r})" if self._constraints else ")")

    def sample(self, rng: np.random.Generator, tries: int = 10_000) -> dict[str, Any]:
        """A random configuration that meets the constraints. Raises UsageError when `tries` draws do not."""
        return self.build(lambda name, domain: domain.sample(rng), tries)

    def build(self, value_of: Any, tries: int = 1) -> dict[str, Any]:
        """The configuration of `value_of(name, domain)` for each parameter that its conditions call for, in order."""
        for _ in range(tries):
            config: dict[str, Any] = {}
            for name in self.order:
                if self.active(name, config):
                    config[name] = value_of(name, self._domains[name])
            if self.allows(config):
                return {name: config[name] for name in self._domains if name in config}
        raise UsageError(f"{tries} random configurations met none of the constraints {', '.join(self.constraints)}")

    def active(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether `name` belongs in `config`, by the parameters that its condition names."""
        entry = self.entries[name]
        return not isinstance(entry, When) or entry.holds(config)

    def allows(self, config: Mapping[str, Any]) -> bool:
        """Whether `config` meets all constraints."""
        return all(c.holds(config) for c in self._constraints)

    def validate(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` with plain values in the space's order. Raises UsageError naming what is missing, extra or wrong."""
        for name in config:
            if name not in self._domains:
                raise UsageError(f"the space has no parameter {name!r}; it has {', '.join(self._domains) or 'none'}")
        plain: dict[str, Any] = {}
        for name in self.order:
            if not self.active(name, plain):
                if name in config:
                    raise UsageError(f"parameter {name!r} does not exist in this configuration: its condition fails")
                continue
            if name not in config:
                raise UsageError(f"parameter {name!r} is missing from the configuration")
            value, domain = config[name], self._domains[name]
            if not domain.contains(value):
                raise UsageError(f"parameter {name!r} is {value!r}, which is not in {domain}")
            plain[name] = domain.normalise(value)
        for constraint in self._constraints:
            if not constraint.holds(plain):
                raise UsageError(f"the configuration {plain} breaks the constraint {constraint.text!r}")
        return {name: plain[name] for name in self._domains if name in plain}

    @property
    def size(self) -> int | None:
        """How many configurations there are, None when infinite; an upper bound with conditions or constraints."""
        sizes = [d.size for d in self._domains.values()]
        return None if None in sizes else math.prod(s for s in sizes if s is not None)

    def configurations(self) -> Iterator[dict[str, Any]]:
        """Every configuration of a finite space once, the last parameter changing fastest."""
        if self.size is None:
            raise UsageError("an infinite space has no list of its configurations")
        for config in self._below(0, {}):
            if self.allows(config):
                yield {name: config[name] for name in self._domains if name in config}

    def _below(self, depth: int, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if depth == len(self.order):
            yield config
            return
        name = self.order[depth]
        if not self.active(name, config):
            yield from self._below(depth + 1, config)
            return
        for value in values_of(self._domains[name]):
            yield from self._below(depth + 1, {**config, name: value})

    def key(self, config: Mapping[str, Any]) -> str:
        """Text that is the same for equal configurations alone."""
        return json.dumps([config.get(n, []) for n in self._domains], separators=(",", ":"))

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"parameters": {n: e.to_json() for n, e in self.entries.items()}}
        if self._constraints:
            value["constraints"] = list(self.constraints)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote, or plainly {name: domain as JSON, a list of options, or a scalar}."""
        if not isinstance(value, Mapping):
            raise UsageError(f"a space is a mapping of name to domain, not {value!r}")
        parameters = value["parameters"] if isinstance(value.get("parameters"), Mapping) else value
        constraints = value.get("constraints", ()) if parameters is not value else ()
        return cls({n: entry_from_json(n, v) for n, v in parameters.items()}, constraints or ())

    def to_yaml(self) -> str:
        import yaml

        return yaml.safe_dump(self.to_json(), sort_keys=False, allow_unicode=False)

    @classmethod
    def from_yaml(cls, source: str | Path) -> Space:
        """The space in YAML text, or in the file at a Path."""
        return cls.from_json(read_yaml(source))


def read_yaml(source: str | Path) -> Any:
    """What is written in YAML text, or in the file at a Path, for `Space.from_json`."""
    import yaml

    where = str(source) if isinstance(source, Path) else "the YAML text"
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        value = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"the space in {where} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the space in {where} cannot be read: {error}") from error
    if value is None:
        raise UsageError(f"the space in {where} is empty; give it parameters, such as x: {{low: 0.0, high: 1.0}}")
    return value


def _entry(name: Any, value: Any) -> Domain | When:
    if not isinstance(name, str) or not name:
        raise UsageError(f"a parameter's name is {name!r}; it must be a text of at least one character")
    if isinstance(value, (Float, Int, Choice, When)):
        return value
    try:
        return Choice(*value) if isinstance(value, (list, tuple)) else Choice(value)
    except UsageError as error:
        if isinstance(value, (list, tuple)):
            raise UsageError(f"parameter {name!r}: {error}") from error
        raise UsageError(
            f"parameter {name!r} is {value!r}, not a Float, Int, Choice, When or list of options"
        ) from error


def _in_order_of_conditions(entries: Mapping[str, Domain | When]) -> tuple[str, ...]:
    """Names so that each comes after those that its condition names. Raises UsageError for unknown names and cycles."""
    order: list[str] = []
    left = dict(entries)
    while left:
        ready = [n for n, e in left.items() if not isinstance(e, When) or all(k not in left for k, _ in e.conditions)]
        for name in ready:
            entry = left.pop(name)
            unknown = [k for k, _ in entry.conditions if k not in entries] if isinstance(entry, When) else []
            if unknown:
                raise UsageError(f"parameter {name!r} depends on {unknown[0]!r}, which is not in the space")
        if not ready:
            raise UsageError(f"the conditions of {', '.join(map(repr, left))} depend on each other in a circle")
        order += ready
    return tuple(order)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


__all__ = ["Belief", "Choice", "Domain", "Float", "Int", "Scalar", "Space", "When"]
