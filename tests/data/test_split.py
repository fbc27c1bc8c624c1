import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrifty.core.errors import DataError, UsageError
from thrifty.data.column import Task
from thrifty.data.split import ASIDE, TEST, TRAIN, VALIDATION, Splits, Wishes, split, strata_of


def of(
    y: np.ndarray, clusters: np.ndarray | None = None, given_parts: np.ndarray | None = None, time=None, **wishes
) -> Splits:
    size = len(y)
    clusters = np.arange(size) if clusters is None else clusters
    return split(np.zeros(size, np.int8) if given_parts is None else given_parts, y, clusters, Wishes(**wishes), time)


def sizes(splits: Splits) -> list[int]:
    return np.bincount(splits.part, minlength=4).tolist()


def test_large_data_gets_a_test_and_a_validation_part_with_every_class_alike():
    y = np.repeat([0, 1, 2], [3000, 800, 200])
    splits = of(y)
    assert sizes(splits) == [2880, 720, 400, 0]
    assert splits.num_folds == 0
    for rows in (splits.validation_rows, splits.test_rows):
        assert np.allclose(np.bincount(y[rows]) / len(rows), [0.75, 0.2, 0.05], atol=0.004)
    assert len(splits.rounds()) == 1


def test_few_rows_are_validated_in_folds_and_none_are_held_out_below_500():
    splits = of(np.arange(300) % 2)
    assert sizes(splits) == [300, 0, 0, 0]
    assert splits.num_folds == 5
    seen = np.concatenate([validation for _, validation in splits.rounds()])
    assert sorted(seen.tolist()) == list(range(300))
    for train, validation in splits.rounds():
        assert not set(train) & set(validation)
        assert len(train) == 240
    assert sizes(of(np.arange(600) % 2)) == [540, 0, 60, 0]


def test_the_same_seed_splits_alike_and_another_differently():
    y = np.arange(2000) % 3
    assert (of(y).part == of(y).part).all()
    assert (of(y).part != of(y, seed=1).part).any()


def test_a_class_ordered_file_is_shuffled():
    splits = of(np.repeat(np.arange(5), 400))
    assert (np.bincount(np.repeat(np.arange(5), 400)[splits.validation_rows]) > 50).all()


def test_clusters_stay_on_one_side():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 300, 2000)
    splits = of(rng.integers(0, 2, 2000), clusters)
    for c in range(300):
        assert len(set(splits.part[clusters == c])) <= 1
    assert 150 <= sizes(splits)[TEST] <= 250


def test_many_small_clusters_are_dealt_quickly_and_stay_on_one_side():
    clusters = np.repeat(np.arange(20_000), 2)
    splits = of(np.arange(40_000) % 2, clusters)
    assert (splits.part[::2] == splits.part[1::2]).all()
    assert abs(sizes(splits)[TEST] - 4000) < 100


def test_a_class_with_one_row_always_trains():
    y = np.array([0] * 300 + [1] * 300 + [2] + [3, 3])
    splits = of(y)
    assert splits.part[600] == TRAIN
    assert splits.fold is not None
    assert splits.fold[600] == -1
    assert 600 not in splits.validation_rows
    for train, _ in splits.rounds():
        assert {2, 3} <= set(y[train])
    large = of(np.array([0] * 3000 + [1] * 3000 + [2] + [3, 3]))
    assert large.part[6000] == TRAIN
    assert (large.part[6001:] == TRAIN).any()


def test_given_parts_are_kept():
    given_parts = np.zeros(2000, np.int8)
    given_parts[:100], given_parts[100:200], given_parts[200:210] = VALIDATION, TEST, ASIDE
    assert sizes(of(np.arange(2000) % 2, given_parts=given_parts)) == [1790, 100, 100, 10]
    given_parts[:100] = TRAIN
    splits = of(np.arange(2000) % 2, given_parts=given_parts)
    assert sizes(splits)[TEST] == 100
    assert sizes(splits)[VALIDATION] == 378


