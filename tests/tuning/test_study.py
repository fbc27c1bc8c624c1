import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thrifty.core.errors import Exhausted, ExternalError, StoreError, UsageError
from thrifty.core.space import Choice, Float, Int, Space
from thrifty.testing.policies import MIXED, answer
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State

SPACE = {"lr": Float(1e-5, 1e-1, log=True), "layers": Int(1, 5), "kind": Choice("a", "b")}


@pytest.fixture(params=["memory", "folder"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "study"


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_ask_tell_and_best_as_in_the_readme(where: Path | None) -> None:
    study = Study(SPACE, metric="loss", direction="minimize", max_epochs=50, seed=0, folder=where)
    assert study.best is None
    proposal = study.ask()
    assert (proposal.trial, proposal.from_epoch) == (0, 0)
    assert proposal.until_epoch is not None
    assert proposal.until_epoch >= 2
    assert set(proposal.config) == set(SPACE)
    study.tell(proposal.trial, [0.71, 0.64], cost_seconds=2.0)
    assert study.best is not None
    assert (study.best.value, study.best.trial, study.best.epoch) == (0.64, 0, 2)
    assert study.best.config == proposal.config
    assert study.trials[0].values == (0.71, 0.64)
    assert study.trials[0].cost_seconds == 2.0
    assert study.trials[0].state is State.PAUSED
    study.close()


def test_the_best_is_the_best_epoch_in_the_given_direction_and_the_first_of_equals() -> None:
    study = Study({"x": Float(0, 1)}, metric="accuracy", direction="maximize", max_epochs=3)
    for values in ([0.5, 0.9, 0.1], [0.9, 0.2], [0.3]):
        trial = study.start({"x": 0.5})
        study.tell(trial, values)
    assert study.best is not None
    assert (study.best.trial, study.best.epoch, study.best.value) == (0, 2, 0.9)


def test_fewer_epochs_pause_more_are_an_error_and_change_nothing(where: Path | None) -> None:
    study = Study(SPACE, metric="loss", max_epochs=10, folder=where, policy="random")
    proposal = study.ask()
    with pytest.raises(UsageError, match=r"asked for 10 more epochs .1 to 10. and told 11"):
        study.tell(proposal.trial, [1.0] * 11)
    study.tell(proposal.trial, [3.0, 2.0, 1.0])
    assert study.trial(0).state is State.PAUSED
    again = study.ask()
    assert (again.trial, again.from_epoch, again.until_epoch) == (0, 3, 10)
    with pytest.raises(UsageError, match=r"asked for 7 more"):
        study.tell(0, [1.0] * 8)
    study.tell(0, [0.5] * 7)
    assert study.trial(0).state is State.DONE
    assert study.trial(0).values == (3.0, 2.0, 1.0, *[0.5] * 7)
    study.close()


def test_one_number_is_the_value_at_the_last_epoch_asked_for() -> None:
    study = Study(SPACE, metric="loss", max_epochs=4, policy="random")
    study.tell(study.ask().trial, np.float32(0.25))
    assert study.trials[0].values == (None, None, None, 0.25)
    assert study.trials[0].state is State.DONE
    plain = Study(SPACE, metric="loss")
    plain.tell(plain.ask().trial, 1)
    plain.tell(plain.ask().trial, np.array([0.5]))
    assert [t.values for t in plain.trials] == [(1.0,), (0.5,)]
    with pytest.raises(UsageError, match="told 2 values"):
        plain.tell(plain.ask().trial, [1, 2])


def test_nan_infinity_and_failed_are_failures_that_keep_what_was_before(where: Path | None) -> None:
    study = Study(SPACE, metric="loss", max_epochs=5, folder=where)
    for told, why in (
        ({"values": [0.3, math.nan]}, "loss was nan at epoch 2"),
        ({"values": [math.inf]}, "loss was inf at epoch 1"),
        ({"failed": "out of memory"}, "out of memory"),
        ({"values": [0.2], "failed": "diverged"}, "diverged"),
    ):
        trial = study.start({"lr": 0.01, "layers": 1, "kind": "a"}, until=3)
        study.tell(trial, **told)  # type: ignore[arg-type]
        assert study.trial(trial).state is State.FAILED
        assert study.trial(trial).why == why
    assert [t.values for t in study.trials] == [(0.3,), (), (), (0.2,)]
    assert study.best is not None
    assert study.best.value == 0.2
    study.close()
    plain = Study(SPACE, metric="loss")
    plain.tell(plain.ask().trial, math.nan)
    assert plain.trials[0].state is State.FAILED
    assert plain.best is None


@pytest.mark.parametrize(
    "values", ["0.5", True, None, [None], ["a"], object(), [[0.5]], {"loss": 0.5}, [0.5, "x"], np.zeros((2, 2))]
)
def test_what_is_no_number_is_refused_and_the_trial_goes_on(values: Any) -> None:
    study = Study(SPACE, metric="loss", max_epochs=5)
    proposal = study.ask()
    with pytest.raises(UsageError):
        study.tell(proposal.trial, values)
    study.tell(proposal.trial, [0.5])
    assert study.trials[0].values == (0.5,)


def test_a_trial_is_told_once_and_only_when_it_exists() -> None:
    study = Study(SPACE, metric="loss")
    proposal = study.ask()
    for bad in (7, -1, "0", None, 0.0, True):
        with pytest.raises(UsageError, match=r"there is no trial|named by its number"):
            study.tell(bad, 1.0)  # type: ignore[arg-type]
    study.tell(proposal.trial, 1.0)
    with pytest.raises(UsageError, match="trial 0 is done"):
        study.tell(proposal.trial, 0.5)
    with pytest.raises(UsageError, match="cost_seconds of trial 1 is -1"):
        study.tell(study.ask().trial, 0.5, cost_seconds=-1)
    study.tell(1, 0.5, cost_seconds=1)
    assert study.best is not None
    assert study.best.trial == 1


def test_a_proposal_that_the_user_changes_changes_nothing_here() -> None:
    study = Study(SPACE, metric="loss")
    proposal = study.ask()
    given = dict(proposal.config)
    proposal.config["lr"] = 9
    study.tell(proposal.trial, 1.0)
    assert study.best is not None
    assert study.best.config == given


def test_out_of_order_tells_are_fine(where: Path | None) -> None:
    study = Study(SPACE, metric="loss", max_epochs=9, folder=where)
    proposals = [study.ask() for _ in range(12)]
    random.Random(0).shuffle(proposals)
    for proposal in proposals:
        answer(study, proposal)
    assert study.running == ()
    assert study.num_trials == len({p.trial for p in proposals}) == 12
    study.close()


def test_a_finite_space_is_exhausted(where: Path | None) -> None:
    study = Study({"x": [1, 2, 3], "y": [True, False]}, metric="loss", folder=where)
    for _ in range(6):
        study.ask()
    with pytest.raises(Exhausted, match=r"all 6 configurations.*6 trials are still to be told"):
        study.ask()
    for trial in range(6):
        study.tell(trial, float(trial))
    with pytest.raises(Exhausted):
        study.ask()
    study.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "quality"}, "is a larger 'quality' better"),
        ({"metric": ""}, "metric is a name"),
        ({"metric": "loss", "direction": "down"}, "'minimize' or 'maximize'"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"max_epochs": 2.5}, "max_epochs is 2.5"),
        ({"max_epochs": "9"}, "max_epochs is '9'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"policy": "magic"}, "policy is 'magic'"),
        ({"policy": "hyperband"}, "needs epochs"),
        ({"policy": 3}, "policy is 3"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Study(SPACE, **{"metric": "loss", **options})


@pytest.mark.parametrize("space", [{}, [], "nowhere.yaml", {"a": {"b": 1}}, 3])
def test_spaces_that_cannot_be_are_refused(space: Any) -> None:
    with pytest.raises(UsageError):
        Study(space, metric="loss")


def test_the_direction_is_read_from_names_that_say_it() -> None:
    directions = {m: Study(SPACE, metric=m).direction for m in ("loss", "val_loss", "rmse", "accuracy", "macro_f1")}
    assert list(directions.values()) == ["minimize", "minimize", "minimize", "maximize", "maximize"]


def test_a_study_in_a_folder_goes_on_with_the_same_decisions(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": "loss", "max_epochs": 9, "seed": 5}
    whole = Study(MIXED, **options)
    expected = []
    for _ in range(60):
        expected.append(whole.ask())
        answer(whole, expected[-1])
    made = []
    for _ in range(6):
        with Study(MIXED, folder=tmp_path, **options) as study:
            for _ in range(10):
                made.append(study.ask())
                answer(study, made[-1])
            trials, best = study.trials, study.best
    assert made == expected
    assert trials == whole.trials
    assert best == whole.best
    events = log_of(tmp_path)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert sorted(e["time_seconds"] for e in events) == [e["time_seconds"] for e in events]
    kinds = {e["kind"] for e in events}
    assert kinds >= {"study_started", "study_continued", "trial_started", "trial_continued", "trial_finished"}


def test_a_folder_with_another_study_is_refused_and_says_how_it_differs(tmp_path: Path) -> None:
    Study(SPACE, metric="loss", max_epochs=9, seed=5, folder=tmp_path).close()
    reordered = dict(reversed(SPACE.items()))
    again = Study(reordered, metric="loss", max_epochs=9, folder=tmp_path)
    assert again.seed == 5
    again.close()
    for space, options, name in (
        ({**SPACE, "layers": Int(1, 6)}, {}, "space"),
        (None, {}, "space"),
        (SPACE, {"metric": "error"}, "metric"),
        (SPACE, {"direction": "maximize"}, "direction"),
        (SPACE, {"max_epochs": 10}, "max_epochs"),
    ):
        with pytest.raises(StoreError, match=f"whose {name} is"):
            Study(space, **{"metric": "loss", "max_epochs": 9, **options}, folder=tmp_path)  # type: ignore[arg-type]


def test_what_was_running_is_offered_again_after_a_reopening(tmp_path: Path) -> None:
    study = Study(SPACE, metric="loss", max_epochs=9, folder=tmp_path)
    first, second = study.ask(), study.ask()
    study.report(second.trial, 1, 0.5)
    study.close()
    study = Study(SPACE, metric="loss", max_epochs=9, folder=tmp_path)
    assert [t.state for t in study.trials] == [State.WAITING, State.PAUSED]
    with pytest.raises(UsageError, match="trial 0 is waiting"):
        study.tell(first.trial, [1.0])
    assert study.ask() == first
    study.close()


def test_events_jsonl_is_mended_from_the_store(tmp_path: Path) -> None:
    study = Study(SPACE, metric="loss", max_epochs=9, folder=tmp_path)
    for _ in range(5):
        answer(study, study.ask())
    study.close()
    whole = (tmp_path / "events.jsonl").read_bytes()
    for broken in (whole[:-7], whole[: len(whole) // 2], b"", whole + b'{"seq":99,"kind":"from the future"}\n{"to'):
        (tmp_path / "events.jsonl").write_bytes(broken)
        Study(SPACE, metric="loss", max_epochs=9, folder=tmp_path).close()
        assert (tmp_path / "events.jsonl").read_bytes().startswith(whole)
        assert [e["seq"] for e in log_of(tmp_path)] == list(range(1, len(log_of(tmp_path)) + 1))


def test_an_event_log_on_a_full_disk_is_completed_later(tmp_path: Path) -> None:
    study = Study(SPACE, metric="loss", folder=tmp_path)
    log, study._journal.log = study._journal.log, _FullLog()  # type: ignore[assignment]
    study.tell(study.ask().trial, 0.5)
    assert study.best is not None
    assert len(log_of(tmp_path)) == 1
    with pytest.raises(ExternalError, match="2 events could not be copied"):
        study.close()
    assert log is not None
    study = Study(SPACE, metric="loss", folder=tmp_path)
    study.close()
    assert [e["kind"] for e in log_of(tmp_path)][:3] == ["study_started", "trial_started", "trial_finished"]


class _FullLog:
    path = Path("events.jsonl")

    def append(self, events: object) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None: ...


def test_a_study_of_free_configurations_is_led_by_start_and_finish(where: Path | None) -> None:
    study = Study(metric="value", direction="maximize", folder=where)
    with pytest.raises(UsageError, match="no space to ask from"):
        study.ask()
    first = study.start({"candidate": "linear", "path": Path("x"), "n": np.int64(3)}, why="cheapest")
    second = study.start({"candidate": "trees"}, inputs=(first,))
    assert study.running == (0, 1)
    study.report(first, 1, 0.4)
    study.report(first, 2, 0.9)
    study.finish(first, 0.5, {"folder": Path("trials/0")}, cost_seconds=1.5)
    assert study.trial(first).values == (0.4, 0.9, 0.5)
    assert study.trial(first).config == {"candidate": "linear", "path": "x", "n": 3}
    assert study.trial(first).extra == {"folder": "trials/0"}
    assert study.best is not None
    assert (study.best.value, study.best.trial) == (0.5, 0), "what it was finished with counts, not its progress"
    study.fail(second, "crashed: signal 11", {"log": "x"}, cost_seconds=0.5)
    third = study.start({"candidate": "network"})
    study.pause(third)
    study.proceed(third)
    study.skip(third, "cannot win")
    assert [t.state.value for t in study.trials] == ["done", "failed", "skipped"]
    assert study.trial(second).inputs == (0,)
    event = study.record("artifact_written", first, path=Path("artifact"), size_bytes=10, share=math.nan)
    assert event.to_json()["path"] == "artifact" or event.payload["path"] == Path("artifact")
    for bad in (lambda: study.record("x", seq=1), lambda: study.record("x", 99), lambda: study.start([1])):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            bad()
    study.close()
    if where is not None:
        last = log_of(where)[-1]
        assert (last["kind"], last["trial"], last["path"], last["share"]) == ("artifact_written", 0, "artifact", None)
        again = Study(metric="value", direction="maximize", folder=where)
        assert again.trials == study.trials
        assert again.best == study.best
        again.close()


def test_listeners_hear_every_event() -> None:
    study = Study(SPACE, metric="loss")
    heard: list[str] = []
    study.listeners.append(lambda event: heard.append(event.kind))
    study.tell(study.ask().trial, 1.0)
    assert heard == ["trial_started", "trial_finished"]


def test_importing_the_study_loads_nothing_heavy() -> None:
    code = (
        "import sys, thrifty.tuning.study as s; "
        "study = s.Study({'x': [1, 2]}, metric='loss', max_epochs=3); study.tell(study.ask().trial, [1.0]); "
        "print([m for m in ('sqlalchemy', 'scipy', 'pyarrow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


KILLED = """
import sys, os
from pathlib import Path
from thrifty.core.space import Float, Int
from thrifty.tuning.study import Study
study = Study({"x": Float(0, 1), "n": Int(1, 100)}, metric="loss", max_epochs=9, folder=Path(sys.argv[1]))
while True:
    p = study.ask()
    values = [p.config["x"] + 1 / e for e in range(p.from_epoch + 1, p.until_epoch + 1)]
    study.tell(p.trial, values)
    os.write(1, f"{p.trial} {p.until_epoch}\\n".encode())
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_told(tmp_path: Path) -> None:
    told: dict[int, int] = {}
    rng = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen = b"".join(process.stdout.readline() for _ in range(rng.randint(3, 15)))
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        seen += process.stdout.read()
        process.wait()
        for line in seen.decode().splitlines():
            trial, epoch = map(int, line.split())
            told[trial] = max(told.get(trial, 0), epoch)
    space = Space({"x": Float(0, 1), "n": Int(1, 100)})
    with Study(space, metric="loss", max_epochs=9, folder=tmp_path) as study:
        assert len(told) > 10
        assert all(study.trial(trial).epoch >= epoch for trial, epoch in told.items())
        assert study.running == ()
    events = log_of(tmp_path)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


def test_what_is_enqueued_is_proposed_before_what_the_policy_would_and_only_once() -> None:
    space = {"x": Float(0, 1), "kind": ["a", "b"]}
    study = Study(space, metric="loss", policy="random")
    study.tell(study.ask().trial, 1.0)
    whole, part = study.enqueue({"x": 0.25, "kind": "a"}), study.enqueue({"x": 0.5})
    assert study.enqueue({"kind": "a", "x": 0.25}) == whole
    proposals = [study.ask(), study.ask()]
    assert [p.trial for p in proposals] == [whole, part]
    assert proposals[0].config == {"x": 0.25, "kind": "a"}
    assert proposals[1].config["x"] == 0.5
    with pytest.raises(UsageError, match="'y'"):
        study.enqueue({"y": 1})
    with pytest.raises(UsageError, match="'x' is 2"):
        study.enqueue({"x": 2, "kind": "a"})
    assert study.num_trials == 3


def test_first_points_are_started_in_a_new_study_alone(tmp_path: Path) -> None:
    options = {"metric": "loss", "folder": tmp_path, "first": [{"x": 0.25}, {"x": 0.5}]}
    with Study({"x": Float(0, 1)}, **options) as study:
        study.tell(study.ask().trial, 1.0)
    with Study({"x": Float(0, 1)}, **options) as study:
        assert [trial.config["x"] for trial in study.trials] == [0.25, 0.5]
        assert study.ask().config == {"x": 0.5}


def test_a_trial_that_was_left_after_its_last_epoch_is_done(tmp_path: Path) -> None:
    options = {"metric": "loss", "max_epochs": 2, "folder": tmp_path, "policy": "random"}
    study = Study({"x": Float(0, 1)}, **options)
    left, paused = study.ask().trial, study.ask().trial
    for trial in (left, paused):
        study.report(trial, 1, 1.0)
        study.report(trial, 2, 0.5, {"checkpoint": "here"})
    study.pause(paused)
    with Study({"x": Float(0, 1)}, **options) as again:  # nobody told of `left` that it ended
        assert [trial.state for trial in again.trials] == [State.DONE, State.DONE]
        assert [trial.extra for trial in again.trials] == [{"checkpoint": "here"}] * 2
        assert again.ask().trial == 2
