"""What `thrifty tune` shows: a live table while it searches, and the best configuration at its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from thrifty.automl.progress import WIDTH, LiveView, clock_text
from thrifty.cli.show import print_json
from thrifty.core.events import Event
from thrifty.core.run_directory import RunDirectory, open_run
from thrifty.tuning.ended import nothing_left
from thrifty.tuning.kept import Kept
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Best, State, Trial

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MOST_ROWS = 8
MOST_BEST = 5
MOST_FRONT = 12
ENDED = ("trial_finished", "trial_failed", "trial_skipped")


class TuneProgress(LiveView):
    """Shows a search as it goes: a live table on a terminal, a line for each trial that ended elsewhere.

    options: as `thrifty tune` was given them; `trials` and `epochs` bound what is left.
    """

    def __init__(self, options: Mapping[str, Any], *, to_stderr: bool) -> None:
        super().__init__(to_stderr=to_stderr)
        self.study: Study | None = None
        self.best: Best | None = None
        self.trials, self.epochs = options.get("trials"), options.get("epochs")
        self.workers: dict[int, tuple[int, float]] = {}  # the trial that each worker runs, and since when

    def show(self, study: Study, event: Event) -> None:
        self.study = study
        if self.stream.isatty():
            self._seat(study)
            self.go_live()
        elif event.trial is not None and event.kind in (ENDED if study.repeats == 1 else (*ENDED, "trial_paused")):
            trial, best = study.trials[event.trial], study.best
            said = f"failed: {_why(trial)}" if trial.state is State.FAILED else ", ".join(_values(study, trial))
            new = best is not None and best != self.best and (study.repeats == 1 or best.trial == trial.id)
            mark = "  best so far" if new else ""
            self.best = best
            print(
                f"{event.time_seconds:6.1f} s  trial {trial.id}: {said}{mark}"[: 3 * WIDTH],
                file=self.stream,
                flush=True,
            )

    def _seat(self, study: Study) -> None:
        """Gives each running trial the lowest free worker's number, from 1, and keeps it there."""
        self.workers = {w: seat for w, seat in self.workers.items() if seat[0] in study.running}
        seated = {trial for trial, _ in self.workers.values()}
        for trial in study.running:
            if trial not in seated:
                free = next(w for w in range(1, len(self.workers) + 2) if w not in self.workers)
                self.workers[free] = trial, study.clock.elapsed()

    def view(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        study = self.study
        assert study is not None
        best = study.best
        said = f"{_metrics(study, best)} (trial {best.trial})" if best is not None else "none yet"
        head = Table.grid(expand=True)
        head.add_column(ratio=1, no_wrap=True)
        head.add_column(justify="right", no_wrap=True)
        spent = self._spent(study)
        head.add_row(Text(f"best so far: {said}"), Text(spent[0][0]))
        counts = _counts(study, [state for state in State if state is not State.RUNNING])
        head.add_row(
            Text(f"{study.num_trials} trials" + f": {counts}" * bool(counts), style="dim"), Text(_joined(spent))
        )
        share = max((used / most for _, used, most in spent if most), default=0.0)
        bar = Table.grid(expand=True)  # the bar alone would not end its line
        bar.add_row(ProgressBar(total=1.0, completed=min(1.0, share), width=None))
        return Group(head, bar, self._table(study))

    def _spent(self, study: Study) -> list[tuple[str, float, float | None]]:
        """What was spent of each budget: in words, the number, and the bound where there is one. Seconds come first."""
        elapsed, seconds = study.clock.elapsed(), study.clock.budget_seconds
        spent: list[tuple[str, float, float | None]] = [
            (clock_text(elapsed) + (f" of {clock_text(seconds)}" if seconds else ""), elapsed, seconds)
        ]
        if study.max_epochs is not None:
            bounds = [b for b in (self.epochs, self.trials and self.trials * study.max_epochs) if b]
            most = min(bounds, default=None)
            text = f"{study.epochs_spent}{f' of {most}' if most else ''} epochs"
            spent.append((text, study.epochs_spent, most))
        elif self.trials and study.repeats > 1:
            spent.append((f"{study.epochs_spent} of {self.trials} runs", study.epochs_spent, self.trials))
        elif self.trials:
            spent.append((f"{study.num_trials} of {self.trials} trials", study.num_trials, self.trials))
        return spent

    def _table(self, study: Study) -> Table:
        """What runs where, and the best trial's configuration to hold it against."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, expand=True, pad_edge=False)
        epochs = ["epoch"] if study.max_epochs is not None else []
        for name in ("worker", "trial", *epochs, *study.goals.names, "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("configuration", ratio=1, no_wrap=True, overflow="ellipsis")
        if study.best is not None:
            at = [f"{study.best.epoch}"] if epochs else []
            best = study.best.metrics or {study.metric: study.best.value}
            shown = _values(study, study.trial(study.best.trial)) if study.repeats > 1 else []
            values = ["best", str(study.best.trial), *at, *(shown or (f"{best[n]:.5g}" for n in study.goals.names)), ""]
            table.add_row(*values, Text(_config(study.best.config)), style="bold")
        for worker, (ident, since) in sorted(self.workers.items())[:MOST_ROWS]:
            trial = study.trials[ident]
            curves = [trial.values, *(trial.others.get(n, ()) for n in study.goals.names[1:])]
            last = ["" if not curve or curve[-1] is None else f"{curve[-1]:.5g}" for curve in curves]
            at = [f"{trial.epoch} of {trial.until}"] if epochs else []
            seconds = f"{max(0.0, study.clock.elapsed() - since):.1f}"
            table.add_row(str(worker), str(ident), *at, *last, seconds, Text(_config(trial.config)))
        if len(self.workers) > MOST_ROWS:
            empty = [""] * (len(epochs) + len(study.goals.names) + 3)
            table.add_row(*empty, f"and {len(self.workers) - MOST_ROWS} more workers")
        return table


def finish(found: Kept, *, as_json: bool) -> None:
    """Prints what came of a search (its best trials, or with `as_json` all of them), and ends the command.

    Its report.json and report.html are written first.
    """
    from thrifty.evaluation.studies.page import write

    directory, study = found.directory, found.study
    report = write(study, directory, open_run(directory.path)[1])
    ranked = _ranked(study)
    if as_json:
        print_json(
            {
                "folder": str(directory.path),
                "metric": study.metric,
                "direction": study.direction,
                **_goals(study),
                "best": _plain(study, ranked[0]) if ranked and study.best is not None else None,
                **({"lineage": report["lineage"]} if report["lineage"] else {}),
                "num_trials": study.num_trials,
                "epochs_spent": study.epochs_spent,
                "trials": [_plain(study, trial) for trial in study.trials],
            }
        )
        if not ranked:
            print(f"thrifty: {_without_value(study)}", file=sys.stderr, flush=True)
    else:
        _print(directory, study, ranked, report["lineage"])
    if not ranked and not found.exit_code:
        raise typer.Exit(1)
    raise typer.Exit(found.exit_code)


def _print(directory: RunDirectory, study: Study, ranked: list[Trial], lineage: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    runs = f", {study.epochs_spent} runs" if study.repeats > 1 else ""
    console.print(
        Text(f"{study.num_trials} trials{runs}: {_counts(study, list(State))}" if study.num_trials else "no trials")
    )
    front = len(study.goals.metrics) > 1
    if front and study.front:
        console.print(Text("the front: trials that no other beats in every metric"))
        on_front = dict.fromkeys(point.trial for point in study.front)
        console.print(_table_of(study, [study.trial(ident) for ident in on_front][:MOST_FRONT]))
        if len(on_front) > MOST_FRONT:
            console.print(Text(f"and {len(on_front) - MOST_FRONT} more, in the report"))
    elif ranked:
        if study.best is None:
            console.print(Text(f"no trial keeps {', '.join(map(str, study.goals.limits))}; those that are nearest:"))
        console.print(_table_of(study, ranked[:MOST_BEST]))
        if lineage:
            console.print(Text("how the best was trained"))
            console.print(_schedule(lineage))
    else:
        console.print(Text(_without_value(study)))
    console.print(Text(f"study    {directory.path}\nreport   {directory.page}"))
    end = nothing_left(study)
    console.print(Text(end if end is not None else f"go on    thrifty resume {directory.path} --minutes 10"))


def _without_value(study: Study) -> str:
    """What is said of a search that found nothing."""
    failed = next((trial.why for trial in study.trials if trial.state is State.FAILED), "")
    return f"no trial gave a value{': ' + failed if failed else ''}"


def _ranked(study: Study) -> list[Trial]:
    """Trials with a value, best first: as `study.best` chooses."""
    found = [trial for trial in study.trials if study.value_of(trial) is not None]
    return sorted(found, key=study.rank_of)


def _table_of(study: Study, trials: list[Trial]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True)
    children = any(trial.parent is not None for trial in trials)
    names = ["trial", *(["epochs"] if study.max_epochs is not None else []), *(["from"] if children else [])]
    names += study.goals.names
    for name in names:
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("configuration", ratio=1)
    for trial in trials:
        epochs = [] if study.max_epochs is None else [str(trial.epoch)]
        begun = [f"{trial.parent.trial} at {trial.parent.epoch}" if trial.parent else ""] if children else []
        table.add_row(str(trial.id), *epochs, *begun, *_values(study, trial), Text(_config(trial.config)))
    return table


def _schedule(lineage: Sequence[Mapping[str, Any]]) -> Table:
    """Which epochs of a trial were trained with which configuration, and as which trial."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("trial", "epochs"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("configuration", ratio=1)
    for part in lineage:
        epochs = f"{part['from_epoch'] + 1} to {part['until_epoch']}"
        table.add_row(str(part["trial"]), epochs, Text(_config(part["config"])))
    return table


def _values(study: Study, trial: Trial) -> list[str]:
    """What was told of a trial at its best epoch."""
    if study.repeats > 1 and trial.id in study.estimates:
        return [_mean(study.value_of(trial), study.estimates[trial.id].count, study.estimates[trial.id].error)]
    if study.goals.plain:
        value = study.value_of(trial)
        return ["" if value is None else f"{value:.6g}"]
    told = study.metrics_of(trial)
    return [f"{told[name]:.6g}" if name in told else "" for name in study.goals.names]


def _mean(mean: float | None, runs: int, error: float | None) -> str:
    """A mean with its standard error, where that is known, and of how many runs."""
    return f"{mean:.6g}{'' if error is None else f' ± {error:.2g}'} (n={runs})"


def _metrics(study: Study, best: Best) -> str:
    if study.repeats > 1:
        return f"{study.metric} {_mean(best.value, best.runs, best.error)}"
    return ", ".join(f"{n} {v:.6g}" for n, v in (best.metrics or {study.metric: best.value}).items())


def _goals(study: Study) -> dict[str, Any]:
    """What a study of several metrics or with limits has beside others."""
    if study.goals.plain:
        return {}
    return {
        "metrics": list(study.goals.metrics),
        "directions": list(study.goals.directions),
        "limits": [str(limit) for limit in study.goals.limits],
        "front": [asdict(point) for point in study.front],
    }


def _config(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in config.items())


def _counts(study: Study, states: Sequence[State]) -> str:
    """How many trials are in each of the states, in words."""
    counts = {state: sum(trial.state is state for trial in study.trials) for state in states}
    words = {State.PAUSED: "may be run again"} if study.repeats > 1 else {}
    return ", ".join(f"{n} {words.get(state, state)}" for state, n in counts.items() if n)


def _joined(spent: list[tuple[str, float, float | None]]) -> str:
    """What was spent beside seconds."""
    return ", ".join(text for text, _, _ in spent[1:])


def _why(trial: Trial) -> str:
    return trial.why.removeprefix("failed: ")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(study: Study, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "state": str(trial.state),
        "config": trial.config,
        "value": study.value_of(trial),
        "values": list(trial.values),
        **({"standard_error": study.error_of(trial)} if study.repeats > 1 else {}),
        **(
            {} if study.goals.plain else {"metrics": study.metrics_of(trial), "keeps_limits": study.keeps_limits(trial)}
        ),
        "cost_seconds": trial.cost_seconds,
        "why": trial.why,
        **({"parent": trial.parent._asdict()} if trial.parent is not None else {}),
        "extra": trial.extra,
    }
