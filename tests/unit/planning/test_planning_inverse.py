"""What undoes changes of access: each kind of change, what is left alone, and what comes along."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler.model.address import Address, Kind
from reconciler.model.former import ABSENT, Former, access_digest, former_of, merge
from reconciler.model.states import Resource
from reconciler.planning.inverse import Inverse, inverse, with_needed
from tests.builders import alias, group, item, user

TEAM, ALICE, BOB = "group/corp/Team", "user/corp/alice", "user/corp/bob"


def undo(
    before: Iterable[Resource],
    left: Iterable[Resource],
    now: Iterable[Resource] | None = None,
    *,
    created: bool = False,
) -> Inverse:
    """Undo what took `before` to `left`, where `now` (if it is not `left`) is recorded."""
    was, then = ({resource.address: resource for resource in side} for side in (before, left))
    present = then if now is None else {resource.address: resource for resource in now}
    formers = [found for key in {*was, *then} if (found := former_of(key, was.get(key), then.get(key)))]
    return inverse(
        formers, lambda addresses: {key: present[Address(key)] for key in addresses if key in present}, created=created
    )


def test_an_item_keeps_its_content_and_gets_its_permissions_back() -> None:
    before, left = item("u", allowed=[ALICE], title="old"), item("u", allowed=[ALICE, BOB], title="new")
    assert undo([before], [left]).after == {left.address: item("u", allowed=[ALICE], title="new")}


def test_an_item_that_had_no_permissions_has_none_again() -> None:
    left = item("u", allowed=[BOB])
    assert undo([item("u")], [left]).after == {left.address: item("u")}


@pytest.mark.parametrize(
    ("before", "left"),
    [
        (group("Team", ALICE), group("Team", ALICE, BOB)),
        (group("Team", ALICE, BOB), group("Team")),
        (group("Team", well_knowns=[TEAM]), group("Team")),
        (user("bob", TEAM), user("bob")),
        (alias("bob", ALICE), alias("bob")),
    ],
)
def test_an_identity_is_as_it_was(before: Resource, left: Resource) -> None:
    assert undo([before], [left]).after == {before.address: before}


def test_whether_an_identity_is_protected_stays_as_it_is() -> None:
    protected = group("Team", ALICE, BOB, protect=True)
    assert undo([group("Team", ALICE)], [protected]).after == {protected.address: group("Team", ALICE, protect=True)}
    once = group("Team", ALICE, protect=True)
    assert undo([once], [group("Team", BOB)]).after == {once.address: group("Team", ALICE)}
    assert undo([once], []).after == {once.address: once}, "what comes back is as it was"


def test_an_identity_that_was_made_goes_and_one_that_went_comes_back() -> None:
    gone, made = group("Gone", ALICE), user("bob")
    assert undo([gone], [made]).after == {gone.address: gone, made.address: None}


def test_items_that_came_stay_and_items_that_went_do_not_come_back() -> None:
    gone, made = item("gone", allowed=[ALICE]), item("made", allowed=[ALICE])
    assert undo([gone], [made]) == Inverse({}, gone=(gone.address,), stay=(made.address,))
    assert undo([gone], [made], created=True) == Inverse({made.address: None}, gone=(gone.address,))


def test_what_was_changed_again_is_left_alone() -> None:
    before, left, now = (group("Team", who) for who in (ALICE, BOB, "user/corp/carol"))
    assert undo([before], [left], [now]) == Inverse({}, conflicts=(now.address,))
    assert undo([before], [left], []) == Inverse({}, conflicts=(now.address,))
    assert undo([item("u", allowed=[ALICE])], [], [item("u", allowed=[BOB])]).conflicts == (item("u").address,)


def test_content_that_changed_again_is_no_conflict() -> None:
    now = item("u", allowed=[BOB], title="newest")
    found = undo([item("u", allowed=[ALICE])], [item("u", allowed=[BOB])], [now])
    assert found.after == {now.address: item("u", allowed=[ALICE], title="newest")}


def test_what_is_as_it_was_takes_no_undoing() -> None:
    before, left = group("Team", ALICE), group("Team", BOB)
    assert undo([before], [left], [before]) == Inverse({})
    assert undo([], [left], []) == Inverse({})


def test_well_knowns_stay_on_an_identity_and_its_alias_when_one_of_them_was_changed_again() -> None:
    before = [user("bob", TEAM), alias("bob", ALICE, well_knowns=[TEAM])]
    left = [user("bob"), alias("bob", ALICE)]
    now = [user("bob"), alias("bob", "user/corp/carol")]
    assert undo(before, left, now) == Inverse({}, conflicts=(now[1].address, now[0].address))


def test_members_are_undone_whatever_became_of_the_alias_of_their_group() -> None:
    mapped = Address.of(Kind.ALIAS, "corp", "group:Team")
    first, second, third = (Resource(mapped, alias("Team", who).doc) for who in (ALICE, BOB, "user/corp/carol"))
    before, left = [group("Team", ALICE), first], [group("Team", BOB), second]
    now = [left[0], third]
    assert undo(before, left, now) == Inverse({before[0].address: before[0]}, conflicts=(now[1].address,))


def test_the_oldest_before_of_several_runs_wins() -> None:
    one, two, three = (group("Team", who) for who in (ALICE, BOB, "user/corp/carol"))
    found: dict[Address, Former] = {}
    for before, after in ((one, two), (two, three)):
        former = former_of(one.address, before, after)
        assert former is not None
        merge(found, [former])
    assert found == {one.address: Former(one.address, True, access_digest(three), one.doc)}
    assert inverse(found.values(), lambda _: {str(three.address): three}).after == {one.address: one}


def test_access_is_the_same_whatever_else_differs() -> None:
    assert access_digest(item("u", allowed=[ALICE], title="a")) == access_digest(item("u", allowed=[ALICE], title="b"))
    assert access_digest(group("Team", ALICE, protect=True)) == access_digest(group("Team", ALICE))
    different = [group("Team"), group("Team", ALICE), group("Team", well_knowns=[TEAM]), None]
    assert len({access_digest(resource) for resource in different}) == 4
    assert access_digest(None) == ABSENT


def test_a_choice_takes_along_what_comes_back_and_is_named() -> None:
    back, inner, other = group("Back", "group/corp/Inner"), group("Inner", ALICE), group("Other", ALICE)
    chosen = item("u", allowed=[back.address, other.address])
    unchosen = item("v", allowed=[ALICE])
    after: dict[Address, Resource | None] = {each.address: each for each in (back, inner, other, chosen, unchosen)}
    recorded = {str(chosen.address), str(unchosen.address), str(other.address)}
    assert with_needed([chosen.address], after, recorded) == {chosen.address, back.address, inner.address}
