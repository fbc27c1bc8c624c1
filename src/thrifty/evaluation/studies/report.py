"""What a study found, gathered from its store: the content of its report.json."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from thrifty.core.events import Event
from thrifty.core.version import VERSION
from thrifty.execution.resources import machine
from thrifty.tuning.ended import nothing_left
from thrifty.tuning.policies.racing import Racing
from thrifty.tuning.policy import Policy
from thrifty.tuning.scalarisation import Scalarised
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

LEARNING = ("FreezeThaw", "Bayesian")  # policies with a model of curves or values


def build(study: Study, folder: Path, command: Sequence[str] = ()) -> dict[str, Any]:
    """The report as plain JSON values. folder: where the study is kept. command: what was typed."""
    times, spent, stopped = _from_events(study)
    importance = study.importance() if study.space is not None else None
    best = study.best

    def known(trial: Trial) -> bool:
        return study.value_of(trial) is not None

    return {
        "format": 1,
        "kind": "study",
        "version": VERSION,
        "name": folder.name,
        "folder": str(folder),
        "command": list(command),
        "written": time.strftime("%Y-%m-%d %H:%M:%S"),
        "metric": study.metric,
        "direction": study.direction,
        "max_epochs": study.max_epochs,
        "repeats": study.repeats,
        "seed": study.seed,
        "policy": type(_policy(study)).__name__,
        "space": None if study.space is None else study.space.to_json(),
        "metrics": list(study.goals.metrics),
        "directions": list(study.goals.directions),
        "limits": [str(limit) for limit in study.goals.limits],
        "best": None if best is None else asdict(best),
        "front": [asdict(point) for point in study.front] if len(study.goals.metrics) > 1 else [],
        "num_trials": study.num_trials,
        "states": {s.value: n for s in State if (n := sum(t.state is s for t in study.trials))},
        "epochs_spent": study.epochs_spent,
        "spent_seconds": spent,
        "cost_seconds": round(sum(t.cost_seconds for t in study.trials), 3),
        "stopped_because": stopped,
        "nothing_left": nothing_left(study),
        "steps": _steps(study),
        "importance": None if importance is None else _importance(importance),
        "beliefs": _beliefs(study),
        "lineage": [] if best is None else _lineage(study, study.trial(best.trial)),
        "ranking": [t.id for t in sorted(filter(known, study.trials), key=study.rank_of)],
        "trials": [_trial(study, t, times.get(t.id)) for t in study.trials],
        "environment": machine(),
    }


def _trial(study: Study, trial: Trial, when: tuple[float, float] | None) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "state": str(trial.state),
        "config": trial.config,
        "value": study.value_of(trial),
        "metrics": {} if study.goals.plain else study.metrics_of(trial),
        "keeps_limits": study.keeps_limits(trial),
        "epochs": None if study.max_epochs is None else trial.epoch,
        "values": list(trial.values),
        "standard_error": study.error_of(trial),
        "cost_seconds": round(trial.cost_seconds, 3),
        "started_seconds": when[0] if when else None,
        "ended_seconds": when[1] if when else None,
        "why": trial.why,
        "parent": None if trial.parent is None else trial.parent._asdict(),
        "extra": trial.extra,
    }


def _lineage(study: Study, trial: Trial) -> list[dict[str, Any]]:
    """Which epochs of a trial were trained with which configuration, where it began from another trial."""
    if trial.parent is None:
        return []
    return [
        {"trial": p.trial, "from_epoch": p.from_epoch, "until_epoch": p.until_epoch, "config": p.config}
        for p in study.lineage(trial.id)
    ]


def _from_events(study: Study) -> tuple[dict[int, tuple[float, float]], float, str | None]:
    """When each trial first began and last ended, the seconds of the search, and why it ended."""
    times: dict[int, tuple[float, float]] = {}
    last, stopped = 0.0, None
    for event in study.events():
        last = event.time_seconds if event.kind != "study_continued" else last
        if event.kind == "search_finished":
            stopped = str(event.payload.get("why"))
        elif event.trial is not None:
            times[event.trial] = (times.get(event.trial, (event.time_seconds, 0.0))[0], event.time_seconds)
    return times, last, stopped


def _steps(study: Study) -> list[dict[str, Any]]:
    """Each improvement of the best value: the trial, and what had been spent by then.

    None with several metrics or repeats.
    """
    if len(study.goals.metrics) > 1 or study.repeats > 1:
        return []
    steps: list[dict[str, Any]] = []
    best, epochs, epoch_of = math.inf, 0, dict[int, int]()
    for event in study.events():
        with_epochs = study.max_epochs is not None
        if event.trial is None or event.kind not in (
            ("epoch_finished", "trial_finished", "trial_paused") if with_epochs else ("trial_finished",)
        ):
            continue
        value = _best_told(study, event)
        parent, reached = study.trial(event.trial).parent, int(event.payload.get("epoch", 1))
        before = epoch_of.get(event.trial, 0 if parent is None else parent.epoch)
        epochs += max(0, reached - before)
        epoch_of[event.trial] = max(reached, before)
        if value is not None and study.score(value) < best:
            best = study.score(value)
            steps.append({"trial": event.trial, "value": value, "spent": epochs, "seconds": event.time_seconds})
    return steps


def _best_told(study: Study, event: Event) -> float | None:
    """The best value that an event tells of and that keeps the limits."""
    told = event.payload
    if study.max_epochs is not None and event.kind != "epoch_finished":
        return told.get("best", None if study.goals.limits else told.get("value"))
    row = {study.metric: told["value"], **told.get("metrics", {})} if "value" in told else {}
    return None if not row or any(study.goals.violations(row)) else row[study.metric]


def _policy(study: Study) -> Policy:
    """The policy that the user chose, which may be asked about one number for several metrics, or about means."""
    return study.policy.policy if isinstance(study.policy, (Scalarised, Racing)) else study.policy


def _importance(found: Any) -> dict[str, Any]:
    return {
        "shares": dict(found), "low": found.low, "high": found.high, "explained": found.explained, "why": found.why,
    }  # fmt: skip


def _beliefs(study: Study) -> list[dict[str, Any]]:
    """What a model of the curves believed, where the policy had one."""
    if study.space is None or type(study.policy).__name__ not in LEARNING or find_spec("scipy") is None:
        return []
    from thrifty.tuning.belief import beliefs_of

    return [asdict(belief) for belief in beliefs_of(study)]
