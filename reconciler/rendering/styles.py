"""Colour for terminals: the only place that writes a terminal escape."""

from __future__ import annotations

_SGR = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text: str, style: str, *, color: bool) -> str:
    """Return `text` in a style when `color` is wanted, and as it is otherwise or without a style."""
    if not (color and text and style):
        return text
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m"
