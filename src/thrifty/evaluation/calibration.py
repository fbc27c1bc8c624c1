"""What is fitted to validation after training: a temperature, and a decision for the metric that was asked for.

Each is kept only where rows that it was not fitted to are better for it. Legend: N rows, K classes or labels, C cuts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from thrifty.evaluation.decisions import Decision, certain, decide
from thrifty.evaluation.intervals import difference
from thrifty.evaluation.metrics import CLASSES_ALIKE, METRICS, of_counts, score, score_codes, score_multilabel_codes
from thrifty.evaluation.offsets import PRIOR_ROWS, USUAL_TAU, coordinate_offsets, prior_offsets

MAX_TEMPERATURE_ROWS = 20_000
MIN_ROWS = 40
NUM_FOLDS = 3
MOST_WORK = 3e8  # rows times the square of the classes, above which class by class takes too long: some seconds
# How many standard errors of the difference a decision must gain, measured on rows it was not fitted to.
KEEP_FROM = 0.5
# Cuts of labels so rare that no row is likely to have them.
RARE_CUTS = (0.002, 0.003, 0.005, 0.007, 0.01, 0.014)

_Way = Callable[[str, np.ndarray, np.ndarray, "np.ndarray | None"], Decision]
_Fit = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], Decision]


def temperature(
    task: str, y: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, seed: int = 0
) -> float:
    """What to divide logits [N, K] by, 0.05 to 20, so that probabilities are as right as they can be (log loss).

    1.0 for numbers, for fewer than MIN_ROWS rows, and where halves fitted on each other do not gain. Guo et al. 2017,
    https://arxiv.org/abs/1706.04599
    """
    if task == "regression" or len(y) < MIN_ROWS:
        return 1.0
    order = np.random.default_rng(seed).permutation(len(y))
    order = (order if weights is None else order[np.asarray(weights)[order] > 0])[:MAX_TEMPERATURE_ROWS]
    if len(order) < 2:
        return 1.0
    z_KN, y = np.ascontiguousarray(scores[order].T, dtype=np.float32), np.asarray(y)[order].astype(np.int64)
    w_N = np.ones(len(y), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)[order]
    half = len(y) // 2
    gain = 0.0
    for fitted, tried in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        beta = _sharpness(task, y[fitted], z_KN[:, fitted], w_N[fitted])
        before, after = (_loss(task, y[tried], z_KN[:, tried], w_N[tried], b) for b in (1.0, beta))
        gain += before - after
    return 1.0 / _sharpness(task, y, z_KN, w_N) if gain > 0 else 1.0


def _sharpness(task: str, y: np.ndarray, z_KN: np.ndarray, w_N: np.ndarray) -> float:
    """The factor on logits of least loss by golden section over its logarithm, pulled to 1 as by one row's evidence."""

    def loss(log_beta: float) -> float:
        return _loss(task, y, z_KN, w_N, math.exp(log_beta)) + log_beta**2 / len(y)

    low, high, ratio = -math.log(20), math.log(20), (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > 1e-3:
        if loss_a < loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - ratio * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + ratio * (high - low)
            loss_b = loss(b)
    return math.exp((low + high) / 2)


def _loss(task: str, y: np.ndarray, z_KN: np.ndarray, w_N: np.ndarray, beta: float) -> float:
    scaled_KN = z_KN * np.float32(beta)
    if task == "multilabel":
        loss_N = (np.logaddexp(0, scaled_KN) - scaled_KN * y.T).mean(axis=0)
    else:
        scaled_KN -= scaled_KN.max(axis=0)
        loss_N = np.log(np.exp(scaled_KN).sum(axis=0)) - scaled_KN[y, np.arange(len(y))]
    return float(np.average(loss_N, weights=w_N))


@dataclass(frozen=True)
class Tuned:
    """A decision or None, with the metric on validation without it and, cross-fitted, with it, and why.

    apart: the folds of validation, bool [N], each with the decision of its kind that was fitted to the other ones.
    """

    decision: Decision | None
    before: float
    after: float
    why: str
    apart: Sequence[tuple[np.ndarray, Decision]] = field(default=(), repr=False, compare=False)

    def answers(self, probabilities_NK: np.ndarray) -> np.ndarray:
        """Codes as `Decision.apply` gives, of the validation rows, each by the decision that was fitted without it."""
        return _apart(self.apart, probabilities_NK)


def tune_decision(
    name: str, task: str, y: np.ndarray, probabilities_NK: np.ndarray, weights: np.ndarray | None = None, seed: int = 0
) -> Tuned:
    """The decision for metric `name` that validation favours; None where the likeliest class is as good an answer.

    Two classes: a threshold. K classes: offsets, first along the classes' shares, then class by class. Labels:
    thresholds, one for all or one each. Candidates are compared on rows they were not fitted to. A mean recall of more
    than two classes is answered along the shares in any case: that is right for probabilities that are, and few rows of
    a rare class would not show it.
    """
    fits = _fits(name, task, np.shape(probabilities_NK)[-1])
    before = score(name, task, y, probabilities_NK, None, weights)
    if not fits:
        return Tuned(None, before, before, f"the likeliest class is the best answer for {name}")
    if len(y) < MIN_ROWS or not math.isfinite(before):
        return Tuned(None, before, before, f"{len(y)} rows are too few to choose one on")
    y = np.asarray(y).astype(np.int64)
    p_NK = np.asarray(probabilities_NK, dtype=np.float32)
    w_N = None if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    if len(y) * p_NK.shape[1] ** 2 > MOST_WORK:
        fits = fits[:1]
    folds_N = _folds(y, seed)
    sure = fits[0] if name in USUAL_TAU and p_NK.shape[1] > 2 else None
    plain = decide(task, p_NK)
    best, best_codes, best_value = None, plain, before
    best_apart: list[tuple[np.ndarray, Decision]] = []
    for fit in fits:
        apart = []
        for fold in range(NUM_FOLDS):
            rest = folds_N != fold
            apart.append((~rest, fit(y[rest], p_NK[rest], None if w_N is None else w_N[rest])))
        codes = _apart(apart, p_NK)
        value = _score(name, task, y, codes, p_NK.shape[1], w_N)
        gain = _gain_in_errors(name, task, y, codes, best_codes, p_NK.shape[1], w_N)
        if fit is sure or (value > best_value and gain >= KEEP_FROM):
            best, best_codes, best_value, best_apart = fit, codes, value, apart
    if best is None:
        return Tuned(None, before, before, "no gain on rows that it was not fitted to")
    why = f"{name} {before:.3f} to {best_value:.3f}, cross-fitted"
    return Tuned(best(y, p_NK, w_N), before, best_value, why, best_apart)


def _apart(apart: Sequence[tuple[np.ndarray, Decision]], p_NK: np.ndarray) -> np.ndarray:
    """The codes that each fold's own decision gives its rows."""
    labels = any(decision.kind == "thresholds" for _, decision in apart)
    codes = np.zeros(p_NK.shape if labels else len(p_NK), dtype=np.int64)
    for held_N, decision in apart:
        codes[held_N] = decision.apply(p_NK[held_N])
    return codes


def _fits(name: str, task: str, num_columns: int) -> list[_Fit]:
    """The ways to choose a decision for the metric, simplest first."""
    if task == "regression" or METRICS[name].needs != "labels" or num_columns < 2 or name == "precision_macro":
        return []
    ways: Sequence[_Way] = ()
    if task == "multilabel":
        ways = {"f1_macro": [_common, _each], "f1_micro": [_common], "accuracy": [_common]}.get(name, ())
    elif num_columns == 2:
        ways = [_two_classes]
    elif name in CLASSES_ALIKE:
        ways = [_by_shares, _by_class]
    return [partial(way, name) for way in ways]


def _common(name: str, y_NK: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> Decision:
    return Decision("thresholds", (_common_threshold(name, y_NK, p_NK, w_N),) * p_NK.shape[1])


def _each(name: str, y_NK: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> Decision:
    common = _common_threshold(name, y_NK, p_NK, w_N)
    return Decision("thresholds", _label_thresholds(common, y_NK, p_NK, w_N))


def _two_classes(name: str, y_N: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> Decision:
    return Decision("threshold", (_threshold(name, y_N, p_NK[:, 1], w_N),))


def _by_shares(name: str, y_N: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> Decision:
    return Decision("offsets", tuple(prior_offsets(name, y_N, p_NK, w_N).tolist()))


def _by_class(name: str, y_N: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> Decision:
    return Decision("offsets", tuple(coordinate_offsets(name, y_N, p_NK, w_N).tolist()))


def _threshold(name: str, y_N: np.ndarray, p_N: np.ndarray, w_N: np.ndarray | None) -> float:
    """The cut of the second class's probability that is best for the metric, in the middle of the best stretch."""
    cuts_C, right_C, answered_C, total, positive = _cuts(y_N == 1, p_N, w_N)
    negative = total - positive
    right_first_C = negative - (answered_C - right_C)
    right_CK = np.stack([right_first_C, right_C], axis=1)
    true_CK = np.broadcast_to([negative, positive], right_CK.shape)
    answered_CK = np.stack([total - answered_C, answered_C], axis=1)
    if name in ("accuracy", "f1_micro"):
        value_C = right_CK.sum(axis=1) / total
    else:
        value_C = of_counts(name, right_CK, true_CK, answered_CK, (true_CK + answered_CK) > 0)
    return _steady(cuts_C, value_C)


def _common_threshold(name: str, y_NK: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> float:
    grid = np.concatenate([RARE_CUTS, np.linspace(0.02, 0.98, 49)])
    values = [_score(name, "multilabel", y_NK, (p_NK >= cut).astype(np.int64), p_NK.shape[1], w_N) for cut in grid]
    return _steady(grid, np.asarray(values))


def _label_thresholds(common: float, y_NK: np.ndarray, p_NK: np.ndarray, w_N: np.ndarray | None) -> tuple[float, ...]:
    """For each label the cut of its best F1, the nearer to the common one (as log odds) the fewer rows have it."""
    chosen = []
    for k, count in enumerate((y_NK > 0).sum(axis=0)):
        cuts_C, right_C, answered_C, _, positive = _cuts(y_NK[:, k] > 0, p_NK[:, k], w_N)
        own = _steady(cuts_C, 2 * right_C / (positive + answered_C)) if positive > 0 else common
        trust = count / (count + PRIOR_ROWS)
        chosen.append(_from_log_odds(trust * _log_odds(own) + (1 - trust) * _log_odds(common)))
    return tuple(chosen)


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _from_log_odds(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _cuts(
    positive_N: np.ndarray, p_N: np.ndarray, w_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Every cut between two probabilities that occur, falling, with the positive rows and all rows at or above it."""
    w_N = np.ones(len(p_N)) if w_N is None else w_N
    order_N = np.argsort(-p_N, kind="stable")
    p_N, w_N, found_N = p_N[order_N].astype(np.float64), w_N[order_N], (w_N * positive_N)[order_N]
    last_C = np.flatnonzero(np.append(p_N[1:] < p_N[:-1], True))
    after_C = np.append(p_N[1:], 0.0)[last_C]
    return 0.5 * (p_N[last_C] + after_C), np.cumsum(found_N)[last_C], np.cumsum(w_N)[last_C], w_N.sum(), found_N.sum()


def _steady(cuts_C: np.ndarray, value_C: np.ndarray) -> float:
    """The mean, weighted to the best, of the cuts whose value is near the best one: it varies less than the best."""
    best = value_C.max()
    spread = max(1e-6, 0.1 * (best - np.median(value_C)))
    weight_C = np.exp(-((best - value_C) / (0.1 * spread)))
    clipped_C = np.clip(cuts_C, 1e-6, 1 - 1e-6)
    mean = float(np.average(np.log(clipped_C / (1 - clipped_C)), weights=weight_C))
    return _from_log_odds(mean)


def _score(name: str, task: str, y: np.ndarray, codes: np.ndarray, num_columns: int, w_N: np.ndarray | None) -> float:
    of = score_multilabel_codes if task == "multilabel" else score_codes
    return of(name, y, codes, num_columns, w_N)


def _gain_in_errors(
    name: str, task: str, y: np.ndarray, codes: np.ndarray, other: np.ndarray, num_columns: int, w_N: np.ndarray | None
) -> float:
    """The gain of one way to answer over another, in standard errors of the difference."""
    first, second = (certain(c, num_columns) for c in (codes, other))
    found = difference(name, task, y, first, second, weights=w_N, num_resamples=100)
    error = (found.high - found.low) / (2 * 1.96)
    return found.value / error if error > 0 else math.copysign(math.inf, found.value)


def _folds(y: np.ndarray, seed: int) -> np.ndarray:
    """A fold, 0 to NUM_FOLDS - 1, for each row, evenly within each class."""
    order_N = np.random.default_rng(seed).permutation(len(y))
    if y.ndim == 1:
        order_N = order_N[np.argsort(y[order_N], kind="stable")]
    folds_N = np.empty(len(y), dtype=np.int64)
    folds_N[order_N] = np.arange(len(y)) % NUM_FOLDS
    return folds_N
