"""Where a model fails: by class, by pairs of classes, and by slices of the rows.

Legend: N rows, K classes. A slicing cuts all rows by one property: a category, the length of a text, the size of
an image, the length of a sound.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from thrifty.evaluation.intervals import intervals
from thrifty.evaluation.metrics import METRICS, confidence_bins, score

MAX_VALUES = 8
MIN_ROWS = 10
NUM_BINS = 4
MAX_PAIRS = 12
MISSING = "(missing)"
OTHER = "(other)"
# What slices are compared by instead of metrics that also tell how the targets of a slice are spread or mixed: a slice
# of like targets has a small R2 however small its errors are, and one without a class a small macro-F1.
COMPARABLE: Mapping[str, str] = {
    "r2": "rmse", "pearson": "rmse", "spearman": "rmse", "average_precision": "roc_auc",
    "f1_macro": "balanced_accuracy", "precision_macro": "balanced_accuracy", "recall_macro": "balanced_accuracy",
}  # fmt: skip


@dataclass(frozen=True)
class Slicing:
    """One property of the rows. labels: of its slices; codes: the slice of each row, int64 [N], -1 for none."""

    name: str
    labels: tuple[str, ...]
    codes: np.ndarray


def by_category(name: str, values: Sequence[Any]) -> Slicing:
    """One slice for each of the most frequent values, one for the rest, one for the missing."""
    texts = [MISSING if _is_missing(v) else str(v) for v in values]
    counts = Counter(t for t in texts if t != MISSING)
    frequent = [t for t, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    labels = frequent if len(frequent) <= MAX_VALUES else [*frequent[: MAX_VALUES - 1], OTHER]
    labels = [*labels, MISSING] if MISSING in texts else labels
    code_of = {label: k for k, label in enumerate(labels)}
    other = code_of.get(OTHER, -1)
    return Slicing(name, tuple(labels), np.asarray([code_of.get(t, other) for t in texts], dtype=np.int64))


def by_number(name: str, values_N: np.ndarray, unit: str = "") -> Slicing:
    """Slices of about equally many rows by a number; nan is a slice of its own. One slice per value where few occur."""
    values_N = np.asarray(values_N, dtype=np.float64)
    known_N = np.isfinite(values_N)
    codes_N = np.full(len(values_N), -1, dtype=np.int64)
    suffix = f" {unit}" if unit else ""
    distinct = np.unique(values_N[known_N])
    if len(distinct) <= NUM_BINS:
        labels = [_short(v) + suffix for v in distinct]
        codes_N[known_N] = np.searchsorted(distinct, values_N[known_N])
    else:
        quantiles = np.quantile(values_N[known_N], np.linspace(0, 1, NUM_BINS + 1)[1:-1], method="lower")
        edges = np.unique(np.minimum(quantiles, distinct[-2]))  # something lies over the last
        codes_N[known_N] = np.searchsorted(edges, values_N[known_N], side="left")
        bounds = [_short(e) for e in edges]
        labels = [f"up to {bounds[0]}{suffix}", *[f"{a} to {b}{suffix}" for a, b in pairwise(bounds)]]
        labels.append(f"over {bounds[-1]}{suffix}")
    if not known_N.all():
        codes_N[~known_N] = len(labels)
        labels.append(MISSING)
    return Slicing(name, tuple(labels), codes_N)


def slicings_of(
    columns: Mapping[str, Sequence[Any]], meanings: Mapping[str, str], seconds: float = 2.0
) -> list[Slicing]:
    """The slicings that raw columns offer: categories by value, texts by length, images by size, sounds by length.

    columns: plain values by column, as the data layer gives them. Reading sizes of files stops after `seconds`; a
    column that was not read to its end has no slicing.
    """
    deadline = time.monotonic() + seconds
    found = []
    for name, values in columns.items():
        meaning = str(meanings.get(name, ""))
        if meaning == "category":
            found.append(by_category(name, values))
        elif meaning == "text":
            lengths = [math.nan if _is_missing(v) else len(str(v)) for v in values]
            found.append(by_number(f"length of {name}", np.asarray(lengths), "characters"))
        elif meaning in ("image", "audio"):
            sizes = _file_sizes(values, meaning, deadline)
            if sizes is not None:
                what, unit = ("size", "pixels") if meaning == "image" else ("length", "s")
                found.append(by_number(f"{what} of {name}", sizes, unit))
    return [s for s in found if len(s.labels) > 1]


def slice_metric(name: str, task: str) -> str:
    """What slices are compared by where the run's metric is `name`: that, or what tells as much of any slice."""
    found = COMPARABLE.get(name, name)
    return "f1_micro" if found == "balanced_accuracy" and task == "multilabel" else found


