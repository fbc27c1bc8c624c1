"""Numbers as people read them, the same in the terminal and on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from thrifty.evaluation.metrics import METRICS

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """The text without what no terminal, page or UTF-8 file should get: control characters and lone surrogates."""
    return _CONTROL.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))


def seconds_text(seconds: float | None) -> str:
    """9.4 s, 45 s, 3 min 58 s, 2 h 5 min."""
    if seconds is None:
        return "no limit"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def bytes_text(size: float) -> str:
    """MB are 10^6 bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 999.5 * factor else f"{size / factor:,.0f} {unit}"
    return f"{size:.0f} bytes"


def milliseconds_text(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "not measured"
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """1 row, 1,200 rows."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def value_text(name: str, value: float | None, width_of: float | None = None) -> str:
    """A metric's value: three decimals where it lies in -1 to 1, else as many digits as its size and interval carry."""
    if value is None or not math.isfinite(value):
        return "undefined"
    metric = METRICS.get(name)
    value = 0.0 if abs(value) < 5e-4 and metric is not None and metric.high <= 2 else value  # never -0.000
    if (metric is not None and metric.high <= 2) or name == "log_loss":
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    size = max(abs(value), 1e-300) if width_of is None else max(width_of, 1e-300)
    decimals = max(0, min(6, (1 if width_of is not None else 3) - math.floor(math.log10(size))))
    return f"{value:,.{decimals}f}"


def interval_texts(name: str, interval: Mapping[str, Any]) -> tuple[str, str]:
    """The value, and its interval as `0.906 to 0.918` (empty where there is none)."""
    value, low, high = (interval[k] for k in ("value", "low", "high"))
    if low is None or high is None:
        return value_text(name, value), ""
    width = high - low or None
    return value_text(name, value, width), f"{value_text(name, low, width)} to {value_text(name, high, width)}"


def augmentation_text(metric: str, one: Mapping[str, Any]) -> str:
    """What augmentation brought a candidate: `+0.012 [0.004, 0.020] accuracy`, or why that is not known."""
    if one["value"] is None:
        return str(one["reason"])
    width = None if one["low"] is None or one["high"] is None else one["high"] - one["low"] or None
    value, low, high = (value_text(metric, one[k], width) for k in ("value", "low", "high"))
    sign = "+" if one["value"] > 0 and not value.startswith("-") else ""
    between = "" if width is None else f" [{low}, {high}]"
    return f"{sign}{value}{between} {metric_title(metric)}"


def symmetry_text(one: Mapping[str, Any]) -> str:
    """Whether a change of images keeps labels: `left-right flips keep labels: accuracy 0.87 to 0.86`."""
    name = one["name"] if one["name"].endswith("turns") else f"{one['name']} flips"
    keeps = "keep labels" if one["keeps"] else "are not seen to keep labels"
    return f"{name} {keeps}: {one['score']} {one['before']:.2f} to {one['after']:.2f}"


def number_text(value: float) -> str:
    """A number of a table or a target: five digits, and no exponent below a billion."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.5g}"


def shown_limits(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The limits that are worth saying: those that were asked for, and the loss of an int8 artifact."""
    int8 = (report["artifact"] or {}).get("precision") == "int8"
    limits = report["limits"].items()
    return {
        name: limit for name, limit in limits if limit["limit"] is not None and (name != "max_accuracy_loss" or int8)
    }


def metric_title(name: str) -> str:
    """The metric's name for a headline: macro-F1, ROC AUC."""
    titles = {
        "balanced_accuracy": "balanced accuracy", "precision_macro": "macro precision", "recall_macro": "macro recall",
        "f1_micro": "micro-F1", "f1_macro": "macro-F1", "roc_auc": "ROC AUC", "average_precision": "average precision",
        "log_loss": "log loss", "brier": "Brier score", "ece": "calibration error", "r2": "R²", "rmse": "RMSE",
        "mae": "mean absolute error", "pearson": "Pearson's r", "spearman": "Spearman's rho",
    }  # fmt: skip
    return titles.get(name, name.replace("_", " "))


STOPPED = {
    "budget": "no time was left for more",
    "converged": "nothing left was worth its time",
    "interrupted": "interrupted",
    "limits": "the limits cannot be met",
}

LIMITS = {
    "max_latency_ms": ("latency", "ms"),
    "max_size_mb": ("size", "MB"),
    "max_accuracy_loss": ("loss by int8", "points"),
}


def limit_texts(name: str, limit: Mapping[str, Any]) -> tuple[str, str]:
    """What was measured of what a limit allows, and what came of it."""
    what, unit = LIMITS.get(name, (name, ""))
    if limit["measured"] is None:
        return f"{what} of {limit['limit']:g} {unit}".rstrip(), "not measured"
    asked = f"{what} {limit['measured']:.3g} of {limit['limit']:g} {unit}".rstrip()
    return asked, "kept" if limit["kept"] else f"missed by {limit['measured'] - limit['limit']:.3g} {unit}".rstrip()


def shares_text(members: Sequence[Mapping[str, Any]]) -> str:
    """What an ensemble is made of: `trees 85 % (4 models), kernel 15 %`, the largest share first."""
    shares: dict[str, list[float]] = {}
    for member in members:
        shares.setdefault(member["candidate"], []).append(member["weight"])
    total = sum(sum(weights) for weights in shares.values()) or 1.0
    ordered = sorted(shares.items(), key=lambda item: -sum(item[1]))
    models = {name: f" ({len(weights)} models)" if len(weights) > 1 else "" for name, weights in ordered}
    return ", ".join(f"{name} {100 * sum(weights) / total:.0f} %{models[name]}" for name, weights in ordered)


def rows_text(report: Mapping[str, Any]) -> str:
    """`800 train · 100 validation · 300 test rows`, or how they were cross-validated."""
    rows = report["data"]["rows"]
    if report.get("folds"):
        test = f" · {rows['test']:,} test rows" if rows["test"] else ""
        return f"{rows['train']:,} rows cross-validated in {report['folds']} folds{test}"
    return " · ".join(f"{rows[part]:,} {part}" for part in ("train", "validation", "test") if rows[part]) + " rows"


def scored_text(report: Mapping[str, Any], part: str, what: str) -> str:
    """How many rows of a part figures are of: `300 test rows`, or `300 of 4,000 test rows` where time ran out."""
    rows, closer = report["data"]["rows"], report.get("closer") or {}
    there = rows[part] or rows["train"]  # cross-validated: all that are trained on
    scored = closer.get("rows", there) if closer.get("part") == part else there
    of = f"{scored:,} of " if scored < there else ""
    return f"{of}{count_text(there, f'{what} row')}"


def task_text(report: Mapping[str, Any]) -> str:
    """What was learned, in one line: `10 classes from image`."""
    data = report["data"]
    kinds = {m for m in data["columns"].values() if m != "ignored"}
    order = ("image", "audio", "text", "timestamp", "category", "number")
    inputs = ", ".join(k for k in order if k in kinds)
    num_classes = len(data.get("classes") or {})
    what = {
        "binary": "two classes",
        "multiclass": f"{num_classes} classes",
        "multilabel": f"lists of {num_classes} labels",
        "regression": "a number",
    }[report["task"]]
    return f"{report['target']}: {what} from {inputs or 'no columns'}"
