"""What teachers make of a network: the best trial of each kind once more, with and without them; writes results.md.

usage: python benchmarks/distillation.py RUN...

RUN is a finished run directory with one validation part. Its ensemble teaches; what is trained are copies of its best
trial of each candidate that can be taught, with the same recipe, seconds and cores. Scores are of rows that none of the
models learned from: the run's validation rows, by which the ensemble was chosen, and its test rows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from results import put, table_of

from thrifty.core.files import read_json
from thrifty.data.dataset import Dataset
from thrifty.engines.pytorch import fit
from thrifty.evaluation.decisions import probabilities_of, tempered
from thrifty.evaluation.metrics import score
from thrifty.runtime.graph import Graph
from thrifty.testing.executors import RecordingChannel
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

HEAD = ("run", "model", "metric", "validation", "test", "log loss of test", "s")


class Finished:
    """A run directory, opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.report = read_json(path / "report.json")
        self.dataset = Dataset.open(path / "data")
        if len(self.dataset.splits.rounds()) > 1:
            raise SystemExit(f"{path} was cross-validated: its models have learned from all of its validation rows")
        self.task, self.metric = str(self.dataset.schema.task), str(self.report["metric"])
        self.parts = (self.dataset.splits.validation_rows, self.dataset.splits.test_rows)

    def scores(self, outputs: list[np.ndarray]) -> tuple[str, ...]:
        """The metric of both parts, and the log loss (rmse) of the test part."""
        loss = "rmse" if self.task == "regression" else "log_loss"
        told = zip((self.metric, self.metric, loss), (0, 1, 1))
        return tuple(f"{score(m, self.task, self.dataset.targets(self.parts[i]), outputs[i]):.4f}" for m, i in told)

    def outputs(self, model: Path, temperature: float = 1.0) -> list[np.ndarray]:
        graph = Graph.load(model, threads=os.cpu_count() or 1)
        return [
            probabilities_of(self.task, graph.scores(self.dataset.columns(rows), len(rows)), temperature)
            for rows in self.parts
        ]

    def teachers(self) -> dict[str, Any]:
        keys = ("weight", "temperature")
        models = [
            {"model": str(self.path / "trials" / str(m["trial"]) / "model"), **{k: m[k] for k in keys}}
            for m in self.report["members"]
        ]
        return {"models": models, "temperature": self.report["temperature"]}

    def best(self) -> list[Trial]:
        """The best trial of each candidate that can be taught."""
        found: dict[str, Trial] = {}
        for trial in Study.look(self.path).trials:
            name = str(trial.config["candidate"])
            whole = trial.state is State.DONE and not trial.cut_short and trial.extra.keys().isdisjoint(ASIDE)
            if whole and self.recipe(trial)["training"] and worth(trial) > worth(found.get(name)):
                found[name] = trial
        return list(found.values())

    def recipe(self, trial: Trial) -> dict[str, Any]:
        return dict(read_json(self.path / "trials" / str(trial.id) / "recipe.json"))


ASIDE = {"contrast_of", "taught_by"}


def worth(trial: Trial | None) -> float:
    return -np.inf if trial is None or trial.values[-1] is None else float(trial.values[-1])


def lines_of(run: Finished, cache: str) -> list[list[str]]:
    teachers = run.teachers()
    each = [run.outputs(Path(one["model"]), one["temperature"]) for one in teachers["models"]]
    means = [sum(one["weight"] * e[i] for one, e in zip(teachers["models"], each)) for i in (0, 1)]
    name = run.path.parent.name if run.path.name == "run" else run.path.name
    mixed = [tempered(run.task, mean, teachers["temperature"]) for mean in means]
    lines = [[name, f"ensemble of {len(each)}", run.metric, *run.scores(mixed), ""]]
    for trial in run.best():
        for said, more in (("", {}), (", taught", {"teachers": teachers})):
            with tempfile.TemporaryDirectory() as folder:
                told = fit(
                    {"data": str(run.path / "data"), "folder": folder, "recipe": run.recipe(trial), "rows": "train",
                     "metric": run.metric, "cache": cache, **more},
                    RecordingChannel(os.cpu_count() or 1),
                )  # fmt: skip
                seconds = told["seconds"] + told["notes"].get("teachers_seconds", 0.0)
                scores = run.scores(run.outputs(Path(folder) / "model"))
            lines.append([name, f"{trial.config['candidate']}{said}", run.metric, *scores, f"{seconds:.0f}"])
            print(*lines[-1], sep=" | ", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="What teachers make of the networks of finished runs.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    with tempfile.TemporaryDirectory() as cache:
        lines = [line for path in parser.parse_args().runs for line in lines_of(Finished(path), cache)]
    put("Distillation", "python benchmarks/distillation.py RUN...", table_of(HEAD, lines))


if __name__ == "__main__":
    main()
