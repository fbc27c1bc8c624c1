"""`thrifty`: run, train, tune, inspect, predict, evaluate, resume, report, doctor.

Exit codes: 0 done, 1 failed from outside, 2 wrong use or data, 3 limits not met, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from thrifty.cli.streams import comes_of, flush, json_alone, open_streams
from thrifty.core.budget import process_started
from thrifty.core.errors import ThriftyError, UsageError

KNOWN_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EMFILE, errno.EIO,
)  # fmt: skip

app = typer.Typer(
    name="thrifty",
    help="Labelled data, a budget and limits in; a small deployable model and an honest report out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Data = Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder, a zip or a glob of files.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the artifact in it.")]
Target = Annotated[str | None, typer.Option(help="The column to predict; not needed for a folder per class.")]
Test = Annotated[str | None, typer.Option(help="Data for the final figures only.")]
Validation = Annotated[str | None, typer.Option(help="Data that choices are made on.")]
Minutes = Annotated[float, typer.Option(help="Wall clock of the whole command.")]
Metric = Annotated[str | None, typer.Option(help="The metric to go by; by default chosen from the target.")]
Out = Annotated[Path | None, typer.Option(help="The run directory; by default runs/NAME-N.")]
MaxLatency = Annotated[float | None, typer.Option(help="Milliseconds for one raw row, decoding included.")]
MaxSize = Annotated[float | None, typer.Option(help="Size of the artifact folder in 10^6 bytes.")]
MaxLoss = Annotated[float, typer.Option(help="Points of the metric that int8 may lose against float.")]
Group = Annotated[str | None, typer.Option(help="Column whose rows with the same value stay in one part.")]
Time = Annotated[str | None, typer.Option(help="Column to split by: the newest rows validate and test.")]
Weight = Annotated[str | None, typer.Option(help="Column with the weight of each row.")]
Folds = Annotated[int | None, typer.Option(help="Cross-validate with this many folds.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Threads = Annotated[int, typer.Option(help="Threads of the artifact.")]
Device = Annotated[str, typer.Option(help="auto or cpu: this version trains on the processor.")]
Exclude = Annotated[list[str] | None, typer.Option(help="A candidate to leave out; may be repeated.")]
RecipeFile = Annotated[Path | None, typer.Option(help="YAML whose fields are fixed or narrowed.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="path=value, like schema.COLUMN=text.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask a model hub.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no computed features for later runs.")]
MaxBadShare = Annotated[float, typer.Option(help="Share of unreadable rows above which the run stops.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; progress goes to stderr.")]


def version(show: bool) -> None:
    if show:
        from thrifty import __version__

        typer.echo(f"thrifty {__version__}")
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def _start(command: str, arguments: dict[str, Any]) -> None:
    from thrifty.api import start
    from thrifty.automl.progress import Progress
    from thrifty.automl.request import merged, parse_settings, read_recipe

    as_json = arguments.pop("json")
    settings, recipe_file = arguments.pop("settings") or [], arguments.pop("recipe")
    recipe, meanings = parse_settings(settings)
    if recipe_file is not None:
        recipe = merged(read_recipe(recipe_file), recipe)
    out = arguments.pop("out")
    arguments["cache"] = not arguments.pop("no_cache")
    arguments["exclude"] = tuple(arguments.pop("exclude") or ())
    with json_alone(as_json), Progress(to_stderr=as_json) as progress:
        finished = start(
            {**arguments, "recipe": recipe, "meanings": meanings, "command": command},
            out=out,
            watch=progress.show,
            started=process_started(),
        )
    _finish(finished, as_json)


def _finish(finished: Any, as_json: bool) -> None:
    from thrifty.cli.show import print_json, print_report

    try:
        if as_json:
            print_json(finished.report)
        else:
            print_report(finished)
    except (OSError, SystemExit) as error:
        if not comes_of(error, errno.EPIPE, errno.EIO):  # of a terminal that is gone
            raise
    raise typer.Exit(finished.exit_code)


@app.command()
def run(
    data: Data,
    target: Target = None,
    test: Test = None,
    validation: Validation = None,
    minutes: Minutes = 10.0,
    metric: Metric = None,
    out: Out = None,
    max_latency_ms: MaxLatency = None,
    max_size_mb: MaxSize = None,
    max_accuracy_loss: MaxLoss = 0.5,
    group: Group = None,
    time: Time = None,
    weight: Weight = None,
    folds: Folds = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    exclude: Exclude = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    offline: Offline = False,
    no_cache: NoCache = False,
    max_bad_share: MaxBadShare = 0.05,
    json: Json = False,
) -> None:
    """Find, train and export the best model that the minutes and limits allow."""
    _start("run", locals())


@app.command()
def train(
    data: Data,
    target: Target = None,
    test: Test = None,
    validation: Validation = None,
    minutes: Minutes = 10.0,
    metric: Metric = None,
    out: Out = None,
    max_latency_ms: MaxLatency = None,
    max_size_mb: MaxSize = None,
    max_accuracy_loss: MaxLoss = 0.5,
    group: Group = None,
    time: Time = None,
    weight: Weight = None,
    folds: Folds = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    exclude: Exclude = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    offline: Offline = False,
    no_cache: NoCache = False,
    max_bad_share: MaxBadShare = 0.05,
    json: Json = False,
) -> None:
    """Train one recipe: what --recipe and --set leave open takes its default."""
    _start("train", locals())


@app.command()
def tune(
    objective: Annotated[
        str, typer.Argument(metavar="FILE.py:FUNCTION", help="What gives the metric of a configuration.")
    ],
    space: Annotated[Path, typer.Option(help="YAML with a domain for each parameter, as above.")],
    minutes: Annotated[float | None, typer.Option(help="Wall clock of the whole command.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials at most (with epochs: so many full ones).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most, of all trials together.")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="Epochs of a full trial, for a generator.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="What the objective gives, by default loss; repeat it for several.")
    ] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="minimize or maximize, one for each metric; for many names it is known.")
    ] = None,
    limits: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT", help='What must hold: "latency_ms <= 20"; may be repeated.')
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Runs of a configuration at most, where the metric is noisy; each counts as a trial.")
    ] = 1,
    fidelity: Annotated[
        str | None, typer.Option(metavar="NAME", help="The parameter that is the number of epochs: all in one pass.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Trials that run at once.")] = 1,
    policy: Annotated[str, typer.Option(help="auto, random, sobol, grid, hyperband, …: see docs/study.md.")] = "auto",
    seed: Seed = 0,
    trial_seconds: Annotated[float | None, typer.Option(help="A trial that takes longer fails.")] = None,
    trial_memory_mb: Annotated[float | None, typer.Option(help="A trial that takes more memory fails.")] = None,
    warm_start: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="An earlier study to begin from; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The directory; by default runs/FUNCTION-N.")] = None,
    json: Json = False,
) -> None:
    """Search for the configuration of your own function that is best.

    \b
    The file of --space has a line for each parameter, a range or a choice:
      lr: {low: 0.0001, high: 1.0, log: true}
      kind: [a, b]
    More is in docs/study.md. Say how long with --minutes, --trials or --epochs.
    """
    from thrifty.cli.tuning import TuneProgress, finish
    from thrifty.tuning import kept

    options = {
        "minutes": minutes, "trials": trials, "epochs": epochs, "max_epochs": max_epochs,
        "metric": _one_or_all(metric or ["loss"]), "direction": _one_or_all(direction), "limits": limits or [],
        "repeats": repeats, "fidelity": fidelity, "workers": workers, "policy": policy, "seed": seed,
        "trial_seconds": trial_seconds, "trial_memory_mb": trial_memory_mb,
        "warm_start": [str(path.resolve()) for path in warm_start or ()],
    }  # fmt: skip
    with json_alone(json), TuneProgress(options, to_stderr=json) as progress:
        found = kept.start(objective, space, options, out=out, watch=progress.show, started=process_started())
    finish(found, as_json=json)


def _one_or_all(words: list[str] | None) -> str | list[str] | None:
    """One word by itself, several as a list."""
    return words[0] if words and len(words) == 1 else words


@app.command()
def inspect(
    data: Data,
    target: Target = None,
    test: Test = None,
    validation: Validation = None,
    group: Group = None,
    time: Time = None,
    weight: Weight = None,
    folds: Folds = None,
    seed: Seed = 0,
    settings: Set = None,
    max_bad_share: MaxBadShare = 0.05,
    json: Json = False,
) -> None:
    """Show what is inferred from the data, and every problem in it."""
    from thrifty.api import inspect as inspect_data
    from thrifty.automl.request import parse_settings
    from thrifty.cli.show import print_inspection, print_json

    _, meanings = parse_settings(settings or [])
    found = inspect_data(
        data, target, test=test, validation=validation, group=group, time=time, weight=weight, folds=folds, seed=seed,
        meanings=meanings, max_bad_share=max_bad_share,
    )  # fmt: skip
    if json:
        print_json(found)
    else:
        print_inspection(found)


@app.command()
def predict(
    run: RunPath,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="A .csv, .jsonl or .parquet file; CSV on stdout without.")] = None,
) -> None:
    """Predict every row of DATA, in its order."""
    from thrifty.api import predict as predict_data
    from thrifty.automl.progress import RowsProgress

    with _interruptible(), RowsProgress(hidden=out is None) as progress:
        predict_data(run, data, out=out if out is not None else sys.stdout, watch=progress.show)


@app.command()
def evaluate(run: RunPath, data: Data, json: Json = False) -> None:
    """Score the model on labelled data."""
    from thrifty.api import evaluate as evaluate_data
    from thrifty.automl.progress import RowsProgress
    from thrifty.cli.show import print_json, print_metrics, warnings_as_lines

    with _interruptible(), warnings_as_lines(), RowsProgress() as progress:
        found = evaluate_data(run, data, watch=progress.show)
    if json:
        print_json(found)
    else:
        print_metrics(found)


@app.command()
def resume(
    run: RunPath,
    minutes: Annotated[float | None, typer.Option(help="Further minutes; without, what was left.")] = None,
    json: Json = False,
) -> None:
    """Go on with a run that was interrupted or killed, or give a finished one more minutes."""
    from thrifty.api import resume as resume_run
    from thrifty.automl.progress import Progress
    from thrifty.core.run_directory import command_of, open_run

    if command_of(run) == "tune":
        from thrifty.cli.tuning import TuneProgress, finish
        from thrifty.tuning import kept

        options = open_run(run)[1]["options"] if minutes is None else {}
        with json_alone(json), TuneProgress(options, to_stderr=json) as watching:
            found = kept.resume(run, minutes=minutes, watch=watching.show, started=process_started())
        finish(found, as_json=json)
        return
    with json_alone(json), Progress(to_stderr=json) as progress:
        finished = resume_run(run, minutes=minutes, watch=progress.show, started=process_started())
    _finish(finished, json)


@app.command()
def report(
    run: RunPath,
    optuna: Annotated[
        str | None, typer.Option(metavar="URL", help="Copy a search into this Optuna storage: sqlite:///optuna.db.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the report of a run again."""
    from thrifty.api import open_run
    from thrifty.cli.show import print_json, print_report
    from thrifty.core.run_directory import command_of

    if command_of(run) == "tune":
        from thrifty.cli.tuning import finish
        from thrifty.tuning import kept

        search = kept.open_search(run)
        if optuna is not None:
            search.study.to_optuna(optuna, search.directory.path.name)
        finish(search, as_json=json)
        return
    if optuna is not None:
        raise UsageError(f"{run} is no search by `thrifty tune`; --optuna is for those")
    found = open_run(run)
    if json:
        print_json(found.report)
    else:
        print_report(found)


