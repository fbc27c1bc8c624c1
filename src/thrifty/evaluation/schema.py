"""The schema of report.json and a small checker for it.

The schema is a dict in the words of JSON Schema that `problems` understands: type, required, properties,
additionalProperties, items, enum, minimum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from thrifty.evaluation.metrics import METRICS

_TYPES: Mapping[str, Any] = {
    "null": type(None), "boolean": bool, "integer": int, "number": (int, float), "string": str, "array": list,
    "object": dict,
}  # fmt: skip


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}, **more}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _map(values: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


STRING: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
SECONDS: dict[str, Any] = {"type": "number", "minimum": 0}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
INTERVAL = _object({"value": _or_null(NUMBER), "low": _or_null(NUMBER), "high": _or_null(NUMBER)})
SCORES = {"type": ["object", "null"], "additionalProperties": INTERVAL, "propertyNames": {"enum": list(METRICS)}}

CANDIDATE = _object(
    {
        "name": STRING,
        "status": {"type": "string", "enum": ["done", "failed", "skipped"]},
        "validation": _or_null(NUMBER),
        "seconds": SECONDS,
        "reason": STRING,
    },
    {"trials": COUNT, "best_trial": _or_null(COUNT)},
)
TRIAL = _object(
    {
        "trial": COUNT,
        "candidate": STRING,
        "status": {"type": "string", "enum": ["done", "failed", "stopped"]},
        "validation": _or_null(NUMBER),
        "started_seconds": SECONDS,
        "ended_seconds": SECONDS,
        "seconds": SECONDS,
        "why": STRING,
        "config": {"type": "object"},
        "curve": _array(_or_null(NUMBER)),
    },
    {"notes": {"type": "object"}},
)
ARTIFACT = _object(
    {
        "path": STRING,
        "size_bytes": COUNT,
        "precision": STRING,
        "latency_ms": _object({"p50": _or_null(NUMBER), "p95": _or_null(NUMBER)}),
        "parity": {"type": ["object", "null"]},
        "threads": COUNT,
        "pretrained": _array({"type": "object"}),
        "int8": {"type": ["object", "null"]},
    }
)
CLASS = _object(
    {
        "class": STRING,
        "rows": COUNT,
        "answered": COUNT,
        "precision": _or_null(NUMBER),
        "recall": _or_null(NUMBER),
        "f1": _or_null(NUMBER),
    }
)
SLICE = _object(
    {"slice": STRING, "rows": COUNT, "value": _or_null(NUMBER), "low": _or_null(NUMBER), "high": _or_null(NUMBER)},
    {"differs": {"type": ["string", "null"], "enum": ["worse", "better", None]}},
)
PAIR = _object({"true": STRING, "answered": STRING, "rows": COUNT, "share": NUMBER})
BIN = _object({"low": NUMBER, "high": NUMBER, "rows": COUNT, "stated": NUMBER, "came_true": NUMBER})
IMPORTANCE = _object(
    {
        "kind": {"type": "string", "enum": ["column", "kind"]},
        "name": STRING,
        "value": _or_null(NUMBER),
        "low": _or_null(NUMBER),
        "high": _or_null(NUMBER),
    }
)
AUGMENTATION = _object(
    {
        "candidate": STRING,
        "strength": NUMBER,
        "mixing": NUMBER,
        "trial": COUNT,
        "other_trial": _or_null(COUNT),
        "value": _or_null(NUMBER),
        "low": _or_null(NUMBER),
        "high": _or_null(NUMBER),
        "reason": STRING,
    }
)
SYMMETRY = _object(
    {
        "name": STRING,
        "keeps": BOOLEAN,
        "score": {"type": "string", "enum": ["accuracy", "R2"]},
        "before": NUMBER,
        "after": NUMBER,
        "error": NUMBER,
        "rows": COUNT,
    }
)
CLOSER = _object(
    {
        "part": {"type": "string", "enum": ["validation", "test"]},
        "classes": _array(CLASS),
        "confusion": {"type": ["array", "null"], "items": _array(COUNT)},
        "slices": _array(_object({"slicing": STRING, "slices": _array(SLICE)})),
        "reliability": {"type": ["object", "null"], "additionalProperties": {"type": ["array", "null"], "items": BIN}},
        "values": _or_null(
            _object(
                {
                    "true": _array(NUMBER),
                    "predicted": _array(NUMBER),
                    "absolute_error": _object({"p50": NUMBER, "p90": NUMBER, "p99": NUMBER}),
                }
            )
        ),
    },
    {"rows": COUNT, "confused": _array(PAIR), "slice_metric": {"type": "string", "enum": list(METRICS)}},
)

SCHEMA = _object(
    {
        "version": STRING,
        "task": {"type": "string", "enum": ["binary", "multiclass", "multilabel", "regression"]},
        "target": STRING,
        "metric": {"type": "string", "enum": list(METRICS)},
        "budget_seconds": _or_null(SECONDS),
        "spent_seconds": SECONDS,
        "stopped_because": {"type": "string", "enum": ["budget", "converged", "interrupted", "limits"]},
        "data": _object(
            {
                "rows": _object({"train": COUNT, "validation": COUNT, "test": COUNT}),
                "columns": _map(STRING),
                "bad_rows": COUNT,
            },
            {
                "classes": _or_null(_map(COUNT)),
                "problems": _array(STRING),
                "column_notes": _map({"type": "object"}),
                "bad_row_list": _array({"type": "object"}),
            },
        ),
        "candidates": _array(CANDIDATE),
        "best": _or_null(STRING),
        "validation": SCORES,
        "test": SCORES,
        "artifact": _or_null(ARTIFACT),
        "limits": _map(_object({"limit": _or_null(NUMBER), "measured": _or_null(NUMBER), "kept": BOOLEAN})),
        "environment": {"type": "object"},
    },
    {
        "name": STRING,
        "run": STRING,
        "metric_reason": STRING,
        "metric_direction": {"type": "string", "enum": ["maximize", "minimize"]},
        "trials": _array(TRIAL),
        "members": _array(_object({"candidate": STRING, "trial": COUNT, "weight": NUMBER, "temperature": NUMBER})),
        "temperature": NUMBER,
        "decision": {"type": ["object", "null"]},
        "decision_reason": STRING,
        "closer": _or_null(CLOSER),
        "importance": _array(IMPORTANCE),
        "augmentation": _array(AUGMENTATION),
        "symmetries": _array(SYMMETRY),
        "phases": _map(SECONDS),
        "command": _array(STRING),
        "seed": {"type": "integer"},
        "folds": _or_null(COUNT),
        "started": STRING,
        "notes": _array(STRING),
    },
    additionalProperties=False,
)


def problems(value: Any, schema: Mapping[str, Any] = SCHEMA, where: str = "report") -> list[str]:
    """What in `value` is not as the schema says, one sentence with its place each; empty when all is."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{where} is {type(value).__name__}, not {' or '.join(kinds)}"]
    if value is None:
        return []
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is {value!r}, not one of {schema['enum']}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where} is {value}, less than {schema['minimum']}")
    if isinstance(value, dict):
        found += _object_problems(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        for k, item in enumerate(value):
            found += problems(item, schema["items"], f"{where}[{k}]")
    return found


def _object_problems(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> list[str]:
    found = [f"{where} has no {name!r}" for name in schema.get("required", []) if name not in value]
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        allowed = schema.get("propertyNames", {}).get("enum")
        if not isinstance(name, str) or (allowed is not None and name not in allowed):
            found.append(f"{where} has the name {name!r}, not one of {allowed}")
        if name in known:
            found += problems(item, known[name], f"{where}.{name}")
        elif others is False:
            found.append(f"{where} has {name!r}, which the schema does not know")
        elif isinstance(others, Mapping):
            found += problems(item, others, f"{where}.{name}")
    return found


def _is(value: Any, kind: str) -> bool:
    """bool is no number here, and nan and infinities are none either."""
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _TYPES[kind])
