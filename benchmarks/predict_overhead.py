"""What one row through a loaded artifact costs beyond decoding, encoding and the sessions' own runs.

    python benchmarks/predict_overhead.py [RUN ROWS]

RUN is a run directory or an artifact, ROWS a file of its rows; without them three hand-made artifacts are measured.
Prints the median microseconds of a whole `predict` of one row, of its parts, and the difference (the aim: at most 200).
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from thrifty.runtime.graph import Graph
from thrifty.runtime.predictor import Predictor
from thrifty.runtime.sessions import Session


def measure(predictor: Predictor, rows: list[dict[str, Any]], calls: int = 2000) -> dict[str, float]:
    """Medians in microseconds over `calls` single rows."""
    whole, inside = np.zeros(calls), np.zeros(calls)
    spent = 0.0

    def timed(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent += time.perf_counter() - start
            return result

        return call

    graph: Graph = predictor._graph
    encoders = {type(step.encoder) for step in graph._steps if hasattr(step, "encoder")}
    patches = [patch.object(cls, "encode", timed(cls.encode)) for cls in encoders]
    patches.append(patch.object(Session, "run", timed(Session.run)))
    for row in rows[:20]:
        predictor.predict([row])
    for call in range(calls):
        single = [rows[call % len(rows)]]
        start = time.perf_counter()
        predictor.predict(single)
        whole[call] = time.perf_counter() - start
    overhead = np.zeros(calls)
    for one in patches:
        one.start()
    for call in range(calls):
        single, spent = [rows[call % len(rows)]], 0.0
        start = time.perf_counter()
        predictor.predict(single)
        overhead[call] = time.perf_counter() - start - spent
        inside[call] = spent
    for one in patches:
        one.stop()
    names = {"whole": whole, "encoders and sessions": inside, "overhead": overhead}
    return {name: round(float(np.median(values)) * 1e6, 1) for name, values in names.items()}


def hand_made(folder: Path) -> dict[str, tuple[Predictor, list[dict[str, Any]]]]:
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "runtime"))
    from runtime_models import build_image_model, build_text_model, text_rows

    from thrifty.data.column import Column, Meaning, Schema, Task
    from thrifty.exporting.artifact import Member, assemble

    rows = text_rows(200)
    inputs = tuple(Column(n, m, "") for n, m in zip(("text", "a", "b"), (Meaning.TEXT, Meaning.NUMBER, Meaning.NUMBER)))
    made = {}
    for name, classes, members in (("3 classes, 1 model", 3, 1), ("100 classes, 5 models", 100, 5)):
        models = [build_text_model(folder / name / str(seed), rows, classes, seed) for seed in range(members)]
        schema = Schema(inputs, "y", Task.MULTICLASS, tuple(f"class {i}" for i in range(classes)))
        artifact = assemble([Member(model) for model in models], schema, folder / name / "artifact")
        made[name] = (Predictor.load(artifact), rows)
    schema = Schema((Column("file", Meaning.IMAGE, ""),), "label", Task.BINARY, ("x", "y"), folder=True)
    artifact = assemble([Member(build_image_model(folder / "image"))], schema, folder / "image_artifact")
    pictures = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    made["images"] = (Predictor.load(artifact), [{"file": picture} for picture in pictures])
    return made


def main() -> None:
    if len(sys.argv) == 3:
        import pyarrow.csv

        rows = pyarrow.csv.read_csv(sys.argv[2]).to_pylist()
        print(json.dumps(measure(Predictor.load(sys.argv[1]), rows)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, (predictor, rows) in hand_made(Path(folder)).items():
            print(f"{name}: {json.dumps(measure(predictor, rows))}")


if __name__ == "__main__":
    main()
