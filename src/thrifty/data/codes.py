"""Integers as codes without gaps."""

import numpy as np


def dense(keys: np.ndarray) -> np.ndarray:
    """Codes 0, 1, ... in the order of the keys, the same for the same key, int64 [N]; quick where keys are small."""
    if not len(keys):
        return np.zeros(0, np.int64)
    low, high = int(keys.min()), int(keys.max())
    if high - low > 4 * len(keys) + 1000:
        return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
    shifted = keys.astype(np.int64) - low
    there = np.zeros(high - low + 1, bool)
    there[shifted] = True
    return (np.cumsum(there) - 1)[shifted]
