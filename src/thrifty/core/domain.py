"""The domains of single parameters: Float, Int, Choice, each perhaps with a belief, and When.

Every domain maps its values to a unit scale (numbers and ordered choices to 0..1, plain choices to their index) and
back, and goes to JSON and back without loss.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.core.errors import UsageError

Scalar = str | int | float | bool | None
SHARE_OF_BELIEF = 0.8  # of the draws; the rest is uniform, so that a wrong belief costs little


@dataclass(frozen=True)
class Belief:
    """The best value is thought to lie near `value`; `spread` is a standard deviation in shares of the whole range."""

    value: float
    spread: float = 0.15


@dataclass(frozen=True)
class Float:
    """A real number from `low` to `high`, both included; `log` spaces it by its logarithm (`low` above 0)."""

    low: float
    high: float
    log: bool = False
    belief: Belief | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = _plain(getattr(self, name))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise UsageError(f"Float's {name} is {value!r}; it must be a finite number")
            object.__setattr__(self, name, float(value))
        if self.low > self.high:
            raise UsageError(f"Float's low ({self.low}) is above its high ({self.high})")
        if self.log and self.low <= 0:
            raise UsageError(f"Float's low is {self.low}; with log=True it must be above 0")
        _check_belief(self)

    @property
    def size(self) -> int | None:
        """How many values there are; None for infinitely many."""
        return 1 if self.low == self.high else None

    def contains(self, value: Any) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def normalise(self, value: Any) -> float:
        return float(value)

    def to_unit(self, value: float) -> float:
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return value / (self.high - self.low) - self.low / (self.high - self.low)

    def from_unit(self, u: float) -> float:
        u = min(max(float(u), 0.0), 1.0)
        if self.log:
            value = self.low * math.exp(u * math.log(self.high / self.low))
        else:
            value = (1.0 - u) * self.low + u * self.high
        return min(max(value, self.low), self.high)

    def sample(self, rng: np.random.Generator) -> float:
        return self.from_unit(_draw_unit(self, rng))

    def to_json(self) -> dict[str, Any]:
        return {"type": "float", "low": self.low, "high": self.high, **_extras(self)}


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included; `log` spaces it by its logarithm (`low` at least 1)."""

    low: int
    high: int
    log: bool = False
    belief: Belief | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = _plain(getattr(self, name))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
                raise UsageError(f"Int's {name} is {value!r}; it must be a whole number")
            object.__setattr__(self, name, int(value))
        if self.low > self.high:
            raise UsageError(f"Int's low ({self.low}) is above its high ({self.high})")
        if self.log and self.low < 1:
            raise UsageError(f"Int's low is {self.low}; with log=True it must be at least 1")
        _check_belief(self)

    @property
    def size(self) -> int | None:
        return self.high - self.low + 1

    def contains(self, value: Any) -> bool:
        return _is_number(value) and value == value // 1 and self.low <= value <= self.high

    def normalise(self, value: Any) -> int:
        return int(value)

    def to_unit(self, value: int) -> float:
        """The middle of the value's cell, so that every value has a part of 0..1 to itself."""
        if self.log:
            return math.log(value / (self.low - 0.5)) / math.log((self.high + 0.5) / (self.low - 0.5))
        return (value - self.low + 0.5) / (self.high - self.low + 1)

    def from_unit(self, u: float) -> int:
        u = min(max(float(u), 0.0), 1.0)
        if self.log:
            value = round((self.low - 0.5) * math.exp(u * math.log((self.high + 0.5) / (self.low - 0.5))))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def sample(self, rng: np.random.Generator) -> int:
        return self.from_unit(_draw_unit(self, rng))

    def to_json(self) -> dict[str, Any]:
        return {"type": "int", "low": self.low, "high": self.high, **_extras(self)}


