"""Who has which identity, for questions about everybody there could be.

Beside the people whom manifests name there are strangers: one for each group whose members are kept
elsewhere, one for each pattern of email addresses, and one of whom nothing is known. They are numbers in
the same bitmaps, so that "all of these" also covers people whom nobody wrote down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from pyroaring import BitMap

from reconciler.model.states import Resource
from reconciler.permissions.facts import Facts, How, facts_of
from reconciler.permissions.graph import Graph
from reconciler.permissions.readings import Readings, is_person

# Above every number that a graph gives.
_STRANGERS = 1 << 31


class People:
    """All identities that the manifests name, and who has them. Numbers are those of `graph`.

    `names` are identities that permission models name. `above` and `below` are what follows from an identity
    and what it follows from, step by step; `steps` holds each of these steps as it was stated.
    """

    def __init__(
        self, readings: Readings, resources: Iterable[Resource], names: Iterable[str], kept: Collection[str]
    ) -> None:
        self.readings = readings
        self.graph = graph = Graph(readings)
        self._kept = frozenset(kept) - {readings.email_provider}
        self.facts = [(resource, facts_of(resource)) for resource in resources]
        graph.load(facts for _, facts in self.facts)
        self.numbers = {name: graph.number(name) for name in names}
        graph.settle()
        self.above: dict[int, list[int]] = defaultdict(list)
        self.below: dict[int, list[int]] = defaultdict(list)
        self.steps: dict[tuple[int, int], tuple[str, How, str]] = {}
        self._parents: set[int] = set()
        groups = {name for name in self.numbers if not is_person(name)}
        for _, facts in self.facts:
            self._join(facts)
        groups.update(who for start, _, end in self.steps.values() for who in (start, end) if not is_person(who))
        self._cover({readings.key(name) for name in groups})
        self._strangers = self._made(groups)
        self.everybody = graph.people | BitMap(number for number, _ in self._strangers)
        self._reach: dict[int, BitMap] = {}

    def _join(self, facts: Facts) -> None:
        number, above, below = self.graph.number, self.above, self.below
        for start, end, how in facts.belongs:
            one, other = number(start), number(end)
            above[one].append(other)
            below[other].append(one)
            self._parents.add(other)
            self.steps.setdefault((one, other), (start, how, end))
        for start, end in facts.same:
            one, other = number(start), number(end)
            for near in (above, below):
                near[one].append(other)
                near[other].append(one)

    def _cover(self, groups: set[str]) -> None:
        """Put everybody who has an email address into the pattern of its domain, where something names that."""
        prefix, readings, graph = f"group/{self.readings.email_provider}/", self.readings, self.graph
        if not any(group.startswith(prefix) for group in groups):
            return
        for number in graph.people:
            pattern = readings.domain_pattern(readings.key(graph.name(number)))
            if pattern in groups:
                group = graph.number(pattern)
                self.above[number].append(group)
                self.below[group].append(number)

    def _made(self, groups: Iterable[str]) -> list[tuple[int, frozenset[int]]]:
        """Return the strangers, each with what they have."""
        graph = self.graph
        elsewhere = sorted({graph.number(name) for name in groups if not self.is_kept(name)})
        held = [graph.anonymous, *(graph.held_by(number) for number in elsewhere)]
        return [(_STRANGERS + index, entry) for index, entry in enumerate(held)]

    def is_kept(self, identity: str) -> bool:
        """Return whether the manifests say all there is to know of an identity's provider."""
        return identity.split("/", 2)[1] in self._kept

    def number(self, identity: str) -> int:
        """Return the number of an identity."""
        return self.graph.number(identity)

    def reach(self, number: int) -> BitMap:
        """Return the people and strangers who have an identity. The result is shared: do not change it."""
        found = self._reach.get(number)
        if found is None:
            mates = self.graph.mates(number)
            if number in self.graph.anonymous:
                found = self.everybody
            elif number in self.graph.people and self._parents.isdisjoint(mates):
                # Somebody who is no group: by far the most, so the graph need not be searched.
                found = BitMap(mates)
            else:
                strangers = BitMap(stranger for stranger, held in self._strangers if number in held)
                found = self.graph.below(number)
                found = found | strangers if strangers else found
            self._reach[number] = found
        return found
