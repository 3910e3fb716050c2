"""Lints against what they mean, said with the definition of who sees what: person by person and entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.lints.identities import (
    groups_without_members,
    members_without_alias,
    nested_cycles,
    unused_identities,
)
from reconciler.lints.models import model_findings
from reconciler.lints.people import People
from reconciler.lints.rings import rings
from reconciler.lints.run import lint
from reconciler.lints.subject import Found, Model, Subject
from reconciler.model.identity import aliased_identity
from reconciler.model.permission import PermissionModel
from reconciler.model.states import Resource
from reconciler.permissions.evaluate import decide
from reconciler.permissions.expand import Directory, Person
from reconciler.permissions.facts import How, facts_of
from reconciler.permissions.graph import Graph
from reconciler.permissions.readings import Readings, is_person
from tests.property.test_permissions import EMAIL, READINGS, WORLDS, World

KEPT = ("corp", "exact")
GROUP = ("group/", "virtual-group/")


@dataclass(frozen=True)
class Case:
    """A world as lints see it, and as the definition does."""

    subject: Subject
    people: People
    directory: Directory
    names: frozenset[str]

    @property
    def readings(self) -> Readings:
        return self.directory.readings

    def key(self, identity: str) -> str:
        return self.readings.key(identity)

    def everybody(self) -> list[Person]:
        """Everybody there could be: those who are named, and one stranger for each group that is kept elsewhere."""
        named = [self.directory.person(name) for name in sorted(self.names) if is_person(name)]
        elsewhere = [name for name in sorted(self.names) if not is_person(name) and name.split("/")[1] == EMAIL]
        return [*named, *map(self.directory.person, elsewhere), self.directory.anonymous()]

    def holders(self, identity: str) -> list[Person]:
        return [person for person in self.everybody() if person.has(self.key(identity))]


def case(world: World, readings: Readings) -> Case:
    identities = [world[address] for address in sorted(world) if not address.startswith("item/")]
    models = [
        Model(world[address].shared, item=address, items=1)
        for address in sorted(world)
        if address.startswith("item/") and world[address].shared
    ]
    subject = Subject(readings, identities, models, KEPT, ("corp",))
    named = {name for model in models for name in permission(model).identities()}
    facts = [facts_of(resource) for resource in identities]
    stated = {who for fact in facts for start, end, _ in fact.belongs for who in (start, end)}
    stated |= {who for fact in facts for pair in fact.same for who in pair} | {w for f in facts for w in f.resolved}
    stated |= {who for fact in facts for who in fact.members}
    directory = Directory(identities, readings)
    return Case(subject, People(readings, identities, named, KEPT), directory, frozenset(named | stated))


def permission(model: Model) -> PermissionModel:
    doc = Resource("item/x/y", b"{}", model.doc).shared_doc()  # type: ignore[arg-type]
    assert doc is not None
    return PermissionModel.from_doc(doc)


def placed(found: Iterable[Found], *codes: str) -> set[tuple[str, str, str, int, str]]:
    return {
        (entry.code, place.address, place.part, place.level, place.identity)
        for entry in found
        if entry.code in codes
        for place in entry.places[:1]
    }


def is_denied(model: PermissionModel, rank: int, person: Person, directory: Directory) -> bool:
    """Whether one of the first levels denies somebody, by name: not since another set of the level is silent."""
    verdict = decide(PermissionModel(model.levels[:rank]), person, directory)
    return verdict.outcome == "denied" and verdict.grounds[0].says == "denies"


@settings(max_examples=100, deadline=None)
@given(WORLDS, READINGS)
def test_an_allow_is_always_denied_when_everybody_whom_it_means_is(world: World, readings: Readings) -> None:
    # Whether an unknown identity hides the item is told by a code of its own.
    open_case = case(world, replace(readings, unresolved_deny_hides_item=False))
    expected = set()
    for model in open_case.subject.models:
        for rank, level in enumerate(permission(model).levels, 1):
            entries = [("allowed", who) for entry in level.sets for who in entry.allowed]
            entries += [("anonymous", "") for entry in level.sets if entry.anonymous]
            for part, who in entries:
                holders = open_case.holders(who) if who else open_case.everybody()
                known = not who or open_case.directory.resolved(open_case.key(who))
                if (
                    known
                    and holders
                    and all(is_denied(permission(model), rank, person, open_case.directory) for person in holders)
                ):
                    expected.add(("allow-always-denied", model.item, part, rank, who))
    found = model_findings(open_case.subject.models, open_case.people)
    assert placed(found, "allow-always-denied") == expected


@settings(max_examples=100, deadline=None)
@given(WORLDS, READINGS)
def test_entries_that_name_nobody(world: World, readings: Readings) -> None:
    seen = case(world, readings)
    expected = set()
    for model in seen.subject.models:
        for rank, level in enumerate(permission(model).levels, 1):
            for part, who in [(p, w) for entry in level.sets for p in ("allowed", "denied") for w in getattr(entry, p)]:
                if who.split("/")[1] not in KEPT:
                    continue
                if not seen.directory.resolved(seen.key(who)):
                    expected.add((f"{part}-unresolved", model.item, part, rank, who))
                elif part == "denied" and who.startswith(GROUP) and not seen.holders(who):
                    expected.add(("denied-nobody", model.item, part, rank, who))
    found = list(model_findings(seen.subject.models, seen.people))
    assert placed(found, "denied-nobody", "denied-unresolved", "allowed-unresolved") == expected


@settings(max_examples=100, deadline=None)
@given(WORLDS, READINGS)
def test_what_is_unused_is_in_nothing_that_is_named(world: World, readings: Readings) -> None:
    seen = case(world, readings)
    facts = [facts_of(resource) for resource in seen.subject.identities]
    named = {seen.key(who) for model in seen.subject.models for who in permission(model).identities()}
    named |= {seen.key(end) for fact in facts for _, end, how in fact.belongs if how is How.WELL_KNOWN}

    def unused(identity: str) -> bool:
        # Everybody is in the pattern of everybody, by whatever name: that is no use of the name.
        person = seen.directory._walk(seen.key(identity), everybody=False)
        return named.isdisjoint(person.steps)

    idle = {seen.key(group) for group in world if group.startswith(GROUP) and unused(group)}
    expected = set()
    for address in world:
        identity = aliased_identity(address) if address.startswith("alias/") else address
        if address.startswith("item/") or not unused(identity):
            continue
        if not address.startswith(GROUP):
            same = persons_alike(seen.key(identity), facts, seen)
            inside = {seen.key(end) for fact in facts for start, end, _ in fact.belongs if seen.key(start) in same}
            if seen.key(identity) in idle or idle & inside:
                continue
        expected.add(("unused-identity", address, "", 0, ""))
    found = placed(unused_identities(seen.subject, seen.people), "unused-identity")
    assert found == (expected if seen.subject.models else set())


def persons_alike(key: str, facts: Iterable[object], seen: Case) -> set[str]:
    """Return the identities of one person, by the aliases alone."""
    pairs = [(seen.key(a), seen.key(b)) for fact in facts for a, b in fact.same]  # type: ignore[attr-defined]
    found = {key}
    while more := {b for a, b in [*pairs, *((b, a) for a, b in pairs)] if a in found} - found:
        found |= more
    return found


@settings(max_examples=100, deadline=None)
@given(WORLDS, READINGS)
def test_a_cycle_is_a_group_that_is_in_itself(world: World, readings: Readings) -> None:
    seen = case(world, readings)
    graph = Graph(readings)
    facts = [facts_of(resource) for resource in seen.subject.identities]
    graph.load(facts)
    assert in_groups(seen.people.graph, rings(seen.people.above)) == [
        [readings.key(name) for name in ring] for ring in graph.cycles()
    ]
    starts = {seen.key(start) for fact in facts for start, _, _ in fact.belongs}

    def inside_itself(group: str) -> bool:
        above = {
            seen.key(end) for fact in facts for start, end, _ in fact.belongs if seen.key(start) == seen.key(group)
        }
        return any(seen.directory._walk(near, everybody=False).has(seen.key(group)) for near in above)

    in_cycles = {seen.key(group) for ring in graph.cycles() for group in ring}
    assert in_cycles == {key for key in starts if not is_person(key) and inside_itself(key)}
    told = [found.places for found in nested_cycles(seen.people)]
    assert len(told) == len(graph.cycles())
    assert all(told)


def in_groups(graph: Graph, found: Iterable[Iterable[int]]) -> list[list[str]]:
    named = [sorted(name for number in ring if not is_person(name := graph.name(number))) for ring in found]
    return [[graph.readings.key(name) for name in ring] for ring in sorted(filter(None, named))]


@settings(max_examples=100, deadline=None)
@given(WORLDS, READINGS)
def test_groups_and_members(world: World, readings: Readings) -> None:
    seen = case(world, readings)
    facts = [facts_of(resource) for resource in seen.subject.identities]
    filled = {seen.key(end) for fact in facts for _, end, _ in fact.belongs}
    empty = {address for address in world if address.startswith(GROUP) and seen.key(address) not in filled}
    found = groups_without_members(seen.subject, seen.people)
    assert {entry.places[0].address for entry in found} == empty

    bare = set()
    for start in {start for resource in seen.subject.identities for start in _in_groups(resource)}:
        alike = persons_alike(seen.key(start), facts, seen)
        if start.startswith(("user/corp/", "unknown/corp/")) and not any(f"/{EMAIL}/" in key for key in alike):
            bare.add(seen.key(start))
    told = list(members_without_alias(seen.subject, seen.people))
    assert bool(told) == bool(bare)
    assert {seen.key(entry.places[0].identity or entry.places[0].address) for entry in told} <= bare


def _in_groups(resource: Resource) -> Iterator[str]:
    if resource.address.startswith(GROUP):
        yield from resource.own()["members"]
    elif resource.address.startswith("user/") and resource.shared:
        yield str(resource.address)


@settings(max_examples=60, deadline=None)
@given(WORLDS, READINGS, st.randoms())
def test_findings_do_not_depend_on_order(world: World, readings: Readings, random: object) -> None:
    subject = case(world, readings).subject
    shuffled = [*subject.models]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    told = lint(subject, {}, lambda _places: {})
    assert lint(replace(subject, models=shuffled), {}, lambda _places: {}) == told
    assert told == sorted(told, key=lambda problem: problem.sort_key)
    assert all(problem.where for problem in told)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=13))
def test_rings_are_the_nodes_that_reach_themselves(edges: dict[int, list[int]]) -> None:
    def reached(node: int) -> set[int]:
        found: set[int] = set()
        waiting = [node]
        while waiting:
            for other in edges.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    alike = {node: frozenset(o for o in reached(node) if node in reached(o)) for node in range(13)}
    assert rings(edges) == sorted(sorted(ring) for ring in set(alike.values()) if ring)
