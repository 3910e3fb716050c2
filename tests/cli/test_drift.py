"""`reconciler drift` over HTTP: what somebody changed at the remote by hand, and nothing besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from reconciler.emulator.options import (
    ALL_PRIVILEGES,
    EXECUTE_QUERY,
    FIELD_VIEW,
    READ_IDENTITIES,
    SOURCE_VIEW,
    VIEW_ALL_CONTENT,
)
from reconciler.rendering.report_schema import report_schema
from tests.builders import KEY, ORGANIZATION, PROJECT, PROVIDER_ID, SHARED_ID, SOURCE_ID, Folder, Remote, as_yaml
from tests.builders import start_remote as start

SCHEMA = jsonschema.Draft202012Validator(report_schema("drift"))
MAIL = "Email Security Provider"
A, B, OPEN = "https://example.com/a", "https://example.com/b", "https://example.com/open"
MANIFEST: dict[str, Any] = {
    "defaults": {"source": "handbook", "provider": "corp"},
    "items": [
        {
            "uri": A,
            "title": "A",
            "permissions": {"allowed": ["group:Staff"], "denied": ["user:bob@example.com"]},
            "metadata": {"team": "red", "n": 1},
            "body": {"text": "a"},
        },
        {"uri": B, "title": "B", "permissions": {"allowed": ["group:Staff"]}, "metadata": {"team": "red"}},
        {"uri": OPEN, "source": "blog", "title": "Open", "clickableUri": "https://example.com/click"},
    ],
    "groups": [
        {"name": "Staff", "members": ["user:alice@example.com", "user:carol@example.com"]},
        {"name": "Everyone", "members": ["group:Staff"]},
    ],
    "users": [{"name": "alice@example.com", "wellKnowns": ["group:Everyone"]}],
    "aliases": [{"of": "user:bob@example.com", "is": [{"provider": MAIL, "identity": "user:bob@mail.com"}]}],
}
FIELDS = [{"name": "team", "type": "STRING"}, {"name": "n", "type": "LONG"}]


class Hand:
    """Somebody who changes the remote behind our back, by the same API."""

    def __init__(self, remote: Remote) -> None:
        self.client = httpx.Client(base_url=remote.url, trust_env=False, headers={"Authorization": f"Bearer {KEY}"})

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> None:
        self.client.request(method, path, json=body, params=query).raise_for_status()

    def push(self, method: str, path: str, body: Any = None, **query: str) -> None:
        self.ask(method, f"/push/v1/organizations/{ORGANIZATION}/{path}", body, **query)

    def put_item(self, uri: str, source: str = SOURCE_ID, **changes: Any) -> None:
        body = {"title": "A", "team": "red", "n": 1, "permissions": [STAFF_BUT_BOB], **changes}
        self.push("PUT", f"sources/{source}/documents", body, documentId=uri)

    def delete_item(self, uri: str, source: str = SOURCE_ID) -> None:
        self.push("DELETE", f"sources/{source}/documents", documentId=uri)

    def put_group(self, name: str, *members: str) -> None:
        listed = [{"name": member, "type": "USER"} for member in members]
        body = {"identity": {"name": name, "type": "GROUP"}, "members": listed}
        self.push("PUT", f"providers/{PROVIDER_ID}/permissions", body)

    def delete_identity(self, name: str, type_: str = "GROUP") -> None:
        self.push("DELETE", f"providers/{PROVIDER_ID}/permissions", {"identity": {"name": name, "type": type_}})


def by_hand(remote: Remote, change: Callable[[Hand], None]) -> None:
    hand = Hand(remote)
    with hand.client:
        change(hand)


STAFF_BUT_BOB = {
    "allowedPermissions": [{"identity": "Staff", "identityType": "Group"}],
    "deniedPermissions": [{"identity": "bob@example.com", "identityType": "User"}],
}


@pytest.fixture
def hand(remote: Remote) -> Iterator[Hand]:
    made = Hand(remote)
    with made.client:
        made.ask("POST", f"/rest/organizations/{ORGANIZATION}/indexes/fields/batch/create", FIELDS)
        yield made


@pytest.fixture
def applied(folder: Folder, remote: Remote, hand: Hand) -> Folder:
    """A project whose state is applied, and seen to have arrived."""
    return settle(folder.at(remote), MANIFEST)


def settle(folder: Folder, manifest: dict[str, Any]) -> Folder:
    folder.write("all.yaml", as_yaml(manifest))
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")
    return folder


def report(folder: Folder, *options: str, code: int = 3) -> Any:
    document = folder.ok("drift", "--format", "json", *options, code=code).json
    SCHEMA.validate(document)
    assert document["drifted"] == (code == 3)
    return document


def told(folder: Folder, *options: str, code: int = 3) -> dict[str, Any]:
    """Return by address the status of a resource, or the fields that drifted: what lacks and what is there."""
    return {
        entry["address"]: {part["field"]: (part["expected"], part["shown"]) for part in entry["fields"]}
        or entry["status"]
        for entry in report(folder, *options, code=code)["resources"]
    }


def who(name: str, provider: str = PROVIDER_ID) -> str:
    return f"user:{name} ({provider})"


# -- nothing changed -------------------------------------------------------------------------------


def test_nothing_changed(applied: Folder) -> None:
    before = applied.ok("state", "pull").out
    assert applied.ok("drift").out == (
        "Not visible: 1 body, permissions of 1 item without any of their own.\n"
        "No drift: 3 items, 2 groups, 1 user, 1 alias compared as recorded; 0 drifted, 0 missing.\n"
    )
    document = report(applied, code=0)
    assert (document["total"], document["summary"]["same"], document["foreign"]) == (7, 7, [])
    assert report(applied, "--of", "desired", code=0)["summary"] == document["summary"]
    assert applied.ok("state", "pull").out == before


def test_nothing_applied(folder: Folder, remote: Remote) -> None:
    assert folder.at(remote).ok("drift").out.endswith("No drift: nothing compared as recorded; 0 drifted, 0 missing.\n")


# -- what somebody changed -------------------------------------------------------------------------


def test_metadata_and_title(applied: Folder, hand: Hand) -> None:
    hand.put_item(A, title="A2", n=2, team="")
    hand.put_item(B, title="B", permissions=[{"allowedPermissions": STAFF_BUT_BOB["allowedPermissions"]}], n=7)
    found = told(applied)
    stable = {address: fields.pop("metadata.permanentid", None) for address, fields in found.items()}
    assert all(stable.values())
    assert found == {
        f"item/handbook/{A}": {"title": ("A", "A2"), "metadata.n": (1, 2), "metadata.team": ("red", "")},
        # Nobody gave it that key, but others of its source have it.
        f"item/handbook/{B}": {"metadata.n": (None, 7)},
    }
    lines = applied.ok("drift", code=3).out.splitlines()
    assert lines[0] == f"item/handbook/{A}: drifted"
    assert lines[2:5] == [
        "    metadata.n is 2, not 1",
        '    metadata.team is "", not "red"',
        '    title is "A2", not "A"',
    ]


def test_permissions(applied: Folder, hand: Hand) -> None:
    eve = {"identity": "eve", "identityType": "User"}
    changed = {"allowedPermissions": [*STAFF_BUT_BOB["allowedPermissions"], eve], "allowAnonymous": True}
    hand.put_item(A, permissions=[changed])
    found = told(applied)[f"item/handbook/{A}"]
    del found["metadata.permanentid"]
    assert found == {
        "permissions.level 1.allowed": ([], [who("eve")]),
        "permissions.level 1.denied": ([who("bob@example.com")], []),
        "permissions.level 1.anonymous": (False, True),
    }


def test_members(applied: Folder, hand: Hand) -> None:
    hand.put_group("Staff", "alice@example.com", "mallory")
    assert told(applied) == {"group/corp/Staff": {"members": ([who("carol@example.com")], [who("mallory")])}}
    assert applied.ok("drift", code=3).out.splitlines()[:2] == [
        "group/corp/Staff: drifted",
        f"    members lacks {who('carol@example.com')} and also has {who('mallory')}",
    ]


def test_an_alias_and_well_knowns(applied: Folder, hand: Hand) -> None:
    robert = {"name": "robert@mail.com", "type": "USER", "provider": MAIL}
    bob = {"name": "bob@mail.com", "type": "USER", "provider": MAIL}
    body = {"identity": {"name": "bob@example.com", "type": "USER"}, "mappings": [bob, robert]}
    hand.push("PUT", f"providers/{PROVIDER_ID}/mappings", body)
    alice = {"identity": {"name": "alice@example.com", "type": "USER"}, "members": [], "wellKnowns": []}
    hand.push("PUT", f"providers/{PROVIDER_ID}/permissions", alice)
    assert told(applied) == {
        "alias/corp/user:bob@example.com": {"is": ([], [who("robert@mail.com", MAIL)])},
        "user/corp/alice@example.com": {"wellKnowns": ([f"group:Everyone ({PROVIDER_ID})"], [])},
    }


def test_what_was_deleted(applied: Folder, hand: Hand) -> None:
    hand.delete_item(A)
    hand.delete_item(OPEN, SHARED_ID)
    hand.delete_identity("Everyone")
    found = told(applied)
    assert found.pop("group/corp/Everyone") in ("missing", {"state": ("enabled", "disabled")})
    found.pop("user/corp/alice@example.com", None)  # who was in it
    assert found == {f"item/handbook/{A}": "missing", f"item/blog/{OPEN}": "missing"}


def test_what_is_deleted_and_comes_back(applied: Folder, hand: Hand) -> None:
    """Its deletion was confirmed, so that it is somebody else's now."""
    applied.write("all.yaml", as_yaml({**MANIFEST, "items": MANIFEST["items"][:2]}))
    applied.ok("apply", "--auto-approve", "--allow", "emptied")
    applied.ok("verify")
    assert report(applied, code=0)["foreign"] == []
    hand.put_item(OPEN, SHARED_ID, permissions=[])
    (foreign,) = report(applied, code=0)["foreign"]
    assert (foreign["name"], foreign["examples"]) == ("blog", [f"item/blog/{OPEN}"])


