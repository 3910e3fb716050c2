"""Formats the YAML of a manifest: indentation, quoting and spacing, and nothing that has a meaning.

ruamel.yaml reads and writes the text with its comments, anchors and block scalars. What comes out is held against
what went in, by value, by event and by comment; a text that does not come back exactly is refused. Nothing here
knows what a manifest says.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from reconciler.manifest.plain import BOM
from reconciler.manifest.read import read_documents
from reconciler.problems import Position, Problem

if TYPE_CHECKING:
    from ruamel.yaml import YAML

WIDTH = 120
_INDENT = 2
_COMMENT = re.compile(r"#.*")
_TRAILING = re.compile(r"[ \t]+(?=\n)")
_BEHIND = re.compile(r"(?<=[^\s])[ \t]+#|\A[ \t]+#")
_BLANKS = re.compile(r"\n{3,}")
_MARKED = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*---(?=\s|\Z)")
_ESCAPED = re.compile(r'["\\]')
_WHY = "a text that does not come back as it was would mean something else, or lose what it tells people."


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """The text was left as it is; `problems` say why."""

    problems: tuple[Problem, ...]


def format_yaml(text: bytes, file: str) -> bytes:
    """Return the text as it should be written; a formatted one comes back unchanged.

    Lines end as the first line does. Raises Refused for what is no YAML of a manifest, and for what ruamel.yaml
    does not give back exactly.
    """
    values, problems = read_documents(text, file)
    if problems:
        raise Refused(tuple(problems))
    body = text.removeprefix(BOM)
    crlf = b"\r\n" in body[: body.find(b"\n") + 1]
    plain = body.decode().replace("\r\n", "\n")
    if "\r" in plain:
        raise Refused((_cannot("a carriage return stands within a line", file),))
    if not values:
        # Comments alone, or nothing: there is no indentation to speak of.
        made = "\n".join(line.rstrip(" \t") for line in plain.split("\n")).strip("\n")
        made += "\n" if made else ""
    else:
        made = _exactly(plain, file)
        made = _exactly(made, file) if made != plain else made
    encoded = (made.replace("\n", "\r\n") if crlf else made).encode()
    if read_documents(encoded, file) != (values, []):
        raise Refused((_cannot("its values would not be the same", file),))
    return encoded


def _exactly(text: str, file: str) -> str:
    """Return the text written anew, once. Raises Refused when anything but its form would change."""
    from ruamel.yaml.error import YAMLError

    try:
        made = _written(text)
        before, after = _seen(text), _seen(made)
    except (YAMLError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        # Whatever ruamel.yaml stumbles over, in whichever way: the text stays.
        raise Refused((_cannot(str(error).partition("\n")[0] or type(error).__name__, file),)) from None
    if before.events != after.events:
        raise Refused((_cannot("an anchor, an alias or the form of a block would not be the same", file),))
    for (line, comment), (_, other) in zip(before.comments, after.comments, strict=False):
        if comment != other:
            raise Refused((_cannot("a comment would not stay where it is", file, line),))
    if len(before.comments) != len(after.comments):
        raise Refused((_cannot("a comment would be lost", file),))
    return made


def _cannot(what: str, file: str, line: int = 1) -> Problem:
    return Problem(
        "cannot-format",
        f"the file stays as it is: {what}",
        why=_WHY,
        fix="write that place in a plainer way, such as a comment on a line of its own, or leave the file out.",
        position=Position(file, line, 1, 1),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a text has: its nodes in order, its comments in order, and where the insides of scalars are.

    A comment comes with its line and the number of the event that it stands before. The insides of a block are what
    is below its header.
    """

    events: list[tuple[object, ...]]
    comments: list[tuple[int, tuple[str, int]]]
    insides: list[tuple[int, int]]


@lru_cache(maxsize=3)
def _seen(text: str) -> _Seen:
    """Return what a text has. Raises YAMLError."""
    from ruamel.yaml import YAML

    seen = _Seen([], [], [])
    place, line = 0, 1
    for event in YAML(typ="safe", pure=True).parse(text):
        start, end = event.start_mark.index, event.end_mark.index
        if start > place:
            line = _collect(text, place, start, line, seen)
            place = start
        style = getattr(event, "style", None)
        block = style if style in ("|", ">") else None
        kind = event.__class__.__name__.removesuffix("Event")
        tag = str(getattr(event, "ctag", None) or "")
        seen.events.append((kind, getattr(event, "anchor", None), tag, getattr(event, "value", None), block))
        if kind == "Scalar" and end > place:
            head = text.index("\n", place, end) if block else place
            line = _collect(text, place, head, line, seen) + text.count("\n", head, end)
            seen.insides.append((head, end))
            place = end
    _collect(text, place, len(text), line, seen)
    return seen


def _collect(text: str, start: int, end: int, line: int, seen: _Seen) -> int:
    """Note the comments between two places; return the line of the second."""
    gap = text[start:end]
    if "#" not in gap:
        return line + gap.count("\n")
    for part in gap.split("\n"):
        if found := _COMMENT.search(part):
            seen.comments.append((line, (found[0].rstrip(), len(seen.events))))
        line += 1
    return line - 1


