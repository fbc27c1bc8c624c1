"""What every engine does around a fit: arguments in, rounds of rows, a score, and files that are whole or absent.

A trial's folder holds, once its job has ended:
    validation.npy   float32 [V, K]: scores of `splits.validation_rows`, in their order (only after rows="train")
    chosen.json      what the fit on train rows chose (trees, epochs, strength), read again when rows="development"
    parity.npy       float32 [P, K]: the trained model's scores of `parity_rows`, which the artifact is checked against
    model/           model.json {"nodes": [...], "output": "node.scores"} and the files that the nodes name

Scores are logits [N, K] for classes (K = 2 for binary) and for multilabel, values [N, 1] in the target's units for
regression. Shapes: N rows, V validation rows, K classes or 1.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import ExternalError, UsageError
from thrifty.core.files import read_json, replacing, write_json
from thrifty.data.cache import DEFAULT_MAX_BYTES, Cache
from thrifty.data.column import Task
from thrifty.data.dataset import Dataset
from thrifty.data.split import Splits
from thrifty.evaluation import metrics
from thrifty.evaluation.decisions import probabilities_of
from thrifty.execution.job import Channel
from thrifty.recipe import Recipe, from_json

PARITY_ROWS = 128
LEAST_WHOLE = 0.25  # of the epochs that were chosen, without which a network is not what was judged
MOST_EPOCHS = 16  # of a round of cross-validation whose scores are kept


@dataclass(frozen=True)
class Round:
    """Row numbers of one fit: `train` rows and the `validation` rows to predict, both sorted int64."""

    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Trial:
    """One job of an engine, opened.

    rows: "train" fits on train rows and predicts validation rows, once per round of the splits; "development" refits on
        both with what was chosen before (`chosen`; empty when nothing was).
    clock: runs from the opening; its budget is the seconds that the fit may take.
    taught: what teachers answer to the rows of its only round, float32 [N, K]; None without teachers. teachers_seconds:
        what that took.
    """

    dataset: Dataset
    recipe: Recipe
    folder: Path
    rows: Literal["train", "development"]
    metric: str
    cache: Cache
    channel: Channel
    clock: Clock
    arguments: Mapping[str, Any]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    taught: np.ndarray | None = None
    teachers_seconds: float = 0.0

    @property
    def task(self) -> Task:
        return self.dataset.schema.task

    @property
    def num_outputs(self) -> int:
        """Columns of the scores: the number of classes, or 1 for regression."""
        return 1 if self.task == Task.REGRESSION else len(self.dataset.schema.classes)

    @cached_property
    def positive(self) -> int | None:
        """The class of two that average precision looks for: the rarer among development rows."""
        if self.task != Task.BINARY:
            return None
        return metrics.positive_of(
            np.bincount(self.dataset.targets(self.dataset.splits.development_rows), minlength=2).tolist()
        )

    def rounds(self) -> list[Round]:
        """One round, one per fold with cross-validation, or with rows="development" one with no validation rows."""
        if self.rows == "development":
            return [Round(self.dataset.splits.development_rows, np.zeros(0, np.int64))]
        return [Round(train, validation) for train, validation in self.dataset.splits.rounds()]

    def final_rows(self) -> np.ndarray:
        """The rows that the model in `model/` is fitted on when it is not the model of the single round."""
        return self.dataset.splits.development_rows

    def seconds_left(self) -> float:
        """The least of what the arguments and the channel still allow; infinite when neither bounds it."""
        return min(self.clock.left(), self.channel.seconds_left())

    def should_stop(self) -> bool:
        """Whether to end early and cleanly: asked to by the coordinator, or out of seconds."""
        return self.channel.should_stop() or self.seconds_left() <= 0

    def report(self, epoch: int, value: float, **more: Any) -> None:
        """Tells the coordinator the metric (higher is better) after an epoch, counted from 1; or after some trees."""
        self.channel.report({"epoch": epoch, "value": value if math.isfinite(value) else None, **more})

    def place(self, rounds: Sequence[Round], scores: Sequence[np.ndarray]) -> np.ndarray:
        """Scores [V, K] in the order of `splits.validation_rows` from the scores of each round's validation rows."""
        order = self.dataset.splits.validation_rows
        placed_VK = np.full((len(order), self.num_outputs), np.nan, np.float32)
        for round_, scores_NK in zip(rounds, scores, strict=True):
            placed_VK[np.searchsorted(order, round_.validation)] = scores_NK
        return placed_VK


