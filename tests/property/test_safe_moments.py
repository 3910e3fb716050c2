"""Nobody sees for a moment what was not meant for them: random changes, looked at after each of their calls.

The moments are built anew from what each call leaves behind (push-api.md 5.3), and evaluated from the start, so
that nothing of the search and of its shortcuts is taken for granted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.calls.call import REMOVALS, Compiled, Verb, Wave
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.safely import in_safe_order
from reconciler.emulator.options import Doubts
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.identity import alias_address, aliased_identity
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from reconciler.planning.change import Change
from reconciler.planning.diff import changes_of, compare
from reconciler.pushapi.client import PushClient
from tests.builders import KEY, ORGANIZATION
from tests.property.test_permissions_emulated import PEOPLE, push, remote_with, visible, worlds

World = Mapping[str, Resource]
EMAIL = EMAIL_PROVIDER
READINGS = Readings(case_sensitive=frozenset({"exact"}))
VISIBILITY: dict[str, Any] = {"handbook": "secured", "blog": "shared", "own": "private"}
CONTEXT = WireContext(
    "org",
    {name: SourceRef(name, "corp") for name in VISIBILITY},
    {"corp": "corp", "exact": "exact"},
)


def changes_between(before: World, after: World) -> tuple[Change, ...]:
    differences = compare(fingerprints(after), fingerprints(before))
    return changes_of(differences, desired=picked(after), recorded=picked(before), moved={})


def fingerprints(world: World) -> dict[str, bytes]:
    return {address: resource.fingerprint for address, resource in world.items()}


def picked(world: World) -> Any:
    return lambda addresses: {address: world[address] for address in addresses if address in world}


def relation_of(world: World, readings: Readings = READINGS) -> Relation:
    relation = Relation(readings, VISIBILITY)
    relation.load(world.values())
    return relation


def ordered(before: World, after: World, *, tighten: bool = False) -> tuple[tuple[Change, ...], Compiled]:
    changes = changes_between(before, after)

    def make(waves: Sequence[Wave]) -> Compiled:
        return compile_calls(changes, CONTEXT, waves=waves)

    return changes, in_safe_order(changes, relation_of(before), picked(before), make, tighten=tighten)


def moments(before: World, changes: Sequence[Change], compiled: Compiled) -> Iterator[World]:
    """Yield what the remote holds after each call."""
    world = dict(before)
    payloads = payload_resources(changes)
    tight = {resource.address: resource for resource in compiled.tightened}
    for call in compiled.calls:
        for covered in sorted(call.covers, key=lambda covered: covered.address.kind is Kind.ALIAS):
            address = covered.address
            sent = tight[address] if covered.verb is Verb.TIGHTEN else payloads[address]
            if covered.verb in REMOVALS or covered.verb is Verb.WITHDRAW:
                world.pop(address, None)
            else:
                assert sent is not None
                world[address] = sent
            if address.kind is not Kind.ITEM and covered.verb is not Verb.SWEPT:
                # One list of well-knowns for an identity, whichever call sets it.
                says = sent is not None and (address.kind is Kind.ALIAS or covered.verb not in REMOVALS)
                shared = sent.shared if says and sent is not None else b""
                identity = aliased_identity(address) if address.kind is Kind.ALIAS else str(address)
                for other in (identity, alias_address(identity)):
                    if other in world:
                        world[other] = replace(world[other], shared=shared)
        yield dict(world)


def seen(world: World, readings: Readings, people: Sequence[str]) -> set[tuple[str | None, str]]:
    relation = relation_of(world, readings)
    return {(who, address) for who in (None, *people) for address in relation.seen_by(who)}


def people_in(*worlds: World) -> list[str]:
    relation = relation_of({})
    for world in worlds:
        relation.know(world.values())
    people = relation.names(relation.graph.people)
    return [*people, f"user/{EMAIL}/nobody-knows@x.org", f"user/{EMAIL}/nobody-knows@y.org", "user/corp/nobody-knows"]


def violations(
    before: World, after: World, changes: Sequence[Change], compiled: Compiled
) -> list[tuple[int, str | None, str]]:
    """Return who sees what after which call that was not meant for them, under either reading."""
    people = people_in(before, after)
    found = []
    for readings in (READINGS, READINGS.widest()):
        meant = seen(before, readings, people) | seen(after, readings, people)
        for number, world in enumerate(moments(before, changes, compiled), 1):
            found += [(number, who, what) for who, what in sorted(seen(world, readings, people) - meant, key=str)]
    return found


@st.composite
def changing(draw: st.DrawFn) -> tuple[World, World]:
    """Draw what there is, and what it becomes: each resource stays, or is as in another world, or goes."""
    before: dict[str, Resource] = {resource.address: resource for resource in draw(worlds())}
    other: dict[str, Resource] = {resource.address: resource for resource in draw(worlds())}
    after: dict[str, Resource] = {}
    for address in sorted({*before, *other}):
        chosen = (other if draw(st.booleans()) else before).get(address)
        if chosen is not None:
            after[address] = chosen
    _without_gaps(before, after)
    for address in [address for address in after if address.startswith("alias/")]:
        # An identity and its alias have one list of well-knowns.
        identity = after.get(aliased_identity(address))
        if identity is not None:
            after[address] = replace(after[address], shared=identity.shared)
    return before, after


def _without_gaps(before: World, after: dict[str, Resource]) -> None:
    """Let identities stay that something still names: no manifests ask for anything else."""
    while True:
        text = b"".join(resource.doc + resource.shared for resource in after.values()).decode()
        aliased = {aliased_identity(address) for address in after if address.startswith("alias/")}
        gone = [address for address in before if address not in after and not address.startswith(("alias/", "item/"))]
        named = [address for address in gone if f'"{address}"' in text or address in aliased]
        if not named:
            return
        after |= {address: before[address] for address in named}


@settings(max_examples=60)
@given(changing())
def test_nobody_sees_between_the_calls_what_was_not_meant_for_them(worlds: tuple[World, World]) -> None:
    before, after = worlds
    changes, compiled = ordered(before, after)
    assert compiled.order.checked
    found = violations(before, after, changes, compiled)
    told = {(number, each.source) for each in compiled.order.transients for number in range(each.since, each.until)}
    assert {(number, address.split("/")[1]) for number, _, address in found} == told
    settled = [covered.address for call in compiled.calls for covered in call.covers]
    assert sorted([*settled, *compiled.state_only]) == [change.address for change in changes]
    fewest = compile_calls(changes, CONTEXT)
    assert compiled.api_calls == fewest.api_calls + compiled.order.extra_calls


@settings(max_examples=50)
@given(changing())
def test_tightening_leaves_no_moment_unsafe(worlds: tuple[World, World]) -> None:
    before, after = worlds
    changes, compiled = ordered(before, after, tighten=True)
    assert compiled.order.transients == ()
    assert violations(before, after, changes, compiled) == []
    *_, last = [before, *moments(before, changes, compiled)]
    assert fingerprints(last) == fingerprints(after)


# Every change of a small organization

ITEM, GROUP, OTHER = Address("item/handbook/x:1"), Address("group/corp/G"), Address("group/exact/H")
STAYS = Address("item/handbook/x:2")


def one_set(allowed: tuple[str, ...] = (), denied: tuple[str, ...] = ()) -> PermissionSet:
    return PermissionSet(allowed, denied)


def modelled(*levels: tuple[PermissionSet, ...]) -> PermissionModel:
    return PermissionModel(tuple(PermissionLevel(sets) for sets in levels))


# a model -> who sees an item by it, given who is in G and who is in H
MODELS: dict[str, tuple[PermissionModel, Any]] = {
    "in G": (modelled((one_set((GROUP,)),)), lambda g, _: g),
    "in H": (modelled((one_set((OTHER,)),)), lambda _, h: h),
    "in G and not in H": (modelled((one_set((GROUP,), (OTHER,)),)), lambda g, h: g - h),
    "in both": (modelled((one_set((GROUP,)), one_set((OTHER,)))), lambda g, h: g & h),
    "in H, or else in G": (modelled((one_set((OTHER,)),), (one_set((GROUP,)),)), lambda g, h: g | h),
}
SUBSETS = [frozenset(names) for size in range(3) for names in itertools.combinations(("a", "b"), size)]
State = tuple[frozenset[str], frozenset[str], str]
"""Who is in G, who is in H, and the item's model; an empty one where there is no item."""
STATES: list[State] = [(g, h, model) for g in SUBSETS for h in SUBSETS for model in ("", *MODELS)]
STAYING = "in H, or else in G"
UNSAFE = ("in G and not in H", "in both")
"""The models from which some changes have no safe order."""


