"""Scores of `thrifty run` on a folder of data sets with given test parts; writes the table into benchmarks/results.md.

usage: python benchmarks/development_sets.py SETS [NAME MINUTES METRIC]...

SETS holds a folder for each set: `meta.json`, and either `train/` and `test/` (a folder per class) or `train.csv` and
`test.csv` with the column `label`; `drop` in meta.json names columns to ignore. Every run has an empty cache. The score
is `thrifty evaluate` on the test part, which the run never sees. Peak memory is the proportional memory (PSS) of the
whole process tree, polled twice a second. "first s" and "better s" are when an artifact was first on disk, and when it
first held a model that lacks at least a tenth less of a perfect validation score than the baseline does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import put, table_of

from thrifty.execution import process_tree

DEFAULT = (
    "img_fashion 4 accuracy", "txt_rt_sentiment 3 accuracy", "txt_tweet_rating 3 pearson",
    "txt_debian_section 3 f1_macro",
    "aud_keywords 4 accuracy", "aud_lid_tux 2 accuracy", "tab_letter 2 accuracy", "tab_satellite 2 accuracy",
    "tab_ozone 1 r2", "mm_wesnoth 2 f1_macro", "mm_fusion 5 accuracy",
)  # fmt: skip
HEAD = (
    "set", "minutes", "metric", "test score", "95 % interval", "seconds", "first s", "better s", "peak GB",
    "artifact MB", "model",
)  # fmt: skip


def measure(root: Path, name: str, minutes: str, metric: str) -> list[str]:
    """One line of the table: a run, and the score of its artifact on the test part."""
    folder = root / name
    meta = json.loads((folder / "meta.json").read_text())
    ending = "" if (folder / "train").is_dir() else ".csv"
    command = ["thrifty", "run", str(folder / f"train{ending}"), "--metric", metric, "--minutes", minutes]
    command += ["--target", "label"] if ending else []
    command += [word for column in meta.get("drop", []) for word in ("--set", f"schema.{column}=ignored")]
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        environment = {**os.environ, "THRIFTY_CACHE": str(Path(work) / "cache")}
        began, peak = time.monotonic(), 0
        process = subprocess.Popen([*command, "--out", str(run)], env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, process_tree.proportional_bytes([process.pid, *process_tree.descendants(process.pid)]))
            time.sleep(0.5)
        seconds = time.monotonic() - began
        if process.returncode:
            failed = f"exit {process.returncode}"
            return [name, minutes, metric, failed, "", f"{seconds:.0f}", "", "", f"{peak / 1e9:.2f}", "", ""]
        done = subprocess.run(
            ["thrifty", "evaluate", str(run), str(folder / f"test{ending}"), "--json"], capture_output=True, check=True
        )
        score = json.loads(done.stdout)["metrics"][metric]
        report = json.loads((run / "report.json").read_text())
        first, better = first_models(run / "events.jsonl")
    return [
        name, minutes, metric, f"{score['value']:.3f}", f"{score['low']:.3f} to {score['high']:.3f}", f"{seconds:.0f}",
        f"{first:.1f}", f"{better:.1f}", f"{peak / 1e9:.2f}", f"{report['artifact']['size_bytes'] / 1e6:.1f}",
        str(report["best"]),
    ]  # fmt: skip


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


def main(root: str, *asked: str) -> None:
    sets = [list(asked[i : i + 3]) for i in range(0, len(asked), 3)] or [line.split() for line in DEFAULT]
    rows = []
    for one in sets:
        rows.append(measure(Path(root), *one))
        print(" | ".join(rows[-1]), flush=True)
    put("Development sets", "python benchmarks/development_sets.py SETS", table_of(HEAD, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
