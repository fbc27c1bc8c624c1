"""The metrics: what each one means, and its value for given targets and outputs.

Legend: N rows, K classes or labels. Targets y: class codes int [N] (binary, multiclass), 0/1 [N, K] (multilabel),
numbers [N] (regression). Outputs: probabilities [N, K] (also for two classes), or values [N] or [N, 1]. Values equal
scikit-learn's; what is undefined (one class only, a constant) is nan here and null in JSON. Where scikit-learn's mean
over classes would hold an undefined one, ours is the mean over the defined.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thrifty.core.errors import UsageError
from thrifty.evaluation.decisions import Decision, decide
from thrifty.evaluation.ranking import UNDEFINED, area_under_roc, average_precision, midranks

NUM_ECE_BINS = 15

_SINGLE = ("binary", "multiclass")
_CLASSES = (*_SINGLE, "multilabel")


@dataclass(frozen=True)
class Metric:
    """One metric. `needs` is what is compared: labels, probabilities or values; `low` and `high` bound its values."""

    name: str
    title: str
    direction: str
    tasks: tuple[str, ...]
    needs: str
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 where larger is better, -1 where smaller is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def perfect(self) -> float:
        """The best value there is: the highest, or of what is minimised 0."""
        return self.high if self.sign > 0 else self.low


_INF = math.inf
METRICS: Mapping[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", "share of rows answered right", "maximize", _CLASSES, "labels", 0, 1),
        Metric("balanced_accuracy", "recall, mean over the classes present", "maximize", _SINGLE, "labels", 0, 1),
        Metric("precision_macro", "precision, mean over classes", "maximize", _CLASSES, "labels", 0, 1),
        Metric("recall_macro", "recall, mean over classes", "maximize", _CLASSES, "labels", 0, 1),
        Metric("f1_micro", "F1 over all answers", "maximize", _CLASSES, "labels", 0, 1),
        Metric("f1_macro", "F1, mean over classes", "maximize", _CLASSES, "labels", 0, 1),
        Metric("roc_auc", "area under the ROC curve", "maximize", _CLASSES, "probabilities", 0, 1),
        Metric("average_precision", "area under precision and recall", "maximize", _CLASSES, "probabilities", 0, 1),
        Metric("log_loss", "mean log loss", "minimize", _CLASSES, "probabilities", 0, _INF),
        Metric("brier", "mean squared error of probabilities", "minimize", _CLASSES, "probabilities", 0, 2),
        Metric("ece", "expected calibration error", "minimize", _CLASSES, "probabilities", 0, 1),
        Metric("r2", "share of variance explained", "maximize", ("regression",), "values", -_INF, 1),
        Metric("rmse", "root mean squared error", "minimize", ("regression",), "values", 0, _INF),
        Metric("mae", "mean absolute error", "minimize", ("regression",), "values", 0, _INF),
        Metric("pearson", "linear correlation", "maximize", ("regression",), "values", -1, 1),
        Metric("spearman", "rank correlation", "maximize", ("regression",), "values", -1, 1),
    )
}


CORRELATIONS = ("pearson", "spearman")
# Means over the classes of something that answers alone decide: here a rare class counts as much as a frequent one.
CLASSES_ALIKE = ("balanced_accuracy", "precision_macro", "recall_macro", "f1_macro")


def metrics_of(task: str) -> tuple[str, ...]:
    """The names of the metrics that the task has, in the order of METRICS."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def metric_for(name: str, task: str | None = None) -> Metric:
    """The metric of that name. Raises UsageError when there is none, or when the task, if given, has no such metric."""
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, 1, 0.4)
        hint = f" (did you mean {close[0]}?)" if close else ""
        those = (
            f"there are {', '.join(METRICS)}" if task is None else f"a {task} task has {', '.join(metrics_of(task))}"
        )
        raise UsageError(f"there is no metric {name!r}{hint}; {those}")
    if task is not None and task not in METRICS[name].tasks:
        raise UsageError(f"{name} is no metric of a {task} task; its metrics are {', '.join(metrics_of(task))}")
    return METRICS[name]


