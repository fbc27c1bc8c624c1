import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrifty.core.errors import UsageError
from thrifty.core.space import Belief, Choice, Domain, Float, Int, Space, When

NAMES = st.sampled_from(["a", "b.c", "größe", "kind", "x y"])
SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5) | st.floats(-1e6, 1e6)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    log = draw(st.booleans())
    numbers = st.floats(1e-12, 1e12) if log else st.floats(-1e12, 1e12)
    low, high = sorted([draw(numbers), draw(numbers)])
    belief = draw(st.none() | st.builds(Belief, st.just(low), st.floats(0.01, 1)))
    return Float(low, high, log, belief)


@st.composite
def ints(draw: st.DrawFn) -> Int:
    log = draw(st.booleans())
    numbers = st.integers(1 if log else -1000, 100_000)
    low, high = sorted([draw(numbers), draw(numbers)])
    return Int(low, high, log, draw(st.none() | st.builds(Belief, st.just(high), st.floats(0.01, 1))))


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    options = draw(st.lists(SCALARS, min_size=1, max_size=5, unique_by=lambda v: json.dumps(v and float(v)) if
                            isinstance(v, (int, float)) and not isinstance(v, bool) else repr(v)))  # fmt: skip
    weights = draw(st.none() | st.just([1.0 + i for i in range(len(options))]))
    return Choice(*options, ordered=draw(st.booleans()), weights=weights)


DOMAINS = floats() | ints() | choices()


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    domains: dict[str, Any] = draw(st.dictionaries(NAMES, DOMAINS, min_size=1))
    for i, name in enumerate(list(domains)):
        condition = domains[name] if draw(st.booleans()) else domains[name].sample(np.random.default_rng(i))
        if draw(st.booleans()):
            domains[f"under {name}"] = When(draw(DOMAINS), {name: condition})
    return Space(domains)


@given(DOMAINS, st.integers(0, 2**32))
def test_a_sampled_value_is_contained_and_comes_back_from_the_unit_scale(domain: Domain, seed: int) -> None:
    value = domain.sample(np.random.default_rng(seed))
    assert domain.contains(value)
    assert json.loads(json.dumps(value)) == value
    unit = domain.to_unit(value)
    back = domain.from_unit(unit)
    assert domain.contains(back)
    if isinstance(domain, Float):
        assert -1e-9 <= unit <= 1 + 1e-9
        assert math.isclose(back, value, rel_tol=1e-6, abs_tol=1e-6 * (domain.high - domain.low))
    else:
        assert back == value
        assert type(back) is type(value)


@given(DOMAINS, st.floats(0, 1))
def test_any_place_on_the_unit_scale_is_a_value(domain: Domain, unit: float) -> None:
    assert domain.contains(domain.from_unit(unit))


@given(spaces(), st.integers(0, 2**32))
def test_a_space_goes_to_json_and_yaml_and_back(space: Space, seed: int) -> None:
    for back in (Space.from_json(json.loads(json.dumps(space.to_json()))), Space.from_yaml(space.to_yaml())):
        assert back == space
        assert back.entries == space.entries
        assert list(back) == list(space)
        config = space.sample(np.random.default_rng(seed))
        assert back.sample(np.random.default_rng(seed)) == config
        assert back.validate(json.loads(json.dumps(config))) == config
        assert back.key(config) == space.key(config)


def test_every_option_of_an_int_is_as_likely() -> None:
    rng = np.random.default_rng(0)
    drawn = [Int(1, 4).sample(rng) for _ in range(4000)]
    assert all(900 < drawn.count(v) < 1100 for v in (1, 2, 3, 4))


def test_a_belief_draws_near_its_value_but_not_always() -> None:
    rng = np.random.default_rng(0)
    domain = Float(1e-5, 1e-1, log=True, belief=Belief(1e-3, 0.05))
    drawn = np.array([domain.sample(rng) for _ in range(1000)])
    near = np.abs(np.log10(drawn) + 3) < 0.5
    assert 0.75 < near.mean() < 0.95
    options = [Choice("a", "b", weights=(1, 9)).sample(rng) for _ in range(1000)]
    assert 0.75 < options.count("b") / 1000 < 0.9


def test_conditions_decide_which_parameters_exist() -> None:
    space = Space(
        {
            "deep": When(Choice(1, 2), {"momentum": Float(0.5, 1.0)}),
            "kind": Choice("adam", "sgd", "none"),
            "momentum": When(Float(0.0, 1.0), {"kind": ("sgd", "none")}),
        }
    )
    assert space.conditional
    assert space.validate({"kind": "adam"}) == {"kind": "adam"}
    assert list(space.validate({"deep": 2, "momentum": 0.7, "kind": "sgd"})) == ["deep", "kind", "momentum"]
    with pytest.raises(UsageError, match="'momentum' does not exist"):
        space.validate({"kind": "adam", "momentum": 0.5})
    with pytest.raises(UsageError, match="'deep' is missing"):
        space.validate({"kind": "sgd", "momentum": 0.6})
    assert len({space.key({"kind": "adam"}), space.key({"kind": "sgd", "momentum": 0.1})}) == 2
    assert Space({"a": Choice(1, 2), "b": When(Choice(1, 2, 3), {"a": 1})}).size == 6
    assert len(list(Space({"a": Choice(1, 2), "b": When(Choice(1, 2, 3), {"a": 1})}).configurations())) == 4


