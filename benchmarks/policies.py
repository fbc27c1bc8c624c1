"""What policies find without epochs: the best value after a number of trials, on functions of three kinds.

python benchmarks/policies.py [--trials 100] [--seeds 3] POLICY ...
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from thrifty.core.space import Choice, Float, Space, When
from thrifty.tuning.study import Study

Task = tuple[Space, Callable[[dict], float]]


def rosenbrock(seed: int) -> Task:
    """Five numbers in -2..2; the best value is 0."""

    def value(config: dict) -> float:
        x = np.array(list(config.values()))
        return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))

    return Space({f"x{i}": Float(-2, 2) for i in range(5)}), value


def categorical(seed: int, conditional: bool = False) -> Task:
    """Twelve choices of four options, each with an effect and six pairs with another; perhaps numbers below them."""
    rng, count = np.random.default_rng(100 + seed), 12
    alone = rng.normal(size=(count, 4))
    pairs = rng.normal(size=(count // 2, 4, 4))
    space = {f"c{i}": Choice("a", "b", "c", "d") for i in range(count)}
    if conditional:
        space |= {f"r{i}": When(Float(0, 1), {f"c{i}": ("a", "b")}) for i in range(count)}

    def value(config: dict) -> float:
        at = ["abcd".index(config[f"c{i}"]) for i in range(count)]
        total = sum(alone[i, at[i]] for i in range(count)) + sum(
            p[at[2 * i], at[2 * i + 1]] for i, p in enumerate(pairs)
        )
        return float(total + sum(2 * (v - 0.3) ** 2 for name, v in config.items() if name.startswith("r")))

    return Space(space), value


TASKS = {"rosenbrock": rosenbrock, "categorical": categorical, "conditional": lambda seed: categorical(seed, True)}


def best(task: Task, policy: str, seed: int, trials: int) -> tuple[float, float]:
    """The best value, and the mean processor time of a proposal in milliseconds."""
    space, value = task
    study, spent = Study(space, metric="loss", policy=policy, seed=seed), 0.0
    for _ in range(trials):
        start = time.process_time()
        proposal = study.ask()
        spent += time.process_time() - start
        study.tell(proposal.trial, value(proposal.config))
    return study.best.value if study.best else np.inf, 1000 * spent / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    given = parser.parse_args()
    for name in given.tasks:
        for policy in given.policies:
            found = [best(TASKS[name](seed), policy, seed, given.trials) for seed in range(given.seeds)]
            values = " ".join(f"{value:.2f}" for value, _ in found)
            cost = statistics.fmean(cost for _, cost in found)
            print(f"{name} {policy}: {values}; {cost:.1f} ms a proposal", flush=True)


if __name__ == "__main__":
    main()
