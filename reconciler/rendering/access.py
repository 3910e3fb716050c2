"""Answers to who sees what and why, as JSON documents and as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model.identity import parse_identity
from reconciler.model.permission import PermissionModel
from reconciler.permissions.evaluate import Ground, Miss, Outcome, Unresolved, Verdict
from reconciler.permissions.expand import Step
from reconciler.rendering.values import count, visible


@dataclass(frozen=True, slots=True)
class Viewers:
    """Who sees an item: canonical identities, and the entries of its model that nobody declared.

    `observed` says that this is what the remote shows, so that an unresolved identity is one of which the remote
    knows no more than the name, or one that was disabled there. `others` are those who do not see what everybody
    else does.
    """

    uri: str
    source: str
    anonymous: bool
    viewers: Sequence[str]
    unresolved: Sequence[Unresolved]
    observed: bool = False
    others: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody sees: items per source with how many the source has, and their addresses if asked for.

    `known` says that anything names the person; `elsewhere` are the providers where somebody of that name is known.
    """

    identity: str
    counts: dict[str, int]
    totals: dict[str, int]
    items: Sequence[str] | None = None
    known: bool = True
    elsewhere: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody does or does not see an item.

    `model` is the item's permissions, None where it has none. `known` says that anything names the person. `misses`
    are the levels that come near to letting in a person whom no level speaks of. `elsewhere` are the providers where
    somebody of that name is known.
    """

    identity: str
    uri: str
    shared: bool
    verdict: Verdict
    model: PermissionModel | None = None
    known: bool = True
    misses: tuple[Miss, ...] = ()
    elsewhere: Sequence[str] = ()


ANONYMOUS = "anonymous"

SET_NAMES = 2  # of those whom a set lets in, to say which set is meant


def short(identity: str) -> str:
    """Return a canonical identity as `type:name`."""
    return parse_identity(identity).short


def _login(identity: str) -> str:
    """Return who an answer is about; the pattern that covers everybody is all there is of who did not log in."""
    name = short(identity)
    return ANONYMOUS if name == "group:*@*" else name


def _person(identity: str) -> str:
    name = _login(identity)
    return "whoever did not log in" if name == ANONYMOUS else visible(name)


def viewers_document(found: Viewers) -> dict[str, Any]:
    """Return the answer of `access who` as JSON values."""
    return {
        "uri": found.uri,
        "anonymous": found.anonymous,
        "viewers": sorted({short(viewer) for viewer in found.viewers}),
        "unresolved": [
            {
                "identity": short(entry.identity),
                "denied": entry.denied,
                "level": entry.level,
                "set": entry.set,
                "hides": entry.hides,
            }
            for entry in found.unresolved
        ],
    }


def viewers_lines(found: Viewers) -> Iterator[str]:
    """Yield the answer of `access who` as text."""
    document = viewers_document(found)
    if found.anonymous:
        but = f", but not by {count(len(found.others), 'user')}" if found.others else ""
        yield f"{visible(found.uri)} is seen by everybody, also by those who did not log in{but}."
        for other in sorted({short(other) for other in found.others}):
            yield f"  not {visible(other)}"
    else:
        number = len(document["viewers"])
        yield f"{visible(found.uri)} is seen by {count(number, 'user') if number else 'nobody'}"
    for viewer in document["viewers"]:
        yield f"  {visible(viewer)}"
    for entry in found.unresolved:
        effect = "so nobody sees the item" if entry.hides else "so it keeps nobody out" if entry.denied else ""
        effect = effect or "so it lets nobody in"
        lacking = "is not resolved by the remote" if found.observed else "is declared nowhere"
        yield f"  unresolved: {visible(short(entry.identity))} {lacking}, {effect}"


def seen_document(found: Seen) -> dict[str, Any]:
    """Return the answer of `access what` as JSON values."""
    document: dict[str, Any] = {
        "identity": _login(found.identity),
        "provider": None if _login(found.identity) == ANONYMOUS else parse_identity(found.identity).provider,
        "known": found.known,
        "sources": [
            {"source": source, "items": number, "of": found.totals[source]} for source, number in found.counts.items()
        ],
    }
    if found.items is not None:
        document["items"] = list(found.items)
    return document


def seen_lines(found: Seen) -> Iterator[str]:
    """Yield the answer of `access what` as text."""
    total = sum(found.counts.values())
    yield f"{_person(found.identity)} sees {count(total, 'item')} of {sum(found.totals.values()):,}"
    if not found.known:
        yield _UNKNOWN.format(provider=visible(parse_identity(found.identity).provider))
    yield from _other_providers(found.elsewhere)
    for source, number in found.counts.items():
        yield f"  {number:>7,} of {found.totals[source]:,} in {source}"
    for item in found.items or ():
        yield f"  {visible(item)}"


def reason_document(found: Reason) -> dict[str, Any]:
    """Return the answer of `access why` as JSON values; `chain` is that of the first set that decided."""
    verdict = found.verdict
    deciding = next((ground for ground in verdict.grounds if ground.entry), None)
    return {
        "allowed": verdict.allowed,
        "decided_by": {
            "outcome": verdict.outcome.value,
            "visibility": "shared" if found.shared else None,
            "level": verdict.level,
            "name": verdict.name,
            "sets": [_ground_document(ground) for ground in verdict.grounds],
            "misses": [
                {
                    "level": miss.level,
                    "name": miss.name,
                    "sets": [_ground_document(ground) for ground in miss.grounds],
                }
                for miss in found.misses
            ],
        },
        "chain": _chain(deciding.chain if deciding else ()),
    }


def _ground_document(ground: Ground) -> dict[str, Any]:
    return {
        "set": ground.set,
        "name": ground.name,
        "says": ground.says,
        "entry": short(ground.entry) if ground.entry else None,
        "chain": _chain(ground.chain),
    }


def _chain(steps: Sequence[Step]) -> list[dict[str, str]]:
    return [{"from": step.start, "how": step.how.value, "to": step.end} for step in steps]


def reason_lines(found: Reason) -> Iterator[str]:
    """Yield the answer of `access why` as a small tree."""
    verdict = found.verdict
    does = "sees" if verdict.allowed else "does not see"
    yield f"{_person(found.identity)} {does} {visible(found.uri)}"
    yield f"`-- {_decision(found)}"
    for ground, steps in _grounds(found):
        yield f"    |-- {ground}"
        for step in steps:
            yield f"    |     {step}"
    yield from _other_providers(found.elsewhere)


_UNKNOWN = '  nothing is known of them in provider "{provider}" but this name: no group, no alias'


def _other_providers(names: Sequence[str]) -> Iterator[str]:
    """Yield that somebody else may have been meant."""
    if names:
        told = " or ".join(f"--provider {shlex.quote(visible(name))}" for name in names)
        yield f"  somebody of this name is known elsewhere: did you mean {told}?"


def reason_text(found: Reason) -> str:
    """Return what decides, set by set with the way to each, in one line."""
    said = (f"{ground}, for {', '.join(steps)}" if steps else ground for ground, steps in _grounds(found))
    return "; ".join([_decision(found), *said])


def _decision(found: Reason) -> str:
    verdict = found.verdict
    if found.shared:
        return "the source is shared: everybody sees its items"
    if verdict.level is None:
        if found.model is None:
            return "the item has no permissions, so nobody sees it"
        if found.misses:
            return "no level decides, so nobody lets them in"
        unknown = "" if found.known else "; nothing is known of them but this name"
        return f"no level says anything about them, so nobody lets them in{unknown}"
    name = f' "{visible(verdict.name)}"' if verdict.name else ""
    return f"level {verdict.level}{name} decides: {_DECISIONS[verdict.outcome]}"


def _grounds(found: Reason) -> Iterator[tuple[str, list[str]]]:
    """Yield what each set of the deciding level says, and the way from the person to the identity it names."""
    if found.shared:
        return
    for ground in found.verdict.grounds:
        yield f"{_set(found, found.verdict.level, ground)} {_said(ground)}", _steps(ground)
    for miss in found.misses:
        name = f' "{visible(miss.name)}"' if miss.name else ""
        for ground in miss.grounds:
            yield f"level {miss.level}{name}: {_set(found, miss.level, ground)} {_said(ground)}", _steps(ground)


def _steps(ground: Ground) -> list[str]:
    return [f"{visible(_key(step.start))} {step.how.value} {visible(_key(step.end))}" for step in ground.chain]


_DECISIONS = {
    Outcome.ALLOWED: "all of its sets let them in",
    Outcome.DENIED: "it keeps them out",
    Outcome.HIDDEN: "nobody sees the item while an identity that it denies is not known",
    Outcome.UNSPECIFIED: "it says nothing of them",
}


def _set(found: Reason, level: int | None, ground: Ground) -> str:
    """Return how a set is called: by its name, or, among others, by whom it lets in.

    Its number is that of the canonical order (`model.permission`), which is not that of the manifest.
    """
    if ground.name:
        return f'set "{visible(ground.name)}"'
    sets = found.model.levels[level - 1].sets if found.model is not None and level else ()
    if len(sets) < 2:
        return "set 1"
    entry = sets[ground.set - 1]
    if entry.anonymous:
        return "the set of everybody"
    if not entry.allowed:
        return "the set of nobody"
    shown = ", ".join(visible(short(identity)) for identity in entry.allowed[:SET_NAMES])
    more = len(entry.allowed) - SET_NAMES
    return f"the set of {shown}{f' and {more:,} more' if more > 0 else ''}"


def _said(ground: Ground) -> str:
    if ground.says == "names":
        return f"names {visible(_key(ground.entry))}, which is unresolved and so lets nobody in"
    if ground.entry:
        return f"{ground.says} {visible(_key(ground.entry))}"
    return "is open to everybody" if ground.says == "anonymous" else "does not mention them"


def _key(identity: str) -> str:
    found = parse_identity(identity)
    return f"{found.short} ({found.provider})"
