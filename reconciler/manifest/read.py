"""The fast way in: YAML bytes to plain values, for every document on which the parsers cannot differ.

`yaml_rs` is thirty times as fast as the exact way (`manifest.locate`) and knows less: it drops tags,
reads `1_000` as a number and takes keys that are no text. So the text passes a gate of byte searches
first and the value a check afterwards; whatever either of them doubts goes the exact way, which alone
decides. A doubt costs time, never a different value. Nothing here knows what a manifest says, and
nothing here imports ruamel.yaml or pydantic until the exact way is taken.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left

import orjson
import yaml_rs

from reconciler.manifest.plain import BOM, MAX_EXPANDED, Plain
from reconciler.problems import Problem

_ALIAS_LIMITS = yaml_rs.AliasLimits(max_total_replayed_events=MAX_EXPANDED)

# One table sorts bytes for two searches: characters that YAML forbids become NUL, and what may stand
# before the first node of a line becomes "-". A line that opens more than 200 collections has to begin
# with that many of them; yaml_rs overflows the stack on some thousands.
_CLASSES = bytes(
    0 if (byte < 32 and byte not in b"\t\n\r") or byte == 127 else 45 if byte in b" \t-?:" else 97
    for byte in range(256)
)
_DEEP_LINE = b"-" * 200

# A plain scalar starts behind white space, a bracket, a comma or the colon of a quoted key.
_START = rb"\s\[{,:"
_END = rb"(?![^\s,\]}:])"
_BASE = re.compile(rb"0(?<![^" + _START + rb"+\-]0)[bBxXoO][0-9a-fA-F_]+" + _END)
_NUMERIC = rb"[-+0-9.eE]"
_GROUPED = re.compile(
    rb"_(?:"
    + b"|".join(rb"(?<=[" + _START + rb"]" + _NUMERIC + rb"{%d}_)" % width for width in range(24))
    + rb"|(?<="
    + _NUMERIC
    + rb"{24}_))[-+0-9._eE]*"
    + _END
)
# A tag stands where a node starts. "so !" in the midst of prose is none, unless an anchor precedes it.
_TAG = re.compile(rb"!(?:(?<![^\n\r\[{,:]!)|(?<=[-:?,\[{\n\r] !)|(?<=[\s]{2}!)|(?<=\t!))")
_TAG_AFTER_ANCHOR = re.compile(rb"!(?<=[ \t]!)")
# A tab between two word characters is text to everyone, but behind the name of an anchor, alias or tag;
# anywhere else it may be white space.
_TAB = re.compile(
    rb"\t(?:(?<![0-9A-Za-z_\x80-\xff\t]\t)|(?![0-9A-Za-z_\x80-\xff\t]))|[&*!](?<![^\s\[{,:][&*!])[^\s,\[\]{}]*\t"
)
# At the very start there is nothing for the other patterns to look back at.
_ODD_START = re.compile(rb"[+._%0-9]|-(?![ \r\n]|--)")
# yaml_rs takes "{key: | text}", where no plain text can begin so: a value in `written` begins with it.
_BAR = re.compile(rb'"[|>](?<=[:,\[{]"[|>])')
# A block scalar without any line, which yaml_rs reads as a line break at the end of a text.
_EMPTY_BLOCK = re.compile(rb"[|>][-+0-9]*(?:[ \t]+#[^\r\n]*)?\Z")
_LONE_RETURN = re.compile(rb"\r(?!\n)")
# C1 controls and NEL; line and paragraph separator; byte order mark and non-characters.
_ODD_UTF8 = (
    (b"\xc2", re.compile(rb"\xc2[\x80-\x9f]")),
    (b"\xe2", re.compile(rb"\xe2\x80[\xa8\xa9]")),
    (b"\xef", re.compile(rb"\xef(?:\xbb\xbf|\xbf[\xbe\xbf])")),
)
_ANCHOR = re.compile(rb"&(?<![^" + _START + rb"]&)([^\s,\[\]{}]+)")
_ALIAS = re.compile(rb"\*(?<![^" + _START + rb"]\*)([^\s,\[\]{}]+)")
_MARKER = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BEFORE_MARKER = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*\Z")


class Doubt(Exception):
    """The fast way cannot vouch for its value."""


def needs_exact(piece: bytes) -> bool:
    """Return whether the text has anything that the fast parser may read differently.

    Built of searches for single rare bytes; a regular expression runs only when its byte is there.
    """
    classes = piece.translate(_CLASSES)
    if b"\0" in classes or _DEEP_LINE in classes or _BASE.search(piece):
        return True
    if _ODD_START.match(piece) or (b"_" in piece and _GROUPED.search(piece)):
        return True
    if b"!" in piece and (_TAG.search(piece) or (b"&" in piece and _TAG_AFTER_ANCHOR.search(piece))):
        return True
    if (b"%" in piece and b"\n%" in piece) or (b"<" in piece and b"<<" in piece):
        return True
    if b"\t" in piece and _TAB.search(piece):
        return True
    if b"\r" in piece and _LONE_RETURN.search(piece):
        return True
    if not piece.isascii() and any(lead in piece and odd.search(piece) for lead, odd in _ODD_UTF8):
        return True
    last = piece.rstrip()
    last = last[last.rfind(b"\n") + 1 :]
    if (b"|" in last or b">" in last) and _EMPTY_BLOCK.search(last):
        return True
    return b"*" in piece and b"&" in piece and may_recurse(piece)


def anchors_and_aliases(text: bytes) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Return offset and name of all that may be an anchor, and of all that may be an alias."""
    if b"&" not in text or b"*" not in text:
        return [], []
    return (
        [(match.start(), match[1]) for match in _ANCHOR.finditer(text)],
        [(match.start(), match[1]) for match in _ALIAS.finditer(text)],
    )


