"""Whether mirroring and turning images keeps their labels, tried on training rows before anything is trained.

A quick model (a Gaussian kernel on edges, colours and small pixels) is fitted to the images as they are and asked for
held-out ones, as they are and changed, by cross-fitting. A change keeps labels where the model is as right as before.
Shapes: N rows, D features, K classes, labels or 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from thrifty.core.files import read_json, write_json
from thrifty.core.seeds import generator
from thrifty.data.column import Meaning, Task
from thrifty.data.dataset import Dataset
from thrifty.data.encode.image import Image
from thrifty.data.encode.image_statistics import ImageStatistics
from thrifty.evaluation.findings import SymmetryFinding

CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "left-right": lambda pixels_NHWC: pixels_NHWC[:, :, ::-1],
    "up-down": lambda pixels_NHWC: pixels_NHWC[:, ::-1],
    "quarter-turns": lambda pixels_NHWC: np.rot90(pixels_NHWC, axes=(1, 2)),
}
SIDE = 32
CHUNK_ROWS = 25
MIN_ROWS = 200
MAX_ROWS = 1500
MIN_SKILL = 0.3  # of a perfect score, from which on the quick model knows what it is looking at
MARGIN = 0.05  # that the score must not fall by, at 95 % confidence
CLASS_MARGIN = 0.2  # that it must not be seen to fall by among the rows of any class
FOLDS = 4
RIDGE = 3e-2


def known(dataset: Dataset, file: Path, channels: int, seconds: float, seed: int) -> list[SymmetryFinding]:
    """What was found earlier, as `file` says, or what `probe` finds, which is then written to it."""
    if file.exists():
        return [SymmetryFinding(**one) for one in read_json(file)["symmetries"]]
    found = probe(dataset, channels, seconds, seed)
    if found:  # otherwise a later sitting may have more time
        write_json(file, {"symmetries": [asdict(one) for one in found]})
    return found


def probe(dataset: Dataset, channels: int, seconds: float, seed: int = 0) -> list[SymmetryFinding]:
    """The symmetries of the one column of images, none where there is no such column or too few rows can be read.

    seconds: about how long it may take. Raises nothing for images that cannot be read: they are left out.
    """
    names = dataset.schema.names_of(Meaning.IMAGE)
    rows = dataset.splits.rounds()[0][0]
    if len(names) != 1 or not channels or len(rows) < MIN_ROWS:
        return []
    rows = generator(seed, "symmetries").permutation(rows)[:MAX_ROWS]
    encoder, statistics = Image(names, SIDE, channels), ImageStatistics(names, channels, small=8, cells=(8,))
    features: list[list[np.ndarray]] = []
    kept: list[np.ndarray] = []
    began = time.perf_counter()  # half of the time is for the model
    for start in range(0, len(rows), CHUNK_ROWS):
        some = rows[start : start + CHUNK_ROWS]
        arrays, _ = encoder.encode(dataset.columns(some, names))
        there = arrays["present"][:, 0] > 0
        pixels_NHWC = arrays["pixels"][there]
        versions = [pixels_NHWC, *(change(pixels_NHWC) for change in CHANGES.values())]
        features.append([_describe(statistics, names[0], version) for version in versions])
        kept.append(some[there])
        took, done = time.perf_counter() - began, start + len(some)
        if took > seconds / 2 or took * MIN_ROWS / done > seconds:  # or it will not come to enough rows
            break
    used = np.concatenate(kept)
    if len(used) < MIN_ROWS:
        return []
    versions = [np.concatenate(parts) for parts in zip(*features, strict=True)]
    return judge(versions, dataset.targets(used), dataset.schema.task, dataset.groups(used), seed)


def judge(
    versions: Sequence[np.ndarray], y: np.ndarray, task: Task, groups: np.ndarray | None = None, seed: int = 0
) -> list[SymmetryFinding]:
    """The symmetries by the features [N, D] of the images as they are and after each of CHANGES; `y` as in a dataset.

    groups: codes [N] of rows that belong together.
    """
    classes = task in (Task.BINARY, Task.MULTICLASS)
    targets_NK = np.eye(int(y.max()) + 1)[y] if classes else np.asarray(y, float).reshape(len(y), -1)
    variance = max(float(targets_NK.var(axis=0).sum()), 1e-12)
    units = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    fold_N = generator(seed, "folds").permutation(np.arange(units.max() + 1) % FOLDS)[units]
    scores_VN = np.zeros((len(versions), len(y)))
    for fold in range(FOLDS):
        train, held = fold_N != fold, fold_N == fold
        answers = _kernel(versions[0][train], targets_NK[train], [version[held] for version in versions])
        for v, answer_NK in enumerate(answers):
            if classes:
                scores_VN[v, held] = answer_NK.argmax(axis=1) == y[held]
            else:
                scores_VN[v, held] = 1 - ((answer_NK - targets_NK[held]) ** 2).sum(axis=1) / variance
    chance = float(targets_NK.mean(axis=0).max()) if classes else 0.0
    before = float(scores_VN[0].mean())
    knows = (before - chance) / max(1 - chance, 1e-9) >= MIN_SKILL
    found = []
    for name, scores_N in zip(CHANGES, scores_VN[1:], strict=True):
        fall_N = scores_VN[0] - scores_N
        error = _error(fall_N)
        keeps = knows and fall_N.mean() + 1.64 * error <= MARGIN
        if classes:
            parts = [fall_N[y == k] for k in np.unique(y)]
            keeps = keeps and not any(part.mean() - 2 * _error(part) > CLASS_MARGIN for part in parts if len(part) > 4)
        score = "accuracy" if classes else "R2"
        found.append(SymmetryFinding(name, bool(keeps), score, before, float(scores_N.mean()), error, len(y)))
    return found


def names_of(found: Sequence[SymmetryFinding]) -> str:
    """Those that keep labels, as a recipe names them."""
    return " ".join(one.name for one in found if one.keeps)


def _error(values_N: np.ndarray) -> float:
    return float(values_N.std(ddof=1) / np.sqrt(len(values_N)))


def _describe(statistics: ImageStatistics, name: str, pixels_NHWC: np.ndarray) -> np.ndarray:
    arrays, _ = statistics.encode({name: list(pixels_NHWC)})
    values_ND: np.ndarray = arrays["values"]
    return values_ND


def _kernel(x_ND: np.ndarray, targets_NK: np.ndarray, others: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Kernel ridge regression on standardised features: its answers [M, K] for the features of others."""
    mean_D, scale_D = x_ND.mean(axis=0), x_ND.std(axis=0) + 1e-6
    x_ND = (x_ND - mean_D) / scale_D / np.sqrt(len(mean_D))
    mean_K = targets_NK.mean(axis=0)
    gram_NN = _squared_distances(x_ND, x_ND)
    length = max(float(np.median(gram_NN)), float(gram_NN.mean()), 1e-9) / 2
    gram_NN = np.exp(-gram_NN / length)
    gram_NN[np.diag_indices_from(gram_NN)] += RIDGE
    weights_NK = np.linalg.solve(gram_NN, targets_NK - mean_K)
    scaled = [(other - mean_D) / scale_D / np.sqrt(len(mean_D)) for other in others]
    return [np.exp(-_squared_distances(other, x_ND) / length) @ weights_NK + mean_K for other in scaled]


def _squared_distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    norms = (a_ND**2).sum(axis=1)[:, None] + (b_MD**2).sum(axis=1)[None]
    return np.asarray(np.maximum(norms - 2 * a_ND @ b_MD.T, 0.0), np.float64)