@dataclass(frozen=True, init=False)
class Choice:
    """One of the given JSON scalars. `ordered`: neighbours are alike; `weights`: a belief, larger is likelier."""

    options: tuple[Scalar, ...]
    ordered: bool = False
    weights: tuple[float, ...] | None = None

    def __init__(self, *options: Scalar, ordered: bool = False, weights: Sequence[float] | None = None) -> None:
        if len(options) == 1 and isinstance(options[0], (list, tuple, set, dict)):
            raise UsageError(f"Choice takes its options one by one: Choice(*{options[0]!r})")
        plain = tuple(_plain(o) for o in options)
        if not plain:
            raise UsageError("Choice has an empty list of options; give at least one")
        for i, option in enumerate(plain):
            if not isinstance(option, (str, int, float, bool, type(None))) or option != option:
                quotes = f"; as a text it is written '{option}', in quotes" if hasattr(option, "isoformat") else ""
                said = f"Choice's option {option!r} is not a JSON scalar (text, number, true, false, null){quotes}"
                raise UsageError(said)
            if isinstance(option, float) and not math.isfinite(option):
                raise UsageError(f"Choice's option {option!r} is not finite")
            if any(_same(option, other) for other in plain[:i]):
                raise UsageError(f"Choice has the option {option!r} twice; options must differ")
        given = None if weights is None else tuple(float(w) for w in weights)
        if given is not None and (len(given) != len(plain) or not all(0 < w < math.inf for w in given)):
            raise UsageError(f"Choice's weights must be {len(plain)} positive numbers, not {weights!r}")
        object.__setattr__(self, "options", plain)
        object.__setattr__(self, "ordered", bool(ordered))
        object.__setattr__(self, "weights", given)

    @property
    def size(self) -> int | None:
        return len(self.options)

    def contains(self, value: Any) -> bool:
        return any(_same(_plain(value), option) for option in self.options)

    def normalise(self, value: Any) -> Scalar:
        return self.options[self.index(value)]

    def index(self, value: Any) -> int:
        return next(i for i, option in enumerate(self.options) if _same(_plain(value), option))

    def to_unit(self, value: Scalar) -> float:
        """The index, or for ordered options the middle of the option's part of 0..1."""
        index = self.index(value)
        return (index + 0.5) / len(self.options) if self.ordered else index

    def from_unit(self, u: float) -> Scalar:
        index = math.floor(u * len(self.options)) if self.ordered else round(u)
        return self.options[min(max(index, 0), len(self.options) - 1)]

    def sample(self, rng: np.random.Generator) -> Scalar:
        if self.weights is not None and rng.random() < SHARE_OF_BELIEF:
            at = np.searchsorted(np.cumsum(self.weights), rng.random() * sum(self.weights), side="right")
            return self.options[min(int(at), len(self.options) - 1)]
        return self.options[int(rng.integers(len(self.options)))]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"type": "choice", "options": list(self.options)}
        if self.ordered:
            value["ordered"] = True
        if self.weights is not None:
            value["weights"] = list(self.weights)
        return value


Domain = Float | Int | Choice