def may_recurse(piece: bytes) -> bool:
    """Return whether an alias may stand inside of its own anchor, which yaml_rs reads as null.

    An anchored node ends at the latest where a line is indented less than the anchor's line, or as much
    unless it may continue a sequence there.
    """
    anchors, aliases = anchors_and_aliases(piece)
    if not anchors or not aliases:
        return False
    used: dict[bytes, list[int]] = {}
    for place, name in aliases:
        used.setdefault(name, []).append(place)
    for start, name in anchors:
        places = used.get(name, [])
        following = bisect_left(places, start)
        if following < len(places) and places[following] < _end_of_anchored(piece, start):
            return True
    return any(not name.replace(b"-", b"").replace(b"_", b"").isalnum() for _, name in anchors + aliases)


def _end_of_anchored(piece: bytes, start: int) -> int:
    line = piece.rfind(b"\n", 0, start) + 1
    before = piece[line:start]
    if not before.strip():
        # The anchor opens its line: of a whole block, maybe of the document.
        return len(piece)
    indent = len(before) - len(before.lstrip(b" "))
    in_sequence = before.lstrip(b" ").startswith(b"-")
    blanks = rb" {0,%d}" % indent
    deeper = rb"(?![ \r\n#])" if in_sequence else rb"(?![ \r\n#]|-[ \r\n])"
    if not in_sequence and indent:
        deeper = rb"(?:(?<! {%d})-|" % indent + deeper + rb")"
    end = re.compile(rb"\n" + blanks + deeper).search(piece, start)
    return end.end() if end else len(piece)


def read_documents(text: bytes, file: str, *, line: int = 1) -> tuple[list[Plain], list[Problem]]:
    """Return the values of all documents that are not empty, and all problems of the text.

    With problems the values are what could be made of the text; use them only to look for more.
    """
    text = text.removeprefix(BOM)
    if not text.strip():
        return [], []
    if _is_single(text):
        try:
            value = read_fast(text)
        except Doubt:
            pass
        else:
            if value is not None:
                return [value], []
    from reconciler.manifest.locate import read_exact

    return read_exact(text, file, line=line)


def _is_single(text: bytes) -> bool:
    """Return whether the text is one document: yaml_rs returns several as a list, like a sequence."""
    markers = list(_MARKER.finditer(text)) if text[:3] in (b"---", b"...") or _may_mark(text) else []
    if not markers:
        return True
    first = markers[0]
    return len(markers) == 1 and first[0] == b"---" and bool(_BEFORE_MARKER.match(text[: first.start()]))


def _may_mark(text: bytes) -> bool:
    return b"\n---" in text or b"\n..." in text


def read_fast(text: bytes) -> Plain:
    """Return the value of a text that is one document; raise `Doubt` where the exact way must decide."""
    if needs_exact(text):
        raise Doubt
    if not text.endswith(b"\n"):
        text += b"\n"
    try:
        value = yaml_rs.loads(text.decode(), parse_datetime=False, alias_limits=_ALIAS_LIMITS)
        # Refuses keys that are no text, integers beyond 64 bits and nesting beyond 254, and writes
        # infinity as null: one pass in C, a twentieth of the parse.
        written = orjson.dumps(value)
    except Exception as error:
        raise Doubt from error
    if (b"|" in text or b">" in text) and _BAR.search(written):
        raise Doubt
    if b"null" in written and _has_odd_float(value):
        raise Doubt
    return value


def _has_odd_float(value: Plain) -> bool:
    stack = [[value]]
    while stack:
        for child in stack.pop():
            kind = child.__class__
            if kind is dict:
                stack.append(child.values())
            elif kind is list:
                stack.append(child)
            elif kind is float and not math.isfinite(child):
                return True
    return False
