"""What a plan does to who sees what that must be allowed by name, and what a project lets pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit, expose
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from reconciler.planning.accesshazards import EVERYBODY, AccessLimits, Exemption, access_hazards
from reconciler.planning.plan import Hazard
from tests.builders import alias, group, item, user

STAFF, BOARD = "group/corp/Staff", "group/corp/Board"
ANN, BOB, EVE = (f"user/corp/{name}" for name in ("ann", "bob", "eve"))
PARTNERS = f"group/{EMAIL_PROVIDER}/*@partner.example"
ANYBODY = f"group/{EMAIL_PROVIDER}/*@*"
BEFORE = (
    *map(user, ("ann", "bob", "eve")),
    group("Staff", ANN, BOB),
    group("Board", EVE),
    item("x:1", allowed=[STAFF]),
    item("x:2", allowed=[STAFF]),
    item("x:3", allowed=[BOARD]),
    item("b:1", source="blog", allowed=[BOARD]),
)
LIMITS = AccessLimits()


def item_like(address: str, **one_set: Any) -> Resource:
    return Resource(Address(address), b"{}", canonical_json({"levels": [{"sets": [one_set]}]}))


def found(
    *after: Resource,
    limits: AccessLimits = LIMITS,
    allowed: tuple[str, ...] = (),
    before: Iterable[Resource] = BEFORE,
    gone: Iterable[str] = (),
) -> tuple[Hazard, ...]:
    known = {str(resource.address): resource for resource in before}
    relation = Relation(Readings(), {})
    relation.load(known.values())
    edits = [Edit(resource.address, known.get(resource.address), resource) for resource in after]
    edits += [Edit(Address(address), known[address], None) for address in gone]
    return access_hazards(expose(relation, edits), relation, limits, allowed)


def named(hazards: Iterable[Hazard]) -> list[tuple[str, str, int, int]]:
    return [(hazard.name, hazard.subject, hazard.count, hazard.people) for hazard in hazards]


def test_whoever_joins_a_group_widens_what_it_sees() -> None:
    assert found(group("Staff", ANN, BOB, EVE)) == (
        Hazard(
            "widened-access",
            '1 user would see 2 items of "handbook", not seen by them now',
            "whoever saw an item may have kept it: sight is not taken back by the next change.",
            "read under Access who gains; if it is meant, add --allow widened-access:item/handbook, "
            "or name it under guardrails.widenedAccess.except.",
            subject="item/handbook",
            count=2,
            addresses=("item/handbook/x:1", "item/handbook/x:2"),
            people=1,
        ),
    )


def test_each_source_is_allowed_by_itself() -> None:
    change = (group("Board", EVE, ANN),)

    assert named(found(*change)) == [
        ("widened-access", "item/blog", 1, 1),
        ("widened-access", "item/handbook", 1, 1),
    ]
    assert [hazard.allowed for hazard in found(*change, allowed=("widened-access:item/blog",))] == [True, False]
    assert [hazard.allowed for hazard in found(*change, allowed=("widened-access",))] == [True, True]


def test_people_who_gain_by_several_groups_and_aliases_count_once() -> None:
    before = (*BEFORE, alias("eve", f"user/{EMAIL_PROVIDER}/eve@x.org"))
    hazards = found(group("Staff", ANN, BOB, EVE), item("x:3", allowed=[BOARD, STAFF]), before=before)

    assert named(hazards) == [("widened-access", "item/handbook", 3, 3)]


def test_items_that_come_and_go_are_no_hazard() -> None:
    assert found(item("x:9", allowed=[ANYBODY]), gone=["item/handbook/x:1"]) == ()


def test_narrowing_is_no_hazard_as_long_as_somebody_sees_the_items() -> None:
    assert found(group("Staff", ANN)) == ()


def test_an_item_that_becomes_public_has_a_name_even_where_everybody_known_saw_it() -> None:
    before = (user("ann"), group("Staff", ANN), item("x:1", allowed=[STAFF]))
    hazards = found(item_like("item/handbook/x:1", anonymous=True), before=before)

    assert named(hazards) == [("item-public", "item/handbook", 1, 0), ("widened-access", "item/handbook", 1, 0)]
    assert hazards[0].what == '1 item of "handbook" would be seen by everybody, also by whoever did not log in'
    assert hazards[0].fix == (
        "take back what lets everybody in; if it is meant, add --allow item-public:item/handbook."
    )
    assert hazards[1].what == 'everybody would see 1 item of "handbook", not seen by them now'


def test_a_group_that_everybody_is_in_makes_items_public() -> None:
    assert [hazard.name for hazard in found(group("Staff", ANN, BOB, ANYBODY))] == ["item-public", "widened-access"]


def test_a_domain_that_is_let_in_widens_although_nobody_known_is_of_it() -> None:
    hazards = found(item("x:1", allowed=[STAFF, PARTNERS]))

    assert named(hazards) == [("widened-access", "item/handbook", 1, 0)]
    assert hazards[0].what.startswith("everybody of partner.example would see 1 item")
    assert found(item("x:1", allowed=[STAFF]), before=(*BEFORE, item("x:1", allowed=[STAFF, PARTNERS]))) == ()


def test_what_nobody_sees_any_more_has_a_name() -> None:
    hazards = found(group("Staff"))

    assert named(hazards) == [("item-unseen", "item/handbook", 2, 2)]
    assert hazards[0].what == 'nobody would see 2 items of "handbook" any more (2 users did)'
    assert found(gone=["item/handbook/x:3"]) == ()
    assert found(item("x:1"), before=(*BEFORE, item("x:1", allowed=["group/corp/Nobody"]))) == ()


def test_a_domain_alone_still_sees_it() -> None:
    assert found(item("x:1", allowed=[PARTNERS]), limits=AccessLimits("allow"))[0].name == "widened-access"
    before = (*BEFORE, item("x:1", allowed=[STAFF, PARTNERS]))
    assert found(item("x:1", allowed=[PARTNERS]), before=before) == ()


def test_a_deny_that_goes_is_told_by_name() -> None:
    before = (*BEFORE, item_like("item/handbook/x:1", allowed=[STAFF], denied=[BOB, EVE]))
    hazards = found(item_like("item/handbook/x:1", allowed=[STAFF], denied=[EVE]), before=before)

    assert named(hazards) == [("deny-removed", "item/handbook", 1, 1), ("widened-access", "item/handbook", 1, 1)]
    assert hazards[0].what == '1 item of "handbook" would no longer deny user:bob'


def test_a_deny_that_goes_is_told_though_nothing_lets_them_in_today() -> None:
    before = (*BEFORE, item_like("item/handbook/x:1", allowed=[STAFF], denied=[EVE]))

    assert named(found(item("x:1", allowed=[STAFF]), before=before)) == [("deny-removed", "item/handbook", 1, 0)]


@pytest.mark.parametrize(
    "after",
    [
        item_like("item/handbook/x:1", allowed=[STAFF], denied=[BOARD]),
        item_like("item/handbook/x:1", allowed=[STAFF], denied=[ANYBODY]),
        Resource(Address("item/handbook/x:1"), b"{}"),
    ],
    ids=["by a group", "by everybody", "no permissions"],
)
def test_whom_something_else_denies_is_still_denied(after: Resource) -> None:
    before = (*BEFORE, item_like("item/handbook/x:1", allowed=[STAFF], denied=[EVE]))

    assert "deny-removed" not in [hazard.name for hazard in found(after, before=before)]


def test_too_many_people_or_items_are_a_hazard_new_ones_included() -> None:
    after = (group("Staff", ANN, BOB, EVE), item("x:9", allowed=[STAFF]))
    allow = AccessLimits("allow")
    bounds = ({"max_people": 2}, {"max_items": 2}, {"max_people": 2, "max_items": 9})

    for limits in (AccessLimits("allow", **bound) for bound in bounds):
        mass, _ = found(*after, limits=limits)
        assert named([mass]) == [("mass-widening", "", 3, 3)]
        assert mass.what.startswith("3 users would gain sight of 3 items, new ones included; the limit is ")
        assert not mass.allowed
        assert found(*after, limits=limits, allowed=("mass-widening",))[0].allowed
    assert len(found(*after, limits=replace(allow, max_people=3, max_items=3))) == 1


def test_a_domain_is_more_people_than_any_number() -> None:
    limits = AccessLimits("allow", max_people=1000)

    mass, _ = found(item("x:1", allowed=[STAFF, PARTNERS]), limits=limits)
    assert mass.what == (
        "everybody of partner.example would gain sight of 1 item, new ones included; the limit is 1,000 users"
    )
    assert found(item("x:9", allowed=[PARTNERS]), limits=limits) == ()


def test_the_mode_decides_whether_it_blocks() -> None:
    after = group("Staff", ANN, BOB, EVE)

    def blocked(mode: Any, *allowed: str) -> bool:
        (hazard,) = found(after, limits=AccessLimits(mode), allowed=allowed)
        return not hazard.allowed

    name = "widened-access"
    assert (blocked("allow"), blocked("confirm"), blocked("confirm", name)) == (False, True, False)
    assert (blocked("deny"), blocked("deny", name), blocked("deny", f"{name}:item/handbook")) == (True, True, True)
    (hazard,) = found(after, limits=AccessLimits("deny"))
    assert not hazard.liftable
    assert hazard.fix == (
        "narrow the change, or name it under guardrails.widenedAccess.except: here it cannot be allowed by name."
    )


@pytest.mark.parametrize("mode", ["allow", "confirm", "deny"])
def test_no_mode_lifts_the_others(mode: Any) -> None:
    before = (*BEFORE, item_like("item/handbook/x:1", allowed=[STAFF], denied=[BOB]))
    after = (item_like("item/handbook/x:1", anonymous=True), group("Board"))
    hazards = [hazard for hazard in found(*after, before=before, limits=AccessLimits(mode)) if hazard.name[0] != "w"]

    assert [hazard.name for hazard in hazards] == ["deny-removed", "item-public", "item-unseen", "item-unseen"]
    assert not any(hazard.allowed for hazard in hazards)
    names = ("deny-removed", "item-public", "item-unseen")
    assert all(
        hazard.allowed
        for hazard in found(*after, before=before, limits=AccessLimits(mode), allowed=names)
        if hazard.name in names
    )


@pytest.mark.parametrize(
    ("exception", "left"),
    [
        (Exemption(), 0),
        (Exemption(items=("item/handbook/**",)), 0),
        (Exemption(items=("x:1",)), 1),
        (Exemption(items=("x:*",), to=(EVE,)), 0),
        (Exemption(items=("item/blog/**",)), 2),
        (Exemption(to=("user/corp/e*",)), 0),
        (Exemption(to=("user/corp/E*",)), 0),
        (Exemption(to=(BOARD,)), 0),
        (Exemption(to=("group/corp/B*",)), 0),
        (Exemption(to=("group/corp/Bo", ANN)), 2),
        (Exemption(to=(EVERYBODY,)), 0),
        (Exemption(to=()), 2),
        (Exemption(items=()), 2),
    ],
)
def test_what_an_exception_is_about_is_no_hazard(exception: Exemption, left: int) -> None:
    hazards = found(group("Staff", ANN, BOB, EVE), limits=AccessLimits("deny", (exception,)))

    assert [hazard.count for hazard in hazards] == ([left] if left else [])


def test_all_who_gain_must_be_meant_by_one_exception() -> None:
    before = (*BEFORE, user("zoe"))
    after = group("Staff", ANN, BOB, EVE, "user/corp/zoe")

    assert len(found(after, before=before, limits=AccessLimits(exceptions=(Exemption(to=(EVE,)),)))) == 1
    both = Exemption(to=(EVE, "user/corp/zoe"))
    assert found(after, before=before, limits=AccessLimits(exceptions=(both,))) == ()


def test_an_alias_of_somebody_who_is_meant_is_meant() -> None:
    before = (*BEFORE, alias("eve", f"user/{EMAIL_PROVIDER}/eve@x.org"))
    limits = AccessLimits(exceptions=(Exemption(to=(f"user/{EMAIL_PROVIDER}/*@x.org",)),))

    assert found(group("Staff", ANN, BOB, EVE), before=before, limits=limits) == ()


@pytest.mark.parametrize(
    ("to", "names"),
    [
        (None, ["item-public"]),
        ((EVERYBODY,), []),
        ((ANYBODY,), ["item-public", "widened-access"]),
        (("user/corp/*", "group/corp/*"), ["item-public", "widened-access"]),
    ],
)
def test_only_everybody_lifts_what_becomes_public(to: tuple[str, ...] | None, names: list[str]) -> None:
    limits = AccessLimits(exceptions=(Exemption(items=("x:1",), to=to),))

    assert [hazard.name for hazard in found(item_like("item/handbook/x:1", anonymous=True), limits=limits)] == names


@pytest.mark.parametrize(
    ("to", "covered"),
    [
        ((PARTNERS,), True),
        ((f"user/{EMAIL_PROVIDER}/*@partner.example",), True),
        ((f"user/{EMAIL_PROVIDER}/*",), True),
        ((f"user/{EMAIL_PROVIDER}/a*@partner.example",), False),
        (("group/corp/*", f"group/{EMAIL_PROVIDER}/*"), False),
        (("user/corp/*",), False),
    ],
)
def test_a_domain_must_be_meant_as_a_whole(to: tuple[str, ...], covered: bool) -> None:
    hazards = found(item("x:1", allowed=[STAFF, PARTNERS]), limits=AccessLimits(exceptions=(Exemption(to=to),)))

    assert (hazards == ()) is covered
