"""What is risky in a set of changes, and what no flag lets through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.planning.hazards import Limits, hazards_of, protected_deletions
from reconciler.planning.plan import Hazard
from reconciler.problems import Problem
from tests.builders import group, item

PAGES = [item(f"file:///{number:02}") for number in range(20)]
STAFF = group("Staff", "user/corp/x", "user/corp/y")
OTHER = group("Other", "user/corp/x")


def deletion(resource: Resource) -> Change:
    return Change(resource.address, Action.DELETE, "removed", resource, None)


def update(before: Resource, after: Resource) -> Change:
    return Change(after.address, Action.UPDATE, "changed", before, after)


def found(changes: list[Change], *, limits: Limits = Limits(), allowed: tuple = (), gone: int = 0) -> tuple:  # noqa: B008
    recorded = [*PAGES, STAFF]
    return hazards_of(
        changes,
        desired=[resource.address for resource in recorded[gone:]],
        recorded=[str(resource.address) for resource in recorded],
        limits=limits,
        allowed=allowed,
    )


def test_few_changes_are_no_hazard() -> None:
    assert found([deletion(PAGES[0])], limits=Limits(0.1, 0.1, 5), gone=1) == ()
    assert found([]) == ()


def test_many_deletions_need_their_name() -> None:
    hazard = Hazard(
        "mass-delete",
        "3 of 21 recorded resources (14%) would be deleted; the limit is 10%",
        "a mistake in a pattern or a folder that vanished looks exactly like this.",
        "look at the list; if it is meant, add --allow mass-delete, or raise guardrails.deletes.",
        count=3,
        addresses=tuple(page.address for page in PAGES[:3]),
    )
    changes = [deletion(page) for page in PAGES[:3]]

    assert found(changes, limits=Limits(deletes=0.1), gone=3) == (hazard,)
    assert found(changes, limits=Limits(deletes=0.1), gone=3, allowed=("mass-delete",)) == (
        replace(hazard, allowed=True),
    )
    assert found(changes, limits=Limits(deletes=0.15), gone=3) == ()
    assert found(changes, limits=Limits(), gone=3) == ()


def test_a_share_says_nothing_of_a_handful() -> None:
    changes = [deletion(page) for page in PAGES[:8]]

    assert (
        hazards_of(
            changes,
            desired=[PAGES[8].address],
            recorded=[page.address for page in PAGES[:9]],
            limits=Limits(deletes=0.1),
        )
        == ()
    )


def test_many_updates_need_their_name() -> None:
    changes = [update(page, replace(page, doc=b'{"metadata":{},"title":"x"}')) for page in PAGES[:11]]

    (hazard,) = found(changes, limits=Limits(updates=0.5))

    assert (hazard.name, hazard.count, hazard.allowed) == ("mass-update", 11, False)
    assert hazard.addresses == tuple(page.address for page in PAGES[:5])


def test_more_changes_than_a_reviewer_can_read() -> None:
    changes = [update(page, replace(page, doc=b"{}")) for page in PAGES]

    assert found(changes, limits=Limits(max_changes=19)) == (
        Hazard(
            "too-many-changes",
            "20 changes; the limit is 19",
            "more than a reviewer can read.",
            "split the change; if it is meant, add --allow too-many-changes, or raise guardrails.maxChanges.",
            count=20,
        ),
    )
    assert found(changes, limits=Limits(max_changes=20)) == ()


def test_nothing_left_of_a_kind_is_never_taken_for_delete_all() -> None:
    hazard = Hazard(
        "emptied",
        'every item of "handbook" would be deleted (20 of 20)',
        'empty is never taken for "delete all": a file or section may have vanished by mistake.',
        "bring the entries back; if it is meant, add --allow emptied:item/handbook.",
        subject="item/handbook",
        count=20,
    )
    changes = [deletion(page) for page in PAGES]

    assert found(changes, gone=20) == (hazard,)
    assert found(changes, gone=20, allowed=("emptied:item/handbook",)) == (replace(hazard, allowed=True),)
    assert found(changes, gone=20, allowed=("emptied",)) == (replace(hazard, allowed=True),)
    assert found(changes, gone=20, allowed=("emptied:item/blog",)) == (hazard,)


def test_what_was_never_recorded_empties_nothing() -> None:
    """A create of unknown outcome that is wanted no more."""
    change = Change(item("x:y", source="blog").address, Action.DELETE, "unconfirmed", None, None)

    assert found([change]) == ()


@pytest.mark.parametrize(
    ("before", "after", "hit"),
    [
        (STAFF, group("Staff"), True),
        (STAFF, group("Staff", "user/corp/z"), False),
        (group("Staff"), group("Staff"), False),
    ],
)
def test_a_group_that_loses_everybody(before: Resource, after: Resource, hit: bool) -> None:
    hazard = Hazard(
        "emptied-group",
        '"group/corp/Staff" would lose all of its 2 members',
        "everybody who sees something through this group would be locked out.",
        "bring the members back; if it is meant, add --allow emptied-group:group/corp/Staff.",
        subject="group/corp/Staff",
        count=2,
    )

    assert found([update(before, after)]) == ((hazard,) if hit else ())


def test_protection_is_read_from_what_was_recorded() -> None:
    guarded = item("file:///guarded", protect=True)

    assert protected_deletions([deletion(guarded), deletion(PAGES[0])]) == (
        Problem(
            "protected",
            '"item/handbook/file:///guarded" is protected and would be deleted',
            why="it was applied with `protect: true`; deleting its entry does not lift that.",
            fix="put it back with `protect: false`, apply, and delete it in a second change.",
        ),
    )
    assert protected_deletions([update(guarded, item("file:///guarded"))]) == ()
