"""Seeds that are derived, never shared: each consumer gets its own stream from one number and a name."""

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 32-bit seed for the consumer called `names`, the same on every machine."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def generator(seed: int, *names: object) -> np.random.Generator:
    """An independent numpy generator for the consumer called `names`."""
    return np.random.default_rng(derive(seed, *names))
