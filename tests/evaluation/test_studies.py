"""The report of a study: report.json's content and the page made from it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import thrifty
from thrifty.core.run_directory import RunDirectory
from thrifty.core.space import Space, When
from thrifty.evaluation.studies.page import html, write
from thrifty.evaluation.studies.report import build

SPACE = Space(
    {
        "lr": thrifty.Float(1e-4, 1.0, log=True),
        "kind": ["<sgd>", "adam", None],
        "momentum": When(thrifty.Float(0, 1), {"kind": "<sgd>"}),
        "layers": thrifty.Int(1, 64, log=True),
        "fixed": [3],
    }
)


class Balance(HTMLParser):
    """Reads a page and notes its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def value_of(config, epoch):
    return config["lr"] + 0.1 * config["layers"] + (config["kind"] == "adam") + 1 / epoch


def searched(policy, **options):
    study = thrifty.Study(SPACE, metric="loss", max_epochs=9, policy=policy, seed=0, **options)
    while study.epochs_spent < 150:
        asked = study.ask()
        if asked.config["lr"] > 0.5:
            study.tell(asked.trial, failed="it <diverged>")
        else:
            epochs = range(asked.from_epoch + 1, asked.until_epoch + 1)
            study.tell(asked.trial, [value_of(asked.config, e) for e in epochs], cost_seconds=0.5)
    return study


@pytest.fixture(scope="module")
def report():
    return build(searched("freeze-thaw"), Path("my-study"), ["thrifty", "tune", "a b.py:f"])


def test_the_report_is_json_and_its_steps_end_at_the_best_value(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    values = [step["value"] for step in report["steps"]]
    assert values == sorted(values, reverse=True)
    assert values[-1] == report["best"]["value"]
    assert report["steps"][-1]["spent"] <= report["epochs_spent"]
    assert report["epochs_spent"] >= 150
    assert report["states"]["failed"] >= 1


def test_beliefs_of_regular_curves_hold_what_came(report):
    told = report["beliefs"]
    assert len(told) > 5
    assert all(b["low"] <= b["mean"] <= b["high"] and b["known"] < b["epoch"] for b in told)
    assert sum(b["low"] <= b["came"] <= b["high"] for b in told) >= 0.6 * len(told)


def test_the_page_holds_every_section_loads_nothing_and_escapes_names(report):
    page = html(report)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not {"script", "link", "iframe"} & set(parser.tags)
    for identity in (
        "answer",
        "again",
        "bought",
        "curves",
        "parameters",
        "importance",
        "beliefs",
        "trials",
        "failures",
    ):
        assert f'id="{identity}"' in page
    assert "&lt;sgd&gt;" in page
    assert "it &lt;diverged&gt;" in page
    assert "<sgd>" not in page
    assert "src=" not in page
    assert "http://" not in page


def test_a_study_without_epochs_shows_value_against_seconds():
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="accuracy", policy="random")
    for _ in range(15):
        asked = study.ask()
        study.tell(asked.trial, 1 - (asked.config["x"] - 0.5) ** 2)
    page = html(build(study, Path("plain")))
    assert "time since the start" in page
    assert 'id="curves"' not in page


def with_values(values, **options):
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, policy="random", **options)
    for value in values:
        study.tell(study.ask().trial, value)
    return html(build(study, Path("plain")))


def places_of_dots(page):
    """The height of each step's dot."""
    inside = page.split('id="bought"')[1].split("</section>")[0]
    return [float(y) for y in re.findall(r'<circle[^>]* cy="([0-9.]+)"', inside)]


def test_steps_over_many_decades_each_have_a_height_of_their_own():
    page = with_values([36.0, 0.596, 0.002, 9.9e-5, 3e-9, 17.0, 31.0], metric="loss")
    heights = places_of_dots(page)
    assert heights == sorted(set(heights))
    assert len(heights) == 5
    assert "best loss so far, log" in page
    assert "loss, log" in page
    assert "drawn at the edge" not in page


def test_what_is_drawn_at_an_edge_is_said_and_no_step_is():
    page = with_values([30.0, 7.0, 0.1, 0.05, -0.05, -0.1, -0.15], metric="loss")
    bought, parallel = (page.split(f'id="{name}"')[1].split("</section>")[0] for name in ("bought", "parameters"))
    heights = places_of_dots(page)
    assert heights == sorted(set(heights))
    assert len(heights) == 7
    assert "are drawn at the edge" not in bought
    assert "are drawn at the edge" in parallel
    assert "or more</text>" in parallel


def test_a_value_beyond_the_edge_is_written_beside_its_belief():
    told = build(searched("freeze-thaw"), Path("my-study"))
    told["beliefs"] = [
        {"trial": k, "epoch": 9, "known": 1, "low": v - 1, "mean": v, "high": v + 1, "came": v}
        for k, v in enumerate((0.0, 0.1, 0.2, 0.3, 36.0))
    ]
    page = html(told).split('id="beliefs"')[1].split("</section>")[0]
    assert ">36</text>" in page
    assert "are drawn at the edge" in page


def test_a_page_of_a_used_up_space_says_so_and_does_not_say_how_to_go_on():
    study = thrifty.Study({"kind": ["a", "b"]}, metric="loss", policy="random")
    study.tell(study.ask().trial, 1.0)
    told = build(study, Path("finite"), ["thrifty", "tune", "f.py:g"])
    assert told["nothing_left"] is None
    assert "thrifty resume finite" in html(told)
    study.tell(study.ask().trial, 2.0)
    told = build(study, Path("finite"), ["thrifty", "tune", "f.py:g"])
    assert told["nothing_left"] == "all 2 configurations of the space have been tried"
    assert told["nothing_left"] in html(told)
    assert "thrifty resume" not in html(told)


