"""What a refit is expected to take and leaves, and what is checked of what is handed over."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from thrifty.automl import handover
from thrifty.automl.ensemble import Member, Scale
from thrifty.automl.handover import Result, _compress, _refit_one, _refit_seconds
from thrifty.automl.members import Choice
from thrifty.core.files import write_json
from thrifty.execution.job import Channel, Job
from thrifty.execution.processes import ProcessExecutor


@pytest.mark.parametrize(
    ("chosen", "notes", "seconds"),
    [
        ({"epochs": 40.0, "stop_epoch": 10.0}, {}, 1.25 * 1.15 * 12.5),
        ({"epochs": 40.0, "stop_epoch": 40.0}, {}, 1.25 * 1.15 * 40.0),
        ({"epochs": 40.0, "stop_epoch": None}, {}, 1.25 * 1.15 * 40.0),
        ({"strength": 0.1}, {"others_seconds": 24.0}, 1.25 * 1.15 * 16.0),
        ({"strength": 0.1}, {"others_seconds": 4.0, "cached_seconds": 30.0}, 1.25 * 1.15 * 6.0),
    ],
)
def test_a_refit_takes_as_long_as_what_was_chosen(
    tmp_path: Any, chosen: Any, notes: dict[str, float], seconds: float
) -> None:
    session: Any = SimpleNamespace(
        directory=SimpleNamespace(trial=lambda ident: tmp_path),
        candidate_of=lambda trial: SimpleNamespace(all_cores=True),
        executor=SimpleNamespace(cores=2),
        grown=1.25,
    )
    trial: Any = SimpleNamespace(id=0, config={"candidate": "network"}, cost_seconds=40.0, extra={"notes": notes})
    write_json(tmp_path / "chosen.json", chosen)
    assert _refit_seconds(session, trial) == pytest.approx(seconds)


@pytest.mark.parametrize(("left", "share"), [(60.0, 1.0), (50.0, 0.8), (40.0, None)])
@pytest.mark.parametrize("chosen", [{"epochs": 40.0, "stop_epoch": 40.0}, {"strength": 0.1}])
def test_a_network_for_whose_epochs_there_is_no_time_makes_as_many_steps_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, chosen: dict[str, float], left: float, share: float | None
) -> None:
    session: Any = SimpleNamespace(
        directory=SimpleNamespace(trial=lambda ident: tmp_path),
        candidate_of=lambda trial: SimpleNamespace(all_cores=True),
        dataset=SimpleNamespace(splits=SimpleNamespace(rounds=lambda: [None])),
        executor=SimpleNamespace(cores=2),
        grown=1.25,
        has_refit=lambda trial: False,
        interruption=SimpleNamespace(number=None),
        search_clock=SimpleNamespace(reserve_seconds=0.0),
        stage=lambda name: None,
        study=SimpleNamespace(trial=lambda ident: SimpleNamespace(id=0, config={}, cost_seconds=36.0, extra={})),
    )
    write_json(tmp_path / "chosen.json", chosen)
    shares: list[float] = []
    monkeypatch.setattr(handover, "_refit_one", lambda session, trial, left, share: shares.append(share))
    monkeypatch.setattr(handover, "fits_limits", lambda *given: True)
    library: Any = SimpleNamespace(scales=lambda members: [])
    handover._refit(session, library, [Member(0, 1.0, 1.0)], lambda: left)
    assert shares == ([share] if share == 1.0 or (share and "epochs" in chosen) else [])


@pytest.mark.parametrize(
    ("elastic", "cost", "kept"), [(False, 10.0, True), (False, 80.0, False), (True, 10.0, False), (False, 200.0, None)]
)
def test_seconds_are_kept_for_a_small_refit_whatever_else_they_could_buy(
    tmp_path: Any, elastic: bool, cost: float, kept: bool | None
) -> None:
    trial: Any = SimpleNamespace(id=0, config={"candidate": "trees"}, cost_seconds=cost, extra={})
    candidate = SimpleNamespace(all_cores=True, prior=lambda facts: SimpleNamespace(elastic=elastic))
    session: Any = SimpleNamespace(
        done=lambda: [trial], is_limited=False, facts=None,
        dataset=SimpleNamespace(splits=SimpleNamespace(rounds=lambda: [0])),
        has_refit=lambda ident: False, candidate_of=lambda trial: candidate, executor=SimpleNamespace(cores=2),
        directory=SimpleNamespace(trial=lambda ident: tmp_path), grown=1.1,
        clock=SimpleNamespace(budget_seconds=300.0), search_clock=SimpleNamespace(left=lambda: 250.0),
    )  # fmt: skip
    refit = handover.refit_to_come(session)
    assert refit.seconds == (0.0 if kept is None else pytest.approx(1.15 * 1.1 * cost))
    assert kept is None or refit.always == kept


@pytest.mark.parametrize(
    ("int8", "precision"), [({"kept": True}, "int8"), ({"kept": False}, "float32"), (None, "float32")]
)
def test_an_artifact_that_became_int8_is_compared_again(
    monkeypatch: pytest.MonkeyPatch, int8: dict[str, bool] | None, precision: str
) -> None:
    session: Any = SimpleNamespace(
        dataset=SimpleNamespace(splits=SimpleNamespace(test_rows=[0] * 100)), clock=SimpleNamespace(budget_seconds=60.0)
    )
    checked = []
    monkeypatch.setattr(handover, "try_int8", lambda *given: int8)
    monkeypatch.setattr(handover, "_check", lambda *given: checked.append(given))
    monkeypatch.setattr(handover, "mixed", lambda *given: None)
    result = Result(Choice([]))
    _compress(session, result, 0.001, lambda: 10.0)
    assert (result.int8, result.precision) == (int8, precision)
    assert len(checked) == (precision == "int8")


def writes(arguments: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """A job that goes on writing models."""
    while True:
        model = Path(arguments["folder"]) / "refit" / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model / "model.json").touch()


def test_a_refit_that_does_not_end_in_time_leaves_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    with ProcessExecutor(1) as executor:
        session: Any = SimpleNamespace(
            directory=SimpleNamespace(trial=lambda ident: tmp_path),
            executor=executor,
            interruption=SimpleNamespace(number=None),
            notes=[],
            refit_job=lambda trial, seconds, share: Job(f"{__file__}:writes", {"folder": str(tmp_path)}),
        )
        ends = []

        def left() -> float:
            """Until half a second after the job's first model."""
            if not ends and (tmp_path / "refit" / "model").exists():
                ends.append(time.monotonic() + 0.5)
            return (ends[0] if ends else began + 60.0) - time.monotonic()

        _refit_one(session, SimpleNamespace(id=3), left)
        assert not (tmp_path / "refit").exists()
        assert executor.free_cores() == 1
    assert session.notes == ["trial 3 was not fitted again on all rows: no time"]


