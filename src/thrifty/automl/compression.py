"""Int8: tried on the finished artifact, kept when it is smaller, faster and loses little."""

from __future__ import annotations

from typing import Any

from thrifty.automl.session import Session


def try_int8(session: Session, result: Any, left: Any) -> None:
    """Placeholder until quantize lands."""
