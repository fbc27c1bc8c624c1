"""What random changes of the training rows brought, and which of them were found to keep labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrifty.evaluation.sections.markup import Child, Markup, section, table, tag
from thrifty.evaluation.words import augmentation_text, symmetry_text


def section_of(report: Mapping[str, Any]) -> Markup | None:
    """Each candidate trained with augmentation, and each change of images that was tried; None without any."""
    measured, symmetries = report.get("augmentation") or [], report.get("symmetries") or []
    if not measured and not symmetries:
        return None
    parts: list[Child] = []
    if measured:
        rows: list[list[Child]] = [
            [a["candidate"], f"{a['strength']:.2f}", f"{a['mixing']:.2f}", augmentation_text(report["metric"], a)]
            for a in measured
        ]
        parts.append(table(["candidate", "strength", "batches mixed", "brought"], rows, numeric=(1, 2), wordy=(3,)))
    if symmetries:
        lines = [tag("li", symmetry_text(one), f" (on {one['rows']:,} training rows)") for one in symmetries]
        parts.append(tag("div", tag("h3", "Mirroring and turning images"), tag("ul", lines)))
    lead = "Against the same training without it, on the same validation rows, with 95 % intervals." if measured else ""
    return section("augmentation", "Augmentation", *parts, lead=lead)
