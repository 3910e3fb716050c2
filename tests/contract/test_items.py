"""Items and file containers: each row of push-api.md 2.1 and 2.2."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.emulator.options import Doubts
from tests.contract.conftest import PUBLIC, Api


@pytest.mark.row("2.1 add/update one")
@pytest.mark.parametrize("base", ["/push/v1", "/v1"])
def test_add_or_update_one(api: Api, base: str) -> None:
    """The current hosts and the legacy one differ in the beginning of the path alone (push-api.md 1.1)."""
    api.replay(
        """
        PUT $base/organizations/$org/sources/$src/documents?documentId=file%3A%2F%2Ffolder%2Fmy-file.html
        Authorization: Bearer $key
        Content-Type: application/json
        Accept: application/json

        {
          "author": "Alice Smith",
          "date": "2017-11-08T12:18:41.666Z",
          "documenttype": "Text",
          "filename": "mytext.txt",
          "language": ["English"],
          "permanentid": "sample95829alice84720permanent93829id",
          "sourcetype": "Push",
          "title": "My Text File",
          "fileExtension": ".txt",
          "data": "This is a sample text file.",
          "permissions": [{"allowAnonymous": false,
            "allowedPermissions": [{"identity": "AlphaTeam", "identityType": "Group"}],
            "deniedPermissions": [{"identity": "bob@example.com", "identityType": "User"}]}]
        }
        ---
        202

        {}
        """,
        base=base,
    )
    (item,) = api.items().values()
    assert item["uri"] == "file://folder/my-file.html"
    assert item["metadata"]["language"] == ["English"]
    assert (item["fileExtension"], item["body"]["preview"]) == (".txt", "This is a sample text file.")
    assert item["permanentid"] == "sample95829alice84720permanent93829id"


@pytest.mark.row("2.1 add/update one")
def test_an_item_is_replaced_whole(api: Api) -> None:
    api.put("http://a", {"title": "One", "author": "Alice"})
    api.put("http://a", {"title": "Two"})
    assert api.items()["http://a"]["metadata"] == {"title": "Two"}


@pytest.mark.row("2.1 add/update one")
def test_an_ordering_id_that_is_not_higher_is_accepted_and_ignored(api: Api) -> None:
    for ordering, title in ((10, "first"), (10, "equal"), (9, "lower"), (11, "higher")):
        api.put("http://a", {"title": title}, orderingId=ordering)
    found = api.items()["http://a"]
    assert (found["metadata"]["title"], found["orderingId"]) == ("higher", 11)
    assert [result for _, result, _ in api.logs()] == ["COMPLETED", "SKIPPED", "SKIPPED", "COMPLETED"]


@pytest.mark.row("2.1 delete one")
def test_delete_one(api: Api) -> None:
    for uri in ("file://folder", "file://folder/a", "file://folder/sub/b", "file://folder2"):
        api.put(uri)
    api.replay(
        """
        DELETE /push/v1/organizations/$org/sources/$src/documents?documentId=file%3A%2F%2Ffolder
        Authorization: Bearer $key
        Accept: application/json
        ---
        202

        {}
        """
    )
    assert sorted(api.items()) == ["file://folder/a", "file://folder/sub/b", "file://folder2"]


@pytest.mark.row("2.1 delete one")
def test_delete_one_with_what_lies_below_it(api: Api) -> None:
    """Children are what begins with the uri and a slash, whoever their parent is (push-api.md 2.1)."""
    for uri in ("file://folder", "file://folder/a", "file://folder/sub/b", "file://folder2"):
        api.put(uri)
    api.put("file://elsewhere", {"parentId": "file://folder"})
    api.replay(
        """
        DELETE /push/v1/organizations/$org/sources/$src/documents?documentId=file%3A%2F%2Ffolder&deleteChildren=true
        Authorization: Bearer $key
        ---
        202

        {}
        """
    )
    assert sorted(api.items()) == ["file://elsewhere", "file://folder2"]


@pytest.mark.row("2.1 delete one")
def test_deleting_what_is_not_there_is_accepted(api: Api) -> None:
    assert api.call("DELETE", api.documents, documentId="http://never").status_code == 202
    assert api.logs() == [("DELETE", "SKIPPED", "http://never")]


@pytest.mark.row("2.1 delete old")
def test_delete_old_is_strict_and_waits(api: Api) -> None:
    for number in (9, 10, 11):
        api.put(f"http://{number}", orderingId=number)
    api.replay(
        """
        DELETE /push/v1/organizations/$org/sources/$src/documents/olderthan?orderingId=10
        Authorization: Bearer $key
        ---
        202

        {}
        """
    )
    api.advance(14 * 60)
    assert sorted(api.items()) == ["http://10", "http://11", "http://9"]
    api.advance(60)
    assert sorted(api.items()) == ["http://10", "http://11"]


@pytest.mark.row("2.1 delete old")
def test_delete_old_at_once(api: Api) -> None:
    api.put("http://9", orderingId=9)
    assert api.call("DELETE", f"{api.documents}/olderthan", orderingId=10, queueDelay=0).status_code == 202
    assert api.items() == {}


@pytest.mark.row("2.1 delete old")
def test_delete_old_refuses_what_is_pushed_with_a_lower_id(api: Api) -> None:
    """A value in the future poisons a source (push-api.md 5.4)."""
    future = 4_000_000_000_000
    assert api.call("DELETE", f"{api.documents}/olderthan", orderingId=future).status_code == 202
    api.put("http://a")
    assert api.items() == {}
    assert api.logs()[0] == ("ADD", "REJECTED", "http://a")


@pytest.mark.row("2.1 batch")
@pytest.mark.parametrize("pascal", [False, True])
def test_batch(api: Api, pascal: bool) -> None:
    api.put("http://gone")
    lists = {
        "addOrUpdate": [{"documentId": "http://a", "title": "A", "permissions": PUBLIC}],
        "delete": [{"documentId": "http://gone", "deleteChildren": False}],
    }
    content = {name[:1].upper() + name[1:]: value for name, value in lists.items()} if pascal else lists
    api.advance(1)
    file = api.container(json.dumps(content).encode())
    api.replay(
        """
        PUT /push/v1/organizations/$org/sources/$src/documents/batch?fileId=$file
        Authorization: Bearer $key
        Content-Type: application/json
        Accept: application/json
        ---
        202

        {}
        """,
        file=file,
    )
    assert list(api.items()) == ["http://a"]


@pytest.mark.row("2.1 batch")
def test_one_ordering_id_counts_for_a_whole_batch(api: Api) -> None:
    file = api.container(json.dumps({"addOrUpdate": [{"documentId": "http://a", "permissions": PUBLIC}]}).encode())
    assert api.call("PUT", f"{api.documents}/batch", fileId=file, orderingId=7).status_code == 202
    assert api.items()["http://a"]["orderingId"] == 7


@pytest.mark.row("2.1 batch")
def test_an_unknown_container_is_a_matter_of_the_logs(api: Api, start: Callable[..., Api]) -> None:
    """What the documents leave open is a setting (push-api.md 6)."""
    query = {"fileId": str(uuid.uuid4())}
    assert api.call("PUT", f"{api.documents}/batch", **query).status_code == 202
    assert api.logs() == [("BATCH_FILE", "ERROR", query["fileId"])]
    strict = start(doubts=Doubts(unknown_file="refuse"))
    assert strict.call("PUT", f"{strict.documents}/batch", **query).status_code == 412


@pytest.mark.row("2.1 file container")
@pytest.mark.row("2.2 requiredHeaders")
@pytest.mark.parametrize("body", ["", "{}"])
def test_file_container(api: Api, body: str) -> None:
    """No body is needed, and `{}` is none (push-api.md 1.2)."""
    api.replay(
        """
        POST /push/v1/organizations/$org/files
        Authorization: Bearer $key
        Content-Type: application/json

        $body
        ---
        201

        {
          "uploadUri": "*",
          "fileId": "*",
          "requiredHeaders": {
            "x-amz-server-side-encryption": "AES256",
            "Content-Type": "application/octet-stream"
          }
        }
        """,
        body=body,
    )


@pytest.mark.row("2.1 file container")
@pytest.mark.parametrize("style", ["true", "false"])
def test_either_style_of_address_can_be_uploaded_to(api: Api, style: str) -> None:
    """Where an emulator listens there are no virtual hosts, so the address is the same."""
    answer = api.call("POST", f"{api.root}/files", useVirtualHostedStyleUrl=style)
    assert answer.status_code == 201
    made = answer.json()
    assert api.client.put(made["uploadUri"], content=b"{}", headers=made["requiredHeaders"]).status_code == 200


@pytest.mark.row("2.1 upload")
@pytest.mark.row("2.2 uploadUri")
def test_upload(api: Api) -> None:
    made = api.call("POST", f"{api.root}/files").json()
    api.replay(
        """
        PUT $uri
        x-amz-server-side-encryption: AES256
        Content-Type: application/octet-stream

        {"addOrUpdate": [], "delete": []}
        ---
        200
        ETag: *
        """,
        uri=made["uploadUri"],
    )


@pytest.mark.row("2.1 upload")
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Content-Type": "application/json"}, 403, "AccessDenied"),
        ({"x-amz-server-side-encryption": ""}, 403, "AccessDenied"),
        ({"Authorization": "Bearer x"}, 400, "InvalidArgument"),
    ],
)
def test_an_upload_that_the_storage_refuses(api: Api, change: dict[str, str], status: int, code: str) -> None:
    """In the storage's own XML (push-api.md 8)."""
    made = api.call("POST", f"{api.root}/files").json()
    answer = api.client.put(made["uploadUri"], content=b"{}", headers={**made["requiredHeaders"], **change})
    assert answer.status_code == status
    assert f"<Error><Code>{code}</Code>" in answer.text


