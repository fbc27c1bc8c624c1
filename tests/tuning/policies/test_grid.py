import pytest

from thrifty.core.errors import Exhausted, UsageError
from thrifty.core.space import Choice, Float, Int, Space, When
from thrifty.tuning.policies.grid import Grid
from thrifty.tuning.policies.random import Straight
from thrifty.tuning.study import Study


def test_a_grid_has_every_combination_once_in_order() -> None:
    space = {"lr": Float(1e-4, 1.0, log=True), "n": Int(1, 2), "k": ["a", "b"]}
    study = Study(space, metric="loss", policy=Straight(Grid(points=3)))
    for _ in range(12):
        study.tell(study.ask().trial, 1.0)
    with pytest.raises(Exhausted):
        study.ask()
    found = [(t.config["lr"], t.config["n"], t.config["k"]) for t in study.trials]
    assert found == [(pytest.approx(lr), n, k) for lr in (1e-4, 1e-2, 1.0) for n in (1, 2) for k in ("a", "b")]


def test_conditions_and_constraints_hold_on_a_grid() -> None:
    space = Space({"k": Choice(1, 2), "m": When(Float(0, 1), {"k": 1}), "n": Int(1, 100)}, ["n > 60"])
    study = Study(space, metric="loss", policy="grid")
    for _ in range((5 + 1) * 2):
        study.tell(study.ask().trial, 1.0)
    with pytest.raises(Exhausted):
        study.ask()


def test_a_grid_of_no_points_is_refused() -> None:
    with pytest.raises(UsageError):
        Grid(points=0)
