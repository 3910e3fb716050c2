"""The definition, second half: what a permission model says about a person (push-api.md 3.6).

`permissions.relation` answers the same for everybody at once and is held against this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.permissions.expand import Directory, Person, Step
from reconciler.permissions.readings import Readings

Visibility = Literal["secured", "shared", "private"]


class Outcome(StrEnum):
    """What came of it; only the first lets a person in."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNSPECIFIED = "unspecified"
    """No level said anything about the person."""
    HIDDEN = "hidden"
    """A denied identity of the first level is unresolved, so that nobody sees the item."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What one set has to say: the entry that speaks of the person, and why it does.

    `set` counts from 1 in canonical order. `says` is "allows", "denies", "anonymous" for a set that is open
    to everybody, "nothing", or in a `Miss` "names" where an allowed identity is unresolved. `entry` is the
    identity as written, empty for a set that is open or says nothing. `chain` leads from where the person logs
    in to the entry; it is empty when that is the same.
    """

    set: int
    name: str
    says: str
    entry: str = ""
    chain: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says about a person, and why.

    `level` counts from 1, and is None when no level decided. `grounds` holds the sets that made it decide:
    all of its sets when it allows, the one that denies when it denies.
    """

    outcome: Outcome
    level: int | None = None
    name: str = ""
    grounds: tuple[Ground, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the person sees the item."""
        return self.outcome is Outcome.ALLOWED


@dataclass(frozen=True, slots=True)
class Miss:
    """A level that speaks of a person and does not decide: what each of its sets has to say."""

    level: int
    name: str
    grounds: tuple[Ground, ...]


@dataclass(frozen=True, slots=True, order=True)
class Unresolved:
    """An entry of a model whose identity nobody declared; `level` and `set` count from 1.

    `hides` says that the whole item is invisible for its sake.
    """

    level: int
    set: int
    denied: bool
    identity: str
    hides: bool


def unresolved(model: PermissionModel, resolved: Callable[[str], bool], readings: Readings) -> tuple[Unresolved, ...]:
    """Return the entries of a model that name an unresolved identity, in order; `resolved` takes them as written."""
    hides = readings.unresolved_deny_hides_item
    return tuple(
        Unresolved(rank, number, denied, entry, hides and denied and rank == 1)
        for rank, level in enumerate(model.levels, 1)
        for number, permission_set in enumerate(level.sets, 1)
        for denied, entries in ((False, permission_set.allowed), (True, permission_set.denied))
        for entry in entries
        if not resolved(entry)
    )


def decide(model: PermissionModel, person: Person, directory: Directory) -> Verdict:
    """Return what a model says about a person: the first level that allows or denies wins, else nobody is let in."""
    lacking = unresolved(model, lambda entry: directory.resolved(directory.key(entry)), directory.readings)
    hiding = next((entry for entry in lacking if entry.hides), None)
    if hiding is not None:
        level = model.levels[0]
        name = level.sets[hiding.set - 1].name
        return Verdict(Outcome.HIDDEN, 1, level.name, (Ground(hiding.set, name, "denies", hiding.identity),))
    for rank, level in enumerate(model.levels, 1):
        outcome, grounds = _decide_level(level, person, directory)
        if outcome is not Outcome.UNSPECIFIED:
            return Verdict(outcome, rank, level.name, grounds)
    return Verdict(Outcome.UNSPECIFIED)


def misses(model: PermissionModel, person: Person, directory: Directory) -> tuple[Miss, ...]:
    """Return the levels that would let a person in, were it not for a set that is silent or an unresolved identity.

    They explain a verdict that no level decided, and are part of none.
    """
    found = []
    for rank, level in enumerate(model.levels, 1):
        grounds = tuple(_named(number, entry, person, directory) for number, entry in enumerate(level.sets, 1))
        if any(ground.says in ("allows", "names") for ground in grounds):
            found.append(Miss(rank, level.name, grounds))
    return tuple(found)


def _named(number: int, permission_set: PermissionSet, person: Person, directory: Directory) -> Ground:
    ground = _ground(number, permission_set, person, directory)
    if ground.says != "nothing":
        return ground
    for entry, chain in _matches(permission_set.allowed, person, directory):
        return Ground(number, permission_set.name, "names", entry, chain)
    return ground


def decide_item(model: PermissionModel | None, visibility: Visibility, person: Person, directory: Directory) -> Verdict:
    """Return whether a person sees an item with this model in a source of this visibility (push-api.md 2.4).

    A shared source shows everything to everybody, without a level deciding; an item without a model is seen by
    nobody elsewhere.
    """
    if visibility == "shared":
        return Verdict(Outcome.ALLOWED)
    return Verdict(Outcome.UNSPECIFIED) if model is None else decide(model, person, directory)


def _decide_level(level: PermissionLevel, person: Person, directory: Directory) -> tuple[Outcome, tuple[Ground, ...]]:
    """A level denies if any set denies, allows if every set allows, and else says nothing."""
    grounds = tuple(_ground(number, entry, person, directory) for number, entry in enumerate(level.sets, 1))
    denying = [ground for ground in grounds if ground.says == "denies"]
    if denying:
        return Outcome.DENIED, (denying[0],)
    silent = tuple(ground for ground in grounds if ground.says == "nothing")
    if grounds and not silent:
        return Outcome.ALLOWED, grounds
    if len(silent) < len(grounds) and directory.readings.partial_level == "denied":
        return Outcome.DENIED, silent
    return Outcome.UNSPECIFIED, ()


def _ground(number: int, permission_set: PermissionSet, person: Person, directory: Directory) -> Ground:
    """Deny beats allow; a set that is open to everybody is satisfied by everybody it does not deny."""
    name, readings = permission_set.name, directory.readings
    if readings.deny_beats_anonymous or not permission_set.anonymous:
        for entry, chain in _matches(permission_set.denied, person, directory):
            return Ground(number, name, "denies", entry, chain)
    if permission_set.anonymous:
        return Ground(number, name, "anonymous")
    for entry, chain in _matches(permission_set.allowed, person, directory):
        if readings.unresolved_allow == "named" or directory.resolved(directory.key(entry)):
            return Ground(number, name, "allows", entry, chain)
    return Ground(number, name, "nothing")


def _matches(entries: Iterable[str], person: Person, directory: Directory) -> Iterator[tuple[str, tuple[Step, ...]]]:
    """Yield the entries that the person is, those with the shortest chain first."""
    held = [(entry, person.chain(key)) for entry in entries if person.has(key := directory.key(entry))]
    yield from sorted(held, key=lambda match: (len(match[1]), match[0]))
