"""What a run found, gathered for the report; written as report.json, report.html and the artifact's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.automl.contrasts import augmentation_of
from thrifty.automl.members import mixed
from thrifty.automl.session import Session
from thrifty.core.files import read_json, replacing, write_json
from thrifty.core.run_directory import RunDirectory
from thrifty.core.version import VERSION
from thrifty.data import describe
from thrifty.evaluation import examples, page
from thrifty.evaluation import report as reports
from thrifty.evaluation.decisions import probabilities_of
from thrifty.evaluation.findings import (
    ArtifactFinding,
    BadRowFinding,
    CandidateFinding,
    ColumnFinding,
    Findings,
    LimitFinding,
    MemberFinding,
    Part,
    TrialFinding,
)
from thrifty.evaluation.slices import slicings_of
from thrifty.execution.resources import machine
from thrifty.exporting.artifact import write_card
from thrifty.exporting.measure import size_bytes
from thrifty.recipe import from_json
from thrifty.tuning.policies.ladder import value_of
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.automl.handover import Result

INTERVAL_SECONDS = 2.0
SLICE_SECONDS = 0.5
EXAMPLE_SECONDS = 1.0
TRAINED: Mapping[str, str] = {"text_finetune": "text", "image_finetune": "image", "audio_finetune": "speech"}


def write_report(session: Session, result: Result, stopped: str) -> dict[str, Any]:
    """Builds the report, writes it beside the artifact, and returns what report.json holds."""
    hurry = session.interruption.number is not None
    seconds = 0.5 if hurry else max(0.3, min(INTERVAL_SECONDS, session.clock.left() - 0.5))
    findings = _findings(session, result, stopped)
    report = reports.build(findings, seconds)
    write_card(session.directory.artifact, _card(report))
    _weigh(session, result, report)
    report["budget_seconds"] = round(session.spent_before_seconds + (session.clock.budget_seconds or 0.0), 3)
    report["spent_seconds"] = round(session.spent_before_seconds + session.clock.elapsed(), 3)
    write_json(session.directory.report, report)
    write_page(session.directory, report, None if hurry else _examples(session, result, findings))
    return report


def _weigh(session: Session, result: Result, report: dict[str, Any]) -> None:
    """Weighs the artifact, now that its card is there, and holds it against the limit."""
    report["artifact"]["size_bytes"] = result.size_bytes = size_bytes(session.directory.artifact)
    most = session.request.max_size_mb
    if most is not None:
        megabytes = result.size_bytes / 1e6
        result.limits["max_size_mb"] = LimitFinding(most, megabytes, megabytes <= most)
        report["limits"]["max_size_mb"] = dict(vars(result.limits["max_size_mb"]))
        if not result.limits_met:
            report["stopped_because"] = "limits"


def _examples(session: Session, result: Result, findings: Findings) -> dict[str, Any] | None:
    """The worst errors and examples of each kind of error, of the test part where there is one."""
    part = findings.test or findings.validation
    rows = session.dataset.splits.validation_rows if findings.test is None else result.test_rows
    seconds = min(EXAMPLE_SECONDS, session.clock.left())
    if part is None or rows is None or seconds <= 0.2:
        return None
    meanings = {name: str(meaning) for name, meaning in session.dataset.schema.inputs.items()}
    kept = rows
    return examples.gather(
        session.task, part, session.dataset.schema.classes, lambda places: session.dataset.columns(kept[places]),
        meanings, findings.decision, origin_of=lambda place: session.dataset.origin_text(int(kept[place])),
        seconds=seconds,
    )  # fmt: skip


def write_page(directory: RunDirectory, report: dict[str, Any], shown: dict[str, Any] | None) -> None:
    """Writes report.html, whole or not at all."""
    with replacing(directory.page) as temporary:
        temporary.write_text(page.html(report, shown), encoding="utf-8")


def _findings(session: Session, result: Result, stopped: str) -> Findings:
    request, dataset, splits = session.request, session.dataset, session.dataset.splits
    rounds = splits.rounds()
    members = result.choice.members
    validation_rows = splits.validation_rows
    told = describe.describe(dataset, session.findings)

    return Findings(
        name=session.directory.path.name,
        run=str(session.directory.path),
        version=VERSION,
        task=session.task,
        target=dataset.schema.target,
        metric=session.metric,
        metric_reason=session.metric_reason,
        budget_seconds=session.clock.budget_seconds,
        spent_seconds=session.spent_before_seconds + session.clock.elapsed(),
        stopped_because=stopped,
        num_rows={
            "train": len(splits.development_rows) if len(rounds) > 1 else len(rounds[0][0]),
            "validation": len(validation_rows),
            "test": len(splits.test_rows),
        },
        columns=[
            ColumnFinding(c.name, str(c.meaning), c.reason, c.num_missing, c.num_distinct)
            for c in dataset.schema.columns
        ],
        candidates=_candidates(session, stopped),
        best=str(session.study.trial(members[0].trial).config["candidate"]) if len(members) == 1 else "ensemble",
        classes=dataset.schema.classes,
        class_counts=session.class_counts(),
        bad_rows=[BadRowFinding(b.file, b.row, b.reason, b.column or None) for b in session.findings.bad_rows],
        num_bad_rows=len(session.findings.bad_rows),
        problems=[problem.partition("\n")[0] for problem in told.problems],
        members=[
            MemberFinding(str(session.study.trial(m.trial).config["candidate"]), m.trial, m.weight, m.temperature)
            for m in members
        ],
        temperature=result.choice.temperature,
        decision=result.decision.decision if result.decision else None,
        decision_reason=result.decision.why if result.decision else "",
        validation=_validation(session, result),
        test=_test(session, result),
        artifact=ArtifactFinding(
            path=str(session.directory.artifact),
            size_bytes=result.size_bytes,
            precision=result.precision,
            latency_p50_ms=result.latency.p50 if result.latency else None,
            latency_p95_ms=result.latency.p95 if result.latency else None,
            parity=result.parity,
            threads=request.threads,
            pretrained=_pretrained(session, result),
            int8=result.int8,
        ),
        importance=result.importance,
        augmentation=augmentation_of(session, hurry=stopped == "interrupted"),
        symmetries=session.symmetries,
        limits=result.limits,
        environment=machine(),
        phases=session.phases,
        command=request.words,
        seed=request.seed,
        folds=len(rounds) if len(rounds) > 1 else None,
        started=_when(session.clock.started),
        notes=[*session.notes, *_cached(session)],
    )


def _cached(session: Session) -> list[str]:
    """Says so when what earlier runs computed made this one cheaper."""
    if not any((trial.extra.get("notes") or {}).get("found_older") for trial in session.study.trials):
        return []
    return [
        f"features that an earlier run computed were found in {session.cache}: with --no-cache the same run "
        "takes longer"
    ]


def _when(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _slicings(session: Session, rows: np.ndarray) -> list[Any]:
    columns = session.dataset.columns(rows)
    meanings = {name: str(meaning) for name, meaning in session.dataset.schema.inputs.items()}
    return slicings_of(columns, meanings, SLICE_SECONDS)


def _validation(session: Session, result: Result) -> Part:
    choice = result.choice
    plain = sum(m.weight * probabilities_of(session.task, session.validation_scores(m.trial)) for m in choice.members)
    honest = result.honest_outputs
    outputs = mixed(session, choice.members, choice.temperature) if honest is None else honest
    return Part(
        y=session.y_validation,
        outputs=outputs,
        weights=session.weights_validation,
        groups=session.dataset.groups(session.dataset.splits.validation_rows),
        uncalibrated=None if session.task == "regression" else np.asarray(plain),
        slicings=[] if result.test_rows is not None else _slicings(session, session.dataset.splits.validation_rows),
        answers=None if result.decision is None else result.decision.answers(outputs),
    )


def _test(session: Session, result: Result) -> Part | None:
    if result.test_rows is None or result.test_outputs is None:
        return None
    rows, outputs = result.test_rows, result.test_outputs
    return Part(
        y=session.dataset.targets(rows),
        outputs=outputs[:, 0] if session.task == "regression" else outputs,
        weights=session.dataset.weights(rows),
        groups=session.dataset.groups(rows),
        uncalibrated=None if session.task == "regression" else result.test_uncalibrated,
        slicings=_slicings(session, rows),
    )


def _candidates(session: Session, stopped: str) -> list[CandidateFinding]:
    times = _times(session)
    not_tried = "not worth its time" if stopped == "converged" else "no time for it"
    tried = {t.config.get("candidate") for t in session.study.trials}
    skipped = {name: why for name, why in session.plan.skipped.items() if name not in tried}  # by earlier sittings
    found = []
    for name in [*session.plan.planned, *(name for name in session.plan.skipped if name not in skipped)]:
        trials = [t for t in session.study.trials if t.config.get("candidate") == name]
        values = [t for t in trials if t.state is State.DONE and value_of(t) is not None]
        if values:
            status, reason = "done", f"{len(values)} trial{'s' * (len(values) != 1)}"
        elif any(t.state is State.FAILED for t in trials):
            status, reason = "failed", next(t.why for t in trials if t.state is State.FAILED)
        elif trials:
            status, reason = "skipped", "it was not finished when the search ended"
        else:
            status, reason = "skipped", not_tried
        found.append(CandidateFinding(name, status, reason, [_trial(t, times) for t in trials]))
    found += [CandidateFinding(name, "skipped", reason) for name, reason in skipped.items()]
    return found


def _times(session: Session) -> dict[int, tuple[float, float]]:
    """When each trial began and ended, in seconds since the run began."""
    times: dict[int, tuple[float, float]] = {}
    for event in session.study.events():
        if event.trial is None:
            continue
        if event.kind in ("trial_started", "trial_continued"):
            times[event.trial] = (event.time_seconds, event.time_seconds)
        elif event.kind.startswith("trial_") and event.trial in times:
            times[event.trial] = (times[event.trial][0], event.time_seconds)
    return times


def _trial(trial: Trial, times: Mapping[int, tuple[float, float]]) -> TrialFinding:
    began, ended = times.get(trial.id, (0.0, 0.0))
    status = {State.DONE: "done", State.FAILED: "failed"}.get(trial.state, "stopped")
    curve = [] if None in trial.values else [v for v in trial.values[:-1] if v is not None]  # of every epoch, or none
    value = value_of(trial) if trial.state is State.DONE else None
    return TrialFinding(
        trial.id, status, value, began, ended, trial.cost_seconds, trial.config, curve,
        trial.why if trial.state in (State.FAILED, State.SKIPPED) else "", trial.extra.get("notes") or {},
    )  # fmt: skip


def _pretrained(session: Session, result: Result) -> list[dict[str, Any]]:
    """The cards of the pretrained weights in the members."""
    from thrifty.models.weights import KINDS, Kind, find

    kinds: set[tuple[Kind, str | None]] = set()
    for member in result.choice.members:
        recipe = from_json(read_json(session.directory.trial(member.trial) / "recipe.json"))
        for kind in KINDS:
            if f"{kind}_embedding" in recipe.preparation.blocks or TRAINED.get(recipe.model.kind) == kind:
                kinds.add((kind, recipe.preparation.backbone(kind)))
    found = (find(kind, folder) for kind, folder in sorted(kinds, key=str))
    return [weights.card() for weights in found if weights is not None]


def _card(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the artifact's card says: the task, measured figures, how it was made, whose weights are in it."""
    artifact = report["artifact"]
    return {
        "title": f"Predicts {report['target']}",
        "thrifty": report["version"],
        "task": report["task"],
        "target": report["target"],
        "metric": report["metric"],
        "test": report["test"],
        "validation": report["validation"],
        "rows": report["data"]["rows"],
        "members": [{k: m[k] for k in ("candidate", "weight", "temperature")} for m in report["members"]],
        "temperature": report["temperature"],
        "precision": artifact["precision"],
        "latency_ms": artifact["latency_ms"],
        "parity": artifact["parity"],
        "int8": artifact.get("int8"),
        "pretrained": artifact.get("pretrained", []),
        "environment": report["environment"],
        "made": report["started"],
    }