def choose_metric(task: str, class_counts: Sequence[int] = ()) -> tuple[str, str]:
    """The metric for a user who named none, and the reason in words; `class_counts` are rows per class."""
    if task == "regression":
        return "r2", "the usual choice for numbers"
    if task == "multilabel":
        return "f1_micro", "each row may have several labels"
    total, largest, smallest = sum(class_counts), max(class_counts, default=0), min(class_counts, default=0)
    equal_share = total / max(1, len(class_counts))
    if len(class_counts) == 2 and smallest < 0.2 * total:
        return "average_precision", f"one of two classes has only {_percent(smallest / total)} of the rows"
    if len(class_counts) > 2 and largest > 3 * equal_share:
        share = largest / total
        return "f1_macro", f"classes are imbalanced: the largest has {_percent(share)} of the rows"
    if len(class_counts) > 2 and smallest < equal_share / 3:
        share = smallest / total
        return "f1_macro", f"classes are imbalanced: the smallest has {_percent(share)} of the rows"
    shares = f"{_percent(smallest / max(1, total))} to {_percent(largest / max(1, total))} of the rows"
    return "accuracy", f"each class has {shares}"


def positive_of(class_counts: Sequence[int]) -> int:
    """The class of two that average precision looks for: the rarer; the second where both are equally frequent."""
    return 0 if len(class_counts) == 2 and class_counts[0] < class_counts[1] else 1


def score(
    name: str,
    task: str,
    y: np.ndarray,
    outputs: np.ndarray,
    decision: Decision | None = None,
    weights: np.ndarray | None = None,
    positive: int | None = None,
) -> float:
    """The plain value of the metric, nan where it is undefined.

    outputs: probabilities or values, see the module. decision: how they become classes, None for the likeliest.
    positive: the class of two for average precision, None for the rarer in `y`.
    """
    return scorer(name, task, y, decision, weights, positive)(outputs)


def signed(name: str, value: float) -> float:
    """The value as searches compare it, larger is better; the same function undoes it."""
    return METRICS[name].sign * value


def scorer(
    name: str,
    task: str,
    y: np.ndarray,
    decision: Decision | None = None,
    weights: np.ndarray | None = None,
    positive: int | None = None,
) -> Callable[[np.ndarray], float]:
    """`score` with all but the outputs given, for calling thousands of times: what depends on y alone is done once."""
    metric = metric_for(name, task)
    weights = None if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    if weights is not None and not (weights > 0).all():
        return _without(
            weights > 0, scorer(name, task, np.asarray(y)[weights > 0], decision, weights[weights > 0], positive)
        )
    if task == "regression":
        of = _of_values(name, np.asarray(y, dtype=np.float64).reshape(-1), weights)
    elif metric.needs == "labels":
        labels = score_multilabel_codes if task == "multilabel" else score_codes
        y = np.asarray(y).astype(np.int64)

        def of(outputs_NK: np.ndarray) -> float:
            return labels(name, y, decide(task, outputs_NK, decision), outputs_NK.shape[1], weights)

    else:
        of = _of_probabilities(name, task, np.asarray(y).astype(np.int64), weights, positive)

    def checked(outputs: np.ndarray) -> float:
        outputs = np.asarray(outputs)
        if len(outputs) != len(y):
            raise ValueError(f"{len(outputs)} outputs for {len(y)} targets")
        if not len(y) or not np.isfinite(outputs.sum(dtype=np.float64)):
            return UNDEFINED
        return float(of(outputs))

    return checked


