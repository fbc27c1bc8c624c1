"""Which trials become the artifact: an ensemble of what keeps the limits, which may be one alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thrifty.automl.ensemble import Member, Scale, Scored, select, single
from thrifty.automl.session import Session
from thrifty.core.seeds import generator
from thrifty.evaluation.calibration import temperature
from thrifty.evaluation.decisions import logits_of, tempered
from thrifty.tuning.policies.student import is_student

OVERHEAD_BYTES = 30_000  # of an artifact beside its model: manifest, card, requirements
LATENCY_ROWS = 12
MOST_BYTES = 1_000_000_000  # of outputs that are held in memory
FEWEST_HELD = 24  # trials
MOST_TIMED_AGAIN = 5
MOST_SLOWED = 3.0  # times as long as alone a model takes beside trials
NUM_PARTS = 5  # of the validation rows, for a figure of what was chosen on the others


@dataclass(frozen=True)
class Choice:
    """The members of the artifact.

    temperature: what the logits of several members' mean are divided by; each member has one of its own before that.
    """

    members: Sequence[Member]
    temperature: float = 1.0


class Library:
    """Finished trials with their calibrated outputs, sizes and latencies, each computed once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._scored: dict[int, Scored] = {}
        self._scales: dict[int, Scale] = {}

    def scored(self, trial: int) -> Scored:
        if trial not in self._scored:
            session = self.session
            scores = session.validation_scores(trial)
            heat = temperature(session.task, session.y_validation, scores, session.weights_validation)
            outputs = session.outputs(trial, heat)
            self._scored[trial] = Scored(
                trial=trial,
                predictions=outputs,
                value=session.judge()(outputs),
                temperature=heat,
                scale=self.scale(trial),
            )
        return self._scored[trial]

    def all(self) -> list[Scored]:
        """The best first, by their trials' values; of more than memory may hold, those that keep the limits first."""
        trials = [t.id for t in self.session.done()]
        if trials and len(trials) > (most := self._most(trials[0])):
            trials.sort(key=lambda trial: not fits_limits(self.session, [self.scale(trial)]))
            trials = trials[:most]
            self._scored = {trial: scored for trial, scored in self._scored.items() if trial in trials}
        return [self.scored(trial) for trial in trials]

    def _most(self, trial: int) -> int:
        """How many trials' outputs are held in memory at once."""
        return max(FEWEST_HELD, MOST_BYTES // max(1, self.scored(trial).predictions.nbytes))

    def time_again(self, seconds: float) -> None:
        """Times models again that were too slow while trials ran beside them: the best, until one keeps the limits.

        seconds: about how long that may take.
        """
        limit = self.session.request.max_latency_ms
        if limit is None:
            return
        for scored in sorted(self.all(), key=lambda s: -s.value)[:MOST_TIMED_AGAIN]:
            if fits_limits(self.session, [scored.scale]):
                return
            price = LATENCY_ROWS * scored.scale.latency_ms / 1000
            if scored.scale.latency_ms <= MOST_SLOWED * limit and price <= seconds:
                seconds -= price
                self._scales[scored.trial] = self._scale(scored.trial)
                self._scored[scored.trial] = replace(scored, scale=self._scales[scored.trial])

    def scales(self, members: Sequence[Member]) -> list[Scale]:
        """The members' models as they are on disk, refitted or not."""
        return [self._scale(member.trial) for member in members]

    def scale(self, trial: int) -> Scale:
        """What was measured of a trial's model before, or is measured now."""
        if trial not in self._scales:
            self._scales[trial] = self._scale(trial)
        return self._scales[trial]

    def _scale(self, trial: int) -> Scale:
        from thrifty.exporting.measure import size_bytes

        limited = self.session.request.max_latency_ms is not None
        size = size_bytes(self.session.model_of(trial)) + OVERHEAD_BYTES
        return Scale(size, self._latency(trial) if limited else 0.0)

    def _latency(self, trial: int) -> float:
        """Milliseconds of one raw row through the trial's model alone, the median of a few.

        On one thread its processor time counts: it may have to wait for a core that trials have.
        """
        from thrifty.runtime.graph import Graph

        session = self.session
        clock = time.thread_time if session.request.threads == 1 else time.perf_counter
        graph = Graph.load(session.model_of(trial), threads=session.request.threads)
        rows = session.dataset.splits.validation_rows[:LATENCY_ROWS]
        taken = []
        for row in rows:
            columns = session.dataset.columns(np.array([row]))
            began = clock()
            graph.scores(columns, 1)
            taken.append(clock() - began)
        return 1000 * float(np.median(taken))


def excess(session: Session, chosen: Sequence[Scale]) -> float:
    """How many times a limit trials take together, of the limit that they take the most of; 0 without limits."""
    request = session.request
    ratios = [0.0]
    if request.max_size_mb is not None:
        ratios.append(sum(s.size_bytes for s in chosen) / (request.max_size_mb * 1e6))
    if request.max_latency_ms is not None:
        ratios.append(sum(s.latency_ms for s in chosen) / request.max_latency_ms)
    return max(ratios)


def fits_limits(session: Session, chosen: Sequence[Scale]) -> bool:
    """Whether trials together are expected to keep the limits on size and latency."""
    return excess(session, chosen) <= 1.0


def choose(session: Session, library: Library) -> Choice:
    """The members to hand over. Where no trial keeps the limits, the one that comes nearest."""
    scored = library.all()
    fitting = [s for s in scored if fits_limits(session, [s.scale])]
    if not fitting:
        return Choice(single(min(scored, key=lambda s: excess(session, [s.scale]))))
    return _chosen(session, fitting)


@dataclass(frozen=True)
class Mix:
    """The best ensemble of some trials: its members, the temperature of their mean, and its outputs."""

    members: Sequence[Member]
    temperature: float
    outputs: np.ndarray


def mix_of(
    session: Session,
    scored: Sequence[Scored],
    fits: Callable[[Sequence[Scale]], bool],
    rows: np.ndarray | None = None,
) -> Mix:
    """What (some) validation rows, those that the trials' predictions are of, speak for."""
    members, _ = select(
        scored, lambda some: session.judge(some if rows is None else rows[some]), fits=fits, seed=session.request.seed
    )
    outputs = _mean({s.trial: s.predictions for s in scored}, members)
    heat = _warmth(session, outputs, rows) if len(members) > 1 else 1.0
    return Mix(members, heat, tempered(session.task, outputs, heat))


def _chosen(session: Session, scored: Sequence[Scored], rows: np.ndarray | None = None) -> Choice:
    """The best ensemble within the limits, or a model that was taught and alone scores no worse.

    Where both are level by the metric, by what models are chosen by.
    """
    mix = mix_of(session, scored, lambda scales: fits_limits(session, scales), rows)
    students = [s for s in scored if is_student(session.study.trial(s.trial))]
    if len(mix.members) > 1 and students:
        measures, best = (session.scorer(rows), session.judge(rows)), max(students, key=lambda s: s.value)
        if [of(best.predictions) for of in measures] >= [of(mix.outputs) for of in measures]:
            return Choice(single(best))
    return Choice(mix.members, mix.temperature)


def _mean(outputs: Mapping[int, np.ndarray], members: Sequence[Member]) -> np.ndarray:
    """The members' mean; outputs: of each trial."""
    mean: np.ndarray = sum(m.weight * outputs[m.trial] for m in members)  # type: ignore[assignment]
    return mean


def mixed(session: Session, members: Sequence[Member], temperature: float = 1.0) -> np.ndarray:
    """Outputs of the validation rows as the members give them together, by models that did not see those rows."""
    outputs = {m.trial: session.outputs(m.trial, m.temperature) for m in members}
    return tempered(session.task, _mean(outputs, members), temperature)


def _warmth(session: Session, mean: np.ndarray, rows: np.ndarray | None) -> float:
    """The temperature of a mix, by (some) validation rows: the mean of members that err differently is too timid."""
    if session.task == "regression":
        return 1.0
    y, weights = session.held_out(rows)
    return temperature(session.task, y, logits_of(session.task, mean), weights)


def honest_outputs(session: Session, library: Library, left: Callable[[], float]) -> np.ndarray | None:
    """Outputs of the validation rows, each part of them by what would have been chosen on the other parts.

    So no row has a say in which models predict it and with what weights, and the figure is not too good where many
    trials were compared on few rows. (Without folds it has one in their number of trees or epochs, and temperatures.)
    The parts are the folds, or fifths of the rows. None where there is but one, and when there is no time for it.
    """
    scored = [s for s in library.all() if fits_limits(session, [s.scale])]
    if len(scored) < 2:
        return None
    part_V, by_trial = _parts(session), {s.trial: s.predictions for s in scored}
    if len(np.unique(part_V)) < 2:
        return None
    outputs = np.empty_like(scored[0].predictions)
    longest = 0.0
    for number in np.unique(part_V):
        if left() < 2.0 * longest:
            return None
        began = time.perf_counter()
        rest, own = np.flatnonzero(part_V != number), np.flatnonzero(part_V == number)
        score = session.judge(rest)
        others = [replace(s, predictions=s.predictions[rest], value=score(s.predictions[rest])) for s in scored]
        choice = _chosen(session, others, rest)
        mean = _mean(by_trial, choice.members)
        outputs[own] = tempered(session.task, mean[own], choice.temperature)
        longest = max(longest, time.perf_counter() - began)
    return outputs


def _parts(session: Session) -> np.ndarray:
    """The part [V] of each validation row: its fold, or a random fifth, groups whole."""
    splits = session.dataset.splits
    rows = splits.validation_rows
    if splits.fold is not None and len(splits.rounds()) > 1:
        return np.asarray(splits.fold)[rows]
    groups = session.dataset.groups(rows)
    codes = np.arange(len(rows)) if groups is None else np.unique(groups, return_inverse=True)[1]
    return generator(session.request.seed, "parts").permutation(int(codes.max()) + 1)[codes] % NUM_PARTS
