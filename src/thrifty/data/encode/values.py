"""Single values as they come from files, tables and people: what is missing, and what a value's text is."""

import json
from datetime import date, datetime
from typing import Any


def is_missing(value: Any) -> bool:
    """Whether a value is None, an empty or blank text, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    kind = type(value)
    if kind is str:
        return not value or value.isspace()
    if kind is float:
        return bool(value != value)
    if kind in (int, bool, bytes):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA has no truth value, nor has an array
        return kind.__name__ == "NAType"


def text_of(value: Any) -> str:
    """A value's text, "" when missing: whole numbers without a point (1.0 and "1" are one), dates ISO, lists JSON."""
    if type(value) is str:
        return value.strip()
    if is_missing(value):
        return ""
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).strip()
