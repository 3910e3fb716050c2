"""Who gains and who loses sight of what, as JSON values: what a plan carries and `access diff` prints.

The document is complete where that is small. Otherwise it counts everything and names the first, and all of it is
had as JSON Lines, made piece by piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson
from pyroaring import BitMap

from reconciler.model.identity import parse_identity
from reconciler.permissions.exposure import Causes, Exposure, Naming, Relations, Shift
from reconciler.planning.plan import Hazard

EXAMPLES = 5  # items that are named of those that change alike
PERSONS = 25  # and people
NAMED = 30_000  # identities, and relations of causes, in a complete document: about 2 MB each
LISTED = 500  # entries of either side in any document
SHORT = 20  # identities of an entry, and relations of a cause, in a document that is not complete
_PIECE = 1000

Names = Callable[[BitMap, int | None], list[str]]
"""People as canonical identities in order, at most so many (`permissions.relation.Relation.names`)."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What one side of a shift comes to."""

    shift: Shift
    people: BitMap
    number: int
    is_public: bool
    domains: tuple[str, ...]


@dataclass(slots=True)
class _Entry:
    """Items that the same people gain or lose."""

    sides: list[_Side] = field(default_factory=list)
    causes: Causes = field(default_factory=Causes)

    @property
    def items(self) -> int:
        return sum(side.shift.items for side in self.sides)

    @property
    def weight(self) -> int:
        return self.items * max(1, self.sides[0].number)


def exposure_document(
    found: Exposure, names: Names, *, hazards: Iterable[Hazard] = (), named: int = NAMED, listed: int = LISTED
) -> dict[str, Any]:
    """Return the exposure: what is gained and lost, totals, what it comes from, and the plan's hazards of access.

    It is complete with at most `named` identities in all and `listed` entries of either side; else it names the
    first of each and counts the rest.
    """
    sides = [_alike(_gains(found), found, listed), _alike(_losses(found), found, listed)]
    entries = [entry for shown, _ in sides for entry in shown]
    because = sorted({part.address for entry in entries for part in entry.causes.parts})
    causes = {address: found.relations[address] for address in because}
    total = sum(len(entry.sides[0].people) for entry in entries)
    relations = sum(len(said.gone) + len(said.new) for said in causes.values())
    complete = not any(more for _, more in sides) and max(total, relations) <= named
    most = None if complete else SHORT
    naming = (found.name_gained, found.name_lost)
    gained, lost = (
        [_entry(entry, names, name, most) for entry in shown] for (shown, _), name in zip(sides, naming, strict=True)
    )
    return {
        "complete": complete,
        "gained": gained,
        "lost": lost,
        "more": {"gained": sides[0][1], "lost": sides[1][1]},
        "totals": {
            "pairs_gained": found.pairs_gained,
            "pairs_lost": found.pairs_lost,
            "people_gained": found.people_gained,
            "people_lost": found.people_lost,
            "items_gained": found.items_gained,
            "items_lost": found.items_lost,
        },
        "causes": {str(address): _cause(said, most) for address, said in causes.items()},
        "hazards": [_hazard(hazard) for hazard in hazards],
    }


def exposure_stream(found: Exposure, names: Names) -> Iterator[bytes]:
    """Yield everything that is gained and lost as JSON Lines, in pieces: one line for each shift and side."""
    for word, sides in (("gained", _gains(found)), ("lost", _losses(found))):
        for side in sides:
            causes = found.causes(side.shift)
            head = {
                "side": word,
                **_facts(side, side.shift.items),
                "because": [part.address for part in causes.parts],
                "more_causes": causes.more,
            }
            yield orjson.dumps(head)[:-1] + b',"identities":['
            yield from _pieces(names(side.people, None))
            yield b'],"addresses":['
            yield from _pieces(sorted(side.shift.addresses))
            yield b"]}\n"


def _pieces(texts: list[str]) -> Iterator[bytes]:
    for start in range(0, len(texts), _PIECE):
        piece = orjson.dumps(texts[start : start + _PIECE])[1:-1]
        yield b"," + piece if start else piece


def _gains(found: Exposure) -> Iterator[_Side]:
    for shift in found.shifts:
        opened = shift.is_public and not shift.was_public
        if shift.gained or shift.domains_gained or opened:
            yield _Side(shift, shift.gained, shift.people_gained, opened, shift.domains_gained)


def _losses(found: Exposure) -> Iterator[_Side]:
    for shift in found.shifts:
        closed = shift.was_public and not shift.is_public
        if shift.lost or shift.domains_lost or closed:
            yield _Side(shift, shift.lost, shift.people_lost, closed, shift.domains_lost)


def _alike(sides: Iterable[_Side], found: Exposure, listed: int) -> tuple[list[_Entry], int]:
    """Return one entry for all items that the same people gain or lose for the same reason, and how many more.

    What weighs most comes first, and what is behind the others is not looked for.
    """
    groups: dict[tuple[object, ...], _Entry] = {}
    for side in sides:
        people = hashlib.blake2b(side.people.serialize(), digest_size=16).digest()
        key = (side.shift.kind, side.shift.source, people, side.is_public, side.domains)
        groups.setdefault(key, _Entry()).sides.append(side)
    whole = _weighed(groups.values())
    entries = _weighed(chain.from_iterable(_by_cause(entry, found) for entry in whole[:listed]))
    return entries[:listed], max(0, len(entries) - listed) + max(0, len(whole) - listed)


def _weighed(entries: Iterable[_Entry]) -> list[_Entry]:
    return sorted(entries, key=lambda entry: (-entry.weight, entry.sides[0].shift.examples))


def _by_cause(entry: _Entry, found: Exposure) -> Iterable[_Entry]:
    split: dict[tuple[object, ...], _Entry] = {}
    for side in entry.sides:
        causes = found.causes(side.shift)
        parts = tuple(part for part in causes.parts if _concerns(side, part.gained | part.lost))
        key = (*(part.address for part in parts), causes.more)
        split.setdefault(key, _Entry(causes=Causes(parts, causes.more))).sides.append(side)
    return split.values()


def _concerns(side: _Side, people: BitMap) -> bool:
    return not side.people or bool(side.people & people)


def _facts(side: _Side, items: int) -> dict[str, Any]:
    return {
        "kind": side.shift.kind.value,
        "source": side.shift.source,
        "items": items,
        "people": side.number,
        "public": side.is_public,
        "domains": [domain.split("/", 2)[2] for domain in side.domains],
    }


def _entry(entry: _Entry, names: Names, name: Naming, most: int | None) -> dict[str, Any]:
    side = entry.sides[0]
    return {
        **_facts(side, entry.items),
        "examples": sorted(chain.from_iterable(other.shift.examples for other in entry.sides))[:EXAMPLES],
        "because": [str(part.address) for part in entry.causes.parts],
        "more_causes": entry.causes.more,
        "persons": name(side.people, PERSONS),
        "identities": names(side.people, most),
    }


def _hazard(hazard: Hazard) -> dict[str, Any]:
    return {
        "name": hazard.name,
        "subject": hazard.subject,
        "source": hazard.subject.removeprefix("item/"),
        "items": hazard.count,
        "people": hazard.people,
        "examples": list(hazard.addresses),
        "allowed": hazard.allowed,
    }


def _cause(said: Relations, most: int | None) -> dict[str, list[str]]:
    return {"gone": [_told(entry) for entry in said.gone[:most]], "new": [_told(entry) for entry in said.new[:most]]}


def _told(relation: tuple[str, str, str]) -> str:
    start, how, end = relation
    return f"{parse_identity(start).short} {how} {parse_identity(end).short}"
