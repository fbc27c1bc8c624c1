"""What every encoder is: column values in, arrays and problems out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from thrifty.core.errors import DataError

Arrays = dict[str, np.ndarray]
Columns = Mapping[str, Sequence[Any]]
State = Mapping[str, "np.ndarray | str"]


class UnreadableError(DataError):
    """One value cannot be read as what its column means; the message is the reason, without the place."""


class Problem(NamedTuple):
    """A value that could not be read and is encoded as if it were missing. `row` counts within the call, from 0."""

    row: int
    column: str
    reason: str


class Encoder(Protocol):
    """Turns the values of its columns into arrays.

    `outputs` names the arrays that `encode` gives, `to_json` gives its parameters and small state with its `kind`,
    `state` the large state (arrays and texts, kept in files beside the JSON). A row gives the same numbers alone and
    in a batch, except that outputs padded to the longest row of the batch have a different width.
    """

    kind: ClassVar[str]

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]: ...

    def to_json(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, np.ndarray | str]: ...

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self: ...


def read_each(values: Sequence[Any], read: Callable[[int, Any], None], column: str, threads: int = 1) -> list[Problem]:
    """Calls `read(row, value)` for each value, on `threads` threads, and gives the UnreadableErrors as problems."""
    if threads <= 1 or len(values) < 16:
        return list(_read_part(values, read, column, range(len(values))))
    size = max(8, min(64, len(values) // (threads * 4)))
    parts = [range(start, min(start + size, len(values))) for start in range(0, len(values), size)]
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda part: list(_read_part(values, read, column, part)), parts)
        return [problem for part in found for problem in part]


def _read_part(values: Sequence[Any], read: Callable[[int, Any], None], column: str, rows: range) -> Iterator[Problem]:
    for row in rows:
        try:
            read(row, values[row])
        except UnreadableError as error:
            yield Problem(row, column, str(error))
