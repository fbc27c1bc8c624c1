"""From finished trials to what the user gets: members, refit, artifact, checks, test figures, report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thrifty.automl.compression import try_int8
from thrifty.automl.ensemble import Member, single
from thrifty.automl.members import Choice, Library, choose, excess, fits_limits, honest_outputs, mixed
from thrifty.automl.plan import NETWORK_OVERHEAD_SECONDS
from thrifty.automl.request import LIMITS_NOT_MET
from thrifty.automl.session import Session
from thrifty.automl.students import lesson_of, told_of
from thrifty.core.files import read_json
from thrifty.engines.trial import PARITY_ROWS, parity_rows
from thrifty.evaluation.calibration import Tuned, tune_decision
from thrifty.evaluation.decisions import probabilities_of, tempered
from thrifty.evaluation.findings import ImportanceFinding, LimitFinding, Part
from thrifty.evaluation.importance import FEWEST_ROWS, MOST_ROWS, permutation_importance
from thrifty.execution.job import Ended
from thrifty.exporting import artifact as artifacts
from thrifty.exporting import measure, verify
from thrifty.runtime.graph import Graph
from thrifty.runtime.predictor import Predictor
from thrifty.tuning.policies.ladder import Refit, again_seconds
from thrifty.tuning.policies.student import Lesson
from thrifty.tuning.trial import Trial

MOST_REFIT_SHARE = 0.4  # of the budget
SMALL_REFIT_SHARE = 0.2  # of the budget, that is kept for a refit whatever else could be had for it
ROWS_POWER = 0.3  # of the number of rows, by which errors fall (.07 to .35 in https://arxiv.org/abs/1712.00409)
ALL_CORES = 0.65  # of its seconds, that a fit which had one core takes on all of them
HURRY_SECONDS = 6.0  # for everything after an interruption
STOP_SECONDS = 2.0  # until a job that was killed is gone
REPORT_SECONDS = 1.5
MEASURE_SECONDS = 1.0
TEST_BATCH = 256
TIMED_ROWS = (8, 64)  # the first also warm up; they alone are timed where they take longer than
TIMED_SECONDS = 0.3
ALONE_ROWS = 8
IMPORTANCE_SHARE = 0.05  # of what the run took so far, for what the columns are worth
LESSON_SHARE = 0.01  # of the time left, that looking for who could be taught may take


@dataclass
class Result:
    """What was handed over and what was measured of it."""

    choice: Choice
    decision: Tuned | None = None
    precision: str = "float32"
    size_bytes: int = 0
    latency: measure.Latency | None = None
    parity: dict[str, Any] | None = None
    int8: dict[str, Any] | None = None
    limits: dict[str, LimitFinding] = field(default_factory=dict)
    test_rows: np.ndarray | None = None
    test_outputs: np.ndarray | None = None
    test_uncalibrated: np.ndarray | None = None
    honest_outputs: np.ndarray | None = None
    importance: Sequence[ImportanceFinding] = ()

    @property
    def limits_met(self) -> bool:
        return all(limit.kept for limit in self.limits.values())


def excess_of(session: Session, trial: int) -> float:
    """How many times its limits the model of a trial takes; 0 without limits, and where it has no model."""
    if not session.is_limited or not (session.model_of(trial) / "model.json").exists():
        return 0.0
    return excess(session, [_library(session).scale(trial)])


def best_of(session: Session) -> Trial | None:
    """The best trial that keeps the limits; where none does, the nearest to them."""
    return min(session.done(), key=lambda trial: max(1.0, excess_of(session, trial.id)), default=None)


def lessons(session: Session) -> Callable[[bool], Lesson | None]:
    """Says who could be taught by whom; told whether the search is idle, for before it looks under limits alone.

    It looks again when a trial has ended, unless that takes too much of the time that is left.
    """
    found: Lesson | None = None
    of, took = -1, 0.0

    def lesson(idle: bool) -> Lesson | None:
        nonlocal found, of, took
        if not (idle or session.is_limited):
            return None
        done = len(session.done())
        if of != done and took <= LESSON_SHARE * session.search_clock.left():
            began = time.perf_counter()
            found, of = lesson_of(session, _library(session)), done
            took = time.perf_counter() - began
        return found

    return lesson


def keep_best(session: Session, trial: int | None) -> None:
    """Puts the trial's model in place as the artifact when it is the best so far that keeps the limits."""
    if trial is None or all(t.id != trial for t in session.done()):
        return
    session.search_clock.has_model = True
    _time_rows(session, trial)
    best = best_of(session)
    if best is not None and best.id == trial:
        choice = Choice(single(_library(session).scored(trial)))
        write_artifact(session, choice, _decision(session, choice))