# -- foreign things --------------------------------------------------------------------------------


def test_foreign_things_are_told_and_no_drift(applied: Folder, hand: Hand) -> None:
    for number in range(7):
        hand.put_item(f"https://example.com/foreign/{number}")
    hand.put_group("Strangers", "mallory")
    document = report(applied, code=0)
    assert [(entry["place"], entry["name"], entry["count"], entry["drift"]) for entry in document["foreign"]] == [
        ("source", "handbook", 7, False),
        ("provider", "corp", 1, False),
    ]
    assert document["foreign"][0]["examples"][0] == "item/handbook/https://example.com/foreign/0"
    assert document["foreign"][1]["examples"] == ["group/corp/Strangers"]
    lines = applied.ok("drift").out.splitlines()
    assert lines[0] == (
        "source handbook: 7 items that nobody asked for; somebody else may feed it, so this is no drift"
    )
    assert lines[6] == "    ... and 2 more"
    assert report(applied, "--no-foreign", code=0)["foreign"] == []
    assert report(applied, "--target", A, code=0)["foreign"] == []


def test_foreign_things_in_what_is_exclusive_are_drift(folder: Folder, remote: Remote, hand: Hand) -> None:
    folder.write("reconciler.yaml", PROJECT.replace("visibility: shared}", "visibility: shared, exclusive: true}"))
    settle(folder.at(remote), MANIFEST)
    hand.put_item("https://example.com/foreign")
    assert report(folder, code=0)["foreign"][0]["exclusive"] is False
    hand.put_item("https://example.com/foreign", SHARED_ID, permissions=[])
    assert [(entry["name"], entry["drift"]) for entry in report(folder)["foreign"]] == [
        ("blog", True),
        ("handbook", False),
    ]


