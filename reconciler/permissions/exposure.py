"""What a change does to who can see what: exact counts, in time that grows with the change.

Takes a relation from one state to the next and compares, class by class, the audiences that the change can
have touched; all other items keep theirs. Says who gained and lost sight of how many items and which edits
stand behind it; what to show of that, and whether it is allowed, is decided elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pyroaring import BitMap

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.permissions.facts import Facts, facts_of
from reconciler.permissions.graph import Numbers
from reconciler.permissions.relation import NOBODY, Audience, Relation


@dataclass(frozen=True, slots=True)
class Edit:
    """One resource before and after; None where there is none."""

    address: Address
    before: Resource | None
    after: Resource | None


class Kind(StrEnum):
    """What became of the items of a shift."""

    CREATED = "created"
    DELETED = "deleted"
    EDITED = "edited"
    """They have another permission model."""
    AFFECTED = "affected"
    """They are as they were, and identities changed around them."""


@dataclass(frozen=True, slots=True)
class Part:
    """What goes through one edited identity: whom of the gained and lost it has to do with.

    Somebody may be in several parts of a shift.
    """

    address: Address
    gained: BitMap
    lost: BitMap


@dataclass(frozen=True, slots=True)
class Shift:
    """Items of one source that went from one model to one model together, so that the same people gained and lost.

    `items` counts them, `examples` are the first of their addresses. `gained` and `lost` are identities, of which
    `people_gained` and `people_lost` count the persons; `seen_before` and `seen_after` count everybody known who
    sees the items. `parts` are the edited identities behind it, by address.
    """

    kind: Kind
    source: str
    items: int
    examples: tuple[str, ...]
    gained: BitMap
    lost: BitMap
    people_gained: int
    people_lost: int
    seen_before: int
    seen_after: int
    was_public: bool
    is_public: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Relations:
    """What an edited identity says no longer and says now: (identity, how, identity), as written."""

    gone: tuple[tuple[str, str, str], ...]
    new: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a change does to who can see what.

    Pairs are of a person and an item. People are counted once over all shifts, aliases of one another as one
    person: those who gained by the aliases afterwards, those who lost by the aliases before.
    """

    shifts: tuple[Shift, ...]
    relations: Mapping[Address, Relations]
    pairs_gained: int
    pairs_lost: int
    people_gained: int
    people_lost: int
    items_gained: int
    items_lost: int


Counting = Callable[[BitMap], int]


@dataclass(slots=True)
class _Moves:
    """Items on their way from class to class."""

    addresses: dict[tuple[int | None, int | None], list[str]] = field(default_factory=dict)
    arrived: dict[int, set[str]] = field(default_factory=dict)


def expose(
    relation: Relation,
    edits: Iterable[Edit],
    *,
    items: Iterable[tuple[str, bytes | None]] = (),
    examples: int = 5,
) -> Exposure:
    """Take `relation` to the state after `edits`, and return what that does; `examples` bounds each shift's.

    Each edit's `before` must be what the relation holds. Groups, aliases and items may come in any order. Many
    items come as rows instead: the address of each and the digest of its model afterwards, None for an item that
    goes; the relation must have been given those models (`Relation.lacks`).
    """
    identities = []
    destinations: dict[str, int | None] = {}
    for edit in edits:
        if edit.address.startswith("item/"):
            destinations[edit.address] = relation.class_for(edit.after) if edit.after else None
        else:
            identities.append(edit)
    for address, model in items:
        source = address.split("/", 2)[1]
        destinations[address] = None if model is None else relation.class_at(source, model)
    change = _IdentityChange(relation, identities)
    relation.settle()
    change.look(before=True)
    before = {number: relation.audience_of(number) for number in relation.classes_naming(change.touched)}
    for address in destinations:
        origin = relation.class_of(address)
        if origin is not None and origin not in before:
            before[origin] = relation.audience_of(origin)
    count_before = _counting(relation, change.regrouped)
    seen_before = {number: _seen(relation, audience, count_before) for number, audience in before.items()}

    relation.graph.replace(change.gone, change.new)
    relation.forget(change.touched)
    change.look(before=False)
    moves = _move(relation, destinations)
    count_after = _counting(relation, change.regrouped)

    shifts = []
    routes: list[tuple[int | None, int | None]] = [(number, number) for number in before]
    for route in (*routes, *moves.addresses):
        shift = _shift(relation, change, route, before, seen_before, moves, (count_before, count_after), examples)
        if shift is not None:
            shifts.append(shift)
    shifts.sort(key=lambda shift: (-shift.items * (shift.people_gained + shift.people_lost), shift.examples))
    return _sum(shifts, change.relations, count_before, count_after)


def _counting(relation: Relation, regrouped: BitMap) -> Counting:
    """Return a way of counting persons by the aliases of now, later as well."""
    first = {number: relation.graph.mates(number)[0] for number in regrouped}
    graph = relation.graph

    def count(people: BitMap) -> int:
        # Only those whose aliases change can be in a set without all of their aliases.
        unsure = people & regrouped
        return (people - unsure).intersection_cardinality(graph.firsts) + len({first[number] for number in unsure})

    return count


def _seen(relation: Relation, audience: Audience, count: Counting) -> int:
    return count(audience.among(relation.graph.people))


def _move(relation: Relation, destinations: Mapping[str, int | None]) -> _Moves:
    moves = _Moves()
    for address, number in destinations.items():
        origin = relation.class_of(address)
        if origin == number:
            continue
        moves.addresses.setdefault((origin, number), []).append(address)
        if number is not None:
            moves.arrived.setdefault(number, set()).add(address)
        relation.place(address, number)
    return moves


