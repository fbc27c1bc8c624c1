"""From scores to probabilities, and from probabilities to the classes that are answered.

Legend: N rows, K classes or labels. A decision is applied to probabilities after temperature and ensembling, here and
in the artifact's runtime alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thrifty.core.errors import StoreError

SMALLEST_PROBABILITY = 1e-12


def probabilities_of(task: str, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Scores as a model gives them, made what metrics take.

    Classes: softmax of logits / temperature, [N, K] (also for two classes). Multilabel: sigmoid, [N, K]. Regression:
    the values themselves, [N].
    """
    if task == "regression":
        return np.asarray(scores_NK).reshape(len(scores_NK))
    logits_NK = np.asarray(scores_NK, dtype=np.float64) / temperature
    if task == "multilabel":
        e_NK = np.exp(-np.abs(logits_NK))
        return np.where(logits_NK >= 0, 1.0, e_NK) / (1.0 + e_NK)
    e_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return e_NK / e_NK.sum(axis=1, keepdims=True)


def logits_of(task: str, probabilities_NK: np.ndarray) -> np.ndarray:
    """Logits [N, K] whose `probabilities_of` are these: their logs, or for multilabel their log odds."""
    p_NK = np.clip(np.asarray(probabilities_NK, dtype=np.float64), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.log(p_NK) - np.log1p(-p_NK) if task == "multilabel" else np.log(p_NK)


def tempered(task: str, outputs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities whose logits are divided by the temperature; regression's values as they are."""
    if task == "regression" or temperature == 1.0:
        return outputs
    return probabilities_of(task, logits_of(task, outputs), temperature)


@dataclass(frozen=True)
class Decision:
    """How probabilities become classes where the likeliest class is not the best answer for the metric.

    threshold: two classes; the second is answered where its probability is at least `values[0]`.
    offsets: K classes; answered is the class of the largest log(probability) + values[k].
    thresholds: K labels; each is answered where its probability is at least values[k].
    """

    kind: str
    values: tuple[float, ...]

    def apply(self, probabilities_NK: np.ndarray) -> np.ndarray:
        """Class codes int64 [N], or for `thresholds` 0/1 int64 [N, K]."""
        if self.kind == "threshold":
            return (probabilities_NK[:, 1] >= self.values[0]).astype(np.int64)
        if self.kind == "thresholds":
            return (probabilities_NK >= np.asarray(self.values)).astype(np.int64)
        logs_NK = np.log(np.maximum(probabilities_NK, SMALLEST_PROBABILITY))
        return np.argmax(logs_NK + np.asarray(self.values), axis=1)

    def to_json(self) -> dict[str, Any]:
        if self.kind == "threshold":
            return {"kind": self.kind, "value": self.values[0]}
        return {"kind": self.kind, "values": list(self.values)}

    @staticmethod
    def from_json(value: Mapping[str, Any] | None) -> Decision | None:
        """The decision that `to_json` wrote; None stays None. Raises StoreError for a kind that is not known."""
        if value is None:
            return None
        kind = value.get("kind")
        if kind == "threshold":
            return Decision(kind, (float(value["value"]),))
        if kind in ("offsets", "thresholds"):
            return Decision(kind, tuple(float(v) for v in value["values"]))
        raise StoreError(f"decision of unknown kind {kind!r}; it must be threshold, offsets or thresholds")


def certain(codes: np.ndarray, num_columns: int) -> np.ndarray:
    """Probabilities float32 [N, K], 0 and 1, whose answers without a decision are these codes, [N] or [N, K]."""
    return codes.astype(np.float32) if codes.ndim == 2 else np.eye(num_columns, dtype=np.float32)[codes]


def decide(task: str, probabilities_NK: np.ndarray, decision: Decision | None = None) -> np.ndarray:
    """Class codes int64 [N] (multilabel: 0/1 [N, K]); without a decision the likeliest class, or labels from 0.5 up."""
    if decision is not None:
        return decision.apply(probabilities_NK)
    if task == "multilabel":
        return (probabilities_NK >= 0.5).astype(np.int64)
    if probabilities_NK.shape[1] == 2:
        return (probabilities_NK[:, 1] > probabilities_NK[:, 0]).astype(np.int64)
    return np.argmax(probabilities_NK, axis=1)
