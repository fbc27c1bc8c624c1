"""Gain per second over a ladder of arms: cheapest first, then whichever offers the most by its learned cost and score.

An arm is a family of configurations with its own space, a prior on what a trial costs and on its skill. Skill is
(value - baseline) / (perfect - baseline): 0 for the baseline arm, 1 for a perfect score, so that arms and metrics
compare. An offer's gain is its expected improvement over the best so far; its price the seconds it will take. Where the
arms tried so far did better or worse than their priors said, the priors of the others move along. Costs are learned: an
arm's own trials first, and before there are any its prior times the machine's speed seen on other arms.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from thrifty.core.budget import Clock
from thrifty.core.seeds import generator
from thrifty.core.space import Domain
from thrifty.tuning.policies.arm import propose
from thrifty.tuning.policies.contrast import contrast
from thrifty.tuning.policies.student import Lesson, is_student, student
from thrifty.tuning.policy import Purchase, Stop, Wait
from thrifty.tuning.study import Study
from thrifty.tuning.trial import State, Trial

MIN_GAIN = 5e-3  # of the skill lacking to a perfect score: offers below it are not worth a second
LEAST_LACKING = 0.05  # skill; nearer to a perfect score, gains are too small to be told from luck
FIRST_STEP = 0.05  # of the skill lacking: what a second trial of an arm may gain on its first
SECOND_OPINION = 0.03  # skill lacking to the best at which an untried arm still helps, through an ensemble
FIRST_SHARE = 0.5  # of the seconds left, that the first trial of an elastic arm has though others are untried too
OVERDUE = 0.3  # of the seconds that a trial has run, that it is expected to go on when it should have ended
SLACK = 0.95  # of what an elastic trial is allotted is for its training, so that a slow machine does not cut it short
LEAST_SHARE = 0.15  # of its prior seconds, below which an elastic arm is not worth starting
AGAIN_SHARE = 0.6  # of what its best trial took, below which it is not worth starting again
UNCUT = 1.6  # times what its trials took, that an arm needs to be started again if it can be cut short
MOST_CUT = 0.5  # of its price, to which an arm that makes less of less time is cut, to fill cores until all are wanted
MAX_FAILURES = 2
OVER_POWER = 3.0  # of how far an arm is over a limit, by which its next trial is less likely to keep it


@dataclass(frozen=True)
class Arm:
    """One family of configurations.

    seconds: prior wall clock of a trial. skill, spread: prior mean and standard deviation of its skill.
    first: the values of its first configuration, by path. cores: cores that a trial takes. elastic: a trial
    costs what it is allotted, told it as `seconds_path`. least_seconds: with so many its first trial is worth a start,
    though it wants more; None where it cannot do with less. contrast: values, by path, that switch off what is to be
    known the worth of: a trial of the best configuration with them tells it. shared: how many of the seconds go into
    parts, by name, that other arms need too: for all of them these are there when one has ended.
    """

    name: str
    space: Mapping[str, Domain]
    seconds: float
    skill: float
    spread: float
    first: Mapping[str, Any] = field(default_factory=dict)
    cores: int = 1
    elastic: bool = False
    overhead_seconds: float = 0.0
    seconds_path: str = "training.seconds"
    contrast: Mapping[str, Any] = field(default_factory=dict)
    least_seconds: float | None = None
    shared: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """What an arm would bring next: `gain` in skill, `price` in seconds."""

    arm: Arm
    gain: float
    price: float
    first: bool

    @property
    def rate(self) -> float:
        return self.gain / max(self.price, 1e-3)


class Refit(NamedTuple):
    """Fitting the best so far again on all rows at the end: its price in seconds, and what it is expected to bring.

    gain: share of what the best lacks to a perfect score. always: its seconds are kept from every trial, not from those
    alone that bring less per second.
    """

    seconds: float = 0.0
    gain: float = 0.0
    always: bool = True


class Ladder:
    """The policy. `baseline` names the arm that defines skill 0; `perfect` is the value of a perfect score.

    Values are higher-is-better. `refit` is what is to come when the last trial has ended; `free_cores` says how many
    cores are idle now; `excess` how many times the limits a trial that is done takes (it keeps them with 1 or less);
    `lesson` whether a trial could learn from others.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        *,
        baseline: str,
        perfect: float,
        refit: Callable[[], Refit],
        free_cores: Callable[[], int],
        excess: Callable[[int], float] = lambda trial: 0.0,
        lesson: Callable[[bool], Lesson | None] = lambda idle: None,
        seed: int = 0,
    ) -> None:
        self.arms = {arm.name: arm for arm in arms}
        self.baseline = baseline
        self.perfect = perfect
        self.refit = refit
        self.free_cores = free_cores
        self.excess = excess
        self.lesson = lesson
        self.seed = seed

    def decide(self, study: Study, clock: Clock) -> Purchase | Wait | Stop:
        """The offer with the most gain per second that fits the time and the cores; waits or stops without one."""
        view = View(self, study, clock)
        offers = sorted((o for o in map(view.offer, self.arms.values()) if o), key=lambda o: -o.rate)
        worthy = [offer for offer in offers if offer.gain >= view.least_gain or (offer.first and view.best is None)]
        telling = contrast(view, self.arms, idle=not worthy, free_cores=self.free_cores())
        if telling is not None:
            return telling
        taught = student(view, self.arms, worthy[0] if worthy else None, self.lesson, self.free_cores())
        if taught is not None:
            return taught
        if not worthy:
            if view.running:
                return Wait()
            return Stop("converged" if offers or not view.unaffordable else "budget")
        free = self.free_cores()
        patience = view.patience(worthy[0].arm) if worthy[0].arm.cores > free else math.inf
        for offer in worthy:
            if offer.arm.cores <= free and view.shortest(offer) <= patience:
                return self._buy(view, offer, patience)
        return Wait()

    def drop(self, study: Study, clock: Clock) -> list[tuple[int, str]]:
        """Running trials past half of their time whose curve cannot reach the best."""
        view = View(self, study, clock)
        if view.best is None:
            return []
        dropped = []
        for trial in view.running:
            curve = [view.skill(value) for value in trial.values]
            if is_aside(trial) or len(curve) < 4 or view.share_done(trial) < 0.5:
                continue
            slope = max(0.0, max(curve) - max(curve[: max(1, len(curve) * 2 // 3)]))
            if max(curve) + 3 * slope + 0.05 < view.best:
                dropped.append((trial.id, "its curve cannot reach the best"))
        return dropped

    def _buy(self, view: View, offer: Offer, patience: float) -> Purchase:
        """patience: seconds after which the trial's cores are wanted."""
        arm = offer.arm
        why = f"gain {offer.gain:.4f} for {offer.price:.1f} s"
        stopped = [t for t in view.trials_of(arm.name) if t.state in (State.WAITING, State.PAUSED) and not is_aside(t)]
        if stopped and not arm.elastic:
            return Purchase(trial=stopped[0].id, why=why)
        config: dict[str, Any] = {"candidate": arm.name}
        if not offer.first:
            config |= self._vary(view, arm)
        if arm.elastic:
            config[arm.seconds_path] = round(max(1.0, SLACK * offer.price - arm.overhead_seconds), 2)
        extra = {"started_seconds": round(view.clock.elapsed(), 3)}
        if offer.price > patience:
            extra["most_seconds"] = round(patience, 3)
        return Purchase(config=config, why=why, extra=extra)

    def _vary(self, view: View, arm: Arm) -> dict[str, Any]:
        """A new configuration of the arm, by what its trials so far have come to."""
        trials = view.trials_of(arm.name)
        tried = []
        for trial in trials:
            if is_student(trial):
                continue
            failed = trial.state is State.FAILED
            tried.append((trial.config, -math.inf if failed else view.skill_or_none(trial)))
        rng = generator(self.seed, "ladder", arm.name, len(trials))
        return propose(arm.space, arm.first, tried, rng) or {path: d.sample(rng) for path, d in arm.space.items()}


class View:
    """What the trials so far say, computed once per decision."""

    def __init__(self, ladder: Ladder, study: Study, clock: Clock) -> None:
        self.ladder = ladder
        self.clock = clock
        self.trials = list(study.trials)
        self.refit = ladder.refit()
        self.left = clock.left() - self.refit.seconds
        self.running = [t for t in self.trials if t.state == State.RUNNING]
        base = [value_of(t) for t in self.done_of(ladder.baseline)]
        self.base = base[0] if base else None
        self.there = {name for arm in ladder.arms.values() if self.done_of(arm.name) for name in arm.shared}
        done = [t for t in self.trials if t.state == State.DONE and t.values]
        kept = [self.skill(value_of(t)) for t in done if self.keeps(t)]
        self.best = max(kept, default=0.0) if done and self.base is not None else None
        self.speed = self._speed()
        self.ease = self._ease()
        self.unaffordable = False

    def trials_of(self, name: str) -> list[Trial]:
        return [t for t in self.trials if t.config.get("candidate") == name]

    def done_of(self, name: str) -> list[Trial]:
        return [t for t in self.trials_of(name) if t.state == State.DONE and value_of(t) is not None]

    def keeps(self, trial: Trial) -> bool:
        """Whether a trial that is done keeps the limits."""
        return self.ladder.excess(trial.id) <= 1.0

    def skill(self, value: float | None) -> float:
        if value is None or self.base is None:
            return -math.inf if value is None else value
        return (value - self.base) / self.span

    @property
    def span(self) -> float:
        """The value of a perfect score less the baseline's; infinite where there is nothing between them."""
        span = self.ladder.perfect - (self.base or 0.0)
        return span if span > 1e-12 else math.inf

    def skill_or_none(self, trial: Trial) -> float | None:
        """The skill of a trial that is done, less the log of how far it is over the limits."""
        if trial.state is not State.DONE or not trial.values:
            return None
        return self.skill(value_of(trial)) - math.log(max(1.0, self.ladder.excess(trial.id)))

    def offer(self, arm: Arm) -> Offer | None:
        """What the arm offers next, or None: closed by failures, or it does not fit the time left."""
        tried = [t for t in self.trials_of(arm.name) if not t.cut_short and not is_aside(t)]
        done = [t for t in self.done_of(arm.name) if not t.cut_short and not is_aside(t)]
        failed = sum(t.state == State.FAILED for t in tried)
        running = sum(t.state == State.RUNNING for t in tried)
        if failed >= MAX_FAILURES and failed > len(done):
            return None
        if tried and (arm.name == self.ladder.baseline or not arm.space or (running and not done)):
            return None
        gain = 1.0 if arm.name == self.ladder.baseline else self._gain(arm, done, running)  # skill is told by it
        for left in (self.left + self.refit.seconds, self.left):
            price = self._price(arm, done, left)
            if price is None or price > left:
                continue
            offer = Offer(arm, gain, price, first=not tried)
            if left == self.left or self.before_refit(offer.rate):
                return offer
        self.unaffordable = True
        return None

    def shortest(self, offer: Offer) -> float:
        """The seconds that the offer may be cut to: its price, or a part of it where less time gives a model too."""
        if not offer.first or offer.arm.least_seconds is None:
            return offer.price
        return max(MOST_CUT * offer.price, self._seconds(offer.arm, offer.arm.least_seconds))

    def before_refit(self, rate: float) -> bool:
        """Whether a trial of this gain a second may take the time of the refit."""
        if self.refit.always or self.best is None:
            return False
        return rate * self.refit.seconds > self.refit.gain * (1.0 - self.best)

    def _seconds(self, arm: Arm, believed: float | None = None) -> float:
        """What a first trial of the arm will take, of the seconds believed (the arm's own unless given)."""
        there = sum(seconds for name, seconds in arm.shared.items() if name in self.there)
        return max(0.0, (arm.seconds if believed is None else believed) - there) * self.speed

    def _price(self, arm: Arm, done: list[Trial], left: float) -> float | None:
        if arm.elastic:
            wanted = 2.0 * self._seconds(arm)
            price = min(wanted, left if done else max(FIRST_SHARE * left, left - self._untried(arm)))
            if left - price < LEAST_SHARE * wanted:
                price = min(wanted, left)
            least = max(arm.overhead_seconds + 2.0, LEAST_SHARE * self._seconds(arm))
            if done:
                best = max(done, key=lambda t: self.skill(value_of(t)))
                least = max(least, AGAIN_SHARE * again_seconds(best))
            return price if price >= least else None
        if done:
            price = statistics.median(again_seconds(t) for t in done)
            uncut = price if arm.least_seconds is None else UNCUT * price
            return price if uncut <= left else None
        price = self._seconds(arm)
        if arm.least_seconds is not None and self._seconds(arm, arm.least_seconds) <= left:
            return min(price, left)
        return price

    def _untried(self, arm: Arm) -> float:
        """Seconds that the first trials of all other arms take that are worth one; of elastic ones, at least."""
        seconds, arms = 0.0, self.ladder.arms.values()
        for other in arms:
            if other is arm or self.trials_of(other.name):
                continue
            if other.name == self.ladder.baseline or self._gain(other, [], 0) >= self.least_gain:
                least = 2.0 * LEAST_SHARE if other.elastic else 1.0
                seconds += least * self._seconds(other) * other.cores / max(a.cores for a in arms)
        return seconds

    def _gain(self, arm: Arm, done: list[Trial], running: int) -> float:
        """Expected improvement over the best skill.

        An untried arm by its prior. Of n tried configurations the next is the best with probability 1 / (n + 1), and
        then better by about what the best ones differ; what the arm lacks to the best of all must be made up first.
        Where none keeps the limits, what the best would bring if the next one did.
        """
        if not done:
            best = -0.05 if self.best is None else self.best - SECOND_OPINION * (1 - self.best)
            skill = _squashed(_odds(arm.skill) + self.ease)
            return _expected_improvement(skill, arm.spread * (1 - skill) / max(1e-6, 1 - arm.skill), best)
        over = min(self.ladder.excess(t.id) for t in done)
        skills = sorted((self.skill(value_of(t)) for t in done if over > 1 or self.keeps(t)), reverse=True)
        if over > 1:
            ahead = skills[0] - (self.best or 0.0)
            return max(0.0, ahead) * over**-OVER_POWER / (len(done) + 1 + running)
        step = FIRST_STEP * max(0.02, 1 - skills[0]) + 1e-4
        if len(skills) > 1:
            top = skills[: max(2, len(skills) // 3)]
            seen = statistics.fmean(top[0] - other for other in top[1:])
            step = (step + 2 * min(seen, 4 * step)) / 3
        lacking = max(0.0, (self.best if self.best is not None else skills[0]) - skills[0])
        return step * math.exp(-lacking / step) / (len(done) + 1 + running)

    @property
    def least_gain(self) -> float:
        """The gain below which nothing is worth its price."""
        return MIN_GAIN * (1.0 if self.best is None else max(LEAST_LACKING, 1 - self.best))

    def _ease(self) -> float:
        """How much better arms did than their priors said, in log odds of skill: data are easy or hard for all."""
        surprises = []
        for arm in self.ladder.arms.values():
            done = [t for t in self.done_of(arm.name) if not is_student(t)]
            if done and self.base is not None and arm.name != self.ladder.baseline:
                surprises.append(_odds(max(self.skill(value_of(t)) for t in done)) - _odds(arm.skill))
        return sum(surprises) / (len(surprises) + 1)

    def _speed(self) -> float:
        """How much dearer trials are than their priors said, over all arms; 1 before there are any."""
        ratios = []
        for arm in self.ladder.arms.values():
            done = self.done_of(arm.name)
            if done and not arm.elastic and arm.seconds >= 0.5:
                shared, cached = sum(arm.shared.values()), cached_seconds(done[0])
                found = cached is not None and cached < 0.2 * shared  # in the cache, made by another
                foreseen = arm.seconds - (shared if found else 0.0)
                ratios.append(math.log(max(done[0].cost_seconds, 0.05) / max(foreseen, 0.05)))
        return math.exp(sum(ratios) / (len(ratios) + 2)) if ratios else 1.0

    def expected_seconds(self, trial: Trial) -> float:
        arm = self.ladder.arms.get(str(trial.config.get("candidate")))
        if arm is None:
            return 0.0
        if arm.elastic:
            return float(trial.config.get(arm.seconds_path, arm.seconds)) + arm.overhead_seconds
        return self._price(arm, self.done_of(arm.name), math.inf) or arm.seconds

    def seconds_running(self, trial: Trial) -> float:
        return self.clock.elapsed() - float(trial.extra.get("started_seconds", self.clock.elapsed()))

    def share_done(self, trial: Trial) -> float:
        return self.seconds_running(trial) / max(self.expected_seconds(trial), 1e-3)

    def patience(self, arm: Arm) -> float:
        """The seconds until all cores are expected to be free for an arm; infinite where it no longer fits then."""
        wait = self.seconds_running_left()
        price = self._price(arm, self.done_of(arm.name), self.left - wait)
        return wait if price is not None and price <= self.left - wait else math.inf

    def seconds_running_left(self) -> float:
        """The most that a running trial is expected to go on."""
        ran = {t.id: self.seconds_running(t) for t in self.running}
        left = [max(self.expected_seconds(t) - ran[t.id], OVERDUE * ran[t.id]) for t in self.running]
        return max(left, default=0.0)


def worth(trial: Trial) -> float:
    """The result of a trial that is done, -inf without one."""
    value = value_of(trial)
    return -math.inf if value is None else value


def is_aside(trial: Trial) -> bool:
    """Whether the trial repeats the configuration of another, and so says nothing of what its arm has to offer."""
    return "contrast_of" in trial.extra or is_student(trial)


def cached_seconds(trial: Trial) -> float | None:
    """What the trial took for what is in a cache since; None where its notes do not say."""
    seconds = trial.extra.get("notes", {}).get("cached_seconds")
    return None if seconds is None else float(seconds)


def again_seconds(trial: Trial) -> float:
    """What the trial would take again."""
    return max(0.0, trial.cost_seconds - (cached_seconds(trial) or 0.0))


def value_of(trial: Trial) -> float | None:
    """What the trial is worth: its result, which is told last."""
    return trial.values[-1] if trial.values else None


def _odds(skill: float) -> float:
    """Log odds of a skill, kept within what a few trials can tell."""
    inside = min(max(skill, 0.02), 0.995)
    return math.log(inside / (1 - inside))


def _squashed(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def _expected_improvement(mean: float, spread: float, best: float) -> float:
    z = (mean - best) / max(spread, 1e-9)
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return spread * (z * 0.5 * math.erfc(-z / math.sqrt(2)) + density)
