"""What the text of a policy says of itself: its package, its rules and their lines, what it may not call.

It reads no more of Rego than that; the engine reads the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.problems import Position, Problem

VERDICTS = ("deny", "warn")

# What would give another answer each time, or would tell of the machine. The engine itself knows no way to files
# and to the network.
_CALLS = {
    "time": ("now_ns",),
    "opa": ("runtime",),
    "rand": ("intn",),
    "uuid": ("rfc4122",),
    "http": ("send",),
    "net": ("lookup_ip_addr",),
}
_FORBIDDEN = re.compile(
    "|".join(
        rf'\b{head}\s*(?:\.\s*(?:{"|".join(names)})\b|\[\s*["`](?:{"|".join(names)})["`]\s*\])'
        for head, names in _CALLS.items()
    )
)
# A comment, a raw text, or a text: where a name means nothing.
_PROSE = re.compile(r'#[^\n]*|`[^`]*`|"(?:[^"\\\n]|\\.)*"')
_COMMENT = re.compile(r'(`[^`]*`|"(?:[^"\\\n]|\\.)*")|#[^\n]*')
_WITH = re.compile(r"(?<![\w.])with(?=\s+(?:input|data|[a-z_][\w.]*)\b[^\n]*\bas\b)")
_PACKAGE = re.compile(
    r"^[ \t]*package[ \t]+([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)(?=[\s;]|\Z)", re.MULTILINE
)
_RULE = re.compile(r"^(?:default[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Module:
    """The text of one policy file, its package, and the lines on which its rules begin, in order."""

    file: str
    text: str
    package: str
    rules: tuple[tuple[str, int], ...]

    def has(self, rule: str) -> bool:
        """Whether a line begins with this rule."""
        return any(name == rule for name, _ in self.rules)

    def line(self, *rules: str) -> int:
        """Return the line on which the first of these rules begins, or 1."""
        return next((line for name, line in self.rules if name in rules), 1)


def read_module(file: str, text: str) -> tuple[Module, list[Problem]]:
    """Return what a policy file says, and what is wrong with it that its text alone shows."""
    bare = _PROSE.sub(_blank, text)
    package = _PACKAGE.search(bare)
    rules = tuple(
        (match[1], _line(text, match.start()))
        for match in _RULE.finditer(bare)
        if match[1] not in ("package", "import")
    )
    module = Module(file, text, package[1] if package else "", rules)
    problems = [] if package else [_no_package(file)]
    if "\0" in text:  # where the engine would take the text to end
        problems.append(
            Problem("policy-syntax", "the policy holds a NUL", position=_at(text, file, text.index("\0"), 1))
        )
    return module, [*problems, *_forbidden(file, text), *_replacing(file, bare)]


def position_of_range(text: str, file: str, offset: int, length: int) -> Position:
    """Return where the bytes of a text from `offset` on stand."""
    return _at(text, file, len(text.encode()[:offset].decode(errors="ignore")), length)


def _at(text: str, file: str, start: int, length: int) -> Position:
    return Position(file, _line(text, start), start - text.rfind("\n", 0, start), max(1, length))


def line_with(text: str, name: str) -> int | None:
    """Return the first line of code that has this name, None where none has."""
    match = re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", _PROSE.sub(_blank, text))
    return None if match is None else _line(text, match.start())


def _forbidden(file: str, text: str) -> Iterator[Problem]:
    # Texts stay: `http["send"]` is a call as well.
    for match in _FORBIDDEN.finditer(_COMMENT.sub(lambda found: found[1] or _blank(found), text)):
        if any(prose.start() <= match.start() < prose.end() for prose in _PROSE.finditer(text)):
            continue
        yield Problem(
            "policy-forbidden-call",
            f"a policy may not call {match[0]}",
            why="the same plan must get the same verdict everywhere, and a policy has no business beyond the plan.",
            fix="use what `input` says: `input.as_of` and `input.weekday` tell the time where it counts.",
            position=_at(text, file, match.start(), len(match[0])),
        )


def _replacing(file: str, bare: str) -> Iterator[Problem]:
    for match in _WITH.finditer(bare):
        yield Problem(
            "policy-forbidden-call",
            "a policy may not replace its input by `with`",
            why="the engine may crash over it.",
            fix="give the inputs of tests in a file NAME.test.yaml, for `reconciler policy test`.",
            position=_at(bare, file, match.start(), len("with")),
        )


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _no_package(file: str) -> Problem:
    return Problem(
        "policy-syntax",
        "the policy names no package",
        why="its rules are asked for by the name of their package.",
        fix="begin the file with a line such as `package reconciler.access`.",
        position=Position(file, 1, 1),
    )
