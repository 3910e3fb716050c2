"""Cuts a manifest's text at its documents, top-level sections and entries, without parsing it.

So one entry can be hashed, parsed and located alone, and a huge file never sits parsed in memory. All
offsets count bytes of the file's text. What is not in plain block form is left whole: a section is
"opaque", or the file is not split at all.

Why a cut is sound: a section starts on a line whose first column holds a key, an entry on a line
indented exactly like the first entry. If the text up to such a line parses alone, nothing in it is left
open but block and plain scalars, and those end at a line indented so little. So if all pieces parse
alone they mean what they mean in the whole. What reaches across pieces is looked for: names that stand
twice, and aliases whose anchor is in another entry.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Literal

from reconciler.manifest.plain import BOM, Plain
from reconciler.manifest.read import Doubt, anchors_and_aliases, needs_exact, read_documents, read_fast
from reconciler.problems import Position, Problem

# Parsing is quickest, and bounded in memory, in texts of about this many bytes.
CHUNK = 128 * 1024

_KEY = (
    rb"(?P<plain>[A-Za-z][\w.@/+\-]*)|\"(?P<double>[^\"\\\r\n\t]*)\"|'(?P<single>[^'\r\n\t]*)'"
    rb")[ ]*:(?=[ \r\n]|\Z)"
)
_TOP_KEY = re.compile(rb"(?:" + _KEY + rb"(?P<rest>[^\r\n]*)(?:\r?\n|\Z)")
_DASH_INDENT = re.compile(rb"\n( *)-(?=[ \r\n])")
_BLANK_LINE = re.compile(rb" *(?:#|\r?\n|\Z)")
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_MARKER = re.compile(rb"(?P<kind>---|\.\.\.)[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_NOTHING = re.compile(rb"[ ]*(?: #[^\r\n]*)?\Z")
_BLANK_LINES = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*+(?:[ \t]*(?:#[^\n]*)?\Z)?")
_FIRST = re.compile(rb"(?P<indent> *)(?P<dash>-(?=[ \r\n]|\Z))?")
_NOT_TEXT = frozenset((b"true", b"True", b"TRUE", b"false", b"False", b"FALSE", b"null", b"Null", b"NULL"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `text[start:end]` starts at the beginning of a line and includes its "- " or key."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Section:
    """One top-level key of a document and all that is below it: `text[start:end]`.

    `document` counts the documents that are not empty. `bounds` are the offsets of all entries, in order,
    and the section's end behind them; empty for an opaque section: a scalar, a flow collection, or a
    block that cannot be cut with certainty. An entry includes the comments behind it.
    """

    name: str
    document: int
    start: int
    end: int
    style: Literal["sequence", "mapping", "opaque"]
    bounds: array[int]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, built anew: for a large section use `bounds`."""
        return tuple(Entry(start, end) for start, end in pairwise(self.bounds))

    def __len__(self) -> int:
        return max(0, len(self.bounds) - 1)


