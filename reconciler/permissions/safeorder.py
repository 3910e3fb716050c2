"""An order of changes in which nothing is seen on the way that was not to be seen before or after.

Pieces are what cannot be divided: an identity's edit, or the items that go from one class to another together.
Those of one group can be one call, which takes effect as a whole. For a few pieces the order with the fewest calls
is found, or shown not to exist; for many it is looked for greedily.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.permissions.moments import Moments, Seers, Version
from reconciler.permissions.transient import Journey, TooMuch

EXACT = 9
"""Up to so many pieces every order is considered."""

MOST_STATES = 2_000
"""How many states are looked at in all, so that looking for an order ends."""

LOOSENED = 20
"""Of up to so many pieces that are tightened those are found that need not be."""


@dataclass(slots=True)
class Budget:
    """How many states may yet be looked at: a count and no time, so that a plan is the same everywhere."""

    left: int = MOST_STATES

    def spend(self) -> None:
        """Take one. Raises TooMuch when none is left."""
        self.left -= 1
        if self.left < 0:
            raise TooMuch


@dataclass(frozen=True, slots=True)
class Piece:
    """An edit of an identity, by number, or items on a journey.

    `group` is what it may share a call with, `rank` the place of that group in the usual order. An edit that can be
    tightened has a version for the time being; items that can be are hidden for as long.
    """

    group: tuple[str, str]
    rank: int
    edit: int | None = None
    journey: Journey | None = None
    tightens: bool = False

    @property
    def resources(self) -> int:
        """How many resources it stands for."""
        return self.journey.count if self.journey else 1


@dataclass(frozen=True, slots=True)
class Route:
    """Calls one after the other, each as the numbers of its pieces; `tightening` go before `calls`."""

    calls: tuple[tuple[int, ...], ...]
    tightening: tuple[tuple[int, ...], ...] = ()


class Search:
    """Looks for safe orders of `pieces`.

    `staying` are the items beside them that stay in their classes and must be looked at, too; `meant` says who may
    see what. Edits that are no piece stay as they are. With more pieces than `exact`, not every order is considered.
    Raises TooMuch when the budget is spent.
    """

    def __init__(
        self,
        moments: Moments,
        pieces: Sequence[Piece],
        staying: Sequence[Journey],
        meant: Mapping[Journey, Seers],
        budget: Budget,
        *,
        exact: int = EXACT,
    ) -> None:
        self._moments = moments
        self._pieces = pieces
        self._meant = meant
        self._whole = (1 << len(pieces)) - 1
        self._groups: dict[tuple[int, tuple[str, str]], list[int]] = defaultdict(list)
        for number, piece in enumerate(pieces):
            self._groups[piece.rank, piece.group].append(number)
        self._known: dict[tuple[int, int], bool] = {}
        self._budget = budget
        self._exact = exact
        # The last state that was safe, and the classes of which others may see the items since.
        self._last = (0, 0)
        self._stirred = set[int]()
        self._pieces_at: dict[int, list[int]] = defaultdict(list)
        for number, piece in enumerate(pieces):
            if piece.journey is not None:
                for place in {piece.journey.start, piece.journey.end}:
                    if place is not None:
                        self._pieces_at[place].append(number)
        self._staying_at: dict[int, list[Journey]] = defaultdict(list)
        for journey in staying:
            if journey.start is not None:
                self._staying_at[journey.start].append(journey)

    def order(self) -> Route | None:
        """Return a safe order of the final calls, None when there is none or none is found."""
        calls = self._order(0)
        return Route(calls) if calls is not None else None

    def tightened(self) -> Route | None:
        """Return a safe order with the fewest calls that tighten something before; None when none is found."""
        able = {
            key: tight
            for key, numbers in sorted(self._groups.items())
            if (tight := tuple(number for number in numbers if self._pieces[number].tightens))
        }
        for size in range(1, len(able) + 1):
            # Identities rather than items: nobody who may go on seeing something loses sight of it.
            for chosen in sorted(itertools.combinations(able, size), key=self._hidden_items):
                route = self._tightened([able[key] for key in chosen])
                if route is not None:
                    return self._loosened(route)
        return None

    def _hidden_items(self, chosen: Sequence[tuple[int, tuple[str, str]]]) -> int:
        pieces = (self._pieces[number] for key in chosen for number in self._groups[key])
        return sum(piece.resources for piece in pieces if piece.journey and piece.tightens)

    def _tightened(self, groups: Sequence[tuple[int, ...]]) -> Route | None:
        for order in itertools.permutations(groups):
            tight = 0
            for numbers in order:
                tight |= _mask(numbers)
                if not self._is_safe(0, tight):
                    break
            else:
                calls = self._order(tight)
                if calls is not None:
                    return Route(calls, tuple(order))
        return None

    def _loosened(self, route: Route) -> Route:
        """Return the same route without the pieces that need no tightening."""
        tight = [number for call in route.tightening for number in call]
        for number in tight if len(tight) <= LOOSENED else ():
            fewer = [tuple(each for each in call if each != number) for call in route.tightening]
            if all(fewer):
                better = self._tightened(fewer)
                if better is not None and len(better.calls) <= len(route.calls):
                    route = better
        return route

    def _order(self, tight: int) -> tuple[tuple[int, ...], ...] | None:
        if not self._is_safe(0, tight) or not self._is_safe(self._whole, tight):
            return None
        if len(self._pieces) <= self._exact:
            return self._shortest(tight)
        for groups in (sorted(self._groups), sorted(self._groups, reverse=True)):
            found = self._greedy(groups, tight)
            if found is not None:
                return found
        return None

    def _shortest(self, tight: int) -> tuple[tuple[int, ...], ...] | None:
        """Return the way of fewest calls through what is safe (Dijkstra); of several, the one nearest to usual."""
        queue: list[tuple[int, int, int, tuple[tuple[int, ...], ...]]] = [(0, 0, 0, ())]
        settled = set[int]()
        while queue:
            calls, unusual, done, path = heapq.heappop(queue)
            if done == self._whole:
                return path
            if done in settled:
                continue
            settled.add(done)
            for numbers in self._next(done):
                goal = done | _mask(numbers)
                if goal not in settled and self._is_safe(goal, tight):
                    rank = self._pieces[numbers[0]].rank
                    early = sum(
                        piece.rank < rank for number, piece in enumerate(self._pieces) if not goal >> number & 1
                    )
                    cost = min(2, sum(self._pieces[number].resources for number in numbers))
                    heapq.heappush(queue, (calls + cost, unusual + early, goal, (*path, numbers)))
        return None

    def _next(self, done: int) -> Iterator[tuple[int, ...]]:
        for _, numbers in sorted(self._groups.items()):
            left = [number for number in numbers if not done >> number & 1]
            for size in range(len(left), 0, -1):
                yield from itertools.combinations(left, size)

    def _greedy(self, groups: Sequence[tuple[int, tuple[str, str]]], tight: int) -> tuple[tuple[int, ...], ...] | None:
        done, path = 0, list[tuple[int, ...]]()
        while done != self._whole:
            before = done
            for key in groups:
                left = [number for number in self._groups[key] if not done >> number & 1]
                if left and not self._is_safe(done | _mask(left), tight):
                    left = self._grown(done, left, tight)
                if left:
                    path.append(tuple(left))
                    done |= _mask(left)
            if done == before:
                return None
        return tuple(path)

    def _grown(self, done: int, left: Sequence[int], tight: int) -> list[int]:
        taken: list[int] = []
        for number in left:
            if self._is_safe(done | _mask((*taken, number)), tight):
                taken.append(number)
        return taken

    def _is_safe(self, done: int, tight: int) -> bool:
        """Return whether everything may be seen that is seen when these pieces are done and those are tight."""
        key = (done, tight & ~done)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(*key)
        return known

    def _look(self, done: int, tight: int) -> bool:
        """Look at what differs from the last state that was safe."""
        self._budget.spend()
        self._stirred |= self._moments.go(
            {
                piece.edit: Version.AFTER if done >> number & 1 else Version.TIGHT if tight >> number & 1 else _BEFORE
                for number, piece in enumerate(self._pieces)
                if piece.edit is not None
            }
        )
        moved = _numbers((done ^ self._last[0]) | (tight ^ self._last[1]))
        looked = {number for each in self._stirred for number in self._pieces_at.get(each, ())}.union(moved)
        for number in looked:
            journey = self._pieces[number].journey
            if journey is None or tight >> number & 1:
                continue
            if not self._may_see(journey, journey.end if done >> number & 1 else journey.start):
                return False
        for each in self._stirred:
            for journey in self._staying_at.get(each, ()):
                if not self._may_see(journey, journey.start):
                    return False
        self._stirred = set()
        self._last = (done, tight)
        return True

    def _may_see(self, journey: Journey, place: int | None) -> bool:
        seers = self._moments.seers(place)
        return all(see.issubset(may) for see, may in zip(seers, self._meant[journey], strict=True))


_BEFORE = Version.BEFORE


def _numbers(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _mask(numbers: Sequence[int]) -> int:
    found = 0
    for number in numbers:
        found |= 1 << number
    return found
