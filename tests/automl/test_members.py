"""Which trials are looked at for the artifact, and what they are held against."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from thrifty.automl import members
from thrifty.automl.ensemble import Scale
from thrifty.automl.members import Library, fits_limits

Y = np.arange(40) % 2


def library_of(monkeypatch: pytest.MonkeyPatch, scales: dict[int, list[Scale]], **limits: float) -> Library:
    """A library of trials, the best first: each time that one is measured it has the next of its scales."""

    def outputs(trial: int, temperature: float) -> np.ndarray:
        p_N = np.where((np.arange(40) % 2 > 0) ^ (np.arange(40) < 2 * trial), 0.6, 0.4)
        return np.stack([1 - p_N, p_N], axis=1)

    session: Any = SimpleNamespace(
        task="binary",
        y_validation=Y,
        weights_validation=None,
        perfect=1.0,
        request=SimpleNamespace(**{"max_size_mb": None, "max_latency_ms": None, "seed": 0, **limits}),
        done=lambda: [SimpleNamespace(id=trial) for trial in scales],
        validation_scores=lambda trial: np.log(outputs(trial, 1.0)),
        outputs=outputs,
        judge=lambda rows=None: lambda p: float(-np.mean(np.abs(p[:, 1] - (Y if rows is None else Y[rows])))),
    )
    measured = {trial: iter(found) for trial, found in scales.items()}
    monkeypatch.setattr(Library, "_scale", lambda self, trial: next(measured[trial]))
    return Library(session)


def first_within(library: Library) -> int:
    """The best trial that keeps the limits."""
    return next(s.trial for s in library.all() if fits_limits(library.session, [s.scale]))


def test_a_model_that_was_slow_beside_trials_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = {0: [Scale(1, 90.0)], 1: [Scale(1, 19.0), Scale(1, 8.0)], 2: [Scale(1, 2.0)], 3: [Scale(1, 19.0)]}
    library = library_of(monkeypatch, scales, max_latency_ms=10.0)
    assert first_within(library) == 2
    library.time_again(0.2)  # there is no time
    assert first_within(library) == 2
    library.time_again(5.0)  # the first is too slow by far, the last is no better than what keeps the limit
    assert first_within(library) == 1


def test_waiting_for_a_core_is_no_latency_of_a_model_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = SimpleNamespace(scores=lambda columns, num_rows: time.sleep(0.02))
    monkeypatch.setattr("thrifty.runtime.graph.Graph.load", lambda folder, threads: graph)
    for threads, waits in ((1, False), (2, True)):
        dataset = SimpleNamespace(splits=SimpleNamespace(validation_rows=np.arange(3)), columns=lambda rows: {})
        session: Any = SimpleNamespace(
            request=SimpleNamespace(threads=threads), model_of=lambda trial: Path(), dataset=dataset
        )
        assert (Library(session)._latency(0) >= 20.0) == waits


def test_of_more_outputs_than_memory_may_hold_those_that_keep_the_limits_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members, "MOST_BYTES", 3 * 40 * 2 * 8)
    monkeypatch.setattr(members, "FEWEST_HELD", 2)
    scales = {trial: [Scale(9_000_000 if trial < 4 else 1)] for trial in range(6)}
    library = library_of(monkeypatch, scales, max_size_mb=5.0)
    assert [scored.trial for scored in library.all()] == [4, 5, 0]
    assert first_within(library) == 4
