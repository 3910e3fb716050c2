"""Who sees what: the fast evaluation is the definition, what a change does is the difference, and laws of both."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.permissions.evaluate import decide, decide_item
from reconciler.permissions.expand import Directory
from reconciler.permissions.exposure import Edit, expose
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings, is_person
from reconciler.permissions.relation import Relation

EMAIL = EMAIL_PROVIDER
VISIBILITY = {"handbook": "secured", "blog": "shared", "own": "private"}

PEOPLE = [f"user/corp/{name}" for name in "abc"] + ["user/corp/A", 'user/corp/a?info={"d":"X"}', "user/exact/A"]
PEOPLE += ["user/exact/a", f"user/{EMAIL}/a@x.org", f"user/{EMAIL}/b@X.org", f"user/{EMAIL}/c@y.org", f"user/{EMAIL}/c"]
GROUPS = [*(f"group/corp/{name}" for name in "GHK"), "group/corp/g", "group/exact/G", "virtual-group/corp/V"]
PATTERNS = [f"group/{EMAIL}/*@*", f"group/{EMAIL}/*@x.org", f"group/{EMAIL}/*@Y.org"]
ANYBODY = [*PEOPLE, *GROUPS, *PATTERNS, "unknown/corp/u"]
URIS = [f"item/{source}/{name}" for source in VISIBILITY for name in ("1", "2")]

World = dict[str, Resource]


def some(whos: list[str], size: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(whos), max_size=size, unique=True).map(sorted)


def well_knowns() -> st.SearchStrategy[bytes]:
    return some([*GROUPS, PATTERNS[0]], 1).map(lambda groups: canonical_json({"wellKnowns": groups}) if groups else b"")


SETS = st.builds(PermissionSet, some(ANYBODY, 3).map(tuple), some(ANYBODY, 2).map(tuple), st.booleans())
LEVELS = st.lists(SETS, max_size=3).map(lambda sets: PermissionLevel(tuple(sorted(sets))))
MODELS = st.lists(LEVELS, max_size=3).map(lambda levels: PermissionModel(tuple(levels)))


@st.composite
def resources(draw: st.DrawFn, address: str) -> Resource | None:
    """Draw the resource of an address, or that there is none."""
    if draw(st.booleans()):
        return None
    at = Address(address)
    if at.kind == "item":
        model = draw(st.none() | MODELS)
        return Resource(at, canonical_json({"metadata": {}}), canonical_json(model.to_doc()) if model else b"")
    if at.kind == "alias":
        return Resource(at, canonical_json({"mappings": draw(some([*PEOPLE, *GROUPS], 2))}), draw(well_knowns()))
    own = {} if at.kind == "user" else {"members": draw(some(ANYBODY, 3))}
    return Resource(at, canonical_json(own), draw(well_knowns()))


def _alias(identity: str) -> str:
    kind, provider, name = identity.split("/", 2)
    return f"alias/{provider}/{kind}:{name}"


ADDRESSES = [*GROUPS, *PEOPLE[:6], *map(_alias, [*PEOPLE[:4], *GROUPS[:2]]), *URIS]
WORLDS = st.tuples(*map(resources, ADDRESSES)).map(
    lambda drawn: {str(resource.address): resource for resource in drawn if resource}
)
READINGS = st.builds(
    Readings,
    partial_level=st.sampled_from(["inconclusive", "denied"]),
    unresolved_deny_hides_item=st.booleans(),
    unresolved_allow=st.sampled_from(["nobody", "named"]),
    members_resolve=st.booleans(),
    deny_beats_anonymous=st.booleans(),
    case_sensitive=st.just(frozenset({"exact"})),
)


@dataclass(frozen=True)
class Answer:
    """Who sees what by the definition: pairs of a key and an address, and the items that all see."""

    directory: Directory
    pairs: frozenset[tuple[str, str]]
    public: frozenset[str]


def defined(world: World, readings: Readings, people: Iterable[str]) -> Answer:
    directory = Directory(world.values(), readings)
    persons = {key: directory.person(key) for key in people}
    anonymous = directory.anonymous()
    pairs, public = set(), set()
    for address, resource in world.items():
        if not address.startswith("item/"):
            continue
        doc = resource.shared_doc()
        model = PermissionModel.from_doc(doc) if doc else None
        visibility: Any = VISIBILITY[resource.address.scope]
        if decide_item(model, visibility, anonymous, directory).allowed:
            public.add(address)
        for key, person in persons.items():
            if decide_item(model, visibility, person, directory).allowed:
                pairs.add((key, address))
    return Answer(directory, frozenset(pairs), frozenset(public))


def related(world: World, readings: Readings) -> Relation:
    relation = Relation(readings, VISIBILITY)  # type: ignore[arg-type]
    relation.load(world.values())
    assert relation.wanted() == {}
    return relation


def known(relation: Relation) -> set[str]:
    return {relation.readings.key(relation.graph.name(number)) for number in relation.graph.people}


def persons(keys: Iterable[str], directory: Directory) -> set[frozenset[str]]:
    """Return who these are, by the aliases alone: everybody's identities that stand for one another."""
    return {
        frozenset(
            step.end for step in person.steps.values() if step and all(x.how == "alias" for x in person.chain(step.end))
        )
        | {key}
        for key in keys
        for person in [directory.person(key)]
    }


