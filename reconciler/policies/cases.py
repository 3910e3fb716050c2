"""Tests of policies: inputs, and the codes that a package must deny and warn of for each.

They stand beside the policies, in `NAME.test.yaml`: a list of `{name, package, input, deny, warn}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from reconciler.policies.verdict import Verdict
from reconciler.problems import Position, Problem

SUFFIXES = (".test.yaml", ".test.yml", ".test.json")

_KEYS = {"name": str, "package": str, "input": dict, "deny": list, "warn": list}


@dataclass(frozen=True, slots=True)
class Case:
    """One test: an input as JSON, and the codes that the verdicts of a package must have, sorted."""

    file: str
    name: str
    package: str
    document: bytes
    deny: tuple[str, ...]
    warn: tuple[str, ...]


def read_cases(file: str, value: Any, packages: Sequence[str]) -> tuple[list[Case], list[Problem]]:
    """Return the tests that a file holds, and what is wrong with it."""
    if not isinstance(value, list):
        return [], [_bad(file, "the file is no list of tests")]
    cases, problems = [], []
    for number, entry in enumerate(value, 1):
        wrong = _wrong(entry, packages)
        if wrong:
            problems.append(_bad(file, f"test {number} {wrong}"))
            continue
        codes = (tuple(sorted(entry.get(key, ()))) for key in ("deny", "warn"))
        cases.append(Case(file, entry["name"], entry["package"], orjson.dumps(entry["input"]), *codes))
    return cases, problems


def judge(case: Case, verdicts: Sequence[Verdict]) -> Problem | None:
    """Return why a test fails, None where the verdicts of its package are those that it expects."""
    own = [verdict for verdict in verdicts if verdict.module.package == case.package]
    found = [tuple(sorted(each.code for each in own if each.denies is denies)) for denies in (True, False)]
    wrong = [
        f"{verb} {_list(codes)}, not {_list(wanted)}"
        for verb, codes, wanted in zip(("denies", "warns of"), found, (case.deny, case.warn), strict=True)
        if codes != wanted
    ]
    if not wrong:
        return None
    return Problem(
        "policy-test-failed",
        f'"{case.name}" fails: {case.package} {" and ".join(wrong)}',
        why="the policy says something else than whoever wrote the test expects of it.",
        fix="correct the policy, or the test.",
        position=Position(case.file, 1, 1),
    )


def _wrong(entry: Any, packages: Sequence[str]) -> str:
    """Return what is wrong with a test as written, or nothing."""
    if not isinstance(entry, dict):
        return "is no mapping"
    for key, value in entry.items():
        if key not in _KEYS:
            return f'has a key "{key}" that tests do not have'
        if not isinstance(value, _KEYS[key]):
            return f'has a "{key}" that is no {_KEYS[key].__name__}'
    if missing := [key for key in ("name", "package", "input") if key not in entry]:
        return f'has no "{missing[0]}"'
    if entry["package"] not in packages:
        return f'is about package "{entry["package"]}", which no policy has'
    if not all(isinstance(code, str) for key in ("deny", "warn") for code in entry.get(key, ())):
        return "expects codes that are no texts"
    return ""


def _list(codes: Sequence[str]) -> str:
    return ", ".join(codes) or "nothing"


def _bad(file: str, what: str) -> Problem:
    return Problem(
        "bad-policy-test",
        what,
        why="a test that cannot be run tells nothing.",
        fix="write {name: ..., package: ..., input: {...}, deny: [CODE, ...], warn: [CODE, ...]}.",
        position=Position(file, 1, 1),
    )
