"""Undoing a change of access: who sees what is as before, for any change that neither makes nor deletes items."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.model.former import Former, former_of, merge
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit, expose
from reconciler.permissions.narrowing import narrowing
from reconciler.planning.inverse import Inverse, inverse
from tests.property.test_permissions import READINGS, URIS, WORLDS, World, defined, known, related


def changed(before: World, after: World) -> World:
    """Return `after` with the items of `before`, each with the permissions that it has in `after` where it is there."""
    identities = {address: resource for address, resource in after.items() if address not in URIS}
    items = {address: resource for address, resource in before.items() if address in URIS}
    return identities | {
        address: Resource(
            resource.address, resource.doc, after[address].shared if address in after else resource.shared
        )
        for address, resource in items.items()
    }


def undone(worlds: list[World]) -> Inverse:
    """Return what undoes every step from one world to the next."""
    formers: dict[Address, Former] = {}
    for before, after in pairwise(worlds):
        steps = (former_of(Address(at), before.get(at), after.get(at)) for at in sorted({*before, *after}))
        merge(formers, [step for step in steps if step is not None])
    return inverse(formers.values(), lambda addresses: {at: worlds[-1][at] for at in addresses if at in worlds[-1]})


def turned(world: World, found: Inverse) -> World:
    return {**world, **{str(at): resource for at, resource in found.after.items()}}


def with_no_gaps(world: dict[str, Resource | None]) -> World:
    return {address: resource for address, resource in world.items() if resource is not None}


@given(worlds=st.lists(WORLDS, min_size=2, max_size=4), readings=READINGS)
def test_who_sees_what_is_as_before(worlds: list[World], readings) -> None:
    for number in range(1, len(worlds)):
        worlds[number] = changed(worlds[number - 1], worlds[number])
    found = undone(worlds)
    assert (found.conflicts, found.gone, found.stay) == ((), (), ())
    back = with_no_gaps(turned(worlds[-1], found))
    people = known(related(worlds[0], readings)) | known(related(back, readings))
    first, last = (defined(world, readings, people) for world in (worlds[0], back))
    assert (last.pairs, last.public) == (first.pairs, first.public)
    assert {at: resource.shared for at, resource in back.items()} == {
        at: resource.shared for at, resource in worlds[0].items()
    }


@given(before=WORLDS, after=WORLDS, readings=READINGS)
def test_what_takes_sight_away_is_told_apart(before: World, after: World, readings) -> None:
    """An item of which somebody loses sight has an edit among those that narrow: its own, or one of an identity."""
    after = changed(before, after)
    differing = [at for at in sorted({*before, *after}) if before.get(at) != after.get(at)]
    edits = [Edit(Address(at), before.get(at), after.get(at)) for at in differing]
    first = narrowing(expose(related(before, readings), edits))
    assert first <= set(differing)
    people = known(related(before, readings)) | known(related(after, readings))
    was, will = (defined(world, readings, people) for world in (before, after))
    losing = {item for _, item in was.pairs - will.pairs} | (was.public - will.public)
    assert losing & set(differing) <= first
    if losing - set(differing):
        assert first - set(URIS)
