"""Who sees what, for everybody and everything at once (push-api.md 3.6).

The same answers as `permissions.evaluate`, made for a million items: a permission model is evaluated
once however many items share it, and its audience is a bitmap of people. Items are names in classes: a
class is a source together with a model. Audiences are made when asked for and kept until a change touches
them (`permissions.exposure`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import orjson
from pyroaring import BitMap

from reconciler.model.canonical import NO_SHARED, digest
from reconciler.model.identity import alias_address
from reconciler.model.permission import PermissionModel
from reconciler.model.states import Resource
from reconciler.permissions.evaluate import Unresolved, Visibility, unresolved
from reconciler.permissions.facts import facts_of
from reconciler.permissions.graph import Graph
from reconciler.permissions.readings import Readings

NO_MODEL = -1

_FEW = 500  # people whose names are sooner compared than looked for among all


@dataclass(frozen=True, slots=True)
class Audience:
    """Who sees something: whether those do who did not log in, and the people for whom it is the other way.

    Somebody of whom nothing is known is treated like somebody who did not log in, so this stays true when
    more people become known.
    """

    anonymous: bool
    others: BitMap

    def among(self, people: BitMap) -> BitMap:
        """Return who of `people` sees it."""
        return people - self.others if self.anonymous else people & self.others


EVERYBODY = Audience(True, BitMap())
NOBODY = Audience(False, BitMap())


@dataclass(frozen=True, slots=True)
class _Set:
    anonymous: bool
    allowed: tuple[int, ...]
    denied: tuple[int, ...]


_Levels = tuple[tuple[_Set, ...], ...]


class Relation:
    """The access relation of one organization at one moment.

    `visibility` says of each source who may see it; a source that it does not name is secured.
    """

    def __init__(self, readings: Readings, visibility: Mapping[str, Visibility]) -> None:
        self.readings = readings
        self.graph = Graph(readings)
        self._visibility = dict(visibility)
        self._model_numbers: dict[bytes, int] = {NO_SHARED: NO_MODEL}
        self._docs: list[bytes] = []
        self._levels: list[_Levels | None] = []
        self._naming: dict[int, list[int]] = {}
        self._classes_of_model: dict[int, list[int]] = {}
        self._class_numbers: dict[tuple[str, int], int] = {}
        self._classes: list[tuple[str, int]] = []
        self._items: list[dict[str, None]] = []
        self._class_of: dict[str, int] = {}
        self._audiences: dict[int, Audience] = {}

    # Filling

    def load(self, resources: Iterable[Resource]) -> None:
        """Take in resources of any kind, in any order. Large sets of items go through `add_items`."""
        identities: list[Resource] = []
        items: list[Resource] = []
        for resource in resources:
            (items if resource.address.startswith("item/") else identities).append(resource)
        self.add_identities(identities)
        self.add_items((item.address, digest(item.shared) if item.shared else NO_SHARED) for item in items)
        self.add_models(item.shared for item in items)

    def add_identities(self, resources: Iterable[Resource]) -> None:
        """Take in groups, virtual groups, users and aliases."""
        self.graph.load(map(facts_of, resources))
        self._audiences.clear()

    def add_items(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take in items: the address of each and the digest of its model, the second half of its fingerprint.

        An item that is there already changes its model. Models may come later (`wanted`).
        """
        classes: dict[tuple[str, bytes], int] = {}
        for address, model in rows:
            source = address.split("/", 2)[1]
            number = classes.get((source, model))
            if number is None:
                number = classes[source, model] = self.class_at(source, model)
            self.place(address, number)

    def wanted(self) -> dict[bytes, str]:
        """Return the digests of models that items name and nobody gave, each with an item that has it."""
        missing = {number: key for key, number in self._model_numbers.items() if self._lacks(number)}
        return {
            missing[model]: next(iter(items))
            for (_, model), items in zip(self._classes, self._items, strict=True)
            if model in missing and items
        }

    def lacks(self, model: bytes) -> bool:
        """Return whether no model of this digest was given yet."""
        number = self._model_numbers.get(model)
        return number is None or self._lacks(number)

    def _lacks(self, model: int) -> bool:
        return model != NO_MODEL and self._levels[model] is None

    def add_models(self, docs: Iterable[bytes]) -> None:
        """Take in permission models, each as an item's shared document; empty ones are passed over."""
        for doc in docs:
            if doc and self._lacks(number := self._model(digest(doc))):
                self._docs[number] = doc
                self._levels[number] = self._compiled(number, PermissionModel.from_doc(orjson.loads(doc)))
                self._audiences.pop(number, None)
        self.settle()

    def _compiled(self, number: int, model: PermissionModel) -> _Levels:
        find = self.graph.number
        levels = tuple(
            tuple(
                _Set(entry.anonymous, tuple(map(find, entry.allowed)), tuple(map(find, entry.denied)))
                for entry in level.sets
            )
            for level in model.levels
        )
        for named in {who for level in levels for entry in level for who in entry.allowed + entry.denied}:
            self._naming.setdefault(named, []).append(number)
        return levels

    def _model(self, key: bytes) -> int:
        number = self._model_numbers.get(key)
        if number is None:
            number = self._model_numbers[key] = len(self._levels)
            self._levels.append(None)
            self._docs.append(b"")
        return number

    def know(self, resources: Iterable[Resource]) -> None:
        """Learn the names in resources that are not there, so that copies agree on the numbers of people."""
        for resource in resources:
            if resource.address.startswith("item/"):
                self.class_for(resource)
            else:
                self.graph.numbers_of([facts_of(resource)])
        self.settle()

    def copy(self) -> Relation:
        """Return a relation of its own that says the same; bitmaps of people mean the same in both.

        They go on doing so for people whom both knew, or were made to `know`, at this moment.
        """
        other = self.beside(self.graph.copy(), self.readings)
        other._items, other._class_of = [dict(items) for items in self._items], dict(self._class_of)
        other._audiences = dict(self._audiences)
        return other

    def beside(self, graph: Graph, readings: Readings) -> Relation:
        """Return a relation over a graph that grew out of this one's, which shares what is said of items.

        For looking at other moments of the identities: no item may be placed in it, or in this one for as long
        as it is in use. It may learn classes of its own.
        """
        other = Relation(readings, self._visibility)
        other.graph = graph
        other._model_numbers, other._docs, other._levels = (
            dict(self._model_numbers),
            list(self._docs),
            list(self._levels),
        )
        other._naming = {who: list(models) for who, models in self._naming.items()}
        other._classes_of_model = {model: list(numbers) for model, numbers in self._classes_of_model.items()}
        other._class_numbers, other._classes = dict(self._class_numbers), list(self._classes)
        other._items, other._class_of = list(self._items), self._class_of
        return other

    # Classes of items, for `permissions.exposure`

    def class_at(self, source: str, model: bytes) -> int:
        """Return the class of a source and a model's digest, empty so far if there is none."""
        key = (source, self._model(model))
        number = self._class_numbers.get(key)
        if number is None:
            number = self._class_numbers[key] = len(self._classes)
            self._classes.append(key)
            self._items.append({})
            self._classes_of_model.setdefault(key[1], []).append(number)
        return number

    def class_for(self, item: Resource) -> int:
        """Return the class that an item belongs in, whether or not it is there."""
        key = digest(item.shared) if item.shared else NO_SHARED
        if self.lacks(key):
            self.add_models((item.shared,))
        return self.class_at(item.address.scope, key)

    def class_of(self, address: str) -> int | None:
        """Return the class of an item, None when there is no such item."""
        return self._class_of.get(address)

    def place(self, address: str, number: int | None) -> None:
        """Put an item into a class, or take it away."""
        before = self._class_of.get(address)
        if before == number:
            return
        if before is not None:
            del self._items[before][address]
        if number is None:
            del self._class_of[address]
        else:
            self._class_of[address] = number
            self._items[number][address] = None

    @property
    def is_bare(self) -> bool:
        """Whether there are no items at all."""
        return not self._class_of

    def source_of(self, number: int) -> str:
        """Return the source of a class."""
        return self._classes[number][0]

    def items_in(self, number: int) -> Mapping[str, None]:
        """Return the addresses of the items of a class."""
        return self._items[number]

    def classes_naming(self, identities: Iterable[int], *, empty: bool = False) -> set[int]:
        """Return the classes with items, or `empty` as well, whose models name one of these identities."""
        return {
            number
            for model in self._models_naming(identities)
            for number in self._classes_of_model.get(model, ())
            if (empty or self._items[number]) and self._visibility.get(self._classes[number][0]) != "shared"
        }

    def named_in(self, number: int) -> set[int]:
        """Return the identities that the model of a class names."""
        levels = self._levels_of(self._classes[number][1])
        return {who for level in levels for entry in level for who in entry.allowed + entry.denied}

    def has_model(self, number: int) -> bool:
        """Return whether a model decides about the items of a class: they have one, and the source heeds it."""
        source, model = self._classes[number]
        return model != NO_MODEL and self._visibility.get(source) != "shared"

    def denied_in(self, number: int) -> set[int]:
        """Return the identities that the model of a class denies, in whatever level."""
        levels = self._levels_of(self._classes[number][1])
        return {who for level in levels for entry in level for who in entry.denied}

    def admits(self, number: int, identity: int) -> bool:
        """Return whether somebody sees the items of a class who has this identity, and what follows from it."""
        return self._sees(self.graph.held_by(identity), number)

    def sides_of(self, number: int) -> tuple[set[int], set[int]]:
        """Return the identities that the model of a class allows, and those that it denies."""
        levels = self._levels_of(self._classes[number][1])
        return (
            {who for level in levels for entry in level for who in entry.allowed},
            {who for level in levels for entry in level for who in entry.denied},
        )

    def _models_naming(self, identities: Iterable[int]) -> set[int]:
        return {model for who in identities for model in self._naming.get(who, ())}

    def forget(self, identities: Iterable[int]) -> None:
        """Drop the audiences of models that name one of these identities."""
        for model in self._models_naming(identities):
            self._audiences.pop(model, None)

    def settle(self) -> None:
        """Drop what people made stale who became known by name alone."""
        if self.graph.grown:
            self.forget(self.graph.settle())

    # Evaluation

    def audience_of(self, number: int) -> Audience:
        """Return who sees the items of a class."""
        source, model = self._classes[number]
        if self._visibility.get(source) == "shared":
            return EVERYBODY
        if model == NO_MODEL:
            return NOBODY
        found = self._audiences.get(model)
        if found is None:
            found = self._audiences[model] = self._evaluate(self._levels_of(model))
        return found

    def _levels_of(self, model: int) -> _Levels:
        levels = () if model == NO_MODEL else self._levels[model]
        if levels is None:
            raise LookupError("an item's permission model was not given; see `wanted`")
        return levels

    def _hidden(self, levels: _Levels) -> bool:
        if not self.readings.unresolved_deny_hides_item or not levels:
            return False
        return not all(self.graph.resolved(who) for entry in levels[0] for who in entry.denied)

    def _evaluate(self, levels: _Levels) -> Audience:
        if self._hidden(levels):
            return NOBODY
        people = self.graph.people
        allowed, undecided = BitMap(), people
        anonymous: bool | None = None
        for level in levels:
            if not level:
                continue
            everybody_denied, denied = self._reach(who for entry in level for who in self._denied(entry))
            if everybody_denied:
                # Whoever is left is denied here; nothing after this level is looked at.
                break
            satisfied = [(True, people) if entry.anonymous else self._reach(self._allowed(entry)) for entry in level]
            passing = BitMap.intersection(undecided, *(people if open_ else who for open_, who in satisfied)) - denied
            allowed |= passing
            if anonymous is None and all(open_ for open_, _ in satisfied):
                anonymous = True
            undecided = undecided - (passing | denied)
            if self.readings.partial_level == "denied":
                if any(open_ for open_, _ in satisfied):
                    break
                undecided = undecided - BitMap.union(*(who for _, who in satisfied))
            if anonymous and not undecided:
                break
        return Audience(True, people - allowed) if anonymous else Audience(False, allowed)

    def _denied(self, entry: _Set) -> tuple[int, ...]:
        return entry.denied if self.readings.deny_beats_anonymous or not entry.anonymous else ()

    def _allowed(self, entry: _Set) -> Iterator[int]:
        named = self.readings.unresolved_allow == "named"
        return (who for who in entry.allowed if named or self.graph.resolved(who))

    def _reach(self, identities: Iterable[int]) -> tuple[bool, BitMap]:
        """Return whether everybody has one of these identities, and who has one by name."""
        graph = self.graph
        found = []
        for who in identities:
            if who in graph.anonymous:
                return True, graph.people
            found.append(graph.below(who))
        return False, BitMap.union(*found) if len(found) > 1 else found[0] if found else BitMap()

    def _decide(self, levels: _Levels, held: frozenset[int]) -> bool:
        if self._hidden(levels):
            return False
        for level in levels:
            if any(not held.isdisjoint(self._denied(entry)) for entry in level):
                return False
            satisfied = [entry.anonymous or not held.isdisjoint(self._allowed(entry)) for entry in level]
            if satisfied and all(satisfied):
                return True
            if any(satisfied) and self.readings.partial_level == "denied":
                return False
        return False

    # Questions

    def held_by(self, identity: str | None) -> frozenset[int]:
        """Return what somebody has who logs in as `identity`; for None, who does not log in."""
        if identity is None:
            return self.graph.anonymous
        number = self.graph.find(identity)
        if number is not None:
            return self.graph.held_by(number)
        pattern = self.readings.domain_pattern(self.readings.key(identity))
        return self.graph.held_by(self.graph.find(pattern) if pattern else None)

    def audience(self, address: str) -> Audience:
        """Return who sees an item. Raises KeyError when there is none of that address."""
        return self.audience_of(self._class_of[address])

    def viewers(self, address: str, provider: str | None = None) -> list[str]:
        """Return everybody known who sees an item, as canonical identities in order: aliases each by themselves.

        With a provider, only its users.
        """
        names = self.names(self.audience(address).among(self.graph.people))
        return names if provider is None else [name for name in names if name.startswith(f"user/{provider}/")]

    def witnesses(self, identity: str, address: str) -> list[str]:
        """Return the addresses under which to look for whatever has a say in whether somebody sees an item.

        A `Directory` of the resources that are found there decides as one of all resources would, so that a
        question costs what its answer takes. Not every address has a resource.
        """
        named = self.graph.above(self.named_in(self._class_of[address]))
        names = self.graph.written(named | self.held_by(identity))
        return sorted({*names, *map(alias_address, names)})

    def names(self, people: BitMap, limit: int | None = None) -> list[str]:
        """Return people as canonical identities in order; with a limit, the first so many."""
        if limit is None:
            return sorted(map(self.graph.name, people))
        if len(people) > _FEW:
            # Among so many the first ones are soon met on a walk over all names in order.
            everybody = (number for number in self.graph.in_order() if number in people)
            return list(map(self.graph.name, islice(everybody, limit)))
        return heapq.nsmallest(limit, map(self.graph.name, people))

    def sees(self, identity: str | None, address: str) -> bool:
        """Return whether somebody who logs in as `identity` (None: does not) sees an item, known or not."""
        return self._sees(self.held_by(identity), self._class_of[address])

    def _sees(self, held: frozenset[int], number: int) -> bool:
        source, model = self._classes[number]
        if self._visibility.get(source) == "shared":
            return True
        return self._decide(self._levels_of(model), held)

    def seen_by(self, identity: str | None) -> Iterator[str]:
        """Yield the addresses of the items that somebody sees, in no order."""
        held = self.held_by(identity)
        for number, items in enumerate(self._items):
            if items and self._sees(held, number):
                yield from items

    def counts_seen_by(self, identity: str | None) -> dict[str, int]:
        """Return how many items somebody sees, per source that has any items, in order of their names."""
        held = self.held_by(identity)
        counts = {source: 0 for source, _ in sorted(self._classes)}
        for number, items in enumerate(self._items):
            if items and self._sees(held, number):
                counts[self.source_of(number)] += len(items)
        return counts

    def count(self, people: BitMap) -> int:
        """Return how many persons these are: aliases of one another count once. Takes all aliases of each."""
        return people.intersection_cardinality(self.graph.firsts)

    def each_class(self) -> Iterator[tuple[str, Mapping[str, None], Audience]]:
        """Yield the items of which the same people see all: their source, their addresses, and who sees them."""
        for number, items in enumerate(self._items):
            if items:
                yield self.source_of(number), items, self.audience_of(number)

    def pairs(self) -> int:
        """Return the number of pairs of a person and an item that the person sees; evaluates everything."""
        everyone, total = self.count(self.graph.people), 0
        for _, items, audience in self.each_class():
            others = self.count(audience.others)
            total += len(items) * (everyone - others if audience.anonymous else others)
        return total

    def people_of(self, identities: Iterable[str]) -> BitMap:
        """Return everybody known who has one of these identities: the people in a group, the aliases of a user."""
        numbers = [number for who in identities if (number := self.graph.find(who)) is not None]
        everybody, people = self._reach(numbers)
        return self.graph.people if everybody else people

    def model(self, address: str) -> PermissionModel | None:
        """Return the permission model of an item, None for an item without one."""
        _, model = self._classes[self._class_of[address]]
        self._levels_of(model)
        return None if model == NO_MODEL else PermissionModel.from_doc(orjson.loads(self._docs[model]))

    def unresolved(self, address: str) -> tuple[Unresolved, ...]:
        """Return the entries of an item's model whose identity nobody declared."""
        model = self.model(address)
        find = self.graph.number
        return unresolved(model, lambda entry: self.graph.resolved(find(entry)), self.readings) if model else ()