def take_up(session: Session) -> None:
    """Tells the search's clock of the models that an earlier sitting left, and what a row costs through the best."""
    for trial in session.done():
        session.search_clock.has_model = True
        _time_rows(session, trial.id)


def _time_rows(session: Session, trial: int) -> None:
    """Measures what a raw row costs through the first model of each candidate, and what the end of the run needs."""
    candidate = str(session.study.trial(trial).config["candidate"])
    if candidate in session.row_seconds:
        return
    graph = Graph.load(session.model_of(trial), threads=session.facts.cores)
    for most in TIMED_ROWS:
        rows = session.dataset.splits.validation_rows[:most]
        began = time.perf_counter()
        graph.scores(session.dataset.columns(rows), len(rows))
        took = time.perf_counter() - began
        session.row_seconds[candidate] = took / max(1, len(rows))
        if took > TIMED_SECONDS:
            break
    _reserve(session, 1.3 * max(session.row_seconds.values()))


def _library(session: Session) -> Library:
    """The session's library of scored trials."""
    if session.library is None:
        session.library = Library(session)
    return session.library


def _reserve(session: Session, row_seconds: float) -> None:
    """What to keep for the end: exporting, checks, the test part, the report."""
    budget = session.clock.budget_seconds or 0.0
    test = min(0.15 * budget, 2.0 * row_seconds * len(session.dataset.splits.test_rows))
    checks = min(0.15 * budget, 1.5 * PARITY_ROWS * row_seconds)
    int8 = min(0.04 * budget, 2.0 + 300 * row_seconds)
    importance = min(0.03 * budget, 0.5 + 500 * row_seconds) if len(session.dataset.schema.inputs) > 1 else 0.0
    session.search_clock.reserve_seconds = 1.0 + REPORT_SECONDS + 0.02 * budget + test + checks + int8 + importance


def hand_over(session: Session, stopped: str) -> tuple[int, dict[str, Any]]:
    """Finishes the run: everything that comes after the search. Returns the exit code and the report."""
    from thrifty.automl.reporting import write_report

    session.stage("choosing the model")
    ends = time.monotonic() + HURRY_SECONDS

    def left() -> float:
        """Seconds for what is still to do before the report."""
        if session.interruption.number is not None:
            return ends - time.monotonic()
        return session.clock.left() - REPORT_SECONDS

    began = session.clock.elapsed()
    library = _library(session)
    if session.interruption.number is None:
        library.time_again(0.1 * left())
    choice = choose(session, library)
    session.notes += told_of(session)
    result = Result(choice)
    result.decision = _decision(session, choice)
    result.honest_outputs = honest_outputs(session, library, lambda: min(2.0, 0.3 * left()))
    _refit(session, library, choice.members, left)
    session.phases["refit"] = round(session.clock.elapsed() - began, 3)
    began = session.clock.elapsed()
    session.stage("exporting")
    write_artifact(session, choice, result.decision)
    row_seconds = session.seconds_of_row(m.trial for m in choice.members)
    _check(session, result, 0.4 * left(), row_seconds)
    if session.interruption.number is None:
        _compress(session, result, row_seconds, left)
    _measure(session, result, seconds=min(1.0, max(0.2, 0.1 * left())))
    session.phases["export"] = round(session.clock.elapsed() - began, 3)
    began = session.clock.elapsed()
    if len(session.dataset.splits.test_rows):
        session.stage("scoring the test part")
        _score_test(session, result, left)
    session.phases["test"] = round(session.clock.elapsed() - began, 3)
    began = session.clock.elapsed()
    if session.interruption.number is None:
        _weigh_columns(session, result, row_seconds, min(IMPORTANCE_SHARE * session.clock.elapsed(), left() - 0.5))
        session.phases["importance"] = round(session.clock.elapsed() - began, 3)
    stopped = stopped if result.limits_met else "limits"
    report = write_report(session, result, stopped)
    shutil.rmtree(session.directory.path / "cache", ignore_errors=True)
    session.study.record("run_finished", stopped_because=report["stopped_because"])
    return (0 if result.limits_met else LIMITS_NOT_MET), report