def test_configurations_that_may_be_run_again_are_not_paused():
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="loss", policy="random", repeats=3)
    for _ in range(9):
        asked = study.ask()
        study.tell(asked.trial, asked.config["x"] + 0.01 * study.trial(asked.trial).epoch)
    built = build(study, Path("noisy"))
    assert built["states"]["paused"] >= 1
    page = html(built)
    assert f"{built['num_trials']} trials, 9 runs: " in page
    assert f"{built['states']['paused']} may be run again" in page
    assert "paused" not in page


def test_a_study_without_trials_or_without_values_has_a_page():
    study = thrifty.Study({"x": thrifty.Float(0, 1)}, metric="loss", policy="random")
    assert "no trial gave a value" in html(build(study, Path("empty")))
    study.tell(study.ask().trial, failed="no memory")
    assert "no memory" in html(build(study, Path("empty")))


def test_the_report_is_written_beside_the_study(tmp_path):
    with thrifty.Study({"x": thrifty.Float(0, 1)}, metric="loss", folder=tmp_path, policy="random") as study:
        study.tell(study.ask().trial, 0.5)
        options = {"trials": 3, "minutes": None, "max_epochs": 2}
        asked = {"objective": "f.py:g", "space_file": "/a b/space2.yaml", "options": options}
        write(study, RunDirectory(tmp_path), asked)
    page = (tmp_path / "report.html").read_text()
    words = "thrifty tune f.py:g --space &#x27;/a b/space2.yaml&#x27; --trials 3 --max-epochs 2"
    assert f'<pre class="wrap">{words}</pre>' in page
    assert "space.yaml" not in page
    assert json.loads((tmp_path / "report.json").read_text())["best"]["value"] == 0.5


def searched_for_two(**options):
    study = thrifty.Study(SPACE, metric=["loss", "size"], policy="random", limits=["size <= 40"], **options)
    for _ in range(20):
        asked = study.ask()
        study.tell(asked.trial, {"loss": value_of(asked.config, 1), "size": 64 - asked.config["layers"]})
    return study


def test_several_metrics_have_a_front_as_a_table_and_a_scatter_and_the_best_is_within_the_limits():
    study = searched_for_two()
    told = build(study, Path("two"))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [p["trial"] for p in told["front"]] == [p.trial for p in study.front]
    assert told["ranking"][0] == told["best"]["trial"]
    assert told["trials"][told["ranking"][-1]]["metrics"]["size"] > 40
    page = html(told)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert 'id="front"' in page
    assert 'id="bought"' not in page
    for point in told["front"]:
        assert f"trial {point['trial']}: loss" in page
    assert "within size &lt;= 40" in page


def test_the_scatter_of_the_front_says_when_points_lie_beyond_it():
    study = thrifty.Study(
        {"x": thrifty.Float(0, 1)}, metric=["loss", "size"], direction=["minimize", "minimize"], policy="random"
    )
    for loss, size in ((1, 3), (2, 2), (3, 1), (3, 3)):
        study.tell(study.ask().trial, {"loss": loss, "size": size})
    said = "beyond an axis is drawn at its end"
    assert said not in html(build(study, Path("two")))
    study.tell(study.ask().trial, {"loss": 900, "size": 2.5})
    assert said in html(build(study, Path("two")))


def test_a_page_says_that_nothing_keeps_the_limits():
    study = thrifty.Study(SPACE, metric="loss", policy="random", limits=["loss <= -1"])
    study.tell(study.ask().trial, 0.5)
    told = build(study, Path("none"))
    assert told["best"] is None
    assert told["steps"] == []
    assert "no trial keeps loss &lt;= -1" in html(told)


def test_the_steps_of_a_study_with_limits_are_of_what_keeps_them():
    study = thrifty.Study(SPACE, metric="loss", max_epochs=4, policy="random", limits=["ms <= 2"])
    study.tell(study.ask().trial, {"loss": [4.0, 3.0, 1.0], "ms": [1, 2, 3]})
    study.report(study.ask().trial, 4, {"loss": 0.5, "ms": 5})
    steps = build(study, Path("limited"))["steps"]
    assert [step["value"] for step in steps] == [3.0]


def test_the_report_says_how_the_best_was_trained_where_its_configuration_changed_on_the_way():
    study = thrifty.Study(SPACE, metric="loss", max_epochs=9, policy="pbt")
    while study.epochs_spent < 90:
        asked = study.ask()
        better = 20 * len(study.lineage(asked.trial))  # each generation beats the one before
        epochs = range(asked.from_epoch + 1, asked.until_epoch + 1)
        study.tell(asked.trial, [value_of(asked.config, e) - better for e in epochs])
    told = build(study, Path("population"))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    children = [t for t in told["trials"] if t["parent"] is not None]
    assert children
    assert all(t["values"][: t["parent"]["epoch"]] == [None] * t["parent"]["epoch"] for t in children if t["values"])
    assert told["steps"][-1]["spent"] <= told["epochs_spent"] == study.epochs_spent
    best, *parts = told["lineage"][::-1]
    assert best["trial"] == told["best"]["trial"]
    assert best["until_epoch"] == study.trial(best["trial"]).epoch
    assert [part["until_epoch"] for part in parts] == [part["from_epoch"] for part in told["lineage"][:0:-1]]
    page = html(told)
    assert 'id="schedule"' in page
    assert "schedule = [" in page
    assert "config = {" not in page
    assert f"<td>{parts[0]['from_epoch'] + 1} to {parts[0]['until_epoch']}</td>" in page.replace(' class="num"', "")
    assert 'id="schedule"' not in html(build(searched("random"), Path("plain")))
