"""Who can see an item: the emulator's own reading of the evaluation rules (push-api.md 3.6). Pure.

A person starts from one identity; aliases add the identities that stand for the same person, and each
identity adds the groups that list it, the groups it lists as well-knowns, and the groups around those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NamedTuple

from reconciler.emulator.options import EMAIL_PROVIDER
from reconciler.emulator.wire import identity_type


class Who(NamedTuple):
    """An identity as a key: names already folded where the provider ignores case."""

    provider: str
    type: str
    name: str
    info: tuple[tuple[str, str], ...] = ()


class Record(NamedTuple):
    """What was pushed for one identity; `disabled` once it was deleted (push-api.md 5.3)."""

    who: Who
    members: tuple[Who, ...] = ()
    well_knowns: tuple[Who, ...] = ()
    mappings: tuple[Who, ...] = ()
    disabled: bool = False
    updated: float | None = None


class Decision(Enum):
    """What a permission model says about one person."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class PermissionSet:
    anonymous: bool
    allowed: frozenset[Who]
    denied: frozenset[Who]


Level = tuple[PermissionSet, ...]
Levels = tuple[Level, ...]

EVERYBODY = Who(EMAIL_PROVIDER, "GROUP", "*@*")
"""The pattern that covers everybody, also those who did not log in (push-api.md 3.6)."""


class Directory:
    """How identities are spelled: which providers tell upper from lower case (push-api.md 2.4)."""

    def __init__(self, case_sensitive: Mapping[str, bool]) -> None:
        self._case_sensitive = dict(case_sensitive)

    def who(self, provider: str, type_: str, name: str, info: Iterable[tuple[str, str]] = ()) -> Who:
        """Return the key of an identity."""
        pairs = tuple(sorted(info))
        if self._case_sensitive.get(provider, False):
            return Who(provider, type_, name, pairs)
        return Who(provider, type_, name.casefold(), tuple((key, text.casefold()) for key, text in pairs))

    def levels(self, model: list[dict[str, Any]]) -> Levels:
        """Return the evaluable form of a stored permission model."""
        return tuple(tuple(map(self._set, level["permissionSets"])) for level in model)

    def _set(self, entry: dict[str, Any]) -> PermissionSet:
        return PermissionSet(
            entry["allowAnonymous"],
            frozenset(map(self.permission, entry["allowedPermissions"])),
            frozenset(map(self.permission, entry["deniedPermissions"])),
        )

    def permission(self, entry: dict[str, Any]) -> Who:
        """Return the identity that an entry of a stored permission set names."""
        kind = identity_type(entry["identityType"]) or "UNKNOWN"
        return self.who(entry["securityProvider"], kind, entry["identity"], entry["additionalInfo"].items())


