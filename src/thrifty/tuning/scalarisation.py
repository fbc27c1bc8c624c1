"""Several metrics and limits for policies that know one metric: each decision sees one number a trial and epoch.

Every decision draws weights at random, and the number is the augmented Chebyshev scalarisation of the metrics by them
(ParEGO, https://doi.org/10.1109/TEVC.2005.851274): the worst of the weighted metrics, plus a little of their sum. Over
many decisions the whole front is looked for. With one metric the number is its own. What breaks a limit is behind
everything that breaks none, the further the more it breaks it
(https://doi.org/10.1016/S0045-7825(99)00389-8).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import UsageError
from thrifty.core.events import Event
from thrifty.core.seeds import generator
from thrifty.tuning.front import Point
from thrifty.tuning.policies.named import policy_of
from thrifty.tuning.policy import Decision, Policy
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Best, State, Trial

if TYPE_CHECKING:
    from typing import Self

AUGMENTED = 0.05  # how much the sum of the weighted metrics counts beside their worst
COMMON = 0.9  # the share of trials whose values span a metric's scale: the others may have diverged


@dataclass(frozen=True)
class Scale:
    """What 0 (the best) and 1 are for each metric, and the largest violation of each limit."""

    low_M: np.ndarray
    span_M: np.ndarray
    broken_L: np.ndarray

    @classmethod
    def of(cls, newest: Sequence[Point], front: Sequence[Point]) -> Self:
        """newest: the last point of each trial, at least one; front: what to look at most closely."""
        feasible = [point for point in newest if point.feasible] or newest
        score_NM = np.array([point.scores for point in feasible])
        ideal_M = np.min([*score_NM, *(point.scores for point in front)], 0)
        high_M = np.quantile(score_NM, COMMON, axis=0)
        if front:
            nadir_M = np.max([point.scores for point in front], 0)
            high_M = np.where(nadir_M > ideal_M, np.minimum(nadir_M, high_M), high_M)
        high_M = np.where(high_M > ideal_M, high_M, score_NM.max(0))
        span_M = np.where(high_M > ideal_M, high_M - ideal_M, 1.0)
        broken_L = np.array([point.violations for point in newest]).max(0)
        return cls(ideal_M, span_M, np.where(broken_L > 0, broken_L, 1.0))

    def numbers(self, points: Sequence[Point], weight_M: np.ndarray) -> np.ndarray:
        """One number [N] a point, smaller is better."""
        number_N = np.array([point.scores for point in points])[:, 0]
        if len(weight_M) > 1:
            part_NM = weight_M * (np.array([point.scores for point in points]) - self.low_M) / self.span_M
            number_N = part_NM.max(1) + AUGMENTED * part_NM.sum(1)
        violation_N = self.violations(points)
        broken_N = violation_N > 0
        if broken_N.any():
            kept = number_N[~broken_N]
            edge, spread = (kept.max(), np.ptp(kept) or 1.0) if len(kept) else (0.0, 1.0)
            number_N = np.where(broken_N, edge + spread * (0.1 + violation_N), number_N)
        return number_N

    def violations(self, points: Sequence[Point]) -> np.ndarray:
        """How far each point is behind what keeps the limits [N]: the sum over limits, each on its own scale."""
        return (np.array([point.violations for point in points]).reshape(len(points), -1) / self.broken_L).sum(1)


class Scalarised:
    """A policy for one metric, asked anew at each decision about the study as one metric.

    policy: its name, or an object, of which each decision asks a copy as it was given: what it remembered of the last
    decision's weights would mislead it. One that has `takes_new_scores = True` takes in each trial that `study.changes`
    names as if for the first time, and is kept. Raises UsageError when it cannot be copied.
    """

    def __init__(self, policy: str | Policy, max_epochs: int | None) -> None:
        self.policy = policy_of(policy, max_epochs)
        if isinstance(policy, str):
            self._make: Callable[[], Policy] = lambda: policy_of(policy, max_epochs)
        else:
            try:
                pristine = copy.deepcopy(policy)
            except Exception as error:
                raise UsageError(
                    f"the policy {policy!r} cannot be copied, as several metrics or limits need"
                ) from error
            self._make = lambda: copy.deepcopy(pristine)
            self.policy = self._make()

    def decide(self, study: Study, clock: Clock) -> Decision:
        weight_M = generator(study.seed, "weights", study.num_proposals).dirichlet(np.ones(len(study.goals.metrics)))
        if not getattr(self.policy, "takes_new_scores", False):
            self.policy = self._make()
        return self.policy.decide(ScalarStudy(study, weight_M), clock)

    def branches(self, study: Study) -> Sequence[int]:
        """Those of the policy, none where it has no such thing."""
        return self.policy.branches(study) if hasattr(self.policy, "branches") else ()

    def drop(self, study: Study, clock: Clock) -> list[tuple[int, str]]:
        """Gives up a trial when the policy would by each metric alone and by all alike: it may be of the front else."""
        if not hasattr(self.policy, "drop"):
            return []
        count = len(study.goals.metrics)
        views = [np.full(count, 1 / count), *(np.eye(count) if count > 1 else ())]
        told = [dict(self._make().drop(ScalarStudy(study, weight_M), clock)) for weight_M in views]  # type: ignore[attr-defined]
        return [(trial, why) for trial, why in told[0].items() if all(trial in other for other in told)]


class ScalarStudy(Study):
    """A study as a policy for one metric sees it, at one moment: values are numbers to be minimized."""

    def __init__(self, study: Study, weight_M: np.ndarray) -> None:
        self.__dict__.update(study.__dict__)
        self._study = study
        self.metric, self.direction, self._sign = "number", "minimize", 1.0
        self._trials = _numbered(study, weight_M)

    @property
    def best(self) -> Best | None:
        found = [
            (value, trial.id, epoch)
            for trial in self._trials
            if self.max_epochs is not None or trial.state is State.DONE
            for epoch, value in enumerate(trial.values, 1)
            if value is not None
        ]
        if not found:
            return None
        value, trial, epoch = min(found)
        return Best(trial, dict(self._trials[trial].config), value, epoch)

    def value_of(self, trial: Trial) -> float | None:
        if self.max_epochs is None:
            return trial.values[-1] if trial.state is State.DONE else None
        return min((value for value in trial.values if value is not None), default=None)

    def changes(self, after: int = 0) -> tuple[Sequence[int], int]:
        """All trials: the numbers of the last decision are not those of this one."""
        return range(self.num_trials), self.num_trials

    def events(self, after: int = 0) -> Iterator[Event]:
        for event in self._study.events(after):
            if "value" in event.payload and event.trial is not None:
                values = self._trials[event.trial].values[: event.payload["epoch"]]
                known = [value for value in values if value is not None]
                told: dict[str, Any] = {"value": known[-1], "best": min(known)} if known else {}
                event = replace(event, payload={**event.payload, **told})
            yield event

    def record(self, kind: str, trial: int | None = None, /, **payload: Any) -> Event:
        return self._study.record(kind, trial, **payload)


def _numbered(study: Study, weight_M: np.ndarray) -> list[Trial]:
    """The trials with a number in place of each epoch's metrics."""
    points = [point for trial in study.trials for point in study.points_of(trial)]
    if not points:
        return list(study.trials)
    number_of = {(p.trial, p.epoch): float(v) for p, v in zip(points, study.scale.numbers(points, weight_M))}
    return [
        replace(trial, values=tuple(number_of.get((trial.id, e)) for e in range(1, len(trial.values) + 1)))
        for trial in study.trials
    ]