def world_at(state: State) -> dict[str, Resource]:
    g, h, model = state
    found = [
        Resource(GROUP, canonical_json({"members": [f"user/corp/{name}" for name in sorted(g)]})),
        Resource(OTHER, canonical_json({"members": [f"user/corp/{name}" for name in sorted(h)]})),
        Resource(STAYS, b'{"metadata":{}}', canonical_json(MODELS[STAYING][0].to_doc())),
    ]
    if model:
        found.append(Resource(ITEM, b'{"metadata":{}}', canonical_json(MODELS[model][0].to_doc())))
    return {resource.address: resource for resource in found}


def small_sight(state: State) -> set[tuple[str, str]]:
    g, h, model = state
    seen = {("stays", who) for who in MODELS[STAYING][1](g, h)}
    return seen | {("item", who) for who in (MODELS[model][1](g, h) if model else ())}


def small_states(before: State, after: State, compiled: Compiled) -> Iterator[State]:
    """Yield the states after each call."""
    tight = {resource.address: resource for resource in compiled.tightened}
    now: list[Any] = list(before)
    for call in compiled.calls:
        for covered in call.covers:
            index = (GROUP, OTHER, ITEM).index(covered.address)
            now[index] = after[index]
            if covered.verb is Verb.TIGHTEN:
                members = tight[covered.address].own().get("members", ())
                now[index] = "" if index == 2 else frozenset(name[-1] for name in members)
        yield now[0], now[1], now[2]


