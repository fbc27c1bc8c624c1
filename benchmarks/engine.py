"""The engine's own cost: ask and tell of random trials in a folder, with event rows and events.jsonl.

python benchmarks/engine.py [COUNT ...]     prints milliseconds a trial and resident memory at each count of trials
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from thrifty.core.space import Choice, Float, Int
from thrifty.tuning.study import Study

SPACE = {
    "lr": Float(1e-5, 1e-1, log=True),
    "dropout": Float(0.0, 0.5),
    "layers": Int(1, 9),
    "width": Int(8, 1024, log=True),
    "kind": Choice("a", "b", "c"),
}


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measure(counts: list[int], folder: Path | None, max_epochs: int | None) -> None:
    name = "in memory" if folder is None else "in a folder"
    print(f"{name}, {'one value a trial' if max_epochs is None else f'hyperband over {max_epochs} epochs'}")
    start = time.perf_counter()
    policy = "random" if max_epochs is None else "hyperband"
    with Study(SPACE, metric="loss", max_epochs=max_epochs, folder=folder, policy=policy) as study:
        print(f"  opened in {1e3 * (time.perf_counter() - start):.0f} ms, {resident_mb():.0f} MB")
        told, last, since = 0, 0, time.perf_counter()
        for count in sorted(counts):
            while told < count:
                proposal = study.ask()
                if proposal.until_epoch is None:
                    study.tell(proposal.trial, proposal.config["lr"], cost_seconds=1.0)
                else:
                    epochs = range(proposal.from_epoch + 1, proposal.until_epoch + 1)
                    study.tell(proposal.trial, [proposal.config["lr"] + 1 / e for e in epochs], cost_seconds=1.0)
                told += 1
            now = time.perf_counter()
            each = 1e3 * (now - since) / (count - last)
            print(f"  {count:6d} tells: {each:.2f} ms each since {last}, {resident_mb():.0f} MB", flush=True)
            last, since = count, time.perf_counter()
    if folder is not None:
        start = time.perf_counter()
        Study(SPACE, metric="loss", max_epochs=max_epochs, folder=folder).close()
        size = sum(f.stat().st_size for f in folder.iterdir()) / 1e6
        print(f"  opened again in {time.perf_counter() - start:.2f} s; {size:.1f} MB on disk")


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [100, 1000, 10_000]
    for max_epochs in (None, 27):
        measure(counts, None, max_epochs)
        with tempfile.TemporaryDirectory() as folder:
            measure(counts, Path(folder), max_epochs)


if __name__ == "__main__":
    main()