def _decision(session: Session, choice: Choice) -> Tuned | None:
    """How the mixed probabilities become classes, where the metric gains by it."""
    if session.task == "regression":
        return None
    outputs = mixed(session, choice.members, choice.temperature)
    tuned = tune_decision(session.metric, session.task, session.y_validation, outputs, session.weights_validation)
    return tuned if tuned.decision is not None else None


def write_artifact(session: Session, choice: Choice, decision: Tuned | None) -> None:
    """Assembles the members' models into the artifact folder, whole or not at all."""
    parts = [artifacts.Member(session.model_of(m.trial), m.weight, m.temperature) for m in choice.members]
    artifacts.assemble(
        parts,
        session.dataset.schema,
        session.directory.artifact,
        temperature=choice.temperature,
        decision=None if decision is None or decision.decision is None else decision.decision.to_json(),
        threads=session.request.threads,
        positive=session.positive,
        metric=session.metric,
    )
    trials = [m.trial for m in choice.members]
    session.study.record("artifact_written", trials[0], trials=trials)


# ---- refit


def refit_to_come(session: Session) -> Refit:
    """What fitting the best that keeps the limits again on all rows takes and brings; nothing where that is too much.

    The seconds of a network, which takes what it was allotted, and many seconds of any other are kept from trials that
    bring less alone.
    """
    best = best_of(session)
    if best is None or len(session.dataset.splits.rounds()) > 1 or session.has_refit(best.id):
        return Refit()
    candidate = session.candidate_of(best)
    seconds = _refit_seconds(session, best)
    budget = session.clock.budget_seconds or 0.0
    if seconds > min(MOST_REFIT_SHARE * budget, session.search_clock.left()):
        return Refit()
    gain = 1.0 - session.grown**-ROWS_POWER
    always = not candidate.prior(session.facts).elastic and seconds <= SMALL_REFIT_SHARE * budget
    return Refit(seconds, gain, always)


def _refit_seconds(session: Session, trial: Trial) -> float:
    """What a fit on all development rows takes, on all cores, with a little to spare.

    A network is not trained beyond the epoch that was chosen, and no other model with settings that were not. What the
    cache keeps is not computed again; what a student's teachers answer is.
    """
    found, notes = _chosen(session, trial), trial.extra.get("notes", {})
    share = found["stop_epoch"] / found["epochs"] if found.get("stop_epoch") and found.get("epochs") else 1.0
    teachers = notes.get("teachers_seconds", 0.0)
    cost = again_seconds(trial) - teachers
    seconds = min(cost, NETWORK_OVERHEAD_SECONDS + share * cost) + teachers
    seconds -= notes.get("others_seconds", 0.0)
    alone = not session.candidate_of(trial).all_cores and session.executor.cores > 1
    return 1.15 * session.grown * seconds * (ALL_CORES if alone else 1.0)


def _chosen(session: Session, trial: Trial) -> dict[str, Any]:
    path = session.directory.trial(trial.id) / "chosen.json"
    return read_json(path) if path.exists() else {}


