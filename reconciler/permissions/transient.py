"""What is seen between the steps of a change that was not to be seen before it and is not to be seen after it.

A step is a call: identities that it takes to a version, items that it takes to a class, all at once. The rule
held here: at every moment, whoever sees an item saw it before the first step or sees it after the last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pyroaring import BitMap

from reconciler.permissions.moments import Moments, Seers, Version


@dataclass(frozen=True, slots=True)
class Step:
    """What one call changes: edits, by number, and items, by address; None takes an item away."""

    edits: Mapping[int, Version] = field(default_factory=dict)
    items: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Journey:
    """Items that go the same way: from a class, at each step (by number) to another one.

    `addresses` are those of items that move; of a class whose items stay where they are it is empty, and `count`
    says how many they are. Each is equal to itself alone.
    """

    start: int | None
    moves: tuple[tuple[int, int | None], ...]
    addresses: tuple[str, ...]
    count: int

    @property
    def end(self) -> int | None:
        """The class at the end."""
        return self.moves[-1][1] if self.moves else self.start


@dataclass(frozen=True, slots=True)
class Sight:
    """Items of a journey that people see from after step `since` (0 is the start) until step `until`."""

    journey: Journey
    since: int
    until: int
    seers: BitMap


class TooMuch(Exception):
    """There is more to look at than was asked for."""


def journeys_of(moments: Moments, steps: Sequence[Step], touched: set[int]) -> list[Journey]:
    """Return the ways of all items of which a class is among `touched`, those included that stay."""
    paths: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
    for number, step in enumerate(steps, 1):
        for address, goal in step.items.items():
            paths[address].append((number, goal))
    alike: dict[tuple[int | None, tuple[tuple[int, int | None], ...]], list[str]] = defaultdict(list)
    leaving: dict[int, int] = defaultdict(int)
    for address, path in paths.items():
        start = moments.class_of(address)
        if start is not None:
            leaving[start] += 1
        if start in touched or any(goal in touched for _, goal in path):
            alike[start, tuple(path)].append(address)
    found = [
        Journey(start, path, tuple(sorted(addresses)), len(addresses)) for (start, path), addresses in alike.items()
    ]
    for number in sorted(touched):
        staying = len(moments.items_in(number)) - leaving[number]
        if staying:
            found.append(Journey(number, (), (), staying))
    return sorted(found, key=_place_of)


def _place_of(journey: Journey) -> tuple[int, list[tuple[int, int]]]:
    return _number(journey.start), [(step, _number(goal)) for step, goal in journey.moves]


def _number(place: int | None) -> int:
    return -1 if place is None else place


def meant_for(moments: Moments, journeys: Iterable[Journey], edits: Iterable[int]) -> dict[Journey, Seers]:
    """Return who may see each journey's items: whoever does at the first moment, or at the last."""
    listed = list(journeys)
    before = {number: moments.seers(number) for number in {journey.start for journey in listed}}
    moments.go(dict.fromkeys(edits, Version.AFTER))
    after = {number: moments.seers(number) for number in {journey.end for journey in listed}}
    moments.go(dict.fromkeys(edits, Version.BEFORE))
    return {
        journey: tuple(was | will for was, will in zip(before[journey.start], after[journey.end], strict=True))
        for journey in listed
    }


def transients(moments: Moments, steps: Sequence[Step], *, most: int = 200_000) -> list[Sight]:
    """Return everything that is seen on the way and was not to be, in order.

    Each item's class and each edit's version must be at the end what the last step makes of it. Raises TooMuch
    when more than `most` looks would be needed.
    """
    edits = sorted({edit for step in steps for edit in step.edits})
    last = max((number for number, step in enumerate(steps, 1) if step.edits), default=0)
    if not last:
        return []
    journeys = [
        journey
        for journey in journeys_of(moments, steps, moments.touched())
        # With a single call of identities, what stays where it is knows only the first and the last moment.
        if journey.moves or any(step.edits for step in steps[: last - 1])
    ]
    if not journeys:
        return []
    meant = meant_for(moments, journeys, edits)
    walk = _Walk(moments, journeys, meant, most)
    for number, step in enumerate(steps, 1):
        walk.take(number, step)
    moments.go(dict.fromkeys(edits, Version.BEFORE))
    return walk.sights


class _Walk:
    """One way through the steps, and what was seen on it."""

    def __init__(
        self, moments: Moments, journeys: Sequence[Journey], meant: Mapping[Journey, Seers], most: int
    ) -> None:
        self._moments = moments
        self._meant = meant
        self._left = most
        self._now: dict[Journey, int | None] = {}
        self._in_class: dict[int, dict[Journey, None]] = defaultdict(dict)
        self._moving: dict[int, list[tuple[Journey, int | None]]] = defaultdict(list)
        self._seen: dict[Journey, tuple[int, BitMap]] = {}
        self.sights: list[Sight] = []
        for journey in journeys:
            self._place(journey, journey.start)
            for number, goal in journey.moves:
                self._moving[number].append((journey, goal))

    def take(self, number: int, step: Step) -> None:
        """Take a step, and look at what it touches."""
        touched = self._moments.go(step.edits) if step.edits else set()
        stirred = {journey: None for each in sorted(touched) for journey in self._in_class.get(each, ())}
        for journey, goal in self._moving.get(number, ()):
            self._place(journey, goal)
            stirred[journey] = None
        found: dict[int | None, Seers] = {}
        for journey in stirred:
            here = self._now[journey]
            if here not in found:
                self._left -= 1
                if self._left < 0:
                    raise TooMuch
                found[here] = self._moments.seers(here)
            self._look(journey, number, found[here])

    def _place(self, journey: Journey, goal: int | None) -> None:
        before = self._now.get(journey)
        if before is not None:
            self._in_class[before].pop(journey, None)
        self._now[journey] = goal
        if goal is not None:
            self._in_class[goal][journey] = None

    def _look(self, journey: Journey, number: int, seers: Seers) -> None:
        excess = BitMap.union(*(see - may for see, may in zip(seers, self._meant[journey], strict=True)))
        known = self._seen.pop(journey, None)
        if known is not None and known[1] == excess:
            self._seen[journey] = known
            return
        if known is not None:
            self.sights.append(Sight(journey, known[0], number, known[1]))
        if excess:
            self._seen[journey] = (number, excess)