@pytest.mark.parametrize(("excesses", "best"), [((0.0, 0.0), 1), ((4.0, 0.9), 2), ((4.0, 1.5), 2), ((1.0, 0.1), 1)])
def test_the_best_so_far_keeps_the_limits_or_is_nearest_to_them(
    monkeypatch: pytest.MonkeyPatch, excesses: tuple[float, float], best: int
) -> None:
    session: Any = SimpleNamespace(done=lambda: [SimpleNamespace(id=1), SimpleNamespace(id=2)])
    monkeypatch.setattr(handover, "excess_of", lambda session, trial: excesses[trial - 1])
    found = handover.best_of(session)
    assert found is not None
    assert found.id == best


def test_who_could_be_taught_is_looked_for_again_when_a_trial_has_ended_and_it_costs_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = ["first", "second", "third"]
    session: Any = SimpleNamespace(
        is_limited=False, done=lambda: done, library=object(), search_clock=SimpleNamespace(left=lambda: 100.0)
    )
    seconds = iter([0.0, 0.5, 1.0, 6.0])
    monkeypatch.setattr(handover, "lesson_of", lambda session, library: found.pop(0))
    monkeypatch.setattr(handover.time, "perf_counter", lambda: next(seconds))
    lesson = handover.lessons(session)
    done = [0]
    assert lesson(False) is None
    assert [lesson(True), lesson(True)] == ["first", "first"]
    session.is_limited, done = True, [0, 1]
    assert [lesson(False), lesson(True)] == ["second", "second"]
    done = [0, 1, 2]  # and the last look took five seconds of a hundred
    assert lesson(False) == "second"


def test_the_excess_of_a_trial_is_that_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.json").touch()
    session: Any = SimpleNamespace(
        is_limited=True,
        model_of=lambda trial: tmp_path / str(trial),
        library=SimpleNamespace(scale=lambda trial: Scale(3_000_000, 5.0)),
        request=SimpleNamespace(max_size_mb=2.0, max_latency_ms=10.0),
    )
    assert handover.excess_of(session, 1) == pytest.approx(1.5)
    assert handover.excess_of(session, 2) == 0.0
    session.is_limited = False
    assert handover.excess_of(session, 1) == 0.0
