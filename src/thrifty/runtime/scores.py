"""Scores made probabilities, members made one, probabilities made answers.

Shapes: N rows, K classes or labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thrifty.core.errors import StoreError

_SMALLEST = 1e-12


def probabilities_of(task: str, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax (classes) or sigmoid (multilabel) of scores / temperature; regression's values as they are, [N,K]."""
    if task == "regression":
        return scores_NK.astype(np.float64)
    logits_NK = scores_NK.astype(np.float64) / temperature
    if task == "multilabel":
        e_NK = np.exp(-np.abs(logits_NK))
        return np.where(logits_NK >= 0, 1.0, e_NK) / (1.0 + e_NK)
    e_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    e_NK /= e_NK.sum(axis=1, keepdims=True)
    return e_NK


def mixed(
    task: str, parts: Sequence[np.ndarray], members: Sequence[Mapping[str, Any]], temperature: float = 1.0
) -> np.ndarray:
    """The members' probabilities (or values) averaged by their weights, float64 [N,K].

    temperature: what the logits of averaged probabilities are divided by.
    """
    weights = [float(member["weight"]) for member in members]
    total: np.ndarray | None = None
    for scores_NK, member, weight in zip(parts, members, weights):
        part_NK = probabilities_of(task, scores_NK, float(member["temperature"]))
        if len(members) == 1:
            return part_NK
        part_NK *= weight / sum(weights)
        total = part_NK if total is None else total + part_NK
    assert total is not None
    if task == "regression" or temperature == 1.0:
        return total
    total = np.clip(total, _SMALLEST, 1 - _SMALLEST)
    logits_NK = np.log(total) - np.log1p(-total) if task == "multilabel" else np.log(total)
    return probabilities_of(task, logits_NK, temperature)


def decided(task: str, probabilities_NK: np.ndarray, decision: Mapping[str, Any] | None) -> np.ndarray:
    """Class codes int64 [N], or for multilabel bool [N,K].

    decision: {"kind": "threshold", "value": v}: the second of two classes where its probability is at least v;
    {"kind": "offsets", "values": [K]}: the largest log(probability) + value; {"kind": "thresholds", "values": [K]}:
    each label whose probability is at least its value; None: the likeliest class, labels from 0.5 up.
    """
    if decision is None:
        return probabilities_NK >= 0.5 if task == "multilabel" else probabilities_NK.argmax(axis=1)
    kind = decision["kind"]
    if kind == "threshold":
        return (probabilities_NK[:, 1] >= decision["value"]).astype(np.int64)
    if kind == "offsets":
        return (np.log(np.maximum(probabilities_NK, _SMALLEST)) + np.asarray(decision["values"])).argmax(axis=1)
    if kind == "thresholds":
        return probabilities_NK >= np.asarray(decision["values"])
    raise StoreError(f"a decision of unknown kind {kind!r}; this version has threshold, offsets and thresholds")