def choose_across(
    trial: Trial, rounds: Sequence[Round], scores_CF: Sequence[Sequence[np.ndarray]]
) -> tuple[int, np.ndarray, list[float]]:
    """Chooses among candidates by their scores of all rounds together, and says honestly what the choice is worth.

    scores_CF: for each candidate the scores [N, K] of each round's validation rows. Gives the best candidate's place,
    scores [V, K] in which every round's rows are scored by the candidate that is best on the other rounds, so that no
    row has a say in what it is scored by, and each candidate's value.
    """
    rows = trial.dataset.splits.validation_rows
    y, weights = trial.dataset.targets(rows), trial.dataset.weights(rows)
    round_V = np.zeros(len(rows), np.int64)
    for number, round_ in enumerate(rounds):
        round_V[np.searchsorted(rows, round_.validation)] = number
    placed_CVK = [trial.place(rounds, scores_F) for scores_F in scores_CF]

    def best_on(some: np.ndarray) -> tuple[int, list[float]]:
        kept = None if weights is None else weights[some]
        values = [value_of(trial, y[some], scores_VK[some], kept) for scores_VK in placed_CVK]
        return int(np.argmax(np.nan_to_num(values, nan=-np.inf))), values

    best, values = best_on(np.arange(len(rows)))
    honest_VK = placed_CVK[best].copy()
    if len(placed_CVK) > 1:
        for number in range(len(rounds)):
            own = np.flatnonzero(round_V == number)
            honest_VK[own] = placed_CVK[best_on(np.flatnonzero(round_V != number))[0]][own]
    return best, honest_VK, values


