"""Every lint over one desired state: findings as problems, each at its place.

Knows nothing of files: whoever calls it finds the places.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from reconciler.lints.identities import (
    groups_without_members,
    members_without_alias,
    nested_cycles,
    unused_identities,
)
from reconciler.lints.models import model_findings
from reconciler.lints.people import People
from reconciler.lints.subject import Found, Subject
from reconciler.model.place import Place
from reconciler.problems import Position, Problem, Related, Severity

Level = Literal["off", "warning", "error"]

LINTS = (
    "allow-always-denied",
    "allowed-unresolved",
    "denied-nobody",
    "denied-unresolved",
    "group-without-members",
    "member-without-alias",
    "nested-cycle",
    "unused-identity",
)

# Of each code so many are told, the others counted.
MAX_TOLD = 20

# What is known of a place: where it stands, and the whole line.
Placed = tuple[Position, str]


def lint(
    subject: Subject,
    levels: Mapping[str, Level],
    positions: Callable[[Collection[Place]], Mapping[Place, Placed]],
) -> list[Problem]:
    """Return what lints find, as warnings unless `levels` says otherwise of a code, in order of their places.

    `positions` is asked once, for all that is told; a place that it does not find is told by its address.
    """
    wanted = {code for code in LINTS if levels.get(code) != "off"}
    if not wanted:
        return []
    told, more = _chosen(_findings(subject), wanted)
    placed = positions({place for found in told for place in found.places})
    problems = sorted(
        (_problem(found, levels.get(found.code, "warning"), placed) for found in told),
        key=lambda problem: problem.sort_key,
    )
    return _counted(problems, more)


def _findings(subject: Subject) -> Iterator[Found]:
    names = {who for model in subject.models for level in model.levels() for entry in level for who in _named(entry)}
    people = People(subject.readings, subject.identities, names, subject.providers)
    yield from groups_without_members(subject, people)
    yield from members_without_alias(subject, people)
    yield from nested_cycles(people)
    yield from unused_identities(subject, people)
    yield from model_findings(subject.models, people)


def _named(entry: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield from entry.get("allowed", ())
    yield from entry.get("denied", ())


def _chosen(found: Iterator[Found], wanted: Collection[str]) -> tuple[list[Found], dict[str, int]]:
    """Return the findings to tell, the first by their places, and how many there are beside them."""
    by_code: dict[str, list[Found]] = {}
    for finding in found:
        if finding.code in wanted:
            by_code.setdefault(finding.code, []).append(finding)
    told = [
        finding
        for code in sorted(by_code)
        for finding in heapq.nsmallest(MAX_TOLD, by_code[code], key=lambda finding: (finding.places, finding.what))
    ]
    return told, {code: len(all_) - MAX_TOLD for code, all_ in by_code.items() if len(all_) > MAX_TOLD}


def _problem(found: Found, level: Level, placed: Mapping[Place, Placed]) -> Problem:
    first, *others = found.places
    severity = Severity.ERROR if level == "error" else Severity.WARNING
    problem = Problem(found.code, found.what, found.why, found.fix, severity=severity)
    related = tuple(Related(placed[place][0], "and here") for place in others if place in placed)
    problem = replace(problem, related=related)
    return problem.at(*placed[first]) if first in placed else replace(problem, where=first.address)


def _counted(problems: list[Problem], more: Mapping[str, int]) -> list[Problem]:
    """Return the problems, the last one of each code with the number of those that are not told."""
    for code, count in more.items():
        last = max(index for index, problem in enumerate(problems) if problem.code == code)
        problems[last] = replace(problems[last], what=f"{problems[last].what}; {count:,} more are not shown")
    return problems
