"""Points in time as numbers: the calendar's fields, their cycles, and the distance from 1970.

Shapes: N rows, D numbers, F numbers of one column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State, UnreadableError
from thrifty.data.encode.number import MISSING_TEXTS
from thrifty.data.encode.sample import some_of
from thrifty.data.encode.values import is_missing

FORMATS = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y",
    "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p",
    "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC",
    "%b %d, %Y", "%d %b %Y", "%B %d, %Y", "%d %B %Y", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z",
)  # fmt: skip
FIELDS = (
    "year", "month", "day", "weekday", "hour", "days_since_1970", "year_sin", "year_cos", "week_sin", "week_cos",
    "day_sin", "day_cos",
)  # fmt: skip
_DAY = 86_400


def parse_timestamp(value: Any, format: str = "") -> datetime | None:  # noqa: A002
    """A cell as a naive datetime in its own zone's wall clock, None when missing.

    value: a datetime, date, numpy.datetime64, seconds since 1970 as a number, or a text in ISO 8601 or `format`.
    Raises UnreadableError for anything else.
    """
    if isinstance(value, datetime):
        return None if is_missing(value) else value.replace(tzinfo=None)
    if is_missing(value):
        return None
    try:
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day)
        if isinstance(value, np.datetime64):
            return value.astype("datetime64[us]").item()
        if isinstance(value, str):
            return _parse_text(value.strip(), format)
        return datetime.fromtimestamp(float(value), UTC).replace(tzinfo=None)
    except (ValueError, TypeError, OverflowError, OSError):
        raise UnreadableError(f"{str(value)[:60]!r} is not a point in time") from None


def _parse_text(text: str, format: str) -> datetime | None:  # noqa: A002
    if text.lower() in MISSING_TEXTS:
        return None
    if format:
        try:
            return datetime.strptime(text, format).replace(tzinfo=None)
        except ValueError:
            pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return datetime.fromtimestamp(float(text), UTC).replace(tzinfo=None)


def find_format(values: Sequence[Any], sample: int = 200, share: float = 0.95) -> str | None:
    """The format that most texts of an even sample have: "" for ISO 8601 (or no text at all), None when none fits.

    A format fits when at least `share` of the texts that are not missing have it. Plain numbers do not count as ISO.
    """
    there = [v for v in values if isinstance(v, str) and v.strip().lower() not in MISSING_TEXTS]
    texts = [v.strip() for v in some_of(there, sample)]
    if not texts:
        return ""
    best, best_count = None, share * len(texts) - 1e-9
    for form in ("", *FORMATS):
        count = sum(_has_format(text, form) for text in texts)
        if count > best_count or (best is None and count >= best_count):
            best, best_count = form, count
            if count == len(texts):
                break
    return best


def _has_format(text: str, format: str) -> bool:  # noqa: A002
    try:
        if format:
            datetime.strptime(text, format)
        else:
            datetime.fromisoformat(text)
            return not text.isdigit()
    except ValueError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Timestamp:
    """Columns of points in time as `values` float32 [N,D], FIELDS for each column in turn.

    scale: `none` gives the fields as they are, NaN where missing; `standard` takes the mean away, divides by the
    standard deviation, and sets the missing to 0. formats: each column's strptime format, "" for ISO 8601.
    """

    kind: ClassVar[str] = "timestamp"
    columns: tuple[str, ...]
    formats: tuple[str, ...]
    scale: str = "none"
    mean_D: np.ndarray | None = None
    spread_D: np.ndarray | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("values",)

    @classmethod
    def fit(cls, columns: Columns, names: Sequence[str], scale: str = "none") -> Self:
        """Learns formats and scales from training rows. scale: none or standard."""
        if scale not in ("none", "standard"):
            raise ValueError(f"scale is {scale!r}; it must be none or standard")
        plain = cls(tuple(names), tuple(find_format(columns[name]) or "" for name in names))
        if scale == "none":
            return plain
        values_ND = plain.encode(columns)[0]["values"].astype(np.float64)
        known_ND = ~np.isnan(values_ND)
        num_D = np.maximum(1, known_ND.sum(axis=0))
        mean_D = np.where(known_ND, values_ND, 0).sum(axis=0) / num_D
        spread_D = np.sqrt(np.where(known_ND, (values_ND - mean_D) ** 2, 0).sum(axis=0) / num_D)
        spread_D[spread_D < 1e-9] = 1.0
        return cls(plain.columns, plain.formats, scale, mean_D, spread_D)

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        problems: list[Problem] = []
        parts = []
        for name, form in zip(self.columns, self.formats):
            seconds_N = np.full(len(columns[name]), np.nan)
            for row, value in enumerate(columns[name]):
                try:
                    at = parse_timestamp(value, form)
                except UnreadableError as error:
                    problems.append(Problem(row, name, str(error)))
                    continue
                if at is not None:
                    seconds_N[row] = (at - _EPOCH).total_seconds()
            parts.append(_fields(seconds_N))
        values_ND = np.concatenate(parts, axis=1)
        if self.scale == "standard":
            values_ND = np.nan_to_num((values_ND - self.mean_D) / self.spread_D, nan=0.0).clip(-10, 10)
        return {"values": values_ND.astype(np.float32)}, problems

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind, "columns": list(self.columns), "formats": list(self.formats)}
        value["scale"] = self.scale
        if self.mean_D is not None and self.spread_D is not None:
            value |= {"mean": self.mean_D.tolist(), "spread": self.spread_D.tolist()}
        return value

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        columns, formats = tuple(value["columns"]), tuple(value["formats"])
        if value["scale"] == "none":
            return cls(columns, formats)
        return cls(columns, formats, value["scale"], np.asarray(value["mean"]), np.asarray(value["spread"]))


_EPOCH = datetime(1970, 1, 1)


def _fields(seconds_N: np.ndarray) -> np.ndarray:
    """FIELDS of wall-clock seconds since 1970 (NaN: missing), float64 [N,F]."""
    missing_N = np.isnan(seconds_N)
    whole_N = np.where(missing_N, 0, np.floor(seconds_N)).astype(np.int64)
    days_N = whole_N // _DAY
    at_N = days_N.astype("datetime64[D]")
    months_N, years_N = at_N.astype("datetime64[M]"), at_N.astype("datetime64[Y]")
    year_N = years_N.astype(np.int64) + 1970
    month_N = months_N.astype(np.int64) % 12 + 1
    day_N = (at_N - months_N).astype(np.int64) + 1
    weekday_N = (days_N + 3) % 7  # 0 is Monday; 1970 began on a Thursday
    hour_N = whole_N % _DAY / 3600
    year_share_N = ((at_N - years_N).astype(np.int64) + hour_N / 24) / 365.25
    cycles = [year_share_N, (weekday_N + hour_N / 24) / 7, hour_N / 24]
    waves = [wave(2 * np.pi * share_N) for share_N in cycles for wave in (np.sin, np.cos)]
    fields_NF = np.stack([year_N, month_N, day_N, weekday_N, hour_N, whole_N / _DAY, *waves], axis=1)
    fields_NF[missing_N] = np.nan
    return fields_NF
