"""Regret of tuners on learning-curve tasks, by the protocol of ../shared/tuning_benchmarks/README.md.

python benchmarks/tuning.py [--tuners freeze-thaw,...] [--seeds 20] [--workers 1] [--minutes M] [--show]

An epoch costs 1, a paused trial goes on where it was, and a tuner is credited with the best epoch of any trial. Regret
is 0 for the best configuration's last epoch and 1 for the median one's. Every tuner gets the same seeds. With several
workers an epoch takes one unit of time on each, and values count in the order in which they come.

Runs are kept in benchmarks/tuning/TUNER-VERSION[-Nworkers].json as they end, so that a stopped benchmark goes on and
nobody runs a rival again (benchmarks/rivals.py says what each needs); `--show` prints the tables of what is kept.
freeze-thaw, hyperband and random are Thrifty's, and their version is the hash of the code that decides. `--synthetic`
takes made-up tasks of other kinds instead (categories and conditions, noisy accuracy, curves that cross), which say
whether a change helps the published tasks alone.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import heapq
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import rivals
import synthetic

from thrifty.core.space import Choice, Domain, Float, Int, Space
from thrifty.tuning.study import Study

HERE = Path(__file__).resolve().parent
CODE = HERE.parent / "src" / "thrifty"
MARKS = (3, 10, 20, 50)
KEPT = (*range(1, 11), 12, 15, 20, 25, 30, 40, 50)  # trainings after which a run's regret is kept
GOALS = {"taskset": 0.245, "lcbench": 0.093}
OURS = {  # and the code that decides what each does
    "freeze-thaw": (
        "tuning/policies/freeze_thaw.py",
        "tuning/policies/rungs.py",
        "tuning/curves.py",
        "tuning/covariance.py",
        "tuning/encoding.py",
    ),
    "hyperband": ("tuning/policies/hyperband.py",),
    "random": (),
}
SHARED = ("tuning/policies/random.py", "core/domain.py", "core/space.py", "core/seeds.py")
PROTOTYPE = "prototype"


class Ours:
    """One of Thrifty's policies, through ask and tell."""

    def __init__(self, task: Any, seed: int, policy: str) -> None:
        direction = getattr(task, "direction", "minimize")
        self._study = Study(
            space_of(task), metric="loss", direction=direction, max_epochs=task.max_epochs, seed=seed, policy=policy
        )

    def ask(self) -> rivals.Asked:
        made = self._study.ask()
        return rivals.Asked(made.trial, made.config, made.from_epoch, made.until_epoch or 0)

    def tell(self, asked: rivals.Asked, values: list[float]) -> None:
        self._study.tell(asked.trial, values)


def space_of(task: Any) -> Space:
    """The task's parameters as a space."""
    if isinstance(task.space, Space):
        return task.space
    domains: dict[str, Domain] = {}
    for name, domain in task.space.items():
        if isinstance(domain, list):
            domains[name] = Choice(*domain)
            continue
        low, high, log, whole = domain
        domains[name] = Int(int(low), int(high), bool(log)) if whole else Float(float(low), float(high), bool(log))
    return Space(domains)


def version_of(tuner: str) -> str:
    """The version of a rival's package, or the hash of the code of ours."""
    if tuner == PROTOTYPE:
        return "1"
    return digest(OURS[tuner]) if tuner in OURS else rivals.version_of(tuner)


def digest(paths: Sequence[str]) -> str:
    """Of the code at `paths` and of what all policies share; comments, docstrings and errors decide nothing."""
    found = hashlib.sha256()
    for path in (*paths, *SHARED):
        tree = ast.parse((CODE / path).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise):
                node.exc = node.cause = None
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ...
        found.update(ast.unparse(tree).encode())
    return found.hexdigest()[:8]


def run(task: Any, tuner: rivals.Tuner, epochs: int, workers: int) -> tuple[np.ndarray, float]:
    """The best value after each epoch spent, and the milliseconds a proposal."""
    curves: dict[int, np.ndarray] = {}
    told: list[tuple[int, float]] = []
    busy: list[tuple[int, int, rivals.Asked]] = []
    now, spent, num_asked, seconds = 0, 0, 0, 0.0
    while spent < epochs or busy:
        while len(busy) < workers and spent < epochs:
            start = time.perf_counter()
            asked = tuner.ask()
            seconds, num_asked = seconds + time.perf_counter() - start, num_asked + 1
            if asked.trial not in curves:
                curves[asked.trial] = task.curve(asked.config)
            spent += asked.until - asked.start
            heapq.heappush(busy, (now + asked.until - asked.start, num_asked, asked))
        now, _, asked = heapq.heappop(busy)
        values = curves[asked.trial][asked.start : asked.until].tolist()
        told += [(now - len(values) + i, value) for i, value in enumerate(values, start=1)]
        tuner.tell(asked, values)
    sign = -1.0 if getattr(task, "direction", "minimize") == "maximize" else 1.0
    told.sort(key=lambda each: each[0])
    best = np.minimum.accumulate([sign * value for _, value in told])
    return best[:epochs], 1e3 * seconds / num_asked


