"""Questions that the documents leave open, each answered in every way that a setting offers (push-api.md 11)."""

from __future__ import annotations

import orjson
import pytest

from reconciler.emulator.options import Doubts, ProviderOptions
from tests.emulator.conftest import EMAIL, ORGANIZATION, PROVIDER, Remote, Start

ALICE = {"identity": "alice@example.com", "identityType": "User"}


def batch(remote: Remote, content: object, **query: int) -> int:
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    answer = remote.client.put(f"{remote.shared}/batch", params={"fileId": remote.upload(raw), **query})
    return answer.status_code


@pytest.mark.parametrize(("answer", "left"), [("writes first", []), ("deletes first", ["http://a"])])
def test_the_order_of_a_batchs_lists(start: Start, answer: str, left: list[str]) -> None:
    """push-api.md 3.3: one document id in both lists."""
    remote = start(doubts=Doubts(batch_order=answer))
    many = [{"documentId": f"http://x/{number}"} for number in range(1500)]
    content = {"addOrUpdate": [*many, {"documentId": "http://a"}], "delete": [*many, {"documentId": "http://a"}]}
    assert batch(remote, content, orderingId=7) == 202
    held = list(remote.items("shared"))
    assert [uri for uri in held if not uri.startswith("http://x/")] == left
    assert len(held) == len(left) * 1501


@pytest.mark.parametrize(("answer", "ordering", "kept"), [("ignore", 50, "old"), ("honour", 20, "old")])
def test_an_ordering_id_in_a_batchs_item(start: Start, answer: str, ordering: int, kept: str) -> None:
    """push-api.md 2.1, 3.1: `orderingId` is a reserved key."""
    remote = start(doubts=Doubts(item_ordering_id=answer))
    content = {"addOrUpdate": [{"documentId": "http://a", "title": kept, "orderingId": 20}]}
    assert batch(remote, content, orderingId=50) == 202
    found = remote.items("shared")["http://a"]
    assert (found["orderingId"], found["metadata"]["title"]) == (ordering, kept)


def test_an_ordering_id_in_a_single_items_body_yields_to_the_query(start: Start) -> None:
    remote = start(doubts=Doubts(item_ordering_id="honour"))
    remote.put("http://a", {"orderingId": 20}, remote.shared, orderingId=30)
    remote.put("http://b", {"orderingId": 20}, remote.shared)
    remote.put("http://c", {"orderingId": "20"}, remote.shared)
    orderings = {uri: item["orderingId"] for uri, item in remote.items("shared").items()}
    assert orderings == {"http://a": 30, "http://b": 20, "http://c": int(remote.clock.now() * 1000)}


@pytest.mark.parametrize(("answer", "status", "logged"), [("log", 202, 1), ("refuse", 400, 0)])
def test_a_batch_that_is_no_json(start: Start, answer: str, status: int, logged: int) -> None:
    remote = start(doubts=Doubts(bad_batch=answer))
    assert batch(remote, b"[") == status
    assert batch(remote, {"addOrUpdate": []}) == 202
    assert len(remote.logs(results=["ERROR"])) == logged


@pytest.mark.parametrize(("answer", "left"), [("prefix", ["http://b"]), ("prefix and parent", [])])
def test_children_by_parent(start: Start, answer: str, left: list[str]) -> None:
    """push-api.md 2.1: whether items elsewhere go with their parent."""
    remote = start(doubts=Doubts(children=answer))
    for uri in ("http://a", "http://a/below", "http://b"):
        remote.put(uri, {"parentId": "http://a"}, remote.shared)
    remote.client.delete(remote.shared, params={"documentId": "http://a", "deleteChildren": "true"})
    assert list(remote.items("shared")) == left