def test_time_puts_the_latest_rows_last():
    rng = np.random.default_rng(0)
    time = rng.integers(0, 300, 2000).astype(float)
    splits = of(np.arange(2000) % 2, time=time)
    assert time[splits.train_rows].max() < time[splits.validation_rows].min()
    assert time[splits.validation_rows].max() < time[splits.test_rows].min()
    assert of(np.arange(100) % 2, time=np.arange(100.0)).num_folds == 0


def test_wishes_that_cannot_be_met_are_errors():
    y = np.arange(100) % 2
    for folds in (1, 0, 99):
        with pytest.raises(UsageError):
            of(y, folds=folds)
    with pytest.raises(UsageError):
        of(y, folds=3, time=np.arange(100.0))
    with pytest.raises(DataError):
        of(y, np.zeros(100, np.int64))
    with pytest.raises(DataError):
        of(y, time=np.zeros(100))


def test_two_groups_make_two_folds():
    splits = of(np.arange(100) % 2, np.arange(100) // 50)
    assert splits.num_folds == 2
    assert [len(validation) for _, validation in splits.rounds()] == [50, 50]


def test_folds_can_be_asked_for_on_large_data():
    splits = of(np.arange(3000) % 2, folds=3)
    assert splits.num_folds == 3
    assert sizes(splits) == [2700, 0, 300, 0]


def test_strata_of_numbers_and_lists():
    assert len(set(strata_of(Task.REGRESSION, np.arange(100.0)))) == 10
    assert (
        set(strata_of(Task.REGRESSION, np.zeros(10))) == {1} or len(set(strata_of(Task.REGRESSION, np.zeros(10)))) == 1
    )
    many = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], np.float32)
    found = strata_of(Task.MULTILABEL, many)
    assert found[1] == found[2] != found[0]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 700), st.integers(1, 30), st.integers(1, 400), st.integers(0, 5), st.booleans())
def test_any_split_is_whole(size: int, num_classes: int, num_clusters: int, seed: int, folds: bool):
    rng = np.random.default_rng(seed)
    y = (rng.exponential(1, size) * num_classes / 4).astype(int)
    clusters = rng.integers(0, num_clusters, size)
    if len(set(clusters)) < 2:
        return
    splits = of(y, clusters, folds=3 if folds else None, seed=seed)
    for train, validation in splits.rounds():
        assert len(train)
        assert len(validation) or splits.num_folds == 0
        assert not set(clusters[train]) & set(clusters[validation])
        assert not set(clusters[train]) & set(clusters[splits.test_rows])
    assert len(splits.development_rows) + len(splits.test_rows) == size


def test_too_few_points_in_time_are_counted_without_the_rows_that_have_none():
    with pytest.raises(DataError, match="2 different points in time among the 100 rows to split, and 50 of them"):
        of(np.arange(100) % 2, time=np.array([1.0, 2.0, np.nan, np.nan] * 25))


def test_a_time_column_without_any_time_is_said_to_have_none():
    with pytest.raises(DataError, match="no point in time that can be read among the 100 rows to split; at least"):
        of(np.arange(100) % 2, time=np.full(100, np.nan))


def test_rows_without_a_time_are_learnt_from():
    time = np.arange(1000.0)
    time[::10] = np.nan
    assert (of(np.arange(1000) % 2, time=time).part[::10] == TRAIN).all()


@pytest.mark.parametrize("num_rows", [60, 900])
def test_groups_that_all_last_to_the_end_cannot_be_split_by_time(num_rows: int):
    time, groups = np.arange(num_rows) // 3, np.arange(num_rows) % 3
    with pytest.raises(DataError, match=r"no row to (train|validate) on"):
        split(np.zeros(num_rows, np.int8), np.zeros(num_rows, np.int64), groups, Wishes(), time.astype(float))
