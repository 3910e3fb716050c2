"""What a change does to who can see what: exact counts, in time that grows with the change.

Takes a relation from one state to the next and compares, class by class, the audiences that the change can
have touched; all other items keep theirs. Says who gained and lost sight of how many items, and, where it is
asked, which edits stand behind it; what to show of that, and whether it is allowed, is decided elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pyroaring import BitMap

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.permissions.facts import Facts, facts_of
from reconciler.permissions.graph import Numbers
from reconciler.permissions.relation import NOBODY, Audience, Relation

CAUSES = 50
"""How many edits are named behind one shift; the others are counted."""


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
class Causes:
    """The edited identities behind a shift, by address: those through which most people go, and how many more."""

    parts: tuple[Part, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Shift:
    """Items of one source that went from one model to one model together, so that the same people gained and lost.

    `addresses` are all of them, in no order and for as long as the relation stays as it is; `items` counts them,
    `examples` are the first. `gained` and `lost` are identities, of which `people_gained` and `people_lost` count
    the persons; `seen_before` and `seen_after` count everybody known who sees the items. `domains_gained` are the
    patterns (`*@domain`) of domains of which somebody of whom nothing else is known gained, `domains_lost` those of
    which somebody such lost. `undenied` are the identities that the items' model denied before and does not deny
    now, neither by name nor by a group.
    """

    kind: Kind
    source: str
    items: int
    addresses: Collection[str]
    examples: tuple[str, ...]
    gained: BitMap
    lost: BitMap
    people_gained: int
    people_lost: int
    seen_before: int
    seen_after: int
    was_public: bool
    is_public: bool
    was_unseen: bool
    is_unseen: bool
    domains_gained: tuple[str, ...]
    domains_lost: tuple[str, ...]
    undenied: tuple[str, ...]
    classes: tuple[int, ...]

    @property
    def widens(self) -> bool:
        """Whether somebody, known or not, gained sight of items that existed before."""
        opened = self.is_public and not self.was_public
        return self.kind is not Kind.CREATED and bool(self.gained or self.domains_gained or opened)


@dataclass(frozen=True, slots=True)
class Relations:
    """What an edited identity says no longer and says now: (identity, how, identity), as written."""

    gone: tuple[tuple[str, str, str], ...]
    new: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a change does to who can see what.

    Pairs are of a person and an item. People are counted once over all shifts, aliases of one another as one
    person: those who gained by the aliases afterwards, those who lost by the aliases before. `relations` says what
    each edited identity says no longer and says now.
    """

    shifts: tuple[Shift, ...]
    relations: Mapping[Address, Relations]
    pairs_gained: int
    pairs_lost: int
    people_gained: int
    people_lost: int
    items_gained: int
    items_lost: int
    causes: Callable[[Shift], Causes]
    """The edited identities behind a shift, worked out when asked for."""
    count_gained: Callable[[BitMap], int]
    """How many persons some of those are who gained."""
    count_lost: Callable[[BitMap], int]
    """How many persons some of those are who lost."""
    name_gained: Naming
    """A name for each of at most so many persons among some of those who gained, in order."""
    name_lost: Naming
    """A name for each of at most so many persons among some of those who lost, in order."""


Counting = Callable[[BitMap], int]
Naming = Callable[[BitMap, int], list[str]]