# -- narrowing -------------------------------------------------------------------------------------


def test_only_a_target_or_a_source(applied: Folder, hand: Hand) -> None:
    hand.delete_item(A)
    hand.delete_item(OPEN, SHARED_ID)
    assert told(applied, "--target", A) == {f"item/handbook/{A}": "missing"}
    assert report(applied, "--target", "group/*", code=0)["total"] == 2
    assert told(applied, "--source", "blog") == {f"item/blog/{OPEN}": "missing"}
    for option in ("--target", "--source"):
        assert applied.run("drift", option, "nothing").code == 2


def test_the_exit_code_may_be_left_alone(applied: Folder, hand: Hand) -> None:
    hand.delete_item(A)
    assert applied.ok("drift", code=3).out == applied.ok("drift", "--no-exit-code").out


# -- manifests -------------------------------------------------------------------------------------


def test_manifests_that_were_not_applied(applied: Folder, hand: Hand) -> None:
    items = MANIFEST["items"]
    applied.write("all.yaml", as_yaml({**MANIFEST, "items": [{**items[0], "title": "New"}, items[1]]}))
    assert report(applied, code=0)["resources"] == []
    document = report(applied, "--of", "desired")
    assert [(entry["address"], entry["unapplied"]) for entry in document["resources"]] == [(f"item/handbook/{A}", True)]
    assert [(entry["examples"], entry["removed"], entry["drift"]) for entry in document["foreign"]] == [
        ([f"item/blog/{OPEN}"], True, True)
    ]
    applied.write("all.yaml", as_yaml({**MANIFEST, "aliases": [], "users": []}))
    document = report(applied, "--of", "desired")
    assert [(entry["examples"], entry["removed"]) for entry in document["foreign"]] == [
        (["user/corp/alice@example.com"], True)
    ]
    assert document["notes"] == [
        "1 recorded alias that no manifest declares was not looked for; the next apply deletes it"
    ]
    applied.write("more.yaml", as_yaml({"groups": [{"name": "New", "provider": "corp", "members": []}]}))
    assert told(applied, "--of", "desired", "--target", "New") == {"group/corp/New": "missing"}