@pytest.mark.row("2.2 uploadUri")
def test_an_upload_address_lives_for_an_hour_and_is_kept_as_it_is(api: Api) -> None:
    made = api.call("POST", f"{api.root}/files").json()
    uri, headers = made["uploadUri"], made["requiredHeaders"]
    assert parse_qs(urlsplit(uri).query)["X-Amz-Expires"] == ["3600"]
    for changed in (f"{uri}&x=1", uri.replace("3600", "7200"), uri.partition("?")[0]):
        answer = api.client.put(changed, content=b"{}", headers=headers)
        assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    api.advance(3599)
    assert api.client.put(uri, content=b"{}", headers=headers).status_code == 200
    api.advance(1)
    assert api.client.put(uri, content=b"{}", headers=headers).status_code == 403


@pytest.mark.row("2.2 fileId")
def test_a_file_id_is_a_uuid_and_serves_one_batch(api: Api) -> None:
    file = api.container(json.dumps({"addOrUpdate": [{"documentId": "http://a", "permissions": PUBLIC}]}).encode())
    assert str(uuid.UUID(file)) == file
    for _ in range(2):
        assert api.call("PUT", f"{api.documents}/batch", fileId=file).status_code == 202
        api.state()
    assert [(verb, result) for verb, result, _ in api.logs()] == [
        ("ADD", "COMPLETED"),
        ("BATCH_FILE", "COMPLETED"),
        ("BATCH_FILE", "ERROR"),
    ]


