"""A study: one space, its metric and fidelity, its trials, in one store.

Used alone by `ask` and `tell`, or by a coordinator (`search`, `automl.run`) by `start`, `proceed`, `report`, `finish`,
`pause`, `fail`, `skip` and `record`. Whatever returns is in the store; what raises has changed nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import Exhausted, ExternalError, StoreError, UsageError
from thrifty.core.events import RESERVED, Event, EventLog, json_text
from thrifty.core.seeds import generator
from thrifty.core.space import Space
from thrifty.tuning.front import Point, add
from thrifty.tuning.goals import Goals
from thrifty.tuning.metric import is_number, number, numbers, whole
from thrifty.tuning.policies.named import policy_of
from thrifty.tuning.policy import Policy, Purchase, Stop
from thrifty.tuning.store import Change, MemoryStore, Store
from thrifty.tuning.trial import Best, Proposal, State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.importance import Importance
    from thrifty.tuning.scalarisation import Scale

Told = tuple[int, dict[str, float]]  # an epoch and what was told of it, by name
MOST_COMPLETIONS = 1000  # draws of what an enqueued configuration leaves out, to meet the constraints


class Study:
    """One search: a space, a metric and what was tried.

    space: {name: Float | Int | Choice | When | list of options}, a Space, a dataclass with domains, a YAML file's path;
        None for a study whose configurations are free dicts given to `start`.
    metric, direction: the metric's name, and "minimize" or "maximize" (read from names such as loss and accuracy); or
        lists of several metrics' names and directions: then `front` is what is looked for.
    limits: what must hold, such as "latency_ms <= 20", of the metrics or of other numbers that are told with them.
    max_epochs: the epochs of a full trial; None when a trial has one value and no epochs.
    seed: the same seed and the same answers give the same decisions.
    folder: where the study is kept; it is gone on with when its space, metric, direction and max_epochs match.
    policy: "auto", the name of a policy or of a pair such as "asha+sobol", or an object with `decide(study, clock)`.
    first: configurations to try first, in this order; parameters that one leaves out are drawn. Used in a new study.
    clock: what `time_seconds` of events counts from; by default from now.
    store: where the study is kept, without a folder; by default in memory.
    warm_start: folders of earlier studies of a like space; a new study tries a few of their best configurations first.
    """

    def __init__(
        self,
        space: Any = None,
        *,
        metric: str | Sequence[str] = "loss",
        direction: str | Sequence[str | None] | None = None,
        limits: Sequence[str] = (),
        max_epochs: int | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        policy: str | Policy = "auto",
        first: Sequence[Mapping[str, Any]] = (),
        clock: Clock | None = None,
        store: Store | None = None,
        warm_start: Sequence[str | Path] = (),
    ) -> None:
        self.space = None if space is None else Space.of(space)
        if self.space is not None and not self.space:
            raise UsageError("the space is empty; give it at least one parameter")
        self.goals = Goals.of(metric, direction, limits)
        self.metric, self.direction = self.goals.metrics[0], self.goals.directions[0]
        self.max_epochs = None if max_epochs is None else whole("max_epochs", max_epochs, 1)
        self.seed = whole("seed", seed, 0)
        self.folder = None if folder is None else Path(folder)
        self.policy = self._policy_of(policy)
        points = [self._completed(config, at) for at, config in enumerate(first)]
        self.clock = clock or Clock()
        self.listeners: list[Callable[[Event], None]] = []
        self._sign = 1.0 if self.direction == "minimize" else -1.0
        self._store: Store = (store or MemoryStore()) if self.folder is None else _store_in(self.folder)
        self._log: EventLog | None = None
        self._unlogged: list[Event] = []
        self._trials: list[Trial] = []
        self._keys: set[int] = set()
        self._running: set[int] = set()
        self._changes = array("q")
        self._best: tuple[float, int, int] | None = None
        self._front: list[Point] = []
        self._newest: dict[int, Point] = {}
        self._scale: tuple[int, Scale] | None = None
        self._open()
        if not self._trials:
            for config in points:
                self.enqueue(config)
            if warm_start:
                self.start_from(warm_start)

    @classmethod
    def look(cls, folder: str | Path, policy: str | Policy = "random") -> Study:
        """The study in `folder` as it is now, even while others work on it, to look at and not to go on with.

        Raises StoreError when there is none.
        """
        from thrifty.tuning.database import read

        store = read(Path(folder))
        names = ("metric", "direction", "limits", "max_epochs", "seed")
        space = None if store.header["space"] is None else Space.from_json(store.header["space"])
        kept = {name: store.header[name] for name in names if name in store.header}
        return cls(space, policy=policy, store=store, **kept)

    # ---- asking and telling

    def ask(self) -> Proposal:
        """The next thing to run. Raises Exhausted when a finite space is used up."""
        if self.space is None:
            raise UsageError("this study has no space to ask from; start its trials with start(config)")
        decision = self.policy.decide(self, self.clock)
        if not isinstance(decision, Purchase):
            outstanding = "" if isinstance(decision, Stop) else f"; {len(self._running)} trials are still to be told"
            raise Exhausted(f"{decision.why}{outstanding}")
        return self.buy(decision)

    def tell(
        self,
        trial: int,
        values: Any = None,
        *,
        cost_seconds: float | None = None,
        failed: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """What came of a proposal.

        values: the metric of each epoch from from_epoch + 1 on (fewer than asked for: it is paused there; more: an
            error), or one number (with epochs: the value at until_epoch). NaN or an infinity: it failed there.
            With several metrics or limits a dict of them; a number beside a list is that of each epoch of the list.
        cost_seconds: what it cost, added to what the trial had cost before.
        failed: why it failed; values told with it are kept.
        extra: anything else to keep with the trial, as JSON.
        """
        before = self._of(trial)
        if before.state is not State.RUNNING:
            raise UsageError(f"trial {before.id} is {before.state}: it was told already or never handed out by ask")
        if failed is None and values is None:
            raise UsageError(f"tell trial {before.id} its values, or failed='why'")
        until = before.until if before.until is not None else before.epoch + 1
        asked = until - before.epoch
        if values is None:
            told: list[Told] = []
        elif self._is_one(values):
            told = [(until, self.goals.row(values, f"trial {before.id}"))]
        else:
            given = self._rows(values, before.id)
            if len(given) > asked:
                raise UsageError(
                    f"trial {before.id} was asked for {asked} more epoch{'s' * (asked != 1)} "
                    f"({before.epoch + 1} to {until}) and told {len(given)} values"
                )
            told = list(enumerate(given, start=before.epoch + 1))
            if not told and self.max_epochs is None and failed is None:
                raise UsageError(f"tell trial {before.id} one value, not none")
        self._end(before, told, None if failed is None else str(failed), cost_seconds, extra)

    def enqueue(self, config: Mapping[str, Any]) -> int:
        """Puts `config` before what the policy would propose next, and returns its trial.

        Parameters that it leaves out are drawn at random. One that was tried already is not tried again: its trial is
        returned. Raises UsageError for a configuration that is not in the space.
        """
        plain = self._completed(config, self.num_trials)
        if self.seen(plain):
            return next(trial.id for trial in self._trials if trial.config == plain)
        trial = self.start(plain, "to be tried first")
        self.pause(trial)
        return trial

    # ---- for coordinators

    def buy(self, purchase: Purchase) -> Proposal:
        """Starts or goes on with what a policy decided."""
        if purchase.trial is not None:
            self.proceed(purchase.trial, purchase.until, purchase.why)
            trial = self._of(purchase.trial)
        else:
            config = purchase.config if purchase.config is not None else {}
            trial = self._of(self.start(config, purchase.why, purchase.inputs, purchase.until, purchase.extra))
        return Proposal(trial.id, dict(trial.config), trial.epoch, trial.until)

    def start(
        self,
        config: Mapping[str, Any],
        why: str = "",
        inputs: Sequence[int] = (),
        until: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> int:
        """Starts a trial of `config`, to run up to the epoch `until` (by default to the last), and returns its id."""
        plain = self.space.validate(config) if self.space is not None else _as_json(config, "a configuration")
        for other in inputs:
            self._of(other)
        trial = Trial(
            id=len(self._trials),
            config=plain,
            state=State.RUNNING,
            until=self._until(until, 0),
            why=str(why),
            inputs=tuple(inputs),
            extra=_as_json(extra or {}, "extra"),
        )
        details = {"config": plain, "why": trial.why, **self._span(trial)}
        if trial.inputs:
            details["inputs"] = list(trial.inputs)
        self._commit(trial, [("trial_started", details)])
        return trial.id

    def start_from(self, folders: Sequence[str | Path]) -> None:
        """Puts a few of the best configurations of the studies in `folders` first, to be run when the policy is asked.

        Raises StoreError where there is no study, UsageError where one has no parameter of this study's space.
        """
        from thrifty.tuning.warm import first_from

        if self.space is None:
            raise UsageError("this study has no space that earlier studies could be matched with")
        for config in first_from(self.space, folders, self.seed):
            if not self.seen(config):
                self.pause(self.start(config, "good in earlier studies"))

    def proceed(self, trial: int, until: int | None = None, why: str = "") -> None:
        """Goes on with a paused or waiting trial, up to the epoch `until` (by default the last)."""
        before = self._of(trial)
        if before.state not in (State.PAUSED, State.WAITING):
            raise UsageError(f"trial {before.id} is {before.state}; only a paused or waiting one can go on")
        after = _changed(before, state=State.RUNNING, until=self._until(until, before.epoch), why=why or before.why)
        self._commit(after, [("trial_continued", {"why": after.why, **self._span(after)})])

    def report(self, trial: int, epoch: int, value: Any) -> bool:
        """The metric (or a dict of all) after `epoch` of a running trial; False when one is not finite: it failed.

        In a study without epochs this is progress that watchers and policies see, and `finish` tells what counts.
        """
        before = self._running_of(trial)
        last = math.inf if self.max_epochs is None else self.max_epochs
        if not before.epoch < epoch <= last:
            raise UsageError(f"trial {before.id} reported epoch {epoch}; it must be from {before.epoch + 1} to {last}")
        told = [(epoch, self.goals.row(value, f"trial {before.id}"))]
        if not all(map(math.isfinite, told[0][1].values())):
            self._end(before, told, None, None, None)
            return False
        after = self._with(before, told)
        self._commit(after, [("epoch_finished", {"epoch": epoch, **self._said(told[0][1])})], told)
        return True

    def finish(
        self,
        trial: int,
        value: Any = None,
        extra: Mapping[str, Any] | None = None,
        cost_seconds: float | None = None,
    ) -> None:
        """Ends a running trial well: its one value, or with epochs none (or the value of the epoch it ran to)."""
        before = self._running_of(trial)
        if value is None and not before.values:
            raise UsageError(f"trial {before.id} has no value to finish with")
        if value is None or (self.max_epochs is not None and before.until == before.epoch):
            told = []
        else:
            until = before.until if before.until is not None else before.epoch + 1
            told = [(until, self.goals.row(value, f"trial {before.id}"))]
        self._end(before, told, None, cost_seconds, extra, state=State.DONE)

    def pause(self, trial: int, extra: Mapping[str, Any] | None = None, cost_seconds: float | None = None) -> None:
        """Stops a running trial where it is; it can go on."""
        before = self._running_of(trial)
        state = State.PAUSED if before.values else State.WAITING
        self._end(before, [], None, cost_seconds, extra, state=state)

    def fail(
        self, trial: int, why: str, extra: Mapping[str, Any] | None = None, cost_seconds: float | None = None
    ) -> None:
        """Ends a trial that crashed, hung, outgrew its memory or gave no number."""
        self._end(self._open_of(trial), [], str(why), cost_seconds, extra)

    def skip(
        self, trial: int, why: str, extra: Mapping[str, Any] | None = None, cost_seconds: float | None = None
    ) -> None:
        """Gives up a trial that is not worth more; its values still count."""
        self._end(self._open_of(trial), [], str(why), cost_seconds, extra, state=State.SKIPPED)

    def record(self, kind: str, trial: int | None = None, /, **payload: Any) -> Event:
        """Writes an event of the caller's own."""
        for name in RESERVED:
            if name in payload:
                raise UsageError(f"an event's payload cannot have the field {name!r}")
        return self._commit(None, [(kind, payload)], about=None if trial is None else self._of(trial).id)[0]

    def renew(self) -> None:
        """Says that this coordinator lives; raises StoreError when another has taken over."""
        self._store.renew()

    # ---- looking

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._trials)

    @property
    def num_trials(self) -> int:
        return len(self._trials)

    @property
    def running(self) -> tuple[int, ...]:
        """The ids of trials that were handed out and not told, in order."""
        return tuple(sorted(self._running))

    @property
    def best(self) -> Best | None:
        """The best value of any epoch of any trial that keeps the limits, the earlier trial on a tie; None without one.

        Of several metrics, the point of the front whose worst metric is best, each metric on its scale of the study.
        """
        if self.goals.plain:
            if self._best is None:
                return None
            score, trial, epoch = self._best
            return Best(trial, dict(self._trials[trial].config), self._sign * score, epoch)
        return self._best_at(min(self._front, key=self._rank)) if self._front else None

    @property
    def front(self) -> list[Best]:
        """The Pareto front of what keeps the limits, by the first metric, best first; of one metric the best alone."""
        if self.goals.plain:
            return [self.best] if self.best is not None else []
        return [self._best_at(point) for point in sorted(self._front, key=lambda p: (p.scores, p.trial, p.epoch))]

    @property
    def scale(self) -> Scale:
        """How the metrics compare with each other by now. Raises UsageError before there is a value."""
        from thrifty.tuning.scalarisation import Scale

        if not self._newest:
            raise UsageError("the study has no value yet, so no scale of its metrics")
        if self._scale is None or self._scale[0] != len(self._changes):
            self._scale = len(self._changes), Scale.of(list(self._newest.values()), self._front)
        return self._scale[1]

    @property
    def num_proposals(self) -> int:
        """How often a trial was started or gone on with."""
        return self._num_proposals

    @property
    def epochs_spent(self) -> int:
        """The epochs of all trials, for a study without epochs the trials that have a value."""
        return self._epochs_spent

    def trial(self, trial: int) -> Trial:
        """The trial with this id, as it is now."""
        return self._of(trial)

    def value_of(self, trial: Trial) -> float | None:
        """A trial's value: of its best epoch, or without epochs the one it ended with; None while it has none."""
        if not self.goals.plain:
            return self.metrics_of(trial).get(self.metric)
        if self.max_epochs is None:
            return trial.values[-1] if trial.state is State.DONE else None
        told = [value for value in trial.values if value is not None]
        if not told:
            return None
        return min(told) if self.direction == "minimize" else max(told)

    def metrics_of(self, trial: Trial) -> dict[str, float]:
        """All that was told of a trial, at the epoch that is best; empty while it has none.

        The best epoch is the one that breaks the limits least and then, of several metrics, as for `best`.
        """
        if self.goals.plain:
            value = self.value_of(trial)
            return {} if value is None else {self.metric: value}
        points = self.points_of(trial)
        return self._row_at(trial, min(points, key=self._rank).epoch) if points else {}

    def points_of(self, trial: Trial) -> list[Point]:
        """What counts of a trial: each epoch that was told, or the one value that it ended with."""
        if self.max_epochs is None:
            epochs: Sequence[int] = (trial.epoch,) if trial.state is State.DONE else ()
        else:
            epochs = [epoch for epoch, value in enumerate(trial.values, 1) if value is not None]
        return [self._point(trial, epoch) for epoch in epochs]

    def rank_of(self, trial: Trial) -> tuple[float, ...]:
        """Sorts trials that have a value, best first: by their best epochs as for `best`, then by their numbers."""
        if self.goals.plain:
            return 0.0, self._sign * (self.value_of(trial) or 0.0), trial.id
        return min(map(self._rank, self.points_of(trial)))

    def keeps_limits(self, trial: Trial) -> bool:
        """Whether a trial keeps the limits at its best epoch."""
        told = self.metrics_of(trial) if self.goals.limits else {}
        return not self.goals.limits or (bool(told) and not any(self.goals.violations(told)))

    def score(self, value: float) -> float:
        """`value` so that smaller is better."""
        return self._sign * value

    def seen(self, config: Mapping[str, Any]) -> bool:
        """Whether a trial of this configuration exists."""
        return self._key(config) in self._keys

    def changes(self, after: int = 0) -> tuple[Sequence[int], int]:
        """The ids of trials that changed since the cursor `after`, in order, and the cursor for the next call."""
        return self._changes[after:], len(self._changes)

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events whose `seq` is above `after`."""
        return self._store.events(after)

    def importance(self) -> Importance:
        """How much each parameter matters to the metric: {parameter: share}, with intervals; see `Importance`."""
        from thrifty.tuning.importance import importance_of

        return importance_of(self)

    def to_optuna(self, storage: str, name: str | None = None) -> Any:
        """Copies the study into an Optuna storage, a URL such as sqlite:///optuna.db, that optuna-dashboard opens.

        name: of the new study there, by default the folder's name. Gives the optuna.Study. Raises MissingExtraError
        without optuna, UsageError when the storage has a study of that name or cannot be used.
        """
        from thrifty.tuning.optuna_export import export

        return export(self, storage, name or (self.folder.resolve().name if self.folder is not None else "study"))

    def close(self) -> None:
        """Gives the folder back to others. Raises ExternalError when `events.jsonl` could not be completed."""
        missing = self._mirror([])
        self._store.close()
        if self._log is not None:
            self._log.close()
            self._log = None
        if missing:
            raise ExternalError(f"{missing}; nothing is lost: they are written when the study is opened again")

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ---- inside

    def _open(self) -> None:
        from thrifty.tuning.store import FORMAT

        header = {
            "format": 1 if self.goals.plain else FORMAT,
            "space": None if self.space is None else self.space.to_json(),
            **self.goals.header(),
            "max_epochs": self.max_epochs,
            "seed": self.seed,
        }
        opened = self._store.open(header)
        try:
            self._check_match(opened.header, header)
            self.seed = opened.header["seed"]
            self._seq, self._offset_seconds = opened.last_seq, opened.last_seconds
            self._num_proposals = self._epochs_spent = 0
            for trial in opened.trials:
                self._remember(None, trial)
            if self.folder is not None:
                self._log = EventLog(self.folder / "events.jsonl")
                self._unlogged = list(self._store.events(self._log.repair(self._seq)))
                self._mirror([])
            if opened.last_seq == 0 and opened.live:
                self._commit(None, [("study_started", {k: v for k, v in header.items() if k != "format"})])
            elif opened.live:
                self._take_up(opened.trials)
        except BaseException:
            self._store.close()
            raise

    def _completed(self, config: Mapping[str, Any], at: int) -> dict[str, Any]:
        """`config` with what it lacks drawn at random: the `at`-th such draw."""
        if self.space is None:
            return _as_json(config, "a configuration")
        rng = generator(self.seed, "enqueued", at)
        try:
            drawn = self.space.build(lambda n, d: config[n] if n in config else d.sample(rng), MOST_COMPLETIONS)
        except UsageError as error:
            raise UsageError(
                f"the configuration {dict(config)} to be tried first cannot meet the constraints "
                f"{', '.join(self.space.constraints)}; change it or leave out more of it"
            ) from error
        return self.space.validate({**drawn, **config})

    def _policy_of(self, policy: str | Policy) -> Policy:
        if self.goals.plain:
            return policy_of(policy, self.max_epochs)
        from thrifty.tuning.scalarisation import Scalarised

        return Scalarised(policy, self.max_epochs)

    def _check_match(self, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        for name in ("space", "metric", "direction", "limits", "max_epochs"):
            same = stored.get(name) == given.get(name)
            if name == "space" and stored[name] is not None and given[name] is not None:
                same = Space.from_json(stored[name]) == self.space
            if not same:
                there, here = _short(stored.get(name)), _short(given.get(name))
                verb = "are" if name == "limits" else "is"
                raise StoreError(
                    f"{self.folder} holds a study whose {name} {verb} {there}, not {here}. "
                    f"Give the same {name} to go on with it, or another folder"
                )

    def _take_up(self, trials: Sequence[Trial]) -> None:
        """What ran when the last coordinator ended is paused where it was last told; what counts proposals is read."""
        self._num_proposals = sum(1 for e in self._store.events() if e.kind in ("trial_started", "trial_continued"))
        stopped = [
            _changed(t, state=State.PAUSED if t.values else State.WAITING, until=None)
            for t in trials
            if t.state is State.RUNNING
        ]
        events = [self._event("study_continued", None, {"interrupted": [t.id for t in stopped]})]
        self._store.commit(Change(changed=stopped, events=events))
        self._applied(stopped, events)

    def _until(self, until: int | None, epoch: int) -> int | None:
        if self.max_epochs is None:
            if until is not None:
                raise UsageError("this study has no epochs to run to; give it max_epochs")
            return None
        until = self.max_epochs if until is None else until
        if not epoch < until <= self.max_epochs:
            raise UsageError(f"a trial at epoch {epoch} cannot run to epoch {until} of {self.max_epochs}")
        return until

    def _is_one(self, values: Any) -> bool:
        """Whether one number was told of each metric, rather than a list."""
        if isinstance(values, Mapping) and not self.goals.plain:
            return all(map(is_number, values.values()))
        return is_number(values)

    def _rows(self, values: Any, trial: int) -> list[dict[str, float]]:
        """What was told of each epoch, where at least one metric has a list."""
        what = f"trial {trial}"
        if not isinstance(values, Mapping) or self.goals.plain:
            if len(self.goals.names) > 1:
                self.goals.row(values, what)  # says what to tell instead
            return [{self.metric: value} for value in numbers(values, f"{self.metric} of {what}")]
        self.goals.check(values, what)
        lists = {n: numbers(v, f"{n} of {what}") for n, v in values.items() if not is_number(v)}
        count = len(next(iter(lists.values())))
        if any(len(told) != count for told in lists.values()):
            lengths = ", ".join(f"{len(told)} of {n!r}" for n, told in lists.items())
            raise UsageError(f"{what} was told {lengths}; tell as many of each metric")
        fixed = {n: number(v, f"{n} of {what}") for n, v in values.items() if n not in lists}
        return [{n: fixed[n] if n in fixed else lists[n][i] for n in self.goals.names} for i in range(count)]

    def _row_at(self, trial: Trial, epoch: int) -> dict[str, float]:
        """What was told of an epoch that was told."""
        curves = {self.metric: trial.values, **trial.others}
        return {name: curves[name][epoch - 1] or 0.0 for name in self.goals.names}

    def _point(self, trial: Trial, epoch: int) -> Point:
        row = self._row_at(trial, epoch)
        return Point(trial.id, epoch, self.goals.scores(row), self.goals.violations(row))

    def _rank(self, point: Point) -> tuple[float, float, int, int]:
        """Sorts points: by what they break, then by the metric, or by several of them alike."""
        count = len(point.scores)
        broken = 0.0 if point.feasible else float(self.scale.violations([point])[0])
        kept = replace(point, violations=(0.0,) * len(point.violations))
        number = point.scores[0] if count == 1 else float(self.scale.numbers([kept], np.full(count, 1 / count))[0])
        return broken, number, point.trial, point.epoch

    def _best_at(self, point: Point) -> Best:
        trial = self._trials[point.trial]
        told = self._row_at(trial, point.epoch)
        return Best(trial.id, dict(trial.config), told[self.metric], point.epoch, told)

    def _with(self, trial: Trial, told: Sequence[Told], **fields: Any) -> Trial:
        """A trial with more epochs."""
        values = _extended(trial.values, [(epoch, row[self.metric]) for epoch, row in told])
        others = trial.others
        if told and len(self.goals.names) > 1:
            others = {
                name: _extended(others.get(name, ()), [(epoch, row[name]) for epoch, row in told])
                for name in self.goals.names
                if name != self.metric
            }
        return _changed(trial, values=values, others=others, **fields)

    def _said(self, row: Mapping[str, float]) -> dict[str, Any]:
        """What an event says of an epoch."""
        return {"value": row[self.metric], **({"metrics": dict(row)} if len(row) > 1 else {})}

    def _span(self, trial: Trial) -> dict[str, Any]:
        return {} if trial.until is None else {"from_epoch": trial.epoch, "until_epoch": trial.until}

    def _end(
        self,
        before: Trial,
        told: Sequence[Told],
        failed: str | None,
        cost_seconds: float | None,
        extra: Mapping[str, Any] | None,
        state: State | None = None,
    ) -> None:
        """Ends what a trial is doing: keeps its finite values up to the first that is none, which fails it.

        failed: why it failed, or why it is given `state`.
        """
        good = []
        for epoch, row in told:
            wrong = next((name for name, value in row.items() if not math.isfinite(value)), None)
            if wrong is not None:
                failed = failed or f"{wrong} was {row[wrong]}" + (f" at epoch {epoch}" if self.max_epochs else "")
                state = State.FAILED
                break
            good.append((epoch, row))
        after = self._with(before, good)
        values = after.values
        if failed is not None:
            state = State.FAILED if state is None else state
        elif state is None:
            done = self.max_epochs is None or len(values) == self.max_epochs
            state = State.DONE if done else State.PAUSED if values else State.WAITING
        why = failed if failed is not None else before.why
        after = _changed(
            after,
            state=state,
            until=None,
            why=why,
            cost_seconds=before.cost_seconds + _cost(cost_seconds, before.id),
            extra={**before.extra, **_as_json(extra or {}, "extra")},
        )
        details: dict[str, Any] = {"cost_seconds": after.cost_seconds}
        if values:
            details |= {"epoch": len(values), **self._said(self._row_at(after, len(values)))}
            details |= self._best_said(after)
        if state in (State.FAILED, State.SKIPPED):
            details["why"] = why
        if extra:
            details["extra"] = _as_json(extra, "extra")
        kinds = {State.DONE: "finished", State.WAITING: "paused"}
        self._commit(after, [(f"trial_{kinds.get(state, state.value)}", details)], good)

    def _best_said(self, trial: Trial) -> dict[str, float]:
        """The best value of a trial's epochs that keep the limits, where there is one."""
        epochs = [epoch for epoch, value in enumerate(trial.values, 1) if value is not None]
        if self.goals.limits:
            epochs = [epoch for epoch in epochs if self._point(trial, epoch).feasible]
        known = [trial.values[epoch - 1] or 0.0 for epoch in epochs]
        return {"best": min(known) if self._sign > 0 else max(known)} if known else {}

    def _event(self, kind: str, trial: int | None, payload: Mapping[str, Any]) -> Event:
        seconds = round(self._offset_seconds + max(0.0, self.clock.elapsed()), 3)
        return Event(self._seq + 1, seconds, kind, trial, dict(payload))

    def _commit(
        self,
        trial: Trial | None,
        events: Sequence[tuple[str, Mapping[str, Any]]],
        told: Sequence[Told] = (),
        about: int | None = None,
    ) -> list[Event]:
        """Writes a trial as it is now, with its events, and then remembers it."""
        ident = trial.id if trial is not None else about
        made = [self._event(kind, ident, payload) for kind, payload in events]
        new = trial is not None and trial.id == len(self._trials)
        self._store.commit(
            Change(
                new=[trial] if trial is not None and new else (),
                changed=[trial] if trial is not None and not new else (),
                values=[(trial.id, epoch, row[self.metric]) for epoch, row in told] if trial is not None else (),
                events=made,
                others=[
                    (trial.id, epoch, name, value)
                    for epoch, row in told
                    for name, value in row.items()
                    if name != self.metric
                ]
                if trial is not None and len(self.goals.names) > 1
                else (),
            )
        )
        self._applied([trial] if trial is not None else [], made)
        return made

    def _applied(self, trials: Sequence[Trial], events: Sequence[Event]) -> None:
        for trial in trials:
            self._remember(self._trials[trial.id] if trial.id < len(self._trials) else None, trial)
        for event in events:
            self._seq = event.seq
            self._num_proposals += event.kind in ("trial_started", "trial_continued")
        self._mirror(events)
        for listener in self.listeners:
            for event in events:
                listener(event)

    def _remember(self, before: Trial | None, trial: Trial) -> None:
        """Takes a trial's new state into memory."""
        if before is None:
            self._trials.append(trial)
            self._keys.add(self._key(trial.config))
        else:
            self._trials[trial.id] = trial
        self._changes.append(trial.id)
        (self._running.add if trial.state is State.RUNNING else self._running.discard)(trial.id)
        known = 0 if before is None else len(before.values)
        if self.max_epochs is None:  # what counts is the value it was finished with
            known = len(trial.values) - (trial.state is State.DONE)
        self._epochs_spent += len(trial.values) - known
        for epoch, value in enumerate(trial.values[known:], start=known + 1):
            if value is not None and self.goals.plain:
                found = (self._sign * value, trial.id, epoch)
                self._best = found if self._best is None else min(self._best, found)
            elif value is not None:
                self._newest[trial.id] = self._point(trial, epoch)
                add(self._front, self._newest[trial.id])

    def _mirror(self, events: Sequence[Event]) -> str:
        """Copies events to `events.jsonl`; what cannot be written now waits, for the store has it. Returns why."""
        if self._log is None:
            return ""
        self._unlogged += events
        if not self._unlogged:
            return ""
        try:
            self._log.append(self._unlogged)
        except OSError as error:
            return f"{len(self._unlogged)} events could not be copied to {self._log.path}: {error}"
        self._unlogged = []
        return ""

    def _key(self, config: Mapping[str, Any]) -> int:
        text = self.space.key(config) if self.space is not None else json_text(config)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def _of(self, trial: int) -> Trial:
        try:
            at = operator.index(trial)
        except TypeError as error:
            raise UsageError(f"a trial is named by its number, not by {trial!r}") from error
        if isinstance(trial, bool) or not 0 <= at < len(self._trials):
            raise UsageError(f"there is no trial {trial!r}; the study has {len(self._trials)}")
        return self._trials[at]

    def _running_of(self, trial: int) -> Trial:
        found = self._of(trial)
        if found.state is not State.RUNNING:
            raise UsageError(f"trial {found.id} is {found.state}, not running")
        return found

    def _open_of(self, trial: int) -> Trial:
        found = self._of(trial)
        if not found.open:
            raise UsageError(f"trial {found.id} is {found.state} already")
        return found


def _store_in(folder: Path) -> Store:
    from thrifty.tuning.database import DatabaseStore

    return DatabaseStore.in_folder(folder)


def _changed(trial: Trial, **fields: Any) -> Trial:
    # dataclasses.replace, which this is, costs three times as much.
    names = ("id", "config", "state", "values", "cost_seconds", "until", "why", "inputs", "extra", "others")
    return Trial(*(fields[n] if n in fields else getattr(trial, n) for n in names))


def _extended(values: tuple[float | None, ...], told: Sequence[tuple[int, float]]) -> tuple[float | None, ...]:
    curve = list(values)
    for epoch, value in told:
        curve += [None] * (epoch - 1 - len(curve))
        curve.append(value)
    return tuple(curve)


def _cost(cost_seconds: float | None, trial: int) -> float:
    if cost_seconds is None:
        return 0.0
    cost = number(cost_seconds, f"cost_seconds of trial {trial}")
    if not 0 <= cost < math.inf:
        raise UsageError(f"cost_seconds of trial {trial} is {cost_seconds!r}; it must be a number of at least 0")
    return cost


def _as_json(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is a dict, not {value!r}")
    if not value:
        return {}
    return json.loads(json_text(dict(value)))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else text[:297] + "..."
