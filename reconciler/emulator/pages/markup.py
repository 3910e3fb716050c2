"""HTML as values: text is escaped here and nowhere else, and says what it holds that cannot be seen."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NewType

Markup = NewType("Markup", str)

_EMPTY = frozenset({"br", "hr", "img", "input", "link", "meta"})
# Controls, marks that turn the direction of what follows, spaces without width, halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def text(value: object) -> Markup:
    """Return `value` as text that no browser takes for markup; what could not be seen is named instead."""
    return Markup(html.escape(_UNSEEN.sub(_named, str(value)), quote=True))


def is_plain(value: str) -> bool:
    """Return whether all of a text can be seen."""
    return _UNSEEN.search(value) is None


def _named(match: re.Match[str]) -> str:
    return f"\u27e8U+{ord(match.group()):04X}\u27e9"


def attribute(value: str) -> Markup:
    """Return `value` for between double quotes, exactly as it is: forms send it back.

    Only NUL and halves of surrogate pairs are replaced, for HTML has no way to write them.
    """
    whole = value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return Markup(html.escape(whole, quote=True).replace("\r", "&#13;").replace("\n", "&#10;"))


def tag(name: str, /, *content: Markup, **attributes: str) -> Markup:
    """Return an element: its content comes from this module, its attributes are escaped here."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{attribute(value)}"' for key, value in attributes.items())
    if name in _EMPTY:
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{''.join(content)}</{name}>")


def join(parts: Iterable[Markup], between: str = "") -> Markup:
    """Return `parts` one after the other, with text between them."""
    return Markup(text(between).join(parts))