def regret(
    task: Any, tuner: str, seed: int, trainings: int, workers: int, ends: np.ndarray
) -> tuple[list[float], float]:
    """Regret after each of the kept numbers of trainings, and the milliseconds a proposal."""
    started, epochs = task.start(), trainings * task.max_epochs
    if tuner == PROTOTYPE:
        import freeze_thaw  # type: ignore[import-not-found]

        best, counts = freeze_thaw.tune(task, seed, trainings)
        cost = counts["ms"]
    elif tuner in OURS:
        best, cost = run(started, Ours(started, seed, tuner), epochs, workers)
    else:
        best, cost = run(started, rivals.RIVALS[tuner][1](started, seed, workers), epochs, workers)
    low, middle = ends.min(), np.median(ends)
    at = [best[n * task.max_epochs - 1] for n in KEPT if n <= trainings]
    return [round(float(v), 4) for v in (np.array(at) - low) / (middle - low + 1e-12)], cost


class Kept:
    """The runs of one tuner in a file, each written when it ends: {task: {seed: [regret, ...]}}."""

    def __init__(self, folder: Path, tuner: str, workers: int, version_of: Callable[[str], str] = version_of) -> None:
        many = "" if workers == 1 else f"-{workers}workers"
        self.installed = True
        try:
            self.path = folder / f"{tuner}-{version_of(tuner)}{many}.json"
        except PackageNotFoundError:
            self.installed = False
            found = sorted(p for p in folder.glob(f"{tuner}-[0-9]*.json") if p.stem.endswith("workers") == bool(many))
            self.path = next((p for p in found[::-1] if p.stem.endswith(many)), folder / f"{tuner}-0{many}.json")
        held = json.loads(self.path.read_text()) if self.path.exists() else {"milliseconds": {}, "runs": {}}
        self.milliseconds, self.runs = held["milliseconds"], held["runs"]

    def add(self, task: str, seed: int, found: list[float], cost: float) -> None:
        self.runs.setdefault(task, {})[str(seed)] = found
        self.milliseconds[task] = round(cost, 1)
        lines = [
            f' "{name}": {{\n' + ",\n".join(f'  "{s}": {json.dumps(v)}' for s, v in sorted(seeds.items())) + "}"
            for name, seeds in sorted(self.runs.items())
        ]
        self.path.parent.mkdir(exist_ok=True)
        text = f'{{"milliseconds": {json.dumps(self.milliseconds)},\n"runs": {{\n' + ",\n".join(lines) + "}}\n"
        aside = self.path.with_suffix(".part")
        aside.write_text(text)
        aside.replace(self.path)

    def at(self, task: str, seeds: list[str], trainings: tuple[int, ...]) -> np.ndarray:
        """Regret [seeds, trainings]."""
        columns = [KEPT.index(n) for n in trainings]
        return np.array([self.runs[task][s] for s in seeds])[:, columns]

    def has(self, task: str, seed: str, trainings: int) -> bool:
        return len(self.runs.get(task, {}).get(seed, [])) >= sum(n <= trainings for n in KEPT)


def measure(kept: dict[str, Kept], tasks: list[Any], options: argparse.Namespace) -> None:
    """Runs what is missing of installed tuners, seed by seed over all tuners and tasks, until the minutes are over."""
    end = time.monotonic() + 60 * options.minutes
    ends = {task.name: task.pool()[:, -1] for task in tasks}
    for seed in range(100, 100 + options.seeds):
        for tuner, runs in kept.items():
            if not runs.installed:
                continue
            for task in tasks:
                if runs.has(task.name, str(seed), options.trainings):
                    continue
                if time.monotonic() > end:
                    return
                found = regret(task, tuner, seed, options.trainings, options.workers, ends[task.name])
                runs.add(task.name, seed, *found)


def interval(apart: list[np.ndarray], draws: int = 4000) -> tuple[float, float, float]:
    """Mean over kinds and its 95 % interval of differences [tasks, seeds], tasks and seeds drawn anew in each kind."""
    rng = np.random.default_rng(0)
    means = np.zeros(draws)
    for kind in apart:
        tasks, seeds = kind.shape
        task = rng.integers(tasks, size=(draws, tasks, 1))
        seed = rng.integers(seeds, size=(draws, tasks, seeds))
        means += kind[task, seed].mean((1, 2)) / len(apart)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([kind.mean() for kind in apart])), float(low), float(high)


