"""The Python interface: each function short, delegating to the layer that does the work.

`run`, `train`, `resume` give a `Run`; `inspect`, `evaluate` and `doctor` give plain values; `load` gives a predictor.
"""

from __future__ import annotations

import time as time_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from thrifty.core.errors import StoreError, UsageError

if TYPE_CHECKING:
    from thrifty.runtime.predictor import Predictions, Predictor

Watch = Callable[[dict[str, Any]], None]
WatchRows = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """A run directory: `path`, its `report` (the content of report.json), and `predict`.

    exit_code: 0 done, 1 failed from outside, 3 limits not met, 130 or 143 interrupted.
    """

    path: Path
    report: dict[str, Any]
    exit_code: int = 0

    @property
    def limits_met(self) -> bool:
        """Whether the artifact keeps every limit that was asked for."""
        return all(limit["kept"] for limit in self.report["limits"].values())

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"

    def predict(self, data: Any) -> Predictions:
        """Predictions for rows, on all cores: a list of dicts, any table, or a path."""
        return _on_all_cores(self.path).predict(data)


def run(
    data: Any,
    target: str | None = None,
    *,
    test: Any = None,
    validation: Any = None,
    minutes: float = 10.0,
    metric: str | None = None,
    out: str | Path | None = None,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    max_accuracy_loss: float = 0.5,
    group: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    folds: int | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "auto",
    exclude: Sequence[str] = (),
    recipe: Mapping[str, Any] | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    offline: bool = False,
    cache: bool = True,
    max_bad_share: float = 0.05,
    watch: Watch | None = None,
    progress: bool = True,
    command: str = "run",
) -> Run:
    """Finds, trains and exports the best model that `minutes` and the limits allow.

    data, test, validation: a path (file, folder, zip, glob), pandas, polars or pyarrow tables, anything with the Arrow
    interface, a Hugging Face Dataset, a list of dicts, or (arrays, labels). minutes: wall clock from this call to the
    end of the report. recipe: nested fields or a YAML file; settings: {path: value}, as `--set`. progress: whether it
    is shown on stderr. watch: called with a dict for everything that happens, in its place. Raises DataError for data
    that cannot be used and UsageError for wrong options.
    """
    from thrifty.automl.request import merged, parse_settings, read_recipe

    left_out = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    if not isinstance(recipe, (str, Path, Mapping, type(None))):
        raise UsageError(f"recipe must be nested fields or the path of a YAML file, not {recipe!r}")
    given = read_recipe(Path(recipe)) if isinstance(recipe, (str, Path)) else recipe or {}
    wishes, meanings = parse_settings(settings or {})
    return start(
        {
            "data": data, "target": target, "test": test, "validation": validation, "minutes": minutes,
            "metric": metric, "max_latency_ms": max_latency_ms, "max_size_mb": max_size_mb,
            "max_accuracy_loss": max_accuracy_loss, "group": group, "time": time, "weight": weight,
            "folds": folds, "seed": seed, "threads": threads, "device": device, "exclude": left_out,
            "recipe": merged(given, wishes), "meanings": meanings, "offline": offline, "cache": cache,
            "max_bad_share": max_bad_share, "command": command,
        },
        out=Path(out) if out is not None else None,
        watch=watch,
        progress=progress,
    )  # fmt: skip


def train(data: Any, target: str | None = None, *, recipe: Any = None, **options: Any) -> Run:
    """Trains one recipe; what `recipe` and `settings` leave open is as the candidate begins with it.

    Options as for `run`.
    """
    return run(data, target, recipe=recipe, **options, command="train")


def start(
    options: Mapping[str, Any],
    *,
    out: Path | None,
    watch: Watch | None = None,
    progress: bool = False,
    started: float | None = None,
) -> Run:
    """Starts what the options ask for; `started` is the `time.time()` that the budget counts from."""
    from thrifty.automl import run as automl

    started = started or time_module.time()
    with _watching(watch, progress) as watching:
        outcome = automl.start(options, out=out, watch=watching, started=started)
    return Run(outcome.path, outcome.report, outcome.exit_code)


