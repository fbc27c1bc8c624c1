"""Images per second of `training.loop.fit` against the best loop written by hand, on the same network and data.

    python benchmarks/loop.py [--rounds R] [--seconds S] [--cpu] [--compile]

Both train `ImageNetwork` (width 32) with bfloat16 where the processor has it, channels-last, on random uint8 images,
28x28 grey and 64x64 colour, with the same augmentation. The loop written by hand does what learning needs and nothing
else: rows by `index_select`, forward, backward, fused AdamW; no average of the weights, no clipping, no check of the
loss. `fit` does all of that, once with the same AdamW and once with what it uses by itself, Muon for kernels. They
take turns in one process; medians over the rounds of images per second, and of each round's ratio.

--cpu counts the process's CPU seconds on one thread, which others on the machine hardly change.
--compile prints instead what `torch.compile` costs and gains for the same networks and for a network on tables, and the
seconds of training from which on it pays.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from thrifty.execution.resources import usable_cores
from thrifty.models.networks.image import ImageNetwork
from thrifty.models.networks.table import Bins, TableNetwork
from thrifty.training.augment.image import images as augment
from thrifty.training.batches import Batch, Rows
from thrifty.training.events import Compiled, Finished
from thrifty.training.loop import FitConfig, fit
from thrifty.training.losses import Loss, cross_entropy, dense_targets, of_members
from thrifty.training.optimizers import adamw, for_network, groups
from thrifty.training.precision import best_precision
from thrifty.training.state import begin

NUM_ROWS, NUM_CLASSES, BATCH, STRENGTH = 6000, 10, 128, 0.5
PRECISION = best_precision()
Turn = Callable[[float], float]
"""Trains for about so many seconds; gives rows per second."""
clock = time.perf_counter


def images(size: int, channels: int) -> Rows:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (NUM_ROWS, size, size, channels), dtype=np.uint8)
    y = rng.integers(0, NUM_CLASSES, NUM_ROWS)
    return Rows({"pixels": pixels}, np.arange(NUM_ROWS), dense_targets("multiclass", y, NUM_CLASSES, 0.1))


def image_network(size: int, channels: int) -> nn.Module:
    torch.manual_seed(0)
    return PRECISION.place(ImageNetwork(size, channels, NUM_CLASSES, 32, 1, 0.1))


def by_hand(rows: Rows, network: nn.Module) -> Turn:
    """The loop that one would write for this network alone."""
    pixels = torch.from_numpy(np.asarray(rows.inputs["pixels"]))
    targets_NK = torch.from_numpy(rows.targets_NK)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    change, generator = augment(STRENGTH), torch.Generator().manual_seed(0)
    network.train()

    def steps() -> Iterator[int]:
        while True:
            order = torch.randperm(len(pixels))
            for start in range(0, len(pixels) - BATCH + 1, BATCH):
                chosen = order[start : start + BATCH]
                batch = Batch({"pixels": pixels.index_select(0, chosen)}, targets_NK[chosen], torch.ones(BATCH))
                x = change(batch, generator).inputs["pixels"]
                with PRECISION.autocast():
                    scores_NK = network(x)
                loss = functional.cross_entropy(scores_NK.float(), batch.targets_NK)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                yield BATCH

    endless = steps()

    def turn(seconds: float) -> float:
        began, done = clock(), 0
        while clock() - began < seconds:
            done += next(endless)
        return done / (clock() - began)

    return turn


def by_fit(rows: Rows, network: nn.Module, plain: bool) -> Turn:
    """`fit`, with AdamW alone or with what it uses by itself."""
    optimizers = [adamw(groups(network.parameters(), 0.05))] if plain else for_network(network, 0.05)
    state = begin(network, optimizers)

    def turn(seconds: float) -> float:
        before, began = state.step, clock()
        config = FitConfig(epochs=1e4, batch_size=BATCH, learning_rate=1e-3)
        stop = lambda: clock() - began >= seconds  # noqa: E731
        for event in fit(state, rows, config, cross_entropy, PRECISION, augment=augment(STRENGTH), should_stop=stop):
            if isinstance(event, Finished):
                turn.waiting.append(event.waiting_share)  # type: ignore[attr-defined]
        return (state.step - before) * BATCH / (clock() - began)

    turn.waiting = []  # type: ignore[attr-defined]
    return turn


def throughput(rounds: int, seconds: float) -> None:
    print(f"{PRECISION.low}, {torch.get_num_threads()} threads, {rounds} rounds of {seconds:g} s each")
    for size, channels in ((28, 1), (64, 3)):
        rows = images(size, channels)
        turns = {
            "by hand, AdamW": by_hand(rows, image_network(size, channels)),
            "fit, AdamW": by_fit(rows, image_network(size, channels), plain=True),
            "fit, Muon": by_fit(rows, image_network(size, channels), plain=False),
        }
        for turn in turns.values():
            turn(min(2.0, seconds))
        found = [{name: turn(seconds) for name, turn in turns.items()} for _ in range(rounds)]
        print(f"{size}x{size}x{channels}")
        for name, turn in turns.items():
            speed = statistics.median(one[name] for one in found)
            ratio = statistics.median(one[name] / one["by hand, AdamW"] for one in found)
            waiting = getattr(turn, "waiting", None)
            said = f", waiting for data {100 * statistics.median(waiting):.1f} %" if waiting else ""
            print(f"  {name:<15} {speed:7.0f} images/s  {100 * ratio:5.1f} %{said}", flush=True)


def compiling() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM_ROWS, 30)).astype(np.float32)
    y = rng.integers(0, NUM_CLASSES, NUM_ROWS)
    table = Rows({"features": features}, np.arange(NUM_ROWS), dense_targets("multiclass", y, NUM_CLASSES, 0.1))
    bins = Bins(features, np.arange(30), 8)
    cases: list[tuple[str, Rows, nn.Module, Loss]] = [
        ("image 28x28x1", images(28, 1), image_network(28, 1), cross_entropy),
        ("image 64x64x3", images(64, 3), image_network(64, 3), cross_entropy),
        ("table of 30", table, TableNetwork(bins, 30, NUM_CLASSES, "multiclass", 256, 2, 8, 0.1),
         of_members(cross_entropy)),
    ]  # fmt: skip
    for name, rows, network, loss in cases:
        speeds = []
        for wanted in (False, True):
            state = begin(network, [adamw(groups(network.parameters(), 0.05))])
            config = FitConfig(epochs=3, stop_epoch=100 * BATCH / NUM_ROWS, batch_size=BATCH, compile=wanted)
            seconds, cost, last = [], 0.0, time.perf_counter()
            for event in fit(state, rows, config, loss, PRECISION):
                now = time.perf_counter()
                seconds.append(now - last)
                last = now
                cost = event.seconds if isinstance(event, Compiled) else cost
            speeds.append(statistics.median(seconds[20:]))
        gain = 1.0 - speeds[1] / speeds[0]
        pays = f"pays from {cost / gain:.0f} s of training on" if gain > 0 else "never pays"
        print(f"{name:<15} {1e3 * speeds[0]:.1f} -> {1e3 * speeds[1]:.1f} ms a step, {cost:.0f} s to compile: {pays}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1 if given.cpu else usable_cores())
    if given.cpu:
        global clock
        clock = time.process_time
    compiling() if given.compile else throughput(given.rounds, given.seconds)


if __name__ == "__main__":
    main()
