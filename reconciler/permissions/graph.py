"""All identities as numbers, who belongs to what, and the set of people below any of them.

The same relations as `permissions.expand`, for everybody at once: identities are numbered, people are
the numbers in a bitmap, and groups are summed bottom-up over strongly connected components, so that
nesting costs no recursion and a cycle no loop. Sums are made when asked for and kept until a change
touches them. Knows nothing of permission models and of items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from pyroaring import BitMap

from reconciler.permissions.facts import Facts
from reconciler.permissions.readings import Readings, is_person

T = TypeVar("T")


@dataclass(slots=True)
class Numbers:
    """Facts about identities, as numbers and with how often each is stated."""

    belongs: Counter[tuple[int, int]] = field(default_factory=Counter)
    same: Counter[tuple[int, int]] = field(default_factory=Counter)
    resolved: Counter[int] = field(default_factory=Counter)
    members: Counter[int] = field(default_factory=Counter)

    def add(self, other: Numbers) -> None:
        """Take in what is stated there, too."""
        self.belongs.update(other.belongs)
        self.same.update(other.same)
        self.resolved.update(other.resolved)
        self.members.update(other.members)

    def minus(self, other: Numbers) -> Numbers:
        """Return what is stated here more often than there."""
        return Numbers(
            _less(self.belongs, other.belongs),
            _less(self.same, other.same),
            _less(self.resolved, other.resolved),
            _less(self.members, other.members),
        )


def _less(one: Counter[T], other: Counter[T]) -> Counter[T]:
    """Return the difference; a counter's own takes its time even where there is nothing to take away."""
    if not one or not other:
        return Counter(one)
    return one - other


