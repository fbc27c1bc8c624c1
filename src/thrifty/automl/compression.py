"""Int8, tried on the finished artifact and kept where it is smaller, faster as measured, and loses little."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.automl.session import Session
from thrifty.core.seeds import generator
from thrifty.evaluation.decisions import Decision, logits_of, probabilities_of
from thrifty.evaluation.metrics import METRICS, score
from thrifty.exporting import measure
from thrifty.exporting.artifact import replacing_folder
from thrifty.runtime.predictor import Predictor

CALIBRATION_ROWS = 64
LEAST_ROWS = 50  # that a loss is judged on
MOST_ROWS = 1000
LATENCY_SECONDS = 0.4
NOT_FASTER = 0.97  # of the float latency: what is above may be noise


@dataclass(frozen=True)
class Int8:
    """What came of it. loss: points of the metric (times 100; rmse and mae: percent) against the float artifact."""

    kept: bool
    reason: str
    loss: float | None = None
    rows: int = 0
    size_bytes: int | None = None
    latency_p50_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"tried": True, **vars(self)}


def try_int8(
    session: Session, held_out_VK: np.ndarray, decision: Decision | None, row_seconds: float, left: Callable[[], float]
) -> dict[str, Any] | None:
    """Quantizes the artifact and swaps it in when it pays; None when there is no time for it.

    held_out_VK: outputs of the validation rows by models that did not see them. row_seconds: what a raw row costs.
    left: seconds that this may take.
    """
    from thrifty.exporting.quantize import quantize

    splits = session.dataset.splits
    affordable = int((left() - 2.0 - 2 * LATENCY_SECONDS) / max(3.0 * row_seconds, 1e-6)) - CALIBRATION_ROWS
    rows = _sample(session, splits.validation_rows, min(MOST_ROWS, affordable))
    if len(rows) < min(LEAST_ROWS, len(splits.validation_rows)):
        return None
    folder = session.directory.artifact
    target = session.directory.path / "artifact-int8"
    others = np.setdiff1d(splits.development_rows, rows)
    learned = _sample(session, others if len(others) >= CALIBRATION_ROWS else splits.development_rows, CALIBRATION_ROWS)
    made, why = quantize(folder, target, session.dataset.columns(learned), len(learned), threads=session.facts.cores)
    if made is None:
        return Int8(False, why).to_json()
    try:
        held_out = held_out_VK[np.searchsorted(splits.validation_rows, rows)]
        found = _judged(session, held_out, decision, folder, target, rows)
        if found.kept:
            with replacing_folder(folder) as aside:
                shutil.copytree(target, aside, dirs_exist_ok=True)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return found.to_json()


def _sample(session: Session, rows: np.ndarray, most: int) -> np.ndarray:
    chosen = generator(session.request.seed, "int8").permutation(rows)[: max(0, most)]
    return np.sort(chosen)


def _judged(
    session: Session, held_out_NK: np.ndarray, decision: Decision | None, before: Path, after: Path, rows: np.ndarray
) -> Int8:
    """Compares the int8 folder with the float one on the same rows.

    The float one may have learned from them, and be so sure of them that nothing moves its answers. So what int8
    changes is put on outputs of models that had not seen the rows.
    """
    plain_NK, small_NK = (_outputs(session, folder, rows) for folder in (before, after))
    moved_NK = moved(session.task, held_out_NK, plain_NK, small_NK)
    plain, small = (_value(session, decision, outputs, rows) for outputs in (held_out_NK, moved_NK))
    sign = METRICS[session.metric].sign
    scale = 100.0 / max(abs(plain), 1e-12) if session.metric in ("rmse", "mae") else 100.0
    loss = scale * sign * (plain - small)
    sizes = [measure.size_bytes(folder) for folder in (before, after)]
    raw = session.raw_rows(rows[:32])
    times = [
        measure.latency(Predictor.load(folder, threads=session.request.threads), raw, seconds=LATENCY_SECONDS).p50
        for folder in (before, after)
    ]
    most = session.request.max_accuracy_loss
    if not np.isfinite(loss) or loss > most:
        reason = f"it loses {loss:.2f} points, more than {most:g}"
    elif sizes[1] >= sizes[0]:
        reason = "it is not smaller"
    elif times[1] > NOT_FASTER * times[0]:
        reason = f"it is not faster: {times[1]:.2f} ms a row against {times[0]:.2f} ms"
    else:
        reason = f"{times[0] / times[1]:.1f} times as fast, {sizes[0] / sizes[1]:.1f} times as small"
        return Int8(True, reason, float(loss), len(rows), sizes[1], times[1])
    return Int8(False, reason, float(loss) if np.isfinite(loss) else None, len(rows), sizes[1], times[1])


def moved(task: str, held_out_NK: np.ndarray, plain_NK: np.ndarray, small_NK: np.ndarray) -> np.ndarray:
    """Outputs changed as from `plain_NK` to `small_NK`: values by the difference, probabilities by that of logits."""
    if task == "regression":
        return held_out_NK + (small_NK - plain_NK)
    held_out, plain, small = (logits_of(task, p) for p in (held_out_NK, plain_NK, small_NK))
    return probabilities_of(task, held_out + (small - plain))


def _outputs(session: Session, folder: Path, rows: np.ndarray) -> np.ndarray:
    predictor = Predictor.load(folder, workers=session.facts.cores)
    outputs, _ = predictor.values(session.dataset.columns(rows), len(rows))
    return outputs[:, 0] if session.task == "regression" else outputs


def _value(session: Session, decision: Decision | None, outputs_NK: np.ndarray, rows: np.ndarray) -> float:
    y, weights = session.dataset.targets(rows), session.dataset.weights(rows)
    return score(session.metric, session.task, y, outputs_NK, decision, weights, session.positive)
