"""Who sees what at the moments between the calls of a plan.

Identities change one call after the other, and items at moments of their own, so that between two calls
something may be seen that was not to be seen before and is not to be seen after. `Moments` takes the
identities from version to version and back, in time that grows with what differs, and says who sees a class
of items under every reading that counts. It knows nothing of calls and of their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from pyroaring import BitMap

from reconciler.model.address import Kind
from reconciler.model.identity import aliased_identity
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit
from reconciler.permissions.facts import Facts, How, facts_of
from reconciler.permissions.graph import Numbers
from reconciler.permissions.relation import Relation

Seers = tuple[BitMap, ...]
"""Who sees something, under each reading: the numbers of people, and that of the pattern for everybody where
those see it who did not log in."""


class Version(IntEnum):
    """How far a resource is on its way."""

    BEFORE = 0
    TIGHT = 1
    """As it is put for the time being."""
    AFTER = 2


@dataclass(slots=True)
class _Facet:
    """What some edits say together: of several that are begun, the one that is furthest decides."""

    edits: tuple[int, ...]
    said: dict[Version, Numbers]
    at: Version = Version.BEFORE

    def moves(self) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield, for each version that says something else than the first, what is gone by then and what is new."""
        before = self.said[Version.BEFORE]
        for version in (Version.TIGHT, Version.AFTER):
            if self.said[version] is not before:
                yield before.minus(self.said[version]), self.said[version].minus(before)


