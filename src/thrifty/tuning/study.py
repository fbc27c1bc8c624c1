"""A study: one space, its metric and fidelity, its trials, in one store.

Used alone by `ask` and `tell`, or by a coordinator (`search`, `automl.run`) by `start`, `proceed`, `report`, `finish`,
`pause`, `fail`, `skip` and `record`. Whatever returns is in the store; what raises has changed nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from thrifty.core.budget import Clock
from thrifty.core.errors import Exhausted, ExternalError, UsageError
from thrifty.core.events import RESERVED, Event
from thrifty.core.space import Space
from thrifty.tuning.goals import Goals
from thrifty.tuning.journal import Journal
from thrifty.tuning.metric import whole
from thrifty.tuning.outcome import Told, changed, cost_of, finite, is_one, rows, said, state_after, with_values
from thrifty.tuning.policy import Policy, Purchase, Stop
from thrifty.tuning.results import Results
from thrifty.tuning.store import Change, Store
from thrifty.tuning.terms import as_json, check_same, chosen_policy, completed, header_of
from thrifty.tuning.trial import Parent, Proposal, State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.importance import Importance


class Study(Results):
    """One search: a space, a metric and what was tried.

    space: {name: Float | Int | Choice | When | list of options}, a Space, a dataclass with domains, a YAML file's path;
        None for a study whose configurations are free dicts given to `start`.
    metric, direction: the metric's name, and "minimize" or "maximize" (read from names such as loss and accuracy); or
        lists of several metrics' names and directions: then `front` is what is looked for.
    limits: what must hold, such as "latency_ms <= 20", of the metrics or of other numbers that are told with them.
    max_epochs: the epochs of a full trial; None when a trial has one value and no epochs.
    repeats: how often a configuration may be run, for a metric that comes out differently each time: a trial's value is
        the mean of its runs, and `best` allows for their noise. Only without epochs, for one metric without limits.
    seed: the same seed and the same answers give the same decisions.
    folder: where the study is kept; it is gone on with when its space, metric, direction, max_epochs and repeats match.
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
        repeats: int = 1,
        seed: int = 0,
        folder: str | Path | None = None,
        policy: str | Policy = "auto",
        first: Sequence[Mapping[str, Any]] = (),
        clock: Clock | None = None,
        store: Store | None = None,
        warm_start: Sequence[str | Path] = (),
    ) -> None:
        found = None if space is None else Space.of(space)
        if found is not None and not found:
            raise UsageError("the space is empty; give it at least one parameter")
        super().__init__(
            found,
            Goals.of(metric, direction, limits),
            None if max_epochs is None else whole("max_epochs", max_epochs, 1),
            whole("repeats", repeats, 1),
        )
        self.seed = whole("seed", seed, 0)
        self.folder = None if folder is None else Path(folder)
        self.policy = chosen_policy(policy, self.goals, self.max_epochs, self.repeats)
        points = [completed(self.space, config, self.seed, at) for at, config in enumerate(first)]
        self.clock = clock or Clock()
        self._journal = Journal(self.folder, self.clock, store)
        self.listeners = self._journal.listeners
        self._open(points, warm_start)

    @classmethod
    def look(cls, folder: str | Path, policy: str | Policy = "random") -> Study:
        """The study in `folder` as it is now, even while others work on it, to look at and not to go on with.

        Raises StoreError when there is none.
        """
        from thrifty.tuning.database import read

        store = read(Path(folder))
        names = ("metric", "direction", "limits", "max_epochs", "repeats", "seed")
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
        proposal = self.buy(decision)
        drop = getattr(self.policy, "drop", None)
        for ident, why in drop(self, self.clock) if drop is not None else ():
            if self._of(ident).state in (State.PAUSED, State.WAITING):
                self.skip(ident, why)
        return proposal

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
        elif is_one(self.goals, values):
            told = [(until, self.goals.row(values, f"trial {before.id}"))]
        else:
            given = rows(self.goals, values, f"trial {before.id}")
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
        plain = completed(self.space, config, self.seed, self.num_trials)
        if self.seen(plain):
            return next(trial.id for trial in self._trials if trial.config == plain and trial.parent is None)
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
            more = purchase.inputs, purchase.until, purchase.extra, purchase.parent
            trial = self._of(self.start(config, purchase.why, *more))
        return Proposal(trial.id, dict(trial.config), trial.epoch, trial.until, trial.parent)

    def start(
        self,
        config: Mapping[str, Any],
        why: str = "",
        inputs: Sequence[int] = (),
        until: int | None = None,
        extra: Mapping[str, Any] | None = None,
        parent: Parent | None = None,
    ) -> int:
        """Starts a trial of `config`, to run up to the epoch `until` (by default to the last), and returns its id.

        parent: whose checkpoint it begins from, and after which epoch; its inputs then begin with that trial.
        """
        plain = self.space.validate(config) if self.space is not None else as_json(config, "a configuration")
        for other in inputs:
            self._of(other)
        if parent is not None:
            parent = self._parent_of(parent)
            inputs = tuple(dict.fromkeys((parent.trial, *inputs)))
        trial = Trial(
            id=len(self._trials),
            config=plain,
            state=State.RUNNING,
            until=self._until(until, 0 if parent is None else parent.epoch),
            why=str(why),
            inputs=tuple(inputs),
            extra=as_json(extra or {}, "extra"),
            parent=parent,
        )
        details = {"config": plain, "why": trial.why, **self._span(trial)}
        if trial.inputs:
            details["inputs"] = list(trial.inputs)
        if parent is not None:
            details["parent"] = parent._asdict()
        self._commit(trial, "trial_started", details)
        return trial.id

    def start_from(self, folders: Sequence[str | Path]) -> None:
        """Puts a few of the best configurations of the studies in `folders` first, to be run when the policy is asked.

        Raises StoreError where there is no study, UsageError where one has no parameter of this study's space.
        """
        self._begin((), folders)

    def proceed(self, trial: int, until: int | None = None, why: str = "") -> None:
        """Goes on with a paused or waiting trial, up to the epoch `until` (by default the last)."""
        before = self._of(trial)
        if before.state not in (State.PAUSED, State.WAITING):
            raise UsageError(f"trial {before.id} is {before.state}; only a paused or waiting one can go on")
        after = changed(before, state=State.RUNNING, until=self._until(until, before.epoch), why=why or before.why)
        self._commit(after, "trial_continued", {"why": after.why, **self._span(after)})

    def report(self, trial: int, epoch: int, value: Any, extra: Mapping[str, Any] | None = None) -> bool:
        """The metric (or a dict of all) after `epoch` of a running trial; False when one is not finite: it failed.

        In a study without epochs this is progress that watchers and policies see, and `finish` tells what counts.
        """
        before = self._running_of(trial)
        last = math.inf if self.max_epochs is None else self.max_epochs
        if not before.epoch < epoch <= last:
            raise UsageError(f"trial {before.id} reported epoch {epoch}; it must be from {before.epoch + 1} to {last}")
        told = [(epoch, self.goals.row(value, f"trial {before.id}"))]
        if not all(map(math.isfinite, told[0][1].values())):
            self._end(before, told, None, None, extra)
            return False
        after = with_values(before, told, self.goals)
        if extra:
            after = changed(after, extra={**before.extra, **as_json(extra, "extra")})
        self._commit(after, "epoch_finished", {"epoch": epoch, **said(told[0][1], self.metric)}, told)
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
        self._end(before, [], None, cost_seconds, extra, state=self._at_rest(before))

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
        return self._commit(None, kind, payload, about=None if trial is None else self._of(trial).id)

    def renew(self) -> None:
        """Says that this coordinator lives; raises StoreError when another has taken over."""
        self._journal.store.renew()

    # ---- looking

    @property
    def num_proposals(self) -> int:
        """How often a trial was started or gone on with."""
        return self._journal.num_proposals

    def events(self, after: int = 0) -> Iterator[Event]:
        """All events whose `seq` is above `after`."""
        return self._journal.store.events(after)

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
        missing = self._journal.close()
        if missing:
            raise ExternalError(f"{missing}; nothing is lost: they are written when the study is opened again")

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ---- inside

    def _open(self, first: Sequence[Mapping[str, Any]], warm_start: Sequence[str | Path]) -> None:
        header = header_of(self.space, self.goals, self.max_epochs, self.seed, self.repeats)
        opened = self._journal.open(header)
        try:
            check_same(opened.header, header, self.space, self.folder)
            self.seed = opened.header["seed"]
            for trial in opened.trials:
                self._remember(trial)
            self._journal.begin_log()
            if opened.last_seq == 0 and opened.live:
                self._commit(None, "study_started", {k: v for k, v in header.items() if k != "format"})
            elif opened.live:
                self._take_up(opened.trials)
            if not self._trials:
                self._begin(first, warm_start)
        except BaseException:
            self._journal.store.close()
            raise

    def _begin(self, first: Sequence[Mapping[str, Any]], warm_start: Sequence[str | Path]) -> None:
        """Puts what is to be tried first before what the policy would propose: all of it, or nothing."""
        earlier: Sequence[Mapping[str, Any]] = ()
        if warm_start:
            from thrifty.tuning.warm import first_from

            if self.space is None:
                raise UsageError("this study has no space that earlier studies could be matched with")
            earlier = first_from(self.space, warm_start, self.seed)
        for config in first:
            self.enqueue(config)
        for config in earlier:
            if not self.seen(config):
                self.pause(self.start(config, "good in earlier studies"))

    def _take_up(self, trials: Sequence[Trial]) -> None:
        """What ran when the last coordinator ended stops where it was last told; what counts proposals is read."""
        self._journal.count_proposals()
        stopped = [changed(t, state=self._at_rest(t), until=None) for t in trials if t.state is State.RUNNING]
        event = self._journal.event("study_continued", None, {"interrupted": [t.id for t in stopped]})
        self._journal.write(Change(changed=stopped, events=[event]))
        self._applied(stopped, event)

    def _at_rest(self, trial: Trial) -> State:
        """What a running trial is that stops where it is; at its last epoch there is nothing to go on with."""
        if self.max_epochs is not None and len(trial.values) == self.max_epochs:
            return State.DONE
        return State.PAUSED if trial.values else State.WAITING

    def _parent_of(self, parent: Parent) -> Parent:
        """The same as plain numbers. Raises UsageError when that trial has not had that epoch."""
        found, epoch = self._of(parent.trial), parent.epoch
        if not 1 <= epoch <= len(found.values) or found.values[epoch - 1] is None:
            raise UsageError(f"trial {found.id} has no epoch {epoch} that another trial could begin from")
        return Parent(found.id, int(epoch))

    def _until(self, until: int | None, epoch: int) -> int | None:
        if self.max_epochs is None:
            if until is not None:
                raise UsageError("this study has no epochs to run to; give it max_epochs")
            return None
        until = self.max_epochs if until is None else until
        if not epoch < until <= self.max_epochs:
            raise UsageError(f"a trial at epoch {epoch} cannot run to epoch {until} of {self.max_epochs}")
        return until

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
        good, wrong = finite(told, with_epochs=self.max_epochs is not None)
        after = with_values(before, good, self.goals)
        if wrong is not None:
            failed, state = failed or wrong, State.FAILED
        if state is None:
            length = self.max_epochs if self.repeats == 1 else self.repeats
            state = State.FAILED if failed is not None else state_after(after, length)
        why = failed if failed is not None else before.why
        after = changed(
            after,
            state=state,
            until=None,
            why=why,
            cost_seconds=before.cost_seconds + cost_of(cost_seconds, before.id),
            extra={**before.extra, **as_json(extra or {}, "extra")},
        )
        details: dict[str, Any] = {"cost_seconds": after.cost_seconds}
        if after.values:
            details |= {"epoch": after.epoch, **said(self._row_at(after, after.epoch), self.metric)}
            details |= self._best_said(after)
        if state in (State.FAILED, State.SKIPPED):
            details["why"] = why
        if extra:
            details["extra"] = as_json(extra, "extra")
        kinds = {State.DONE: "finished", State.WAITING: "paused"}
        self._commit(after, f"trial_{kinds.get(state, state.value)}", details, good)

    def _commit(
        self,
        trial: Trial | None,
        kind: str,
        payload: Mapping[str, Any],
        told: Sequence[Told] = (),
        about: int | None = None,
    ) -> Event:
        """Writes a trial as it is now, with an event, and then remembers it."""
        event = self._journal.event(kind, trial.id if trial is not None else about, payload)
        if trial is None:
            self._journal.write(Change(events=[event]))
        else:
            new = trial.id == len(self._trials)
            others = [
                (trial.id, epoch, name, value) for epoch, row in told for name, value in list(row.items())[1:]
            ]  # a row's first is the metric
            self._journal.write(
                Change(
                    new=[trial] if new else (),
                    changed=() if new else [trial],
                    values=[(trial.id, epoch, row[self.metric]) for epoch, row in told],
                    events=[event],
                    others=others,
                )
            )
        self._applied([] if trial is None else [trial], event)
        return event

    def _applied(self, trials: Sequence[Trial], event: Event) -> None:
        for trial in trials:
            self._remember(trial)
        self._journal.said(event)

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
