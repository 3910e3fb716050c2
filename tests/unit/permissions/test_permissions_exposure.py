"""What a change does to who sees what: counts, examples, and the edits behind them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler.model.address import Address
from reconciler.model.canonical import NO_SHARED, canonical_json, digest
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit, Exposure, Kind, Shift, expose
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from tests.builders import alias, group, item, user

STAFF, ALPHA, BOARD = "group/corp/Staff", "group/corp/Alpha", "group/corp/Board"
ANN, BOB, CAROL, EVE = (f"user/corp/{name}" for name in ("ann", "bob", "carol", "eve"))
MAIL = f"user/{EMAIL_PROVIDER}/carol@x.org"
PEOPLE = tuple(map(user, ("ann", "bob", "carol", "eve")))
BEFORE = (
    *PEOPLE,
    group("Alpha", ANN),
    group("Staff", ALPHA, BOB),
    group("Board", EVE),
    item("x:1", allowed=[ALPHA]),
    item("x:2", allowed=[STAFF]),
    item("x:3", allowed=[STAFF]),
    item("x:4", allowed=[BOARD]),
)


def related(*resources: Resource) -> Relation:
    relation = Relation(Readings(), {"blog": "shared"})
    relation.load(resources)
    return relation


def change(before: Iterable[Resource], *after: Resource, gone: Iterable[str] = ()) -> tuple[Relation, Exposure]:
    known = {str(resource.address): resource for resource in before}
    relation = related(*known.values())
    edits = [Edit(resource.address, known.get(resource.address), resource) for resource in after]
    edits += [Edit(Address(address), known[address], None) for address in gone]
    return relation, expose(relation, edits)


def told(relation: Relation, shift: Shift) -> tuple[str, list[str], list[str], list[str]]:
    return (
        shift.kind.value,
        [example.split("/", 2)[2] for example in shift.examples],
        relation.names(shift.gained),
        relation.names(shift.lost),
    )


def test_somebody_who_joins_a_group_gains_what_it_sees_and_what_groups_around_it_see() -> None:
    relation, exposure = change(BEFORE, group("Alpha", ANN, CAROL))

    assert [told(relation, shift) for shift in exposure.shifts] == [
        ("affected", ["x:2", "x:3"], [CAROL], []),
        ("affected", ["x:1"], [CAROL], []),
    ]
    assert (exposure.pairs_gained, exposure.people_gained, exposure.items_gained) == (3, 1, 3)
    assert (exposure.pairs_lost, exposure.people_lost, exposure.items_lost) == (0, 0, 0)
    assert exposure.relations[Address(ALPHA)].new == ((CAROL, "member of", ALPHA),)
    assert all([part.address for part in exposure.causes(shift).parts] == [ALPHA] for shift in exposure.shifts)
    assert (exposure.shifts[0].seen_before, exposure.shifts[0].seen_after) == (2, 3)


def test_each_edit_stands_behind_those_who_go_through_it() -> None:
    relation, exposure = change(BEFORE, group("Alpha", CAROL), group("Staff", ALPHA, BOB, EVE))
    shift = exposure.shifts[0]

    assert told(relation, shift) == ("affected", ["x:2", "x:3"], [CAROL, EVE], [ANN])
    parts = exposure.causes(shift).parts
    assert [(part.address, relation.names(part.gained), relation.names(part.lost)) for part in parts] == [
        (ALPHA, [CAROL], [ANN]),
        (STAFF, [EVE], []),
    ]


def test_what_one_edit_takes_and_another_gives_is_no_change() -> None:
    _, exposure = change(BEFORE, group("Alpha"), group("Staff", ALPHA, ANN, BOB), item("x:1", allowed=[ALPHA, ANN]))

    assert exposure.pairs_gained == exposure.pairs_lost == 0
    assert [shift.kind for shift in exposure.shifts] == [Kind.EDITED]


def test_an_alias_makes_one_person_gain_once() -> None:
    before = (*BEFORE, item("x:5", allowed=[CAROL]), item("x:6", allowed=[MAIL]))
    relation, exposure = change(before, alias("carol", MAIL))

    assert [told(relation, shift) for shift in exposure.shifts] == [
        ("affected", ["x:5"], [MAIL], []),
        ("affected", ["x:6"], [CAROL], []),
    ]
    assert (exposure.pairs_gained, exposure.people_gained) == (2, 1)
    assert exposure.relations[Address("alias/corp/user:carol")].new == ((CAROL, "alias", MAIL),)


def test_who_joins_under_several_identities_counts_once() -> None:
    relation, exposure = change((*BEFORE, alias("carol", MAIL)), group("Board", CAROL, EVE))

    assert told(relation, exposure.shifts[0]) == ("affected", ["x:4"], [MAIL, CAROL], [])
    assert (exposure.pairs_gained, exposure.people_gained, exposure.shifts[0].people_gained) == (1, 1, 1)
    assert (exposure.shifts[0].seen_before, exposure.shifts[0].seen_after) == (1, 2)


def test_items_with_another_model_are_told_apart_by_where_they_come_from() -> None:
    relation, exposure = change(
        BEFORE,
        item("x:1", allowed=[BOARD]),
        item("x:2", allowed=[BOARD]),
        item("x:3", allowed=[BOARD]),
        item("x:5", allowed=[BOARD]),
        gone=["item/handbook/x:4"],
    )

    assert sorted(told(relation, shift) for shift in exposure.shifts) == [
        ("created", ["x:5"], [EVE], []),
        ("deleted", ["x:4"], [], [EVE]),
        ("edited", ["x:1"], [EVE], [ANN]),
        ("edited", ["x:2", "x:3"], [EVE], [ANN, BOB]),
    ]
    assert (exposure.pairs_gained, exposure.pairs_lost) == (4, 6)
    assert relation.class_of("item/handbook/x:4") is None


def test_many_items_change_by_rows() -> None:
    relation = related(*BEFORE)
    doc = item("x:1", allowed=[BOARD, ANN]).shared
    assert relation.lacks(digest(doc))
    relation.add_models([doc])
    assert not relation.lacks(digest(doc)) and not relation.lacks(NO_SHARED)

    rows = [(f"item/handbook/n:{number}", digest(doc)) for number in range(100)]
    exposure = expose(relation, [], items=[*rows, ("item/handbook/x:1", digest(doc)), ("item/handbook/x:4", None)])

    assert sorted((shift.kind.value, shift.items, *told(relation, shift)[2:]) for shift in exposure.shifts) == [
        ("created", 100, [ANN, EVE], []),
        ("deleted", 1, [], [EVE]),
        ("edited", 1, [EVE], []),
    ]
    assert (exposure.pairs_gained, exposure.pairs_lost) == (201, 1)


def test_becoming_public_shows_even_where_everybody_known_saw_it() -> None:
    before = (user("ann"), group("Alpha", ANN), item("x:1", allowed=[ALPHA]))
    public = Resource(
        Address("item/handbook/x:1"), b"{}", canonical_json({"levels": [{"sets": [{"anonymous": True}]}]})
    )
    _, exposure = change(before, public)

    assert [(shift.was_public, shift.is_public, shift.people_gained) for shift in exposure.shifts] == [(False, True, 0)]


def test_everybody_in_a_group_makes_its_items_public() -> None:
    relation, exposure = change(BEFORE, group("Board", EVE, f"group/{EMAIL_PROVIDER}/*@*"))

    assert told(relation, exposure.shifts[0]) == ("affected", ["x:4"], [ANN, BOB, CAROL], [])
    assert exposure.shifts[0].is_public and relation.sees("user/corp/new", "item/handbook/x:4")
    assert relation.names(exposure.causes(exposure.shifts[0]).parts[0].gained) == [ANN, BOB, CAROL]


def test_a_denied_name_that_is_declared_shows_the_item_again() -> None:
    model = canonical_json({"levels": [{"sets": [{"allowed": [STAFF], "denied": ["user/corp/new"]}]}]})
    hidden = Resource(Address("item/handbook/x:9"), b"{}", model)
    relation, exposure = change((*BEFORE, hidden), user("new"))

    assert told(relation, exposure.shifts[0]) == ("affected", ["x:9"], [ANN, BOB], [])
    assert [part.address for part in exposure.causes(exposure.shifts[0]).parts] == ["user/corp/new"]


def test_examples_are_bounded_and_counts_are_not() -> None:
    before = [*PEOPLE, group("Alpha", ANN), *(item(f"x:{number:03}", allowed=[ALPHA]) for number in range(50))]
    relation = related(*before)
    after = group("Alpha", ANN, BOB)
    exposure = expose(relation, [Edit(after.address, before[4], after)], examples=2)

    assert exposure.shifts[0].examples == ("item/handbook/x:000", "item/handbook/x:001")
    assert (exposure.shifts[0].items, exposure.pairs_gained) == (50, 50)


def test_shared_sources_are_seen_by_all_whatever_changes() -> None:
    _, exposure = change((*BEFORE, item("x:1", source="blog", allowed=[ALPHA])), group("Alpha"))

    assert {shift.source for shift in exposure.shifts} == {"handbook"}


def test_an_edit_there_and_back_leaves_all_as_it_was() -> None:
    relation = related(*BEFORE)
    total = relation.pairs()
    edit = Edit(Address(STAFF), group("Staff", ALPHA, BOB), group("Staff", CAROL))
    there = expose(relation, [edit])
    back = expose(relation, [Edit(edit.address, edit.after, edit.before)])

    assert (there.pairs_gained, there.pairs_lost) == (back.pairs_lost, back.pairs_gained) == (2, 4)
    assert relation.pairs() == total == 6


def test_items_come_as_rows_and_models_when_asked_for() -> None:
    relation = Relation(Readings(), {})
    doc = item("x:1", allowed=[ALPHA]).shared
    relation.add_identities([user("ann"), group("Alpha", ANN)])
    relation.add_items((f"item/handbook/x:{number}", digest(doc)) for number in range(1000))
    relation.add_items([("item/handbook/none", NO_SHARED)])

    assert relation.wanted() == {digest(doc): "item/handbook/x:0"}
    with pytest.raises(LookupError):
        relation.pairs()
    relation.add_models([doc])
    assert (relation.wanted(), relation.pairs()) == ({}, 1000)
    assert relation.counts_seen_by(ANN) == {"handbook": 1000}
    assert relation.viewers("item/handbook/none") == []


def test_cycles_are_told_and_nesting_is_none() -> None:
    relation = related(
        group("Alpha", BOARD, ANN), group("Board", STAFF), group("Staff", ALPHA), group("Self", "group/corp/Self")
    )
    relation.add_identities([group("Outer", ALPHA)])

    assert relation.graph.cycles() == [[ALPHA, BOARD, STAFF], ["group/corp/Self"]]


def test_viewers_can_be_those_of_one_provider() -> None:
    relation = related(*BEFORE, alias("bob", MAIL))

    assert relation.viewers("item/handbook/x:2") == [MAIL, ANN, BOB]
    assert relation.viewers("item/handbook/x:2", "corp") == [ANN, BOB]


def test_people_can_be_asked_for_by_group() -> None:
    relation = related(*BEFORE, alias("bob", MAIL))

    assert relation.names(relation.people_of([STAFF])) == [MAIL, ANN, BOB]
    assert relation.names(relation.people_of(["user/corp/BOB", "group/corp/None"])) == [MAIL, BOB]
    assert relation.people_of([f"group/{EMAIL_PROVIDER}/*@*"]) == relation.graph.people
    assert relation.names(relation.people_of([STAFF]), 2) == [MAIL, ANN]


def test_items_that_the_same_people_see_come_together() -> None:
    relation = related(*BEFORE, item("x:1", source="blog", allowed=[STAFF]))
    found = [
        (source, sorted(items), relation.names(audience.among(relation.graph.people)))
        for source, items, audience in relation.each_class()
    ]

    assert sorted(found) == [
        ("blog", ["item/blog/x:1"], [ANN, BOB, CAROL, EVE]),
        ("handbook", ["item/handbook/x:1"], [ANN]),
        ("handbook", ["item/handbook/x:2", "item/handbook/x:3"], [ANN, BOB]),
        ("handbook", ["item/handbook/x:4"], [EVE]),
    ]
