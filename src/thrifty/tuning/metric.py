"""A study's metric: its name, its direction, and numbers as users tell them."""

from __future__ import annotations

import math
import re
from typing import Any

from thrifty.core.errors import UsageError

_SMALLER_IS_BETTER = re.compile(
    r"loss|error|regret|cost|rmse|mse|mae|mape|brier|ece|perplexity|nll|wer|cer|latency|seconds|time|size|objective"
)
_LARGER_IS_BETTER = re.compile(
    r"acc|f1|auc|score|precision|recall|r2|pearson|spearman|reward|bleu|iou|map|reached|utility"
)


def direction_of(metric: str, direction: str | None) -> str:
    """`direction`, or what the metric's name says. Raises UsageError when the two leave it open."""
    if not isinstance(metric, str) or not metric:
        raise UsageError(f"a study's metric is a name such as 'loss' or 'accuracy', not {metric!r}")
    if direction in ("minimize", "maximize"):
        return str(direction)
    if direction is not None:
        raise UsageError(f"direction is {direction!r}; it must be 'minimize' or 'maximize'")
    smaller, larger = _SMALLER_IS_BETTER.search(metric.lower()), _LARGER_IS_BETTER.search(metric.lower())
    if bool(smaller) == bool(larger):
        raise UsageError(f"is a larger {metric!r} better? Say so: direction='minimize' or direction='maximize'")
    return "minimize" if smaller else "maximize"


def number(value: Any, what: str) -> float:
    """A told value as a float, NaN and infinities included. Raises UsageError for what is not a number."""
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise UsageError(f"{what} is {value!r}; it must be a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is {value!r}; it must be a number") from error


def numbers(values: Any, what: str) -> list[float]:
    """Several told values as floats."""
    try:
        items = list(values)
    except TypeError as error:
        raise UsageError(f"{what} is {values!r}; it must be a number or a list of numbers") from error
    return [number(item, f"{what}, number {i},") for i, item in enumerate(items, start=1)]


def is_number(value: Any) -> bool:
    """Whether `value` is one number, numpy's and torch's of no dimension included."""
    if isinstance(value, (int, float)):
        return True
    return getattr(value, "ndim", None) == 0


def whole(name: str, value: Any, least: int) -> int:
    """A whole number given by the user. Raises UsageError."""
    try:
        right = not isinstance(value, (bool, str)) and int(value) == value and int(value) >= least
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise UsageError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)


def positive(name: str, value: Any, most: float) -> float:
    """A number above 0 given by the user. Raises UsageError."""
    wrong = isinstance(value, (bool, str))
    try:
        given = math.nan if wrong else float(value)
    except (TypeError, ValueError, OverflowError):
        given = math.nan
    if not 0 < given < math.inf:
        raise UsageError(f"{name} is {value!r}; it must be a positive number")
    if given > most:
        raise UsageError(f"{name} is {value!r}, which is more than can be meant; give at most {most:g}")
    return given
