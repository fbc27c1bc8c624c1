"""Regret of policies on learning-curve tasks, by the protocol of ../shared/tuning_benchmarks/README.md.

python benchmarks/tuning.py [--policies freeze-thaw,hyperband,random,prototype] [--kinds taskset,lcbench] [--seeds 5]
                            [--trainings 20] [--workers 1] [--tasks FOLDER]

An epoch costs 1, a paused trial goes on where it was, and a tuner is credited with the best epoch of any trial. Regret
is 0 for the best configuration's last epoch and 1 for the median one's. Prints the mean regret at 3, 10, 20 and 50
trainings for each task and kind, the trainings to random search's regret at 50, the milliseconds a proposal, and for
the first policy a paired bootstrap over tasks and seeds of its difference to each other one.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.space import Float, Int, Space
from thrifty.tuning.study import Study

MARKS = (3, 10, 20, 50)
GOALS = {"taskset": 0.245, "lcbench": 0.093}


def space_of(task: Any) -> Space:
    """The task's parameters as a space."""
    domains = {}
    for name, (low, high, log, whole) in task.space.items():
        domains[name] = Int(int(low), int(high), bool(log)) if whole else Float(float(low), float(high), bool(log))
    return Space(domains)


def run(task: Any, policy: str, seed: int, trainings: int, workers: int) -> tuple[np.ndarray, float]:
    """The best value after each epoch spent, and the milliseconds a proposal.

    With several workers an epoch takes one unit of time on each; values count in the order in which they come.
    """
    task = task.start()
    study = Study(space_of(task), metric="loss", max_epochs=task.max_epochs, seed=seed, policy=policy)
    curves: dict[int, np.ndarray] = {}
    told: list[tuple[int, float]] = []
    busy: list[tuple[int, int, Any]] = []
    now, spent, asked, seconds = 0, 0, 0, 0.0
    while spent < trainings * task.max_epochs or busy:
        while len(busy) < workers and spent < trainings * task.max_epochs:
            start = time.perf_counter()
            proposal = study.ask()
            seconds, asked = seconds + time.perf_counter() - start, asked + 1
            if proposal.trial not in curves:
                curves[proposal.trial] = task.curve(proposal.config)
            epochs = (proposal.until_epoch or 0) - proposal.from_epoch
            spent += epochs
            heapq.heappush(busy, (now + epochs, asked, proposal))
        now, _, proposal = heapq.heappop(busy)
        values = curves[proposal.trial][proposal.from_epoch : proposal.until_epoch].tolist()
        told += [(now - len(values) + i, value) for i, value in enumerate(values, start=1)]
        study.tell(proposal.trial, values)
    told.sort(key=lambda each: each[0])
    best = np.minimum.accumulate([value for _, value in told])
    return best[: trainings * task.max_epochs], 1e3 * seconds / asked


def prototype(task: Any, seed: int, trainings: int) -> tuple[np.ndarray, float]:
    """The prototype that lies beside the tasks."""
    import freeze_thaw  # type: ignore[import-not-found]

    trace, counts = freeze_thaw.tune(task, seed, trainings)
    return trace, counts["ms"]


def regrets(task: Any, policy: str, seeds: int, trainings: int, workers: int) -> tuple[np.ndarray, float]:
    """Regret [seeds, epochs] on one task, and the milliseconds a proposal."""
    ends = task.pool()[:, -1]
    low, middle = ends.min(), np.median(ends)
    traces, costs = [], []
    for seed in range(100, 100 + seeds):
        if policy == "prototype":
            trace, cost = prototype(task, seed, trainings)
        else:
            trace, cost = run(task, policy, seed, trainings, workers)
        traces.append((trace - low) / (middle - low + 1e-12))
        costs.append(cost)
    return np.array(traces), float(np.mean(costs))


def difference(ours: np.ndarray, theirs: np.ndarray, draws: int = 2000) -> str:
    """Mean of ours - theirs [tasks, seeds] with its 95 % interval, tasks and seeds drawn anew."""
    rng = np.random.default_rng(0)
    apart = ours - theirs
    tasks, seeds = apart.shape
    means = [
        apart[rng.integers(tasks, size=tasks)[:, None], rng.integers(seeds, size=(tasks, seeds))].mean()
        for _ in range(draws)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def measure(kind: str, tasks: list[Any], options: argparse.Namespace) -> None:
    marks = [m for m in MARKS if m <= options.trainings]
    at_marks: dict[str, np.ndarray] = {}
    for policy in options.policies.split(","):
        rows, costs = [], []
        for task in tasks:
            found, cost = regrets(task, policy, options.seeds, options.trainings, options.workers)
            rows.append(found)
            costs.append(cost)
            shown = " ".join(f"{found[:, m * task.max_epochs - 1].mean():6.3f}" for m in marks)
            print(f"  {policy:12s} {task.name:40s} {shown}", flush=True)
        last = tasks[0].max_epochs
        whole = np.array(rows)
        at_marks[policy] = whole[:, :, [m * last - 1 for m in marks]].mean(2)
        mean = whole.mean((0, 1))
        reached = np.flatnonzero(mean <= GOALS[kind])
        goal = f"{(reached[0] + 1) / last:.1f} trainings" if len(reached) else "not reached"
        shown = " ".join(f"{mean[m * last - 1]:6.3f}" for m in marks)
        print(
            f"{policy:14s} {kind:40s} {shown}   {GOALS[kind]}: {goal}   {np.mean(costs):.1f} ms a proposal", flush=True
        )
    first, *others = at_marks
    for other in others:
        print(f"{kind}: {first} - {other}, mean of the marks: {difference(at_marks[first], at_marks[other])}")


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "tuning_benchmarks"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", default="freeze-thaw,hyperband,random,prototype")
    parser.add_argument("--kinds", default="taskset,lcbench")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tasks", type=Path, default=beside)
    options = parser.parse_args()
    sys.path[:0] = [str(options.tasks), str(options.tasks / "prototype")]
    import tasks  # type: ignore[import-not-found]

    print(
        f"mean regret at {', '.join(str(m) for m in MARKS if m <= options.trainings)} trainings, {options.seeds} seeds"
    )
    if "taskset" in options.kinds:
        measure("taskset", [tasks.TaskSet(name) for name in tasks.TASKSET], options)
    if "lcbench" in options.kinds:
        measure("lcbench", [tasks.LCBench(name) for name in tasks.LCBENCH], options)


if __name__ == "__main__":
    main()
