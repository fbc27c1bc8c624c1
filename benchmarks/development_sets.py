"""Scores of `thrifty run` on a folder of data sets with given test parts; writes the table into benchmarks/results.md.

usage: python benchmarks/development_sets.py SETS [NAME MINUTES METRIC]... [--seeds 0 1 2] [--keep FOLDER]

SETS holds a folder for each set: `meta.json`, and either `train/` and `test/` (a folder per class) or `train.csv` and
`test.csv` with the column `label`; `drop` in meta.json names columns to ignore. Every run has an empty cache. The score
is `thrifty evaluate` on the test part, which the run never sees. Peak memory is the proportional memory (PSS) of the
whole process tree, polled twice a second. "first s" and "better s" are when an artifact was first on disk, and when it
first held a model that lacks at least a tenth less of a perfect validation score than the baseline does. With --keep
the runs stay in FOLDER, and a run that ended there is not made again; one that was cut short is, from the start.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from results import put, table_of

from thrifty.execution import process_tree

DEFAULT = (
    "img_fashion 4 accuracy", "txt_rt_sentiment 5 accuracy", "txt_tweet_rating 3 pearson",
    "txt_debian_section 3 f1_macro",
    "aud_keywords 4 accuracy", "aud_lid_tux 2 accuracy", "tab_letter 2 accuracy", "tab_satellite 2 accuracy",
    "tab_ozone 1 r2", "mm_wesnoth 2 f1_macro", "mm_fusion 5 accuracy",
)  # fmt: skip
HEAD = (
    "set", "minutes", "metric", "test score", "of each seed", "seconds", "first s", "better s", "peak GB",
    "artifact MB", "models",
)  # fmt: skip


def measure(sets: Path, name: str, minutes: str, metric: str, seed: int, kept: Path) -> dict:
    """What one run came to: its score on the test part, and what it took."""
    work = kept / f"{name}-{minutes}-{seed}"
    told = work / "told.json"
    if told.exists():
        return json.loads(told.read_text())
    shutil.rmtree(work, ignore_errors=True)
    folder, run = sets / name, work / "run"
    meta = json.loads((folder / "meta.json").read_text())
    ending = "" if (folder / "train").is_dir() else ".csv"
    command = ["thrifty", "run", str(folder / f"train{ending}"), "--metric", metric, "--minutes", minutes]
    command += ["--seed", str(seed), "--out", str(run)] + (["--target", "label"] if ending else [])
    command += [word for column in meta.get("drop", []) for word in ("--set", f"schema.{column}=ignored")]
    environment = {**os.environ, "THRIFTY_CACHE": str(work / "cache")}
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, process_tree.proportional_bytes([process.pid, *process_tree.descendants(process.pid)]))
        time.sleep(0.5)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    done = subprocess.run(
        ["thrifty", "evaluate", str(run), str(folder / f"test{ending}"), "--json"], capture_output=True, check=True
    )
    report = json.loads((run / "report.json").read_text())
    first, better = first_models(run / "events.jsonl")
    facts = {
        "value": json.loads(done.stdout)["metrics"][metric]["value"], "seconds": seconds, "first": first,
        "better": better, "peak": peak, "size": report["artifact"]["size_bytes"], "model": str(report["best"]),
    }  # fmt: skip
    told.write_text(json.dumps(facts))
    return facts


def first_models(events: Path) -> tuple[float, float]:
    """Seconds until an artifact was on disk, and until one clearly better than the baseline was."""
    values: dict[int, float] = {}
    written: list[tuple[float, int]] = []
    for event in map(json.loads, events.read_text().splitlines()):
        if event["kind"] == "trial_finished":
            values[event["trial"]] = event["value"]
        elif event["kind"] == "artifact_written":
            written.append((event["time_seconds"], event["trial"]))
    baseline = values[0]  # the first trial, always
    clearly = baseline + 0.1 * (1.0 - baseline)
    return written[0][0], next((at for at, trial in written if values[trial] >= clearly), float("inf"))


def line_of(name: str, minutes: str, metric: str, runs: list[dict]) -> list[str]:
    """A line of the table: medians over the seeds, the largest peak, and the score and the model of each seed."""

    def middle(field: str) -> float:
        return statistics.median(run[field] for run in runs)

    return [
        name, minutes, metric, f"{middle('value'):.3f}", " ".join(f"{run['value']:.3f}" for run in runs),
        f"{middle('seconds'):.0f}", f"{middle('first'):.1f}", f"{middle('better'):.1f}",
        f"{max(run['peak'] for run in runs) / 1e9:.2f}", f"{middle('size') / 1e6:.1f}",
        ", ".join(dict.fromkeys(run["model"] for run in runs)),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of `thrifty run` on sets with given test parts.")
    parser.add_argument("sets", type=Path)
    parser.add_argument("asked", nargs="*", metavar="NAME MINUTES METRIC")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    asked = given.asked or [word for line in DEFAULT for word in line.split()]
    sets = [asked[i : i + 3] for i in range(0, len(asked), 3)]
    told: dict[tuple[str, ...], list[dict]] = {tuple(one): [] for one in sets}
    with tempfile.TemporaryDirectory() as made:
        for seed in given.seeds:
            for one in sets:
                told[tuple(one)].append(measure(given.sets, *one, seed, given.keep or Path(made)))
                print(seed, " | ".join(line_of(*one, told[tuple(one)][-1:])), flush=True)
    runs = "seeds " + " ".join(map(str, given.seeds)) + "; medians, and the largest peak"
    lines = table_of(HEAD, [line_of(*one, told[tuple(one)]) for one in sets])
    put("Development sets", "python benchmarks/development_sets.py SETS", lines, runs)


if __name__ == "__main__":
    main()
