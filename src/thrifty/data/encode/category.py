"""Categories as codes or as indicators.

Shapes: N rows, D columns of codes, or of indicators: for each column missing, unseen or rare, then its kept values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from thrifty.data.encode.encoder import Arrays, Columns, Problem, State
from thrifty.data.encode.values import text_of

MISSING, UNSEEN, FIRST = 0, 1, 2
_FORMS = ("codes", "one_hot")


def key_of(value: Any) -> str:
    """The text a category is known by, "" when missing: True, "True" and "true" are one, and 1, 1.0, "1" and "1.0"."""
    text = text_of(value)
    if text in _BOOLEANS:
        return text.lower()
    if text[-2:] == ".0" and text[:-2].removeprefix("-").isdigit():
        return text[:-2]
    return text


_BOOLEANS = frozenset(("True", "False", "TRUE", "FALSE"))


@dataclass(frozen=True)
class Category:
    """Columns of categories as `codes` int64 [N,D] or `one_hot` float32 [N,D], as `form` says.

    A code is 0 for a missing value, 1 for one that was unseen or too rare to be kept, then 2, 3, ... for `values`,
    the most frequent first.
    """

    kind: ClassVar[str] = "category"
    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    form: str = "codes"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.form,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each column has, missing and unseen among them."""
        return tuple(len(values) + FIRST for values in self.values)

    @classmethod
    def fit(
        cls, columns: Columns, names: Sequence[str], form: str = "codes", max_values: int = 1000, min_rows: int = 1
    ) -> Self:
        """Keeps each column's `max_values` most frequent values that at least `min_rows` rows have."""
        if form not in _FORMS:
            raise ValueError(f"form is {form!r}; it must be one of {', '.join(_FORMS)}")
        kept = []
        for name in names:
            counts = Counter(map(key_of, columns[name]))
            counts.pop("", None)
            order = sorted((value for value, n in counts.items() if n >= min_rows), key=lambda v: (-counts[v], v))
            kept.append(tuple(order[:max_values]))
        return cls(tuple(names), tuple(kept), form)

    @cached_property
    def _codes(self) -> list[dict[str, int]]:
        return [{"": MISSING} | {v: i + FIRST for i, v in enumerate(values)} for values in self.values]

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        num_rows = len(columns[self.columns[0]]) if self.columns else 0
        codes_ND = np.empty((num_rows, len(self.columns)), np.int64)
        for d, (name, codes) in enumerate(zip(self.columns, self._codes)):
            get = codes.get
            codes_ND[:, d] = [get(key_of(value), UNSEEN) for value in columns[name]]
        if self.form == "codes":
            return {"codes": codes_ND}, []
        starts_D = np.cumsum([0, *self.sizes])
        one_hot_ND = np.zeros((num_rows, int(starts_D[-1])), np.float32)
        one_hot_ND[np.arange(num_rows)[:, None], codes_ND + starts_D[:-1]] = 1
        return {"one_hot": one_hot_ND}, []

    def to_json(self) -> dict[str, Any]:
        values = [list(v) for v in self.values]
        return {"kind": self.kind, "columns": list(self.columns), "form": self.form, "values": values}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), tuple(tuple(v) for v in value["values"]), value["form"])
