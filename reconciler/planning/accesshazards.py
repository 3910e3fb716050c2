"""Names what a plan does to who sees what that must not happen unnoticed, so that it must be allowed by that name.

Takes what is gained and lost (`permissions.exposure`) and the project's guardrails. Items that come are no hazard
but for how many they are: they were nobody's before.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pyroaring import BitMap

from reconciler.permissions.checks import item_matcher
from reconciler.permissions.exposure import Exposure, Kind, Shift
from reconciler.permissions.relation import Relation
from reconciler.planning.plan import Hazard

EVERYBODY = "*"
"""Stands for all people, known or not, in the identities of an exception."""

EXAMPLES = 5

_ANYBODY = "everybody"

Mode = Literal["allow", "confirm", "deny"]


@dataclass(frozen=True, slots=True)
class Exemption:
    """A widening that is no hazard: these items for these people; None is all.

    `items` are patterns over uris and addresses, `to` canonical identities with `*` for any text, or `EVERYBODY`.
    """

    items: tuple[str, ...] | None = None
    to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class AccessLimits:
    """What a plan may do to who sees what before somebody must allow it.

    `max_people` and `max_items` are how many people may gain sight of something, and of how many items.
    """

    mode: Mode = "confirm"
    exceptions: tuple[Exemption, ...] = ()
    max_people: int | None = None
    max_items: int | None = None


@dataclass(slots=True)
class _Found:
    """What goes under one name in one source."""

    items: int = 0
    examples: list[str] = field(default_factory=list)
    people: BitMap = field(default_factory=BitMap)
    who: set[str] = field(default_factory=set)

    def add(self, addresses: Collection[str], people: BitMap, who: Iterable[str] = ()) -> None:
        """Take in items with whom they are about; `who` are identities to be named."""
        self.items += len(addresses)
        self.examples = heapq.nsmallest(EXAMPLES, (*self.examples, *heapq.nsmallest(EXAMPLES, addresses)))
        self.people |= people
        self.who.update(who)


def access_hazards(
    found: Exposure, relation: Relation, limits: AccessLimits, allowed: Collection[str] = ()
) -> tuple[Hazard, ...]:
    """Return the hazards of a change, sorted by name and subject.

    `relation` is the one that was taken through the change. `allowed` holds names, or `name:subject`, that the user
    allowed; with the mode `deny` that does not lift `widened-access`.
    """
    exceptions = [_Excepted(entry, relation) for entry in limits.exceptions]
    gathered: dict[tuple[str, str], _Found] = {}

    def note(name: str, shift: Shift, addresses: Collection[str], people: BitMap, who: Iterable[str] = ()) -> None:
        if addresses:
            gathered.setdefault((name, shift.source), _Found()).add(addresses, people, who)

    for shift in found.shifts:
        if shift.kind not in (Kind.EDITED, Kind.AFFECTED):
            continue
        if shift.is_public and not shift.was_public:
            opened = [entry for entry in exceptions if entry.names_everybody]
            note("item-public", shift, _left(shift, opened), shift.gained)
        if shift.is_unseen and not shift.was_unseen:
            note("item-unseen", shift, shift.addresses, shift.lost)
        if shift.undenied:
            note("deny-removed", shift, shift.addresses, shift.gained, shift.undenied)
        if shift.widens:
            covering = [entry for entry in exceptions if entry.covers(shift)]
            strangers = [_ANYBODY] if shift.is_public and not shift.was_public else _domains(shift.domains_gained)
            note("widened-access", shift, _left(shift, covering), shift.gained, strangers)
    hazards = [_hazard(name, source, entry, found, limits.mode) for (name, source), entry in gathered.items()]
    hazards += _mass(found, limits)
    return tuple(
        replace(hazard, allowed=hazard.allowed or (hazard.liftable and _is_allowed(hazard, allowed)))
        for hazard in sorted(hazards, key=lambda hazard: (hazard.name, hazard.subject))
    )


def _is_allowed(hazard: Hazard, allowed: Collection[str]) -> bool:
    return hazard.name in allowed or f"{hazard.name}:{hazard.subject}" in allowed


def _left(shift: Shift, exceptions: Iterable[_Excepted]) -> Collection[str]:
    """Return the items of a shift that none of these exceptions is about."""
    left = shift.addresses
    for entry in exceptions:
        if entry.matchers is None:
            return ()
        left = [address for address in left if not any(matches(address) for matches in entry.matchers)]
    return left


class _Excepted:
    """An exception with its people found: as they are after the change."""

    def __init__(self, entry: Exemption, relation: Relation) -> None:
        self._relation = relation
        self.matchers = None if entry.items is None else tuple(map(item_matcher, entry.items))
        self.names_everybody = entry.to is not None and EVERYBODY in entry.to
        self._anybody = entry.to is None or self.names_everybody
        self._people: BitMap | None = None
        self._patterns = [self._pattern(identity) for identity in entry.to or () if identity != EVERYBODY]

    def _pattern(self, identity: str) -> Callable[[str], bool]:
        """Return what says whether a key is meant; patterns of the remote are names, and meant by name alone."""
        readings = self._relation.readings
        key, patterns = readings.key(identity), f"group/{readings.email_provider}/*@"
        if "*" not in key or key.startswith(patterns):
            return lambda other: other == key
        matches = re.compile(".*".join(map(re.escape, key.split("*"))), re.DOTALL).fullmatch
        return lambda other: not other.startswith(patterns) and matches(other) is not None

    def covers(self, shift: Shift) -> bool:
        """Return whether all who gain by a shift, known or not, are meant by the exception."""
        if self._anybody:
            return True
        if shift.is_public and not shift.was_public:
            return False
        return shift.gained.issubset(self._whom()) and all(map(self._covers_domain, shift.domains_gained))

    def _whom(self) -> BitMap:
        """Return the people meant: by a name of theirs, or through a group."""
        if self._people is None:
            graph = self._relation.graph
            meant = [number for number, key in graph.spelled() if any(matches(key) for matches in self._patterns)]
            people = self._relation.people_of(map(graph.name, meant))
            self._people = people | BitMap(mate for number in people for mate in graph.mates(number))
        return self._people

    def _covers_domain(self, pattern: str) -> bool:
        """Return whether everybody of a domain is meant: by the pattern, or by any name in that domain."""
        key = self._relation.readings.key(pattern)
        domain = key.rpartition("@")[2]
        provider = key.split("/", 2)[1]
        # Nobody is called so: what matches it matches whoever is of the domain.
        somebody = f"user/{provider}/\n@{domain}"
        return any(matches(key) or matches(somebody) for matches in self._patterns)


def _hazard(name: str, source: str, entry: _Found, found: Exposure, mode: Mode) -> Hazard:
    subject = f"item/{source}"
    items = _items(entry.items, source)
    lost = name == "item-unseen"
    people = (found.count_lost if lost else found.count_gained)(entry.people)
    meant = f"if it is meant, add --allow {name}:{subject}"
    denied = False
    match name:
        case "item-public":
            what = f"{items} would be seen by everybody, also by whoever did not log in"
            why = "what anybody may read is found, copied and kept: it cannot be taken back."
            fix = f"take back what lets everybody in; {meant}."
        case "item-unseen":
            what = f"nobody would see {items} any more" + (f" ({_users(people)} did)" if people else "")
            why = "a group or a permission model may have lost its last entry by mistake."
            fix = f"let somebody see them, or delete them; {meant}."
        case "deny-removed":
            what = f"{items} would no longer deny {_listed(sorted(map(_short, entry.who)))}"
            why = "a deny keeps somebody out whatever lets them in: without it, the next grant shows what it hid."
            fix = f"put it back under `denied`; {meant}."
        case _:
            denied = mode == "deny"
            who = _listed([*([_users(people)] if people else []), *sorted(entry.who)])
            if _ANYBODY in entry.who:
                who = _ANYBODY + (f", {_users(people)} we know of among them," if people else "")
            what = f"{who} would see {items}, not seen by them now"
            why = "whoever saw an item may have kept it: sight is not taken back by the next change."
            exception = "guardrails.widenedAccess.except"
            fix = f"read under Access who gains; {meant}, or name it under {exception}."
            if denied:
                fix = f"narrow the change, or name it under {exception}: here it cannot be allowed by name."
    return Hazard(
        name,
        what,
        why,
        fix,
        subject=subject,
        count=entry.items,
        addresses=tuple(entry.examples),
        allowed=name == "widened-access" and mode == "allow",
        people=people,
        liftable=not denied,
    )


def _mass(found: Exposure, limits: AccessLimits) -> list[Hazard]:
    if limits.max_people is None and limits.max_items is None:
        return []
    opened = [shift for shift in found.shifts if shift.gained or shift.widens]
    people, items = found.people_gained, sum(shift.items for shift in opened)
    # Nobody knows how many people a domain has. New items that are open to one are as usual as public ones.
    domains = sorted({name for shift in opened if shift.widens for name in shift.domains_gained})
    over_people = limits.max_people is not None and (people > limits.max_people or bool(domains))
    over_items = limits.max_items is not None and items > limits.max_items
    if not (over_people or over_items):
        return []
    bounds = [
        f"{limit:,} {word}{'' if limit == 1 else 's'}"
        for limit, word in ((limits.max_people, "user"), (limits.max_items, "item"))
        if limit is not None
    ]
    who = _listed([*([_users(people)] if people or not domains else []), *_domains(domains)])
    addresses: Iterable[str] = (example for shift in opened for example in shift.examples)
    return [
        Hazard(
            "mass-widening",
            f"{who} would gain sight of {items:,} item{'' if items == 1 else 's'}, new ones included; "
            f"the limit is {' or '.join(bounds)}",
            "a group in the wrong place, or a pattern that is too wide, looks exactly like this.",
            "look at the list; if it is meant, add --allow mass-widening, or raise guardrails.maxWidened.",
            count=items,
            addresses=tuple(heapq.nsmallest(EXAMPLES, addresses)),
            people=people,
        )
    ]


def _domains(patterns: Iterable[str]) -> list[str]:
    return [f"everybody of {pattern.rpartition('@')[2]}" for pattern in patterns]


def _short(identity: str) -> str:
    kind, _, name = identity.split("/", 2)
    return f"{'virtualGroup' if kind == 'virtual-group' else kind}:{name}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - EXAMPLES
    return ", ".join(names[:EXAMPLES]) + (f" and {more:,} more" if more > 0 else "")


def _users(number: int) -> str:
    return f"{number:,} user{'' if number == 1 else 's'}"


def _items(number: int, source: str) -> str:
    return f'{number:,} item{"" if number == 1 else "s"} of "{source}"'