class Moments:
    """The identities of a relation at every moment of a change, and who then sees a class of items.

    `edits` are of identities; `tightened` are what some of them are for the time being, by address. The relation
    is left as it is, but must not change for as long as this is in use.

    Two readings count (`permissions.readings`): the closed one, and the widest, so that no guess hides that
    something is seen. Whom nobody declared is looked at as well, by one stand-in for each domain that a pattern
    covers.
    """

    def __init__(
        self, relation: Relation, edits: Sequence[Edit], tightened: Mapping[str, Resource] | None = None
    ) -> None:
        self._graph = relation.graph.copy()
        self._relations = tuple(
            relation.beside(self._graph, readings) for readings in (relation.readings, relation.readings.widest())
        )
        self._edits = list(edits)
        self._facets = self._facets_of(tightened or {})
        self._at = [Version.BEFORE] * len(self._edits)
        self._add_strangers()

    @property
    def _first(self) -> Relation:
        return self._relations[0]

    # Classes of items

    def class_of(self, address: str) -> int | None:
        """Return the class of an item before the change, None when there is none."""
        return self._first.class_of(address)

    def class_for(self, item: Resource) -> int:
        """Return the class that an item belongs in, whether or not it is there."""
        number, same = (relation.class_for(item) for relation in self._relations)
        assert number == same
        return number

    def items_in(self, number: int) -> Mapping[str, None]:
        """Return the addresses of the items that are in a class before the change."""
        return self._first.items_in(number)

    def source_of(self, number: int) -> str:
        """Return the source of a class."""
        return self._first.source_of(number)

    def touched(self) -> set[int]:
        """Return the classes of which the edits decide, at any moment, who sees their items; empty ones as well.

        Ask at the first moment, and when all classes are known.
        """
        gone, new = Numbers(), Numbers()
        for facet in self._facets:
            for less, more in facet.moves():
                gone.add(less)
                new.add(more)
        return self._first.classes_naming(self._touched(gone, new), empty=True)

    def touched_by(self, edit: int) -> set[int]:
        """Return the classes of which an edit decides who sees their items, as the identities are now."""
        return self._first.classes_naming(self._identities_of(edit), empty=True)

    def lets_in(self, edit: int, classes: Iterable[int]) -> bool | None:
        """Return whether an edit's identity is allowed by these classes (true) or denied; None where both, or neither.

        As the identities are now, by way of other groups as well.
        """
        identities = self._identities_of(edit)
        allowed = denied = False
        for number in classes:
            allows, denies = self._first.sides_of(number)
            allowed = allowed or not identities.isdisjoint(allows)
            denied = denied or not identities.isdisjoint(denies)
        return allowed if allowed is not denied else None

    def _identities_of(self, edit: int) -> set[int]:
        found = set[int]()
        for number in self._facets_with[edit]:
            for gone, new in self._facets[number].moves():
                found |= self._touched(gone, new)
        return found

    # Moments

    def go(self, versions: Mapping[int, Version]) -> set[int]:
        """Take edits, by number, to these versions; return the classes of which that may change who sees them."""
        for edit, version in versions.items():
            self._at[edit] = version
        gone, new = Numbers(), Numbers()
        moved = {facet for edit in versions for facet in self._facets_with[edit]}
        for number in sorted(moved):
            facet = self._facets[number]
            version = max(self._at[edit] for edit in facet.edits)
            if version is not facet.at:
                gone.add(facet.said[facet.at].minus(facet.said[version]))
                new.add(facet.said[version].minus(facet.said[facet.at]))
                facet.at = version
        gone, new = gone.minus(new), new.minus(gone)
        touched = self._touched(gone, new)
        if not touched:
            return set()
        self._graph.replace(gone, new)
        for relation in self._relations:
            relation.forget(touched)
        return self._first.classes_naming(touched, empty=True)

    def seers(self, number: int | None) -> Seers:
        """Return who sees the items of a class now; None is for items that are not there."""
        if number is None:
            return tuple(BitMap() for _ in self._relations)
        found = []
        for relation in self._relations:
            audience = relation.audience_of(number)
            people = audience.among(self._graph.people)
            if audience.anonymous:
                people.add(self._graph.everybody)
            found.append(people)
        return tuple(found)

    def count(self, seers: BitMap) -> int:
        """Return how many persons these are, those whom nobody declared left out."""
        return self._first.count(seers - self._strangers)

    def names(self, seers: BitMap, limit: int) -> list[str]:
        """Return the first of these people in order; of patterns that cover whom nobody declared, the patterns."""
        people = seers - self._strangers - BitMap([self._graph.everybody])
        names = self._first.names(people, limit)
        if len(names) < limit:
            patterns = sorted(self._patterns[number] for number in seers & self._strangers)
            names += patterns[: limit - len(names)]
        return names

    def is_public(self, seers: BitMap) -> bool:
        """Return whether those are among them who did not log in."""
        return self._graph.everybody in seers

    # Filling

    def _facets_of(self, tightened: Mapping[str, Resource]) -> list[_Facet]:
        facets: list[_Facet] = []
        known: dict[str, tuple[list[int], list[dict[Version, Resource | None]]]] = {}
        for index, edit in enumerate(self._edits):
            versions = {
                Version.BEFORE: edit.before,
                Version.TIGHT: tightened.get(edit.address, edit.before),
                Version.AFTER: edit.after,
            }
            facets.append(_Facet((index,), self._said([[each] for each in versions.values()], _own_facts)))
            # At the remote, well-knowns are one list of an identity, which its own call and that of its alias
            # both replace (push-api.md 5.3).
            identity = aliased_identity(edit.address) if edit.address.kind is Kind.ALIAS else str(edit.address)
            indexes, resources = known.setdefault(identity, ([], []))
            indexes.append(index)
            resources.append(versions)
        for indexes, resources in known.values():
            if any(each is not None and each.shared for versions in resources for each in versions.values()):
                together = [[versions[version] for versions in resources] for version in Version]
                facets.append(_Facet(tuple(indexes), self._said(together, _well_known_facts)))
        self._facets_with: list[list[int]] = [[] for _ in self._edits]
        for number, facet in enumerate(facets):
            for index in facet.edits:
                self._facets_with[index].append(number)
        return facets

    def _said(
        self, versions: Iterable[Sequence[Resource | None]], facts_in: Callable[[Resource | None], list[Facts]]
    ) -> dict[Version, Numbers]:
        """Return what resources say together in each version; the very same value where it is the first one's."""
        first, *others = ([fact for each in resources for fact in facts_in(each)] for resources in versions)
        before = self._graph.numbers_of(first)
        said = {Version.BEFORE: before}
        for version, facts in zip((Version.TIGHT, Version.AFTER), others, strict=True):
            said[version] = before if facts == first else self._graph.numbers_of(facts)
        return said

    def _add_strangers(self) -> None:
        readings = self._first.readings
        self._patterns: dict[int, str] = {}
        for key in self._graph.all_keys():
            stranger = readings.stranger(key)
            if stranger is not None and self._graph.find(stranger) is None:
                self._patterns[self._graph.number(stranger)] = key
        self._strangers = BitMap(self._patterns)
        stale = self._graph.settle()
        for relation in self._relations:
            relation.forget(stale)

    def _touched(self, gone: Numbers, new: Numbers) -> set[int]:
        resolution = {*gone.resolved, *new.resolved, *gone.members, *new.members}
        return self._graph.above(self._graph.seeds(gone, new)) | resolution


def _own_facts(resource: Resource | None) -> list[Facts]:
    return [facts_of(replace(resource, shared=b""))] if resource else []


def _well_known_facts(resource: Resource | None) -> list[Facts]:
    if resource is None or not resource.shared:
        return []
    return [Facts((), tuple(entry for entry in facts_of(resource).belongs if entry[2] is How.WELL_KNOWN))]