def count(pairs: Iterable[tuple[str, str]], directory: Directory) -> int:
    ordered = sorted(pairs, key=lambda pair: pair[1])
    return sum(
        len(people_only(persons((key for key, _ in some_pairs), directory)))
        for _, some_pairs in itertools.groupby(ordered, key=lambda pair: pair[1])
    )


def people_only(found: set[frozenset[str]]) -> set[frozenset[str]]:
    return {frozenset(filter(is_person, identities)) for identities in found}


@settings(max_examples=150)
@given(WORLDS, READINGS)
def test_the_fast_evaluation_is_the_definition(world: World, readings: Readings) -> None:
    relation = related(world, readings)
    everybody = known(relation)
    answer = defined(world, readings, everybody | {"user/corp/new", f"user/{EMAIL}/new@x.org"})
    for address in world:
        if not address.startswith("item/"):
            continue
        assert relation.audience(address).anonymous == relation.sees(None, address) == (address in answer.public)
        seeing = {readings.key(name) for name in relation.viewers(address)}
        assert seeing == {key for key, at in answer.pairs if at == address} & everybody
    for key in everybody | {"user/corp/new", f"user/{EMAIL}/new@x.org"}:
        seen = set(relation.seen_by(key))
        assert seen == {at for who, at in answer.pairs if who == key}
        assert sum(relation.counts_seen_by(key).values()) == len(seen)
    assert relation.pairs() == count([pair for pair in answer.pairs if pair[0] in everybody], answer.directory)


@given(WORLDS, READINGS, st.sampled_from([*PEOPLE, "user/corp/new", f"user/{EMAIL}/new@x.org"]))
def test_a_verdict_needs_the_witnesses_only(world: World, readings: Readings, who: str) -> None:
    relation, everything = related(world, readings), Directory(world.values(), readings)
    for address in world:
        if address.startswith("item/") and (model := relation.model(address)):
            some_of_it = [world[at] for at in relation.witnesses(who, address) if at in world]
            directory = Directory(some_of_it, readings)
            verdict = decide(model, directory.person(who), directory)
            assert verdict == decide(model, everything.person(who), everything)