def split(text: bytes) -> tuple[Section, ...] | None:
    """Return the top-level sections of all documents in order, or `None` when they are not in plain form.

    Then, and whenever a piece cannot be read alone, `read_documents` reads the file whole.
    """
    base = len(BOM) if text.startswith(BOM) else 0
    if b"\r" in text and _LONE_RETURN.search(text):
        return None
    guess = _DASH_INDENT.search(text)
    lines = _Lines(text, base, len(guess[1]) if guess else 2)
    starts = [line for line in lines.other if text[line] not in b" \n\r#"]
    if _end_of_blank(text, base, len(text)) < (starts[0] if starts else len(text)):
        return None
    heads = _heads(text, starts)
    if not heads:
        return None if heads is None else ()
    sections: list[Section] = []
    gaps = [text[base : heads[0].start]]
    ends = [*(head.start for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        if head.name is None:
            # Behind a marker only comments may stand, or it would hold a node that is no mapping.
            if _end_of_blank(text, head.after, end) < end:
                return None
            gaps.append(b"\n" + text[head.start : end])
            continue
        style, bounds = _cut(lines, head.after, end) if head.is_open else ("opaque", array("Q"))
        sections.append(Section(head.name, head.document, head.start, end, style, bounds))
        gaps.append(text[head.start : bounds[0] if bounds else head.start])
    if len({(section.document, section.name) for section in sections}) < len(sections):
        return None
    # No entry holds the comments before it, so what is forbidden even there is looked for here.
    if any(map(needs_exact, gaps)) or not _aliases_stay_inside(text, sections):
        return None
    return tuple(sections)


class _Lines:
    """Where the lines start that may start an entry, found for all sections of a text in two passes.

    `dashed` are the lines that begin with `indent` spaces and a "- "; `other` all others that are
    indented by `indent` or less, with blank lines and comments among them.
    """

    def __init__(self, text: bytes, start: int, indent: int, end: int | None = None) -> None:
        self.text = text
        self.indent = indent
        end = len(text) if end is None else end
        dashed, other = _patterns(indent)
        self.dashed = array("Q", [match.start() + 1 for match in dashed.finditer(text, start, end)])
        self.other = array("Q", [match.end() for match in other.finditer(text, start, end)])
        if self.other and self.other[-1] >= end:
            self.other.pop()
        if start < end and text[start - 1 : start] != b"\n":
            first = _opener(indent, True).match(text, start)
            (self.dashed if first else self.other).insert(0, start)

    def between(self, start: int, end: int, indent: int) -> tuple[array[int], array[int]]:
        """Return the dashed and the other lines of a part, for the indentation of its entries."""
        if indent != self.indent:
            # A search starts at the break before its first line.
            part = _Lines(self.text, start - 1, indent, end)
            return part.between(start, end, indent)
        return _slice(self.dashed, start, end), _slice(self.other, start, end)


def _slice(offsets: array[int], start: int, end: int) -> array[int]:
    return offsets[bisect_left(offsets, start) : bisect_left(offsets, end)]


@cache
def _patterns(indent: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    blanks = rb" " * indent
    dash = blanks + rb"-(?=[ \r\n]|\Z)"
    return re.compile(rb"\n" + dash), re.compile(rb"\n(?!" + blanks + rb" |" + dash + rb")")


def _end_of_blank(text: bytes, start: int, end: int) -> int:
    """Return where the first line begins that is neither blank nor a comment."""
    blank = _BLANK_LINES.match(text, start, end)
    return blank.end() if blank else start


@dataclass(frozen=True, slots=True)
class _Head:
    """A line that starts a section, or a document marker, which has no name.

    The text below the line starts at `after`; the section `is_open` when nothing stands on its line.
    """

    document: int
    start: int
    after: int
    name: str | None = None
    is_open: bool = False


def _heads(text: bytes, starts: Sequence[int]) -> list[_Head] | None:
    """Return the heads among the lines that start in the first column, or `None` if others are there."""
    heads: list[_Head] = []
    document, in_document = -1, False
    for start in starts:
        if key := _TOP_KEY.match(text, start):
            name = _name(key)
            if name is None:
                return None
            document, in_document = document + (not in_document), True
            heads.append(_Head(document, start, key.end(), name, bool(_NOTHING.match(key["rest"]))))
        elif marker := _MARKER.match(text, start):
            if marker["kind"] == b"..." and not in_document:
                return None
            in_document = False
            heads.append(_Head(document, start, marker.end()))
        elif not (heads and heads[-1].is_open and _opener(0, True).match(text, start)):
            return None
    return heads


def _name(key: re.Match[bytes]) -> str | None:
    """Return a key's text, or `None` when it is none or not UTF-8."""
    raw: bytes = key["plain"] or key["double"] or key["single"] or b""
    if (key["plain"] is not None and raw in _NOT_TEXT) or not raw:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


@cache
def _opener(indent: int, dash: bool) -> re.Pattern[bytes]:
    if dash:
        return re.compile(rb" {%d}-(?=[ \r\n]|\Z)" % indent)
    return re.compile(rb" {%d}(?:" % indent + _KEY)


def _cut(lines: _Lines, body: int, end: int) -> tuple[Literal["sequence", "mapping", "opaque"], array[int]]:
    """Find the entries of the block below a section's line."""
    text = lines.text
    first = _end_of_blank(text, body, end)
    shape = _FIRST.match(text, first, end)
    if first >= end or shape is None:
        return "opaque", array("Q")
    indent = len(shape[1])
    dashed, other = lines.between(first, end, indent)
    if shape["dash"]:
        bounds = dashed
        if not all(_BLANK_LINE.match(text, line) for line in other):
            return "opaque", array("Q")
    else:
        found = _mapping_entries(text, other, indent)
        if not found:
            return "opaque", array("Q")
        bounds = found
    bounds.append(end)
    return ("sequence" if shape["dash"] else "mapping"), bounds


def _mapping_entries(text: bytes, lines: array[int], indent: int) -> array[int] | None:
    """Return where the entries of a block mapping start; `None` when that is not certain.

    A value may be a sequence that is indented no deeper than its key: those lines are not among these.
    """
    opens = _opener(indent, False).match
    bounds = array("Q")
    names: set[str] = set()
    for line in lines:
        if key := opens(text, line):
            name = _name(key)
            if name is None or name in names:
                return None
            names.add(name)
            bounds.append(line)
        elif not _BLANK_LINE.match(text, line):
            return None
    return bounds


def _aliases_stay_inside(text: bytes, sections: Sequence[Section]) -> bool:
    """Return whether each alias has its anchor earlier in the same piece, where there are any anchors."""
    anchors, aliases = anchors_and_aliases(text)
    if not anchors or not aliases:
        return True
    named: dict[bytes, list[int]] = {}
    for place, name in anchors:
        named.setdefault(name, []).append(place)
    pieces = sorted({start for section in sections for start in (section.start, *section.bounds)})
    for place, name in aliases:
        before = bisect_left(named.get(name, ()), place)
        piece = bisect_right(pieces, place)
        if not before or not piece or named[name][before - 1] < pieces[piece - 1]:
            return False
    return True


def digests(text: bytes, section: Section) -> list[bytes]:
    """Return the SHA-256 of each entry's bytes."""
    return [sha256(text[start:end]).digest() for start, end in pairwise(section.bounds)]


def line_of(text: bytes, offset: int) -> int:
    """Return the line, from 1, on which a byte stands."""
    return text.count(b"\n", 0, offset) + 1


def shift(position: Position, text: bytes, offset: int) -> Position:
    """Return the place in the whole text of a position in its piece that starts at byte `offset`."""
    column = position.column
    if position.line == 1:
        start = max(text.rfind(b"\n", 0, offset) + 1, len(BOM) if text.startswith(BOM) else 0)
        column += len(text[start:offset].decode(errors="replace"))
    return replace(position, line=position.line + line_of(text, offset) - 1, column=column)


# Reading


def try_entries(
    text: bytes, section: Section, indices: Iterable[int] | None = None, *, file: str = ""
) -> tuple[list[Plain], list[Problem]]:
    """Return the values of entries and all their problems; a value with a problem is a best effort.

    Entries are parsed many at a time: a run of entries is itself a block collection. A run that the fast
    way does not take is read entry by entry, so that one odd entry costs only itself.
    """
    chosen = range(len(section)) if indices is None else list(indices)
    values: list[Plain] = []
    problems: list[Problem] = []
    for run in _runs(section.bounds, chosen):
        piece = b"".join(text[section.bounds[first] : section.bounds[last + 1]] for first, last in run)
        count = sum(last - first + 1 for first, last in run)
        try:
            values.extend(_parsed(piece, section.style, count))
        except Doubt:
            for first, last in run:
                for index in range(first, last + 1):
                    value, found = _read_one(text, section, index, file)
                    values.append(value)
                    problems.extend(found)
    return values, problems


def _runs(bounds: array[int], chosen: Sequence[int]) -> Iterable[list[tuple[int, int]]]:
    """Group entries into lists of consecutive (first, last), about a chunk of text each.

    The last entry of a section may lack its line break, so it always ends its group.
    """
    group: list[tuple[int, int]] = []
    size = 0
    for index in chosen:
        if group and group[-1][1] == index - 1:
            group[-1] = (group[-1][0], index)
        else:
            group.append((index, index))
        size += bounds[index + 1] - bounds[index]
        if size >= CHUNK or index == len(bounds) - 2:
            yield group
            group, size = [], 0
    if group:
        yield group


def _parsed(piece: bytes, style: str, count: int) -> list[Plain]:
    """Return the values of the entries in a piece by the fast way, or raise `Doubt`."""
    value = read_fast(piece)
    if len(value) != count or not isinstance(value, list if style == "sequence" else dict):
        raise Doubt
    return value if isinstance(value, list) else [{key: child} for key, child in value.items()]


def _read_one(text: bytes, section: Section, index: int, file: str) -> tuple[Plain, list[Problem]]:
    start, end = section.bounds[index], section.bounds[index + 1]
    documents, problems = read_documents(text[start:end], file, line=line_of(text, start))
    if len(documents) == 1 and isinstance(documents[0], list | dict) and len(documents[0]) == 1:
        value = documents[0]
        return (value[0] if isinstance(value, list) else value), problems
    if not problems:
        problems = [
            Problem("yaml-syntax", "this entry cannot be read alone", position=Position(file, line_of(text, start), 1))
        ]
    return None, problems


def read_section(text: bytes, section: Section, *, file: str = "") -> tuple[Plain, list[Problem]]:
    """Return the whole value of a section, which may be opaque, and its problems."""
    documents, problems = read_documents(text[section.start : section.end], file, line=line_of(text, section.start))
    value = documents[0].get(section.name) if documents and isinstance(documents[0], dict) else None
    return value, problems
