"""One self-contained page: it loads nothing and runs no script."""

from __future__ import annotations

from pathlib import Path

from thrifty.evaluation.sections.markup import Child, Markup, tag
from thrifty.evaluation.words import clean

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)


def document(title: str, version: str, *parts: Child) -> str:
    """The whole file around `parts`."""
    footer = tag("footer", f"Made by Thrifty {version}. This file holds all it shows and loads nothing.")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", clean(title)),
        tag("style", Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *parts, footer)), lang='en')}\n"
