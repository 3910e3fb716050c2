"""The example requests of the documents, sent as they stand there."""

from __future__ import annotations

import base64
import zlib

import pytest

from tests.emulator.conftest import EMAIL, KEY, ORGANIZATION, PROVIDER, SOURCE, Remote, Start

ITEM = """{ "author": "Alice Smith", "date": "2017-11-08T12:18:41.666Z", "documenttype": "Text",
"filename": "mytext.txt", "language": [ "English" ], "permanentid": "sample95829alice84720permanent93829id",
"sourcetype": "Push", "title": "My Text", "fileExtension": ".txt",
"data": "This is a sample text written by Alice Smith.", "permissions": [ { "allowAnonymous": false,
"allowedPermissions": [ { "identity": "AlphaTeam", "identityType": "Group" } ],
"deniedPermissions": [ { "identity": "bob@example.com", "identityType": "User" } ] } ] }"""
GROUP = """{ "identity": { "name": "AlphaTeam", "type": "GROUP" }, "members": [
{ "name": "alice@example.com", "type": "USER" }, { "name": "bob@example.com", "type": "USER" },
{ "name": "david@example.com", "type": "USER" } ] }"""
MAPPING = """{ "Identity": { "Name": "NAME", "Type": "USER" },
"Mappings": [ { "Name": "NAME", "Type": "USER", "Provider": "Email Security Provider" } ] }"""
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
PEOPLE = ("alice@example.com", "bob@example.com", "david@example.com")


def play_usage_example(remote: Remote) -> None:
    client = remote.client
    uri = f"{remote.documents}?documentId=file%3A%2F%2Ffolder%2Fmytext.txt"
    answers = [
        client.put(uri, content=ITEM, headers=JSON),
        client.put(remote.identities, content=GROUP, headers=JSON),
        *(client.put(remote.mappings, content=MAPPING.replace("NAME", name), headers=JSON) for name in PEOPLE),
    ]
    assert [answer.status_code for answer in answers] == [202] * 5
    assert all(answer.json() == {} for answer in answers)


def test_usage_example_shows_what_the_document_says(remote: Remote) -> None:
    """Alice and David see the item under both providers; Bob is denied in both (seed 001)."""
    play_usage_example(remote)

    query = {"source": SOURCE, "uri": "file://folder/mytext.txt"}
    found = remote.client.get("/_emulator/viewers", params=query).json()

    assert not found["anonymous"]
    assert {(user["identity"], user["securityProvider"], user["decision"]) for user in found["users"]} == {
        (name, provider, "DENIED" if name.startswith("bob") else "ALLOWED")
        for name in PEOPLE
        for provider in (EMAIL, PROVIDER)
    }
    result = remote.search('@uri=="file://folder/mytext.txt"')["results"][0]
    assert result["title"] == "My Text"
    assert result["raw"]["author"] == "Alice Smith"
    assert result["raw"]["date"] == 1510143521666
    assert result["raw"]["permanentid"] == "sample95829alice84720permanent93829id"
    assert remote.items()["file://folder/mytext.txt"]["body"]["size"] == 45


def test_pushing_secured_items_in_their_legacy_spelling(start: Start) -> None:
    """PascalCase keys, permission sets in a level, compressed content, the legacy path (seed 000)."""
    remote = start(prefix="/v1")
    content = base64.b64encode(zlib.compress(b"<html>hello</html>")).decode()
    body = {
        "FileExtension": ".html",
        "CompressedBinaryData": content,
        "Permissions": [
            {
                "PermissionSets": [
                    {
                        "AllowAnonymous": False,
                        "AllowedPermissions": [{"IdentityType": "User", "Identity": "allowed@coveo.com"}],
                        "DeniedPermissions": [{"IdentityType": "User", "Identity": "denied@coveo.com"}],
                    }
                ]
            }
        ],
    }
    remote.put("http://myitem", body)

    item = remote.items()["http://myitem"]
    (level,) = item["permissions"]
    assert level["permissionSets"][0]["allowedPermissions"] == [
        {
            "identity": "allowed@coveo.com",
            "identityType": "User",
            "securityProvider": PROVIDER,
            "additionalInfo": {},
        }
    ]
    assert item["body"]["preview"] == "<html>hello</html>"
    assert item["fileExtension"] == ".html"


