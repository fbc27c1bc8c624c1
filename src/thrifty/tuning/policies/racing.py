"""Repeats of noisy objectives: runs a configuration again while it can still be the best, beside any other policy.

Of four runs at most one is a repeat, as long as the other policy has new configurations. It sees each configuration
as one trial whose value is the mean of its runs, or of its first run where it follows events.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thrifty.core.budget import Clock
from thrifty.core.events import Event
from thrifty.tuning.policies.named import policy_of
from thrifty.tuning.policy import Decision, Policy, Purchase
from thrifty.tuning.repeats import worth_repeating
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Best, State, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence


SHARE = 1 / 3  # repeats for each configuration that has been run


class Racing:
    """Any policy for studies without epochs, with repeats.

    policy: its name, or an object. A copy of it as it was given is asked at each decision, unless it has
    `takes_new_scores = True`: the means that it remembers have changed since.
    """

    def __init__(self, policy: str | Policy) -> None:
        self._pristine = policy_of(policy, None)
        self.policy = copy.deepcopy(self._pristine)

    def decide(self, study: Study, clock: Clock) -> Decision:
        waiting = next((t.id for t in study.trials if t.state is State.WAITING), None)
        if waiting is not None:
            return Purchase(waiting, why=study.trial(waiting).why)
        again = self._again(study)
        first = sum(1 for t in study.trials if t.values or t.state is State.RUNNING)
        running_again = sum(1 for i in study.running if study.trial(i).values)
        repeated = study.epochs_spent + running_again - sum(1 for t in study.trials if t.values)
        if again is not None and repeated < SHARE * first:
            return again
        if not getattr(self.policy, "takes_new_scores", False):
            self.policy = copy.deepcopy(self._pristine)
        decision = self.policy.decide(_MeanStudy(study), clock)
        return decision if isinstance(decision, Purchase) or again is None else again

    def _again(self, study: Study) -> Purchase | None:
        found = worth_repeating(study.estimates, study.repeats, study.running)
        if found is None:
            return None
        return Purchase(found, why=f"run {study.trial(found).epoch + 1}: it may be the best")


class _MeanStudy(Study):
    """A study as a policy that knows no repeats sees it, at one moment."""

    def __init__(self, study: Study) -> None:
        self.__dict__.update(study.__dict__)
        self._study = study
        self.repeats = 1
        self._trials = [self._of_mean(trial) for trial in study.trials]
        self._running = {trial.id for trial in self._trials if trial.state is State.RUNNING}

    def _of_mean(self, trial: Trial) -> Trial:
        if not trial.values:
            return trial
        known = [value for value in trial.values if value is not None]
        ended = trial.state is State.FAILED
        return replace(trial, values=(sum(known) / len(known),), state=State.FAILED if ended else State.DONE)

    @property
    def best(self) -> Best | None:
        return self._study.best

    def changes(self, after: int = 0) -> tuple[Sequence[int], int]:
        """All trials: their means are as good as new."""
        return range(self.num_trials), self.num_trials

    def events(self, after: int = 0) -> Iterator[Event]:
        """A run that gave a value is the end of its trial."""
        for event in self._study.events(after):
            run = event.kind == "trial_paused" and "value" in event.payload
            yield replace(event, kind="trial_finished") if run else event

    def record(self, kind: str, trial: int | None = None, /, **payload: Any) -> Event:
        return self._study.record(kind, trial, **payload)
