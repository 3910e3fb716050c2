"""What the index makes of an item's content for readers: its text, and a page to look at (push-api.md 2.6)."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

DATA_STREAMS = frozenset({"body", "original", "data"})
"""Names of the stored stream; no document lists them."""
_SILENT = frozenset({"script", "style", "head", "template"})
_MARKUP = frozenset({".html", ".htm", ".xhtml"})


class _Text(HTMLParser):
    """Collects what a reader of a page would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._hidden += tag in _SILENT

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _SILENT))

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.parts.append(data.strip())


def is_markup(content: bytes, extension: str | None) -> bool:
    """Return whether content is a page: its extension decides, and without one how it begins."""
    if extension:
        return extension.lower() in _MARKUP
    return content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def plain_text(content: bytes, extension: str | None) -> str:
    """Return the text of an item's content; other formats than text and HTML are not converted here."""
    text = content.decode("utf-8", "replace")
    if not is_markup(content, extension):
        return text
    parser = _Text()
    parser.feed(text)
    parser.close()
    return "\n".join(parser.parts)


def quickview_page(content: bytes, extension: str | None) -> str:
    """Return a page that shows an item's content."""
    text = content.decode("utf-8", "replace")
    return text if is_markup(content, extension) else f"<!doctype html><pre>{escape(text)}</pre>"
