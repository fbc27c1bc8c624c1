"""Freeze-thaw: buys the next epochs where they promise most, across paused trials and new configurations.

A model of the curves says how far each trial, old or new, may get by a horizon; the one of the largest expected
improvement is bought one step. The horizon is drawn anew for each decision, log-uniformly, so that neither early nor
late epochs rule (https://arxiv.org/abs/2404.16795), and is one of two kinds:

- so many epochs ahead of where each trial is, to pass the best so far: right where configurations tell what to go on
  with;
- an epoch, to pass the best that any trial was by that epoch: right where configurations tell little and many must be
  tried, for a short trial is not held against what long ones have come to.

The model's own variances say how often which. As often as the second, where configurations tell little, the ranks of
trials come first: of each 27, 9 and 3 that have reached a rung the best third goes on to the next one, three times as
far (successive halving by Hyperband's numbers, https://arxiv.org/abs/1603.06560).

A gain is divided by the root of what its step costs, for steps grow with a trial and a first look is cheap
(https://arxiv.org/abs/1206.2944 divides by the cost). A share of the epochs goes to random trials run to a random
depth, which guards against curves that cross late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from thrifty.core.budget import Clock
from thrifty.core.errors import MissingExtraError, UsageError
from thrifty.core.seeds import generator
from thrifty.tuning.curves import CurveModel, Points, expected_improvement
from thrifty.tuning.encoding import Encoding
from thrifty.tuning.policies.random import Fresh, space_of, used_up
from thrifty.tuning.policies.rungs import epochs_of
from thrifty.tuning.policy import Decision, Purchase
from thrifty.tuning.trial import State, Trial

if TYPE_CHECKING:
    from thrifty.tuning.study import Study

FITTED = "curve_model_fitted"


@dataclass(frozen=True)
class Settings:
    """What was chosen once for every task.

    growth: a step goes this much further than the last. cost_power: a gain is divided by the epochs of its step to this
    power, so 1 is the gain an epoch. explored: share of the epochs for random trials of random depth. random: share of
    decisions that start a random configuration. start: trials before there is a model.
    candidates: new configurations that a decision looks at, half of them near the `elite` best trials.
    by_rank: how much a value's rank counts against its size, which alone lets a few diverged trials hide all the rest.
    eta: one in how many trials of a rung is promoted by its rank, and how many times as far.
    most_trials, most_alive, most_observed, most_fitted: what one decision looks at, which bounds its cost.
    """

    growth: float = 1.5
    cost_power: float = 0.5
    explored: float = 0.1
    random: float = 0.2
    start: int = 4
    candidates: int = 600
    elite: int = 10
    by_rank: float = 0.5
    eta: int = 3
    most_trials: int = 2000
    most_alive: int = 200
    most_observed: int = 180
    most_fitted: int = 160


def levels_of(last: int, growth: float) -> list[int]:
    """Epochs at which a trial pauses, the first of 2 or a little more: one epoch says next to nothing of the end."""
    levels = [min(last, max(2, round(last**0.2)))]
    while levels[-1] < last:
        levels.append(min(last, max(levels[-1] + 1, round(levels[-1] * growth))))
    if len(levels) > 2 and last - levels[-2] < 0.15 * last:
        levels.pop(-2)
    return levels


class FreezeThaw:
    """The policy by a model of curves. Raises MissingExtraError without scipy, UsageError in a study without epochs."""

    takes_new_scores = True

    def __init__(self, settings: Settings | None = None) -> None:
        if find_spec("scipy") is None:
            raise MissingExtraError("a policy that learns", "tune", "scipy")
        self.settings = settings or Settings()
        self._fresh = Fresh()
        self._seen: _Seen | None = None

    def decide(self, study: Study, clock: Clock) -> Decision:
        if self._seen is None:
            self._seen = _Seen(study, self.settings)
        seen = self._seen
        seen.observe(study)
        rng = generator(study.seed, "freeze-thaw", study.num_proposals)
        return seen.unfinished() or self._next(study, seen, rng)

    def _next(self, study: Study, seen: _Seen, rng: np.random.Generator) -> Decision:
        if seen.num_known >= self.settings.start and rng.random() < seen.model.own_to_told:
            promoted = seen.promoted(self.settings.eta)
            if promoted is not None:
                return promoted
        if seen.explored < self.settings.explored * study.epochs_spent:
            depth = seen.level_up_to(seen.last ** rng.random())
            decision = self._start(study, rng, depth, "a random one, run deep to keep the model honest", depth)
        elif seen.num_known < self.settings.start or rng.random() < self.settings.random:
            decision = self._start(study, rng, seen.levels[0], "random")
        else:
            with seen.model.one_thread():
                decision = self._by_model(study, seen, rng)
        return decision or self._leftover(study, seen)

    def _start(self, study: Study, rng: np.random.Generator, until: int, why: str, depth: int = 0) -> Purchase | None:
        config = self._fresh.draw(study, rng)
        extra = {"depth": depth} if depth else {}
        return None if config is None else Purchase(config=config, until=until, why=why, extra=extra)

    def _leftover(self, study: Study, seen: _Seen) -> Decision:
        """With no new configuration left, the paused trials go on, the best first."""
        alive = seen.alive()
        if not len(alive):
            return used_up(study)
        best = int(alive[np.argmin(seen.best_N[alive])])
        return Purchase(best, until=seen.next_level(best), why="every configuration has been started")

    def _by_model(self, study: Study, seen: _Seen, rng: np.random.Generator) -> Purchase | None:
        """The largest expected improvement at a random horizon, over paused trials and new configurations."""
        view = _View(seen, self.settings, study, rng)
        alive = view.alive()
        horizon = seen.last ** rng.random()
        units_MP = view.candidates(rng)
        of = view.gains_by if rng.random() < seen.model.own_to_told else view.gains_ahead
        steps_M = [seen.next_level(k) - seen.trials[k].epoch for k in alive] + [seen.levels[0]] * len(units_MP)
        gain = of(horizon, alive, units_MP) / np.array(steps_M) ** self.settings.cost_power
        for j in np.argsort(-gain, kind="stable"):
            if j < len(alive):
                trial = int(alive[j])
                return Purchase(trial, until=seen.next_level(trial), why=f"expected gain {gain[j]:.4f}")
            config = seen.encoding.config(units_MP[j - len(alive)])
            if not study.seen(config):
                return Purchase(config=config, until=seen.levels[0], why=f"expected gain {gain[j]:.4f}")
        return self._start(study, rng, seen.levels[0], "random")


class _Seen:
    """What a policy keeps of a study between decisions; made anew from the same study it is the same."""

    def __init__(self, study: Study, settings: Settings) -> None:
        self.encoding = Encoding(space_of(study))
        if study.max_epochs is None:
            raise UsageError("the policy freeze-thaw needs epochs; give the study max_epochs")
        self.last = study.max_epochs
        self.levels = levels_of(self.last, settings.growth)
        self.rungs = epochs_of(self.last, self.levels[0], settings.eta)
        self.num_fitted = 0
        self._settings_S: np.ndarray | None = None
        self.trials: list[Trial] = []
        self.units_NP = np.empty((0, self.encoding.num_parameters))
        self.x_NC = np.empty((0, len(self.encoding.parameter_C)))
        self.epoch_NL = np.empty((0, len(self.levels) + 1))  # where a curve is known: at levels, then at its end
        self.value_NL = np.empty((0, len(self.levels) + 1))
        self.rung_NR = np.empty((0, len(self.rungs)))  # the best value up to each rung, NaN before it is reached
        self.best_N = np.empty(0)
        self.paused: set[int] = set()
        self.explored = 0
        self.num_known = 0
        self._cursor = 0
        self._short: dict[int, int] = {}
        for event in study.events():
            if event.kind == FITTED:
                self.num_fitted = event.payload["observations"]
                self._settings_S = np.array(event.payload["settings"])

    @cached_property
    def model(self) -> CurveModel:
        """The model, made when it is first asked: it loads scipy."""
        model = CurveModel(self.encoding.parameter_C, self.encoding.num_parameters)
        if self._settings_S is not None:
            model.settings_S = self._settings_S
        return model

    def observe(self, study: Study) -> None:
        """Takes in the trials that changed."""
        changed, self._cursor = study.changes(self._cursor)
        for ident in dict.fromkeys(changed):
            trial = study.trial(ident)
            if ident == len(self.trials):
                self._add(trial)
            before, self.trials[ident] = self.trials[ident], trial
            if "depth" in trial.extra:
                self.explored += max(trial.epoch, trial.until or 0) - max(before.epoch, before.until or 0)
            known = self._knows(ident)
            self._trace(study, trial)
            self.num_known += self._knows(ident) - known
            self._note_short(trial)

    def _add(self, trial: Trial) -> None:
        self.trials.append(Trial(trial.id, trial.config))
        if trial.id >= len(self.best_N):
            for name in ("units_NP", "x_NC", "epoch_NL", "value_NL", "rung_NR", "best_N"):
                held = getattr(self, name)
                room = np.full((max(64, len(held)), *held.shape[1:]), np.nan)
                setattr(self, name, np.concatenate([held, room]))
        self.units_NP[trial.id] = self.encoding.units(trial.config)
        self.x_NC[trial.id] = self.encoding.columns(self.units_NP[trial.id : trial.id + 1])[0]
        self.best_N[trial.id] = math.inf

    def _trace(self, study: Study, trial: Trial) -> None:
        """The best value so far at the levels that a trial has reached and at its last epoch.

        A failure is infinite both there and at the end, or the model would hope for the end.
        """
        (self.paused.add if trial.state is State.PAUSED else self.paused.discard)(trial.id)
        scores = np.array([math.inf if v is None else study.score(v) for v in trial.values])
        best = np.minimum.accumulate(scores) if len(scores) else scores
        at = [(i, e) for i, e in enumerate(self.levels) if e < len(best) and best[e - 1] < math.inf]
        at += [(len(self.levels), trial.epoch)] * bool(trial.values)
        self.epoch_NL[trial.id] = self.value_NL[trial.id] = np.nan
        for i, epoch in at:
            self.epoch_NL[trial.id, i], self.value_NL[trial.id, i] = epoch, best[epoch - 1]
        self.rung_NR[trial.id] = [best[epoch - 1] if epoch <= len(best) else np.nan for epoch in self.rungs]
        if trial.state is State.FAILED:
            self.rung_NR[trial.id] = math.inf
            self.epoch_NL[trial.id, -2:] = self.last, min(trial.epoch + 1, self.last)
            self.value_NL[trial.id, -2:] = math.inf
        self.best_N[trial.id] = best[-1] if len(best) else math.inf

    def _knows(self, trial: int) -> bool:
        """Whether a trial has an epoch that counts; one that failed after its first has none."""
        return bool(np.isfinite(self.value_NL[trial]).any())

    def _note_short(self, trial: Trial) -> None:
        """A trial that nobody works on and that has not reached where it was sent is sent there first."""
        target = max(self.levels[0], trial.extra.get("depth", 0))
        if trial.state in (State.WAITING, State.PAUSED) and trial.epoch < target:
            self._short[trial.id] = target
        else:
            self._short.pop(trial.id, None)

    def unfinished(self) -> Purchase | None:
        if not self._short:
            return None
        trial = min(self._short)
        return Purchase(trial, until=self._short[trial], why="goes on to where it was sent")

    def promoted(self, eta: int) -> Purchase | None:
        """The next of the best third of the highest rung that has one, by whole batches as Hyperband's."""
        for i in reversed(range(len(self.rungs) - 1)):
            value_N = self.rung_NR[: len(self.trials), i]
            arrived, batch = int(np.count_nonzero(~np.isnan(value_N))), eta ** (len(self.rungs) - 1 - i)
            best = np.argsort(value_N, kind="stable")[: arrived // batch * batch // eta]
            for place, k in enumerate(best.tolist(), start=1):
                if k in self.paused and value_N[k] < math.inf and self.trials[k].epoch < self.rungs[i + 1]:
                    why = f"number {place} of {arrived} at epoch {self.rungs[i]}"
                    return Purchase(k, until=self.rungs[i + 1], why=why)
        return None

    def alive(self) -> np.ndarray:
        """The ids of paused trials."""
        return np.array(sorted(self.paused), int)

    def looked_at(self, most: int) -> np.ndarray:
        """The ids of trials to learn from: all, or of many the better half of `most` and a spread of the others."""
        known = np.flatnonzero(~np.isnan(self.value_NL[: len(self.trials), -1]))
        if len(known) <= most:
            return known
        order = known[np.argsort(self.best_N[known], kind="stable")]
        others = order[most // 2 :]
        return np.sort(np.r_[order[: most // 2], others[:: -(-len(others) // (most // 2))]])

    def next_level(self, trial: int) -> int:
        return next(level for level in self.levels if level > self.trials[trial].epoch)

    def level_up_to(self, depth: float) -> int:
        return max([level for level in self.levels if level <= depth], default=self.levels[0])


class _View:
    """The observations of one decision, scaled, and the model conditioned on them."""

    def __init__(self, seen: _Seen, settings: Settings, study: Study, rng: np.random.Generator) -> None:
        self.seen, self.settings, self.rng = seen, settings, rng
        trials = seen.looked_at(settings.most_trials)
        row_N, column_N = np.nonzero(~np.isnan(seen.value_NL[trials]))
        who_N = trials[row_N]
        epoch_N, value_N = seen.epoch_NL[who_N, column_N], seen.value_NL[who_N, column_N]
        failed_N = value_N == math.inf
        value_N[failed_N] = value_N[~failed_N].max()
        newest = np.flatnonzero(np.r_[who_N[1:] != who_N[:-1], True])
        z_N = _scaled(value_N, value_N[newest], settings.by_rank) + failed_N
        self.z_N, self.epoch_N = z_N, epoch_N
        self.best_z, self.z_newest, self.who_newest = float(z_N.min()), z_N[newest], who_N[newest]
        keep = self._choose(z_N, who_N, newest)
        self.centre, self.spread = z_N[keep].mean(), z_N[keep].std() + 1e-9
        y_N = (z_N[keep] - self.centre) / self.spread
        points = Points(seen.x_NC[who_N[keep]], self._time(epoch_N[keep]), who_N[keep])
        if len(who_N) >= seen.num_fitted * 1.2 + 2:
            some = rng.permutation(len(keep))[: settings.most_fitted]
            seen.model.fit(points[some], y_N[some], 8 if seen.num_fitted else 15)
            seen.num_fitted = len(who_N)
            study.record(FITTED, observations=len(who_N), settings=seen.model.settings_S.tolist())
        seen.model.condition(points, y_N)
        pending = [seen.trials[k] for k in study.running]
        if pending:
            self._believe(pending, points, y_N)

    def _time(self, epoch: np.ndarray) -> np.ndarray:
        return np.log(epoch) / max(math.log(self.seen.last), 1e-9)

    def _choose(self, z_N: np.ndarray, who_N: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """The newest observations of the better trials, then older ones of theirs, as many as the model may have."""
        most = self.settings.most_observed
        if len(z_N) <= most:
            return np.arange(len(z_N))
        order = newest[np.argsort(z_N[newest], kind="stable")]
        head = order[: int(most * 0.75)]
        newest_of = np.zeros(len(self.seen.trials), int)
        newest_of[who_N[newest]] = newest
        older = np.setdiff1d(np.arange(len(z_N)), newest)
        rank = z_N[newest_of[who_N[older]]] + 0.3 * self.rng.random(len(older))
        older = older[np.argsort(rank, kind="stable")][: most - len(head)]
        return np.r_[head, older, order[len(head) :][: most - len(head) - len(older)]]

    def _believe(self, pending: list[Trial], points: Points, y_N: np.ndarray) -> None:
        """Takes running trials to turn out as expected, so that what is like them is not bought beside them."""
        pending = pending[-32:]
        who = np.array([t.id for t in pending])
        until = np.array([t.until or self.seen.last for t in pending], float)
        there = Points(self.seen.x_NC[who], self._time(until), who)
        mean, _ = self.seen.model.predict(there)
        joined = Points(
            np.vstack([points.x_NC, there.x_NC]), np.r_[points.u_N, there.u_N], np.r_[points.who_N, there.who_N]
        )
        self.seen.model.condition(joined, np.r_[y_N, mean])

    def alive(self) -> np.ndarray:
        """Paused trials, the better ones when there are many."""
        alive = self.seen.alive()
        if len(alive) > self.settings.most_alive:
            z = np.full(len(self.seen.trials), np.inf)
            z[self.who_newest] = self.z_newest
            alive = np.sort(alive[np.argsort(z[alive], kind="stable")][: self.settings.most_alive])
        return alive

    def candidates(self, rng: np.random.Generator) -> np.ndarray:
        """Units of new configurations: random ones, and steps of many sizes round the best trials."""
        seen, count = self.seen, self.settings.candidates // 2
        elite = self.who_newest[np.argsort(self.z_newest, kind="stable")[: self.settings.elite]]
        base_MP = seen.units_NP[elite[rng.integers(len(elite), size=count)]]
        step_M = 10 ** rng.uniform(-2, -0.3, count)
        share_M = rng.choice([1, 2 / base_MP.shape[1], 0.5], count)
        drawn_MP = np.vstack([seen.encoding.draw(rng, count), seen.encoding.near(base_MP, rng, step_M, share_M)])
        return seen.encoding.settle(drawn_MP)

    def gains_ahead(self, horizon: float, alive: np.ndarray, units_MP: np.ndarray) -> np.ndarray:
        """Expected improvement, `horizon` epochs on, on the best so far: paused trials, then new configurations."""
        done_M = np.array([self.seen.trials[k].epoch for k in alive] + [0] * len(units_MP), float)
        return self._gains(alive, units_MP, done_M + horizon, self.best_z)

    def gains_by(self, horizon: float, alive: np.ndarray, units_MP: np.ndarray) -> np.ndarray:
        """The same by the epoch `horizon`, on the best seen up to it; below 0 for trials that are past it."""
        seen = self.seen
        horizon = max(horizon, seen.levels[0])
        next_M = np.array([seen.next_level(k) for k in alive] + [seen.levels[0]] * len(units_MP), float)
        known_N = self.epoch_N <= horizon
        best_z = float(self.z_N[known_N].min()) if known_N.any() else self.best_z
        gain_M = self._gains(alive, units_MP, np.maximum(next_M, horizon), best_z)
        past = np.array([seen.trials[k].epoch >= horizon for k in alive], bool)
        gain_M[: len(alive)][past] = -1.0
        return gain_M

    def _gains(self, alive: np.ndarray, units_MP: np.ndarray, epoch_M: np.ndarray, best_z: float) -> np.ndarray:
        seen = self.seen
        x_MC = np.vstack([seen.x_NC[alive], seen.encoding.columns(units_MP)])
        who_M = np.r_[alive, np.full(len(units_MP), -1)]
        points = Points(x_MC, self._time(np.clip(epoch_M, 1, seen.last)), who_M)
        mean, spread = seen.model.predict(points)
        return expected_improvement(mean, spread, (best_z - self.centre) / self.spread)


def _scaled(value_N: np.ndarray, newest: np.ndarray, by_rank: float) -> np.ndarray:
    """Values on a scale that a Gaussian process can model: half their size, half their rank.

    By size 0 is the best and 1 the median newest value, and what is worse is squeezed; by rank they are normal scores.
    Each half has mean 0 and spread 1.
    """
    from scipy.special import ndtri

    low, middle = newest.min(), np.median(newest)
    size_N = (value_N - low) / (middle - low + 1e-12)
    size_N = np.where(size_N > 1, 1 + np.log(np.maximum(size_N, 1)), size_N)
    size_N = (size_N - size_N.mean()) / (size_N.std() + 1e-9)
    count, ordered = len(value_N), np.sort(value_N)
    below = np.searchsorted(ordered, value_N, "left") + np.searchsorted(ordered, value_N, "right")
    share_N = below / (2 * count) * (1 - 1 / count) + 0.5 / count
    return by_rank * ndtri(share_N) + (1 - by_rank) * size_N
