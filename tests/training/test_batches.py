import numpy as np

from thrifty.training.batches import Rows, epoch_of, in_order, steps_per_epoch


def make(num: int = 10) -> Rows:
    return Rows(
        {"x": np.arange(20, dtype=np.float32) * 10}, np.arange(num) * 2, np.arange(num, dtype=np.float32)[:, None]
    )


def test_an_epoch_has_every_row_at_most_once_with_its_own_target() -> None:
    seen = []
    for batch in epoch_of(make(), 3, seed=0, epoch=0):
        assert (batch.inputs["x"].numpy() == batch.targets_NK[:, 0].numpy() * 20).all()
        seen += batch.targets_NK[:, 0].tolist()
    assert len(seen) == len(set(seen)) == 9


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[float]:
        return [v for batch in epoch_of(make(), 5, seed, epoch) for v in batch.inputs["x"].tolist()]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(s, e)) for s in (0, 1) for e in (0, 1)}) == 4


def test_rows_in_order_are_all_of_them() -> None:
    parts = [batch["x"].tolist() for batch in in_order(make().inputs, np.array([4, 1, 3]), 2)]
    assert parts == [[40.0, 10.0], [30.0]]
    assert steps_per_epoch(3, 8) == 1
    assert steps_per_epoch(17, 8) == 2


def test_rows_of_like_length_come_together_and_each_comes_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 640)
    rows = Rows({"x": np.arange(640)}, np.arange(640), np.zeros((640, 1), np.float32), lengths_N=lengths)
    batches = [batch.inputs["x"].numpy() for batch in epoch_of(rows, 16, seed=0, epoch=0)]
    assert sorted(np.concatenate(batches)) == list(range(640))
    assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 10
    again = [batch.inputs["x"].numpy() for batch in epoch_of(rows, 16, seed=0, epoch=1)]
    assert not np.array_equal(batches, again)
    assert not np.array_equal(np.argsort([lengths[b].mean() for b in batches]), np.arange(40))
