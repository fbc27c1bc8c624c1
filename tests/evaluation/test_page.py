import re
from html.parser import HTMLParser

import numpy as np
import pytest
from findings_of_tests import findings_of, part_of

from thrifty.evaluation import report, summary
from thrifty.evaluation.examples import gather
from thrifty.evaluation.findings import (
    AugmentationFinding,
    BadRowFinding,
    CandidateFinding,
    ColumnFinding,
    MemberFinding,
    Part,
    SymmetryFinding,
    TrialFinding,
)
from thrifty.evaluation.page import html as page
from thrifty.evaluation.schema import problems
from thrifty.evaluation.sections.charts import tick_text, ticks

VOID = {"meta", "img", "br"}
TASKS = [("multiclass", "accuracy"), ("binary", "f1_macro"), ("multilabel", "f1_micro"), ("regression", "rmse")]
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\x00\ud800'


class Checked(HTMLParser):
    """Every element that opens closes again, and nothing is fetched or run."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.words = [], set(), []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href"):
                assert value.startswith(("data:", "#")), value[:80]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def texts(part):
    return lambda rows: {"review": [f"review {r} {EVIL}" for r in rows], "id": list(rows)}


def examples_of(findings):
    meanings = {"review": "text", "id": "ignored"}
    return gather(findings.task, findings.test, findings.classes, texts(findings.test), meanings, findings.decision)


@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_the_page_is_whole_and_loads_nothing(task, metric):
    findings = findings_of(task, metric)
    html = page(report.build(findings), examples_of(findings))
    checked = Checked(html)
    assert "script" not in checked.names
    assert "http" not in re.sub(r"http-equiv", "", html)
    shown = " ".join(checked.words)
    for words in ("thrifty predict 'runs/my pets-1' DATA", "out of memory", "Worst errors", "What the seconds bought"):
        assert words in shown
    assert ("What is taken for what" in shown) == (task in ("binary", "multiclass"))
    assert ("Predicted against true" in shown) == (task == "regression")


def test_the_answer_comes_before_everything_else():
    built = report.build(findings_of())
    words = " ".join(Checked(page(built)).words)
    value = f"{built['test']['accuracy']['value']:.3f}"
    assert words.index(value) < words.index("2.13 ms") < words.index("3.41 MB") < words.index("58 s of 1 min")
    assert words.index("58 s of 1 min") < words.index("Scores")


def test_text_of_users_is_never_read_as_markup():
    findings = findings_of(
        name=EVIL,
        target=EVIL,
        classes=[EVIL, f"{EVIL}2", f"{EVIL}3"],
        run=EVIL,
        problems=[EVIL],
        columns=[ColumnFinding(EVIL, "text", EVIL)],
        bad_rows=[BadRowFinding(EVIL, 3, EVIL, EVIL)],
        command=["thrifty", "run", EVIL],
        environment={EVIL: EVIL},
        notes=[EVIL],
        metric_reason=EVIL,
    )
    checked = Checked(page(report.build(findings), examples_of(findings)))
    assert "script" not in checked.names
    assert "img" not in checked.names


def test_each_cell_with_examples_opens_them():
    findings = findings_of()
    html = page(report.build(findings), examples_of(findings))
    targets, identities = (set(re.findall(p, html)) for p in (r'popovertarget="([^"]+)"', r'id="(cell-[^"]+)"'))
    assert targets == identities
    assert len(targets) >= 6


def test_a_run_without_a_model_has_a_page():
    nothing = findings_of(validation=None, test=None, artifact=None, best=None, members=(), candidates=(), phases={})
    words = " ".join(Checked(page(report.build(nothing))).words)
    assert "no model was written" in words
    assert "How to predict" not in words


def test_a_page_without_a_test_part_warns_that_choices_were_made_on_validation():
    words = " ".join(Checked(page(report.build(findings_of(with_test=False)))).words)
    assert "expect it to be a little worse on new rows" in words


def test_notes_and_how_many_test_rows_were_scored_are_said():
    part_scored = findings_of(num_rows={"train": 9000, "validation": 900, "test": 4000}, notes=["time <ran> out"])
    built = report.build(part_scored)
    words = " ".join(Checked(page(built)).words)
    assert "on 300 of 4,000 test rows that no choice was made on" in words
    assert "time <ran> out" in words
    assert "on 300 of 4,000 untouched test rows" in summary.text(built)
    whole = page(report.build(findings_of(notes=())))
    assert "on 300 test rows that no choice was made on" in whole
    assert "Worth knowing" not in whole


def test_tiny_and_huge_targets_are_readable():
    for scale, shown, value in ((1e-9, r"[89]\.[0-9]+e-09", 6e-8), (1e12, r"[89]\.[0-9]+e\+12", 6e13)):
        part = part_of("regression", 300)
        part = Part(part.y * scale, part.outputs * scale)
        built = report.build(findings_of("regression", "rmse", test=part))
        assert built["closer"]["values"]["true"][:9] == pytest.approx(part.y[:9])
        assert np.mean(built["closer"]["values"]["predicted"]) == pytest.approx(value, rel=0.1)
        assert re.search(f'class="big">{shown}<small>95 % interval', page(built))
    assert ticks(1e-13, 5e-13, 4) == [1e-13, 2e-13, 3e-13, 4e-13, 5e-13]
    assert [tick_text(v) for v in (0.25, -500_000, 1e9, 12_500_000, 1234567.25)] == [
        "0.25", "-500,000", "1e9", "1.25e7", "1,234,567.25",
    ]  # fmt: skip


def test_the_shares_and_temperatures_of_a_mix_are_said():
    members = [MemberFinding("trees", 1, 0.7, 1.25), MemberFinding("kernel", 2, 0.3, 0.8)]
    built = report.build(findings_of(best="ensemble", members=members, temperature=0.625))
    assert problems(built) == []
    assert built["temperature"] == 0.625
    words = Checked(page(built)).words
    place = words.index("the mean of them")
    assert words[place - 6 : place + 2] == [
        "trees, trial 1", "0.700", "1.250", "kernel, trial 2", "0.300", "0.800", "the mean of them", "0.625",
    ]  # fmt: skip
    assert "the mean of them" not in page(report.build(findings_of()))


def test_many_classes_are_shown_as_pairs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 60, 500)
    part = Part(y, rng.dirichlet(np.ones(60), 500))
    findings = findings_of(classes=[f"c{k}" for k in range(60)], class_counts=[9] * 60, test=part, validation=part)
    html = page(report.build(findings))
    Checked(html)
    assert 'class="confusion' not in html
    assert "Most often confused" in html
    assert "The matrix of 60 classes is in report.json" in html


def test_of_very_many_classes_the_most_confused_are_said():
    rng = np.random.default_rng(0)
    names = [f"\u043a\u043b\u0430\u0441\u0441 {k} {'long ' * 30}" for k in range(500)]
    y = np.r_[np.arange(500), np.full(40, 7), np.full(30, 3)]
    answers = np.r_[np.arange(500), np.full(40, 9), rng.integers(10, 500, 30)]
    part = Part(y, np.eye(500)[answers])
    built = report.build(findings_of(classes=names, class_counts=[9] * 500, test=part, validation=None))
    assert problems(built) == []
    assert built["closer"]["confusion"] is None
    assert built["closer"]["confused"][0] == {"true": names[7], "answered": names[9], "rows": 40, "share": 40 / 41}
    words = Checked(page(built)).words
    assert "Of 500 classes, here are the pairs most often confused, of the test part." in words
    place = words.index(names[7])
    assert words[place : place + 4] == [names[7], names[9], "40", "97.6 %"]


def test_what_a_network_waited_for_data_is_said_where_it_ran():
    trained = TrialFinding(1, "done", 0.8, 1.0, 9.0, 8.0, notes={"waiting_share": 0.034})
    found = report.build(findings_of(candidates=[CandidateFinding("image_network", "done", "", [trained])]))
    assert found["trials"][0]["notes"] == {"waiting_share": 0.034}
    assert "3 % of its training waiting for data" in page(found)


@pytest.mark.parametrize(("folds", "shown"), [(None, True), (5, False)])
def test_learning_curves_are_of_epochs_and_not_of_rounds(folds, shown):
    trained = TrialFinding(1, "done", 0.8, 1.0, 9.0, 8.0, curve=[0.7, 0.75, 0.8])
    found = findings_of(candidates=[CandidateFinding("image_network", "done", "", [trained])], folds=folds)
    assert ('id="curves"' in page(report.build(found))) == shown


def test_what_augmentation_brought_and_which_flips_keep_labels_is_said():
    brought = AugmentationFinding("image_network", 0.5, 0.3, 4, 7, 0.012, 0.004, 0.02)
    unknown = AugmentationFinding("audio_network", 0.5, 0.0, 5, reason="not measured: no time")
    kept = SymmetryFinding("left-right", True, "accuracy", 0.87, 0.86, 0.01, 900)
    refused = SymmetryFinding("up-down", False, "accuracy", 0.87, 0.4, 0.02, 900)
    made = report.build(findings_of(augmentation=[brought, unknown], symmetries=[kept, refused]))
    assert problems(made) == []
    shown = " ".join(Checked(page(made)).words)
    for words in (
        "+0.012 [0.004, 0.020] accuracy", "not measured: no time",
        "left-right flips keep labels: accuracy 0.87 to 0.86",
        "up-down flips are not seen to keep labels: accuracy 0.87 to 0.40", "(on 900 training rows)",
    ):  # fmt: skip
        assert words in shown
    said = " ".join(summary.text(made).split())
    assert "augmentation of image_network: +0.012 [0.004, 0.020] accuracy" in said
    assert "up-down" not in said
