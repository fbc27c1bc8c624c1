"""Whether `torch.compile` pays, from measured seconds.

Compiling costs half a minute and more. On two processor cores it gains some percent at best, since most time goes to
convolutions and matrix products that are the same either way; on GPUs, where small operations are joined, it gains
more. So it is tried only where the seconds that are left would bring its cost back twice at the gain that is usual, and
kept only where the steps after it are seen to be faster.
"""

from __future__ import annotations

import shutil
import statistics
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from thrifty.training.events import Compiled

WARM_STEPS = 3  # not timed
TIMED_STEPS = 12
COST_SECONDS = 45.0  # of compiling a small network
USUAL_GAIN = {"cpu": 0.05, "cuda": 0.25}  # share of a step's time
LEAST_GAIN = 0.02  # below which the network goes on uncompiled


@dataclass
class Compiling:
    """Times the steps of a network and compiles it when that pays; `network` is what is called.

    wanted: True compiles at once and keeps it, False never, None where it pays within the seconds that are left.
    """

    network: nn.Module
    device: str
    wanted: bool | None = False
    phase: Literal["timing", "compiling", "timing again", "over"] = "timing"
    seconds: list[float] = field(default_factory=list)
    before_seconds: float = float("nan")
    cost_seconds: float = 0.0
    plain: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.plain = self.network
        if self.wanted:
            self._compile()
        elif self.wanted is False:
            self.phase = "over"

    def after(self, step: int, step_seconds: float, seconds_left: float) -> Compiled | None:
        """Takes note of a step's seconds, and of how many are left for all to come; gives what was decided."""
        if self.phase == "over":
            return None
        if self.phase == "compiling":
            self.cost_seconds, self.phase, self.seconds = step_seconds, "timing again", []
            return None
        self.seconds.append(step_seconds)
        if len(self.seconds) < WARM_STEPS + TIMED_STEPS:
            return None
        median = statistics.median(self.seconds[WARM_STEPS:])
        if self.phase == "timing again":
            return self._decide(step, median)
        self.before_seconds, self.phase = median, "over"
        if pays(seconds_left, torch.device(self.device).type) and can_compile(self.device):
            self._compile()
        return None

    def failed(self, step: int, error: Exception) -> Compiled | None:
        """Goes on uncompiled after an error of a compiled network; None when it was not compiled.

        What is wrong with the network itself is raised again by the step that follows.
        """
        if self.network is self.plain:
            return None
        self.network, self.phase = self.plain, "over"
        first = (str(error).strip().splitlines() or [""])[0]
        return Compiled(step, False, self.cost_seconds, float("nan"), f"{type(error).__name__}: {first}"[:300])

    def _compile(self) -> None:
        import torch._inductor.config as inductor

        inductor.compile_threads = 1  # else it starts a pool of processes
        self.network, self.phase = cast(nn.Module, torch.compile(self.plain)), "compiling"

    def _decide(self, step: int, median: float) -> Compiled:
        speedup, self.phase = self.before_seconds / median, "over"
        kept = self.wanted is True or speedup > 1.0 / (1.0 - LEAST_GAIN)
        if not kept:
            self.network = self.plain
        return Compiled(step, kept, self.cost_seconds, speedup, "asked" if self.wanted else "measured")


def pays(seconds_left: float, device_type: str) -> bool:
    """Whether the seconds that are left bring back twice what compiling costs, at the gain that is usual."""
    return seconds_left * USUAL_GAIN.get(device_type, 0.0) >= 2.0 * COST_SECONDS


def can_compile(device: str) -> bool:
    """Whether the compilers are there: for the processor one of C++ and Python's headers, for a GPU Triton."""
    if torch.device(device).type == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    compiler = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    return compiler and Path(sysconfig.get_path("include"), "Python.h").exists()