def test_pushing_items_in_its_minimal_form(remote: Remote) -> None:
    """`documentId` may come undecoded, dates in the older form (seed 002)."""
    body = '{ "FileExtension":".txt", "Data": "This is the only content.", "date": "2016-01-11 21:23:14" }'
    answer = remote.client.put(f"{remote.shared}?documentId=http://myitem", content=body, headers=JSON)
    assert answer.status_code == 202
    (result,) = remote.search("@source==shared")["results"]
    assert (result["uri"], result["raw"]["date"]) == ("http://myitem", 1452547394000)


def test_pushing_large_items(remote: Remote) -> None:
    """The content goes to a container as raw compressed bytes, the item names it (seed 004)."""
    file = remote.upload(zlib.compress(b"large" * 1000))
    remote.put(
        "http://mydocument",
        {"FileExtension": ".html", "CompressedBinaryDataFileId": file},
        path=remote.shared,
    )
    assert remote.items("shared")["http://mydocument"]["body"]["size"] == 5000


def test_batch_of_both_lists(remote: Remote) -> None:
    """Adding and deleting in one batch (push-api.md 3.3)."""
    remote.put("http://old", {"data": "x"}, path=remote.shared)
    file = remote.upload(
        b'{"AddOrUpdate": [{"DocumentId": "http://new", "Data": "y"}], "Delete": [{"DocumentId": "http://old"}]}'
    )
    answer = remote.client.put(f"{remote.shared}/batch", params={"fileId": file})
    assert (answer.status_code, answer.json()) == (202, {})
    assert list(remote.items("shared")) == ["http://new"]


def test_identity_batch(remote: Remote) -> None:
    """Members, mappings and deletions in one file (push-api.md 3.5)."""
    remote.client.put(remote.identities, json={"identity": {"name": "Gone", "type": "GROUP"}})
    file = remote.upload(
        b'{"members": [{"identity": {"name": "Team", "type": "GROUP"},'
        b'"members": [{"name": "a@x.org", "type": "USER"}]}],'
        b'"mappings": [{"identity": {"name": "a@x.org", "type": "USER"},'
        b'"mappings": [{"name": "a@x.org", "type": "USER"}]}],'
        b'"deleted": [{"identity": {"name": "Gone", "type": "GROUP"}}]}'
    )
    answer = remote.client.put(f"{remote.identities}/batch", params={"fileId": file})
    assert answer.status_code == 202
    state = remote.state()
    found = {entry["name"]: entry for entry in state["identities"][PROVIDER]}
    assert found["Gone"]["disabled"] and not found["Team"]["disabled"]
    assert found["Team"]["members"][0]["name"] == "a@x.org"
    assert state["aliases"] == [
        {
            "provider": PROVIDER,
            "name": "a@x.org",
            "type": "USER",
            "additionalInfo": {},
            "mappings": [{"provider": EMAIL, "type": "USER", "name": "a@x.org", "additionalInfo": {}}],
        }
    ]


@pytest.mark.parametrize("prefix", ["/push/v1", "/v1"])
def test_requests_are_logged_without_the_key(start: Start, prefix: str) -> None:
    remote = start(prefix=prefix)
    play_usage_example(remote)
    text = remote.client.get("/_emulator/requests").text
    assert KEY not in text
    first = remote.client.get("/_emulator/requests").json()["requests"][0]
    assert first["method"] == "PUT"
    assert first["path"] == f"{prefix}/organizations/{ORGANIZATION}/sources/{SOURCE}/documents"
    assert first["query"] == [["documentId", "file://folder/mytext.txt"]]
    assert first["body"]["title"] == "My Text"
    assert (first["status"], first["container"]) == (202, None)


def test_a_batch_is_logged_with_its_container(remote: Remote) -> None:
    file = remote.upload(b'{"addOrUpdate": []}')
    remote.client.put(f"{remote.documents}/batch", params={"fileId": file})
    last = remote.client.get("/_emulator/requests").json()["requests"][-1]
    assert (last["body"], last["container"]) == (None, {"addOrUpdate": []})
