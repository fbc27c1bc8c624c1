import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from findings_of_tests import findings_of, part_of

from thrifty.core.files import write_json
from thrifty.evaluation import report, schema, summary
from thrifty.evaluation.findings import MemberFinding
from thrifty.evaluation.metrics import metrics_of, score, score_codes

TASKS = [("multiclass", "accuracy"), ("binary", "f1_macro"), ("multilabel", "f1_micro"), ("regression", "rmse")]


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_a_report_follows_its_schema_and_is_strict_json(task, metric, test, tmp_path):
    built = report.build(findings_of(task, metric, with_test=test))
    assert schema.problems(built) == []
    write_json(tmp_path / "report.json", built)
    assert schema.problems(json.loads((tmp_path / "report.json").read_text())) == []
    assert list(built["validation"]) == [metric, *[m for m in metrics_of(task) if m != metric]]
    assert (built["test"] is None) == (not test)
    assert built["closer"]["part"] == ("test" if test else "validation")


def test_scores_of_the_report_are_those_of_the_parts_with_the_decision():
    findings = findings_of("binary", "f1_macro")
    built = report.build(findings)
    part = findings.test
    for name in ("f1_macro", "accuracy"):
        expected = score(name, "binary", part.y, part.outputs, findings.decision)
        assert built["test"][name]["value"] == expected
    assert built["decision"] == {"kind": "threshold", "value": 0.45}


def test_answers_of_rows_that_a_decision_was_fitted_to_are_not_its_own():
    part = part_of("binary", 100, 2)
    answers = np.where(np.arange(100) < 70, part.y, 1 - part.y)
    built = report.build(findings_of("binary", "f1_macro", with_test=False, validation=replace(part, answers=answers)))
    assert built["validation"]["accuracy"]["value"] == pytest.approx(0.7)
    assert built["validation"]["f1_macro"]["value"] == pytest.approx(score_codes("f1_macro", part.y, answers, 2))
    assert built["validation"]["roc_auc"]["value"] == pytest.approx(score("roc_auc", "binary", part.y, part.outputs))
    assert np.trace(built["closer"]["confusion"]) == 70
    (table,) = built["closer"]["slices"]
    assert sum(line["rows"] * line["value"] for line in table["slices"]) / 100 == pytest.approx(0.7, abs=0.1)


def test_people_see_plain_values_of_metrics_that_are_minimised():
    built = report.build(findings_of("regression", "rmse", values=(20.0, 9.5)))
    assert [c["validation"] for c in built["candidates"]] == [20.0, 9.5, None, None]
    assert [t["validation"] for t in built["trials"]] == [20.0, 9.5, None]
    assert built["trials"][1]["curve"] == [9.5]
    assert built["metric_direction"] == "minimize"


def test_the_best_trial_of_a_candidate_is_the_smallest_loss():
    findings = findings_of("multiclass", "log_loss", values=(1.1, 0.4))
    trials = [t for c in findings.candidates for t in c.trials]
    one = type(findings.candidates[0])("both", "done", "", trials)
    built = report.build(findings_of("multiclass", "log_loss", candidates=[one]))
    assert built["candidates"][0]["validation"] == 0.4
    assert built["candidates"][0]["best_trial"] == 1
    assert built["candidates"][0]["seconds"] == pytest.approx(11.0)


def test_the_confusion_matrix_counts_every_test_row():
    built = report.build(findings_of())
    assert np.sum(built["closer"]["confusion"]) == 300
    assert [line["class"] for line in built["closer"]["classes"]] == ["<b>cat</b>", "狗", "bird & bee"]
    assert set(built["closer"]["reliability"]) == {"before", "after"}


def test_a_run_that_has_no_model_has_a_report_too():
    nothing = findings_of(validation=None, test=None, artifact=None, best=None, members=(), candidates=())
    built = report.build(nothing)
    assert schema.problems(built) == []
    assert built["validation"] is built["test"] is built["artifact"] is built["closer"] is None
    assert "no model was validated" in summary.text(built)