# -- pending ---------------------------------------------------------------------------------------


def test_what_was_just_accepted_is_pending(folder: Folder) -> None:
    with start(delay=100) as remote:
        folder.at(remote).write("all.yaml", as_yaml(MANIFEST))
        folder.ok("apply", "--auto-approve")
        assert set(told(folder, code=0).values()) == {"pending"}
        out = folder.ok("drift").out
        assert "and nobody has seen it arrive yet" in out
        assert out.endswith("0 drifted, 0 missing, 7 pending.\n")
        # Identities wait for the refresh of their provider, however long ago they were accepted.
        late = told(folder, "--settle", "0")
        assert {address.split("/")[0] for address, status in late.items() if status == "missing"} == {"item"}
        remote.flush()
        assert told(folder, "--settle", "0", code=0) == {}


def test_a_deletion_that_was_just_accepted_is_pending(folder: Folder) -> None:
    with start() as remote:
        settle(folder.at(remote), MANIFEST)
        folder.write("all.yaml", as_yaml({**MANIFEST, "items": MANIFEST["items"][:2]}))
        folder.ok("apply", "--auto-approve", "--allow", "emptied")
        by_hand(remote, lambda hand: hand.put_item(OPEN, SHARED_ID, permissions=[]))
        assert told(folder, code=0) == {f"item/blog/{OPEN}": "pending"}
        assert told(folder, "--settle", "0") == {f"item/blog/{OPEN}": "still-there"}


def test_what_was_seen_to_arrive_is_never_pending(applied: Folder, hand: Hand) -> None:
    hand.delete_item(A)
    assert told(applied, "--settle", "1000000") == {f"item/handbook/{A}": "missing"}


# -- sending again ---------------------------------------------------------------------------------


def test_what_drifted_is_sent_again(applied: Folder, hand: Hand) -> None:
    hand.put_item(A, title="A2")
    hand.delete_item(B)
    hand.put_group("Staff", "mallory")
    drifted = told(applied)
    assert set(drifted) == {f"item/handbook/{A}", f"item/handbook/{B}", "group/corp/Staff"}
    applied.ok("plan", "--exit-code")
    assert report(applied, "--resend")["resent"] == 3
    plan = applied.ok("plan", "--exit-code", code=3).out
    assert "3 to update" in plan
    assert f"{B} (drifted: the remote is not as recorded)" in plan
    assert {change["reason"] for change in applied.ok("plan", "--format", "json").json["changes"]} == {"drifted"}
    again = report(applied, "--resend")
    assert (again["resent"], [entry["resend"] for entry in again["resources"]]) == (0, [True, True, True])
    applied.ok("apply", "--auto-approve")
    applied.ok("verify")
    assert told(applied, code=0) == {}
    applied.ok("plan", "--exit-code")


