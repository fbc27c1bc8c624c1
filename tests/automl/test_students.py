"""Who is taught by whom, what is chosen then, and a whole run whose limit leaves the ensemble no room."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import thrifty
from thrifty.automl.ensemble import Scale
from thrifty.automl.members import Library, choose, honest_outputs
from thrifty.automl.students import lesson_of, told_of
from thrifty.tuning.study import Study

Y = np.arange(100) % 2
HEAVY, LIGHT = Scale(9_000_000), Scale(100_000)
TAUGHT = {"taught_by": {"models": [{"trial": 0}, {"trial": 1}], "temperature": 1.0, "repeats": 2}}


def outputs(*wrong: int, of: float = 0.8) -> np.ndarray:
    """Probabilities of 100 rows, wrong in these tens of them."""
    p_N = np.where((Y > 0) ^ np.isin(np.arange(100) // 10, wrong), of, 1 - of)
    return np.stack([1 - p_N, p_N], axis=1)


def session_of(monkeypatch: pytest.MonkeyPatch, trials: list[dict[str, Any]], folds: int = 1, **limits: float) -> Any:
    """A session with trials of `outputs`, `scale` (heavy without) and maybe `extra`; those of `table` can be taught."""
    made = [
        SimpleNamespace(
            id=i, config={"candidate": one.get("candidate", "trees")}, extra=one.get("extra", {}), cost_seconds=8.0,
            cut_short=False, values=[float((one["outputs"].argmax(axis=1) == Y).mean())],
        )
        for i, one in enumerate(trials)
    ]  # fmt: skip

    def scorer(rows: np.ndarray | None = None) -> Any:
        y = Y if rows is None else Y[rows]
        return lambda p: float((p.argmax(axis=1) == y).mean())

    def judge(rows: np.ndarray | None = None) -> Any:
        y = Y if rows is None else Y[rows]
        return lambda p: scorer(rows)(p) + float(np.log(p[np.arange(len(y)), y]).mean())

    session: Any = SimpleNamespace(
        task="binary", metric="accuracy", y_validation=Y, weights_validation=None, judge=judge, scorer=scorer,
        request=SimpleNamespace(**{"max_size_mb": None, "max_latency_ms": None, "seed": 0, **limits}),
        is_limited=bool(limits),
        facts=SimpleNamespace(cores=2),
        candidate_of=lambda t: SimpleNamespace(all_cores=t.config["candidate"] == "table"),
        done=lambda: sorted(made, key=lambda t: -t.values[-1]),
        study=SimpleNamespace(trial=lambda i: made[i]),
        validation_scores=lambda i: np.log(trials[i]["outputs"]),
        outputs=lambda i, heat: trials[i]["outputs"],
        held_out=lambda rows=None: (Y if rows is None else Y[rows], None),
        can_be_taught=lambda t: t.config["candidate"] == "table",
        seconds_of_row=lambda ids: 0.01 * len(list(ids)),
        dataset=SimpleNamespace(splits=SimpleNamespace(rounds=lambda: [(np.arange(300), np.arange(100))] * folds)),
    )  # fmt: skip
    monkeypatch.setattr(Library, "_scale", lambda self, trial: trials[trial].get("scale", HEAVY))
    return session


PAIR = [{"outputs": outputs(0, 1)}, {"outputs": outputs(2, 3)}]
NETWORK = {"outputs": outputs(0, 1, 2), "candidate": "table", "scale": LIGHT}


def test_an_idle_search_has_the_best_network_taught_by_the_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(
        monkeypatch, [*PAIR, {"outputs": outputs(4, 5)}, NETWORK, {**NETWORK, "outputs": outputs(0, 1, 2, 3)}]
    )
    found = lesson_of(session, Library(session))
    assert found is not None
    assert found.student == 3
    assert {0, 1, 2} <= {model["trial"] for model in found.teachers["models"]}
    assert found.teachers["temperature"] < 1.0
    assert found.seconds == pytest.approx(8.0 + 300 * 0.01 * len(found.teachers["models"]))
    assert found.ahead == 0.0


def test_under_a_limit_it_counts_how_far_the_teachers_are_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(monkeypatch, [*PAIR, {"outputs": outputs(4, 5)}, NETWORK], max_size_mb=1.0)
    found = lesson_of(session, Library(session))
    assert found is not None
    assert (found.student, found.ahead) == (3, pytest.approx(1.0 - 0.7))


@pytest.mark.parametrize(
    ("trials", "folds", "limits"),
    [
        ([*PAIR, NETWORK], 5, {}),
        (PAIR, 1, {}),
        ([{"outputs": outputs(0, 1, 2, 3, 4)}, NETWORK], 1, {"max_size_mb": 0.01}),
        ([{**NETWORK, "outputs": outputs(0)}], 1, {}),
        ([*PAIR, {**NETWORK, "extra": TAUGHT}], 1, {}),
    ],
    ids=["cross-validated", "no network", "too large", "better than all others", "a student alone"],
)
def test_nobody_is_taught(monkeypatch: pytest.MonkeyPatch, trials: Any, folds: int, limits: dict[str, float]) -> None:
    session = session_of(monkeypatch, trials, folds, **limits)
    assert lesson_of(session, Library(session)) is None


@pytest.mark.parametrize(
    ("others", "wrong", "alone"),
    [(((0, 1), (2, 3), (0, 1, 2)), (), True), (((0,), (1,), (2,)), (0,), False), (((0,), (1,), (2,)), (), False)],
    ids=["better", "worse", "level and less sure"],
)
def test_a_student_takes_the_place_of_an_ensemble_that_is_no_better(
    monkeypatch: pytest.MonkeyPatch, others: tuple[tuple[int, ...], ...], wrong: tuple[int, ...], alone: bool
) -> None:
    student = {"outputs": outputs(*wrong, of=0.6), "candidate": "table", "extra": TAUGHT}
    session = session_of(monkeypatch, [*({"outputs": outputs(*one)} for one in others), student])
    members = choose(session, Library(session)).members
    assert ([m.trial for m in members] == [3]) == alone
    (note,) = told_of(session)
    before, after = f"{1 - len(others[2]) / 10:.3f}", f"{1 - len(wrong) / 10:.3f}"
    said = f"accuracy {after}, without teachers (trial 2) {before}"
    assert note == f"trial 3, table, was taught by trials 0, 1 (distillation): {said}"


def test_the_honest_figure_of_a_student_alone_is_that_of_its_own_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    student = {"outputs": outputs(of=0.6), "candidate": "table", "extra": TAUGHT}
    session = session_of(monkeypatch, [*PAIR, {"outputs": outputs(0, 1, 2, 3)}, student])
    session.dataset.splits = SimpleNamespace(validation_rows=np.arange(100), fold=None, rounds=lambda: [None])
    session.dataset.groups = lambda rows: None
    found = honest_outputs(session, Library(session), lambda: 60.0)
    assert found is not None
    assert np.allclose(found, student["outputs"])


def test_in_a_run_a_small_model_is_taught_by_large_ones_that_break_the_limit(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 6))
    y = (np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] > 0).astype(int)
    rows = [{**{f"x{i}": v for i, v in enumerate(row)}, "y": f"c{label}"} for row, label in zip(x.tolist(), y)]
    run = thrifty.run(
        rows, "y", minutes=0.8, max_size_mb=0.05, out=tmp_path / "run", exclude=("kernel", "table_network"),
        cache=False, settings={"model.num_heads": 2, "training.epochs": 20},
    )  # fmt: skip
    study = Study.look(run.path)
    (student,) = [t for t in study.trials if "taught_by" in t.extra]
    teachers = {study.trial(one["trial"]).config["candidate"] for one in student.extra["taught_by"]["models"]}
    assert student.config["candidate"] == "heads"
    assert "trees" in teachers
    assert student.values[-1] > 0.7
    assert run.exit_code == 0
    assert run.report["artifact"]["size_bytes"] < 50_000
