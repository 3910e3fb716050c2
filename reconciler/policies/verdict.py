"""From what policies say to problems and hazards: a denial stops, a warning is told, what may be overridden asks.

A verdict is a text, or an object with `msg` and, as one likes, `address`, `code`, `why`, `fix` and `overridable`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.planning.plan import Hazard
from reconciler.policies.engine import Asked
from reconciler.policies.rego import Module
from reconciler.problems import ManifestError, Position, Problem, Related, Severity

HAZARD = "policy"
TOLD = 1000  # verdicts of each kind; the rest is counted
_TEXT = 2000  # characters of one text
_EXAMPLES = 5

_CODE = re.compile(r"[a-z][a-z0-9-]{0,63}")
_KEYS = {"msg": str, "address": str, "code": str, "why": str, "fix": str, "overridable": bool}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that a rule of a policy says: `denies` the plan, or warns; of an address where it names one.

    `code` names it for --allow and is the rule's package without one. It may be allowed where `overridable`.
    """

    module: Module
    line: int
    denies: bool
    msg: str
    address: str = ""
    code: str = ""
    why: str = ""
    fix: str = ""
    overridable: bool = False


def verdicts_of(asked: Iterable[Asked]) -> tuple[Verdict, ...]:
    """Return what rules say, denials first, by address and text. Raises ManifestError for what is no verdict."""
    found: set[tuple[Any, ...]] = set()
    out: list[Verdict] = []
    for rule in asked:
        for value in rule.values:
            for entry in _entries(value):
                verdict = _verdict(rule, entry)
                if (key := _key(verdict)) not in found:
                    found.add(key)
                    out.append(verdict)
    return tuple(sorted(out, key=_key))


def _key(verdict: Verdict) -> tuple[Any, ...]:
    return (
        *(not verdict.denies, verdict.address, verdict.msg, verdict.module.package, verdict.code),
        *(verdict.why, verdict.fix, verdict.overridable),
    )


def _entries(value: Any) -> Sequence[Any]:
    """Return the verdicts in a rule's value: those of a set, the keys of `deny[msg] {...}`, or the one there is."""
    if value is False or value is None:
        return ()
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "msg" not in value and all(entry is True for entry in value.values()):
        return list(value)
    return (value,)


def _verdict(rule: Asked, entry: Any) -> Verdict:
    values = {"msg": entry} if isinstance(entry, str) else entry
    if entry is True:
        values = {"msg": f"{rule.module.package}.{rule.rule} holds"}
    if not isinstance(values, dict) or not values.get("msg"):
        raise ManifestError(_no_verdict(rule, "is neither a text nor an object with `msg`"))
    for key, value in values.items():
        if key in _KEYS and not isinstance(value, _KEYS[key]):
            raise ManifestError(_no_verdict(rule, f"has a `{key}` that is not a {_KEYS[key].__name__}"))
    code = values.get("code", "") or rule.module.package.rpartition(".")[2].replace("_", "-").lower()
    if not _CODE.fullmatch(code):
        raise ManifestError(_no_verdict(rule, "has a `code` that is not in lower case with hyphens"))
    return Verdict(
        module=rule.module,
        line=rule.module.line(rule.rule),
        denies=rule.rule == "deny",
        msg=_short(values["msg"]),
        address=_short(values.get("address", "")),
        code=code,
        why=_short(values.get("why", "")),
        fix=_short(values.get("fix", "")),
        overridable=values.get("overridable", False),
    )


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[:_TEXT] + " ..."


def problems_of(verdicts: Sequence[Verdict], places: Mapping[str, tuple[Position, str]]) -> tuple[Problem, ...]:
    """Return an error for each denial that nobody may override, a warning for each warning.

    `places` are where the manifests declare the addresses that verdicts name, each with its whole line.
    """
    firm, soft = _firm(verdicts), _soft(verdicts)
    return (
        *(_problem(verdict, places, "policy-denied", Severity.ERROR) for verdict in firm[:TOLD]),
        *_rest(firm, "policy-denied", Severity.ERROR),
        *(_problem(verdict, places, "policy-warned", Severity.WARNING) for verdict in soft[:TOLD]),
        *_rest(soft, "policy-warned", Severity.WARNING),
    )


def addresses_told(verdicts: Sequence[Verdict]) -> set[str]:
    """Return the addresses that `problems_of` needs the places of."""
    return {verdict.address for verdict in (*_firm(verdicts)[:TOLD], *_soft(verdicts)[:TOLD]) if verdict.address}


def _firm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.denies and not verdict.overridable]


def _soft(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if not verdict.denies]


def hazards_of(verdicts: Iterable[Verdict], allowed: Collection[str]) -> tuple[Hazard, ...]:
    """Return a hazard for each code of the denials that may be overridden, sorted by code."""
    grouped: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.denies and verdict.overridable:
            grouped[verdict.code].append(verdict)
    return tuple(
        Hazard(
            HAZARD,
            entries[0].msg + (f"; and {len(entries) - 1:,} more" if len(entries) > 1 else ""),
            entries[0].why or f"{_named(entries[0])} denies it, and lets it be overridden.",
            f"{entries[0].fix or 'change the manifests'}; if it is meant, add --allow {HAZARD}:{code}.",
            subject=code,
            count=len(entries),
            addresses=tuple(entry.address for entry in entries if entry.address)[:_EXAMPLES],
            allowed=HAZARD in allowed or f"{HAZARD}:{code}" in allowed,
        )
        for code, entries in sorted(grouped.items())
    )


def _problem(verdict: Verdict, places: Mapping[str, tuple[Position, str]], code: str, severity: Severity) -> Problem:
    rule = Position(verdict.module.file, verdict.line, 1)
    position, excerpt = places.get(verdict.address, (None, ""))
    what = verdict.msg
    if verdict.address and verdict.address not in what:
        what = f"{verdict.address}: {what}"
    return Problem(
        code,
        f"{what} ({verdict.code})",
        why=verdict.why or f"{_named(verdict)} {'denies' if verdict.denies else 'warns of'} it.",
        fix=verdict.fix or "change what it speaks of, or the policy, and plan again.",
        position=position or rule,
        severity=severity,
        excerpt=excerpt,
        related=() if position is None else (Related(rule, "the policy's rule"),),
    )


def _named(verdict: Verdict) -> str:
    return f'policy "{verdict.module.package}"'


def _rest(verdicts: Sequence[Verdict], code: str, severity: Severity) -> tuple[Problem, ...]:
    left = len(verdicts) - TOLD
    if left <= 0:
        return ()
    return (
        Problem(
            code,
            f"and {left:,} more",
            why="so many are not read one by one.",
            fix="settle those that are shown, and plan again.",
            position=Position(verdicts[TOLD].module.file, verdicts[TOLD].line, 1),
            severity=severity,
        ),
    )


def _no_verdict(rule: Asked, what: str) -> Problem:
    return Problem(
        "policy-result",
        f"{rule.module.package}.{rule.rule} says something that {what}",
        why="nobody could be told what is denied.",
        fix='write `deny contains "why" if ...`, or {"msg": ..., "address": ..., "code": ..., "fix": ...}.',
        position=Position(rule.module.file, rule.module.line(rule.rule), 1),
    )