def _refit(session: Session, library: Library, members: Sequence[Member], left: Callable[[], float]) -> None:
    """Fits the members again on train and validation rows together, the weightiest first, while there is time.

    A network for whose epochs there is no time makes as many steps as before, on the more rows. A model that grew by it
    until a limit breaks that was kept before is taken away again.
    """
    if len(session.dataset.splits.rounds()) > 1:
        return  # with cross-validation every model was fitted on all rows
    spare = _end_seconds(session)
    for member in sorted(members, key=lambda m: -m.weight):
        trial = session.study.trial(member.trial)
        if session.interruption.number is not None:
            return
        if session.has_refit(trial.id):  # of an earlier sitting
            continue
        seconds = _refit_seconds(session, trial)
        shares = (1.0, 1.0 / session.grown) if "epochs" in _chosen(session, trial) else (1.0,)
        share = next((share for share in shares if share * seconds + spare < left()), None)
        if share is not None:
            session.stage("fitting again on all rows")
            kept_before = fits_limits(session, library.scales(members))
            _refit_one(session, trial, lambda: left() - spare, share)
            if kept_before and not fits_limits(session, library.scales(members)):
                session.notes.append(
                    f"trial {trial.id} breaks a limit when fitted again on all rows: it stays as it was"
                )
                shutil.rmtree(session.directory.trial(trial.id) / "refit", ignore_errors=True)


def _refit_one(session: Session, trial: Trial, left: Callable[[], float], share: float = 1.0) -> None:
    """Fits one trial again, for that share of a network's epochs.

    What did not end in time, or was cut short of what was chosen, is taken away.
    """
    given = left()
    handle = session.executor.submit(session.refit_job(trial, given, share))
    ended = None
    while ended is None and session.interruption.number is None and left() > 0:
        ended = _wait_for(session, handle, min(0.5, max(0.0, left())))
    if ended is not None and ended.outcome == "done" and ended.seconds <= given - 1.0:
        return
    if ended is None:
        session.executor.stop(handle, 0.0)
        _wait_for(session, handle, STOP_SECONDS)  # or it would write into what is taken away
    why = (ended and ended.why) or "no time"
    session.notes.append(f"trial {trial.id} was not fitted again on all rows: {why}")
    shutil.rmtree(session.directory.trial(trial.id) / "refit", ignore_errors=True)


def _wait_for(session: Session, handle: int, seconds: float) -> Ended | None:
    """How a job ended, None where that takes longer."""
    until = time.monotonic() + seconds
    while True:
        for update in session.executor.wait(max(0.0, until - time.monotonic())):
            if isinstance(update, Ended) and update.handle == handle:
                return update
        if time.monotonic() >= until:
            return None


def _end_seconds(session: Session) -> float:
    """What is kept for the end after a refit."""
    return max(2.0, session.search_clock.reserve_seconds - REPORT_SECONDS)


# ---- checks and measures


def _check(session: Session, result: Result, seconds: float, row_seconds: float) -> None:
    """Compares the artifact, from raw rows, with what the trained models said of them; of fewer rows in a hurry."""
    parts = []
    for member in result.choice.members:
        path = session.model_of(member.trial).parent / "parity.npy"
        if not path.exists():
            return
        scores = np.load(path, allow_pickle=False)
        parts.append(member.weight * probabilities_of(session.task, scores, member.temperature))
    expected = tempered(session.task, np.asarray(sum(parts)), result.choice.temperature)
    rows = parity_rows(session.dataset.splits)
    most = max(8, min(len(rows), int(seconds / max(row_seconds, 1e-6)) - ALONE_ROWS))
    expected, rows = expected.reshape(len(rows), -1)[:most], rows[:most]
    predictor = Predictor.load(session.directory.artifact, threads=session.facts.cores)
    found = verify.parity(predictor, expected, session.dataset.columns(rows), batch_sizes=(64,), alone=ALONE_ROWS)
    result.parity = found.to_json()