def test_constraints_are_kept_and_dotted_names_work() -> None:
    space = Space({"model.layers": Int(1, 9), "width": Int(1, 9)}, ["model.layers * width <= 20", "width != 2"])
    assert all(space.allows(c) for c in (space.sample(np.random.default_rng(i)) for i in range(50)))
    assert all(c["width"] != 2 for c in space.configurations())
    with pytest.raises(UsageError, match="breaks the constraint 'width != 2'"):
        space.validate({"model.layers": 1, "width": 2})
    assert Space({"a": Choice(1, 2), "b": When(Int(1, 3), {"a": 1})}, ["a < b"]).allows({"a": 2})
    with pytest.raises(UsageError, match="met none of the constraints"):
        Space({"x": Float(0, 1)}, ["x > 2"]).sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a <", "cannot be read"),
        ("__import__('os')", "do not allow"),
        ("[a for a in a]", "do not allow"),
        ("c < 3", "not in the space"),
        ("a.b < 3", "not in the space"),
    ],
)
def test_a_constraint_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Space({"a": Int(1, 2)}, [text])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Float(1, 0),
        lambda: Float(0, 1, log=True),
        lambda: Float(math.nan, 1),
        lambda: Float("a", 1),
        lambda: Float(0, True),
        lambda: Int(0, 5, log=True),
        lambda: Int(0.5, 2),
        lambda: Choice(),
        lambda: Choice(["a", "b"]),
        lambda: Choice("a", "a"),
        lambda: Choice(1, 1.0),
        lambda: Choice(math.inf),
        lambda: Choice(object()),
        lambda: Choice("a", "b", weights=[1]),
        lambda: Float(0, 1, belief=Belief(2)),
        lambda: When(Float(0, 1), {}),
        lambda: When(3, {"a": 1}),
        lambda: Space({"": Float(0, 1)}),
        lambda: Space({"a": {"b": 1}}),
        lambda: Space([("a", 1)]),
        lambda: Space({"a": When(Int(0, 1), {"b": 1})}),
        lambda: Space({"a": When(Int(0, 1), {"b": 1}), "b": When(Int(0, 1), {"a": 1})}),
        lambda: Space.from_json({"a": {"type": "floaty"}}),
        lambda: Space.from_json({"a": {"type": "float", "low": 0}}),
        lambda: Space.from_json({"a": {"type": "int", "low": 0, "high": 3, "step": 2}}),
        lambda: Space.from_yaml("a: ["),
        lambda: Space.from_yaml(Path("/nowhere/space.yaml")),
    ],
)
def test_what_is_no_domain_or_space_is_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_numbers_of_other_types_are_taken_and_other_things_are_not() -> None:
    space = Space({"x": Float(0, 1), "n": Int(1, 3), "k": Choice(1, True, "1", None)})
    config = space.validate({"x": 1, "n": np.int64(2), "k": np.bool_(True)})
    assert config == {"x": 1.0, "n": 2, "k": True}
    assert [type(v) for v in config.values()] == [float, int, bool]
    for bad in ({"x": "0.5"}, {"x": math.nan}, {"x": True}, {"n": 1.5}, {"n": 4}, {"k": 2}):
        with pytest.raises(UsageError, match=f"'{next(iter(bad))}'"):
            space.validate({"x": 0, "n": 1, "k": None, **bad})


def test_plain_lists_and_scalars_are_choices_and_dataclasses_and_yaml_files_are_spaces(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Settings:
        lr: float = dataclasses.field(default=0.1, metadata={"domain": Float(1e-5, 1, log=True)})
        name: str = "x"

    assert Space.of(Settings) == Space.of(Settings()) == Space({"lr": Float(1e-5, 1, log=True)})
    (tmp_path / "space.yaml").write_text(
        "lr: {type: float, low: 1e-5, high: 1e-1, log: true}\nepochs: [10, 20]\nfixed: 3\n"
        "m: {type: float, low: 0, high: 1, when: {epochs: 10}}\n"
    )
    assert Space.of(tmp_path / "space.yaml") == Space(
        {
            "lr": Float(1e-5, 1e-1, log=True),
            "epochs": Choice(10, 20),
            "fixed": Choice(3),
            "m": When(Float(0, 1), {"epochs": 10}),
        }
    )


def test_a_file_may_leave_types_out() -> None:
    space = Space.from_yaml(
        "rate: {low: 1e-4, high: 1.0, log: true}\nlayers: {low: 1, high: 4}\nkind: {options: [a, b]}\nsize: [8, 16]\n"
        "share: {low: 0, high: 0.5}\n"
    )
    assert dict(space.items()) == {
        "rate": Float(1e-4, 1.0, log=True),
        "layers": Int(1, 4),
        "kind": Choice("a", "b"),
        "size": Choice(8, 16),
        "share": Float(0, 0.5),
    }
    with pytest.raises(UsageError, match="must be float, int or choice, or have low and high"):
        Space.from_yaml("rate: {low: 1}")


def test_a_space_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"the space in .*none\.yaml cannot be read: No such file or directory"):
        Space.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the space in the YAML text is empty"),
        ("x: []", "parameter 'x': Choice has an empty list of options"),
        ("x: {options: []}", "parameter 'x': Choice has an empty list of options"),
        ("x: [1, 1, 1]", "parameter 'x': Choice has the option 1 twice; options must differ"),
        ("x: [2024-01-01, 2024-02-02]", "parameter 'x': .* as a text it is written '2024-01-01', in quotes"),
        ("x: 2024-01-01", "parameter 'x' is .*not a Float, Int, Choice, When or list of options"),
        ("x: {low: 0.0, high: 1.0, step: 3}", "parameter 'x': float has no key 'step'; its keys are low, high, log"),
        ("x: {options: [1, 2], chances: [0.5]}", "'x': choice has no key 'chances'; its keys are options, ordered"),
        ("x: {type: int, low: 1}", "parameter 'x': int needs the key 'high'"),
        ("x: {type: [int], low: 1}", "a domain's type is"),
    ],
)
def test_what_is_wrong_in_a_space_file_is_said_with_its_parameter(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Space.from_yaml(text)
