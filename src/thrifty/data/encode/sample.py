"""Some of a column's values, spread over all of it."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from thrifty.core.seeds import generator

T = TypeVar("T")


def some_of(values: Sequence[T], num: int) -> Sequence[T]:
    """At most `num` of the values in their order, one drawn from each of as many stretches; the same ones each time.

    Not each n-th: in a file where classes take turns these would be of one class.
    """
    if len(values) <= num:
        return values
    edges = np.linspace(0, len(values), max(1, num) + 1).astype(np.int64)
    return [values[row] for row in generator(0, "sample").integers(edges[:-1], edges[1:]).tolist()]
