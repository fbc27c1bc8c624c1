import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thrifty.core.space import Belief, Choice, Float, Int, Space, When
from thrifty.testing.policies import MIXED
from thrifty.tuning.encoding import Encoding

WIDE = Space(
    {
        "f": Float(-3, 5),
        "lr": Float(1e-6, 1, log=True, belief=Belief(1e-3, 0.05)),
        "n": Int(-2, 2),
        "width": Int(1, 4096, log=True),
        "few": Int(2, 16, log=True),
        "k": Choice("a", "b", "c", weights=(8, 1, 1)),
        "two": Choice(True, False),
        "one": Choice("always"),
        "size": Choice(16, 32, 64, ordered=True),
        "m": When(Float(0, 1), {"k": ("a", "b"), "n": Int(0, 2)}),
        "deep": When(Choice("x", "y", "z"), {"m": Float(0.5, 1.0)}),
    }
)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_drawn_or_stepped_to_and_settled_is_a_configuration_and_comes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for space in (MIXED, WIDE):
        encoding = Encoding(space)
        units = encoding.settle(encoding.draw(rng, 20))
        near = encoding.near(units, rng, np.full(len(units), 0.1), np.full(len(units), 0.5))
        for place in (*units, *encoding.settle(near)):
            config = encoding.config(place)
            assert space.validate(config) == config
            assert np.allclose(encoding.units(config), place, atol=1e-3, equal_nan=True)


def test_columns_stand_for_parameters_and_options_are_as_far_apart_as_the_ends_of_a_number() -> None:
    encoding = Encoding(WIDE)
    assert encoding.parameter_C.tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10, 10, 10]
    a, b = (encoding.columns(np.array([[0.1, 0.2, 0.3, 0.4, 0.5, k, 0, 0, 0.5, np.nan, np.nan]])) for k in (0, 2))
    assert np.isclose(((a - b) ** 2).sum(), 1.0)
    assert a[0, 11] == 0.5
    assert np.isfinite(a).all()


def test_beliefs_are_drawn_by() -> None:
    encoding = Encoding(WIDE)
    units = encoding.draw(np.random.default_rng(0), 2000)
    assert 0.75 < (np.abs(units[:, 1] - 0.5) < 0.15).mean() < 0.95
    assert 0.6 < (units[:, 5] == 0).mean() < 0.8