def test_undefined_scores_are_null():
    one_class = part_of("binary", 50, 2)
    one_class = type(one_class)(np.zeros(50, dtype=int), one_class.outputs)
    built = report.build(findings_of("binary", "accuracy", with_test=False, validation=one_class))
    assert built["validation"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert "undefined" in summary.text(
        report.build(findings_of("binary", "roc_auc", with_test=False, validation=one_class))
    )


def test_the_schema_finds_what_is_missing_wrong_or_unknown():
    built = report.build(findings_of())
    del built["version"]
    built["stopped_because"] = "bored"
    built["data"]["rows"]["train"] = -1
    built["test"]["accuracy"]["low"] = "0.9"
    built["test"]["fun"] = {"value": 1.0, "low": None, "high": None}
    built["spent_seconds"] = float("nan")
    built["surprise"] = 1
    found = "\n".join(schema.problems(built))
    for place in (
        "no 'version'",
        "stopped_because",
        "rows.train",
        "accuracy.low",
        "'fun'",
        "spent_seconds",
        "'surprise'",
    ):
        assert place in found
    assert schema.problems([]) == ["report is list, not object"]
    assert schema.problems({"x": True}, {"properties": {"x": {"type": "integer"}}}) != []


def test_the_documentation_names_every_field_of_the_schema():
    text = (Path(__file__).parents[2] / "docs/report.md").read_text()
    named = re.findall(r"^\| `([a-zA-Z_0-9.\[\]]+)`", text, re.MULTILINE)

    def fields(node, path):
        for name, item in node.get("properties", {}).items():
            yield f"{path}{name}"
            yield from fields(item, f"{path}{name}.")
            yield from fields(item.get("items", {}), f"{path}{name}[].")
        others = node.get("additionalProperties")
        if isinstance(others, dict):
            yield from fields(others, f"{path}NAME.")
            yield from fields(others.get("items", {}), f"{path}NAME[].")

    assert sorted(named) == sorted(fields(schema.SCHEMA, ""))


def test_an_evaluation_has_rows_bad_rows_and_metrics():
    found = report.evaluation("multiclass", "f1_macro", part_of("multiclass", 80), 2)
    assert (found["rows"], found["bad_rows"]) == (80, 2)
    assert next(iter(found["metrics"])) == "f1_macro"
    assert found["metrics"]["accuracy"]["low"] <= found["metrics"]["accuracy"]["value"]


@pytest.mark.parametrize("width", [80, 100, 60])
@pytest.mark.parametrize(("task", "metric"), [*TASKS, ("binary", "average_precision")])
def test_the_summary_fits_its_width(task, metric, width):
    long_names = {"name": "a_rather_long_name_of_a_run_of_pets", "problems": ["x" * 200], "run": "runs/" + "y" * 90}
    built = report.build(findings_of(task, metric, **long_names))
    *lines, predict, model, page = summary.text(built, width).splitlines()
    assert max(map(len, lines)) <= width
    run = long_names["run"]  # what is there to be copied stays on one line
    assert predict == f"predict  thrifty predict {run} DATA --out predictions.csv"
    assert (model, page) == (f"model    {run}/artifact", f"report   {run}/report.html")


def test_the_summary_says_the_answer_first_and_how_to_predict():
    shown = summary.text(report.build(findings_of()))
    first = shown.splitlines()[1]
    assert "accuracy" in first
    assert "on 300 untouched test rows" in first
    assert "thrifty predict 'runs/my pets-1' DATA" in shown
    assert "missed by 0.41 MB" in shown
    assert "out of memory" in shown
    assert "3 near duplicates" in shown
    assert "1 row set aside" in shown
    assert "[" not in shown.replace("[]", "")


def test_shares_of_an_ensemble_stay_beside_their_sign():
    names = ("table_network", "kernel", "linear_pretrained", "trees", "heads")
    members = [MemberFinding(name, k, 0.2) for k, name in enumerate(names)]
    built = report.build(findings_of(best="ensemble", members=members))
    for width in (100, 80, 66):
        shown = summary.text(built, width)
        assert all(re.search(f"{name} 20 %", shown) for name in names)
        assert max(map(len, shown.splitlines()[:-3])) <= width


def test_the_summary_does_not_read_user_text_as_markup():
    built = report.build(findings_of(problems=["column [bold]x[/bold] leaks"], name="[red]r"))
    assert "[bold]x[/bold] leaks" in summary.text(built)
    assert "[red]r" in summary.text(built)


def test_names_that_are_no_text_break_neither_json_nor_terminal(tmp_path):
    built = report.build(findings_of(name="a\x1b[2Jb\ud800\nc", classes=["\ud800", "x\x00", "\x1b]0;t\x07"]))
    write_json(tmp_path / "report.json", built)
    shown = summary.text(built)
    shown.encode("utf-8")
    assert "\x1b" not in shown
    assert "b? c" in shown


def test_the_best_candidate_comes_first_also_when_smaller_is_better():
    shown = summary.text(report.build(findings_of("regression", "rmse", values=(20.0, 9.5))))
    assert shown.index("9.5") < shown.index("20.0")


@pytest.mark.parametrize(("task", "metric"), TASKS)
def test_outputs_that_are_not_finite_and_rows_that_weigh_nothing_do_not_stop_a_report(task, metric):
    part = part_of(task, 60, {"binary": 2}.get(task, 3))
    broken = part.outputs.copy()
    broken[0] = np.nan
    built = report.build(findings_of(task, metric, with_test=False, validation=type(part)(part.y, broken)))
    assert schema.problems(built) == []
    assert built["validation"][metric]["value"] is None
    weights = np.r_[np.zeros(30), np.ones(30)]
    weighted = report.scores(findings_of(task, metric), type(part)(part.y, part.outputs, weights))
    half = report.scores(findings_of(task, metric), type(part)(part.y[30:], part.outputs[30:]))
    assert weighted == half