@given(WORLDS, WORLDS)
def test_copies_live_their_own_lives_and_mean_the_same_people(before: World, after: World) -> None:
    relation = related(before, Readings())
    relation.know(after.values())
    kept = relation.copy()
    pairs = kept.pairs()
    edits = [Edit(Address(at), before.get(at), after.get(at)) for at in sorted(before.keys() | after.keys())]
    expose(relation, edits)

    assert kept.pairs() == pairs
    assert relation.graph.people == kept.graph.people
    for number in relation.graph.people:
        assert relation.graph.name(number) == kept.graph.name(number)
    for address in before:
        if address.startswith("item/"):
            assert kept.viewers(address) == sorted(
                map(kept.graph.name, kept.audience(address).among(kept.graph.people))
            )
            fresh = {kept.readings.key(name) for name in related(before, Readings()).viewers(address)}
            assert fresh <= {kept.readings.key(name) for name in kept.viewers(address)}


@settings(max_examples=150)
@given(WORLDS, st.data(), READINGS)
def test_what_a_change_does_is_the_difference(before: World, data: st.DataObject, readings: Readings) -> None:
    changed = data.draw(st.lists(st.sampled_from(ADDRESSES), max_size=5, unique=True))
    after = {**before, **{address: data.draw(resources(address)) for address in changed}}
    after = {address: resource for address, resource in after.items() if resource}
    relation = related(before, readings)
    if data.draw(st.booleans()):
        relation.pairs()  # whatever was evaluated and kept before must not show
    exposure = expose(
        relation, [Edit(Address(address), before.get(address), after.get(address)) for address in changed], examples=99
    )
    everybody = known(relation)
    was, now = defined(before, readings, everybody), defined(after, readings, everybody)
    gained, lost = now.pairs - was.pairs, was.pairs - now.pairs

    assert {
        (readings.key(name), at)
        for shift in exposure.shifts
        for at in shift.examples
        for name in relation.names(shift.gained)
    } == gained
    assert {
        (readings.key(name), at)
        for shift in exposure.shifts
        for at in shift.examples
        for name in relation.names(shift.lost)
    } == lost
    assert exposure.pairs_gained == count(gained, now.directory)
    assert exposure.pairs_lost == count(lost, was.directory)
    assert exposure.people_gained == len(people_only(persons({key for key, _ in gained}, now.directory)))
    assert exposure.people_lost == len(people_only(persons({key for key, _ in lost}, was.directory)))
    assert exposure.items_gained == len({at for _, at in gained})
    assert exposure.items_lost == len({at for _, at in lost})
    for shift in exposure.shifts:
        assert shift.items == len(shift.examples)
        for address in shift.examples:
            assert (shift.was_public, shift.is_public) == (address in was.public, address in now.public)
            assert shift.seen_after == count([pair for pair in now.pairs if pair[1] == address], now.directory)
            assert shift.seen_before == count([pair for pair in was.pairs if pair[1] == address], was.directory)
        if shift.kind == "affected":
            # Nobody gains or loses without an edited identity behind it.
            causes = exposure.causes(shift)
            assert causes.parts and not causes.more
            for people, parts in (
                (shift.gained, [part.gained for part in causes.parts]),
                (shift.lost, [part.lost for part in causes.parts]),
            ):
                assert set(people) == set().union(*parts)
    # And afterwards it is the relation of the new state.
    assert relation.pairs() == count([pair for pair in now.pairs if pair[0] in everybody], now.directory)
    for address in (address for address in after if address.startswith("item/")):
        assert {readings.key(name) for name in relation.viewers(address)} == {
            key for key, at in now.pairs if at == address
        }


SINGLE = SETS.map(lambda entry: PermissionModel((PermissionLevel((entry,)),)))


def allowed(model: PermissionModel, directory: Directory) -> set[str]:
    everybody = {*map(directory.key, PEOPLE), directory.readings.everybody}
    return {key for key in everybody if decide(model, directory.person(key), directory).allowed}


def with_set(model: PermissionModel, level: int, number: int, **changes: Any) -> PermissionModel:
    levels = list(model.levels)
    sets = list(levels[level].sets)
    sets[number] = replace(sets[number], **changes)
    levels[level] = PermissionLevel(tuple(sets))
    return PermissionModel(tuple(levels))