def _compress(session: Session, result: Result, row_seconds: float, left: Callable[[], float]) -> None:
    """Tries int8 in what the test part leaves of the time; an artifact that is int8 now is checked again as such."""
    num_test = len(session.dataset.splits.test_rows)
    spare = min(0.15 * (session.clock.budget_seconds or 0.0), row_seconds * num_test) + MEASURE_SECONDS
    decision = None if result.decision is None else result.decision.decision
    held_out = mixed(session, result.choice.members, result.choice.temperature)
    result.int8 = try_int8(session, held_out, decision, row_seconds, lambda: left() - spare)
    if result.int8 is not None and result.int8["kept"]:
        result.precision = "int8"
        _check(session, result, 0.4 * left(), row_seconds)


def _measure(session: Session, result: Result, seconds: float) -> None:
    """Times single raw rows, and compares with the limits of latency and loss."""
    predictor = Predictor.load(session.directory.artifact, threads=session.request.threads)
    rows = session.raw_rows(parity_rows(session.dataset.splits)[:64])
    result.latency = measure.latency(predictor, rows, seconds=seconds)
    request = session.request
    if request.max_latency_ms is not None:
        kept = result.latency.p50 <= request.max_latency_ms
        result.limits["max_latency_ms"] = LimitFinding(request.max_latency_ms, result.latency.p50, kept)
    loss = 0.0 if result.int8 is None or not result.int8.get("kept") else float(result.int8["loss"])
    result.limits["max_accuracy_loss"] = LimitFinding(
        request.max_accuracy_loss, loss, loss <= request.max_accuracy_loss
    )


def _weigh_columns(session: Session, result: Result, row_seconds: float, seconds: float) -> None:
    """Measures what each column is worth: on test rows, or where there are none on those that were learned from."""
    rows = session.dataset.splits.validation_rows if result.test_rows is None else result.test_rows
    meanings = {name: str(meaning) for name, meaning in session.dataset.schema.inputs.items()}
    num_rows = min(len(rows), MOST_ROWS, int(0.5 * seconds / max(row_seconds, 1e-6)))
    if len(meanings) < 2 or num_rows < FEWEST_ROWS:
        return
    session.stage("weighing the columns")
    ends = session.clock.elapsed() + seconds
    predictor = Predictor.load(session.directory.artifact, workers=session.facts.cores)
    rows = np.sort(np.random.default_rng(session.request.seed).permutation(rows)[:num_rows])
    values = predictor.shuffler(session.dataset.columns(rows), num_rows)

    def shuffled(names: Sequence[str], order_N: np.ndarray) -> np.ndarray:
        outputs = values(names, order_N)
        return outputs[:, 0] if session.task == "regression" else outputs

    part = Part(
        session.dataset.targets(rows), shuffled((), np.arange(num_rows)), session.dataset.weights(rows),
        session.dataset.groups(rows),
    )  # fmt: skip
    result.importance = permutation_importance(
        shuffled, meanings, part, session.task, session.metric,
        decision=None if result.decision is None else result.decision.decision, positive=session.positive,
        seconds=ends - session.clock.elapsed(), seed=session.request.seed,
    )  # fmt: skip


def _score_test(session: Session, result: Result, left: Any) -> None:
    """Runs the artifact on the raw rows of the test part: all of them, or as many (at random) as there is time for."""
    predictor = Predictor.load(session.directory.artifact, workers=session.facts.cores)
    rows = session.dataset.splits.test_rows
    order = np.random.default_rng(session.request.seed).permutation(rows)
    outputs: list[np.ndarray] = []
    uncalibrated: list[np.ndarray] = []
    done = 0
    longest = 0.0
    while done < len(order) and (done == 0 or left() > 1.2 * longest):
        batch = order[done : done + TEST_BATCH]
        began = time.perf_counter()
        values, plain = predictor.calibration(session.dataset.columns(batch), len(batch))
        longest = max(longest, time.perf_counter() - began)
        outputs.append(values)
        uncalibrated.append(plain)
        done += len(batch)
    if done < len(order):
        session.notes.append(f"the test figures are of {done} of {len(order)} test rows, drawn at random: time ran out")
    kept = order[:done]
    sort = np.argsort(kept)
    result.test_rows = kept[sort]
    result.test_outputs = np.concatenate(outputs)[sort]
    result.test_uncalibrated = np.concatenate(uncalibrated)[sort]
