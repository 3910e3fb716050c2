"""HTML as values: text is escaped here and nowhere else."""

from __future__ import annotations

import html
from typing import NewType

Markup = NewType("Markup", str)

_EMPTY = frozenset({"br", "hr", "img", "input"})


def text(value: object) -> Markup:
    """Return `value` as text that no browser takes for markup."""
    return Markup(html.escape(str(value), quote=True))


def tag(name: str, *content: Markup, **attributes: str) -> Markup:
    """Return an element: its content comes from this module, its attributes are escaped here."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    if name in _EMPTY:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{''.join(content)}</{name}>")