def test_an_apply_that_reads_first(applied: Folder, hand: Hand) -> None:
    nothing = applied.ok("apply", "--auto-approve", "--refresh")
    assert nothing.err.startswith("compared with the remote: 7 resources, 0 drifted and planned again\n")
    hand.delete_item(B)
    hand.put_group("Staff", "mallory")
    assert "No changes." in applied.ok("apply", "--auto-approve").out
    ran = applied.ok("apply", "--auto-approve", "--refresh")
    assert ran.err.startswith("compared with the remote: 7 resources, 2 drifted and planned again\n")
    assert f"{B} (drifted: the remote is not as recorded)" in ran.out
    applied.ok("verify")
    assert told(applied, code=0) == {}


def test_a_saved_plan_reads_nothing(applied: Folder) -> None:
    applied.ok("plan", "--out", str(applied.root / "plan.json"))
    ran = applied.ok("apply", str(applied.root / "plan.json"), "--refresh", code=2)
    assert "error[plan-is-fixed]" in ran.err


# -- large sources, and what stands in the way -----------------------------------------------------


def test_a_large_source(folder: Folder, remote: Remote, hand: Hand) -> None:
    uris = [f"https://example.com/{number:04}" for number in range(1100)]
    items = [{"uri": uri, "title": "T", "source": "blog"} for uri in uris]
    folder.at(remote).write("items.yaml", as_yaml({"items": items}))
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")
    assert report(folder, code=0)["total"] == 1100
    hand.delete_item(uris[1050], SHARED_ID)
    for number in range(450):
        hand.put_item(f"https://example.com/foreign/{number:03}", SHARED_ID, permissions=[])
    document = report(folder)
    assert [(entry["address"], entry["status"]) for entry in document["resources"]] == [
        (f"item/blog/{uris[1050]}", "missing")
    ]
    assert [(entry["count"], len(entry["examples"])) for entry in document["foreign"]] == [(450, 100)]


@pytest.mark.parametrize("privileges", [{EXECUTE_QUERY}, READ_IDENTITIES, {SOURCE_VIEW}])
def test_a_key_that_may_not_read(folder: Folder, privileges: frozenset[str]) -> None:
    with start(api_key="", keys={KEY: ALL_PRIVILEGES - privileges}) as remote:
        folder.at(remote).write("all.yaml", as_yaml(MANIFEST))
        folder.ok("apply", "--auto-approve")
        ran = folder.ok("drift", code=4)
    assert ran.out == ""
    assert "fix: give the API key the privileges: Search - Execute queries" in ran.err


def test_a_key_that_a_search_hides_things_from(folder: Folder) -> None:
    """What such a key does not see is not taken for deleted."""
    with start(keys={"blind": ALL_PRIVILEGES - {VIEW_ALL_CONTENT}}) as remote:
        settle(folder.at(remote), MANIFEST)
        by_hand(remote, lambda hand: hand.delete_item(B))
        ran = folder.run("drift", "--format", "json", key="blind")
        assert ran.code == 3
        SCHEMA.validate(ran.json)
        assert {entry["address"]: entry["status"] for entry in ran.json["resources"]} == {
            f"item/handbook/{A}": "hidden",
            f"item/handbook/{B}": "missing",
        }
        assert ran.json["notes"] == [
            "source handbook: a search shows 0 of 1 items; the key may lack the privilege Search - View all content, "
            "or the index is behind"
        ]


def test_a_key_that_may_not_read_fields(folder: Folder) -> None:
    with start(api_key="", keys={KEY: ALL_PRIVILEGES - {FIELD_VIEW}}) as remote:
        folder.at(remote).write("all.yaml", as_yaml(MANIFEST))
        folder.ok("apply", "--auto-approve")
        document = report(folder, code=0)
    assert document["not_visible"] == {
        "bodies": 1,
        "metadata": 3,
        "titles_and_uris": 4,
        "parents_and_extensions": 0,
        "permissions": 1,
    }
    assert document["notes"][0].startswith("the fields cannot be read, so metadata was not compared: ")


def test_an_unreachable_remote(folder: Folder) -> None:
    with start() as remote:
        settle(folder.at(remote), MANIFEST)
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("organization:", "retryFor: 1, organization:"))
    ran = folder.run("drift")
    assert (ran.code, ran.out) == (4, "")
    assert "error[remote-unreachable]" in ran.err