@dataclass(slots=True)
class _Moves:
    """Items on their way from class to class."""

    addresses: dict[tuple[int | None, int | None], list[str]] = field(default_factory=dict)
    arrived: dict[int, set[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _View:
    """Who sees the items of a class at one moment: how many known persons, and by pattern who is of a domain."""

    audience: Audience
    seen: int = 0
    domains: Mapping[int, bool] = field(default_factory=dict)

    @property
    def is_unseen(self) -> bool:
        return not (self.seen or self.audience.anonymous or any(self.domains.values()))


_UNSEEN = _View(NOBODY)


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
    origins = {address: relation.class_of(address) for address in destinations}
    affected = relation.classes_naming(change.touched)
    edited = {
        number
        for address, end in destinations.items()
        if (origin := origins[address]) is not None and end is not None and origin != end
        for number in (origin, end)
    }
    change.look({who for number in affected | edited for who in relation.named_in(number)})
    views = _Views(relation)
    left = {origin for origin in origins.values() if origin is not None}
    before = {number: views.of(number) for number in affected | left}
    count_before, name_before = _counting(relation, change.regrouped)

    relation.graph.replace(change.gone, change.new)
    relation.forget(change.touched)
    change.look_again()
    moves = _move(relation, destinations)
    count_after, name_after = _counting(relation, change.regrouped)

    taking = _Taking(relation, before, _Views(relation), moves, count_before, count_after, examples)
    stays: list[tuple[int | None, int | None]] = [(number, number) for number in before]
    shifts = [shift for route in (*stays, *moves.addresses) if (shift := taking.shift(route)) is not None]
    shifts.sort(key=lambda shift: (-shift.items * (shift.people_gained + shift.people_lost), shift.examples))
    return _sum(shifts, change, (count_before, name_before), (count_after, name_after))


def _counting(relation: Relation, regrouped: BitMap) -> tuple[Counting, Naming]:
    """Return ways of counting and of naming persons by the aliases of now, later as well."""
    first = {number: relation.graph.mates(number)[0] for number in regrouped}
    graph = relation.graph

    def count(people: BitMap) -> int:
        # Only those whose aliases change can be in a set without all of their aliases.
        unsure = people & regrouped
        return (people - unsure).intersection_cardinality(graph.firsts) + len({first[number] for number in unsure})

    def name(people: BitMap, most: int) -> list[str]:
        limit = most * 2
        while True:
            listed = relation.names(people, limit)
            told: dict[int, str] = {}
            for identity in listed:
                number = graph.number(identity)
                told.setdefault(first[number] if number in first else graph.mates(number)[0], identity)
            if len(told) >= most or len(listed) < limit:
                return list(told.values())[:most]
            limit *= 4

    return count, name


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


class _Views:
    """Looks at classes as the relation is at the moment of making this."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation
        self._patterns: dict[int, list[int]] = {}
        everybody = relation.graph.anonymous
        for pattern in relation.graph.patterns:
            for number in relation.graph.above((pattern,)) - everybody:
                self._patterns.setdefault(number, []).append(pattern)

    def of(self, number: int) -> _View:
        """Return who sees the items of a class."""
        relation = self._relation
        audience = relation.audience_of(number)
        patterns = {pattern for who in relation.named_in(number) for pattern in self._patterns.get(who, ())}
        # Everybody who is seen has all of their aliases beside them here, so the first of each is enough.
        seen = relation.count(_known(audience, relation.graph.people))
        return _View(audience, seen, {pattern: relation.admits(number, pattern) for pattern in patterns})


@dataclass(frozen=True, slots=True)
class _Taking:
    """What is known of both sides while shifts are made."""

    relation: Relation
    before: Mapping[int, _View]
    views: _Views
    moves: _Moves
    count_before: Counting
    count_after: Counting
    examples: int

    def shift(self, route: tuple[int | None, int | None]) -> Shift | None:
        """Return what a route did to the items that took it, None for items that stayed and are seen as before."""
        relation, (origin, end) = self.relation, route
        addresses = self._addresses(route)
        if not addresses:
            return None
        was = _UNSEEN if origin is None else self.before[origin]
        now = _UNSEEN if end is None else self.views.of(end)
        people = relation.graph.people
        saw, sees = _known(was.audience, people), _known(now.audience, people)
        gained, lost = sees - saw if saw else sees, saw - sees if sees else saw
        came = [] if now.audience.anonymous else _domains_gained(was, now)
        went = [] if was.audience.anonymous else _domains_gained(now, was)
        opened = was.audience.anonymous != now.audience.anonymous
        if origin == end and not (gained or lost or opened or came or went):
            return None
        first = heapq.nsmallest(self.examples, addresses)
        classes = tuple(number for number in route if number is not None)
        return Shift(
            kind=_kind(route),
            source=relation.source_of(classes[0]),
            items=len(addresses),
            addresses=addresses,
            examples=tuple(first),
            gained=gained,
            lost=lost,
            people_gained=self.count_after(gained) if saw else now.seen,
            people_lost=self.count_before(lost) if sees else was.seen,
            seen_before=was.seen,
            seen_after=now.seen,
            was_public=was.audience.anonymous,
            is_public=now.audience.anonymous,
            was_unseen=was.is_unseen,
            is_unseen=now.is_unseen,
            domains_gained=tuple(sorted(map(relation.graph.name, came))),
            domains_lost=tuple(sorted(map(relation.graph.name, went))),
            undenied=self._undenied(origin, end),
            classes=classes,
        )

    def _addresses(self, route: tuple[int | None, int | None]) -> Collection[str]:
        origin, end = route
        if origin != end or end is None:
            return self.moves.addresses[route]
        stayed, arrived = self.relation.items_in(end), self.moves.arrived.get(end)
        return stayed.keys() - arrived if arrived else stayed

    def _undenied(self, origin: int | None, end: int | None) -> tuple[str, ...]:
        if origin is None or end is None or origin == end:
            return ()
        relation = self.relation
        if not relation.has_model(end):
            return ()
        denied = relation.denied_in(end)
        gone = relation.denied_in(origin) - denied
        free = [who for who in gone if denied.isdisjoint(relation.graph.held_by(who))]
        return tuple(sorted(map(relation.graph.name, free)))


def _known(audience: Audience, people: BitMap) -> BitMap:
    """Return everybody known who sees something, in a set that may be shared: do not change it."""
    return people - audience.others if audience.anonymous else audience.others


def _kind(route: tuple[int | None, int | None]) -> Kind:
    origin, end = route
    if origin == end:
        return Kind.AFFECTED
    return Kind.CREATED if origin is None else Kind.DELETED if end is None else Kind.EDITED


def _domains_gained(was: _View, now: _View) -> list[int]:
    return [
        pattern
        for pattern in was.domains.keys() | now.domains.keys()
        if now.domains.get(pattern, now.audience.anonymous) and not was.domains.get(pattern, was.audience.anonymous)
    ]


def _sum(
    shifts: list[Shift], change: _IdentityChange, before: tuple[Counting, Naming], after: tuple[Counting, Naming]
) -> Exposure:
    (count_before, name_before), (count_after, name_after) = before, after
    return Exposure(
        shifts=tuple(shifts),
        relations=_Said(change.edits),
        pairs_gained=sum(shift.items * shift.people_gained for shift in shifts),
        pairs_lost=sum(shift.items * shift.people_lost for shift in shifts),
        people_gained=count_after(BitMap.union(BitMap(), *(shift.gained for shift in shifts))),
        people_lost=count_before(BitMap.union(BitMap(), *(shift.lost for shift in shifts))),
        items_gained=sum(shift.items for shift in shifts if shift.gained),
        items_lost=sum(shift.items for shift in shifts if shift.lost),
        causes=change.causes,
        count_gained=count_after,
        count_lost=count_before,
        name_gained=name_after,
        name_lost=name_before,
    )


class _Said(Mapping[Address, Relations]):
    """What each edited identity says no longer and says now; compared when somebody asks."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits = {edit.address: edit for edit in edits}

    def __getitem__(self, address: Address) -> Relations:
        edit = self._edits[address]
        said, says = _said(_facts(edit.before)), _said(_facts(edit.after))
        return Relations(tuple(sorted(said - says)), tuple(sorted(says - said)))

    def __iter__(self) -> Iterator[Address]:
        return iter(self._edits)

    def __len__(self) -> int:
        return len(self._edits)


@dataclass(slots=True)
class _Flow:
    """Who goes through an edit: sets of people; everybody for items that name one of these identities, or for all."""

    people: list[BitMap]
    naming: set[int] = field(default_factory=set)
    everybody: bool = False

    def weight(self, some: BitMap, named: set[int]) -> int:
        """Return how much of some people goes through, counted anew for each way; cheaper than `through`."""
        if not some:
            return 0
        if self.everybody or not self.naming.isdisjoint(named):
            return len(some)
        return sum(map(some.intersection_cardinality, self.people))

    def through(self, some: BitMap, named: set[int]) -> BitMap:
        """Return who of some people goes through the edit to items that name these identities."""
        if self.everybody or not self.naming.isdisjoint(named):
            return some
        return BitMap.union(BitMap(), *(some & people for people in self.people))


_NOTHING = Numbers()  # shared: it is only read


class _IdentityChange:
    """The edited identities as numbers: what each says no longer and says now, and what that touches."""

    def __init__(self, relation: Relation, edits: list[Edit]) -> None:
        graph = relation.graph
        self._relation = relation
        self._graph = graph
        self.edits = edits
        self._moved: list[tuple[Numbers, Numbers]] = []
        self.gone, self.new = Numbers(), Numbers()
        for edit in edits:
            gone = graph.numbers_of(_facts(edit.before)) if edit.before else _NOTHING
            new = graph.numbers_of(_facts(edit.after)) if edit.after else _NOTHING
            if edit.before and edit.after:
                gone, new = gone.minus(new), new.minus(gone)
            self._moved.append((gone, new))
            self.gone.add(gone)
            self.new.add(new)
        self.touched = graph.above(graph.seeds(self.gone, self.new)) | _resolution(self.gone, self.new)
        self.regrouped = BitMap(graph.regrouped(self.gone, self.new))
        self._behind: dict[int, BitMap] = {}
        self._flows: dict[int, _Flow] = {}
        self._resolved: dict[int, bool] = {}

    def look(self, named: set[int]) -> None:
        """Note which edits stand behind items that name these identities, and who goes through, as it is before."""
        graph, named = self._graph, named & self.touched
        if not named:
            return
        for index, (gone, new) in enumerate(self._moved):
            resolution = _resolution(gone, new)
            reached = named & (graph.above(graph.seeds(gone, new)) | resolution)
            if not reached:
                continue
            for number in reached:
                self._behind.setdefault(number, BitMap()).add(index)
            for number in resolution & named:
                self._resolved.setdefault(number, graph.resolved(number))
            self._flows[index] = _Flow([])
            self._note(index, gone)

    def look_again(self) -> None:
        """Note who goes through the same edits as it is afterwards."""
        resolved = self._graph.resolved
        flipped = {number for number, was in self._resolved.items() if was != resolved(number)}
        for index, flow in self._flows.items():
            # Whether a name is resolved decides for everybody about the items that name it.
            flow.naming |= _resolution(*self._moved[index]) & flipped
            self._note(index, self._moved[index][1])

    def _note(self, index: int, moved: Numbers) -> None:
        flow = self._flows[index]
        starts = {start for start, _ in moved.belongs} | self._graph.regrouped(*self._moved[index])
        flow.people += self._graph.each_below(starts)
        flow.everybody = flow.everybody or not self._graph.anonymous.isdisjoint(starts)

    def causes(self, shift: Shift) -> Causes:
        """Return the edits behind a shift. Items that come or go need none: they come or go themselves."""
        if shift.kind in (Kind.CREATED, Kind.DELETED):
            return Causes()
        named = {who for number in shift.classes for who in self._relation.named_in(number)}
        found = BitMap.union(BitMap(), *(self._behind[who] for who in named if who in self._behind))
        # Where nobody known gains or loses, whatever touches the items is behind what strangers gain.
        strangers = not (shift.gained or shift.lost)
        weights = []
        for index in found:
            flow = self._flows[index]
            weight = flow.weight(shift.gained, named) + flow.weight(shift.lost, named)
            if weight or strangers:
                weights.append((-weight, self.edits[index].address, index))
        chosen = heapq.nsmallest(CAUSES, weights)
        parts = (
            Part(address, flow.through(shift.gained, named), flow.through(shift.lost, named))
            for _, address, index in chosen
            for flow in (self._flows[index],)
        )
        return Causes(tuple(sorted(parts, key=lambda part: part.address)), len(weights) - len(chosen))


def _resolution(gone: Numbers, new: Numbers) -> set[int]:
    return {*gone.resolved, *new.resolved, *gone.members, *new.members}


def _facts(resource: Resource | None) -> list[Facts]:
    return [facts_of(resource)] if resource else []


def _said(facts: list[Facts]) -> set[tuple[str, str, str]]:
    said = {(start, str(how), end) for fact in facts for start, end, how in fact.belongs}
    return said | {(one, "alias", other) for fact in facts for one, other in fact.same}
