"""Numbers as float32, as they are or scaled for linear models and networks.

Shapes: N rows, D numbers (one a column, then one a column that had missing values where these are indicated), Q points.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State, UnreadableError
from thrifty.data.encode.values import is_missing

LARGEST = float(np.finfo(np.float32).max)
MISSING_TEXTS = frozenset((
    "", "na", "n/a", "n.a.", "nan", "null", "none", "?", "-", "--", ".", "missing", "<na>", "#n/a", "#na", "\\n",
    "#div/0!", "#value!", "#num!", "#ref!",
))  # fmt: skip
LEADING_ZERO = re.compile(r"\s*[+-]?0\d+\s*")  # of codes, such as 007, but not of 007.5
_WORDS = {"true": 1.0, "false": 0.0}
_CLIP = 10.0  # standard deviations
_FEW = 0.01  # of the values at each end, which may not set the scale
_REACH = 2.0  # how far from the others those may lie, in widths of the others
_MIN_ROWS_FOR_ENDS = 20
_SCALES = ("none", "standard", "quantile")


def as_float(text: str) -> float:
    """Python's `float`, but for texts with underscores, such as 12_3, which are codes. Raises ValueError."""
    if "_" in text:
        raise ValueError(f"{text!r} has an underscore")
    return float(text)


def parse_number(value: Any) -> float:
    """A cell as a number, a duration in seconds: NaN when it is missing (MISSING_TEXTS too) or infinite.

    Raises UnreadableError for any other text.
    """
    if value is None:
        return float("nan")
    try:
        number = as_float(value) if isinstance(value, str) else float(value)
        return float("nan") if math.isinf(number) else number
    except (TypeError, ValueError, OverflowError):
        pass
    text = value.strip().lower() if isinstance(value, str) else None
    if text is None and is_missing(value):
        return float("nan")
    if text in MISSING_TEXTS:
        return float("nan")
    if text in _WORDS:
        return _WORDS[text]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int):  # larger than any float
        return float("nan")
    raise UnreadableError(f"{str(value)[:60]!r} is not a number")


def parse_numbers(values: Sequence[Any], column: str) -> tuple[np.ndarray, list[Problem]]:
    """A column as float64 [N] with NaN for what is missing, infinite or unreadable, within float32's range."""
    problems: list[Problem] = []
    try:
        if any(type(value) is str and "_" in value for value in values):
            raise ValueError
        parsed_N = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        parsed_N = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            try:
                parsed_N[row] = parse_number(value)
            except UnreadableError as error:
                problems.append(Problem(row, column, str(error)))
    if parsed_N.ndim != 1:
        raise UnreadableError(f"column {column!r} holds lists, not numbers")
    parsed_N[np.isinf(parsed_N)] = np.nan
    return np.clip(parsed_N, -LARGEST, LARGEST), problems


def parse_matrix(columns: Columns, names: Sequence[str]) -> tuple[np.ndarray, list[Problem]]:
    """The named columns as float64 [N, len(names)]."""
    problems: list[Problem] = []
    parts = []
    for name in names:
        parsed_N, found = parse_numbers(columns[name], name)
        parts.append(parsed_N)
        problems += found
    if not parts:
        return np.zeros((0, 0)), problems
    return np.stack(parts, axis=1), problems


