"""Which edits take sight of something away: of items, of groups, of what everybody sees, and of whole domains."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit, expose
from reconciler.permissions.narrowing import narrowing
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from tests.builders import group, item

TEAM, ALICE, BOB = "group/corp/Team", "user/corp/alice", "user/corp/bob"


def narrowed(before: list[Resource], *after: Resource, gone: tuple[Resource, ...] = ()) -> set[str]:
    relation = Relation(Readings(), {"handbook": "secured"})
    relation.load(before)
    known = {resource.address: resource for resource in before}
    edits = [Edit(resource.address, known.get(resource.address), resource) for resource in after]
    return set(narrowing(expose(relation, [*edits, *(Edit(resource.address, resource, None) for resource in gone)])))


def public(uri: str) -> Resource:
    return replace(item(uri), shared=canonical_json({"levels": [{"sets": [{"anonymous": True}]}]}))


def test_an_item_that_somebody_sees_no_more_and_not_one_that_somebody_comes_to_see() -> None:
    before = [item("a", allowed=[ALICE, BOB]), item("b", allowed=[ALICE]), group("Team", ALICE, BOB)]
    fewer, more = item("a", allowed=[ALICE]), item("b", allowed=[ALICE, BOB])
    assert narrowed(before, fewer, more) == {fewer.address}


def test_a_group_through_which_somebody_lost_sight() -> None:
    before = [item("a", allowed=[TEAM]), group("Team", ALICE, BOB), group("Board", ALICE)]
    assert narrowed(before, group("Team", ALICE), group("Board", ALICE, BOB)) == {TEAM}
    assert narrowed(before, group("Team", ALICE, BOB, "user/corp/carol")) == set()


def test_what_takes_from_one_and_gives_to_another() -> None:
    before = [item("a", allowed=[ALICE]), group("Team", ALICE, BOB)]
    after = item("a", allowed=[BOB])
    assert narrowed(before, after) == {after.address}


def test_two_groups_that_only_together_let_somebody_in_no_more() -> None:
    before = [item("a", allowed=[TEAM, "group/corp/Board"]), group("Team", ALICE), group("Board", ALICE)]
    assert narrowed(before, group("Team"), group("Board")) == {TEAM, "group/corp/Board"}


def test_an_item_that_everybody_saw_counts_though_nobody_is_known() -> None:
    after = item("a", allowed=[ALICE])
    assert narrowed([public("a")], after) == {after.address}


def test_an_item_that_a_whole_domain_saw_counts_though_nobody_is_known() -> None:
    before = item("a", allowed=[f"group/{EMAIL_PROVIDER}/*@example.com"])
    assert narrowed([before], item("a")) == {before.address}


def test_an_item_that_goes() -> None:
    before = item("a", allowed=[ALICE])
    assert narrowed([before, group("Team", ALICE)], gone=(before,)) == {before.address}
