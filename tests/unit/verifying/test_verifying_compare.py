"""What "arrived" means: every way in which a resource can be there, or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json, permanent_id
from reconciler.model.states import Resource
from reconciler.state.rows import RecordedRow
from reconciler.verifying.compare import (
    SeenRelations,
    judge_deleted_identity,
    judge_deleted_item,
    judge_identity,
    judge_item,
    with_log,
)
from reconciler.verifying.findings import Finding, Status
from reconciler.verifying.relations import Relations
from reconciler.verifying.seen import (
    Levels,
    SeenIdentity,
    SeenItem,
    SeenModel,
    Who,
    read_identity,
    read_item,
    read_model,
    recorded_levels,
    recorded_who,
)
from tests.builders import EMAIL, alias, group, item, user

SENT = 1_700_000_000_123
URI = "https://example.com/a"
STAFF, BOB = "group/corp/Staff", "user/corp/bob@example.com"


def ref(provider: str) -> str:
    return {"corp": "corp-id"}.get(provider, provider)


def who(text: str) -> Who:
    return recorded_who(text, ref)


def row(resource: Resource, ordering_id: int = SENT, accepted_at: str = "") -> RecordedRow:
    return RecordedRow(resource.address, resource.doc, resource.shared, ordering_id, accepted_at, "run")


def model(*levels: list[dict[str, Any]], uri: str = URI) -> RecordedRow:
    shared = canonical_json({"levels": [{"sets": sets} for sets in levels]})
    return row(replace(item(uri), shared=shared))


def levels_of(found: RecordedRow) -> Levels:
    return recorded_levels(found.resource.shared_doc() or {}, ref)


def permission(text: str, *, allowed: bool = True, state: str = "UP_TO_DATE", **changes: Any) -> dict[str, Any]:
    kind, _, rest = text.partition("/")
    provider, _, name = rest.partition("/")
    return {
        "allowed": allowed,
        "identity": name,
        "identityType": {"user": "User", "group": "GROUP", "virtual-group": "VIRTUAL_GROUP"}[kind],
        "securityProvider": ref(provider),
        "additionalInfo": {},
        "state": state,
        **changes,
    }


def shown(*levels: list[dict[str, Any]], state: str = "VALID") -> SeenModel:
    return read_model(
        {"state": state, "permissionLevels": [{"name": "Level", "permissionSets": sets} for sets in levels]}
    )


def one_set(*permissions: dict[str, Any], anonymous: bool = False, name: str = "") -> dict[str, Any]:
    return {"name": name, "anonymousAllowed": anonymous, "permissions": list(permissions)}


def seen(uri: str = URI, **fields: Any) -> SeenItem:
    return read_item(uri, {"permanentid": permanent_id(uri), "indexeddate": SENT + 5000, **fields})


def verdict(finding: Finding) -> tuple[Status, str, str, bool | None]:
    return finding.status, finding.code, finding.what, finding.arrived


# -- items -----------------------------------------------------------------------------------------


def test_an_item_that_arrived() -> None:
    found = row(item(URI))
    assert judge_item(found, seen(), None, None) == Finding(
        found.address, Status.VERIFIED, SENT, arrived=True, sent=SENT
    )


def test_an_item_that_is_not_there() -> None:
    found = row(item(URI))
    assert judge_item(found, None, None, None) == Finding(
        found.address,
        Status.MISSING,
        SENT,
        "not-indexed",
        "the index does not hold the item",
        arrived=False,
        sent=SENT,
    )


def test_an_older_version_is_not_the_one_pushed() -> None:
    finding = judge_item(row(item(URI)), seen(indexeddate=SENT - 1), None, None)
    assert verdict(finding) == (
        Status.MISSING,
        "outdated",
        "the index holds the version of 2023-11-14T22:13:20.122Z, not the one pushed at 2023-11-14T22:13:20.123Z",
        False,
    )


@pytest.mark.parametrize(
    ("fields", "arrived"),
    [
        ({"indexeddate": SENT}, True),
        ({"indexeddate": str(SENT)}, True),
        ({"indexeddate": float(SENT)}, True),
        ({"indexeddate": SENT // 1000 * 1000}, True),  # a remote that keeps whole seconds
        ({"indexeddate": None}, None),
        ({"indexeddate": "yesterday"}, None),
        ({"indexeddate": True}, None),
        ({"indexeddate": -1}, None),
        ({"indexeddate": 1e300}, None),
    ],
)
def test_the_date_of_indexing_tells_a_push_from_an_older_one(fields: dict[str, Any], arrived: bool | None) -> None:
    assert verdict(judge_item(row(item(URI)), seen(**fields), None, None)) == (Status.VERIFIED, "", "", arrived)


def test_a_date_of_indexing_that_is_our_own_metadata_tells_nothing() -> None:
    found = row(item(URI, metadata={"indexeddate": 5}))
    assert verdict(judge_item(found, seen(indexeddate=5), None, None)) == (Status.VERIFIED, "", "", None)


@pytest.mark.parametrize(
    ("after", "expected"),
    [(1, (Status.VERIFIED, True)), (-1000, (Status.VERIFIED, None)), (-700_000, (Status.MISSING, False))],
)
def test_an_ordering_id_ahead_of_the_clock_is_no_time(after: int, expected: tuple[Status, bool | None]) -> None:
    accepted = datetime.fromtimestamp(SENT / 1000, UTC).isoformat(timespec="milliseconds")
    finding = judge_item(row(item(URI), SENT + 10**9, accepted), seen(indexeddate=SENT + after), None, None)
    assert (finding.status, finding.arrived) == expected


def test_what_was_never_sent_is_no_older_than_anything() -> None:
    assert judge_item(row(item(URI), 0), seen(indexeddate=1), None, None).status is Status.VERIFIED


@pytest.mark.parametrize(
    ("metadata", "shown_id", "expected"),
    [
        ({}, permanent_id(URI), ""),
        ({}, None, ""),
        ({"permanentid": "mine"}, "mine", ""),
        ({}, "other", f'the field permanentid is "other", not "{permanent_id(URI)}"'),
        ({"permanentid": "mine"}, permanent_id(URI), f'the field permanentid is "{permanent_id(URI)}", not "mine"'),
    ],
)
def test_the_permanent_id(metadata: dict[str, str], shown_id: str | None, expected: str) -> None:
    finding = judge_item(row(item(URI, metadata=metadata)), seen(permanentid=shown_id), None, None)
    assert (finding.code, finding.what) == ("fields-differ" if expected else "", expected)


def test_order_and_names_and_case_are_no_difference() -> None:
    found = model([{"allowed": [BOB, STAFF]}, {"denied": ["virtual-group/corp/Out"], "name": "ours"}])
    same = shown(
        [
            one_set(permission("virtual-group/corp/OUT", allowed=False), name="Set2"),
            one_set(permission(STAFF), permission("user/corp/Bob@example.com")),
        ]
    )
    assert judge_item(found, seen(), same, levels_of(found)).status is Status.VERIFIED


@pytest.mark.parametrize(
    ("levels", "what"),
    [
        ([], "0 permission levels in place of 1"),
        ([[one_set(permission(STAFF))], [one_set()]], "2 permission levels in place of 1"),
        (
            [[one_set(permission(STAFF))]],
            "level 1 with not denied user:bob@example.com (corp-id)",
        ),
        (
            [[one_set(permission(STAFF), permission(BOB), permission(BOB, allowed=False))]],
            "level 1 with also allowed user:bob@example.com (corp-id)",
        ),
        (
            [[one_set(permission(STAFF), permission(BOB, allowed=False, securityProvider="else"))]],
            "level 1 with not denied user:bob@example.com (corp-id); also denied user:bob@example.com (else)",
        ),
        (
            [[one_set(permission(STAFF, additionalInfo={"d": "x"}), permission(BOB, allowed=False))]],
            "level 1 with not allowed group:Staff (corp-id); also allowed group:Staff d=x (corp-id)",
        ),
        (
            [[one_set(permission(STAFF), permission(BOB, allowed=False), anonymous=True)]],
            "level 1 with anonymous people allowed",
        ),
        (
            [[one_set(permission(STAFF)), one_set(permission(BOB, allowed=False))]],
            "level 1 with its identities in other sets",
        ),
    ],
)
def test_other_permissions(levels: list[list[dict[str, Any]]], what: str) -> None:
    found = model([{"allowed": [STAFF], "denied": [BOB]}])
    finding = judge_item(found, seen(), shown(*levels), levels_of(found))
    assert verdict(finding) == (Status.DIFFERENT, "permissions-differ", f"the index shows {what}", True)


def test_the_order_of_levels_counts() -> None:
    found = model([{"allowed": [STAFF]}], [{"allowed": [BOB]}])
    other = shown([one_set(permission(BOB))], [one_set(permission(STAFF))])
    assert judge_item(found, seen(), other, levels_of(found)).code == "permissions-differ"


def test_identities_that_are_not_resolved() -> None:
    found = model([{"allowed": [STAFF], "denied": [BOB]}])
    other = shown([one_set(permission(STAFF), permission(BOB, allowed=False, state="NOT_UPDATED"))], state="IN_ERROR")
    assert verdict(judge_item(found, seen(), other, levels_of(found))) == (
        Status.UNRESOLVED,
        "identities-unresolved",
        "its permissions arrived, but are IN_ERROR: user:bob@example.com (corp-id) is NOT_UPDATED",
        True,
    )


def test_permissions_that_vanished_between_two_requests() -> None:
    found = model([{"allowed": [STAFF]}])
    assert judge_item(found, seen(), None, levels_of(found)).what == "the index shows no permissions of it"


@pytest.mark.parametrize("reply", [{}, {"permissionLevels": 1}, {"permissionLevels": [1, {"permissionSets": "x"}]}])
def test_strange_permissions_are_other_permissions(reply: dict[str, Any]) -> None:
    found = model([{"allowed": [STAFF]}])
    assert judge_item(found, seen(), read_model(reply), levels_of(found)).code == "permissions-differ"


def test_a_log_speaks_of_a_push_that_has_not_visibly_arrived() -> None:
    found = row(item(URI))
    arrived, unknown = judge_item(found, seen(), None, None), judge_item(found, seen(indexeddate=None), None, None)
    absent = judge_item(found, None, None, None)
    refused = Finding(found.address, Status.REJECTED, SENT, "rejected", "too long", arrived=False, sent=SENT)
    assert [with_log(finding, "too long") for finding in (arrived, unknown, absent)] == [arrived, refused, refused]
    assert [with_log(finding, "") for finding in (arrived, unknown, absent)] == [arrived, unknown, absent]


def test_deleted_items() -> None:
    address = item(URI).address
    gone = Finding(address, Status.VERIFIED, 0, arrived=True, sent=SENT, deletion=True)
    assert judge_deleted_item(address, SENT, None) == gone
    assert judge_deleted_item(address, SENT, seen()) == replace(
        gone,
        status=Status.DIFFERENT,
        code="still-there",
        what="the item was deleted, and the index still holds it",
        arrived=False,
    )


# -- identities ------------------------------------------------------------------------------------


def listed(text: str, state: str = "UP_TO_DATE", error: str = "") -> SeenIdentity:
    return SeenIdentity(who(text), state, error)


def near(children: list[str] | None = None, parents: list[str] | None = None) -> SeenRelations:
    return SeenRelations(tuple(map(listed, children or ())), tuple(map(listed, parents or ())))


def relations(scope: list[str], *resources: Resource) -> Relations:
    found = Relations([who(text) for text in scope])
    found.add([row(resource) for resource in resources], ref)
    return found


def judged(resource: Resource, seen: SeenIdentity | None, around: SeenRelations, *others: Resource) -> tuple[Any, ...]:
    kind, _, name = resource.address.name.partition(":")
    text = f"{kind}/corp/{name}" if resource.address.kind is Kind.ALIAS else str(resource.address)
    finding = judge_identity(row(resource), seen, around, relations([text], resource, *others), ref)
    return finding.status, finding.code, finding.what


GOOD = (Status.VERIFIED, "", "")
TEAM = group("Staff", BOB, "group/corp/Inner")
EVERYONE = "group/corp/Everyone"


@pytest.mark.parametrize(
    ("seen", "status", "code", "what"),
    [
        (None, Status.MISSING, "not-in-cache", "the security cache does not list the identity"),
        (
            listed(STAFF, "NOT_UPDATED"),
            Status.MISSING,
            "not-in-cache",
            "the security cache knows the identity by name only: it was never resolved",
        ),
        (
            listed(STAFF, "DISABLED"),
            Status.DIFFERENT,
            "identity-disabled",
            "the security cache lists the identity as disabled",
        ),
        (
            listed(STAFF, "IN_ERROR", "no such host"),
            Status.UNRESOLVED,
            "identity-unhealthy",
            "the security cache calls it IN_ERROR: no such host",
        ),
        (listed(STAFF), *GOOD),
        (listed(STAFF, ""), *GOOD),
    ],
)
def test_a_groups_state(seen: SeenIdentity | None, status: Status, code: str, what: str) -> None:
    assert judged(TEAM, seen, near([BOB, "group/corp/Inner"])) == (status, code, what)


@pytest.mark.parametrize(
    ("children", "what"),
    [
        ([BOB, "group/corp/inner"], ""),
        ([BOB], "not the member group:Inner (corp-id)"),
        ([BOB, "group/corp/Inner", "user/corp/eve"], "also the member user:eve (corp-id)"),
        ([], "not the member group:Inner (corp-id), user:bob@example.com (corp-id)"),
        (
            ["user/corp/1", "user/corp/2", "user/corp/3", "user/corp/4", "user/corp/5", "group/corp/Inner"],
            "not the member user:bob@example.com (corp-id); also the member user:1 (corp-id), user:2 (corp-id), "
            "user:3 (corp-id), user:4 (corp-id) and 1 more",
        ),
    ],
)
def test_a_groups_members(children: list[str], what: str) -> None:
    expected = (Status.DIFFERENT, "members-differ", f"in the security cache the group has {what}") if what else GOOD
    assert judged(TEAM, listed(STAFF), near(children)) == expected


def test_a_member_may_come_from_its_own_well_knowns_or_be_disabled() -> None:
    everyone = group("Everyone")
    assert judged(everyone, listed(EVERYONE), near([BOB]), user("bob@example.com", EVERYONE)) == GOOD
    assert judged(everyone, listed(EVERYONE), near([BOB]), alias("bob@example.com", well_knowns=[EVERYONE])) == GOOD
    assert judged(everyone, listed(EVERYONE), near([BOB]))[1] == "members-differ"
    disabled = SeenRelations((listed(BOB, "DISABLED"),))
    assert judged(everyone, listed(EVERYONE), disabled) == GOOD


def test_well_knowns() -> None:
    bob = user("bob@example.com", EVERYONE)
    everyone, other = group("Everyone"), group("Other")
    in_both = near(parents=[EVERYONE, "group/corp/Other", "group/corp/Foreign"])
    assert judged(bob, listed(BOB), near(parents=[EVERYONE])) == GOOD
    assert judged(bob, listed(BOB), in_both, everyone) == GOOD
    assert judged(bob, listed(BOB), in_both, everyone, group("Other", BOB)) == GOOD
    assert judged(bob, listed(BOB), in_both, everyone, other) == (
        Status.DIFFERENT,
        "well-knowns-differ",
        "in the security cache it is also in group:Other (corp-id)",
    )
    assert judged(bob, listed(BOB), near()) == (
        Status.DIFFERENT,
        "well-knowns-differ",
        "in the security cache it is not in group:Everyone (corp-id)",
    )


MAIL = f"user/{EMAIL}/bob@example.com"
WORK = f"user/{EMAIL}/bob@work"


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ([MAIL, STAFF], GOOD),
        (
            [STAFF],
            (
                Status.MISSING,
                "not-in-cache",
                f"the security cache does not show it as user:bob@example.com ({EMAIL})",
            ),
        ),
        (
            [MAIL, WORK],
            (Status.DIFFERENT, "mappings-differ", f"the security cache shows it also as user:bob@work ({EMAIL})"),
        ),
    ],
)
def test_an_alias(parents: list[str], expected: tuple[Any, ...]) -> None:
    assert judged(alias("bob@example.com", MAIL), listed(BOB), near(parents=parents)) == expected


def test_half_an_alias() -> None:
    both = alias("bob@example.com", MAIL, WORK)
    assert judged(both, listed(BOB), near(parents=[WORK])) == (
        Status.DIFFERENT,
        "mappings-differ",
        f"the security cache shows it not as user:bob@example.com ({EMAIL})",
    )


def test_an_alias_of_a_group_is_what_is_in_it() -> None:
    found = Resource(Address.of(Kind.ALIAS, "corp", "group:Staff"), canonical_json({"mappings": [MAIL]}))
    assert judged(found, listed(STAFF), near([MAIL, BOB, "group/corp/Inner"]), TEAM) == GOOD
    assert judged(found, listed(STAFF), near([MAIL, WORK]))[1] == "mappings-differ"
    assert judged(TEAM, listed(STAFF), near([MAIL, BOB, "group/corp/Inner"]), found) == GOOD


@pytest.mark.parametrize("state", [None, "DISABLED", "NOT_UPDATED", "UP_TO_DATE", "OUT_OF_DATE"])
def test_deleted_groups(state: str | None) -> None:
    found = listed(STAFF, state) if state else None
    finding = judge_deleted_identity(TEAM.address, found, near(), Relations(), ref)
    gone = Finding(TEAM.address, Status.VERIFIED, 0, arrived=True, deletion=True)
    if state in ("UP_TO_DATE", "OUT_OF_DATE"):
        what = f"the identity was deleted, and the security cache still lists it as {state}"
        gone = replace(gone, status=Status.DIFFERENT, code="still-there", what=what, arrived=False)
    assert finding == gone


def test_deleted_aliases() -> None:
    address = alias("bob@example.com").address

    def deleted(parents: list[str], *others: Resource) -> tuple[Status, str]:
        around = relations([BOB], *others)
        finding = judge_deleted_identity(address, listed(BOB), near(parents=parents), around, ref)
        return finding.status, finding.what

    assert deleted([STAFF]) == (Status.VERIFIED, "")
    assert deleted([MAIL]) == (
        Status.DIFFERENT,
        f"the alias was deleted, and the security cache still shows it also as user:bob@example.com ({EMAIL})",
    )


@pytest.mark.parametrize("entry", [{}, {"name": 1, "type": "User"}, {"name": "x", "type": "Robot"}, {"name": "x"}])
def test_strange_identities_are_not_seen(entry: dict[str, Any]) -> None:
    assert read_identity(entry, "corp-id") is None


def test_an_identity_of_the_cache() -> None:
    entry = {
        "name": "Bob",
        "type": "VIRTUAL_GROUP",
        "provider": "corp-id",
        "infos": [{"key": "k", "value": "V"}, {"key": 1}, 5],
        "state": "IN_ERROR",
        "lastUpdateErrorDetail": "why",
    }
    assert read_identity(entry, "other") == SeenIdentity(
        Who("corp-id", "virtual-group", "bob", (("k", "v"),)), "IN_ERROR", "why"
    )
