"""The digest field of a source: what the index does not show is compared exactly, by `drift` and by `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.model.digestfield import item_digest
from tests.builders import CATALOG_ID, ORGANIZATION, PROJECT, SOURCE_ID, Folder, Remote, as_yaml, item
from tests.cli.test_drift import SCHEMA, STAFF_BUT_BOB, Hand

FIELD = "reconcilerdigest"
A, B = "https://example.com/a", "https://example.com/b"
STAFF = {"allowed": ["group:Staff"], "denied": ["user:bob@example.com"]}
ITEMS: list[dict[str, Any]] = [
    {"uri": A, "title": "A", "permissions": STAFF, "metadata": {"team": "red", "unseen": 1}, "body": {"text": "a"}},
    {"uri": B, "title": "B", "permissions": STAFF, "body": {"text": "b"}, "protect": True},
]
MANIFEST: dict[str, Any] = {
    "defaults": {"source": "handbook", "provider": "corp"},
    "items": ITEMS,
    "groups": [{"name": "Staff", "members": ["user:alice@example.com"]}],
    "users": [{"name": "bob@example.com"}, {"name": "carol@example.com"}],
}
WITH_DIGEST = PROJECT.replace("provider: corp}", f"provider: corp, digestField: {FIELD}}}") + "fields: create\n"
WITHOUT_DIGEST = PROJECT + "fields: create\n"
CATALOG = (
    WITH_DIGEST.replace(SOURCE_ID, CATALOG_ID)
    .replace("visibility: secured, provider: corp", "kind: catalog, visibility: shared, provider: corp")
    .replace("blog:", "unused:")
)


@pytest.fixture
def hand(remote: Remote) -> Iterator[Hand]:
    made = Hand(remote)
    with made.client:
        made.ask("POST", f"/rest/organizations/{ORGANIZATION}/indexes/fields/batch/create", [_string("team")])
        yield made


@pytest.fixture
def project(folder: Folder, remote: Remote) -> Folder:
    folder.write("reconciler.yaml", WITH_DIGEST)
    folder.write("all.yaml", as_yaml(MANIFEST))
    return folder.at(remote)


@pytest.fixture
def applied(project: Folder, hand: Hand) -> Folder:
    project.ok("apply", "--auto-approve")
    project.ok("verify")
    return project


def _string(name: str) -> dict[str, str]:
    return {"name": name, "type": "STRING"}


def rewrite(folder: Folder, remote: Remote, project: str) -> None:
    folder.write("reconciler.yaml", project)
    folder.at(remote)


def index_of(remote: Remote, source: str = SOURCE_ID) -> dict[str, dict[str, Any]]:
    return {uri: item["metadata"] for uri, item in remote.contents()["items"][source].items()}


def drift(folder: Folder, code: int, *options: str) -> Any:
    document = folder.ok("drift", "--no-foreign", "--format", "json", *options, code=code).json
    SCHEMA.validate(document)
    return document


def fields(document: Any) -> dict[str, list[str]]:
    return {entry["address"]: [part["field"] for part in entry["fields"]] for entry in document["resources"]}


def put_by_hand(hand: Hand, remote: Remote, uri: str, **changes: Any) -> None:
    """Push an item again as the index shows it, but for what is changed."""
    known = {key: value for key, value in index_of(remote)[uri].items() if key in ("team", "permanentid", "unseen")}
    body = {"title": uri[-1].upper(), **known, "data": uri[-1], "permissions": [STAFF_BUT_BOB], **changes}
    hand.push("PUT", f"sources/{SOURCE_ID}/documents", body, documentId=uri)


# -- what is pushed --------------------------------------------------------------------------------


def test_every_item_carries_a_digest_of_what_was_pushed(applied: Folder, remote: Remote) -> None:
    digests = {uri: metadata[FIELD] for uri, metadata in index_of(remote).items()}
    assert digests == {uri: digests[uri] for uri in (A, B)}
    assert len(set(digests.values())) == 2
    assert all(len(value) == 32 and set(value) <= set("0123456789abcdef") for value in digests.values())
    assert "No changes." in applied.ok("plan", "--exit-code").out


@pytest.mark.parametrize(
    "change",
    [
        {"body": {"text": "other"}},
        {"permissions": {**STAFF, "denied": ["user:bob@example.com", "user:carol@example.com"]}},
        {"metadata": {"team": "red", "unseen": 2}},
        {"title": "Other"},
        {"fileExtension": ".html"},
    ],
)
def test_whatever_is_pushed_is_in_the_digest(applied: Folder, remote: Remote, change: dict[str, Any]) -> None:
    before = index_of(remote)
    applied.write("all.yaml", as_yaml({**MANIFEST, "items": [{**ITEMS[0], **change}, ITEMS[1]]}))
    applied.ok("apply", "--auto-approve")
    after = index_of(remote)
    assert after[A][FIELD] != before[A][FIELD]
    assert after[B] == before[B]
    applied.ok("verify")
    assert drift(applied, 0)["exactness"] == [{"source": "handbook", "field": FIELD, "items": 2, "exact": 2}]


def test_protection_is_ours_alone(applied: Folder, remote: Remote) -> None:
    before = index_of(remote)
    applied.write("all.yaml", as_yaml({**MANIFEST, "items": [{**ITEMS[0], "protect": True}, ITEMS[1]]}))
    assert applied.ok("apply", "--auto-approve").out.endswith(" 0 calls.\n")
    assert index_of(remote) == before
    assert drift(applied, 0)["resources"] == []


def test_a_digest_is_the_same_in_every_version() -> None:
    """Another one would have every item of every project sent again."""
    resource = item(A, allowed=["group/corp/Staff"], title="A", protect=True)
    assert item_digest(resource) == "bd4d052b2b6b023cf11c0a6af6ed244b"


def test_a_catalog_item_whose_title_changes_takes_its_digest_along(folder: Folder, remote: Remote) -> None:
    """A partial update of one field sets the digest as well, or the item would be a stranger from then on."""
    rewrite(folder, remote, CATALOG)
    items = [{"uri": uri, "title": uri[-1], "metadata": {"objecttype": "Product"}} for uri in (A, B)]
    folder.write("all.yaml", as_yaml({"defaults": {"source": "handbook"}, "items": items}))
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")
    folder.write(
        "all.yaml", as_yaml({"defaults": {"source": "handbook"}, "items": [{**items[0], "title": "New"}, items[1]]})
    )
    assert "1 update in part" in folder.ok("plan").out
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")
    assert drift(folder, 0)["exactness"] == [{"source": "handbook", "field": FIELD, "items": 2, "exact": 2}]
    rewrite(folder, remote, CATALOG.replace(f", digestField: {FIELD}", ""))
    folder.ok("apply", "--auto-approve")
    assert all(metadata.get(FIELD) is None for metadata in index_of(remote, CATALOG_ID).values())


# -- turned on and off -----------------------------------------------------------------------------


def test_turning_it_on_sends_every_item_again_and_says_why(project: Folder, remote: Remote, hand: Hand) -> None:
    rewrite(project, remote, WITHOUT_DIGEST)
    project.ok("apply", "--auto-approve")
    rewrite(project, remote, WITH_DIGEST)
    project.write("all.yaml", as_yaml({**MANIFEST, "items": [{**ITEMS[0], "title": "New"}, ITEMS[1]]}))
    plan = project.ok("plan")
    note = (
        f'note[digest-field-changes]: in source "handbook" `digestField: {FIELD}` is new: 2 items are sent again, '
        "1 of them for nothing else"
    )
    assert note in plan.out + plan.err
    document = project.ok("plan", "--format", "json").json
    assert [entry["code"] for entry in document["problems"]] == ["digest-field-changes"]
    project.ok("apply", "--auto-approve")
    project.ok("verify")
    assert drift(project, 0)["exactness"][0]["exact"] == 2
    rewrite(project, remote, WITHOUT_DIGEST)
    plan = project.ok("plan")
    assert f"`digestField: {FIELD}` is gone: 2 items are sent again for nothing else" in plan.out + plan.err
    project.ok("apply", "--auto-approve")
    assert not any(FIELD in metadata for metadata in index_of(remote).values())
    assert drift(project, 0)["exactness"] == []


def test_a_new_item_is_told_without_it(project: Folder) -> None:
    assert "digestField" not in project.ok("plan").out


def test_a_key_that_the_digest_takes_is_refused(project: Folder) -> None:
    project.write("all.yaml", as_yaml({**MANIFEST, "items": [{**ITEMS[0], "metadata": {FIELD: "mine"}}]}))
    ran = project.ok("validate", code=1)
    assert f'"{FIELD}" cannot be a metadata key in source "handbook"' in ran.out + ran.err


@pytest.mark.parametrize("name", ["title", "permanentid", "data"])
def test_a_name_that_something_else_uses_is_refused(project: Folder, name: str) -> None:
    project.write("reconciler.yaml", WITH_DIGEST.replace(FIELD, name))
    ran = project.ok("validate", code=1)
    assert f'error[bad-digest-field]: "{name}" cannot be the digest field' in ran.out + ran.err


# -- drift -----------------------------------------------------------------------------------------


def test_a_body_changed_by_hand_is_found_only_with_the_field(project: Folder, remote: Remote, hand: Hand) -> None:
    rewrite(project, remote, WITHOUT_DIGEST)
    project.ok("apply", "--auto-approve")
    project.ok("verify")
    put_by_hand(hand, remote, A, data="changed by hand")
    assert drift(project, 0)["not_visible"]["bodies"] == 2

    rewrite(project, remote, WITH_DIGEST)
    project.ok("apply", "--auto-approve")
    project.ok("verify")
    put_by_hand(hand, remote, A, data="changed by hand")
    document = drift(project, 3)
    assert fields(document) == {f"item/handbook/{A}": ["digest"]}
    assert document["not_visible"] == dict.fromkeys(document["not_visible"], 0)
    what = document["resources"][0]["fields"][0]["what"]
    assert what.startswith(f'the digest in the field "{FIELD}" is gone, not "')
    assert what.endswith("the body, or something else that the index does not show, is not what was pushed")
    out = project.ok("drift", code=3).out
    assert f'source handbook: 2 items compared exactly, by the digest in the field "{FIELD}"\n' in out

    project.ok("drift", "--resend", code=3)
    project.ok("apply", "--auto-approve")
    project.ok("verify")
    assert drift(project, 0)["resources"] == []


def test_what_else_differs_is_named_beside_the_digest(applied: Folder, remote: Remote, hand: Hand) -> None:
    put_by_hand(hand, remote, A, title="By hand")
    document = drift(applied, 3)
    assert fields(document) == {f"item/handbook/{A}": ["title", "digest"]}
    assert "the body, or something else" not in document["resources"][0]["fields"][1]["what"]


def test_manifests_are_compared_exactly_as_well(applied: Folder) -> None:
    applied.write("all.yaml", as_yaml({**MANIFEST, "items": [{**ITEMS[0], "body": {"text": "new"}}, ITEMS[1]]}))
    document = drift(applied, 3, "--of", "desired")
    assert fields(document) == {f"item/handbook/{A}": ["digest"]}
    assert document["resources"][0]["unapplied"] is True


def test_without_a_field_that_shows_it_nothing_is_exact(project: Folder, remote: Remote, hand: Hand) -> None:
    rewrite(project, remote, WITH_DIGEST.replace("fields: create\n", ""))
    checked = project.ok("plan", "--check-fields")
    assert f'no field and no mapping takes metadata "{FIELD}" of source "handbook"' in checked.out + checked.err
    project.ok("apply", "--auto-approve")
    project.run("verify")
    document = drift(project, 0)
    assert document["exactness"] == [{"source": "handbook", "field": FIELD, "items": 2, "exact": 0}]
    assert document["not_visible"]["bodies"] == 2
    assert f'search results do not show the field "{FIELD}" as it was pushed' in project.ok("drift").out


def test_whoever_ignores_fields_is_told_that_digests_are_not_compared(project: Folder, remote: Remote) -> None:
    rewrite(project, remote, WITH_DIGEST.replace("fields: create", "fields: ignore"))
    project.ok("apply", "--auto-approve")
    note = "digests were not compared, since reconciler.yaml says `fields: ignore`"
    assert note in project.ok("verify").out
    assert note in drift(project, 0)["notes"]


def test_apply_creates_the_field_as_a_text(project: Folder, remote: Remote, hand: Hand) -> None:
    checked = project.ok("plan", "--check-fields")
    assert f'apply will create the field "{FIELD}" of type STRING' in checked.out + checked.err
    ran = project.ok("apply", "--auto-approve")
    assert f'"{FIELD}" (STRING)' in ran.err
    assert f'field "{FIELD}"' not in project.ok("plan", "--check-fields").out


# -- verify ----------------------------------------------------------------------------------------


def test_verify_sees_another_body_by_the_digest(project: Folder, remote: Remote, hand: Hand) -> None:
    project.ok("apply", "--auto-approve")
    put_by_hand(hand, remote, A, data="changed by hand")
    ran = project.ok("verify", "--timeout", "0", "--format", "json", code=1)
    (problem,) = ran.json["problems"]
    assert (problem["address"], problem["status"], problem["code"]) == (
        f"item/handbook/{A}",
        "different",
        "fields-differ",
    )
    assert problem["what"].startswith("the index shows other content than was pushed: the digest in the field")


# -- import ----------------------------------------------------------------------------------------


def test_what_is_imported_carries_no_digest_yet(applied: Folder, remote: Remote, tmp_path: Any) -> None:
    """What the remote shows may be anybody's, so nothing is recorded of a digest that nobody pushed."""
    fresh = Folder(tmp_path / "fresh", WITH_DIGEST).at(remote)
    fresh.ok("import", "--source", "handbook", "--provider", "corp", "--out", str(fresh.root / "imported"), "--state")
    written = (fresh.root / "imported" / "items-handbook.yaml").read_text()
    assert "team: red" in written
    assert FIELD not in written
    plan = fresh.ok("plan", "--format", "json").json
    assert [entry["code"] for entry in plan["problems"]] == ["digest-field-changes"]
    assert [entry["name"] for entry in plan["hazards"]] == ["unread-body"]
