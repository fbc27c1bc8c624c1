"""A study as one of Optuna's, in a storage that optuna-dashboard opens.

Epochs become intermediate values at their number from 1, and a trial's value that of its best epoch. A paused or given
up trial is pruned, as Optuna calls one that stopped early with a value. Optuna keeps no curves of several metrics: they
become the attribute "curves", and a paused trial is complete with the metrics of its best epoch. So is one that
may be run again, with the mean of its runs. Limits are Optuna's constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.space import Choice, Domain, Float
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study


def export(study: Study, storage: str, name: str) -> Any:
    """Writes all trials into a new study `name` at the URL `storage`; gives the optuna.Study."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError("an export to Optuna", "optuna", "optuna") from error
    times = _times(study)
    started = datetime.now() - timedelta(seconds=max((end for _, end in times.values()), default=0.0))
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        there = optuna.create_study(storage=storage, study_name=name, directions=study.goals.directions)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            there.set_metric_names(list(study.goals.metrics))
        there.add_trials([_frozen(study, trial, times.get(trial.id, (0.0, 0.0)), started) for trial in study.trials])
    except optuna.exceptions.DuplicatedStudyError as error:
        raise UsageError(f"{storage} holds a study named {name!r} already; give another name or storage") from error
    except (optuna.exceptions.StorageInternalError, ImportError, ValueError) as error:
        raise UsageError(f"the Optuna storage {storage} cannot be written: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "sqlalchemy":
            raise
        said = str(error).partition("\n")[0]
        raise UsageError(f"the Optuna storage {storage} cannot be used: {said}") from error
    finally:
        optuna.logging.set_verbosity(before)
    return there


def _frozen(study: Study, trial: Trial, when: tuple[float, float], started: datetime) -> Any:
    from optuna.trial import FrozenTrial, TrialState

    told = study.metrics_of(trial)
    several = len(study.goals.metrics) > 1
    states = {
        State.WAITING: TrialState.WAITING,
        State.RUNNING: TrialState.RUNNING,
        State.PAUSED: TrialState.PRUNED,
        State.DONE: TrialState.COMPLETE,
        State.FAILED: TrialState.FAIL,
        State.SKIPPED: TrialState.PRUNED,
    }
    state = states[trial.state]
    if (several or study.repeats > 1) and state is TrialState.PRUNED:
        state = TrialState.COMPLETE if told else TrialState.FAIL
    ended = state.is_finished()
    steps = {} if study.max_epochs is None else {e: v for e, v in enumerate(trial.values, 1) if v is not None}
    kept = (
        [told[n] for n in study.goals.metrics] if told and state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    )
    begun, end = (started + timedelta(seconds=seconds) for seconds in when)
    return FrozenTrial(
        number=trial.id,
        trial_id=trial.id,
        state=state,
        value=None,
        values=kept,
        datetime_start=None if state is TrialState.WAITING else begun,
        datetime_complete=max(begun, end) if ended else None,
        params=dict(trial.config) if study.space is not None else {},
        distributions=_distributions(study, trial.config),
        user_attrs=_attributes(study, trial),
        system_attrs=_system(study, trial, told, state is TrialState.WAITING),
        intermediate_values={} if several else steps,
    )


def _system(study: Study, trial: Trial, told: Mapping[str, float], waiting: bool) -> dict[str, Any]:
    """What Optuna keeps of a trial for itself."""
    found: dict[str, Any] = {"fixed_params": dict(trial.config)} if waiting else {}
    if told and study.goals.limits:
        found["constraints"] = [limit.excess(told[limit.name]) for limit in study.goals.limits]
    return found


def _attributes(study: Study, trial: Trial) -> dict[str, Any]:
    """What Optuna has no field for."""
    found: dict[str, Any] = {"state": str(trial.state), "cost_seconds": trial.cost_seconds, **trial.extra}
    if trial.why:
        found["why"] = trial.why
    if trial.parent is not None:
        found["parent"] = trial.parent._asdict()
    if study.space is None:
        found["config"] = trial.config
    if len(study.goals.metrics) > 1 and study.max_epochs is not None:
        found["curves"] = {study.metric: list(trial.values), **{n: list(c) for n, c in trial.others.items()}}
    return found


def _distributions(study: Study, config: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's distribution of each parameter that the configuration has."""
    return {} if study.space is None else {n: _distribution(study.space[n]) for n in config}


def _distribution(domain: Domain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high, log=domain.log)


def _times(study: Study) -> dict[int, tuple[float, float]]:
    """When each trial began and was last told of, in seconds of the study."""
    times: dict[int, tuple[float, float]] = {}
    for event in study.events():
        if event.trial is not None:
            times[event.trial] = (times.get(event.trial, (event.time_seconds, 0.0))[0], event.time_seconds)
    return times
