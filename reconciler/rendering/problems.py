"""Problems as text for people, JSON for programs, and SARIF 2.1.0 for code hosts.

All three are sorted the same way. Text shows the source line with a caret; foreign characters pass
through `visible`, and a hostile name cannot start a line of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from reconciler import __version__
from reconciler.problems import Position, Problem, Severity
from reconciler.rendering.jsondoc import problem_document
from reconciler.rendering.styles import paint
from reconciler.rendering.values import ELLIPSIS, count, visible

FORMAT_VERSION = "1.0"
EXCERPT_CAP = 160

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems in the order in which every format tells them."""
    return sorted(problems, key=lambda problem: problem.sort_key)


def render_problems(problems: Sequence[Problem], *, color: bool = False) -> str:
    """Return the problems as text that ends with the line that counts them."""
    blocks = ["\n".join(problem_lines(problem, color=color)) + "\n" for problem in sort_problems(problems)]
    return "\n".join([*blocks, count_line(problems) + "\n"])


def problem_lines(problem: Problem, *, color: bool = False) -> Iterator[str]:
    """Yield the lines of one problem: where and what, the source line, other places, why, how to fix it."""
    place = str(problem.position) if problem.position is not None else problem.where
    start = f"{visible(place)}: " if place else ""
    label = paint(f"{problem.severity.value}[{visible(problem.code)}]", _STYLES[problem.severity], color=color)
    yield f"{start}{label}: {visible(problem.what)}"
    if problem.position is not None and problem.excerpt:
        yield from _excerpt(problem.position, problem.excerpt, _STYLES[problem.severity], color=color)
    for related in problem.related:
        yield f"  see: {visible(str(related.position))}: {visible(related.what)}"
    if problem.why:
        yield f"  why: {visible(problem.why)}"
    if problem.fix:
        first, *rest = problem.fix.split("\n")
        yield f"  fix: {visible(first)}"
        yield from (f"      {visible(line.strip())}" for line in rest if line.strip())


def render_problems_json(problems: Sequence[Problem]) -> str:
    """Return the problems as JSON text."""
    errors, warnings, _ = _counts(problems)
    document = {
        "format_version": FORMAT_VERSION,
        "problems": [problem_document(problem) for problem in sort_problems(problems)],
        "summary": {"errors": errors, "warnings": warnings},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def render_sarif(problems: Sequence[Problem], *, folder: str = "") -> str:
    """Return the problems as a SARIF 2.1.0 log; `folder` is the project's, seen from the repository's root."""
    ordered = sort_problems(problems)
    codes = sorted({problem.code for problem in ordered})
    rules = [_rule(code, ordered) for code in codes]
    places = {code: place for place, code in enumerate(codes)}
    log = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "reconciler", "version": __version__, "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem, places[problem.code], folder) for problem in ordered],
            }
        ],
    }
    return orjson.dumps(log, option=orjson.OPT_INDENT_2).decode() + "\n"


def count_line(problems: Iterable[Problem]) -> str:
    """Return `2 errors, 1 warning.`"""
    errors, warnings, notes = _counts(problems)
    told = f"{count(errors, 'error')}, {count(warnings, 'warning')}"
    return f"{told}, {count(notes, 'note')}." if notes else f"{told}."


def _counts(problems: Iterable[Problem]) -> tuple[int, int, int]:
    severities = [problem.severity for problem in problems]
    return (
        severities.count(Severity.ERROR),
        severities.count(Severity.WARNING),
        severities.count(Severity.NOTE),
    )


def _excerpt(position: Position, excerpt: str, style: str, *, color: bool) -> Iterator[str]:
    """Show a source line and mark the place in it, also where the line is long or holds odd characters."""
    begin = max(0, position.column - 1)
    line = excerpt.rstrip("\r\n")
    cut = max(0, begin - EXCERPT_CAP // 2) if len(line) > EXCERPT_CAP else 0
    shown = line[cut : cut + EXCERPT_CAP]
    before = (ELLIPSIS if cut else "") + visible(shown[: begin - cut])
    marked = visible(shown[begin - cut : begin - cut + max(1, position.length)])
    rest = visible(shown[begin - cut + max(1, position.length) :])
    more = ELLIPSIS if cut + EXCERPT_CAP < len(line) else ""
    yield f"{position.line:>5} | {before}{marked}{rest}{more}"
    carets = "^" * max(1, _columns(marked))
    yield f"{'':>5} | {' ' * _columns(before)}{paint(carets, style, color=color)}"


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _rule(code: str, problems: Sequence[Problem]) -> dict[str, Any]:
    first = next(problem for problem in problems if problem.code == code)
    words = code.replace("-", " ")
    rule: dict[str, Any] = {
        "id": code,
        "shortDescription": {"text": visible(words[:1].upper() + words[1:])},
        "defaultConfiguration": {"level": first.severity.value},
    }
    if first.why:
        rule["fullDescription"] = {"text": visible(first.why)}
    return rule


def _result(problem: Problem, rule: int, folder: str) -> dict[str, Any]:
    text = visible(problem.what)
    if problem.why:
        text += f"\nwhy: {visible(problem.why)}"
    if problem.fix:
        text += f"\nfix: {visible(' '.join(line.strip() for line in problem.fix.splitlines()))}"
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": problem.severity.value,
        "message": {"text": _sarif_text(text)},
    }
    if problem.position is not None:
        result["locations"] = [_location(problem.position, folder)]
    elif problem.where:
        result["locations"] = [{"logicalLocations": [{"fullyQualifiedName": visible(problem.where)}]}]
    if problem.related:
        result["relatedLocations"] = [
            {
                "id": number,
                **_location(related.position, folder),
                "message": {"text": _sarif_text(visible(related.what))},
            }
            for number, related in enumerate(problem.related, 1)
        ]
    return result


def _sarif_text(text: str) -> str:
    """Return text in which nothing is a placeholder or a link (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    text = text.replace("{", "{{").replace("}", "}}")
    return text.replace("[", "\\[").replace("]", "\\]") if "](" in text else text


def _location(position: Position, folder: str) -> dict[str, Any]:
    from urllib.parse import quote  # 5 ms to import, and only SARIF needs it

    path = "/".join(part for part in (folder.strip("/"), position.file) if part)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(path.replace("\\", "/"), safe="/~"), "uriBaseId": "%SRCROOT%"},
            "region": {
                "startLine": max(1, position.line),
                "startColumn": max(1, position.column),
                "endColumn": max(1, position.column) + max(1, position.length),
            },
        }
    }