def slice_table(
    slicings: Sequence[Slicing],
    name: str,
    task: str,
    y: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    positive: int | None = None,
    seconds: float = 1.0,
) -> list[dict[str, Any]]:
    """For each slicing {slicing, slices: [{slice, rows, value, low, high, differs}]}; differs: worse, better or null.

    name: a metric as `slice_metric` gives it. outputs: where it needs labels `certain` ones. A slice differs where the
    metric of all rows lies outside its interval made wider by half (many slices are looked at, so 95 % each would cry
    wolf). Slices under MIN_ROWS rows have no value.
    """
    overall = score(name, task, y, outputs, None, weights, positive)
    num_slices = sum(len(s.labels) for s in slicings)
    tables = []
    for slicing in slicings:
        rows_of = [np.flatnonzero(slicing.codes == k) for k in range(len(slicing.labels))]
        lines: list[dict[str, Any]] = []
        for label, rows in zip(slicing.labels, rows_of):
            line: dict[str, Any] = {"slice": label, "rows": len(rows), "value": None, "low": None, "high": None}
            if len(rows) >= MIN_ROWS:
                found = intervals(
                    [name], task, y[rows], outputs[rows], weights=None if weights is None else weights[rows],
                    groups=None if groups is None else groups[rows], positive=positive,
                    num_resamples=400, seconds=seconds / num_slices,
                )[name]  # fmt: skip
                line |= found.to_json()
            line["differs"] = _differs(line, overall, METRICS[name].sign)
            lines.append(line)
        tables.append({"slicing": slicing.name, "slices": lines})
    return tables


def class_table(
    classes: Sequence[str], y: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """For each class {class, rows, answered, precision, recall, f1}; a ratio over nothing is null."""
    w_N = np.ones(len(y)) if weights is None else weights
    if y.ndim == 2:
        right_K, true_K, answered_K = w_N @ (y * codes), w_N @ y, w_N @ codes
        rows_K, rows_answered_K = y.sum(axis=0), codes.sum(axis=0)
    else:
        right_N = y == codes
        sums = ((y[right_N], w_N[right_N]), (y, w_N), (codes, w_N), (y, None), (codes, None))
        right_K, true_K, answered_K, rows_K, rows_answered_K = (
            np.bincount(of, weighed, minlength=len(classes)) for of, weighed in sums
        )
    table = []
    for k, label in enumerate(classes):
        ratios = (
            ("precision", right_K[k], answered_K[k]),
            ("recall", right_K[k], true_K[k]),
            ("f1", 2 * right_K[k], true_K[k] + answered_K[k]),
        )
        line: dict[str, Any] = {"class": label, "rows": int(rows_K[k]), "answered": int(rows_answered_K[k])}
        table.append(line | {n: float(top / bottom) if bottom > 0 else None for n, top, bottom in ratios})
    return table


def confused(classes: Sequence[str], y: np.ndarray, codes: np.ndarray) -> list[dict[str, Any]]:
    """The MAX_PAIRS pairs of a true class and another that was answered most often: {true, answered, rows, share}.

    share: of the true class.
    """
    wrong_N = y != codes
    rows_K = np.bincount(y, minlength=len(classes))
    cells_C, counts_C = np.unique(y[wrong_N] * len(classes) + codes[wrong_N], return_counts=True)
    pairs = []
    for place in np.argsort(-counts_C, kind="stable")[:MAX_PAIRS]:
        true, answered = divmod(int(cells_C[place]), len(classes))
        rows = int(counts_C[place])
        pair = {"true": classes[true], "answered": classes[answered], "rows": rows, "share": rows / int(rows_K[true])}
        pairs.append(pair)
    return pairs


def reliability(
    confidence_N: np.ndarray, true_N: np.ndarray, weights_N: np.ndarray | None = None, num_bins: int = 10
) -> list[dict[str, Any]]:
    """Bins of equal width of stated probability: {low, high, rows, stated, came_true}, those of no weight left out."""
    bins_N = confidence_bins(confidence_N, num_bins)
    w_N = np.ones(len(bins_N)) if weights_N is None else weights_N
    rows_B = np.bincount(bins_N, minlength=num_bins)
    weight_B, stated_B, true_B = (
        np.bincount(bins_N, w_N * values, minlength=num_bins) for values in (1.0, confidence_N, true_N)
    )
    return [
        {
            "low": b / num_bins,
            "high": (b + 1) / num_bins,
            "rows": int(rows_B[b]),
            "stated": float(stated_B[b] / weight_B[b]),
            "came_true": float(true_B[b] / weight_B[b]),
        }
        for b in np.flatnonzero(weight_B > 0)
    ]


def _differs(line: Mapping[str, Any], overall: float, sign: int) -> str | None:
    if line["low"] is None or not math.isfinite(overall):
        return None
    extra = 0.25 * (line["high"] - line["low"])
    if line["low"] - extra <= overall <= line["high"] + extra:
        return None
    return "better" if sign * (line["value"] - overall) > 0 else "worse"


def _file_sizes(values: Sequence[Any], meaning: str, deadline: float) -> np.ndarray | None:
    """The longer side in pixels, or the length in seconds, of each file, from its header; None when time is up."""
    sizes = np.full(len(values), math.nan)
    for row, value in enumerate(values):
        if row % 64 == 0 and time.monotonic() > deadline:
            return None
        if not _is_missing(value):
            sizes[row] = _image_side(value) if meaning == "image" else _sound_seconds(value)
    return sizes


def _image_side(value: Any) -> float:
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as image:
            return float(max(image.size))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return math.nan


def _sound_seconds(value: Any) -> float:
    import io

    import soundfile

    try:
        found = soundfile.info(io.BytesIO(value) if isinstance(value, bytes) else value)
    except (soundfile.SoundFileError, OSError, ValueError):
        return math.nan
    return found.frames / found.samplerate if found.samplerate else math.nan


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
