"""A run from the first word to the last byte: prepare, plan, search, hand over.

`start` begins a run in a new directory, `resume` goes on with one. What happens is told to a watcher as dicts with
`kind`: said, stage, trial_started, epoch, trial_finished, trial_failed, trial_stopped.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thrifty.automl.candidates.candidate import CLASSICAL, PYTORCH, check_names
from thrifty.automl.request import LIMITS_NOT_MET, Request
from thrifty.core import run_directory
from thrifty.core.errors import DataError, ExternalError, MissingExtraError, StoreError, ThriftyError, UsageError
from thrifty.core.events import last_seconds
from thrifty.core.files import read_json, write_json
from thrifty.core.interruption import Interruption, StoppableClock
from thrifty.core.run_directory import RunDirectory

if os.name == "nt":
    raise ImportError("thrifty trains on Linux and macOS; on Windows use WSL")


PROBE_SHARE = 0.012  # of the budget, for seeing which changes of images keep labels
MOST_PROBE_SECONDS = 4.0
OF_TWO_CLASSES = ("average_precision", "roc_auc")  # metrics that rows of one class alone leave undefined


@dataclass(frozen=True)
class Outcome:
    """How a run ended: where it is, its report, and the exit code of the command."""

    path: Path
    report: dict[str, Any]
    exit_code: int


class Interrupted(ThriftyError):
    """A signal came before there was any model to save."""

    def __init__(self, directory: RunDirectory, interruption: Interruption) -> None:
        super().__init__(f"interrupted before there was a model; go on with: thrifty resume {directory.path}")
        self.exit_code = interruption.exit_code


def start(options: Mapping[str, Any], *, out: Path | None, watch: Any, started: float) -> Outcome:
    """Begins a run. A run whose data or options cannot be used leaves nothing behind."""
    sources = {name: options.get(name) for name in ("data", "test", "validation")}
    paths = {name: _path_of(source) for name, source in sources.items()}
    named = {name: "" if path is None and name == "data" else path for name, path in paths.items()}
    request = Request(**{**options, **named})
    check_names(request.exclude)
    request = replace(request, words=tuple(command_line(request)))
    directory = run_directory.create(out, _name_of(paths["data"]), request.to_json())
    from thrifty.automl.plan import check_wishes, parse_wishes
    from thrifty.evaluation.metrics import metric_for

    try:
        need_extra()
        check_wishes(parse_wishes(request.recipe))  # before the data is read, as the metric
        if request.metric is not None:
            metric_for(request.metric)
        with directory.held():
            request = _keep_tables(directory, request, sources, paths)
            return _go(directory, request, watch, started, request.minutes * 60)
    except (DataError, UsageError):
        if not directory.events.exists():  # nothing was tried
            run_directory.discard(directory, named=out is not None)
        raise


def resume(path: Path, *, minutes: float | None, watch: Any, started: float) -> Outcome:
    """Goes on with the run at `path`: with what was left of its minutes, or with further ones."""
    directory, asked = run_directory.open_run(path)
    request = Request.from_json(asked)
    if not request.data:
        raise StoreError(f"the run in {directory.path} ended before its tables were written there; start it again")
    spent = last_seconds(directory.events)
    report = _final_report(directory)
    if minutes is None and report is not None:
        watch({"kind": "said", "text": f"{directory.path} is finished; give it more time with --minutes"})
        kept = all(limit["kept"] for limit in report["limits"].values())
        return Outcome(directory.path, report, 0 if kept else LIMITS_NOT_MET)
    directory.check_study()
    budget = request.minutes * 60 - spent
    if minutes is not None:
        request, budget = replace(request, minutes=minutes), minutes * 60
    need_extra()
    with directory.held():
        if minutes is not None:
            directory.ask_again(replace(request, minutes=(spent + budget) / 60).to_json())  # a killed sitting's rest
        return _go(directory, request, watch, started, max(budget, 5.0), spent_before=spent)


def _final_report(directory: RunDirectory) -> dict[str, Any] | None:
    """The report of a run that has ended by itself; None where it has not, or the report cannot be read."""
    try:
        report = None if directory.unfinished.exists() else read_json(directory.report)
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and isinstance(report.get("limits"), dict) else None


def need_extra() -> None:
    """Raises MissingExtraError when what training needs is not installed."""
    from importlib.util import find_spec

    for package in ("sqlalchemy", "scipy", "sklearn", "lightgbm", "torch", "onnx"):
        if find_spec(package) is None:
            raise MissingExtraError("training", "train", package)


def _path_of(source: Any) -> str | None:
    """The absolute path (or glob) that a source names, None for tables in memory and for nothing."""
    if not isinstance(source, (str, Path)):
        return None
    return os.path.abspath(os.path.expanduser(source)) if str(source).strip() else ""


def _name_of(path: str | None) -> str:
    """What a run on the data at a path is called; of a glob the folder that it begins with."""
    if not path:
        return "data"
    whole = [part for part in Path(path).parts if not set(part) & set("*?[")]
    inner = path if len(whole) == len(Path(path).parts) else str(Path(*whole))
    return Path(inner).name.split(".")[0] or "data"


def _keep_tables(
    directory: RunDirectory, request: Request, sources: Mapping[str, Any], paths: Mapping[str, str | None]
) -> Request:
    """Writes tables that were handed over in memory into the run directory, so that a resumed run has them."""
    from thrifty.automl.preparing import write_source

    kept: dict[str, Any] = {}
    for name, source in sources.items():
        if source is None or paths[name] is not None:
            continue
        written, target = write_source(source, directory.path / "input", name)
        kept[name] = str(written)
        if name == "data" and request.target is None and target is not None:
            kept["target"] = target
    if kept:
        request = replace(request, **kept)
        write_json(directory.request, {"format": run_directory.FORMAT, **request.to_json()})
    return request


def _go(
    directory: RunDirectory,
    request: Request,
    watch: Any,
    started: float,
    budget_seconds: float,
    *,
    spent_before: float = 0.0,
) -> Outcome:
    from thrifty.automl.handover import hand_over
    from thrifty.execution.processes import ProcessExecutor
    from thrifty.execution.resources import product_speed

    with Interruption() as interruption, ProcessExecutor(log_folder=directory.logs) as executor:
        directory.sweep()
        executor.warm(CLASSICAL[1])
        product_speed()  # while a core is free
        executor.warm(PYTORCH[1])
        clock = StoppableClock(budget_seconds, started, interruption)
        with _session(directory, request, watch, clock, interruption, executor, spent_before) as session:
            stopped = _search(session)
            if interruption.number is not None:
                stopped = "interrupted"
            if not session.done():
                _no_model(session)
            exit_code, report = hand_over(session, stopped)
            if interruption.number is None:
                directory.unfinished.unlink(missing_ok=True)
    return Outcome(directory.path, report, interruption.exit_code or exit_code)


def _no_model(session: Any) -> None:
    """Raises what ends a run that has nothing to hand over."""
    from thrifty.tuning.trial import State

    if session.interruption.number is not None:
        raise Interrupted(session.directory, session.interruption)
    if not session.directory.request.exists():
        raise ExternalError(f"the run directory {session.directory.path} was removed while the run went on")
    failures = [t for t in session.study.trials if t.state is State.FAILED]
    if failures:
        reasons = "; ".join(f"{t.config['candidate']}: {t.why}" for t in failures[:3])
        raise ExternalError(f"every candidate failed ({reasons}); see {session.directory.logs}")
    raise ExternalError(
        f"no model was ready in {session.clock.budget_seconds:.0f} seconds; "
        f"give it more: thrifty resume {session.directory.path} --minutes {max(1, round(session.request.minutes * 2))}"
    )


@contextmanager
def _session(
    directory: RunDirectory,
    request: Request,
    watch: Any,
    clock: StoppableClock,
    interruption: Interruption,
    executor: Any,
    spent_before: float,
) -> Iterator[Any]:
    """Prepares the data (or opens what was prepared), plans, and opens the study."""
    from thrifty.automl import backbones, symmetries
    from thrifty.automl import facts as facts_of
    from thrifty.automl import plan as planning
    from thrifty.automl.preparing import prepared
    from thrifty.automl.session import Session
    from thrifty.core.budget import Clock
    from thrifty.evaluation.findings import SymmetryFinding
    from thrifty.evaluation.metrics import METRICS, choose_metric, metric_for
    from thrifty.models.weights import found as weights_found
    from thrifty.tuning.study import Study

    began = clock.elapsed()
    try:
        with interruption.raising():
            dataset, found = prepared(directory, request, clock, watch)
            wishes, named = backbones.resolve(planning.parse_wishes(request.recipe), request.offline)
    except KeyboardInterrupt:
        raise Interrupted(directory, interruption) from None
    facts = facts_of.gather(dataset, weights_found() | set(named), request.seed, backbones.sizes(named))
    single = request.command == "train"
    plan = planning.make(facts, wishes, request.exclude, single)
    kept: Sequence[SymmetryFinding] = ()
    if any(map(planning.takes_symmetries, plan.planned.values())):
        seconds = min(MOST_PROBE_SECONDS, PROBE_SHARE * (clock.budget_seconds or math.inf))
        file = directory.data / "symmetries.json"
        kept = symmetries.known(dataset, file, facts.image_channels, seconds, request.seed)
        facts = replace(facts, symmetries=symmetries.names_of(kept))
        plan = planning.make(facts, wishes, request.exclude, single)
    metric, reason = _metric(request, dataset, choose_metric, metric_for)
    watch({"kind": "said", "text": f"metric: {metric} ({reason})"})
    direction = "" if METRICS[metric].sign > 0 else "negative_"
    study = Study(
        None,
        metric=f"{direction}{metric}",
        direction="maximize",
        seed=request.seed,
        folder=directory.path,
        clock=Clock(None, clock.started),
    )
    with study:
        session = Session(
            directory, request, clock, interruption, watch, executor, dataset, facts, plan, metric, reason, study,
            found, spent_before, symmetries=kept,
        )  # fmt: skip
        session.phases["data"] = round(clock.elapsed() - began, 3)
        yield session


def _metric(request: Request, dataset: Any, choose_metric: Any, metric_for: Any) -> tuple[str, str]:
    import numpy as np

    task = str(dataset.schema.task)
    alone, apart = None, ""  # the only class of the validation rows that count
    if task == "binary":
        y, weights = (of(dataset.splits.validation_rows) for of in (dataset.targets, dataset.weights))
        seen = np.unique(y if weights is None else y[weights > 0])
        alone = dataset.schema.classes[seen[0]] if len(seen) == 1 else None
        apart = "" if len(np.unique(y)) == 1 else ", but for some that weigh 0"
    if request.metric is not None:
        name = metric_for(request.metric, task).name
        if name in OF_TWO_CLASSES and alone is not None:
            raise UsageError(
                f"--metric {name} is undefined on the validation rows, which are all of the class {alone!r}{apart}: "
                "name another metric, like log_loss, or other rows to validate on (--validation, --folds)"
            )
        return name, "asked for"
    counts: list[int] = []
    if dataset.schema.classes:
        y = dataset.targets(dataset.splits.development_rows)
        counts = (y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(dataset.schema.classes))).tolist()
    name, reason = choose_metric(task, counts)
    if name in OF_TWO_CLASSES and alone is not None:
        return "log_loss", f"all validation rows are of the class {alone!r}{apart}, where {name} is undefined"
    return name, reason


def _search(session: Any) -> str:
    """Runs the search; returns why it stopped: budget, converged or interrupted."""
    from thrifty.automl import plan as planning
    from thrifty.automl.handover import excess_of, keep_best, lessons, refit_to_come, take_up
    from thrifty.core.budget import Budget
    from thrifty.tuning.policies.ladder import Ladder
    from thrifty.tuning.search import search

    session.stage("searching")
    began = session.clock.elapsed()
    policy = Ladder(
        planning.arms(session.plan, session.facts),
        baseline="baseline",
        perfect=session.perfect,
        refit=lambda: refit_to_come(session),
        free_cores=session.executor.free_cores,
        excess=lambda trial: excess_of(session, trial),
        lesson=lessons(session),
        seed=session.request.seed,
    )
    budget = Budget(trials=len(session.plan.planned)) if session.request.command == "train" else None
    grace = min(5.0, max(1.0, 0.03 * (session.clock.budget_seconds or 0.0)))
    why = "budget"
    take_up(session)
    events = search(
        session.study, policy, session.executor, session.job_of, session.search_clock, budget, grace_seconds=grace
    )
    with closing(events):
        for event in events:
            _tell(session, event)
            if event.kind in ("trial_finished", "trial_paused"):
                keep_best(session, event.trial)
            if event.kind == "search_finished":
                why = event.payload["why"]
    session.phases["search"] = round(session.clock.elapsed() - began, 3)
    if session.request.command == "train":
        return "converged"
    return why if why in ("budget", "converged") else "budget"


def _tell(session: Any, event: Any) -> None:
    """Turns an event of the study into a notice for the watcher."""
    from thrifty.automl.handover import best_of
    from thrifty.evaluation.metrics import signed
    from thrifty.evaluation.words import value_text
    from thrifty.tuning.policies.ladder import worth

    if event.trial is None:
        return
    trial = session.study.trial(event.trial)
    notice: dict[str, Any] = {"candidate": trial.config["candidate"], "trial": trial.id, **session.times()}
    if event.kind == "trial_started":
        session.watch({"kind": "trial_started", **notice})
    elif event.kind == "epoch_finished":
        score = value_text(session.metric, signed(session.metric, event.payload["value"]))
        session.watch({"kind": "epoch", "epoch": event.payload["epoch"], "score": score, **notice})
    elif event.kind == "trial_failed":
        session.watch({"kind": "trial_failed", "why": trial.why, **notice})
    elif event.kind in ("trial_paused", "trial_skipped"):
        session.watch({"kind": "trial_stopped", **notice})
    elif event.kind == "trial_finished":
        own = [t for t in session.done() if t.config["candidate"] == trial.config["candidate"]]
        score = value_text(session.metric, signed(session.metric, worth(trial)))
        best = best_of(session) or trial
        session.watch(
            {
                "kind": "trial_finished",
                "score": score,
                "seconds": trial.cost_seconds,
                "is_best": best.id == trial.id,
                "is_candidates_best": bool(own) and own[0].id == trial.id,
                "best": value_text(session.metric, signed(session.metric, worth(best))),
                "best_candidate": best.config["candidate"],
                **notice,
            }
        )


def command_line(request: Request) -> list[str]:
    """The words that begin this run, for the report; another program's own words are not among them."""
    program = Path(sys.argv[0])
    if program.name == "thrifty" or program.parts[-2:] == ("thrifty", "__main__.py"):
        return ["thrifty", *sys.argv[1:]]
    return ["thrifty", request.command, request.data, "--minutes", f"{request.minutes:g}"]