def any_order(before: State, after: State) -> bool:
    """Whether any order of single changes is safe: each is a call of its own, since each has a place of its own."""
    meant = small_sight(before) | small_sight(after)
    differing = [index for index in range(3) if before[index] != after[index]]
    for order in itertools.permutations(differing):
        now = list(before)
        for index in order:
            now[index] = after[index]
            if not small_sight((now[0], now[1], now[2])) <= meant:  # type: ignore[arg-type]
                break
        else:
            return True
    return False


@pytest.mark.parametrize("model", ["", *MODELS])
def test_every_change_of_a_small_organization_is_safe_where_any_order_is(model: str) -> None:
    """Two persons, a group of each of two providers, an item that changes and one that stays: all there is."""
    unsafe = changed = 0
    for before in STATES:
        if before[2] != model:
            continue
        for after in STATES:
            if sum(was != will for was, will in zip(before, after, strict=True)) < 2:
                continue
            _, compiled = ordered(world_at(before), world_at(after))
            meant = small_sight(before) | small_sight(after)
            safe = all(small_sight(state) <= meant for state in small_states(before, after, compiled))
            assert safe is any_order(before, after)
            assert safe is (compiled.order.transients == ())
            assert compiled.order.extra_calls == 0
            changed += 1
            if not safe:
                unsafe += 1
                _, tightened = ordered(world_at(before), world_at(after), tighten=True)
                assert all(small_sight(state) <= meant for state in small_states(before, after, tightened))
                # One call that tightens is enough here; none is not.
                assert len(tightened.calls) == len(compiled.calls) + 1
    assert changed > 1000
    assert unsafe > 0 or model not in UNSAFE


# Two groups of one provider and two items of one source, which calls may or may not share

SECOND, OTHER_ITEM = Address("group/corp/H"), Address("item/handbook/x:3")
PLACES = ((GROUP, SECOND), (ITEM, OTHER_ITEM))
Small = tuple[frozenset[str], frozenset[str], str, str]


def small_world(state: Small) -> dict[str, Resource]:
    found = [
        Resource(address, canonical_json({"members": [f"user/corp/{name}" for name in sorted(members)]}))
        for address, members in ((GROUP, state[0]), (SECOND, state[1]))
    ]
    for address, model in ((ITEM, state[2]), (OTHER_ITEM, state[3])):
        if model:
            text = canonical_json(MODELS[model][0].to_doc()).replace(OTHER.encode(), SECOND.encode())
            found.append(Resource(address, b'{"metadata":{}}', text))
    return {resource.address: resource for resource in found}