@dataclass(frozen=True, init=False)
class When:
    """A domain that exists only where other parameters have given values: `When(Float(0, 1), {"kind": "sgd"})`.

    A condition's value is a scalar, a tuple of scalars (any of them), or a domain (any value that it contains).
    """

    domain: Domain
    conditions: tuple[tuple[str, tuple[Scalar, ...] | Domain], ...]

    def __init__(self, domain: Domain, conditions: Mapping[str, Any]) -> None:
        if not isinstance(domain, (Float, Int, Choice)):
            raise UsageError(f"When takes a Float, an Int or a Choice first, not {domain!r}")
        if not isinstance(conditions, Mapping) or not conditions:
            raise UsageError(f"When takes conditions as a dict, as {{'kind': 'sgd'}}, not {conditions!r}")
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "conditions", tuple((str(k), _allowed(v)) for k, v in conditions.items()))

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Whether the domain exists beside the parameters in `config`."""
        return all(name in config and _meets(config[name], allowed) for name, allowed in self.conditions)

    def meets(self, name: str, value: Any) -> bool:
        """Whether a value of the parameter `name` is one that the conditions on it allow."""
        return all(_meets(value, allowed) for other, allowed in self.conditions if other == name)

    def to_json(self) -> dict[str, Any]:
        when = {k: v.to_json() if isinstance(v, (Float, Int, Choice)) else list(v) for k, v in self.conditions}
        return {**self.domain.to_json(), "when": when}


def values_of(domain: Domain) -> Iterator[Any]:
    """Every value of a finite domain, in order."""
    if isinstance(domain, Choice):
        yield from domain.options
    elif isinstance(domain, Int):
        yield from range(domain.low, domain.high + 1)
    else:
        yield domain.low


_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # those that a domain needs, and its further ones
    "float": (("low", "high"), ("log", "belief")),
    "int": (("low", "high"), ("log", "belief")),
    "choice": (("options",), ("ordered", "weights")),
}


def domain_from_json(value: Mapping[str, Any]) -> Domain:
    """The domain that `to_json` wrote; without a type, low and high tell a float from an int, and options a choice."""
    given = {k: v for k, v in value.items() if k != "type"}
    kind = value.get("type") or _kind_of(value)
    if isinstance(kind, str) and kind in _KEYS:
        needed, further = _KEYS[kind]
        for name in given:
            if name not in (*needed, *further):
                raise UsageError(f"{kind} has no key {name!r}; its keys are {', '.join((*needed, *further, 'when'))}")
        for name in needed:
            if name not in given:
                raise UsageError(f"{kind} needs the key {name!r}")
    try:
        if kind in ("float", "int"):
            if given.get("belief") is not None:
                given["belief"] = Belief(**given["belief"])
            given |= {
                k: float(given[k]) for k in ("low", "high") if isinstance(given.get(k), str)
            }  # YAML reads 1e-5 so
            return Float(**given) if kind == "float" else Int(**given)
        if kind == "choice":
            return Choice(*given.pop("options"), **given)
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(f"the domain {dict(value)!r} cannot be read: {error}") from error
    raise UsageError(f"a domain's type is {kind!r}; it must be float, int or choice, or have low and high, or options")


def _kind_of(value: Mapping[str, Any]) -> str | None:
    if {"low", "high"} <= value.keys():
        return "int" if all(type(value[end]) is int for end in ("low", "high")) else "float"
    return "choice" if "options" in value else None


def entry_from_json(name: str, value: Any) -> Any:
    """A domain, a When, or what `Space` takes plainly."""
    if not isinstance(value, Mapping):
        return value
    try:
        domain = domain_from_json({k: v for k, v in value.items() if k != "when"})
        if "when" not in value:
            return domain
        return When(domain, {k: domain_from_json(v) if isinstance(v, Mapping) else v for k, v in value["when"].items()})
    except UsageError as error:
        raise UsageError(f"parameter {name!r}: {error}") from error
    except AttributeError as error:
        raise UsageError(f"parameter {name!r}: `when` must be a mapping, not {value['when']!r}") from error


def _allowed(value: Any) -> tuple[Scalar, ...] | Domain:
    if isinstance(value, (Float, Int, Choice)):
        return value
    return Choice(*value).options if isinstance(value, (list, tuple)) else Choice(value).options


def _meets(value: Any, allowed: tuple[Scalar, ...] | Domain) -> bool:
    return any(_same(value, a) for a in allowed) if isinstance(allowed, tuple) else allowed.contains(value)


def _check_belief(domain: Float | Int) -> None:
    belief = domain.belief
    if belief is None:
        return
    if not isinstance(belief, Belief) or not domain.low <= belief.value <= domain.high or not 0 < belief.spread < 9:
        raise UsageError(
            f"a belief needs a value from {domain.low} to {domain.high} and a spread above 0, not {belief!r}"
        )


def _draw_unit(domain: Float | Int, rng: np.random.Generator) -> float:
    if domain.belief is None or rng.random() >= SHARE_OF_BELIEF:
        return rng.random()
    centre = Float(domain.low, domain.high, domain.log).to_unit(domain.belief.value)
    for _ in range(100):
        u = centre + domain.belief.spread * rng.standard_normal()
        if 0 <= u <= 1:
            return float(u)
    return rng.random()


def _extras(domain: Float | Int) -> dict[str, Any]:
    value: dict[str, Any] = {"log": True} if domain.log else {}
    if domain.belief is not None:
        value["belief"] = dataclasses.asdict(domain.belief)
    return value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_number(value: Any) -> bool:
    value = _plain(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and type(a) in (str, int, float, bool, type(None)) and a == b
