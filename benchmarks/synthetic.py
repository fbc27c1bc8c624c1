"""Made-up learning-curve tasks of kinds that the published ones lack, for benchmarks/tuning.py --synthetic.

Each has `name`, `space`, `max_epochs`, `direction`, `curve(config) -> [max_epochs]` and `pool() -> [configs, epochs]`
of values where smaller is better.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thrifty.core.space import Choice, Float, Int, Space, When


class Made:
    """A task whose curve is a function of the configuration, the epochs and noise that the configuration fixes."""

    def __init__(
        self, name: str, space: Space, max_epochs: int, curve: Callable[..., np.ndarray], direction: str = "minimize"
    ) -> None:
        self.name, self.space, self.max_epochs, self.direction = name, space, max_epochs, direction
        self._curve = curve

    def start(self) -> Made:
        return self

    def curve(self, config: Mapping[str, Any]) -> np.ndarray:
        rng = np.random.default_rng(zlib.crc32(self.space.key(config).encode()))
        return self._curve(config, np.arange(1.0, self.max_epochs + 1), rng)

    def pool(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        sign = -1.0 if self.direction == "maximize" else 1.0
        return sign * np.stack([self.curve(self.space.sample(rng)) for _ in range(1000)])


def crossing(config: Mapping[str, Any], epoch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A low rate falls slowly to a low floor, a high one fast to a high floor, the highest diverge."""
    rate = np.log10(config["rate"])
    floor = 0.1 + 0.3 * (rate + 3) ** 2 / 4 + 0.5 * (config["decay"] - 0.3) ** 2 + 0.2 * (config["width"] - 0.6) ** 2
    curve = floor + 2 * np.exp(-epoch * 10 ** (0.6 * rate + 0.4))
    return curve * np.where(rate > -0.7, 1 + epoch**2, 1) + 0.01 * rng.standard_normal(len(epoch))


def categories(config: Mapping[str, Any], epoch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Families of models with parameters of their own."""
    depth = abs(config["depth"] - 4) / 8
    floor = {"linear": 0.5, "trees": 0.3, "network": 0.15, "kernel": 0.4, "nearest": 0.6}[config["family"]] + depth / 4
    if "rate" in config:
        floor += 0.2 * abs(np.log10(config["rate"]) + 2.5)
    floor += {"adam": 0.0, "sgd": 0.1, "rmsprop": 0.05}.get(config.get("optimizer", ""), 0.05)
    return floor + (0.5 + depth) * epoch**-0.7 + 0.02 * rng.standard_normal(len(epoch))


def accuracy(config: Mapping[str, Any], epoch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A noisy accuracy with a plateau at chance before it rises."""
    far = (config["rate"] - 0.7) ** 2 + 0.5 * (config["a"] - 0.2) ** 2 + 0.2 * (config["b"] - 0.5) ** 2
    wait = 1 + 8 * config["b"]
    risen = 1 / (1 + np.exp(-(epoch - wait) / 2))
    return np.clip(0.1 + (0.85 - 0.9 * far) * risen + 0.015 * rng.standard_normal(len(epoch)), 0, 1)


def tasks() -> list[Made]:
    rates = Float(1e-5, 1.0, log=True)
    families = Choice("linear", "trees", "network", "kernel", "nearest")
    network = {"family": ("network", "linear")}
    return [
        Made(
            "made/crossing",
            Space({"rate": rates, "decay": Float(0, 1), "width": Float(0, 1), "idle": Float(0, 1)}),
            100,
            crossing,
        ),
        Made(
            "made/categories",
            Space(
                {
                    "family": families,
                    "depth": Int(1, 12),
                    "rate": When(rates, network),
                    "optimizer": When(Choice("adam", "sgd", "rmsprop"), network),
                }
            ),
            20,
            categories,
        ),
        Made(
            "made/accuracy",
            Space({"rate": Float(0, 1), "a": Float(0, 1), "b": Float(0, 1)}),
            27,
            accuracy,
            "maximize",
        ),
    ]
