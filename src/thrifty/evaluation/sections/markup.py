"""HTML that cannot forget to escape: every string is escaped unless it is already Markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from thrifty.evaluation.words import clean

_VOID = {"br", "img", "meta"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def join(*children: Child) -> Markup:
    """The children one after the other; strings are escaped, lists flattened, None left out."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(html.escape(clean(child), quote=True))
        else:
            parts.append(str(join(*child)))
    return Markup("".join(parts))


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """One element. `class_` is class, `data_x` is data-x; attributes that are None or False are left out."""
    texts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-") if key not in _CAMEL else key
        texts.append(f" {word}" if value is True else f' {word}="{html.escape(clean(str(value)), quote=True)}"')
    head = f"<{name}{''.join(texts)}>"
    return Markup(head if name in _VOID and not children else f"{head}{join(*children)}</{name}>")


_CAMEL = {"viewBox", "preserveAspectRatio"}


def table(
    head: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    numeric: Iterable[int] = (),
    wordy: Iterable[int] = (),
    aside: Iterable[int] = (),
    caption: str = "",
) -> Markup:
    """A table that scrolls sideways where it is too wide.

    numeric: columns set to the right. wordy: columns of sentences, which wrap. aside: columns a phone leaves out.
    """
    kinds = {"num": set(numeric), "wordy": set(wordy), "aside": set(aside)}

    def cell(kind: str, k: int, child: Child) -> Markup:
        classes = " ".join(name for name, columns in kinds.items() if k in columns)
        return tag(kind, child, class_=classes or None, scope="col" if kind == "th" else None)

    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption) if caption else None,
            tag("thead", tag("tr", [cell("th", k, h) for k, h in enumerate(head)])),
            tag("tbody", [tag("tr", [cell("td", k, c) for k, c in enumerate(row)]) for row in rows]),
        ),
        class_="scroll",
    )


def section(identity: str, title: str, *children: Child, lead: str = "") -> Markup:
    """A part of the page with a heading and, under it, a sentence that says what is to be seen."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *children, id=identity)