@given(WORLDS, MODELS, READINGS, st.sampled_from(ANYBODY), st.data())
def test_a_further_deny_never_widens(
    world: World, model: PermissionModel, readings: Readings, who: str, data: st.DataObject
) -> None:
    places = [(a, b) for a, level in enumerate(model.levels) for b, _ in enumerate(level.sets)]
    if not places:
        return
    level, number = data.draw(st.sampled_from(places))
    denied = (*model.levels[level].sets[number].denied, who)
    directory = Directory(world.values(), readings)
    assert allowed(with_set(model, level, number, denied=denied), directory) <= allowed(model, directory)


@given(WORLDS, SINGLE, READINGS, st.sampled_from(ANYBODY))
def test_a_further_allow_never_narrows_a_single_set(
    world: World, model: PermissionModel, readings: Readings, who: str
) -> None:
    directory = Directory(world.values(), readings)
    wider = with_set(model, 0, 0, allowed=(*model.levels[0].sets[0].allowed, who))
    assert allowed(wider, directory) >= allowed(model, directory)


@given(WORLDS, MODELS, READINGS, st.randoms(use_true_random=False))
def test_the_order_of_sets_entries_and_resources_means_nothing(
    world: World, model: PermissionModel, readings: Readings, chance: Any
) -> None:
    def shuffled(entries: Iterable[Any]) -> tuple[Any, ...]:
        drawn = list(entries)
        chance.shuffle(drawn)
        return tuple(drawn)

    other = PermissionModel(
        tuple(
            PermissionLevel(
                shuffled(
                    replace(entry, allowed=shuffled(entry.allowed), denied=shuffled(entry.denied))
                    for entry in level.sets
                )
            )
            for level in model.levels
        )
    )
    one, two = Directory(world.values(), readings), Directory(shuffled(world.values()), readings)
    assert allowed(model, one) == allowed(other, two)
    for who in PEOPLE:
        assert dict(one.person(who).steps) == dict(two.person(who).steps)


@given(WORLDS, MODELS, READINGS)
def test_no_reading_shows_more_than_the_widest(world: World, model: PermissionModel, readings: Readings) -> None:
    widest = Directory(world.values(), readings.widest())
    assert allowed(model, Directory(world.values(), readings)) <= allowed(model, widest)


@given(WORLDS, MODELS, READINGS)
def test_a_further_set_never_widens_a_single_level(world: World, model: PermissionModel, readings: Readings) -> None:
    directory = Directory(world.values(), readings)
    for level in model.levels:
        if len(level.sets) > 1:
            fewer = PermissionModel((PermissionLevel(level.sets[1:]),))
            loose = replace(readings, unresolved_deny_hides_item=False)
            open_ = Directory(world.values(), loose)
            assert allowed(PermissionModel((level,)), directory) <= allowed(fewer, open_)


@given(st.lists(st.tuples(st.sampled_from(GROUPS), st.sampled_from(GROUPS)), max_size=12), st.sampled_from(GROUPS))
def test_nested_cycles_end_and_everybody_in_one_is_in_all_of_it(edges: list[tuple[str, str]], start: str) -> None:
    members: dict[str, set[str]] = {group: set() for group in GROUPS}
    for inner, outer in [*edges, (start, "group/corp/H"), ("group/corp/H", start)]:
        members[outer].add(inner)
    members[start].add("user/corp/a")
    world = {
        group: Resource(Address(group), canonical_json({"members": sorted(names)})) for group, names in members.items()
    }
    person = Directory(world.values(), Readings()).person("user/corp/a")
    assert person.has(Readings().key(start)) and person.has("group/corp/h")
    relation = related(world, Readings())
    assert {relation.readings.key(relation.graph.name(n)) for n in relation.held_by("user/corp/a")} >= set(person.steps)
