"""What `thrifty tune` shows: a live table while it searches, and the best configuration at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from thrifty.automl.progress import WIDTH, LiveView, clock_text
from thrifty.cli.show import print_json
from thrifty.core.events import Event
from thrifty.core.run_directory import RunDirectory
from thrifty.tuning.kept import Kept
from thrifty.tuning.study import Study
from thrifty.tuning.trial import Best, State, Trial

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MOST_ROWS = 8
MOST_BEST = 5


class TuneProgress(LiveView):
    """Shows a search as it goes: a live table on a terminal, a line for each trial that ended elsewhere."""

    def __init__(self, *, to_stderr: bool) -> None:
        super().__init__(to_stderr=to_stderr)
        self.study: Study | None = None
        self.best: Best | None = None

    def show(self, study: Study, event: Event) -> None:
        self.study = study
        if self.stream.isatty():
            self.go_live()
        elif event.trial is not None and event.kind in ("trial_finished", "trial_failed", "trial_skipped"):
            trial = study.trials[event.trial]
            said = f"failed: {trial.why}" if trial.state is State.FAILED else _value(study, trial)
            mark = "  best so far" if study.best is not None and study.best != self.best else ""
            self.best = study.best
            print(
                f"{event.time_seconds:6.1f} s  trial {trial.id}: {said}{mark}"[: 3 * WIDTH],
                file=self.stream,
                flush=True,
            )

    def view(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        study = self.study
        assert study is not None
        best = study.best
        said = f"{study.metric} {best.value:.6g} (trial {best.trial})" if best is not None else "none yet"
        spent, seconds = clock_text(study.clock.elapsed()), study.clock.budget_seconds
        time = spent if seconds is None else f"{spent} of {clock_text(seconds)}"
        epochs = "" if study.max_epochs is None else f", {study.epochs_spent} epochs"
        head = Text(f"best so far: {said}\n{study.num_trials} trials{epochs}, {time}")
        return Group(head, _table_of(study, [study.trials[number] for number in study.running[:MOST_ROWS]]))


def finish(found: Kept, *, as_json: bool) -> None:
    """Prints what came of a search (its best trials, or with `as_json` all of them), and ends the command."""
    directory, study = found.directory, found.study
    ranked = _ranked(study)
    if as_json:
        print_json(
            {
                "folder": str(directory.path),
                "metric": study.metric,
                "direction": study.direction,
                "best": _plain(study, ranked[0]) if ranked else None,
                "num_trials": study.num_trials,
                "epochs_spent": study.epochs_spent,
                "trials": [_plain(study, trial) for trial in study.trials],
            }
        )
    else:
        _print(directory, study, ranked)
    if not ranked and not found.exit_code:
        raise typer.Exit(1)
    raise typer.Exit(found.exit_code)


def _print(directory: RunDirectory, study: Study, ranked: list[Trial]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    counts = {state: sum(t.state is state for t in study.trials) for state in State}
    told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    console.print(Text(f"{study.num_trials} trials: {told}" if study.num_trials else "no trials"))
    if ranked:
        console.print(_table_of(study, ranked[:MOST_BEST]))
    else:
        failed = next((t.why for t in study.trials if t.state is State.FAILED), "")
        console.print(Text(f"no trial gave a value{': ' + failed if failed else ''}"))
    console.print(Text(f"study    {directory.path}\ngo on    thrifty resume {directory.path} --minutes 10"))


def _ranked(study: Study) -> list[Trial]:
    """Trials with a value, best first."""
    found = [trial for trial in study.trials if study.value_of(trial) is not None]
    sign = 1.0 if study.direction == "minimize" else -1.0
    return sorted(found, key=lambda trial: (sign * (study.value_of(trial) or 0.0), trial.id))


def _table_of(study: Study, trials: list[Trial]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True)
    names = ["trial", *(["epochs"] if study.max_epochs is not None else []), study.metric]
    for name in names:
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("configuration", ratio=1)
    for trial in trials:
        epochs = [] if study.max_epochs is None else [str(trial.epoch)]
        config = ", ".join(f"{name}={_short(value)}" for name, value in trial.config.items())
        table.add_row(str(trial.id), *epochs, _value(study, trial), Text(config))
    return table


def _value(study: Study, trial: Trial) -> str:
    value = study.value_of(trial)
    return "" if value is None else f"{value:.6g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(study: Study, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "state": str(trial.state),
        "config": trial.config,
        "value": study.value_of(trial),
        "values": list(trial.values),
        "cost_seconds": trial.cost_seconds,
        "why": trial.why,
        "extra": trial.extra,
    }
