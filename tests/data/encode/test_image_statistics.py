import numpy as np
import pytest
from PIL import Image as Pillow

from thrifty.data.encode.image_statistics import ImageStatistics


def drawings(num: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Bars across (0) or upright (1) at random places on noise."""
    rng = np.random.default_rng(seed)
    images, kinds = [], rng.integers(0, 2, num)
    for kind in kinds:
        image = rng.integers(0, 60, (28, 28), dtype=np.uint8)
        at = int(rng.integers(4, 22))
        image[at : at + 3] = 200
        images.append(np.ascontiguousarray(image.T if kind else image))
    return images, kinds


def test_a_linear_model_tells_upright_bars_from_bars_across() -> None:
    images, kinds = drawings(200)
    values = ImageStatistics(("i",), channels=1).encode({"i": images})[0]["values"].astype(np.float64)
    target = 2.0 * kinds - 1
    train, test = slice(0, 150), slice(150, 200)
    gram = values[train] @ values[train].T + 0.1 * np.eye(150)
    weights = values[train].T @ np.linalg.solve(gram, target[train])
    assert ((values[test] @ weights > 0) == (kinds[test] == 1)).mean() > 0.95


@pytest.mark.parametrize(
    ("channels", "small", "cells", "num"), [(1, 16, (8, 4), 899), (1, 8, (8,), 195), (3, 16, (8, 4), 1017)]
)
def test_the_numbers_are_finite_and_as_many_as_said(channels: int, small: int, cells: tuple, num: int) -> None:
    encoder = ImageStatistics(("i",), channels, small, cells)
    blank = Pillow.new("RGB", (1, 300), (10, 200, 30))
    arrays, problems = encoder.encode({"i": [drawings(1)[0][0], blank, None, b"broken"]})
    assert arrays["values"].shape == (4, num)
    assert np.isfinite(arrays["values"]).all()
    assert not arrays["values"][2:].any()
    assert [p.row for p in problems] == [3]


def test_an_image_gives_the_same_numbers_alone_and_in_a_batch() -> None:
    images, _ = drawings(40)
    encoder = ImageStatistics(("i",), channels=3)
    batch = encoder.encode({"i": images}, threads=2)[0]["values"]
    np.testing.assert_allclose(encoder.encode({"i": images[7:8]})[0]["values"][0], batch[7], atol=1e-5)
