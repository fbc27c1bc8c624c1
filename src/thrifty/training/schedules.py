"""How long a run is, how far it has come, and how the learning rate goes over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thrifty.training.parallel import Ranks
from thrifty.training.state import State

REASONS = ("", "completed", "seconds", "asked")


def warmup_cosine(progress: float, warmup_share: float) -> float:
    """The factor on the learning rate at `progress` (0 to 1): up in a line to 1, then down half a cosine to 0.

    https://arxiv.org/abs/1608.03983
    """
    if progress < warmup_share:
        return max(progress / warmup_share, 1e-3)
    share = (progress - warmup_share) / max(1.0 - warmup_share, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


@dataclass
class Schedule:
    """When training ends and how far it is.

    reserve_seconds: what the last validation will take. step_seconds: what the next step will, by the steps before.
    """

    steps_per_epoch: int
    num_steps: int
    last_step: int
    seconds: float | None
    ranks: Ranks
    reserve_seconds: float = 0.0
    step_seconds: float = 0.0

    @classmethod
    def of(
        cls, steps_per_epoch: int, epochs: float, stop_epoch: float | None, seconds: float | None, ranks: Ranks,
        reserve_seconds: float = 0.0,
    ) -> Schedule:  # fmt: skip
        """The schedule over `epochs`, of which a run goes to `stop_epoch` or the `seconds`, whichever is first."""
        num_steps = max(1, round(epochs * steps_per_epoch))
        last_step = max(1, round((epochs if stop_epoch is None else stop_epoch) * steps_per_epoch))
        return cls(steps_per_epoch, num_steps, min(num_steps, last_step), seconds, ranks, reserve_seconds)

    def took(self, seconds: float) -> None:
        """Remembers what a step took, the last ones more than those before."""
        self.step_seconds = 0.8 * self.step_seconds + 0.2 * seconds if self.step_seconds else seconds

    def over(self, state: State, asked: bool = False) -> str:
        """Sets the state's progress, the larger share of steps and of seconds; gives why training is over, or "".

        The seconds end where the last step would: a run that stops early is not hurried through the whole schedule.
        asked: whether the caller wants it to end. Among several processes the first one's clock and wish count.
        """
        state.progress = min(1.0, state.step / self.num_steps)
        because = "completed" if state.step >= self.last_step else ""
        if self.seconds is not None:
            allowed = max(1e-3, self.seconds - self.reserve_seconds - self.step_seconds - state.restarted_at)
            share = (state.seconds - state.restarted_at) / allowed
            state.progress = min(1.0, max(state.progress, share * self.last_step / self.num_steps))
            because = "seconds" if share >= 1.0 else because
        because = "asked" if asked else because
        state.progress, reason = self.ranks.first([state.progress, REASONS.index(because)])
        return REASONS[int(reason)]

    def seconds_left(self, state: State) -> float:
        """Seconds for the steps to come, infinite without a bound; with fewer steps left than that, their time."""
        if self.seconds is None:
            return math.inf
        left = max(0.0, self.seconds - self.reserve_seconds - state.seconds)
        return min(left, self.step_seconds * (self.last_step - state.step))
