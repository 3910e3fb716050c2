"""What differs between two states, and why."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change, FieldChange, field_changes
from reconciler.planning.diff import Differences, changes_of, compare
from tests.builders import alias, fingerprints, group, item, lookup, user

A = item("file:///a", title="A", allowed=["group/corp/Staff"])
A2 = item("file:///a", title="A 2", allowed=["group/corp/Staff"])
B = item("file:///b", title="B")
C = item("file:///c", title="C")


def test_each_address_is_in_exactly_one_place() -> None:
    found = compare(fingerprints(A2, B), fingerprints(A, B, C))

    assert found == Differences(
        created=(),
        updated=("item/handbook/file:///a",),
        deleted=("item/handbook/file:///c",),
        unconfirmed=frozenset(),
        no_op=1,
    )


def test_equal_sides_differ_in_nothing() -> None:
    assert compare(fingerprints(A, B), fingerprints(B, A)) == Differences((), (), (), frozenset(), 2)
    assert compare({}, {}) == Differences((), (), (), frozenset(), 0)


def test_results_are_sorted_whatever_the_order_of_either_side() -> None:
    found = compare(fingerprints(C, A, B), {})

    assert found.created == tuple(sorted(found.created))
    assert compare({}, fingerprints(C, A, B)).deleted == found.created


def test_a_permission_model_alone_makes_an_update() -> None:
    before = item("file:///a", allowed=["user/corp/x"])
    after = item("file:///a", allowed=["user/corp/y"])

    assert compare(fingerprints(after), fingerprints(before)).updated == ("item/handbook/file:///a",)


@pytest.mark.parametrize(
    ("desired", "recorded", "expected"),
    [
        # As recorded, but a call with it may have failed: sent again.
        ((A,), (A,), Differences((), (A.address,), (), frozenset({A.address}), 0)),
        # Maybe created, and wanted no more: deleted, although nothing is recorded of it.
        ((), (), Differences((), (), (A.address,), frozenset({A.address}), 0)),
        # Maybe deleted, and still not wanted.
        ((), (A,), Differences((), (), (A.address,), frozenset({A.address}), 0)),
        # Changes anyway.
        ((A2,), (A,), Differences((), (A.address,), (), frozenset({A.address}), 0)),
        ((A,), (), Differences((A.address,), (), (), frozenset({A.address}), 0)),
    ],
)
def test_what_is_in_doubt_is_sent_again(desired: tuple, recorded: tuple, expected: Differences) -> None:
    assert compare(fingerprints(*desired), fingerprints(*recorded), [A.address]) == expected


@pytest.mark.parametrize(
    ("desired", "marks", "reason"),
    [
        ((A, B), {"rejected": [A.address]}, "rejected"),
        # Whatever changes besides: what is recorded of it never came to be, so no part of it is sent alone.
        ((A2, B), {"rejected": [A.address]}, "rejected"),
        ((A, B), {"rejected": [A.address], "unsettled": [A.address]}, "unconfirmed"),
        ((A2, B), {"resent": [A.address]}, "resent"),
        ((B,), {"rejected": [A.address]}, "removed"),
    ],
)
def test_what_the_remote_dropped_is_sent_again_as_that(desired: tuple, marks: dict, reason: str) -> None:
    differences = compare(fingerprints(*desired), fingerprints(A, B), **marks)

    (change,) = changes_of(differences, desired=lookup(*desired), recorded=lookup(A, B), moved={})

    assert (change.address, change.reason, differences.no_op) == (A.address, reason, 1)


def test_changes_hold_both_sides_and_a_reason() -> None:
    differences = compare(fingerprints(A2, B), fingerprints(A, C))

    changes = changes_of(differences, desired=lookup(A2, B), recorded=lookup(A, C), moved={})

    assert changes == (
        Change(A.address, Action.UPDATE, "changed", A, A2),
        Change(B.address, Action.CREATE, "new", None, B),
        Change(C.address, Action.DELETE, "removed", C, None),
    )


def test_a_declared_rename_ties_both_ends() -> None:
    differences = compare(fingerprints(B), fingerprints(C))

    changes = changes_of(differences, desired=lookup(B), recorded=lookup(C), moved={C.address: B.address})

    assert changes == (
        Change(B.address, Action.CREATE, "moved", None, B, moved_from=C.address),
        Change(C.address, Action.DELETE, "moved", C, None, moved_to=B.address),
    )


@pytest.mark.parametrize(("desired", "recorded"), [((B, C), (C,)), ((B,), ()), ((B,), (B, C)), ((), (C,))])
def test_a_rename_counts_only_where_one_goes_and_the_other_comes(desired: tuple, recorded: tuple) -> None:
    differences = compare(fingerprints(*desired), fingerprints(*recorded))

    changes = changes_of(
        differences, desired=lookup(*desired), recorded=lookup(*recorded), moved={C.address: B.address}
    )

    assert all(change.moved_from is None and change.moved_to is None for change in changes)
    assert "moved" not in {change.reason for change in changes}


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (user("x"), ()),
        (user("x", "group/corp/New"), ("group/corp/New",)),
        (None, ()),
    ],
)
def test_an_alias_that_goes_has_the_well_knowns_of_its_identity(
    identity: Resource | None, expected: tuple[str, ...]
) -> None:
    """They were settled by an earlier run; those of the alias are older and must not come back to life."""
    gone = alias("x", "user/Email/x", well_knowns=["group/corp/Old"])
    known = [gone, *([identity] if identity else [])]
    desired = known[1:]
    differences = compare(fingerprints(*desired), fingerprints(*known))

    changes = changes_of(differences, desired=lookup(*desired), recorded=lookup(*known), moved={})

    now = alias("x", "user/Email/x", well_knowns=expected)
    assert changes == (Change(gone.address, Action.DELETE, "removed", now, None),)


def test_the_reason_of_a_deletion_is_the_callers_word() -> None:
    for unsettled in ((), (A.address,)):
        differences = compare({}, fingerprints(A), unsettled)

        (change,) = changes_of(differences, desired=lookup(), recorded=lookup(A), moved={}, removal="destroy")

        assert change == Change(A.address, Action.DELETE, "destroy", A, None)


def test_fields_that_differ_are_told_one_by_one() -> None:
    before = item("file:///a", title="A", metadata={"author": "Alice", "size": 1}, allowed=["user/corp/x"])
    after = item("file:///a", parent="file:///p", metadata={"author": "Bob", "size": 1}, allowed=["user/corp/y"])
    change = Change(Address("item/handbook/file:///a"), Action.UPDATE, "changed", before, after)

    assert field_changes(change) == (
        FieldChange(("metadata", "author"), "Alice", "Bob"),
        FieldChange(("parent",), None, "file:///p"),
        FieldChange(("permissions",), before.shared_doc(), after.shared_doc()),
        FieldChange(("title",), "A", None),
    )


def test_well_knowns_are_a_field_of_an_identity() -> None:
    change = Change(Address("user/corp/x"), Action.UPDATE, "changed", user("x"), user("x", "group/corp/Everyone"))

    assert field_changes(change) == (FieldChange(("wellKnowns",), None, ["group/corp/Everyone"]),)


@pytest.mark.parametrize(("before", "after"), [(True, 1), (1, 1.0), ([False], [0])])
def test_a_value_of_another_type_is_another_value(before: Any, after: Any) -> None:
    """Python holds them to be equal; the documents differ, and so an update is planned."""
    old, new = (item("a", metadata={"n": value}) for value in (before, after))
    [told] = field_changes(Change(old.address, Action.UPDATE, "changed", old, new))
    assert (told.path, repr(told.before), repr(told.after)) == (("metadata", "n"), repr(before), repr(after))


def test_a_create_and_a_delete_tell_all_fields() -> None:
    staff = group("Staff", "user/corp/x")

    assert field_changes(Change(staff.address, Action.CREATE, "new", None, staff)) == (
        FieldChange(("members",), None, ["user/corp/x"]),
    )
    assert field_changes(Change(staff.address, Action.DELETE, "removed", staff, None)) == (
        FieldChange(("members",), ["user/corp/x"], None),
    )