@pytest.mark.parametrize(("answer", "count"), [("reject", 1), ("accept", 2)])
def test_content_above_five_megabytes(start: Start, answer: str, count: int) -> None:
    remote = start(doubts=Doubts(inline_content=answer))
    most = 5 * 1024 * 1024
    remote.put("http://a", {"data": "é" * (most // 2)}, remote.shared)
    remote.put("http://b", {"data": "é" * (most // 2) + "x"}, remote.shared)
    assert len(remote.items("shared")) == count
    assert len(remote.logs(results=["REJECTED"])) == 2 - count


@pytest.mark.parametrize(("answer", "count"), [("levels", 1), ("refuse", 0)])
def test_sets_beside_levels(start: Start, answer: str, count: int) -> None:
    remote = start(doubts=Doubts(mixed_permissions=answer))
    one = {"allowedPermissions": [ALICE]}
    remote.put("http://a", {"permissions": [{"name": "L", "permissionSets": [one]}, one]})
    assert len(remote.items()) == count
    remote.put("http://b", {"permissions": [one, one]})
    remote.put("http://c", {"permissions": [{"permissionSets": [one]}, {"permissionSets": [one]}]})
    assert len(remote.items()) == count + 2


@pytest.mark.parametrize(("answer", "sees"), [("denied", False), ("allowed", True)])
def test_denied_by_a_set_for_everybody(start: Start, answer: str, sees: bool) -> None:
    remote = start(doubts=Doubts(denied_in_public_set=answer))
    denied = [{**ALICE, "securityProvider": EMAIL}]
    remote.put("http://a", {"permissions": [{"allowAnonymous": True, "deniedPermissions": denied}]})
    asked = {"organization": ORGANIZATION, "provider": EMAIL, "name": "alice@example.com"}
    seen = remote.client.get("/_emulator/visible", params=asked).json()["items"]
    assert bool(seen) is sees
    assert remote.client.get("/_emulator/visible").json()["items"]


def mapping(remote: Remote, *mappings: dict[str, str], provider: str = PROVIDER) -> int:
    body = {"identity": {"name": "jdoe", "type": "USER"}, "mappings": mappings}
    return remote.client.put(f"{remote.base}/providers/{provider}/mappings", json=body).status_code


@pytest.mark.parametrize(("answer", "status"), [("unresolved", 202), ("refuse", 400)])
def test_an_alias_where_the_provider_does_not_lead(start: Start, answer: str, status: int) -> None:
    """push-api.md 7 (18): nothing resolves unless the provider cascades to the mapped one."""
    remote = start(doubts=Doubts(uncascaded_alias=answer))
    remote.put("http://a", {"permissions": [{"allowedPermissions": [{**ALICE, "identity": "jdoe"}]}]})
    assert mapping(remote, {"name": "John", "type": "USER", "provider": "exact"}) == status
    john = {"provider": "exact", "name": "John"}
    assert remote.client.get("/_emulator/visible", params=john).json()["items"] == []
    assert mapping(remote, {"name": "john@example.com", "type": "USER", "provider": EMAIL}) == 202
    john = {"provider": EMAIL, "name": "john@example.com"}
    assert len(remote.client.get("/_emulator/visible", params=john).json()["items"]) == 1


def test_a_batch_cannot_leave_open_where_an_alias_is(remote: Remote) -> None:
    """push-api.md 3.5: with several cascades each mapping names its provider."""
    entry = {"identity": {"name": "jdoe", "type": "USER"}, "mappings": [{"name": "j@example.com", "type": "USER"}]}
    file = remote.upload(orjson.dumps({"mappings": [entry]}))
    path = f"{remote.base}/providers/exact/permissions/batch"
    assert remote.client.put(path, params={"fileId": file}).status_code == 202
    assert remote.state()["identities"]["exact"] == []
    assert [entry[1] for entry in remote.logs()] == ["REJECTED", "COMPLETED"]


@pytest.mark.parametrize(("answer", "count"), [("remove", 0), ("keep", 1)])
def test_an_alias_without_mappings(start: Start, answer: str, count: int) -> None:
    remote = start(doubts=Doubts(empty_mappings=answer))
    mapping(remote, {"name": "john@example.com", "type": "USER"})
    mapping(remote)
    (found,) = remote.state()["identities"][PROVIDER]
    assert len(found["mappings"]) == count


@pytest.mark.parametrize(("answer", "disabled"), [("enabled", False), ("disabled", True)])
def test_a_deleted_identity_that_is_pushed_again(start: Start, answer: str, disabled: bool) -> None:
    remote = start(doubts=Doubts(repushed_identity=answer))
    body = {"identity": {"name": "G", "type": "GROUP"}, "members": []}
    for method in ("PUT", "DELETE", "PUT"):
        assert remote.client.request(method, remote.identities, json=body).status_code == 202
    (found,) = remote.state()["identities"][PROVIDER]
    assert found["disabled"] is disabled


def test_names_are_spelled_as_their_own_organization_spells_them(start: Start) -> None:
    """What an identity sees is asked of the organization's own providers, not of another's."""
    remote = start(providers=(ProviderOptions(PROVIDER),))
    path = f"/rest/organizations/other/securityproviders/{PROVIDER}"
    model = remote.client.get(path).json()
    assert remote.client.put(path, json={**model, "caseSensitive": True}).status_code == 200
    remote.put("http://a", {"permissions": [{"allowedPermissions": [{**ALICE, "identity": "Bob"}]}]},
               "/push/v1/organizations/other/sources/mysourceidg3c5d1r2/documents")  # fmt: skip
    for name, count in (("Bob", 1), ("bob", 0)):
        asked = {"organization": "other", "provider": PROVIDER, "name": name}
        assert len(remote.client.get("/_emulator/visible", params=asked).json()["items"]) == count


def test_a_container_of_another_organization_is_none(remote: Remote) -> None:
    file = remote.upload(b'{"addOrUpdate": [{"documentId": "http://a"}]}')
    other = "/push/v1/organizations/other/sources/shared/documents"
    assert remote.client.put(f"{other}/batch", params={"fileId": file}).status_code == 202
    large = {"compressedBinaryDataFileId": file, "compressionType": "UNCOMPRESSED"}
    assert remote.client.put(other, params={"documentId": "http://b"}, json=large).status_code == 202
    found = remote.client.get("/_emulator/state").json()["organizations"]["other"]["sources"]["shared"]
    assert found["items"] == []
    assert remote.client.put(f"{remote.shared}/batch", params={"fileId": file}).status_code == 202
    assert list(remote.items("shared")) == ["http://a"]


def test_what_was_deleted_before_it_came_does_not_come_late(remote: Remote) -> None:
    """push-api.md 9: a deletion is remembered, that of an identity as that of an item."""
    body = {"identity": {"name": "G", "type": "GROUP"}, "members": []}
    for method, ordering in (("DELETE", 100), ("PUT", 50)):
        assert remote.client.request(method, remote.identities, json=body, params={"orderingId": ordering}).is_success
    assert remote.state()["identities"][PROVIDER] == []
    assert remote.client.put(remote.identities, json=body, params={"orderingId": 101}).status_code == 202
    assert len(remote.state()["identities"][PROVIDER]) == 1


def test_a_late_older_call_leaves_what_a_newer_one_granted(remote: Remote) -> None:
    """push-api.md 5.3, 5.4: `wellKnowns` are shared by two calls, and the higher ordering id counts."""
    who = {"name": "A", "type": "USER"}
    everyone = [{"name": "Everyone", "type": "GROUP"}]
    newer, older = {"identity": who, "wellKnowns": everyone}, {"identity": who, "mappings": [who]}
    assert remote.client.put(remote.identities, json=newer, params={"orderingId": 9}).status_code == 202
    assert remote.client.put(remote.mappings, json=older, params={"orderingId": 8}).status_code == 202
    (found,) = remote.state()["identities"][PROVIDER]
    assert (len(found["wellKnowns"]), len(found["mappings"])) == (1, 1)