def _without(kept_N: np.ndarray, of: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """A scorer of all rows from one of the rows that weigh something."""
    return lambda outputs: of(np.asarray(outputs)[kept_N])


def confusion(
    y_N: np.ndarray, codes_N: np.ndarray, num_classes: int, weights_N: np.ndarray | None = None
) -> np.ndarray:
    """Rows (or their weight) of each true class (first axis) answered as each class (second), [K, K]."""
    cells_N = y_N * num_classes + codes_N
    return np.bincount(cells_N, weights_N, minlength=num_classes**2).reshape(num_classes, num_classes)


def score_codes(
    name: str, y_N: np.ndarray, codes_N: np.ndarray, num_classes: int, weights_N: np.ndarray | None = None
) -> float:
    """A metric that needs labels alone, from true and answered class codes int64 [N]."""
    if name in ("accuracy", "f1_micro"):
        right_N = y_N == codes_N
        return float(right_N.mean() if weights_N is None else np.average(right_N, weights=weights_N))
    true_K = np.bincount(y_N, weights_N, minlength=num_classes)
    answered_K = np.bincount(codes_N, weights_N, minlength=num_classes)
    right_N = y_N == codes_N
    right_K = np.bincount(y_N[right_N], None if weights_N is None else weights_N[right_N], minlength=num_classes)
    return float(of_counts(name, right_K, true_K, answered_K, (true_K + answered_K) > 0))


def score_multilabel_codes(
    name: str, y_NK: np.ndarray, codes_NK: np.ndarray, num_labels: int, weights_N: np.ndarray | None = None
) -> float:
    """A metric that needs labels alone, from true and answered 0/1 [N, K]; accuracy is of whole rows."""
    w_N = np.ones(len(y_NK)) if weights_N is None else weights_N
    if name == "accuracy":
        return float(np.average((y_NK == codes_NK).all(axis=1), weights=w_N))
    counts = (w_N @ (y_NK * codes_NK), w_N @ y_NK, w_N @ codes_NK)
    return float(of_counts(name, *counts, np.ones(num_labels, dtype=bool)))


def of_counts(
    name: str, right_K: np.ndarray, true_K: np.ndarray, answered_K: np.ndarray, counted_K: np.ndarray
) -> np.ndarray:
    """A label metric from rows per class that are answered right, true, and answered so; leading axes are kept.

    counted: the classes that a macro mean counts; precision and recall over nothing are 0, as in scikit-learn.
    """
    if name == "f1_micro":
        return _ratio(2 * right_K.sum(-1), true_K.sum(-1) + answered_K.sum(-1))
    if name == "balanced_accuracy":
        return _ratio(_ratio(right_K, true_K).sum(-1), (true_K > 0).sum(-1), UNDEFINED)
    if name == "precision_macro":
        value_K = _ratio(right_K, answered_K)
    elif name == "recall_macro":
        value_K = _ratio(right_K, true_K)
    else:
        value_K = _ratio(2 * right_K, true_K + answered_K)
    return _ratio((value_K * counted_K).sum(-1), counted_K.sum(-1), UNDEFINED)


def row_losses(name: str, task: str, y: np.ndarray, outputs_NK: np.ndarray) -> np.ndarray:
    """The loss of each row [N] whose weighted mean is log_loss or brier."""
    p_NK = np.asarray(outputs_NK, dtype=np.float64)
    rows_N = np.arange(len(p_NK))
    if name == "log_loss":
        tiny = np.finfo(outputs_NK.dtype if outputs_NK.dtype.kind == "f" else np.float64).eps
        if task == "multilabel":
            p_NK = np.clip(p_NK, tiny, 1 - tiny)
            return -np.where(y > 0, np.log(p_NK), np.log1p(-p_NK)).mean(axis=1)
        return -np.log(np.clip(p_NK[rows_N, y], tiny, 1 - tiny))
    if task == "multilabel":
        return ((p_NK - y) ** 2).mean(axis=1)
    true_N = p_NK[rows_N, y]
    total_N = np.einsum("nk,nk->n", p_NK, p_NK) - true_N**2 + (1 - true_N) ** 2
    return 0.5 * total_N if p_NK.shape[1] == 2 else total_N


def confidences(task: str, y: np.ndarray, outputs_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a reliability plot compares: the stated probability, and whether it came true (0 or 1).

    Classes: of the likeliest class, [N]. Multilabel: of each label of each row, [N * K].
    """
    if task == "multilabel":
        return outputs_NK.reshape(-1), (y.reshape(-1) > 0).astype(np.float64)
    codes_N = decide(task, outputs_NK)
    return outputs_NK[np.arange(len(codes_N)), codes_N], (codes_N == y).astype(np.float64)


def confidence_bins(confidence_N: np.ndarray, num_bins: int = NUM_ECE_BINS) -> np.ndarray:
    """The bin of equal width, 0 to num_bins - 1, that each probability falls in; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence_N * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


def moments_value(name: str, sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """r2, rmse, mae or pearson from (resamples of) weighted sums of `w, y, yy, z, zz, yz, e, ee`; nan if undefined.

    y: targets, z: values, both shifted by the same constant; e: absolute error, ee: squared error.
    """
    w = sums["w"]
    if name == "mae":
        return _ratio(sums["e"], w, UNDEFINED)
    if name == "rmse":
        return np.sqrt(_ratio(sums["ee"], w, UNDEFINED))
    spread_y = np.maximum(sums["yy"] - sums["y"] ** 2 / w, 0)
    if name == "r2":
        constant = np.where(sums["ee"] > 0, 0.0, 1.0)
        return np.where(spread_y > 0, 1 - _ratio(sums["ee"], spread_y), constant)
    spread_z = np.maximum(sums["zz"] - sums["z"] ** 2 / w, 0)
    together = sums["yz"] - sums["y"] * sums["z"] / w
    return np.clip(_ratio(together, np.sqrt(spread_y * spread_z), UNDEFINED), -1, 1)


def _of_values(name: str, y_N: np.ndarray, weights_N: np.ndarray | None) -> Callable[[np.ndarray], float]:
    w_N = np.ones(len(y_N)) if weights_N is None else weights_N
    center = np.average(y_N, weights=w_N) if len(y_N) else 0.0
    target_N = midranks(y_N, weights_N) if name == "spearman" else y_N - center

    def of(outputs: np.ndarray) -> float:
        z_N = np.asarray(outputs, dtype=np.float64).reshape(-1)
        if name == "spearman":
            return _correlation(target_N, midranks(z_N, weights_N), w_N)
        if name == "pearson":
            return _correlation(target_N, z_N, w_N)
        error_N = y_N - z_N
        if name == "mae":
            return float(np.average(np.abs(error_N), weights=w_N))
        squared = float(w_N @ error_N**2)
        if name == "rmse":
            return math.sqrt(squared / w_N.sum())
        if len(y_N) < 2:
            return UNDEFINED
        if np.ptp(y_N) > 0:
            return 1 - squared / float(w_N @ target_N**2)
        return 0.0 if squared > 0 else 1.0

    return of


def _of_probabilities(
    name: str, task: str, y: np.ndarray, weights_N: np.ndarray | None, positive: int | None
) -> Callable[[np.ndarray], float]:
    if name in ("log_loss", "brier"):
        return lambda p_NK: float(np.average(row_losses(name, task, y, p_NK), weights=weights_N))
    if name == "ece":
        return lambda p_NK: _calibration_error(task, y, p_NK, weights_N)
    of_column = area_under_roc if name == "roc_auc" else average_precision
    columns = _columns(name, task, y, positive)

    def of(p_NK: np.ndarray) -> float:
        if columns is not None:
            return of_column(columns[1], p_NK[:, columns[0]], weights_N)
        p_KN = np.ascontiguousarray(p_NK.T)
        values_K = [of_column(y[:, k] > 0 if y.ndim == 2 else y == k, p_N, weights_N) for k, p_N in enumerate(p_KN)]
        return mean_of_defined(values_K)

    return of


def _columns(name: str, task: str, y: np.ndarray, positive: int | None) -> tuple[int, np.ndarray] | None:
    """For two classes the one column that is ranked and its positive rows; None where every column is."""
    if task != "binary":
        return None
    k = positive if positive is not None else positive_of(np.bincount(y, minlength=2)[:2].tolist())
    k = 1 if name == "roc_auc" else k
    return k, y == k


def mean_of_defined(values: Sequence[float]) -> float:
    """The mean of what is not nan, nan where nothing is."""
    defined = [v for v in values if v == v]
    return sum(defined) / len(defined) if defined else UNDEFINED


def _calibration_error(task: str, y: np.ndarray, p_NK: np.ndarray, weights_N: np.ndarray | None) -> float:
    confidence_N, true_N = confidences(task, y, p_NK)
    w_N = np.ones(len(y)) if weights_N is None else weights_N
    w_N = np.repeat(w_N, len(true_N) // len(y))
    gap_bins = np.bincount(confidence_bins(confidence_N), w_N * (confidence_N - true_N), minlength=NUM_ECE_BINS)
    return float(np.abs(gap_bins).sum() / w_N.sum())


def _correlation(x_N: np.ndarray, y_N: np.ndarray, w_N: np.ndarray) -> float:
    if len(x_N) < 2 or not np.ptp(x_N) > 0 or not np.ptp(y_N) > 0:
        return UNDEFINED
    x_N = x_N - np.average(x_N, weights=w_N)
    y_N = y_N - np.average(y_N, weights=w_N)
    spread = math.sqrt(float(w_N @ x_N**2) * float(w_N @ y_N**2))
    return float(np.clip((w_N * x_N) @ y_N / spread, -1, 1)) if spread > 0 else UNDEFINED


def _ratio(top: np.ndarray, bottom: np.ndarray, over_nothing: float = 0.0) -> np.ndarray:
    """top / bottom, and `over_nothing` where bottom is 0."""
    safe = np.where(bottom > 0, bottom, 1)
    return np.where(bottom > 0, top / safe, over_nothing)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