def show(kept: dict[str, Kept], names: list[str], trainings: int) -> None:
    """Markdown: each kind's means, the first tuner's differences to each other one, then each task."""
    marks = tuple(m for m in MARKS if m <= trainings)
    kinds = {kind: [n for n in names if n.startswith(kind)] for kind in dict.fromkeys(n.split("/")[0] for n in names)}
    seeds = {tuner: _common([runs], names, trainings) for tuner, runs in kept.items()}
    kept = {tuner: runs for tuner, runs in kept.items() if seeds[tuner]}
    heads = " | ".join(f"{kind} {m}" for kind in kinds for m in marks)
    print(f"Mean regret after {', '.join(map(str, marks))} trainings.\n")
    goals = "".join(f" {GOALS[kind]} of {kind} after |" for kind in kinds if kind in GOALS)
    print(f"| tuner | seeds | {heads} |{goals}")
    print("|---" * (2 + len(kinds) * len(marks) + sum(kind in GOALS for kind in kinds)) + "|")
    for tuner, runs in kept.items():
        cells = []
        for tasks in kinds.values():
            cells += [f"{v:.3f}" for v in np.mean([runs.at(t, seeds[tuner], marks) for t in tasks], (0, 1))]
        for kind in kinds:
            if kind in GOALS:
                steps = tuple(n for n in KEPT if n <= trainings)
                mean = np.mean([runs.at(t, seeds[tuner], steps) for t in kinds[kind]], (0, 1))
                reached = np.flatnonzero(mean <= GOALS[kind])
                cells.append(str(steps[reached[0]]) if len(reached) else "not reached")
        print(f"| {runs.path.stem} | {len(seeds[tuner])} | {' | '.join(cells)} |")
    first, *others = kept or [""]
    print(f"\nDifference of {first} to each, by a paired bootstrap over tasks and seeds; below 0 is better.\n")
    print(f"| tuner | seeds | {heads} | mean of all |")
    print("|---" * (3 + len(kinds) * len(marks)) + "|")
    for other in others:
        paired = _common([kept[first], kept[other]], names, trainings)
        if len(paired) < 2:  # one seed says nothing of how seeds differ
            continue
        apart = {
            kind: np.array([kept[first].at(t, paired, marks) - kept[other].at(t, paired, marks) for t in tasks])
            for kind, tasks in kinds.items()
        }
        cells = [_cell([apart[kind][:, :, i]]) for kind in kinds for i in range(len(marks))]
        cells.append(_cell([each.mean(2) for each in apart.values()]))
        print(f"| {kept[other].path.stem} | {len(paired)} | {' | '.join(cells)} |")
    print(f"\n| task | {' | '.join(kept)} |")
    print("|---" * (1 + len(kept)) + "|")
    for name in names:
        cells = [
            " ".join(f"{v:.3f}" for v in runs.at(name, seeds[tuner], marks).mean(0)) for tuner, runs in kept.items()
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _common(runs: list[Kept], names: list[str], trainings: int) -> list[str]:
    """The seeds that every one of `runs` has on every task."""
    seeds = set.intersection(*(set(each.runs.get(name, {})) for each in runs for name in names))
    return sorted(s for s in seeds if all(each.has(name, s, trainings) for each in runs for name in names))


def _cell(apart: list[np.ndarray]) -> str:
    mean, low, high = interval(apart)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    every = [*OURS, *rivals.RIVALS, PROTOTYPE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuners", default=",".join(every))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=50, choices=KEPT)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no run after so many")
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--synthetic", action="store_true", help="made-up tasks, for Thrifty's policies alone")
    parser.add_argument("--kept", type=Path, default=HERE / "tuning")
    parser.add_argument("--tasks", type=Path, default=HERE.parents[1] / "shared" / "tuning_benchmarks")
    options = parser.parse_args()
    chosen = options.tuners.split(",")
    if unknown := set(chosen) - set(every):
        parser.error(f"no tuner is called {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    if options.synthetic and set(chosen) - set(OURS):
        parser.error(f"the made-up tasks are for {', '.join(OURS)}; name some with --tuners")
    if options.workers > 1:
        chosen = [tuner for tuner in chosen if tuner != PROTOTYPE]  # it knows one worker
    sys.path[:0] = [str(options.tasks), str(options.tasks / "prototype")]
    kept = {tuner: Kept(options.kept, tuner, options.workers) for tuner in chosen}
    if options.synthetic:
        made = synthetic.tasks()
    else:
        import tasks  # type: ignore[import-not-found]

        made = tasks.dev_tasks()
    if not options.show:
        measure(kept, made, options)
    show(kept, [task.name for task in made], options.trainings)


if __name__ == "__main__":
    main()
