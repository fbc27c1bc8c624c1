"""What a run holds while it goes on: its directory, data, plan, study and clock in one place."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.automl import plan as planning
from thrifty.automl.candidates.candidate import Candidate, load
from thrifty.automl.facts import Facts
from thrifty.automl.plan import Plan
from thrifty.automl.preparing import cache_folder
from thrifty.automl.request import Request
from thrifty.core.budget import Clock
from thrifty.core.files import read_json, write_json
from thrifty.core.interruption import Interruption, StoppableClock
from thrifty.core.run_directory import RunDirectory
from thrifty.core.seeds import derive
from thrifty.data.dataset import Dataset
from thrifty.evaluation.decisions import probabilities_of
from thrifty.evaluation.findings import SymmetryFinding
from thrifty.evaluation.metrics import CORRELATIONS, METRICS, positive_of, scorer
from thrifty.execution.job import Job
from thrifty.execution.processes import ProcessExecutor
from thrifty.recipe import to_json
from thrifty.tuning.policies.ladder import value_of, worth
from thrifty.tuning.policies.student import is_student
from thrifty.tuning.policy import Purchase
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

FIRST_MODEL_SECONDS = 2.0

Watch = Callable[[dict[str, Any]], None]


class SearchClock(Clock):
    """What the search has left: the run's time less what the rest of it is expected to take."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock.budget_seconds, clock.started)
        self._clock = clock
        self.reserve_seconds = 2.0
        self.has_model = False

    def left(self) -> float:
        """Seconds left; some there are until there is any model, however short the budget."""
        left = self._clock.left()
        least = -math.inf if self.has_model or left < -FIRST_MODEL_SECONDS else FIRST_MODEL_SECONDS
        return max(least, left - self.reserve_seconds)