@app.command()
def doctor(json: Json = False) -> None:
    """Show what this machine and installation can do."""
    from thrifty.api import doctor as examine
    from thrifty.cli.show import print_doctor, print_json

    found = examine()
    if json:
        print_json(found)
    else:
        print_doctor(found)


def main() -> None:
    """The entry point: runs a command and ends with the documented exit code, with no traceback for known errors."""
    open_streams()
    try:
        _run_app()
    except ThriftyError as error:
        _end(error, error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        flush()
        sys.exit(0)
    except OSError as error:
        if error.errno not in KNOWN_ERRORS:
            raise
        code = UsageError.exit_code if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) else 1
        _end(f"{error.filename or 'the output or a file'}: {error.strerror}", code)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        _end("no further thread can be started; raise the limits on threads or memory", 1)
    except MemoryError:
        _end("out of memory; give less data or a machine with more", 1)


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends what is done and takes away what is half written, a second one all at once."""
    from thrifty.core.interruption import Interruption

    with Interruption() as interruption:
        try:
            with interruption.raising():
                yield
        except KeyboardInterrupt:
            _end("interrupted", interruption.exit_code)


def _run_app() -> None:
    """Runs the command. Raises BrokenPipeError where typer and rich end with 1 because nobody reads any more."""
    try:
        app(standalone_mode=True)
    except SystemExit as ended:
        if ended.code == 1 and comes_of(ended, errno.EPIPE):
            raise BrokenPipeError from None
        flush()
        raise


def _end(message: object, code: int) -> None:
    print(f"thrifty: {message}", file=sys.stderr, flush=True)
    flush()
    sys.exit(code)