def _written(text: str) -> str:
    """Return what ruamel.yaml makes of the text, and then the space between its tokens as it should be."""
    from ruamel.yaml.error import ReusedAnchorWarning

    made = io.StringIO()
    yaml = _round_trip()
    yaml.explicit_start = bool(_MARKED.match(text))
    with catch_warnings():
        # YAML has nothing against it, and which anchor an alias means is compared afterwards, by value.
        simplefilter("ignore", ReusedAnchorWarning)
        yaml.dump_all(list(yaml.load_all(text)), made)
    return _comments_indented(_spaced(made.getvalue(), text), text)


def _round_trip() -> YAML:
    """Return a reader and writer to whom every plain scalar is its own text: `1_0`, `~` and dates stay as they are."""
    from ruamel.yaml import YAML
    from ruamel.yaml.emitter import RoundTripEmitter
    from ruamel.yaml.resolver import VersionedResolver

    class Emitter(RoundTripEmitter):
        """Never folds a scalar, prefers double quotes, and writes a list in a list without a gap."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._compact: dict[int, bool] = {}

        def process_scalar(self) -> None:
            width, self.best_width = self.best_width, 1 << 30
            super().process_scalar()
            self.best_width = width

        def choose_scalar_style(self) -> Any:
            style = super().choose_scalar_style()
            value = self.event.value
            if style == "'" and not _ESCAPED.search(value):
                return '"'
            if style == '"' and self.event.style and _ESCAPED.search(value) and self.analysis.allow_single_quoted:
                return style if "'" in value or "\n" in value else "'"
            return style

        def increase_indent(self, flow: bool = False, sequence: bool | None = None, indentless: bool = False) -> None:
            depth = len(self.indents.values)
            nested = bool(sequence) and not flow and self.sequence_context
            super().increase_indent(flow=flow, sequence=sequence, indentless=indentless)
            if self._compact.get(depth) and not indentless:
                self.indent = (self.indent or 0) - _INDENT
            self._compact[depth + 1] = nested

        def expect_block_sequence_item(self, first: bool = False) -> None:
            self.sequence_dash_offset = 0 if self._compact.get(len(self.indents.values)) else _INDENT
            super().expect_block_sequence_item(first)

    class Resolver(VersionedResolver):
        @property
        def versioned_resolver(self) -> dict[Any, Any]:
            return {}

    yaml = YAML()
    yaml.Emitter, yaml.Resolver = Emitter, Resolver
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=_INDENT, sequence=2 * _INDENT, offset=_INDENT)
    return yaml


def _spaced(made: str, source: str) -> str:
    """Return the text with the space outside of its scalars put in order, and blank lines where the source has them."""
    insides, known = _seen(made).insides, _seen(source).insides
    blank = [_is_parted(source[end:start]) for (_, end), (start, _) in pairwise(known)]
    pieces, place = [], 0
    for number, (start, end) in enumerate(insides):
        gap = _tidy(made[place:start])
        if number and len(known) == len(insides) and blank[number - 1] and "#" not in gap and "\n\n" not in gap:
            gap = gap.replace("\n", "\n\n", 1)
        pieces += [gap, made[start:end]]
        place = end
    pieces.append(_tidy(made[place:]))
    lines = "".join(pieces).lstrip("\n")
    # The last lines of a block may be its own.
    return lines if insides and insides[-1][1] == len(made) else lines.rstrip("\n") + "\n"


def _is_parted(gap: str) -> bool:
    return "#" not in gap and "\n\n" in _TRAILING.sub("", gap)


def _tidy(gap: str) -> str:
    return _BLANKS.sub("\n\n", _BEHIND.sub(" #", _TRAILING.sub("", gap)))


def _comments_indented(made: str, source: str) -> str:
    """Return the text with every comment on a line of its own as deep as it was, in blocks and not in columns."""
    lines = made.split("\n")
    before, after = _remarks(source), _remarks(made)
    if len(before) != len(after):
        return made
    for old, new in zip(before, after, strict=True):
        depth = max((number for number, column in enumerate(old.open) if column <= old.column), default=0)
        column = new.open[min(depth, len(new.open) - 1)] if new.open else 0
        lines[new.line] = " " * column + lines[new.line].lstrip(" ")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Remark:
    """A comment on a line of its own: its line from 0, its column, and the columns of the blocks around it."""

    line: int
    column: int
    open: tuple[int, ...]


def _remarks(text: str) -> list[_Remark]:
    within: set[int] = set()
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for start, end in _seen(text).insides:
        within.update(range(bisect_right(starts, start), bisect_left(starts, end)))
    found: list[_Remark] = []
    waiting: list[tuple[int, int]] = []
    stack: list[int] = []
    for number, line in enumerate(text.split("\n")):
        bare = line.lstrip(" ")
        column = len(line) - len(bare)
        if number in within or not bare.strip():
            continue
        if bare.startswith("#"):
            waiting.append((number, column))
            continue
        columns = [column]
        while bare.startswith("- "):
            shorter = bare[1:].lstrip(" ")
            columns.append(columns[-1] + len(bare) - len(shorter))
            bare = shorter
        outer = [known for known in stack if known < column]
        # What may be around a comment: blocks that are open before it and not deeper than needed behind it.
        around = tuple(known for known in stack if known >= column) if waiting else ()
        found += [_Remark(line, at, (*around,) if around else (column,)) for line, at in waiting]
        waiting = []
        stack = [*outer, *columns]
    found += [_Remark(line, at, tuple(stack) or (0,)) for line, at in waiting]
    return found
