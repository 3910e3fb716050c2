"""The exact way in: what a YAML text means by the core schema of YAML 1.2, where each node stands, and
everything that a manifest may not use, each problem with its place.

It takes the event stream of ruamel.yaml and composes it here, so that duplicate keys, tags and aliases
are seen where they stand, all of them in one pass, and nothing recurses or expands without bound. It
reads about a megabyte in three seconds: give it one entry (see `manifest.split`) where that is possible.
It knows nothing of what a manifest says.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from reconciler.manifest.plain import BOM, MAX_EXPANDED, Plain
from reconciler.problems import Position, Problem, Related, did_you_mean

Path = tuple[str | int, ...]

# What the JSON writer and the validator on the way behind can carry; yaml_rs stops near it as well.
MAX_DEPTH = 254

_BREAK = re.compile(r"\r\n|\n|\r")
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
# ruamel.yaml breaks lines at the first three, as YAML 1.1 did, refuses a tab inside of plain text, and
# takes "{?a: b}" for a complex key. YAML 1.2 does none of it, so they travel as private characters.
_DISGUISED = "\x85\u2028\u2029\t?"
_TEXT_MARK = re.compile(r"\?(?=[^\s,\[\]{}])")
_WORD = "[0-9A-Za-z_\x80-\U0010ffff]"
_INNER_TAB = re.compile(rf"[&*!](?<![^\s\[{{,:][&*!])[^\s,\[\]{{}}]*\t|(?<={_WORD})(\t+)(?={_WORD})")


@dataclass(slots=True)
class _Node:
    """A node of the text: `line` and `column` from 0, `end` the line and column behind it."""

    kind: Literal["scalar", "sequence", "mapping", "alias"]
    line: int
    column: int
    end: tuple[int, int]
    data: Plain = None
    plain: bool = False
    empty: bool = False
    size: int = 1
    height: int = 1
    children: list[_Node] = field(default_factory=list)
    keys: list[_Node] = field(default_factory=list)
    key: _Node | None = None


@dataclass(slots=True)
class _Text:
    """A decoded text and what it takes to speak of places in it."""

    text: str
    file: str
    first_line: int
    problems: list[Problem] = field(default_factory=list)
    _lines: list[str] | None = None

    def line(self, number: int) -> str:
        if self._lines is None:
            self._lines = _BREAK.split(self.text)
        return self._lines[number] if number < len(self._lines) else ""

    def position(self, line: int, column: int, length: int = 1) -> Position:
        return Position(self.file, self.first_line + line, column + 1, max(1, length))

    def report(self, problem: Problem, position: Position) -> None:
        self.problems.append(problem.at(position, self.line(position.line - self.first_line)))

    def node_position(self, node: _Node) -> Position:
        """Return where the content of a node stands: behind its anchor, up to the end of its line."""
        line, column = node.line, node.column
        text = self.line(line)
        if node.kind != "alias" and (anchor := re.compile(r"(?:[&!]\S*[ \t]+)+(?=[^\s#])").match(text, column)):
            column = anchor.end()
        if node.empty:
            return self.position(line, max(0, min(column, len(text) - 1)))
        if node.end[0] == line:
            return self.position(line, column, node.end[1] - column)
        return self.position(line, column, len(text.rstrip()) - column)


def read_exact(text: bytes, file: str = "", *, line: int = 1) -> tuple[list[Plain], list[Problem]]:
    """Return the values of all documents that are not empty, and all problems.

    `line` is the line of `file` on which the text starts. With problems the values are a best effort.
    Aliases share their value with the anchor: do not change it in place.
    """
    source, documents = _compose(text, file, line)
    values = [root.data for root in documents if not root.empty]
    return values, sorted(source.problems, key=lambda problem: problem.sort_key)


def position_of(
    text: bytes,
    path: Path,
    *,
    file: str,
    of: Literal["value", "key"] = "value",
    document: int = 0,
    line: int = 1,
) -> Position:
    """Return where the node at `path` stands, or its nearest ancestor that the text has.

    An alias stands where it is used, not at its anchor; an empty value stands at its key. `document`
    counts the documents that are not empty.
    """
    source, documents = _composed(text, file, line)
    roots = [root for root in documents if not root.empty]
    if document >= len(roots):
        return source.position(0, 0)
    node, key = roots[document], None
    for step in path:
        found = _child(node, step)
        if found is None:
            break
        key, node = found
    else:
        if of == "key" and key is not None:
            return source.node_position(key)
    if key is not None and node.empty:
        return source.node_position(key)
    return source.node_position(node)


def _child(node: _Node, step: str | int) -> tuple[_Node | None, _Node] | None:
    if node.kind == "sequence" and isinstance(step, int) and 0 <= step < len(node.children):
        return None, node.children[step]
    if node.kind == "mapping":
        for key, value in zip(node.keys, node.children, strict=False):
            if key.data == step and isinstance(step, str):
                return key, value
    return None


def excerpt(text: bytes, position: Position) -> str:
    """Return the whole line of the file's text on which the position is, without its line break.

    What looks like a secret is covered, sign by sign: manifests should hold none, and a mistake is no reason to
    repeat one in the log of a build.
    """
    lines = _lines_of(text)
    return _SECRET.sub(_covered, lines[position.line - 1]) if 0 < position.line <= len(lines) else ""


# Credentials in a URL, a text where only a mapping belongs, and whatever has the shape of a key (push-api.md 1.2).
_SECRET = re.compile(
    r"""(?<=://)[^\s/"'@]+(?=@)
    | (?<![\w.-])["']?api_?-?key["']?\s*[:=]\s*(?P<value>"[^"]*"|'[^']*'|[^\s{\[&*|>\#"'][^,}]*)
    | \bxx\w{8}-\w{4}-\w{4}-\w{4}-\w{12}\b""",
    re.IGNORECASE | re.VERBOSE,
)


def _covered(match: re.Match[str]) -> str:
    secret = match["value"] or match[0]
    return match[0].removesuffix(secret) + "*" * len(secret)


# A text with a thousand mistakes is asked for a thousand places: the last ones asked for stay at hand.


@lru_cache(maxsize=2)
def _lines_of(text: bytes) -> list[str]:
    return _BREAK.split(text.removeprefix(BOM).decode(errors="replace"))


@lru_cache(maxsize=2)
def _composed(data: bytes, file: str, first_line: int) -> tuple[_Text, list[_Node]]:
    return _compose(data, file, first_line)


# Composing


def _compose(data: bytes, file: str, first_line: int) -> tuple[_Text, list[_Node]]:
    data = data.removeprefix(BOM)
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        source = _Text(data.decode(errors="replace"), file, first_line)
        _report_not_utf8(source, data, error)
        return source, []
    source = _Text(decoded, file, first_line)
    sent = _without_forbidden(source)
    disguise = {ord(hidden): _unused(decoded, index) for index, hidden in enumerate(_DISGUISED)}
    tab, mark = disguise.pop(ord("\t")), disguise.pop(ord("?"))
    sent = _INNER_TAB.sub(lambda found: found[0] if found[1] is None else tab * len(found[1]), sent)
    sent = _TEXT_MARK.sub(mark, sent.translate(disguise))
    disguise |= {ord("\t"): tab, ord("?"): mark}
    composer = _Composer(source, {ord(stand_in): chr(code) for code, stand_in in disguise.items()})
    # The end of the file ends a line, so that a last line means the same with and without its break.
    composer.run(sent if sent.endswith(("\n", "\r")) else sent + "\n")
    return source, composer.documents


def _unused(text: str, index: int) -> str:
    start = 0xF8C0 + index
    return next(chr(code) for code in range(start, 0xE000, -8) if chr(code) not in text)


def _report_not_utf8(source: _Text, data: bytes, error: UnicodeDecodeError) -> None:
    lines = _BREAK.split(data[: error.start].decode(errors="replace"))
    utf16 = ": it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    problem = Problem(
        "not-utf8",
        f"the byte 0x{data[error.start]:02X} is no UTF-8 text here",
        "read in another encoding, names and texts would come out changed.",
        f"save the file as UTF-8{utf16}",
    )
    source.report(problem, source.position(len(lines) - 1, len(lines[-1])))


def _without_forbidden(source: _Text) -> str:
    """Report the characters that YAML forbids, and return the text with stand-ins of equal width."""
    found = list(_FORBIDDEN.finditer(source.text))
    starts = [0, *(match.end() for match in _BREAK.finditer(source.text))] if found else []
    line = 0
    for match in found[:100]:
        while line + 1 < len(starts) and starts[line + 1] <= match.start():
            line += 1
        source.report(
            Problem(
                "control-character",
                f"the character U+{ord(match[0]):04X} is not allowed in YAML",
                "it does not show in an editor, and parsers differ about what it means.",
                f'remove it, or write it as "\\u{ord(match[0]):04x}" in double quotes',
            ),
            source.position(line, match.start() - starts[line]),
        )
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", source.text) if found else source.text


class _Composer:
    """Builds nodes from events, with a stack of its own: deep nesting costs no Python frames."""

    def __init__(self, source: _Text, restore: dict[int, str]) -> None:
        self.source = source
        self.restore = restore
        self.documents: list[_Node] = []
        self.stack: list[_Node] = []
        self.anchors: dict[str, _Node] = {}
        self.expanded = 0

    def run(self, text: str) -> None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError

        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                if not self._take(event):
                    return
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            ended = re.search("(unexpected end of |got '<)stream", str(error.problem))
            opened = error.context_mark if ended else None
            self._report_syntax(str(error.problem or error.context), opened or mark)
        except (ValueError, OverflowError):
            # ruamel.yaml passes the number of an escape beyond Unicode to chr() and does not say where.
            beyond = re.compile(r"\\U(?!00(?:10|0[0-9A-Fa-f]))")
            line = next((n for n, text in enumerate(_BREAK.split(self.source.text)) if beyond.search(text)), 0)
            self._report("beyond-unicode", _Node("scalar", line, 0, (line, len(self.source.line(line)))))

    def _take(self, event: Any) -> bool:
        """Add one event to the tree; return whether to go on."""
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self.anchors, self.expanded = {}, 0
            if event.tags or event.version not in (None, (1, 2)):
                line = next(n for n in range(event.start_mark.line, -1, -1) if self.source.line(n)[:1] == "%")
                self._report("yaml-directive", _Node("scalar", line, 0, (line, len(self.source.line(line)))))
        elif kind == "ScalarEvent":
            return self._add(self._scalar(event), event)
        elif kind == "AliasEvent":
            node = self._node("alias", event)
            return self._alias(node, event.anchor) and self._add(node, None)
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            node = self._node("sequence" if kind[0] == "S" else "mapping", event)
            node.data = [] if node.kind == "sequence" else {}
            if not self._add(node, event):
                return False
            self.stack.append(node)
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            return self._close(event)
        return True

    def _node(self, kind: Literal["scalar", "sequence", "mapping", "alias"], event: Any) -> _Node:
        start, end = event.start_mark, event.end_mark
        return _Node(kind, start.line, start.column, (end.line, end.column))

    def _scalar(self, event: Any) -> _Node:
        node = self._node("scalar", event)
        value = event.value.translate(self.restore)
        node.plain = event.style is None
        node.empty = node.plain and not value
        try:
            # Escapes may write a character beyond the first plane as two halves.
            node.data = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self._report("half-character", node)
            node.data = value.encode("utf-8", "replace").decode()
        if node.plain:
            node.data, exact = _resolve(node.data)
            if not exact:
                self._report("number-not-exact", node, node.data)
        return node

    def _add(self, node: _Node, event: Any) -> bool:
        if event is not None and event.anchor:
            self.anchors[event.anchor] = node
        if event is not None and event.ctag is not None:
            self._report("yaml-tag", node, self.source.line(node.line)[node.column :].split()[0])
        if not self.stack:
            self.documents.append(node)
            return True
        if len(self.stack) + node.height > MAX_DEPTH:
            self._report("too-deep", node)
            return False
        parent = self.stack[-1]
        if parent.kind == "mapping" and parent.key is None:
            parent.key = node
        elif parent.kind == "mapping":
            assert parent.key is not None
            parent.keys.append(parent.key)
            parent.children.append(node)
            parent.key = None
        else:
            parent.children.append(node)
        return True

    def _alias(self, node: _Node, name: str) -> bool:
        target = self.anchors.get(name)
        if target is None or any(target is container for container in self.stack):
            self._report("alias-cycle" if target else "unknown-alias", node, name)
            return True
        node.data, node.size, node.height = target.data, target.size, target.height
        node.plain, node.children, node.keys = target.plain, target.children, target.keys
        self.expanded += target.size
        if self.expanded > MAX_EXPANDED:
            self._report("too-many-aliases", node)
            return False
        return True

    def _close(self, event: Any) -> bool:
        node = self.stack.pop()
        node.end = (event.end_mark.line, event.end_mark.column)
        node.size += sum(child.size for child in node.children) + sum(key.size for key in node.keys)
        node.height += max((child.height for child in node.children), default=0)
        if node.kind == "sequence":
            node.data.extend(child.data for child in node.children)
            return True
        first: dict[str, _Node] = {}
        for key, child in zip(node.keys, node.children, strict=True):
            if key.plain and key.data == "<<":
                self._report("merge-key", key)
            elif not isinstance(key.data, str):
                self._report("key-not-text", key)
            elif key.data in first:
                other = Related(self.source.node_position(first[key.data]), "it stands here first")
                self._report("duplicate-key", key, key.data, related=(other,))
            else:
                first[key.data] = key
                node.data[key.data] = child.data
        return True

    def _report(self, code: str, node: _Node, name: str = "", related: tuple[Related, ...] = ()) -> None:
        what, why, fix = _MESSAGES[code]
        position = self.source.node_position(node)
        shown = name or self.source.line(node.line)[position.column - 1 :][: position.length]
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        if code == "unknown-alias" and (near := did_you_mean(name, self.anchors)):
            fix = near
        code = "yaml-syntax" if code in ("half-character", "beyond-unicode") else code
        self.source.report(Problem(code, what.format(shown), why, fix.format(shown), related=related), position)

    def _report_syntax(self, said: str, mark: Any) -> None:
        line, column = (mark.line, mark.column) if mark else (0, 0)
        text = self.source.line(line)
        if not text and line and not self.source.line(line).strip():
            while line and not text.strip():
                line -= 1
                text = self.source.line(line)
            column = len(text.rstrip())
        position = self.source.position(line, column)
        indent = text[: len(text) - len(text.lstrip())]
        if "\\t" in said and "\t" in indent:
            position = self.source.position(line, indent.index("\t"), len(indent) - indent.index("\t"))
            what, why, fix = _MESSAGES["tab-indent"]
            self.source.report(Problem("tab-indent", what, why, fix), position)
            return
        for pattern, what, fix in _SYNTAX:
            if found := re.search(pattern, said):
                what, fix = what.format(*found.groups()), fix
                break
        self.source.report(Problem("yaml-syntax", what, "", fix), position)


def _resolve(text: str) -> tuple[Plain, bool]:
    """Return the value of a plain scalar by the core schema, and whether it can be had exactly."""
    if text in _WORDS:
        return _WORDS[text], True
    if _INT.match(text):
        digits = text.lstrip("+-0") or "0"
        if len(digits) > 24:
            return text, False
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text[2:] if base != 10 else text, base)
        return (number, True) if -(2**63) <= number < 2**64 else (text, False)
    if _FLOAT.match(text):
        value = float(text)
        return (value, True) if math.isfinite(value) else (text, False)
    return text, not _NOT_FINITE.match(text)


_MESSAGES = {
    "duplicate-key": (
        'the key "{}" stands twice in one mapping',
        "only one of the two could count, and readers differ on which.",
        "remove one of them, or join their values",
    ),
    "yaml-tag": (
        'the tag "{}" is no part of the manifest language',
        "a tag asks the reader to make something other than what is written.",
        "remove the tag; put the value in quotes when it must be text",
    ),
    "merge-key": (
        'the merge key "<<" is no part of YAML 1.2',
        "its entries would not be merged but stand under a key of that name.",
        "write the entries out, or use `defaults:`",
    ),
    "key-not-text": (
        'the key "{}" is not text',
        "names are text; YAML reads this one as another type.",
        "put the key in quotes",
    ),
    "number-not-exact": (
        'the number "{}" cannot be kept exactly',
        "numbers are kept in 64 bits and must be finite, so another one would be sent.",
        'quote it, so that it is text: "{}"',
    ),
    "tab-indent": (
        "a tab stands in the indentation",
        "YAML takes only spaces there, since a tab has no width of its own.",
        "replace the tab by spaces",
    ),
    "too-deep": (
        f"collections are nested more than {MAX_DEPTH} deep",
        "what is built of them could not be written or compared.",
        "write the value flatter",
    ),
    "too-many-aliases": (
        f"aliases expand to more than {MAX_EXPANDED:,} values",
        "a few lines could fill the memory in this way.",
        "name the value once, as a permission model or in `defaults:`, and refer to that",
    ),
    "unknown-alias": (
        'the alias "*{}" has no anchor before it',
        "an alias repeats what an earlier anchor of the same document marks.",
        'write "&{}" before the value that it should repeat, or quote the text if it is no alias',
    ),
    "alias-cycle": (
        'the alias "*{}" stands inside of its own anchor',
        "the value would contain itself without end.",
        "move the anchor, or write the value out",
    ),
    "yaml-directive": (
        "only the directive %YAML 1.2 is part of the manifest language",
        "a directive changes what the text below it means.",
        "remove the line that begins with %",
    ),
    "half-character": (
        "an escape gives half of a character",
        "\\ud800 to \\udfff mean something only in pairs.",
        "write the character itself",
    ),
    "beyond-unicode": (
        "an escape on this line is beyond Unicode",
        "characters end at \\U0010FFFF.",
        "write the character itself",
    ),
}

# What ruamel.yaml says, what we say, and a fix.
_SYNTAX = (
    (
        "mapping values are not allowed",
        'a ": " stands where no key can be',
        'put text with ": " in quotes; a key stands on its own line, indented like its neighbours',
    ),
    ("unexpected end of stream", "the quoted text that begins here is never closed", "close the quotes"),
    (
        "expected ',' or '(.)', but got '<stream end>'",
        'the bracket that opens here is never closed by "{}"',
        "close the bracket",
    ),
    ("found '<stream end>'", "the text ends where a bracket is still open", "close the bracket"),
    (
        r"character '(?:\\t|\t)' that cannot start",
        "a tab stands where YAML takes only spaces",
        "replace the tab by spaces; text that begins with one stands in double quotes, with \\t",
    ),
    ("character '(.+)' that cannot start", 'text cannot begin with "{}"', "put it in quotes"),
    ("unknown escape character (.+)", "the escape {} in double quotes means nothing", "use single quotes"),
    ("sequence entries are not allowed", "a list cannot begin on the line of its key", 'begin "- " on a new line'),
    (
        "expected <block end>",
        "this does not belong to the block before it",
        "indent it like the lines it belongs to; close quotes and brackets before it",
    ),
    (
        "more indented follow up line",
        "a blank line at the start of this block of text has spaces",
        "remove the spaces from the blank line",
    ),
    ("expected ':'", 'a key without ":"', 'write "key: value", or indent the text below its key'),
    ("(.+)", "this is no valid YAML: {}", "look at the line, and at the end of the one before it"),
)
