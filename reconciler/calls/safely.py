"""The fewest calls in an order in which nobody sees for a moment what was not meant for them.

The rule (design.md, section 5): at every prefix of the calls, whoever can see an item could see it before the
first or may see it after the last. The usual order (`calls.compile`) nearly always keeps it. Where it does not,
the changes go in waves: batches are divided, items go before identities, and, if asked, something is tightened
first: a group keeps only the members that it has before and after, an item is hidden. What it took is said.

A call counts as taking effect at once and as a whole. The remote promises neither (push-api.md 5.1): identities
are effective when their provider is refreshed, items minutes after they were accepted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from reconciler.calls.call import Call, Compiled, Order, Transient, Verb, Wave
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit
from reconciler.permissions.moments import Moments, Seers, Version
from reconciler.permissions.relation import Relation
from reconciler.permissions.safeorder import EXACT, Budget, Piece, Route, Search
from reconciler.permissions.transient import Journey, Sight, Step, TooMuch, journeys_of, meant_for, transients
from reconciler.planning.change import IDENTITY_LISTS, Change

EXAMPLES = 5
ROUNDS = 6
"""How often an order is looked for anew because it showed what the one before did not."""

HIDDEN = canonical_json({"levels": [{"sets": [{}]}]})
"""The permission model of an item that nobody may see."""

Compile = Callable[[Sequence[Wave]], Compiled]
Recorded = Callable[[Iterable[str]], Mapping[str, Resource]]


def in_safe_order(
    changes: Sequence[Change], relation: Relation, recorded: Recorded, make: Compile, *, tighten: bool = False
) -> Compiled:
    """Return the calls that `make` compiles, in waves where that keeps every moment safe.

    `relation` is what is recorded, and `recorded` looks up resources of it; `make` compiles `changes`, given waves.
    With `tighten`, calls that tighten may be added where no order of the final calls is safe.
    """
    usual = make(())
    identities = [change for change in changes if change.address.kind is not Kind.ITEM]
    was = recorded([change.address for change in identities]) if identities else {}
    edits = [Edit(change.address, was.get(change.address), change.after) for change in identities]
    edits = [edit for edit in edits if edit.before != edit.after]
    # Where nothing is yet, items come when their identities are as they will be.
    if not edits or (relation.is_bare and all(edit.after for edit in edits)):
        return replace(usual, order=Order(checked=True))
    try:
        return _Ordering(changes, edits, relation, usual, make).safe(tighten=tighten)
    except TooMuch:
        return usual


_Way = tuple[int | None, int | None, bool]
"""The class that items come from, the one that they go to, and whether they move at all."""


class _View:
    """The moments of a change together with what its items do in it."""

    def __init__(
        self, relation: Relation, edits: Sequence[Edit], items: Sequence[Change], tightened: Mapping[str, Resource]
    ) -> None:
        self.moments = Moments(relation, edits, tightened)
        self.goals: dict[str, int | None] = {
            change.address: None if change.after is None else self.moments.class_for(change.after) for change in items
        }
        self._edits = range(len(edits))

    @cached_property
    def journeys(self) -> dict[_Way, Journey]:
        """Return the items that the edits concern, as if all that move did so in one step."""
        found = journeys_of(self.moments, (Step(items=self.goals),), self.moments.touched())
        return {_way(journey): journey for journey in found}

    def concerns(self) -> list[set[int]]:
        """Return, for each edit, the classes of which it decides who sees their items, at the first or last moment."""
        found = [self.moments.touched_by(number) for number in self._edits]
        self.moments.go(dict.fromkeys(self._edits, Version.AFTER))
        found = [known | self.moments.touched_by(number) for number, known in enumerate(found)]
        self.moments.go(dict.fromkeys(self._edits, Version.BEFORE))
        return found

    @cached_property
    def meant(self) -> dict[Journey, Seers]:
        """Who may see each journey's items."""
        return meant_for(self.moments, self.journeys.values(), self._edits)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Calls, and what is seen between them that was not to be."""

    compiled: Compiled
    view: _View
    seen: Sequence[Sight]

    @property
    def weight(self) -> int:
        """How much is seen: pairs of somebody and an item."""
        return sum(sight.journey.count * len(sight.seers) for sight in self.seen)


class _Ordering:
    """Looks for waves, and holds every attempt against the rule, call by call."""

    def __init__(
        self, changes: Sequence[Change], edits: list[Edit], relation: Relation, usual: Compiled, make: Compile
    ) -> None:
        self._relation = relation
        self._edits = edits
        self._items = [change for change in changes if change.address.kind is Kind.ITEM]
        self._after = {change.address: change.after for change in self._items}
        self._number = {edit.address: number for number, edit in enumerate(edits)}
        self._usual = usual
        self._make = make
        self._view = self._viewed({})
        self._budget = Budget()
        self._place = {
            covered.address: (rank, (stage.name, call.scope))
            for rank, stage in enumerate(usual.stages)
            for call in stage.calls
            for covered in call.covers
        }

    def safe(self, *, tighten: bool) -> Compiled:
        """Return the usual calls if they are safe, else those of which the fewest see what is not meant for them."""
        seen = self._seen(self._view, self._usual)
        if not seen:
            return replace(self._usual, order=Order(checked=True))
        best = self._searched(seen)
        if tighten and best.seen:
            self._budget = Budget()
            best = self._tightened_calls(seen, best)
        told = tuple(_told(best.view.moments, sight) for sight in best.seen)
        extra = max(0, best.compiled.api_calls - self._usual.api_calls)
        return replace(best.compiled, order=Order(checked=True, extra_calls=extra, transients=told))

    def _viewed(self, tightened: Mapping[str, Resource]) -> _View:
        return _View(self._relation, self._edits, self._items, tightened)

    def _searched(self, seen: Sequence[Sight]) -> _Attempt:
        """Look for an order in which nothing is seen of what was, and nothing new; what has none is left as it is."""
        best = _Attempt(self._usual, self._view, seen)
        minded, hopeless = _ways(seen), frozenset[_Way]()
        with suppress(TooMuch):
            for _ in range(ROUNDS):
                if minded <= hopeless:
                    break
                attempt = self._attempt(minded - hopeless)
                if attempt is None:
                    alone = self._hopeless(minded - hopeless)
                    if not alone:
                        break
                    hopeless |= alone
                    continue
                if attempt.weight < best.weight:
                    best = attempt
                more = _ways(attempt.seen) - hopeless
                if not more:
                    break
                if more <= minded:
                    hopeless |= more
                minded |= more
        return best

    def _hopeless(self, ways: Collection[_Way]) -> frozenset[_Way]:
        """Return the ways for which there is no safe order even if they are all that counts."""
        exact = EXACT if len(ways) <= EXACT else 0
        return frozenset(way for way in sorted(ways, key=str) if self._route(frozenset({way}), exact=exact) is None)

    def _tightened_calls(self, seen: Sequence[Sight], best: _Attempt) -> _Attempt:
        """Look for an order in which what no other order avoids is tightened; the best known if there is none."""
        minded, tight = _ways(seen) | _ways(best.seen), _ways(best.seen)
        with suppress(TooMuch):
            for _ in range(ROUNDS):
                attempt = self._attempt(minded, tight)
                if attempt is None:
                    if tight == minded:
                        break
                    # What is safe by itself need not be together with what is tightened.
                    tight = minded
                    continue
                if attempt.weight < best.weight:
                    best = attempt
                more = _ways(attempt.seen)
                if not more or (more <= minded and more <= tight):
                    break
                minded, tight = minded | more, tight | more
        return best

    def _attempt(self, minded: frozenset[_Way], tight: frozenset[_Way] = frozenset()) -> _Attempt | None:
        """Return calls in an order in which nothing is seen of these ways, None where there is none."""
        found = self._route(minded, tight)
        if found is None:
            return None
        route, pieces, view, tightened = found
        compiled = self._make(self._waves(route, pieces, tightened))
        return _Attempt(compiled, view, self._seen(view, compiled))

    def _route(
        self, minded: frozenset[_Way], tight: frozenset[_Way] = frozenset(), *, exact: int = EXACT
    ) -> tuple[Route, list[Piece], _View, Mapping[str, Resource]] | None:
        classes = _classes(minded)
        relevant = [number for number, concerned in enumerate(self._concerns) if concerned & classes]
        tightened = self._tightened(relevant, _classes(tight)) if tight else {}
        view = self._viewed(tightened) if tightened else self._view
        journeys = view.journeys
        listed = {way: journeys[way] for way in sorted(minded, key=str)}
        pieces = self._pieces(relevant, listed, tightened, tight)
        staying = [journey for way, journey in listed.items() if not way[2]]
        search = Search(view.moments, pieces, staying, view.meant, self._budget, exact=exact)
        try:
            route = search.tightened() if tight else search.order()
        finally:
            view.moments.go(dict.fromkeys(range(len(self._edits)), Version.BEFORE))
        return (route, pieces, view, tightened) if route is not None else None

    @cached_property
    def _concerns(self) -> list[set[int]]:
        return self._view.concerns()

    # What is looked at

    def _seen(self, view: _View, compiled: Compiled) -> list[Sight]:
        return transients(view.moments, [self._step(view, call) for call in compiled.calls])

    def _step(self, view: _View, call: Call) -> Step:
        edits: dict[int, Version] = {}
        items: dict[str, int | None] = {}
        for covered in call.covers:
            tight = covered.verb is Verb.TIGHTEN
            number = self._number.get(covered.address)
            if number is not None:
                edits[number] = Version.TIGHT if tight else Version.AFTER
            elif covered.address in self._after:
                items[covered.address] = (
                    view.moments.class_for(self._hidden(covered.address)) if tight else view.goals[covered.address]
                )
        return Step(edits, items)

    def _pieces(
        self,
        edits: Sequence[int],
        journeys: Mapping[_Way, Journey],
        tightened: Mapping[str, Resource],
        tight: Collection[_Way],
    ) -> list[Piece]:
        """Return what the order is about, each piece at its usual place."""
        pieces = []
        for number in edits:
            place = self._place.get(self._edits[number].address)
            if place is not None:
                rank, group = place
                pieces.append(Piece(group, rank, edit=number, tightens=self._edits[number].address in tightened))
        for way, journey in journeys.items():
            if not way[2]:
                continue
            rank, group = self._place[Address(journey.addresses[0])]
            hides = way in tight and journey.start is not None and journey.end is not None
            pieces.append(Piece(group, rank, journey=journey, tightens=hides))
        return sorted(pieces, key=lambda piece: (piece.rank, piece.group, piece.edit or 0))

    # What comes of it

    def _tightened(self, edits: Iterable[int], classes: Collection[int]) -> dict[str, Resource]:
        """Return what identities can be for the time being, by address, so that fewer see items of these classes."""
        found = {}
        for number in edits:
            lets_in = self._view.moments.lets_in(number, classes)
            resource = None if lets_in is None else _between(self._edits[number], union=not lets_in)
            if resource is not None:
                found[str(resource.address)] = resource
        return found

    def _hidden(self, address: Address) -> Resource:
        after = self._after[address]
        assert after is not None
        return Resource(address, after.doc, HIDDEN)

    def _waves(self, route: Route, pieces: Sequence[Piece], tightened: Mapping[str, Resource]) -> list[Wave]:
        def addresses(numbers: Iterable[int]) -> list[str]:
            return [address for number in numbers for address in self._addresses(pieces[number])]

        tight = [
            Wave(
                tightened=tuple(
                    tightened[address] if address in tightened else self._hidden(Address(address))
                    for address in sorted(addresses(numbers))
                ),
                together=True,
            )
            for numbers in route.tightening
        ]
        groups = [(pieces[numbers[0]].rank, pieces[numbers[0]].group) for numbers in route.calls]
        members = [set(addresses(numbers)) for numbers in route.calls]
        placed = set(chain.from_iterable(members))
        for address, place in self._place.items():
            if address not in placed:
                members[_home(place, groups)].add(address)
        return [*tight, *(Wave(frozenset(each), together=True) for each in members)]

    def _addresses(self, piece: Piece) -> tuple[str, ...]:
        if piece.journey is not None:
            return piece.journey.addresses
        return () if piece.edit is None else (str(self._edits[piece.edit].address),)


def _home(place: tuple[int, tuple[str, str]], groups: Sequence[tuple[int, tuple[str, str]]]) -> int:
    """Return the wave for what may be at any place: with its like, or else after all that usually comes before it."""
    alike = [number for number, group in enumerate(groups) if group == place]
    if alike:
        return alike[-1]
    before = [number for number, (rank, _) in enumerate(groups) if rank <= place[0]]
    return before[-1] if before else 0


def _ways(seen: Iterable[Sight]) -> frozenset[_Way]:
    return frozenset(_way(sight.journey) for sight in seen)


def _classes(ways: Iterable[_Way]) -> set[int]:
    return {number for way in ways for number in way[:2] if number is not None}


def _way(journey: Journey) -> _Way:
    return journey.start, journey.end, bool(journey.moves)


def _between(edit: Edit, *, union: bool) -> Resource | None:
    """Return an identity with what it lists both before and after, or with `union` either; None if that is neither's.

    A group that lets people in is tightened by the one, a group that is denied by the other.
    """
    before, after = edit.before, edit.after
    if before is None or after is None:
        return None
    found = Resource(
        edit.address,
        canonical_json(_merged(before.own(), after.own(), union=union)),
        _shared(_merged(before.shared_doc() or {}, after.shared_doc() or {}, union=union)),
    )
    return None if found in (before, after) else found


def _merged(before: Mapping[str, Any], after: Mapping[str, Any], *, union: bool) -> dict[str, Any]:
    doc = dict(after)
    for key in IDENTITY_LISTS & (before.keys() | after.keys()):
        one, other = set(before.get(key, ())), set(after.get(key, ()))
        doc[key] = sorted(one | other if union else one & other)
    return doc


def _shared(doc: Mapping[str, Any]) -> bytes:
    return canonical_json({key: value for key, value in doc.items() if value}) if any(doc.values()) else b""


def _told(moments: Moments, sight: Sight) -> Transient:
    journey = sight.journey
    place = journey.start if journey.start is not None else journey.end
    assert place is not None
    addresses = journey.addresses or moments.items_in(place)
    return Transient(
        since=sight.since,
        until=sight.until,
        source=moments.source_of(place),
        items=journey.count,
        examples=tuple(heapq.nsmallest(EXAMPLES, addresses)),
        people=moments.count(sight.seers),
        identities=tuple(moments.names(sight.seers, EXAMPLES)),
        public=moments.is_public(sight.seers),
    )
