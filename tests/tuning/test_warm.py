"""A study that begins from earlier studies' best configurations."""

import pytest

import thrifty
from thrifty.core.space import Space, When
from thrifty.tuning.warm import portfolio


def studied(best, space=None, folder=None, trials=30):
    study = thrifty.Study(
        space or {"x": thrifty.Float(0, 1), "old": thrifty.Int(1, 3)}, metric="loss", policy="random", folder=folder,
    )  # fmt: skip
    for _ in range(trials):
        asked = study.ask()
        study.tell(asked.trial, abs(asked.config["x"] - best))
    return study


def test_configurations_are_good_on_all_earlier_studies_together():
    space = Space({"x": thrifty.Float(0, 1), "old": thrifty.Int(1, 3)})
    chosen = portfolio(space, [studied(0.2), studied(0.2), studied(0.9)])
    assert abs(chosen[0]["x"] - 0.2) < 0.1  # two of three studies
    assert any(abs(config["x"] - 0.9) < 0.1 for config in chosen[1:3])
    assert len(chosen) <= 5


def test_missing_parameters_are_at_the_middle_and_what_lies_outside_is_not_taken():
    space = Space(
        {
            "x": thrifty.Float(0.5, 1),
            "new": thrifty.Float(0, 2),
            "kind": ["a", "b"],
            "step": When(thrifty.Float(0, 1), {"kind": "b"}),
        }
    )
    chosen = portfolio(space, [studied(0.6)])
    assert chosen
    assert all(c["x"] >= 0.5 and c["new"] == 1.0 and c["kind"] == "a" and "step" not in c for c in chosen)
    assert portfolio(Space({"x": thrifty.Float(5, 6)}), [studied(0.6)]) == []


def test_a_new_study_runs_them_first_and_one_that_goes_on_does_not(tmp_path):
    earlier = tmp_path / "earlier"
    studied(0.3, folder=earlier).close()
    options = {"metric": "loss", "max_epochs": 4, "folder": tmp_path / "new", "warm_start": [earlier]}
    space = {"x": thrifty.Float(0, 1), "old": thrifty.Int(1, 3)}
    with thrifty.Study(space, **options) as study:
        count = study.num_trials
        assert 1 <= count <= 5
        asked = study.ask()
        assert asked.trial == 0
        assert abs(asked.config["x"] - 0.3) < 0.1
    with thrifty.Study(space, **options) as study:
        assert study.num_trials == count


def test_a_folder_without_a_study_or_of_other_parameters_is_refused(tmp_path):
    with pytest.raises(thrifty.StoreError, match="holds no study"):
        thrifty.Study({"x": thrifty.Float(0, 1)}, warm_start=[tmp_path])
    studied(0.3, folder=tmp_path / "a").close()
    with pytest.raises(thrifty.UsageError, match="has none of the parameters y"):
        thrifty.tune(lambda c: c["y"], {"y": thrifty.Float(0, 1)}, trials=1, warm_start=[tmp_path / "a"])


def test_a_start_that_fails_leaves_nothing_to_try_first(tmp_path):
    options = {"first": [{"x": 0.5}], "folder": tmp_path / "new", "policy": "random"}
    for _ in range(2):
        with pytest.raises(thrifty.StoreError, match="holds no study"):
            thrifty.Study({"x": thrifty.Float(0, 1)}, warm_start=[tmp_path / "earlier"], **options)
    studied(0.3, folder=tmp_path / "earlier").close()
    with thrifty.Study({"x": thrifty.Float(0, 1)}, warm_start=[tmp_path / "earlier"], **options) as study:
        assert study.trials[0].config == {"x": 0.5}
        assert study.num_trials > 1