@dataclass
class Epochs:
    """Scores [V, J, K] of J models after some epochs of a round, and each epoch's place.

    At most MOST_EPOCHS are kept, evenly spaced. A place is (epochs trained, length of the schedule in epochs).
    """

    scores: list[np.ndarray] = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, scores_VJK: np.ndarray, stop: float, whole: float) -> None:
        if self.seen % self.every == 0:
            self.scores.append(scores_VJK.copy())
            self.places.append((stop, whole))
        self.seen += 1
        if len(self.scores) > MOST_EPOCHS:
            self.scores, self.places, self.every = self.scores[::2], self.places[::2], 2 * self.every

    def at(self, epoch: int) -> int:
        """Where what is known of an epoch (from 0) is kept, or of the last one where training had ended."""
        return min(epoch // self.every, len(self.scores) - 1)


def epoch_across(
    trial: Trial, rounds: Sequence[Round], histories: Sequence[Epochs]
) -> tuple[int, float, float, np.ndarray]:
    """The model (of J) and the epoch that are best in all rounds together: (model, stop, length, honest scores)."""
    longest = max(histories, key=lambda epochs: epochs.seen)
    num_models = longest.scores[0].shape[1]
    options = [(j, epoch) for epoch in range(0, longest.seen, longest.every) for j in range(num_models)]
    scores = [[one.scores[one.at(epoch)][:, j] for one in histories] for j, epoch in options]
    best, scores_VK, _ = choose_across(trial, rounds, scores)
    j, epoch = options[best]
    stop, whole = np.mean([one.places[one.at(epoch)] for one in histories], axis=0)
    return j, float(stop), float(whole), scores_VK


def open_trial(arguments: Mapping[str, Any], channel: Channel) -> Trial:
    """Opens what a job's arguments name.

    arguments: `data` (a Dataset's folder), `folder` (the trial's, which exists), `recipe` (JSON), `rows`, `metric`,
        and optionally `cache` (a folder), `cache_bytes`, `run_started` (a time of day in seconds: what the cache holds
        from before it is noted as `found_older`), `seconds`, `chosen` (in place of the folder's chosen.json),
        `teachers` (see `engines.teachers`).
        Raises UsageError for a wrong `rows` or `metric`.
    """
    rows = arguments.get("rows", "train")
    if rows not in ("train", "development"):
        raise UsageError(f"rows is {rows!r}; it must be 'train' or 'development'")
    if arguments["metric"] not in metrics.METRICS:
        raise UsageError(f"metric is {arguments['metric']!r}; it must be one of {', '.join(metrics.METRICS)}")
    seconds = arguments.get("seconds")
    clock = Clock(seconds)
    folder = Path(arguments["folder"])
    chosen: Mapping[str, Any] = {}
    if rows == "development":
        file = folder / "chosen.json"
        chosen = arguments.get("chosen") or (read_json(file) if file.exists() else {})
    cache = arguments.get("cache")
    cache_bytes = arguments.get("cache_bytes")
    return Trial(
        dataset=Dataset.open(Path(arguments["data"])),
        recipe=from_json(arguments["recipe"]),
        folder=folder,
        rows=rows,
        metric=arguments["metric"],
        cache=Cache(
            Path(cache) if cache else None, cache_bytes or DEFAULT_MAX_BYTES, since=arguments.get("run_started")
        ),
        channel=channel,
        clock=clock,
        arguments=arguments,
        chosen=chosen,
    )


def value_of(
    trial: Trial, y: np.ndarray, scores_NK: np.ndarray, weights: np.ndarray | None = None, metric: str | None = None
) -> float:
    """The trial's metric (or another) of raw scores, turned so that higher is better; NaN where one is not finite.

    The correlation of a constant, which is undefined, counts as none: 0.
    """
    if not np.isfinite(scores_NK).all() or not len(scores_NK):
        return math.nan
    name, task = metric or trial.metric, trial.task.value
    if name in metrics.CORRELATIONS and np.ptp(scores_NK) == 0:
        return 0.0
    outputs = probabilities_of(task, scores_NK)
    return metrics.signed(name, metrics.score(name, task, y, outputs, None, weights, trial.positive))


def value_and_loss(
    trial: Trial, y: np.ndarray, scores_NK: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """The value of raw scores, higher is better, and their log loss (rmse for a regression), lower is better."""
    loss = "rmse" if trial.task == Task.REGRESSION else "log_loss"
    return value_of(trial, y, scores_NK, weights), -value_of(trial, y, scores_NK, weights, loss)


def score(trial: Trial, rows: np.ndarray, scores_NK: np.ndarray) -> float:
    """The trial's metric of the scores of the given rows, higher is better, rows weighted as the data says."""
    return value_of(trial, trial.dataset.targets(rows), scores_NK, trial.dataset.weights(rows))


@contextmanager
def model_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write a model into; when the block succeeds it becomes `folder`/model, replacing it."""
    aside = Path(tempfile.mkdtemp(prefix=".model.", dir=folder))
    try:
        yield aside
        aside.chmod(0o755)
        target = folder / "model"
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".old.", dir=folder)) / "model"
            target.rename(old)
            aside.rename(target)
            shutil.rmtree(old.parent)
        else:
            aside.rename(target)
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def write_validation(trial: Trial, scores_VK: np.ndarray) -> None:
    """Writes validation.npy: scores of `splits.validation_rows` in their order, as float32 [V, K]."""
    expected = (len(trial.dataset.splits.validation_rows), trial.num_outputs)
    if scores_VK.shape != expected:
        raise UsageError(f"validation scores have shape {scores_VK.shape}; these splits and classes need {expected}")
    with replacing(trial.folder / "validation.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(scores_VK, dtype=np.float32), allow_pickle=False)


def parity_rows(splits: Splits) -> np.ndarray:
    """The rows, at most PARITY_ROWS, on which an artifact is compared with the trained model."""
    rows = splits.validation_rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(PARITY_ROWS, len(rows))).astype(int))]


def write_parity(trial: Trial, scores_PK: np.ndarray) -> None:
    """Writes parity.npy: the scores of `parity_rows` by the model that model/ holds, as it was trained."""
    with replacing(trial.folder / "parity.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(scores_PK, dtype=np.float32), allow_pickle=False)


def check_whole(cut_short: bool) -> None:
    """Raises ExternalError for the fit on all rows after a cross-validation, when it ended before what was chosen: the
    model would not be the one that the validation figure is of."""
    if cut_short:
        raise ExternalError("its fit on all rows was cut short, as the time was over or the run was asked to end")


def write_chosen(trial: Trial, chosen: Mapping[str, Any]) -> None:
    """Writes chosen.json, which a later job with rows="development" in the same folder goes by."""
    write_json(trial.folder / "chosen.json", dict(chosen))


def finish(trial: Trial, scores_VK: np.ndarray | None, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the validation scores, if there are some, and returns the job's result.

    {"value": metric on validation, higher is better, None when it cannot be told; "seconds": wall clock since the
    opening; "notes": what the engine has to say}.
    """
    value = math.nan
    if scores_VK is not None:
        write_validation(trial, scores_VK)
        value = score(trial, trial.dataset.splits.validation_rows, scores_VK)
    seconds = round(trial.clock.elapsed(), 4)
    told = {**notes, "cached_seconds": round(trial.cache.made_seconds, 3)}
    if trial.taught is not None:
        told["teachers_seconds"] = round(trial.teachers_seconds, 3)
    if trial.cache.found_older:
        told["found_older"] = trial.cache.found_older
    return {"value": float(value) if math.isfinite(value) else None, "seconds": seconds, "notes": told}
