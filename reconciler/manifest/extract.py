"""Fields that content files carry themselves: HTML titles and meta tags, Markdown front matter.

Works on the first bytes of a file and never fails on bad HTML: a parser that browsers would
recognise decides. It knows nothing of files or items.
"""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Set
from typing import Any

from reconciler.problems import Problem

# Longer values are cut: a title that runs on to the end of the file is a missing end tag.
MAX_VALUE = 4096
STRAY_SIZE = 32 << 10
_HTML = frozenset({".html", ".htm", ".xhtml", ".shtml"})
_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"})
_TAG = re.compile(r"<(?P<end>/?)(?P<name>!--|[A-Za-z][^\s/>]*)")
_TAG_REST = re.compile(r"""(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_HEAD_TAGS = frozenset({"html", "head", "title", "meta", "link", "base", "script", "style", "noscript"})
_RAW_TAGS = {name: re.compile(rf"</{name}[^>]*+>?", re.IGNORECASE) for name in ("title", "script", "style", "noscript")}
_CHARSET = re.compile(rb"<meta[^>]{0,512}?charset\s{0,8}=\s{0,8}[\"']?\s{0,8}([A-Za-z0-9_.:\-]{1,40})", re.IGNORECASE)
# What browsers read under these names (WHATWG Encoding); any other name is read as UTF-8, and never
# handed to `codecs`, which also knows things like "zlib" and "unicode_escape".
_CHARSETS = {
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
    **{f"cp125{n}": f"cp125{n}" for n in range(9)},
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j"), "cp932"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "korean"), "cp949"),
    **{name: name for name in ("big5", "euc-jp", "iso-2022-jp", "koi8-r", "koi8-u")},
    "iso-8859-9": "cp1254",
    "macintosh": "mac_roman",
    "windows-874": "cp874",
    "tis-620": "cp874",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_FRONT_START = re.compile(r"---[ \t]*(?:\n|$)")
_FRONT_END = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
# Characters that YAML forbids and that the fast parser lets through.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def extract_fields(path: str, head: bytes, needs: Set[str], *, whole: bool) -> dict[str, Any] | Problem:
    """Return the needed ones of `{"html": ..., "front": ...}`; a file of another kind has neither inside."""
    extension = posixpath.splitext(path)[1].lower()
    binary = b"\0" in head[:1024] and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    fields: dict[str, Any] = {}
    if "html" in needs:
        fields["html"] = {} if binary or extension in _MARKDOWN else html_fields(head)
    if "front" in needs:
        fields["front"] = {}
        if not binary and extension not in _HTML:
            fields["front"], problems = markdown_fields(head, whole=whole)
            if problems:
                return problems[0]
    return fields


def decode_html(head: bytes) -> str:
    """Return the text of HTML: by its byte order mark, else its meta charset, else UTF-8; bad bytes replaced."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "replace")
    found = _CHARSET.search(head, 0, 4096)
    name = found[1].decode("ascii").lower() if found else ""
    return head.decode(_CHARSETS.get(name, "utf-8"), "replace")


def html_fields(head: bytes) -> dict[str, Any]:
    """Return `title`, `lang` and `meta` (name or property in lower case -> content) as far as there are any.

    They are read from the page's head. White space is collapsed; of several tags of one name the
    first counts.
    """
    text = decode_html(head)
    start = _head_of(text)
    fields = _parsed(start)
    if "title" not in fields and len(start) < len(text):
        # Something stands before the title that belongs into the body. Parsers take quadratic time
        # for deep nesting, so this look has a bound.
        fields = _parsed(text[:STRAY_SIZE])
    return fields


def _parsed(text: str) -> dict[str, Any]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    fields: dict[str, Any] = {}
    # A title elsewhere belongs to a drawing (SVG).
    title = tree.css_first("head > title") or tree.css_first("body > title")
    if title is not None:
        fields |= _present("title", title.text())
    root = tree.root
    if root is not None:
        fields |= _present("lang", root.attributes.get("lang"))
    meta: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        attributes = node.attributes
        name = (attributes.get("name") or attributes.get("property") or "").strip().lower()
        if name and name not in meta:
            meta |= _present(name, attributes.get("content"))
    if meta:
        fields["meta"] = meta
    return fields


def _head_of(text: str) -> str:
    """Return the text up to the head's end tag, or to the first tag that opens the body by itself.

    Without `noscript`: browsers do not look into it, this parser would take it for the body.
    """
    kept: list[str] = []
    start = position = 0
    while position >= 0 and (tag := _TAG.search(text, position)):
        name = tag["name"].lower()
        if name == "!--":
            position = text.find("-->", tag.end())
            continue
        if tag["end"] and name != "head":
            position = tag.end()
            continue
        if name not in _HEAD_TAGS or tag["end"]:
            return "".join((*kept, text[start : tag.start()]))
        rest = _TAG_REST.match(text, tag.end())
        if rest and name in _RAW_TAGS:
            rest = _RAW_TAGS[name].search(text, rest.end())
        position = rest.end() if rest else -1
        if name == "noscript":
            kept.append(text[start : tag.start()])
            start = position if rest else len(text)
    return "".join((*kept, text[start:]))


def markdown_fields(head: bytes, *, whole: bool = True) -> tuple[dict[str, Any], list[Problem]]:
    """Return the front matter of Markdown, with the first `# heading` as `title` where it has none.

    `whole` says that `head` is the whole file, which tells front matter that is too long from one
    that is never closed.
    """
    text = head.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    opened = _FRONT_START.match(text)
    if opened is None:
        return _with_heading({}, text), []
    found = _FRONT_END.search(text, opened.end())
    if found is None:
        what = "is not closed by a line `---`" if whole else f"is longer than {len(head)} bytes"
        return {}, [_front_problem(what, "close it with a line of three dashes.")]
    source = text[opened.end() : found.start()]
    if "\ufffd" in source:
        return {}, [_front_problem("is not UTF-8", "save the file as UTF-8.")]
    if _CONTROL.search(source):
        return {}, [_front_problem("holds a control character", "remove it.")]
    values, problem = _front_matter(source)
    return _with_heading(values, text[found.end() :]), [problem] if problem else []


def _front_matter(source: str) -> tuple[dict[str, Any], Problem | None]:
    from reconciler.manifest.read import read_documents

    # One line behind the opening `---`, so that its problems name lines of the file.
    documents, problems = read_documents(source.encode(), "", line=2)
    if problems:
        problem = problems[0]
        place = f" (line {problem.position.line} of the file)" if problem.position else ""
        return {}, _front_problem(f"cannot be read: {problem.what}{place}", problem.fix or "correct the YAML.")
    values: Any = documents[0] if documents else None
    if values is None:
        return {}, None
    if not isinstance(values, dict):
        return {}, _front_problem("is not a mapping", "write `key: value` lines between the `---` lines.")
    return _text_keys(values), None


def _text_keys(values: dict[Any, Any]) -> dict[str, Any]:
    return {
        key if isinstance(key, str) else str(key): _text_keys(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _with_heading(values: dict[str, Any], body: str) -> dict[str, Any]:
    if values.get("title") is None:
        heading = _first_heading(body)
        if heading:
            return values | {"title": heading}
    return values


def _first_heading(body: str) -> str:
    fence = ""
    for line in body.split("\n"):
        marked = _FENCE.match(line)
        if fence:
            if marked and marked[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif marked:
            fence = marked[1]
        elif text := _heading(line):
            return text[:MAX_VALUE]
    return ""


def _heading(line: str) -> str:
    text = line.strip()
    if not text.startswith(("# ", "#\t")) or line.startswith(("    ", "\t")):
        return ""
    text = text[1:].strip()
    without = text.rstrip("#")
    if without == "" or (without != text and without[-1].isspace()):
        text = without
    return " ".join(text.split())


def _present(name: str, value: str | None) -> dict[str, str]:
    text = " ".join(value.split()) if value else ""
    return {name: text[:MAX_VALUE]} if text else {}


def _front_problem(what: str, fix: str) -> Problem:
    return Problem("front-matter", f"the front matter {what}", "its values would be missing from the item.", fix)
