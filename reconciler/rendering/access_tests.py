"""What came of the access tests: as text, as a JSON document, and as JUnit XML for build servers.

Every failure is told with the person, the item and the chain that decides. It knows nothing of how that was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from reconciler.model.accesstest import AccessTest
from reconciler.permissions.checks import Coverage, Finding, Kind, Result
from reconciler.problems import Position, Problem, Severity
from reconciler.rendering.access import Reason, reason_document, reason_lines, reason_text, short
from reconciler.rendering.values import count, shown_value, visible

FORMAT_VERSION = "1.0"

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MORE = {
    Kind.SEEN: ("more pair of somebody and an item that they see", "more pairs of somebody and an item that they see"),
    Kind.UNSEEN: (
        "more pair of somebody and an item that they do not see",
        "more pairs of somebody and an item that they do not see",
    ),
    Kind.NO_ITEM: ("more pattern without items", "more patterns without items"),
    Kind.NOBODY: ("more pattern without people", "more patterns without people"),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A test that was run: where it stands, what came of it, and why, for findings about a person and an item."""

    position: Position
    result: Result
    reasons: Sequence[Reason | None]
    """One for each finding of the result, None where there is nothing to explain or nobody asked."""


@dataclass(frozen=True, slots=True)
class Untested:
    """What no test speaks of: addresses of items, and a canonical identity of each person."""

    items: Sequence[str]
    people: Sequence[str]


def title(test: AccessTest) -> str:
    """Return a test in one line."""
    who = ", ".join(map(short, test.who))
    parts = [f"{who} can view {_listed(test.can_view)}"] if test.can_view else []
    if test.cannot_view:
        parts.append(f"{who} cannot view {_listed(test.cannot_view)}")
    if test.only_visible_to is not None:
        allowed = ", ".join(map(short, test.only_visible_to)) or "nobody"
        parts.append(f"{_listed(test.items or ('**',))} only visible to {allowed}")
    return visible("; ".join(parts) + _where(test))


def _listed(patterns: Iterable[str]) -> str:
    return ", ".join(patterns)


def _where(test: AccessTest) -> str:
    said = ", ".join(f"{key} is {shown_value(value)}" for key, value in sorted(test.where.items()))
    return f" where {said}" if said else ""


def finding_text(finding: Finding, test: AccessTest) -> str:
    """Return what a finding says, in one line."""
    if finding.kind is Kind.NO_ITEM:
        return f"no item matches {visible(finding.subject + _where(test))}: it tests nothing"
    if finding.kind is Kind.NOBODY:
        return f"there is nobody in {visible(short(finding.subject))}: it tests nothing"
    uri = visible(finding.subject.split("/", 2)[2])
    source = visible(finding.subject.split("/", 2)[1])
    if not finding.certain:
        return f"{_person(finding)} may see {uri} of {source}: the documents leave open whether they do"
    does = "sees" if finding.kind is Kind.SEEN else "does not see"
    return f"{_person(finding)} {does} {uri} of {source}"


def _person(finding: Finding) -> str:
    if finding.identity is None:
        return "whoever did not log in"
    if finding.stranger:
        return visible(f"anybody at {finding.identity.rpartition('@')[2]}")
    return visible(short(finding.identity))


def tests_lines(ran: Sequence[Ran], coverage: Coverage, untested: Untested | None = None) -> Iterator[str]:
    """Yield the outcome as text: the tests that fail with why, then how many do and what no test speaks of.

    What that is, item by item and person by person, is told where `untested` is given; so in the other formats.
    """
    for test in ran:
        result = test.result
        if not result.passed:
            yield f"{visible(str(test.position))}: failed: {title(result.test)}"
            yield from (f"  {line}" for line in _failure_lines(test))
        for identity in result.unknown:
            yield f"{visible(str(test.position))}: note: {visible(short(identity))} is declared nowhere"
    if not ran:
        yield "There are no access tests."
    else:
        yield from _count_lines(ran, coverage)
    for address in untested.items if untested else ():
        yield f"  {visible(address)}"
    for identity in untested.people if untested else ():
        yield f"  {visible(short(identity))}"


def _count_lines(ran: Sequence[Ran], coverage: Coverage) -> Iterator[str]:
    failed = sum(not test.result.passed for test in ran)
    yield f"{count(len(ran), 'access test')}: {len(ran) - failed:,} passed, {failed:,} failed"
    yield (
        f"No test speaks of {coverage.items_untested:,} of {count(coverage.items, 'item')}"
        f" and {coverage.people_untested:,} of {count(coverage.people, 'person', 'people')}"
    )


def _failure_lines(test: Ran) -> Iterator[str]:
    result = test.result
    for finding, reason in zip(result.findings, test.reasons, strict=True):
        yield finding_text(finding, result.test)
        if reason is not None:
            # The first line of the tree says again who sees what.
            yield from list(reason_lines(reason))[1:]
    for kind, number in sorted(result.counts.items()):
        rest = number - sum(finding.kind is kind for finding in result.findings)
        if rest:
            yield f"and {count(rest, *_MORE[kind])}"