@pytest.mark.row("2.2 fileId")
def test_a_file_id_serves_an_item_with_raw_compressed_bytes(api: Api) -> None:
    api.put(
        "http://a.pdf", {"compressedBinaryDataFileId": api.container(zlib.compress(b"%PDF")), "fileExtension": ".pdf"}
    )
    assert api.items()["http://a.pdf"]["body"]["size"] == 4


@pytest.mark.row("2.2 requiredHeaders")
def test_other_storages_ask_for_other_headers(start: Callable[..., Api]) -> None:
    api = start(doubts=Doubts(required_headers=(("x-ms-blob-type", "BlockBlob"),)))
    made = api.call("POST", f"{api.root}/files").json()
    assert made["requiredHeaders"] == {"x-ms-blob-type": "BlockBlob"}
    assert api.client.put(made["uploadUri"], content=b"{}").status_code == 403
    assert api.client.put(made["uploadUri"], content=b"{}", headers=made["requiredHeaders"]).status_code == 200


@pytest.mark.row("2.1 source status")
@pytest.mark.parametrize(
    ("status", "label"),
    [("REBUILD", "REFRESHING"), ("REFRESH", "REFRESHING"), ("INCREMENTAL", "REFRESHING"), ("IDLE", "PUSH_READY")],
)
def test_source_status(api: Api, status: str, label: str) -> None:
    """It is a label: nothing is deleted or locked (push-api.md 5.5)."""
    api.put("http://a")
    api.replay(
        """
        POST /push/v1/organizations/$org/sources/$src/status?statusType=$status
        Authorization: Bearer $key
        Content-Type: application/json

        {}
        ---
        201

        {}
        """,
        status=status,
    )
    found = api.call("GET", f"{api.platform}/sources/{api.names['src']}").json()
    assert found["information"]["sourceStatus"]["type"] == label
    assert list(api.items()) == ["http://a"]