class Graph:
    """Identities by number; numbers never change and are never used twice.

    `people` holds the numbers of people. `firsts` holds of those who are one person the first, so that
    counting a set of people is an intersection with it.
    """

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self.people = BitMap()
        self.firsts = BitMap()
        self._numbers: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._names: list[str] = []
        self._keys: list[str] = []
        self._children: dict[int, list[int]] = {}
        self._parents: dict[int, list[int]] = {}
        self._links: dict[int, list[int]] = {}
        self._mates: dict[int, tuple[int, ...]] = {}
        self._resolved: Counter[int] = Counter()
        self._members: Counter[int] = Counter()
        self._below: dict[int, BitMap] = {}
        self.patterns: set[int] = set()
        """The patterns that cover a domain: whoever is of it has them, known or not."""
        self._everybody = self.number(readings.everybody)
        self._anonymous: frozenset[int] | None = None
        self._ordered: tuple[int, list[int]] = (-1, [])
        self.grown: set[int] = set()
        """Patterns that cover somebody new whom only a name made known; see `settle`."""

    # Names

    def number(self, identity: str) -> int:
        """Return the number of a canonical identity; a new one if nothing named it before."""
        number = self._written.get(identity)
        if number is not None:
            return number
        key = self.readings.key(identity)
        number = self._numbers.get(key)
        if number is None:
            number = self._new(identity if key == identity else key)  # equal texts are kept once
            self._names.append(identity)
        elif identity < self._names[number]:
            self._names[number] = identity
        self._written[identity] = number
        return number

    def _new(self, key: str) -> int:
        pattern = self.readings.domain_pattern(key)
        above = self.number(pattern) if pattern else None
        number = self._numbers[key] = len(self._keys)
        self._keys.append(key)
        if is_person(key):
            self.people.add(number)
            self.firsts.add(number)
        elif self.readings.is_domain_pattern(key):
            self.patterns.add(number)
        if above is not None:
            self._join(number, above)
            self.grown.add(above)
        return number

    def find(self, identity: str) -> int | None:
        """Return the number of a canonical identity, None when nothing named it."""
        return self._numbers.get(self.readings.key(identity))

    def name(self, number: int) -> str:
        """Return an identity as it was written; of several ways, the first by the alphabet."""
        return self._names[number]

    def in_order(self) -> list[int]:
        """Return all people in the order of their names; kept until another name is known. Do not change it."""
        if self._ordered[0] != len(self._written):
            self._ordered = len(self._written), sorted(self.people, key=self._names.__getitem__)
        return self._ordered[1]

    def spelled(self) -> Iterator[tuple[int, str]]:
        """Yield every identity's number and the key of its spelling."""
        return enumerate(self._keys)

    def mates(self, number: int) -> tuple[int, ...]:
        """Return the identities of the same person, itself included, in order."""
        return self._mates.get(number, (number,))

    def resolved(self, number: int) -> bool:
        """Return whether the remote knows an identity, rather than only its name (push-api.md 3.6)."""
        if self._keys[number] in self.readings.unresolved:
            return False
        if self._resolved[number] > 0 or self.readings.needs_no_push(self._keys[number]):
            return True
        return self.readings.members_resolve and self._members[number] > 0

    def written(self, numbers: Iterable[int]) -> list[str]:
        """Return every way in which these identities are written, in order."""
        wanted = set(numbers)
        return sorted(text for text, number in self._written.items() if number in wanted)

    def all_keys(self) -> list[str]:
        """Return the keys of all identities, each at its number."""
        return list(self._keys)

    @property
    def everybody(self) -> int:
        """The number of the pattern that covers everybody, also those who did not log in."""
        return self._everybody

    def cycles(self) -> list[list[str]]:
        """Return the groups that are in themselves, by way of one another, each such set in order."""
        found = []
        seen: set[int] = set()
        for group in self._children:
            if group in seen or is_person(self._keys[group]):
                continue
            above = self.above(self._parents.get(group, ()))
            if group in above:
                ring = {other for other in above if group in self.above((other,)) and not is_person(self._keys[other])}
                seen |= ring
                found.append(sorted(map(self.name, ring)))
        return sorted(found)

    def copy(self) -> Graph:
        """Return a graph of its own that says the same, with the same numbers."""
        other = Graph(self.readings)
        other.people, other.firsts = self.people.copy(), self.firsts.copy()
        other._numbers, other._written = dict(self._numbers), dict(self._written)
        other._names, other._keys = list(self._names), list(self._keys)
        for name in ("_children", "_parents", "_links"):
            setattr(other, name, {number: list(near) for number, near in getattr(self, name).items()})
        other._mates, other._below = dict(self._mates), dict(self._below)
        other._resolved, other._members = self._resolved.copy(), self._members.copy()
        other._anonymous, other.grown = self._anonymous, set(self.grown)
        other.patterns = set(self.patterns)
        return other

    # Changing

    def numbers_of(self, facts: Iterable[Facts]) -> Numbers:
        """Return facts as numbers; identities that are new get theirs."""
        number = self.number
        found = Numbers()
        for fact in facts:
            found.resolved.update(map(number, fact.resolved))
            found.members.update(map(number, fact.members))
            found.belongs.update((number(start), number(end)) for start, end, _ in fact.belongs)
            found.same.update((number(one), number(other)) for one, other in fact.same)
        return found

    def load(self, facts: Iterable[Facts]) -> None:
        """Take in many facts at once."""
        number, linked = self.number, set()
        for fact in facts:
            self._resolved.update(map(number, fact.resolved))
            self._members.update(map(number, fact.members))
            for start, end, _ in fact.belongs:
                self._join(number(start), number(end))
            for one, other in fact.same:
                self._link(number(one), number(other))
                linked.add(number(one))
        self._regroup(linked)
        self._below.clear()
        self._anonymous = None
        self.grown.clear()

    def replace(self, gone: Numbers, new: Numbers) -> None:
        """Take back `gone`, which was taken in before, and take in `new`. Costs what the two touch."""
        touched = self.above(self.seeds(gone, new))
        _remove(self._children, ((end, start) for start, end in gone.belongs.elements()))
        _remove(self._parents, gone.belongs.elements())
        _remove(self._links, chain.from_iterable(((a, b), (b, a)) for a, b in gone.same.elements()))
        linked = self.regrouped(gone, new)
        for start, end in new.belongs.elements():
            self._join(start, end)
        for one, other in new.same.elements():
            self._link(one, other)
        for counts, fewer, more in (
            (self._resolved, gone.resolved, new.resolved),
            (self._members, gone.members, new.members),
        ):
            counts.subtract(fewer)
            counts.update(more)
        self._regroup(linked)
        self._forget(touched)
        self._anonymous = None

    def settle(self) -> set[int]:
        """Drop the sums that people who became known by name alone have made stale; returns whose sums."""
        stale = self.above(self.grown)
        self.grown.clear()
        self._forget(stale)
        return stale

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._below.pop(number, None)

    def _join(self, start: int, end: int) -> None:
        self._children.setdefault(end, []).append(start)
        self._parents.setdefault(start, []).append(end)

    def _link(self, one: int, other: int) -> None:
        self._links.setdefault(one, []).append(other)
        self._links.setdefault(other, []).append(one)

    def _regroup(self, numbers: Iterable[int]) -> None:
        """Find out anew who is one person with whom, among `numbers` and whoever they are linked to."""
        rest = set(numbers)
        while rest:
            found = {rest.pop()}
            waiting = list(found)
            for number in waiting:
                new = set(self._links.get(number, ())) - found
                found |= new
                waiting.extend(new)
            rest -= found
            mates = tuple(sorted(found))
            for number in mates:
                self._mates[number] = mates
                self.firsts.discard(number)
            if len(mates) == 1:
                del self._mates[mates[0]]
            self.firsts.add(mates[0])

    # What a change touches

    def regrouped(self, gone: Numbers, new: Numbers) -> set[int]:
        """Return everybody of whom the aliases decide anew who they are one person with."""
        ends = {number for pair in chain(gone.same, new.same) for number in pair}
        return {mate for number in ends for mate in self.mates(number)}

    def seeds(self, gone: Numbers, new: Numbers) -> set[int]:
        """Return the identities of which the people below may change, apart from those around them."""
        return {end for _, end in chain(gone.belongs, new.belongs)} | self.regrouped(gone, new)

    def above(self, numbers: Iterable[int]) -> set[int]:
        """Return the identities that somebody has who has one of these, themselves included."""
        found = set(numbers)
        waiting = list(found)
        for number in waiting:
            for near in (self._parents.get(number, ()), self._mates.get(number, ())):
                for other in near:
                    if other not in found:
                        found.add(other)
                        waiting.append(other)
        return found

    def held_by(self, number: int | None) -> frozenset[int]:
        """Return what somebody has who logs in as an identity; for None, what everybody has."""
        if number is None:
            return self.anonymous
        return self.anonymous | self.above((number,))

    @property
    def anonymous(self) -> frozenset[int]:
        """What everybody has, those who did not log in as well: the pattern `*@*`, and where that belongs."""
        if self._anonymous is None:
            self._anonymous = frozenset(self.above((self._everybody,)))
        return self._anonymous

    # Sums

    def below(self, number: int) -> BitMap:
        """Return the people who have an identity by name: not those who have it because everybody does.

        The result is shared: do not change it.
        """
        root = self._root(number)
        found = self._below.get(root)
        return found if found is not None else self._sum(root)

    def each_below(self, numbers: Iterable[int]) -> list[BitMap]:
        """Return the people who have any of these identities by name, in sets that are shared: do not change them."""
        people, inner = self._gather(numbers)
        return [people, *map(self.below, inner)]

    def _root(self, number: int) -> int:
        mates = self._mates.get(number)
        return mates[0] if mates else number

    def _sum(self, start: int) -> BitMap:
        """Sum the people below `start` and whatever is below it (Tarjan's strongly connected components)."""
        rank: dict[int, int] = {}
        low: dict[int, int] = {}
        sums: dict[int, BitMap] = {}
        path: list[int] = []  # components that are not yet complete
        frames: list[tuple[int, Iterator[int]]] = []
        waiting = [start]
        while waiting or frames:
            if waiting:
                root = waiting.pop()
                rank[root] = low[root] = len(rank)
                path.append(root)
                sums[root], inner = self._open(root)
                frames.append((root, iter(inner)))
            root, inner_roots = frames[-1]
            for child in inner_roots:
                done = self._below.get(child)
                if done is not None:
                    sums[root] |= done
                elif child not in rank:
                    waiting.append(child)
                    break
                else:
                    low[root] = min(low[root], rank[child])
            else:
                frames.pop()
                if low[root] == rank[root]:
                    self._close(root, path, sums)
                if frames:
                    outer = frames[-1][0]
                    low[outer] = min(low[outer], low[root])
                    sums[outer] |= sums[root]
        return self._below[start]

    def _open(self, root: int) -> tuple[BitMap, list[int]]:
        """Return the people directly below a component, and the components below it that need a sum."""
        same = self.mates(root)
        people, inner = self._gather(chain.from_iterable(self._children.get(number, ()) for number in same))
        people |= self.people & BitMap(same)
        return people, inner

    def _gather(self, numbers: Iterable[int]) -> tuple[BitMap, list[int]]:
        """Return the people among these identities, and the components among them that have others below."""
        people: list[int] = []
        inner = []
        all_mates, children = self._mates, self._children
        for number in numbers:
            mates = all_mates.get(number)
            if mates is not None:
                people.extend(mates)
                if any(mate in children for mate in mates):
                    inner.append(mates[0])
            elif number in children:
                inner.append(number)
            else:
                people.append(number)
        return self.people & BitMap(people), inner

    def _close(self, root: int, path: list[int], sums: dict[int, BitMap]) -> None:
        """Give every part of a complete strongly connected component the same sum."""
        total = sums[root]
        while True:
            part = path.pop()
            self._below[part] = total
            if part == root:
                return


def _remove(near: dict[int, list[int]], pairs: Iterable[tuple[int, int]]) -> None:
    """Remove each pair once, in one pass over each list that loses something."""
    gone: dict[int, Counter[int]] = {}
    for one, other in pairs:
        gone.setdefault(one, Counter())[other] += 1
    for one, counts in gone.items():
        kept = []
        for other in near[one]:
            if counts[other] > 0:
                counts[other] -= 1
            else:
                kept.append(other)
        if kept:
            near[one] = kept
        else:
            del near[one]