@dataclass(frozen=True, eq=False)
class Number:
    """Columns of numbers as `values` float32 [N,D].

    scale: `none` leaves them, with NaN for missing; `standard` sets the missing to the median, takes the mean away,
    divides by the standard deviation and clips at 10, where a few values far from all others do not count for mean and
    deviation; `quantile` maps each column's distribution to the normal one.
    Both append an indicator (0 or 1) for every column that had missing values when fitted.
    """

    kind: ClassVar[str] = "number"
    columns: tuple[str, ...]
    scale: str = "none"
    indicated: tuple[int, ...] = ()
    middle_D: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mean_D: np.ndarray = field(default_factory=lambda: np.zeros(0))
    spread_D: np.ndarray = field(default_factory=lambda: np.zeros(0))
    points_DQ: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("values",)

    @classmethod
    def fit(cls, columns: Columns, names: Sequence[str], scale: str = "none", num_points: int = 256) -> Self:
        """Learns the scales from training rows. scale: none, standard or quantile."""
        if scale not in _SCALES:
            raise ValueError(f"scale is {scale!r}; it must be one of {', '.join(_SCALES)}")
        if scale == "none":
            return cls(tuple(names))
        raw_ND, _ = parse_matrix(columns, names)
        missing_ND = np.isnan(raw_ND)
        middle_D = np.array([np.median(c[~m]) if not m.all() else 0.0 for c, m in zip(raw_ND.T, missing_ND.T)])
        filled_ND = np.where(missing_ND, middle_D, raw_ND)
        near_ND = _near(filled_ND)
        spread_D = near_ND.std(axis=0)
        spread_D[~(spread_D > 1e-12 * np.maximum(1.0, np.abs(middle_D)))] = 1.0
        points_DQ = np.zeros((0, 0))
        if scale == "quantile":
            shares_Q = (np.arange(num_points) + 0.5) / num_points
            points_DQ = np.quantile(filled_ND, shares_Q, axis=0).T
        indicated = tuple(int(i) for i in np.flatnonzero(missing_ND.any(axis=0)))
        return cls(tuple(names), scale, indicated, middle_D, near_ND.mean(axis=0), spread_D, points_DQ)

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        raw_ND, problems = parse_matrix(columns, self.columns)
        if self.scale == "none":
            return {"values": raw_ND.astype(np.float32)}, problems
        missing_ND = np.isnan(raw_ND)
        filled_ND = np.where(missing_ND, self.middle_D, raw_ND)
        if self.scale == "standard":
            scaled_ND = ((filled_ND - self.mean_D) / self.spread_D).clip(-_CLIP, _CLIP)
        else:
            scaled_ND = self._normal_scores(filled_ND)
        if self.indicated:
            scaled_ND = np.concatenate([scaled_ND, missing_ND[:, list(self.indicated)]], axis=1)
        return {"values": scaled_ND.astype(np.float32)}, problems

    def _normal_scores(self, filled_ND: np.ndarray) -> np.ndarray:
        num_points = self.points_DQ.shape[1]
        scores_Q = _normal_quantiles(num_points)
        out_ND = np.empty_like(filled_ND)
        for d, points_Q in enumerate(self.points_DQ):
            # Ties: the mean of what the first and the last of equal points give.
            upper_N = np.interp(filled_ND[:, d], points_Q, scores_Q)
            lower_N = -np.interp(-filled_ND[:, d], -points_Q[::-1], scores_Q)
            out_ND[:, d] = (upper_N + lower_N) / 2
        return out_ND

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind, "columns": list(self.columns), "scale": self.scale}
        if self.scale != "none":
            value |= {"indicated": list(self.indicated), "middle": self.middle_D.tolist()}
            value |= {"mean": self.mean_D.tolist(), "spread": self.spread_D.tolist()}
        if self.scale == "quantile":
            value["points"] = self.points_DQ.tolist()
        return value

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        scale = value["scale"]
        if scale == "none":
            return cls(tuple(value["columns"]))
        middle_D, mean_D, spread_D = (np.asarray(value[name], np.float64) for name in ("middle", "mean", "spread"))
        points_DQ = np.asarray(value.get("points", np.zeros((0, 0))), np.float64)
        columns, indicated = tuple(value["columns"]), tuple(value["indicated"])
        return cls(columns, scale, indicated, middle_D, mean_D, spread_D, points_DQ)


def _near(values_ND: np.ndarray) -> np.ndarray:
    """The values, those few at either end of a column that lie far from all others moved nearer."""
    num_rows = len(values_ND)
    if num_rows < _MIN_ROWS_FOR_ENDS:
        return values_ND
    few = max(2, math.ceil(_FEW * num_rows))
    ends_ND = np.partition(values_ND, (few, num_rows - 1 - few), axis=0)
    low_D, high_D = ends_ND[few], ends_ND[num_rows - 1 - few]
    reach_D = np.where(high_D > low_D, _REACH * (high_D - low_D), np.inf)
    return np.clip(values_ND, low_D - reach_D, high_D + reach_D)


def _normal_quantiles(num_points: int) -> np.ndarray:
    if num_points not in _QUANTILES:
        normal = NormalDist()
        shares = [(i + 0.5) / num_points for i in range(num_points)]
        _QUANTILES[num_points] = np.array([normal.inv_cdf(share) for share in shares])
    return _QUANTILES[num_points]


_QUANTILES: dict[int, np.ndarray] = {}