class Graph:
    """Members, well-knowns and aliases as edges; disabled identities neither grant nor pass anything on."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.parents: dict[Who, set[Who]] = {}
        self.children: dict[Who, set[Who]] = {}
        self.aliases: dict[Who, set[Who]] = {}
        self.records: dict[Who, Record] = {}
        self.disabled: set[Who] = set()
        for record in records:
            self.records[record.who] = record
            if record.disabled:
                self.disabled.add(record.who)
            for member in record.members:
                self._contain(record.who, member)
            for group in record.well_knowns:
                self._contain(group, record.who)
            for mapped in record.mappings:
                self._map(record.who, mapped)
        self._add_patterns()
        self.anonymous = frozenset(self._reach({EVERYBODY}, self.parents))
        """The identities of somebody who did not log in, and of everybody else besides their own."""

    def _contain(self, group: Who, member: Who) -> None:
        self.parents.setdefault(member, set()).add(group)
        self.children.setdefault(group, set()).add(member)
        self.parents.setdefault(group, set())
        self.children.setdefault(member, set())

    def _map(self, who: Who, mapped: Who) -> None:
        # A user's alias is the same person; a group mapped to users expands to them, and they do not
        # thereby become one another (push-api.md 3.5, 3.6).
        if who.type in ("GROUP", "VIRTUAL_GROUP"):
            self._contain(who, mapped)
            return
        self.aliases.setdefault(who, set()).add(mapped)
        self.aliases.setdefault(mapped, set()).add(who)

    def _add_patterns(self) -> None:
        for who in self.identities():
            if who.provider == EMAIL_PROVIDER and who.type == "USER":
                for pattern in _patterns(who):
                    self._contain(pattern, who)

    def identities(self) -> set[Who]:
        """Return every identity that was pushed or that a pushed one names."""
        return self.records.keys() | self.parents.keys() | self.aliases.keys()

    def of(self, who: Who) -> frozenset[Who]:
        """Return all identities that a person has who logs in as `who`."""
        start = {who}
        if who.provider == EMAIL_PROVIDER and who.type == "USER" and who not in self.disabled:
            start.update(_patterns(who))
        return self.anonymous | self._reach(start, self.parents)

    def below(self, whos: Iterable[Who]) -> set[Who]:
        """Return all identities that have one of `whos`, themselves included."""
        return self._reach(set(whos), self.children)

    def _reach(self, start: set[Who], edges: Mapping[Who, set[Who]]) -> set[Who]:
        found = start - self.disabled
        waiting = list(found)
        while waiting:
            who = waiting.pop()
            for near in (edges.get(who, ()), self.aliases.get(who, ())):
                for other in near:
                    if other not in found and other not in self.disabled:
                        found.add(other)
                        waiting.append(other)
        return found

    def resolved(self, who: Who) -> bool:
        """Return whether the security cache would call `who` up to date (push-api.md 3.6)."""
        if who in self.disabled:
            return False
        return who in self.records or who in self.aliases or who.provider == EMAIL_PROVIDER


def _patterns(who: Who) -> tuple[Who, ...]:
    domain = who.name.rpartition("@")[2]
    return EVERYBODY, Who(EMAIL_PROVIDER, "GROUP", f"*@{domain}")


def decide(
    levels: Levels,
    identities: frozenset[Who] | set[Who],
    partial_level: Literal["inconclusive", "denied"] = "inconclusive",
) -> Decision:
    """Return what `levels` say about somebody with `identities`: the first conclusive level wins."""
    for level in levels:
        decision = _decide_level(level, identities, partial_level)
        if decision is not Decision.UNSPECIFIED:
            return decision
    return Decision.UNSPECIFIED


def _decide_level(level: Level, identities: frozenset[Who] | set[Who], partial_level: str) -> Decision:
    if any(not entry.denied.isdisjoint(identities) for entry in level):
        return Decision.DENIED
    satisfied = [entry.anonymous or not entry.allowed.isdisjoint(identities) for entry in level]
    if satisfied and all(satisfied):
        return Decision.ALLOWED
    if any(satisfied) and partial_level == "denied":
        return Decision.DENIED
    return Decision.UNSPECIFIED


def viewers(
    levels: Levels, graph: Graph, partial_level: Literal["inconclusive", "denied"] = "inconclusive"
) -> dict[Who, Decision]:
    """Return what `levels` say about every known user they concern, walking down from the groups they name.

    Users that are absent from the answer are treated as anonymous ones are.
    """
    named = {who for level in levels for entry in level for who in entry.allowed | entry.denied}
    reach = {who: graph.below((who,)) for who in named}
    users = {who for below in reach.values() for who in below if who.type == "USER"}
    identities: dict[Who, set[Who]] = {user: set(named & graph.anonymous) for user in users}
    for who, below in reach.items():
        for user in below:
            if user in identities:
                identities[user].add(who)
    return {user: decide(levels, held, partial_level) for user, held in identities.items()}


def model_state(levels: Levels, graph: Graph) -> str:
    """Return the health of a permission model (push-api.md 3.6)."""
    incomplete = False
    for rank, level in enumerate(levels):
        for entry in level:
            if not all(map(graph.resolved, entry.denied)):
                if rank == 0:
                    return "IN_ERROR"
                incomplete = True
            if not all(map(graph.resolved, entry.allowed)):
                incomplete = True
    return "INCOMPLETE" if incomplete else "VALID"
