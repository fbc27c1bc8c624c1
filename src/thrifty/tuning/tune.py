"""`thrifty.tune`: searches a space for the configuration of a user's objective that is best, in processes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from thrifty.core.budget import Budget
from thrifty.core.errors import ExternalError, UsageError
from thrifty.core.events import Event
from thrifty.core.interruption import Interruption, StoppableClock
from thrifty.core.space import Space
from thrifty.execution.job import Job, load_module, one_line, resolve
from thrifty.execution.processes import ProcessExecutor
from thrifty.execution.resources import usable_cores
from thrifty.tuning.checkpoints import copy_of, remove_unneeded
from thrifty.tuning.fidelity import Fidelity, hint, policy_with, with_total
from thrifty.tuning.metric import positive, whole
from thrifty.tuning.objective import Function, Objective, check_signature, is_generator
from thrifty.tuning.policies.named import SAMPLERS, needs_checkpoints
from thrifty.tuning.policy import Policy, Purchase
from thrifty.tuning.search import search
from thrifty.tuning.space_file import read_space
from thrifty.tuning.study import Study
from thrifty.tuning.terms import check_length, keep_length
from thrifty.tuning.trial import State, Trial

SHARED = ("numpy", "scipy", "pandas", "sklearn", "torch", "lightgbm", "xgboost", "transformers")
"""Imported once for all trials where the objective's process has them: they take long, and they survive a fork."""
UNFORKABLE = ("onnxruntime", "tensorflow", "jax")
MOST_FAILURES = 10  # with no trial that went well, after which the objective is taken to be broken

MOST = {"minutes": 1e7, "trial_seconds": 6e8, "trial_memory_mb": 1e12}  # nineteen years; an exabyte

Watch = Callable[[Study, Event], None]


def tune(
    objective: Function | str,
    space: Any,
    *,
    minutes: float | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    metric: str | Sequence[str] = "loss",
    direction: str | Sequence[str | None] | None = None,
    limits: Sequence[str] = (),
    max_epochs: int | None = None,
    repeats: int = 1,
    fidelity: str | None = None,
    workers: int = 1,
    folder: str | Path | None = None,
    policy: str | Policy = "auto",
    seed: int = 0,
    first: Sequence[Mapping[str, Any]] = (),
    warm_start: Sequence[str | Path] = (),
    trial_seconds: float | None = None,
    trial_memory_mb: float | None = None,
    watch: Watch | None = None,
    started: float | None = None,
) -> Study:
    """Searches `space` for the configuration with the best `metric`; each trial runs in a process of its own.

    objective: a function of a configuration (a dict) that gives the metric, as a number or in a dict of numbers; or a
        generator function `objective(config, checkpoint)` that yields the metric after each epoch, or (the metric,
        a folder) where it can be gone on with from that folder: a paused trial is called again with the folder that it
        yielded last as `checkpoint` (None at first). Or "FILE.py:FUNCTION".
    space: as `Study` takes it. metric, direction, limits, policy, seed: as for `Study`; of several metrics or with
        limits the objective gives all of them in a dict.
    minutes, trials, epochs: the budget, at least one; with epochs a trial's worth is `max_epochs` of them.
    max_epochs: the epochs of a full trial, for a generator.
    repeats: how often a configuration may be run, where the metric is noisy; its value is the mean. An objective with a
        parameter `repeat` is told which run it is, from 0: a seed, or the number of a fold. A generator is run to
        `max_epochs` each time, for the value of its last epoch.
    fidelity: a parameter of the space that says how many epochs to train, such as "epochs" of [10, 20, 30]: a generator
        is run once for each configuration of the others, to the largest, and scored at each of the values. It sees the
        largest in its configuration. By default the policy is then a grid.
    workers: how many trials run at once; each gets its share of the cores.
    folder: where the study is kept. Called again with the same folder it goes on: the budget counts from the beginning.
    first: configurations to try first; parameters that one leaves out are drawn.
    warm_start: folders of earlier studies of a like space, whose best configurations are tried next.
    trial_seconds, trial_memory_mb: a trial that takes more fails; the search goes on.
    watch: called with the study and each event. started: the `time.time()` that `minutes` count from, by default now.

    Raises UsageError for wrong use, ExternalError when the first ten trials failed and none went well, and
    KeyboardInterrupt after Ctrl-C, when what was told so far is kept.
    """
    study, interrupted = search_in_processes(
        objective, space, minutes=minutes, trials=trials, epochs=epochs, metric=metric, direction=direction,
        limits=limits, max_epochs=max_epochs, repeats=repeats, fidelity=fidelity, workers=workers, folder=folder,
        policy=policy, seed=seed, first=first, warm_start=warm_start, trial_seconds=trial_seconds,
        trial_memory_mb=trial_memory_mb, watch=watch, started=started,
    )  # fmt: skip
    if interrupted is not None:
        raise KeyboardInterrupt
    return study