def sight_of(state: Sequence[Any]) -> set[tuple[int, str]]:
    g, h, *models = state
    return {(number, who) for number, model in enumerate(models) for who in (MODELS[model][1](g, h) if model else ())}


def fewest_calls(before: Small, after: Small) -> int | None:
    """Return the fewest API calls of any safe order, tried one and all; None where there is none."""
    meant = sight_of(before) | sight_of(after)
    differing = frozenset(index for index in range(4) if before[index] != after[index])
    costs: dict[frozenset[int], int] = {frozenset(): 0}
    for size in range(1, len(differing) + 1):
        for done in map(frozenset, itertools.combinations(sorted(differing), size)):
            if not sight_of([(after if index in done else before)[index] for index in range(4)]) <= meant:
                continue
            # The last call is of one provider or source: one or both of its two.
            last = [done & part for pair in ((0, 1), (2, 3)) for part in map(frozenset, ((pair[0],), (pair[1],), pair))]
            ways = [costs[done - call] + len(call) for call in last if call and done - call in costs]
            if ways:
                costs[done] = min(ways)
    return costs.get(differing)


SMALL = st.tuples(
    st.sampled_from(SUBSETS), st.sampled_from(SUBSETS), st.sampled_from(["", *MODELS]), st.sampled_from(["", *MODELS])
)


@settings(max_examples=200)
@given(SMALL, SMALL)
def test_a_safe_order_takes_the_fewest_calls_of_all(before: Small, after: Small) -> None:
    changes, compiled = ordered(small_world(before), small_world(after))
    fewest = fewest_calls(before, after)
    assert (compiled.order.transients == ()) is (fewest is not None)
    if fewest is not None:
        assert compiled.api_calls == fewest
        assert violations(small_world(before), small_world(after), changes, compiled) == []


class NoBodies:
    def open(self, sha256: str, /) -> BinaryIO:
        raise KeyError(sha256)


@pytest.mark.parametrize("hides", [True, False])
def test_the_emulator_shows_nobody_anything_between_the_accepted_calls(hides: bool) -> None:
    readings = replace(READINGS, unresolved_deny_hides_item=hides, unresolved_allow="named", members_resolve=False)
    moved = 0

    with (
        remote_with(Doubts(unresolved_deny_hides_item=hides)) as (remote, client),
        PushClient(f"{remote.url}/push/v1", KEY) as pushing,
    ):
        context = replace(CONTEXT, organization=ORGANIZATION)

        @settings(max_examples=15)
        @given(changing())
        def stays_safe(worlds: tuple[World, World]) -> None:
            nonlocal moved
            before, after = permitted(*worlds)
            remote.reset()
            push(client, list(before.values()))
            changes = changes_between(before, after)
            compiled = in_safe_order(
                changes,
                relation_of(before, readings),
                picked(before),
                lambda waves: compile_calls(changes, context, waves=waves),
                tighten=True,
            )
            seen = [everything_visible(client)]
            payloads = payload_resources(changes)
            tight = {resource.address: resource for resource in compiled.tightened}
            for call in compiled.calls:
                pushing.send(
                    call,
                    ordering_id=10**15 + call.number,
                    resources=[
                        tight[covered.address] if covered.verb is Verb.TIGHTEN else payloads[covered.address]
                        for covered in call.covers
                    ],
                    where="",
                    retried=lambda *_: None,
                    bodies=NoBodies(),
                    context=context,
                )
                seen.append(everything_visible(client))
            for moment in seen[1:-1]:
                assert moment <= seen[0] | seen[-1]
                moved += moment not in (seen[0], seen[-1])

        stays_safe()
    assert moved > 0


def permitted(before: World, after: World) -> tuple[World, World]:
    """Leave out what the remote rejects: items of a secured source without permissions (push-api.md 3.4)."""

    def is_taken(address: str, resource: Resource) -> bool:
        return not address.startswith("item/handbook/") or bool(resource.shared)

    was = {address: resource for address, resource in before.items() if is_taken(address, resource)}
    will = {address: resource for address, resource in after.items() if is_taken(address, resource)}
    return was, will


def everything_visible(client: httpx.Client) -> set[tuple[str | None, str]]:
    return {(who, address) for who in (None, *PEOPLE) for address in visible(client, who)}