@dataclass
class Session:
    """One run in progress.

    spent_before_seconds: what earlier sittings of a resumed run took. notes: sentences for the report.
    phases: seconds by what they went to. symmetries: which changes of images were tried, and whether they keep labels.
    """

    directory: RunDirectory
    request: Request
    clock: StoppableClock
    interruption: Interruption
    watch: Watch
    executor: ProcessExecutor
    dataset: Dataset
    facts: Facts
    plan: Plan
    metric: str
    metric_reason: str
    study: Study
    findings: Any = None
    spent_before_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    library: Any = None
    row_seconds: dict[str, float] = field(default_factory=dict)
    symmetries: Sequence[SymmetryFinding] = ()

    def __post_init__(self) -> None:
        self.search_clock = SearchClock(self.clock)
        self.cache = cache_folder(self.directory.path, self.request.cache)
        splits = self.dataset.splits
        self.y_validation = self.dataset.targets(splits.validation_rows)
        self.weights_validation = self.dataset.weights(splits.validation_rows)

    @property
    def task(self) -> str:
        return str(self.dataset.schema.task)

    @property
    def is_limited(self) -> bool:
        """Whether the artifact's size or latency has a limit."""
        return self.request.max_latency_ms is not None or self.request.max_size_mb is not None

    @property
    def perfect(self) -> float:
        return METRICS[self.metric].perfect

    @property
    def positive(self) -> int | None:
        """The class that average precision looks for."""
        if self.task != "binary":
            return None
        return positive_of(self.class_counts())

    def class_counts(self) -> list[int]:
        """Rows per class of the development part."""
        if self.task == "regression":
            return []
        y = self.dataset.targets(self.dataset.splits.development_rows)
        if y.ndim == 2:
            return [int(n) for n in y.sum(axis=0)]
        return [int(n) for n in np.bincount(y, minlength=len(self.dataset.schema.classes))]

    def held_out(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """The targets and weights of (some of) the validation rows."""
        y, weights = self.y_validation, self.weights_validation
        return (y, weights) if rows is None else (y[rows], None if weights is None else weights[rows])

    def judge(self, rows: np.ndarray | None = None) -> Callable[[np.ndarray], float]:
        """What models are chosen by: the metric of outputs of (some of) the validation rows, higher is better.

        From metrics that count answers alone the log loss is taken off: on few rows they jump, and many models are
        level by them. An undefined metric is the worst, but for a constant's correlation, which counts as none.
        """
        return self.scorer(rows, METRICS[self.metric].needs == "labels")

    def scorer(self, rows: np.ndarray | None = None, less_log_loss: bool = False) -> Callable[[np.ndarray], float]:
        """The metric of outputs of (some of) the validation rows, turned so that higher is better, never undefined."""
        y, weights = self.held_out(rows)
        sign = METRICS[self.metric].sign
        of = scorer(self.metric, self.task, y, None, weights, self.positive)
        undefined = 0.0 if self.metric in CORRELATIONS else -math.inf
        log_loss = scorer("log_loss", self.task, y, None, weights, self.positive) if less_log_loss else None

        def scored(outputs: np.ndarray) -> float:
            value = sign * of(outputs) - (0.0 if log_loss is None else log_loss(outputs))
            return undefined if math.isnan(value) else value

        return scored

    def stage(self, name: str) -> None:
        self.watch({"kind": "stage", "stage": name, **self.times()})

    def times(self) -> dict[str, Any]:
        return {
            "elapsed_seconds": self.clock.elapsed(),
            "budget_seconds": self.clock.budget_seconds,
            "metric": self.metric,
        }

    # ---- trials

    def done(self) -> list[Trial]:
        """Trials with a validated value and a model on disk, best first."""
        found = [
            t
            for t in self.study.trials
            if t.state is State.DONE and value_of(t) is not None and (self.model_of(t.id) / "model.json").exists()
        ]
        return sorted(found, key=lambda t: (-worth(t), t.id))

    def model_of(self, trial: int) -> Path:
        """The folder of a trial's model: refitted on all development rows where that was done."""
        folder = self.directory.trial(trial)
        return folder / "refit" / "model" if self.has_refit(trial) else folder / "model"

    def validation_scores(self, trial: int) -> np.ndarray:
        return np.load(self.directory.trial(trial) / "validation.npy", allow_pickle=False)

    def outputs(self, trial: int, temperature: float) -> np.ndarray:
        """Calibrated probabilities [V, K], or values [V], of the validation rows."""
        return probabilities_of(self.task, self.validation_scores(trial), temperature)

    def raw_rows(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The rows as a user would give them, one dict each."""
        columns = self.dataset.columns(rows)
        return [dict(zip(columns, cells)) for cells in zip(*columns.values())]

    def candidate_of(self, trial: Trial) -> Candidate:
        """What a trial is of; it may be one that an earlier sitting planned and this one does not."""
        return load(trial.config["candidate"])

    def can_be_taught(self, trial: Trial) -> bool:
        """Whether a trial like it could learn what others answer: networks and heads can, of candidates in the plan."""
        planned = self.plan.planned.get(trial.config["candidate"])
        return planned is not None and planned.recipe.training is not None

    def seconds_of_row(self, trials: Iterable[int]) -> float:
        """What a raw row costs through the models of some trials together, as the first of each candidate took."""
        candidates = {str(self.study.trial(trial).config["candidate"]) for trial in trials}
        return sum(self.row_seconds.get(name, 0.0) for name in candidates)

    def job_of(self, trial: Trial, purchase: Purchase) -> Job:
        """The job that fits a new trial on the train rows."""
        folder = self.directory.trial(trial.id)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        seed_of = trial.extra.get("contrast_of", trial.id)
        recipe = to_json(planning.recipe_of(self.plan, trial.config, derive(self.request.seed, "trial", seed_of)))
        write_json(folder / "recipe.json", recipe)
        left = min(self.search_clock.left(), purchase.extra.get("most_seconds", math.inf))
        return self._job(trial, folder, recipe, "train", left)

    @property
    def grown(self) -> float:
        """How many times as many rows a refit learns from."""
        splits = self.dataset.splits
        return len(splits.development_rows) / max(1, len(splits.rounds()[0][0]))

    def has_refit(self, trial: int) -> bool:
        return (self.directory.trial(trial) / "refit" / "model" / "model.json").exists()

    def refit_job(self, trial: Trial, seconds: float, share: float = 1.0) -> Job:
        """The job that fits a trial's recipe again, on train and validation rows and all cores, as it was chosen.

        share: of the epochs that were chosen for a network.
        """

        folder = self.directory.trial(trial.id)
        refit = folder / "refit"
        shutil.rmtree(refit, ignore_errors=True)
        refit.mkdir()
        if (folder / "chosen.json").exists():
            chosen = read_json(folder / "chosen.json")
            of_epochs = {name: share * chosen[name] for name in ("epochs", "stop_epoch") if chosen.get(name)}
            write_json(refit / "chosen.json", chosen | of_epochs)
        recipe = read_json(folder / "recipe.json")
        if "training.seconds" in trial.config:  # allotted for fewer rows
            recipe["training"]["seconds"] *= self.grown
        job = self._job(trial, refit, recipe, "development", seconds)
        return replace(job, cores=min(self.executor.cores, self.facts.cores))

    def _job(self, trial: Trial, folder: Path, recipe: dict[str, Any], rows: str, seconds: float) -> Job:
        candidate = self.candidate_of(trial)
        entry, preload = candidate.engine
        arguments = {
            "data": str(self.directory.data),
            "folder": str(folder),
            "recipe": recipe,
            "rows": rows,
            "metric": self.metric,
            "cache": str(self.cache),
            "run_started": self.directory.request.stat().st_mtime,
            "seconds": max(0.5, seconds - 0.5),
            "device": "cpu",  # the only one that a request may name
            "offline": self.request.offline,
        }
        if is_student(trial):
            arguments["teachers"] = self._teachers(trial.extra["taught_by"])
        return Job(
            entry=entry,
            arguments=arguments,
            preload=preload,
            cores=min(self.executor.cores, self.facts.cores) if candidate.all_cores else 1,
            seconds=max(1.0, seconds + 5.0),
            label=candidate.name,
        )

    def _teachers(self, taught_by: Mapping[str, Any]) -> dict[str, Any]:
        """What a student's job is told: the folders of models that were fitted on the train rows alone."""
        models = [{**one, "model": str(self.directory.trial(one["trial"]) / "model")} for one in taught_by["models"]]
        return {"models": models, "temperature": taught_by["temperature"]}