def _shift(
    relation: Relation,
    change: _IdentityChange,
    route: tuple[int | None, int | None],
    before: Mapping[int, Audience],
    seen_before: Mapping[int, int],
    moves: _Moves,
    counts: tuple[Counting, Counting],
    examples: int,
) -> Shift | None:
    """Return what a route did to the items that took it, None for items that stayed and are seen as before."""
    origin, end = route
    was = NOBODY if origin is None else before[origin]
    now = NOBODY if end is None else relation.audience_of(end)
    people = relation.graph.people
    saw, sees = was.among(people), now.among(people)
    gained, lost = sees - saw, saw - sees
    if origin == end and end is not None:
        kind, arrived = Kind.AFFECTED, moves.arrived.get(end, set())
        if not gained and not lost and was.anonymous == now.anonymous:
            return None
        addresses: Iterable[str] = relation.items_in(end).keys() - arrived if arrived else relation.items_in(end)
        count = len(relation.items_in(end)) - len(arrived)
    else:
        kind = Kind.CREATED if origin is None else Kind.DELETED if end is None else Kind.EDITED
        addresses = moves.addresses[route]
        count = len(moves.addresses[route])
    if not count:
        return None
    first = heapq.nsmallest(examples, addresses)
    count_before, count_after = counts
    classes = [number for number in route if number is not None]
    named = {who for number in classes for who in relation.named_in(number)}
    return Shift(
        kind=kind,
        source=relation.source_of(classes[0]),
        items=count,
        examples=tuple(first),
        gained=gained,
        lost=lost,
        people_gained=count_after(gained),
        people_lost=count_before(lost),
        seen_before=0 if origin is None else seen_before[origin],
        seen_after=count_after(sees),
        was_public=was.anonymous,
        is_public=now.anonymous,
        parts=change.parts(named, gained, lost),
    )


def _sum(
    shifts: list[Shift], relations: Mapping[Address, Relations], count_before: Counting, count_after: Counting
) -> Exposure:
    return Exposure(
        shifts=tuple(shifts),
        relations=relations,
        pairs_gained=sum(shift.items * shift.people_gained for shift in shifts),
        pairs_lost=sum(shift.items * shift.people_lost for shift in shifts),
        people_gained=count_after(BitMap.union(BitMap(), *(shift.gained for shift in shifts))),
        people_lost=count_before(BitMap.union(BitMap(), *(shift.lost for shift in shifts))),
        items_gained=sum(shift.items for shift in shifts if shift.gained),
        items_lost=sum(shift.items for shift in shifts if shift.lost),
    )


class _IdentityChange:
    """The edited identities as numbers: what each says no longer and says now, and what that touches."""

    def __init__(self, relation: Relation, edits: list[Edit]) -> None:
        graph = relation.graph
        self._graph = graph
        self._edits: list[tuple[Address, Numbers, Numbers]] = []
        self.gone, self.new = Numbers(), Numbers()
        self.relations: dict[Address, Relations] = {}
        for edit in edits:
            old, young = _facts(edit.before), _facts(edit.after)
            before, after = graph.numbers_of(old), graph.numbers_of(young)
            gone, new = before.minus(after), after.minus(before)
            self._edits.append((edit.address, gone, new))
            self.gone.add(gone)
            self.new.add(new)
            said, says = _said(old), _said(young)
            self.relations[edit.address] = Relations(tuple(sorted(said - says)), tuple(sorted(says - said)))
        self.touched: set[int] = set()
        self.regrouped = BitMap()
        self._behind: dict[int, set[int]] = {}
        self._resolved: dict[int, bool] = {}
        self._flows: list[BitMap] = [BitMap() for _ in self._edits]

    def look(self, *, before: bool) -> None:
        """Note what each edit touches, and the people who go through it, as the graph is now."""
        graph = self._graph
        for index, (_, gone, new) in enumerate(self._edits):
            moved = gone if before else new
            starts = {start for start, _ in moved.belongs} | graph.regrouped(gone, new)
            flow = graph.all_below(starts)
            resolution = {*gone.resolved, *new.resolved, *gone.members, *new.members}
            for number in resolution:
                self._resolved.setdefault(number, graph.resolved(number))
            flipped = any(self._resolved[number] != graph.resolved(number) for number in resolution)
            if flipped or not graph.anonymous.isdisjoint(starts):
                # Whether a name is resolved decides for everybody about the items that name it.
                flow = flow | graph.people
            self._flows[index] |= flow
            if before:
                touched = graph.above(graph.seeds(gone, new)) | resolution
                self.touched |= touched
                for number in touched:
                    self._behind.setdefault(number, set()).add(index)
                self.regrouped |= BitMap(graph.regrouped(gone, new))

    def parts(self, named: Iterable[int], gained: BitMap, lost: BitMap) -> tuple[Part, ...]:
        """Return the edits that touch any of these identities, with whom of the gained and lost go through them."""
        found = {index for number in named for index in self._behind.get(number, ())}
        parts = (Part(self._edits[index][0], gained & self._flows[index], lost & self._flows[index]) for index in found)
        return tuple(sorted((part for part in parts if part.gained or part.lost), key=lambda part: part.address))


def _facts(resource: Resource | None) -> list[Facts]:
    return [facts_of(resource)] if resource else []


def _said(facts: list[Facts]) -> set[tuple[str, str, str]]:
    said = {(start, str(how), end) for fact in facts for start, end, how in fact.belongs}
    return said | {(one, "alias", other) for fact in facts for one, other in fact.same}
