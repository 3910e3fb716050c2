"""Narrowing a plan, and what the selection brings along."""

from __future__ import annotations

import pytest

from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.planning.selection import check_sources, check_targets, select
from reconciler.problems import Problem, UsageError
from tests.builders import alias, group, item, user

ITEM = item("https://x/a?b=1", parent="https://x/parent", allowed=["group/corp/Staff"])
PARENT = item("https://x/parent")
BLOG = item("https://x/post", source="blog")
STAFF = group("Staff", "group/corp/Team", "user/corp/alice")
TEAM = group("Team", "user/corp/bob", well_knowns=["group/corp/Everyone"])
EVERYONE = group("Everyone")
UNRELATED = group("Unrelated")
ALICE = alias("alice", "user/Email/alice")
BOB = user("bob")
ALL = (ITEM, PARENT, BLOG, STAFF, TEAM, EVERYONE, UNRELATED, ALICE, BOB)


def created(*resources: Resource) -> tuple[Change, ...]:
    changes = [Change(entry.address, Action.CREATE, "new", None, entry) for entry in resources]
    return tuple(sorted(changes, key=lambda change: change.address))


def chosen(changes: tuple[Change, ...], **narrowed: list[str]) -> list[str]:
    return [str(change.address) for change in select(changes, **narrowed)]


def test_nothing_given_selects_everything() -> None:
    assert select(created(*ALL)) == created(*ALL)


@pytest.mark.parametrize(
    "target", [str(ITEM.address), "https://x/a?b=1", "https://x/a*", "item/handbook/*?b=1", "*/a?*"]
)
def test_an_item_brings_groups_their_members_aliases_and_its_parent(target: str) -> None:
    assert chosen(created(*ALL), targets=[target]) == sorted(
        [
            *("alias/corp/user:alice", "group/corp/Everyone", "group/corp/Staff", "group/corp/Team"),
            *("item/handbook/https://x/a?b=1", "item/handbook/https://x/parent", "user/corp/bob"),
        ]
    )


@pytest.mark.parametrize(
    "target", ["https://x/aXb=1", "https://x/?", "https://x/[ap]*", "HTTPS://X/PARENT", "x/parent"]
)
def test_only_a_star_stands_for_anything_else(target: str) -> None:
    """Uris hold `?` and `[`, so they mean themselves."""
    assert chosen(created(*ALL), targets=[target]) == []


def test_a_source_brings_all_of_its_items() -> None:
    assert chosen(created(*ALL), sources=["blog"]) == ["item/blog/https://x/post"]
    assert "item/handbook/https://x/parent" in chosen(created(*ALL), sources=["handbook"])


def test_what_is_not_pending_is_not_brought_along() -> None:
    assert chosen(created(ITEM, TEAM), targets=["https://x/a?b=1"]) == [str(ITEM.address)]


def test_a_deletion_is_brought_along_by_nobody() -> None:
    gone = Change(PARENT.address, Action.DELETE, "removed", PARENT, None)
    changes = (*created(ITEM), gone)

    assert chosen(changes, targets=[str(ITEM.address)]) == [str(ITEM.address)]
    assert chosen(changes, targets=[str(PARENT.address)]) == [str(PARENT.address)]


def test_a_deletion_that_is_half_of_a_rename_brings_the_other_half() -> None:
    new = item("https://x/new", allowed=["group/corp/Team"])
    changes = (
        *created(TEAM),
        Change(new.address, Action.CREATE, "moved", None, new, moved_from=PARENT.address),
        Change(PARENT.address, Action.DELETE, "moved", PARENT, None, moved_to=new.address),
    )

    assert chosen(changes, targets=["https://x/parent"]) == [
        "group/corp/Team",
        "item/handbook/https://x/new",
        "item/handbook/https://x/parent",
    ]
    assert chosen(changes, targets=["https://x/new"]) == ["group/corp/Team", "item/handbook/https://x/new"]


def test_cycles_of_groups_end() -> None:
    one, two = group("One", "group/corp/Two"), group("Two", "group/corp/One")

    assert chosen(created(one, two), targets=["One"]) == ["group/corp/One", "group/corp/Two"]


def test_a_source_must_exist() -> None:
    check_sources(["blog"], ["blog", "handbook"])
    with pytest.raises(UsageError) as caught:
        check_sources(["blok"], ["blog", "handbook"])
    assert caught.value.problems == (
        Problem("unknown-source", 'no source is named "blok"', fix="the project has blog, handbook."),
    )


def test_a_target_must_name_something() -> None:
    addresses = [str(resource.address) for resource in ALL]
    check_targets([], [])
    check_targets(["https://x/post", "group/*", "Staff"], iter(addresses))
    with pytest.raises(UsageError) as caught:
        check_targets(["https://x/post", "https://y/*", "Stuff"], iter(addresses))
    assert [problem.what for problem in caught.value.problems] == [
        '"Stuff" names nothing in the manifests, nor in the state',
        '"https://y/*" names nothing in the manifests, nor in the state',
    ]
