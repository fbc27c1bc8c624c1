import numpy as np
import pytest

from thrifty.automl.symmetries import CHANGES, SIDE, judge, names_of
from thrifty.data.column import Task
from thrifty.data.encode.image_statistics import ImageStatistics
from thrifty.evaluation.findings import SymmetryFinding


def found(pixels_NHWC: np.ndarray, y: np.ndarray, task: Task = Task.MULTICLASS) -> list[SymmetryFinding]:
    statistics = ImageStatistics(("image",), pixels_NHWC.shape[3], small=8, cells=(8,))
    versions = [pixels_NHWC, *(change(pixels_NHWC) for change in CHANGES.values())]
    features = [statistics.encode({"image": list(version)})[0]["values"] for version in versions]
    return judge(features, y, task)


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images[:800, ..., None] * 15.9).astype(np.uint8)
    return pixels.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2), data.target[:800]


def blobs(rng: np.random.Generator, num_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Blobs anywhere, whose colour is their class."""
    y = rng.integers(0, 3, num_rows)
    pixels = rng.integers(0, 60, (num_rows, SIDE, SIDE, 3), dtype=np.uint8)
    for image, k in zip(pixels, y):
        top, left = rng.integers(0, SIDE - 10, 2)
        image[top : top + 10, left : left + 10, k] = 220
    return pixels, y


def test_digits_refuse_every_change() -> None:
    pixels, y = digits()
    assert names_of(found(pixels, y)) == ""


def test_blobs_of_a_colour_allow_every_change() -> None:
    assert names_of(found(*blobs(np.random.default_rng(0)))) == "left-right up-down quarter-turns"


def test_stripes_that_lean_allow_a_half_turn_alone_by_no_single_mirroring() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    at = np.arange(SIDE)
    phase = rng.uniform(0, 6.28, 400)
    lean = np.where(y[:, None, None] == 0, at[:, None] + at, at[:, None] - at)
    waves = 127 + 80 * np.sin(lean * 0.8 + phase[:, None, None]) + rng.normal(0, 20, (400, SIDE, SIDE))
    symmetries = found(waves.clip(0, 255).astype(np.uint8)[..., None], y)
    assert names_of(symmetries) == ""
    assert all(one.before > 0.9 and one.after < 0.2 for one in symmetries)


def test_a_model_that_knows_nothing_allows_nothing() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (300, SIDE, SIDE, 1), dtype=np.uint8)
    assert names_of(found(pixels, rng.integers(0, 2, 300))) == ""


def test_one_class_that_is_mirrored_into_another_refuses_for_all() -> None:
    rng = np.random.default_rng(0)
    pixels, y = blobs(rng, 800)
    few = rng.permutation(800)[:40]
    pixels[few], y[few] = 0, 3  # bright to the left, and to the right for the fifth class
    pixels[few[:20], :, :8] = 250
    pixels[few[20:], :, -8:], y[few[20:]] = 250, 4
    symmetries = {one.name: one for one in found(pixels, y)}
    assert not symmetries["left-right"].keeps
    assert symmetries["left-right"].after > symmetries["left-right"].before - 0.06
    assert symmetries["up-down"].keeps


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.MULTICLASS])
def test_images_that_are_nearly_all_the_same_allow_nothing(task: Task) -> None:
    rng = np.random.default_rng(0)
    pixels = np.zeros((400, SIDE, SIDE, 1), np.uint8)
    pixels[:60] = rng.integers(0, 255, (60, SIDE, SIDE, 1), dtype=np.uint8)
    y = rng.integers(0, 2, 400) if task is Task.MULTICLASS else rng.normal(size=400)
    symmetries = found(pixels, y, task)
    assert names_of(symmetries) == ""
    assert all(np.isfinite([one.before, one.after]).all() for one in symmetries)


@pytest.mark.parametrize(("width", "kept"), [(32, True), (9, False)])
def test_numbers_are_judged_by_what_is_explained(width: int, kept: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 1, (400, 4, 4, 1)).repeat(8, axis=1).repeat(8, axis=2)
    y = pixels[:, :, :width].mean((1, 2, 3))
    left_right = found((pixels * 255).astype(np.uint8), y, Task.REGRESSION)[0]
    assert left_right.score == "R2"
    assert left_right.keeps == kept
