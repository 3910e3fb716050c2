"""Hazards of access are named if and only if, by the definition, what they say happens to items that stay."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.permissions.exposure import Edit, expose
from reconciler.permissions.readings import Readings
from reconciler.planning.accesshazards import EVERYBODY, AccessLimits, Exemption, access_hazards
from tests.property.test_permissions import (
    ADDRESSES,
    EMAIL,
    READINGS,
    WORLDS,
    Answer,
    World,
    defined,
    known,
    related,
    resources,
)

STRANGERS = {"user/corp/new", *(f"user/{EMAIL}/new@{domain}" for domain in ("x.org", "y.org", "z.org"))}


def changed(before: World, data: st.DataObject) -> World:
    at = data.draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=5, unique=True))
    after = {**before, **{address: data.draw(resources(address)) for address in at}}
    return {address: resource for address, resource in after.items() if resource}


def edits(before: World, after: World) -> list[Edit]:
    return [
        Edit(Address(at), before.get(at), after.get(at))
        for at in sorted(before.keys() | after.keys())
        if before.get(at) != after.get(at)
    ]


def homes(items: set[str]) -> set[str]:
    return {at.rpartition("/")[0] for at in items}


def seen(answer: Answer) -> set[str]:
    return {at for _, at in answer.pairs} | answer.public


@settings(max_examples=200)
@given(WORLDS, st.data(), READINGS)
def test_a_hazard_is_named_iff_it_happens_to_what_stays(before: World, data: st.DataObject, readings: Readings) -> None:
    after = changed(before, data)
    relation = related(before, readings)
    hazards = access_hazards(expose(relation, edits(before, after)), relation, AccessLimits())

    keys = known(relation) | STRANGERS
    was, now = defined(before, readings, keys), defined(after, readings, keys)
    stay = {at for at in before.keys() & after.keys() if at.startswith("item/")}
    opened = now.public - was.public
    expected = {
        "item-public": homes(stay & opened),
        "item-unseen": homes(stay & (seen(was) - seen(now))),
        "widened-access": homes(stay & ({at for _, at in now.pairs - was.pairs} | opened)),
    }
    for name, subjects in expected.items():
        assert {hazard.subject for hazard in hazards if hazard.name == name} == subjects, name


@given(WORLDS, st.data(), st.lists(st.sampled_from([*ADDRESSES, "user/corp/*", "group/corp/*", EVERYBODY]), max_size=3))
def test_an_exception_only_takes_away(before: World, data: st.DataObject, to: list[str]) -> None:
    after = changed(before, data)
    meant = tuple(name for name in to if not name.startswith(("item/", "alias/")))
    found = []
    for exceptions in ((), (Exemption(to=meant),), (Exemption(),)):
        relation = related(before, Readings())
        exposure = expose(relation, edits(before, after))
        hazards = access_hazards(exposure, relation, AccessLimits(exceptions=exceptions))
        found.append({(hazard.name, hazard.subject): hazard.count for hazard in hazards})
    none, some, everything = found

    assert some.items() <= none.items() or all(some[key] <= none[key] for key in some)
    assert "widened-access" not in {name for name, _ in everything}
    # Whatever is left out gained people of whom not all are meant.
    assert {key for key in none if key[0] not in ("widened-access", "item-public")} <= some.keys()
