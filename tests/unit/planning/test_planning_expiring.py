"""Grants that end: which are over and still live, and which changes come of nothing but ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pytest

from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.grant import Grant
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.planning.expiring import NOTHING_LAPSED, lapsed_of, only_lapses, shown_entry, still_live
from reconciler.planning.hazards import Limits, hazards_of
from reconciler.planning.make import Side
from reconciler.planning.plan import Expiring
from tests.builders import alias, fingerprints, group, item, lookup

END = 1_000
BOB, AL = "user/corp/bob", "user/corp/al"
MEMBER = Grant("member", "group/corp/Staff", BOB, END)
ALLOWED = Grant("allowed", "item/handbook/x:1", BOB, END)
NAMED = Grant("allowed", "permissions/guests", BOB, END)
ALIAS = Grant("alias", "alias/corp/user:bob", BOB, END)
MAPPING = Grant("mapping", "alias/corp/user:bob", "user/Email/bob", END)
EACH = Grant("each", "alias/corp/user:*", "user/Email/{name}", END)


def side(*resources: Resource) -> Side:
    return Side(fingerprints(*resources), lookup(*resources))


def in_sets(*sets: dict[str, Any], uri: str = "x:1") -> Resource:
    model = canonical_json({"levels": [{"sets": list(sets)}]})
    return Resource(Address(f"item/handbook/{uri}"), canonical_json({"metadata": {}}), model)


def update(before: Resource, after: Resource) -> Change:
    return Change(before.address, Action.UPDATE, "changed", before, after)


def delete(before: Resource) -> Change:
    return Change(before.address, Action.DELETE, "removed", before, None)


def create(after: Resource) -> Change:
    return Change(after.address, Action.CREATE, "new", None, after)


# -- what is still live ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "recorded", "desired", "live"),
    [
        (MEMBER, [group("Staff", AL, BOB)], [group("Staff", AL)], True),
        (MEMBER, [group("Staff", AL)], [group("Staff", AL)], False),
        (MEMBER, [group("Staff", AL)], [group("Staff")], False),
        (MEMBER, [], [group("Staff", AL)], False),
        (MEMBER, [group("Staff", AL, BOB)], [group("Staff", BOB)], False),
        (ALLOWED, [item("x:1", allowed=[AL, BOB])], [item("x:1", allowed=[AL])], True),
        (ALLOWED, [item("x:1")], [item("x:1", allowed=[AL])], False),
        (
            ALLOWED,
            [in_sets({"allowed": [BOB]}, {"allowed": [AL, BOB]})],
            [in_sets({"allowed": [BOB]}, {"allowed": [AL]})],
            True,
        ),
        (ALIAS, [alias("bob", "user/Email/bob")], [], True),
        (ALIAS, [alias("bob", "user/Email/bob")], [alias("bob", "user/Email/bob")], False),
        (ALIAS, [], [], False),
        (MAPPING, [alias("bob", "user/Email/b", "user/Email/bob")], [alias("bob", "user/Email/b")], True),
        (MAPPING, [alias("bob", "user/Email/b")], [], False),
        (EACH, [alias("bob", "user/Email/bob")], [], True),
        (EACH, [alias("bob", "user/Email/b")], [], False),
        (EACH, [Resource(Address("alias/corp/group:bob"), b'{"mappings":["user/Email/bob"]}')], [], False),
    ],
)
def test_what_is_over_is_live_while_the_state_has_what_nobody_asks_for(
    grant: Grant, recorded: list[Resource], desired: list[Resource], live: bool
) -> None:
    assert still_live([grant], side(*desired), side(*recorded), {}) == (frozenset({grant}) if live else frozenset())


def test_a_named_model_is_live_while_any_of_its_items_has_it() -> None:
    closed = canonical_json({"levels": [{"sets": [{}]}]})
    open_ = in_sets({"allowed": [BOB]})
    kept = [in_sets({"allowed": [AL]}, uri=f"y:{number}") for number in range(3)]
    wanted = Resource(open_.address, open_.doc, closed)
    asked: list[str] = []

    def resources(addresses: Iterable[str]) -> dict[str, Resource]:
        asked.extend(addresses)
        return lookup(open_, *kept)(asked)

    recorded = Side(fingerprints(open_, *kept), resources)
    assert still_live([NAMED], side(wanted, *kept), recorded, {"guests": closed}) == {NAMED}
    assert asked == ["item/handbook/x:1"], "what is as recorded is not looked at"
    assert hashlib.sha256(closed).digest() == wanted.fingerprint[32:]
    assert still_live([NAMED], side(wanted, *kept), side(wanted, *kept), {"guests": closed}) == frozenset()


# -- what comes of ends alone ----------------------------------------------------------------------

LAPSED = lapsed_of([MEMBER, ALLOWED, MAPPING, Grant("member", "group/corp/Staff", AL, END + 1)], END)


@pytest.mark.parametrize(
    ("change", "explained"),
    [
        (update(group("Staff", AL, BOB), group("Staff", AL)), True),
        (update(group("Staff", AL, BOB), group("Staff")), False),
        (update(group("Other", AL, BOB), group("Other", AL)), False),
        (update(group("Staff", BOB), group("Staff", AL)), False),
        (update(group("Staff", BOB, well_knowns=["group/corp/A"]), group("Staff")), False),
        (update(group("Staff", AL, protect=True), group("Staff", AL)), True),
        (delete(group("Staff", BOB)), False),
        (create(group("New", BOB)), False),
        (update(item("x:1", allowed=[AL, BOB]), item("x:1", allowed=[AL])), True),
        (update(item("x:1", allowed=[BOB]), in_sets({})), True),
        (update(item("x:1", allowed=[AL, BOB]), item("x:1", allowed=[BOB])), False),
        (update(item("x:1", allowed=[BOB]), item("x:1")), False),
        (update(in_sets({"allowed": [BOB], "denied": [AL]}), in_sets({})), False),
        (update(item("x:1", allowed=[AL]), item("x:1", allowed=[AL], title="T")), True),
        (create(item("x:2", allowed=[AL])), True),
        (delete(item("x:2", allowed=[AL])), False),
        (delete(alias("bob", "user/Email/bob")), True),
        (delete(alias("al", "user/Email/al")), False),
        (update(alias("bob", "user/Email/b", "user/Email/bob"), alias("bob", "user/Email/b")), True),
        (update(alias("bob", "user/Email/b", "user/Email/bob"), alias("bob", "user/Email/bob")), False),
    ],
)
def test_a_change_that_only_takes_away_what_is_over_is_told_apart(change: Change, explained: bool) -> None:
    assert only_lapses([change], LAPSED) is explained
    assert not only_lapses([change], NOTHING_LAPSED)


def test_an_alias_goes_with_the_member_or_the_rule_that_it_was_made_for() -> None:
    gone = delete(alias("bob", "user/Email/bob"))
    assert only_lapses([gone], lapsed_of([MEMBER], END))
    assert only_lapses([gone], lapsed_of([EACH], END))
    assert not only_lapses([gone], lapsed_of([EACH, MEMBER], END - 1))
    # The mapping of another alias to the same name is no membership.
    assert not only_lapses([gone], lapsed_of([Grant("mapping", "alias/corp/user:al", BOB, END)], END))


def test_only_what_is_empty_by_ends_alone_is_no_hazard() -> None:
    def names(change: Change, lapsed: Any) -> list[str]:
        recorded = [str(change.address), "item/handbook/x:1"]
        found = hazards_of([change], desired=recorded[1:], recorded=recorded, limits=Limits(), lapsed=lapsed)
        return [hazard.name for hazard in found]

    emptied, gone = update(group("Staff", BOB), group("Staff")), delete(alias("bob", "user/Email/bob"))
    assert (names(emptied, LAPSED), names(emptied, NOTHING_LAPSED)) == ([], ["emptied-group"])
    assert names(update(group("Staff", AL, BOB), group("Staff")), LAPSED) == ["emptied-group"]
    assert (names(gone, LAPSED), names(gone, NOTHING_LAPSED)) == ([], ["emptied"])
    assert names(delete(group("Staff", BOB)), LAPSED) == ["emptied"]


@pytest.mark.parametrize(
    ("address", "entry", "told"),
    [
        ("group/corp/Staff", BOB, 'user:bob in group "Staff"'),
        ("permissions/guests", BOB, 'user:bob in permission model "guests"'),
        ("alias/corp/user:bob", BOB, "the alias of user:bob"),
        ("alias/corp/user:bob", "user/Email/bob", 'user:bob in alias "user:bob"'),
        ("alias/corp/user:*", "user/Email/{name}", 'user:{name} in alias "user:*"'),
    ],
)
def test_a_grant_is_told_as_a_person_would(address: str, entry: str, told: str) -> None:
    assert shown_entry(Expiring(address, entry, "2027-01-31T00:00:00Z", "a.yaml", 1, "lapses")) == told