def failure_problem(test: Ran) -> Problem:
    """Return a test that failed as an error of the manifests: its first finding with why, and how many more."""
    result = test.result
    first, reason = result.findings[0], test.reasons[0]
    rest = ((kind, number - (kind is first.kind)) for kind, number in sorted(result.counts.items()))
    more = "".join(f"; and {count(number, *_MORE[kind])}" for kind, number in rest if number)
    if reason is None:
        why = "a test of nothing holds whatever changes."
        fix = "correct the pattern, or take the test out."
    else:
        why = f"{reason_text(reason)}."
        fix = "change who may see it, or the test if that asks for too much; to see all that is wrong:"
        fix += "\n    reconciler test"
    return Problem(
        "access-test-failed", f"{finding_text(first, result.test)}{more}", why=why, fix=fix, position=test.position
    )


def unknown_problems(test: Ran) -> Iterator[Problem]:
    """Yield a note for each person of a test whom nobody declared: a mistyped name sees nothing, either."""
    for identity in test.result.unknown:
        yield Problem(
            "access-test-unknown",
            f"{visible(short(identity))} is declared nowhere",
            why="an access test that speaks of them may hold only because the name is mistyped.",
            fix="check the name; if they are meant to be unknown, all is well.",
            position=test.position,
            severity=Severity.NOTE,
        )


def tests_document(ran: Sequence[Ran], coverage: Coverage, untested: Untested | None = None) -> dict[str, Any]:
    """Return the outcome as JSON values."""
    listed = {"untested": {"items": untested.items, "people": untested.people}} if untested else {}
    return {
        "format_version": FORMAT_VERSION,
        "passed": sum(test.result.passed for test in ran),
        "failed": sum(not test.result.passed for test in ran),
        "tests": [_test_document(test) for test in ran],
        "coverage": {
            "items": coverage.items,
            "items_untested": coverage.items_untested,
            "people": coverage.people,
            "people_untested": coverage.people_untested,
            **listed,
        },
    }


def _test_document(test: Ran) -> dict[str, Any]:
    result = test.result
    return {
        "file": test.position.file,
        "line": test.position.line,
        "title": title(result.test),
        "passed": result.passed,
        "counts": {kind.value: number for kind, number in sorted(result.counts.items())},
        "unknown": [short(identity) for identity in result.unknown],
        "failures": [
            {
                "kind": finding.kind.value,
                "subject": finding.subject,
                "identity": finding.identity,
                "certain": finding.certain,
                "message": finding_text(finding, result.test),
                "why": reason_document(reason) if reason is not None else None,
            }
            for finding, reason in zip(result.findings, test.reasons, strict=True)
        ],
    }


def tests_junit(ran: Sequence[Ran], coverage: Coverage, untested: Untested | None = None) -> str:
    """Return the outcome as JUnit XML: a test case for each test, with its file and line.

    What no test speaks of is the suite's output.
    It holds no times: the same manifests give the same bytes.
    """
    failed = str(sum(not test.result.passed for test in ran))
    root = ElementTree.Element("testsuites", tests=str(len(ran)), failures=failed, errors="0")
    suite = ElementTree.SubElement(
        root, "testsuite", name="access tests", tests=str(len(ran)), failures=failed, errors="0", skipped="0"
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("items", "items_untested", "people", "people_untested"):
        ElementTree.SubElement(properties, "property", name=name, value=str(getattr(coverage, name)))
    for test in ran:
        file, line = test.position.file, str(test.position.line)
        case = ElementTree.SubElement(
            suite, "testcase", name=_xml(title(test.result.test)), classname=_xml(file), file=_xml(file), line=line
        )
        if not test.result.passed:
            lines = list(_failure_lines(test))
            failure = ElementTree.SubElement(case, "failure", message=_xml(lines[0]), type="access")
            failure.text = _xml("\n".join([f"{file}:{line}", *lines]))
    if untested:
        named = (*untested.items, *map(short, untested.people))
        ElementTree.SubElement(suite, "system-out").text = _xml("".join(f"{visible(name)}\n" for name in named))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def refused_junit(problems: Sequence[Problem]) -> str:
    """Return JUnit XML that says why no access test was run: one test case, in error for each problem."""
    root = ElementTree.Element("testsuites", tests="1", failures="0", errors="1")
    suite = ElementTree.SubElement(
        root, "testsuite", name="access tests", tests="1", failures="0", errors="1", skipped="0"
    )
    case = ElementTree.SubElement(suite, "testcase", name="manifests", classname="reconciler")
    for problem in problems:
        place = str(problem.position) if problem.position else problem.where
        told = visible(f"{place}: {problem.what}" if place else problem.what)
        ElementTree.SubElement(case, "error", message=_xml(told), type=problem.code)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Return text without what XML 1.0 cannot hold."""
    return _NO_XML.sub("\ufffd", text)