def resume(
    run: str | Path,
    *,
    minutes: float | None = None,
    watch: Watch | None = None,
    progress: bool = True,
    started: float | None = None,
) -> Run:
    """Goes on with a run that was interrupted or killed; `minutes` gives further minutes, to a finished one too."""
    from thrifty.automl import run as automl
    from thrifty.core.run_directory import command_of

    if not isinstance(run, (str, Path)):
        raise UsageError(f"a run directory is named by its path, not {run!r}")
    if command_of(Path(run)) == "tune":
        raise UsageError(f"{run} is a search by `thrifty tune`: call thrifty.tune again with folder={str(run)!r}")

    started = started or time_module.time()
    with _watching(watch, progress) as watching:
        outcome = automl.resume(Path(run), minutes=minutes, watch=watching, started=started)
    return Run(outcome.path, outcome.report, outcome.exit_code)


@contextmanager
def _watching(watch: Watch | None, progress: bool) -> Iterator[Watch]:
    """What is told of a run's progress: the caller's own, a table or lines on stderr, or nothing."""
    if watch is not None or not progress:
        yield watch or (lambda notice: None)
        return
    from thrifty.automl.progress import Progress

    with Progress(to_stderr=True) as shown:
        yield shown.show


def open_run(path: str | Path) -> Run:
    """An earlier run with its report. Raises StoreError when it has none yet."""
    from thrifty.core.files import read_json
    from thrifty.core.run_directory import open_run as open_directory

    directory, _ = open_directory(Path(path))
    again = f"thrifty resume {directory.path} --minutes 1"
    if not directory.report.exists():
        raise StoreError(f"{directory.path} has no report yet; finish it with: thrifty resume {directory.path}")
    try:
        report = read_json(directory.report)
    except (OSError, ValueError) as error:
        raise StoreError(f"{directory.report} cannot be read: {error}; make it anew: {again}") from error
    if not isinstance(report, dict) or "metric" not in report or "artifact" not in report:
        raise StoreError(f"{directory.report} is damaged: it is no report; make it anew: {again}")
    return Run(directory.path, report)


def load(path: str | Path, *, threads: int | None = None) -> Predictor:
    """The predictor of a run directory or an artifact; needs no training library."""
    from thrifty.runtime.predictor import Predictor

    return Predictor.load(path, threads=threads)


def predict(
    run: str | Path, data: Any, *, out: str | Path | TextIO | None = None, watch: WatchRows | None = None
) -> Predictions | None:
    """Predictions for `data`, in its order: returned, or written to `out` (.csv, .jsonl, .parquet, a stream).

    All cores are used. watch: is told how many rows of how many are done.
    """
    from thrifty.runtime.files import predict_to

    return predict_to(_on_all_cores(run), data, Path(out) if isinstance(out, str) else out, watch)


def _on_all_cores(run: str | Path) -> Predictor:
    from thrifty.execution.resources import prediction_workers
    from thrifty.runtime.predictor import Predictor

    return Predictor.load(run, threads=1, workers=prediction_workers())


def inspect(data: Any, target: str | None = None, **options: Any) -> dict[str, Any]:
    """What is inferred from the data, and every problem in it, as plain values. Options as for `run`."""
    from thrifty.automl.preparing import inspect as look

    return look(data, target, **options)


def evaluate(run: str | Path, data: Any, *, watch: WatchRows | None = None) -> dict[str, Any]:
    """Scores a model on labelled data: {"rows", "bad_rows", "metrics": {name: {"value", "low", "high"}}}.

    All cores are used. watch: is told how many rows of how many are done.
    """
    from thrifty.automl.evaluate import evaluate as score

    return score(Path(run), data, watch)


def doctor() -> dict[str, Any]:
    """What this machine and installation can do, as plain values."""
    from thrifty.automl.doctor import examine

    return examine()


__all__ = [
    "Run", "doctor", "evaluate", "inspect", "load", "open_run", "predict", "resume", "run", "start", "train",
]  # fmt: skip