def check_amounts(options: Mapping[str, Any], named: Callable[[str], str] = str) -> None:
    """Raises UsageError for an option of `tune` that is no number that it can be. named: as the user wrote it."""
    for name, most in MOST.items():
        if options.get(name) is not None:
            positive(named(name), options[name], most)
    for name, least in {"trials": 1, "epochs": 1, "max_epochs": 1, "workers": 1, "repeats": 1, "seed": 0}.items():
        if options.get(name) is not None:
            whole(named(name), options[name], least)


def search_in_processes(
    objective: Function | str,
    space: Any,
    *,
    minutes: float | None,
    trials: int | None,
    epochs: int | None,
    metric: str | Sequence[str],
    direction: str | Sequence[str | None] | None,
    max_epochs: int | None,
    workers: int,
    folder: str | Path | None,
    policy: str | Policy,
    seed: int,
    trial_seconds: float | None,
    trial_memory_mb: float | None,
    watch: Watch | None,
    started: float | None,
    first: Sequence[Mapping[str, Any]] = (),
    warm_start: Sequence[str | Path] = (),
    limits: Sequence[str] = (),
    repeats: int = 1,
    fidelity: str | None = None,
) -> tuple[Study, int | None]:
    """What `tune` does; gives the study, and the signal that ended the search early, if one did."""
    if minutes is None and trials is None and epochs is None:
        raise UsageError("say how much to spend: minutes=, trials= or epochs=")
    check_amounts(
        {"minutes": minutes, "trials": trials, "epochs": epochs, "max_epochs": max_epochs, "workers": workers,
         "repeats": repeats, "seed": seed, "trial_seconds": trial_seconds, "trial_memory_mb": trial_memory_mb}
    )  # fmt: skip
    workers, repeats = int(workers), int(repeats)
    function = _function(objective)
    space = read_space(Path(space)) if isinstance(space, (str, Path)) else space
    check_signature(function, repeats)
    passes: Fidelity | None = None
    if fidelity is not None:
        passes, space = _one_pass(fidelity, Space.of(space), function, policy, max_epochs, epochs, repeats)
        first = [{n: v for n, v in config.items() if n != fidelity} for config in first]
        policy, max_epochs = policy_with(fidelity, policy), passes.last
        if folder is not None:
            passes.check_folder(Path(folder))
    elif policy == "grid" and is_generator(function) and (said := hint(Space.of(space))) is not None:
        print(said, file=sys.stderr)
    _check_kind(function, max_epochs, epochs, policy)
    if repeats > 1 and epochs is not None:
        raise UsageError("with repeats the budget is in trials= or minutes=; each run counts as a trial")
    length = max_epochs if repeats > 1 else None
    if length is not None and folder is not None:
        check_length(Path(folder), length)
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        clock = StoppableClock(None if minutes is None else 60 * minutes, started, interruption)
        study = Study(
            space, metric=metric, direction=direction, limits=limits, max_epochs=max_epochs if repeats == 1 else None,
            repeats=repeats, seed=seed, folder=folder, policy=policy, first=first, warm_start=warm_start, clock=clock,
        )  # fmt: skip
        if passes is not None and folder is not None:
            passes.keep(Path(folder))
        if length is not None and folder is not None:
            keep_length(Path(folder), length)
        kept = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="thrifty-tune-")) if folder is None else folder
        ).resolve()
        cores = max(1, usable_cores() // workers)
        executor = stack.enter_context(ProcessExecutor(cores * workers, log_folder=kept / "logs"))
        made = _Jobs(
            objective, function, study, kept / "trials", cores, trial_seconds, trial_memory_mb, repeats, max_epochs,
            passes,
        )  # fmt: skip
        counted = None if trials is None and epochs is None else Budget(None, trials, epochs)
        events = stack.enter_context(closing(search(study, study.policy, executor, made, clock, counted)))
        for event in events:
            if watch is not None:
                watch(study, event)
            _check_failures(study, event)
            made.check_copy(event)
    if passes is not None:
        print(passes.summary(study.trials), file=sys.stderr)
    return study, interruption.number


def _one_pass(
    name: str, space: Space, function: Function, policy: str | Policy, max_epochs: int | None, epochs: int | None,
    repeats: int,
) -> tuple[Fidelity, Space]:  # fmt: skip
    """The fidelity and the space of the other parameters. Raises UsageError where one pass is not possible."""
    fidelity, rest = Fidelity.of(name, space)
    if not is_generator(function):
        raise UsageError("a fidelity needs an objective that yields the metric after each epoch")
    if policy != "auto" and policy not in SAMPLERS:
        raise UsageError(f"with a fidelity each configuration runs to its end; policy is one of {', '.join(SAMPLERS)}")
    if max_epochs not in (None, fidelity.last):
        raise UsageError(f"max_epochs is {max_epochs}, and the largest {name} is {fidelity.last}; leave max_epochs out")
    if epochs is not None or repeats > 1:
        raise UsageError("with a fidelity the budget is in trials= or minutes=, and there are no repeats")
    return fidelity, rest


class _Jobs:
    """Makes the job of each purchase."""

    def __init__(
        self, objective: Function | str, function: Function, study: Study, folder: Path, cores: int,
        seconds: float | None, memory_mb: float | None, repeats: int, max_epochs: int | None,
        fidelity: Fidelity | None,
    ) -> None:  # fmt: skip
        if isinstance(objective, str):
            path, _, name = objective.rpartition(":")
            objective = f"{Path(path).resolve() if path.endswith('.py') else path}:{name}"
        self.study = study
        self.entry = Objective(objective, study.goals.names, None if fidelity is None else fidelity.values)
        self.fidelity = fidelity
        self.preload = _preload(objective, function)
        self.folder, self.cores, self.seconds = folder, cores, seconds
        self.memory_bytes = None if memory_mb is None else int(1e6 * memory_mb)
        self.generator = is_generator(function)
        self.repeats, self.last_epoch = repeats, max_epochs
        branches = getattr(study.policy, "branches", None)
        self.branches: Sequence[int] = () if branches is None else branches(study)

    def __call__(self, trial: Trial, purchase: Purchase) -> Job:
        config = trial.config if self.fidelity is None else with_total(trial.config, self.fidelity)
        arguments: dict[str, Any] = {"config": config, "trial": trial.id}
        folder, span = self.folder / str(trial.id), (trial.epoch, trial.until)
        if self.repeats > 1:
            arguments["repeat"] = trial.epoch
            folder, span = folder / f"repeat-{trial.epoch}", (0, self.last_epoch)
        if self.generator:
            arguments |= {"from_epoch": span[0], "until": span[1], "folder": str(folder)}
        if self.branches:
            arguments["copies"] = list(self.branches)
            remove_unneeded(self.study.trials, self.folder)
        if trial.parent is not None:
            arguments["parent"] = {**trial.parent._asdict(), "folder": str(self.folder / str(trial.parent.trial))}
        return Job(
            arguments=arguments,
            function=self.entry,
            preload=self.preload,
            cores=self.cores,
            seconds=self.seconds,
            memory_bytes=self.memory_bytes,
            label=f"trial-{trial.id}",
        )

    def check_copy(self, event: Event) -> None:
        """Fails a trial that paused where others may begin from it, and gave no checkpoint.

        Raises UsageError when none ever gave one there.
        """
        epoch = int(event.payload.get("epoch", 0))
        if event.trial is None or event.kind != "trial_paused" or epoch not in self.branches:
            return
        if copy_of(self.folder / str(event.trial), epoch).exists():
            return
        why = f"yielded no checkpoint after epoch {epoch}, where others may begin with this policy"
        if any(self.folder.glob("*/after-*")) or any(t.epoch > self.branches[0] for t in self.study.trials):
            self.study.fail(event.trial, f"it {why}")
            return
        raise UsageError(
            f"trial {event.trial} {why}: yield (the metric, a folder to go on from) after each epoch, or choose "
            "another policy, such as freeze-thaw"
        )


def _function(objective: Function | str) -> Function:
    """The objective itself; one named by file is imported here too, so that what is wrong with it is said at once."""
    if not isinstance(objective, str):
        if not callable(objective):
            raise UsageError(f"the objective is {objective!r}; it must be a function, or text like FILE.py:FUNCTION")
        return objective
    path, _, name = objective.rpartition(":")
    if not path or not name:
        raise UsageError(f"the objective {objective!r} must be written FILE.py:FUNCTION")
    if path.endswith(".py") and not Path(path).is_file():
        raise UsageError(f"there is no file {path}, which the objective {objective!r} names")
    try:
        load_module(path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} cannot be imported: {one_line(error)}") from error
    try:
        found = resolve(objective)
    except AttributeError as error:
        raise UsageError(f"{path} has no function {name!r}") from error
    if not callable(found):
        raise UsageError(f"{name!r} in {path} is {type(found).__name__}, not a function")
    return found


def _check_kind(function: Function, max_epochs: int | None, epochs: int | None, policy: str | Policy) -> None:
    if not is_generator(function) and needs_checkpoints(policy):
        raise UsageError(
            "with population-based training trials begin from checkpoints of others: give a generator that yields (the "
            "metric, a folder to go on from) after each epoch, or choose another policy"
        )
    if is_generator(function):
        if max_epochs is None:
            raise UsageError("the objective yields a value an epoch; say how many epochs a full trial has: max_epochs=")
    elif max_epochs is not None or epochs is not None:
        raise UsageError("the objective gives one value; epochs are for one that yields the metric after each epoch")


def _preload(objective: Function | str, function: Function) -> tuple[str, ...]:
    """What is imported once, before trials are forked: slow libraries, and the objective's own module or file."""
    if any(name in sys.modules for name in UNFORKABLE):
        return ()
    names = [name for name in SHARED if name in sys.modules]
    if isinstance(objective, str):
        return (*names, objective.rpartition(":")[0])
    module = getattr(function, "__module__", None)
    own = sys.modules.get(module or "")
    if module != "__main__" and own is not None and getattr(own, "__file__", None):
        names.append(str(module))
    return tuple(names)


def _check_failures(study: Study, event: Event) -> None:
    """Raises ExternalError when an objective always fails."""
    if event.kind == "trial_failed" and study.best is None:
        failed = [trial for trial in study.trials if trial.state is State.FAILED]
        if len(failed) >= MOST_FAILURES and len(failed) == study.num_trials - len(study.running):
            raise ExternalError(f"the first {len(failed)} trials failed, the last one so: {failed[-1].why}")
    elif event.kind == "trial_failed" and event.trial is not None and study.trial(event.trial).parent is not None:
        children = [trial for trial in study.trials if trial.parent is not None]
        if sum(t.state is State.FAILED for t in children) >= MOST_FAILURES and not any(t.values for t in children):
            raise ExternalError(
                f"the first {len(children)} trials that began from another's checkpoint failed, the last one so: "
                f"{study.trial(event.trial).why}. Leave parameters that cannot change during training out of the "
                "space, or name them in Pbt(fixed=[...])"
            )
