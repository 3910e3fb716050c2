"""Each row of the table of errors (push-api.md 6 and 9), and the storage's refusals (8)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.emulator.options import Doubts
from tests.emulator.conftest import KEY, ORGANIZATION, PROVIDER, SOURCE, Remote, Start

Q = {"documentId": "http://a"}


def check(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert set(answer.json()) == {"errorCode", "message"}


@pytest.mark.parametrize("header", ["", "   "])
def test_401_unauthorized(remote: Remote, header: str) -> None:
    check(remote.client.put(remote.documents, headers={"Authorization": header}), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("header", ["Bearer nobody", f"Basic {KEY}", "Bearer", KEY])
def test_401_invalid_token(remote: Remote, header: str) -> None:
    check(remote.client.put(remote.documents, headers={"Authorization": header}), 401, "INVALID_TOKEN")


def test_403_access_denied(start: Start) -> None:
    """A key made by hand for sources alone cannot ask for containers (push-api.md 7, 20)."""
    remote = start(keys={"mine": frozenset({"SOURCE_EDIT"})})
    headers = {"Authorization": "Bearer mine"}
    check(remote.client.post(f"{remote.base}/files", headers=headers), 403, "ACCESS_DENIED")
    assert remote.client.put(remote.documents, params=Q, json={}, headers=headers).status_code == 202


def test_404_organization_not_found(remote: Remote) -> None:
    answer = remote.client.post("/push/v1/organizations/nope/files")
    check(answer, 404, "ORGANIZATION_NOT_FOUND")
    assert answer.json()["message"] == "Organization 'nope' does not exist."


def test_400_organization_is_paused(start: Start) -> None:
    remote = start(paused=frozenset({ORGANIZATION}))
    check(remote.client.post(f"{remote.base}/files"), 400, "ORGANIZATION_IS_PAUSED")


@pytest.mark.parametrize(
    ("verb", "path"), [("PUT", "documents"), ("DELETE", "documents"), ("PUT", "documents/batch"), ("POST", "status")]
)
def test_412_source_does_not_exist(remote: Remote, verb: str, path: str) -> None:
    query = {**Q, "fileId": "f", "statusType": "IDLE"}
    answer = remote.client.request(verb, f"{remote.base}/sources/nope/{path}", params=query)
    check(answer, 412, "SOURCE_DOES_NOT_EXIST")


def test_412_unknown_provider_is_a_setting(start: Start) -> None:
    body = {"identity": {"name": "G", "type": "GROUP"}}
    strict, lenient = start(), start(doubts=Doubts(unknown_provider="accept"))
    path = f"{strict.base}/providers/nope/permissions"
    check(strict.client.put(path, json=body), 412, "PROVIDER_DOES_NOT_EXIST")
    assert lenient.client.put(path, json=body).status_code == 202


@pytest.mark.parametrize(
    ("verb", "path", "name"),
    [
        ("PUT", "sources/{source}/documents", "documentId"),
        ("DELETE", "sources/{source}/documents", "documentId"),
        ("PUT", "sources/{source}/documents/batch", "fileId"),
        ("DELETE", "sources/{source}/documents/olderthan", "orderingId"),
        ("POST", "sources/{source}/status", "statusType"),
        ("PUT", "providers/{provider}/permissions/batch", "fileId"),
        ("DELETE", "providers/{provider}/permissions/olderthan", "orderingId"),
        ("PUT", "providers/{provider}/permissions", "body"),
        ("PUT", "providers/{provider}/mappings", "body"),
        ("DELETE", "providers/{provider}/permissions", "body"),
    ],
)
def test_412_missing_parameter(remote: Remote, verb: str, path: str, name: str) -> None:
    where = f"{remote.base}/{path.format(source=SOURCE, provider=PROVIDER)}"
    answer = remote.client.request(verb, where)
    check(answer, 412, "MISSING_PARAMETER")
    assert answer.json()["message"] == f"Parameter '{name}' is missing."


@pytest.mark.parametrize(
    ("verb", "path", "query"),
    [
        ("PUT", "documents", {**Q, "orderingId": "abc"}),
        ("PUT", "documents", {**Q, "orderingId": "-1"}),
        ("PUT", "documents", {**Q, "orderingId": str(2**64)}),
        ("PUT", "documents", {**Q, "compressionType": "ZIP"}),
        ("DELETE", "documents", {**Q, "deleteChildren": "maybe"}),
        ("DELETE", "documents/olderthan", {"orderingId": "1", "queueDelay": "-1"}),
        ("POST", "status", {"statusType": "RESCAN"}),
    ],
)
def test_412_invalid_parameter(remote: Remote, verb: str, path: str, query: dict[str, str]) -> None:
    answer = remote.client.request(verb, f"{remote.base}/sources/{SOURCE}/{path}", params=query)
    check(answer, 412, "INVALID_PARAMETER")


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "nonsense",
        b"\xff\xfe",
        '{"a": NaN}',
        '{"data": "x", "data": "y"}',
        '{"data": "x", "Data": "y"}',
        '{"title": "x", "TITLE": "y"}',
        '{"meta": {"a": 1}}',
        '{"meta": [[1]]}',
        '{"meta": [{"a": 1}]}',
        '{"data": 5}',
        '{"data": "x", "compressedBinaryData": "eA=="}',
        '{"permissions": {}}',
        '{"permissions": ["x"]}',
        '{"permissions": [{"allowedPermissions": {"identity": "x"}}]}',
        '{"permissions": [{"allowAnonymous": "yes"}]}',
        '{"title": "\\ud800"}',
        "[" * 5000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_400_invalid_json(remote: Remote, body: str | bytes) -> None:
    answer = remote.client.put(remote.documents, params=Q, content=body, headers={"Content-Type": "application/json"})
    check(answer, 400, "INVALID_JSON")
    assert remote.items() == {}


@pytest.mark.parametrize(
    "body",
    [{}, {"identity": {}}, {"identity": {"name": "x", "type": "ROBOT"}}, {"identity": {"name": "x"}, "members": {}}],
)
def test_400_invalid_json_of_an_identity(remote: Remote, body: Any) -> None:
    check(remote.client.put(remote.identities, json=body), 400, "INVALID_JSON")


def test_413_is_plain_text(remote: Remote) -> None:
    answer = remote.client.put(remote.documents, params=Q, json={"data": "x" * (6 * 1024 * 1024)})
    assert (answer.status_code, answer.text) == (413, "Request Entity Too Large")


def test_415_unsupported_media_type(remote: Remote) -> None:
    answer = remote.client.put(remote.documents, params=Q, content="{}", headers={"Content-Type": "text/plain"})
    check(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("body", [None, "", "{}"])
def test_calls_without_a_body_take_an_empty_one(remote: Remote, body: str | None) -> None:
    """No content type is asked of it either (push-api.md 1.2)."""
    assert remote.client.post(f"{remote.base}/files", content=body).status_code == 201
    status = remote.client.post(f"{remote.base}/sources/{SOURCE}/status?statusType=REBUILD", content=body)
    assert status.status_code == 201
    older = remote.client.request("DELETE", f"{remote.documents}/olderthan?orderingId=1", content=body)
    assert older.status_code == 202


@pytest.mark.parametrize("query", [{"documentId": "http://a"}, {"documentId": "http://b"}])
def test_the_body_may_repeat_the_document_id(remote: Remote, query: dict[str, str]) -> None:
    answer = remote.client.put(remote.documents, params=query, json={"documentId": "http://a"})
    assert answer.status_code == (202 if query["documentId"] == "http://a" else 412)


def test_an_unknown_path_is_logged(remote: Remote) -> None:
    check(remote.client.get("/push/v1/nonsense"), 404, "NOT_FOUND")
    check(remote.client.get(remote.documents), 405, "METHOD_NOT_ALLOWED")
    statuses = [entry["status"] for entry in remote.client.get("/_emulator/requests").json()["requests"]]
    assert statuses == [404, 405]


class TestStorage:
    """What an upload must be like (push-api.md 8)."""

    def container(self, remote: Remote, **changes: Any) -> tuple[str, dict[str, str]]:
        found = remote.client.post(f"{remote.base}/files").json()
        return found["uploadUri"], {**found["requiredHeaders"], **changes}

    def send(self, remote: Remote, uri: str, headers: dict[str, str], method: str = "PUT", **rest: Any) -> Any:
        request = remote.client.build_request(method, uri, headers=headers, **{"content": b"{}", **rest})
        if "Authorization" not in headers:
            del request.headers["authorization"]
        return remote.client.send(request)

    def test_success_is_200_and_empty(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        answer = self.send(remote, uri, headers)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["etag"]
        assert self.send(remote, uri, headers).status_code == 200, "an upload may be repeated"

    def test_required_headers_must_be_there(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        for name in headers:
            answer = self.send(remote, uri, {key: value for key, value in headers.items() if key != name})
            assert answer.status_code == 403
            assert "<Code>AccessDenied</Code>" in answer.text
        assert self.send(remote, uri, {**headers, "Content-Type": "application/json"}).status_code == 403

    def test_required_headers_are_a_setting(self, start: Start) -> None:
        remote = start(doubts=Doubts(required_headers=(("x-ms-blob-type", "BlockBlob"),)))
        uri, headers = self.container(remote)
        assert headers == {"x-ms-blob-type": "BlockBlob"}
        assert self.send(remote, uri, headers).status_code == 200

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_another_method(self, remote: Remote, method: str) -> None:
        uri, headers = self.container(remote)
        answer = self.send(remote, uri, headers, method)
        assert answer.status_code == 403
        assert "SignatureDoesNotMatch" in answer.text

    def test_another_query_or_path(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        for changed in (f"{uri}&x=1", uri.replace("Expires=3600", "Expires=9999"), uri[:-1], uri.partition("?")[0]):
            answer = self.send(remote, changed, headers)
            assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)

    def test_expired(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        remote.clock.advance(3600)
        answer = self.send(remote, uri, headers)
        assert answer.status_code == 403
        assert "Request has expired" in answer.text

    def test_a_second_authorization(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        answer = self.send(remote, uri, {**headers, "Authorization": f"Bearer {KEY}"})
        assert (answer.status_code, "InvalidArgument" in answer.text) == (400, True)

    def test_no_content_length(self, remote: Remote) -> None:
        uri, headers = self.container(remote)
        answer = self.send(remote, uri, headers, content=iter([b"{}"]))
        assert (answer.status_code, "MissingContentLength" in answer.text) == (411, True)
