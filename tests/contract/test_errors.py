"""Errors: each row of push-api.md 6, and what a gateway answers in the place of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.emulator.quotas import Limits
from tests.contract.conftest import NAMES, PUBLIC, Api

ROOT = f"/push/v1/organizations/{NAMES['org']}"
SOURCE = f"{ROOT}/sources/{NAMES['src']}"
PROVIDER = f"{ROOT}/providers/{NAMES['prov']}"
ITEM = {"documentId": "http://a"}
FILE = {"fileId": "11111111-2222-3333-4444-555555555555"}

CALLS = [
    ("PUT", f"{SOURCE}/documents", ITEM),
    ("DELETE", f"{SOURCE}/documents", ITEM),
    ("DELETE", f"{SOURCE}/documents/olderthan", {"orderingId": "1"}),
    ("PUT", f"{SOURCE}/documents/batch", FILE),
    ("POST", f"{ROOT}/files", {}),
    ("POST", f"{SOURCE}/status", {"statusType": "IDLE"}),
    ("PUT", f"{PROVIDER}/permissions", {}),
    ("DELETE", f"{PROVIDER}/permissions", {}),
    ("PUT", f"{PROVIDER}/mappings", {}),
    ("PUT", f"{PROVIDER}/permissions/batch", FILE),
    ("DELETE", f"{PROVIDER}/permissions/olderthan", {"orderingId": "1"}),
]
"""Every call of the Push API, with the parameters that it needs."""

STREAM = f"{ROOT}/sources/{NAMES['catalog']}/stream"
STREAM_CALLS = [
    ("POST", f"{STREAM}/open", {}),
    ("POST", f"{STREAM}/some/chunk", {}),
    ("POST", f"{STREAM}/some/close", {}),
    ("PUT", f"{STREAM}/update", FILE),
    ("PUT", f"{STREAM}/merge", FILE),
    ("POST", f"{STREAM}/deleteolderthan/1", {}),
]
"""Every call of the Stream API."""

every_call = pytest.mark.parametrize(("method", "path", "query"), [*CALLS, *STREAM_CALLS])


def check(answer: Any, status: int, code: str, message: str | None = None) -> None:
    body = answer.json()
    assert (answer.status_code, body["errorCode"]) == (status, code), answer.text
    assert set(body) == {"errorCode", "message"}
    assert message in (None, body["message"])


@pytest.mark.row("6 400 INVALID_JSON")
@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '{"data": "x", "data": "y"}',
        '{"data": "x", "DATA": "y"}',
        '{"meta": {"sub": "object"}}',
        '{"meta": [["nested"]]}',
        '{"permissions": "everyone"}',
        '{"data": "x", "compressedBinaryData": "eA=="}',
    ],
)
def test_400_invalid_json_of_an_item(api: Api, body: str) -> None:
    answer = api.replay(
        """
        PUT /push/v1/organizations/$org/sources/$src/documents?documentId=http%3A%2F%2Fa
        Authorization: Bearer $key
        Content-Type: application/json

        $body
        ---
        400

        {"errorCode": "INVALID_JSON", "message": "*"}
        """,
        body=body,
    )
    assert answer.json()["message"].startswith("Invalid JSON.")
    assert api.logs() == []


@pytest.mark.row("6 400 INVALID_JSON")
@pytest.mark.parametrize("path", ["permissions", "mappings"])
@pytest.mark.parametrize(
    "body", ["{", "{}", '{"identity": {"type": "USER"}}', '{"identity": {"name": "a", "type": 1}}']
)
def test_400_invalid_json_of_an_identity(api: Api, path: str, body: str) -> None:
    api.replay(
        """
        PUT /push/v1/organizations/$org/providers/$prov/$path
        Authorization: Bearer $key
        Content-Type: application/json

        $body
        ---
        400

        {"errorCode": "INVALID_JSON", "message": "*"}
        """,
        path=path,
        body=body,
    )


@pytest.mark.row("6 400 ORGANIZATION_IS_PAUSED")
@every_call
def test_400_organization_is_paused(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    answer = api.call(method, path.replace(NAMES["org"], NAMES["paused"]), **query)
    check(answer, 400, "ORGANIZATION_IS_PAUSED")


@pytest.mark.row("6 401 UNAUTHORIZED")
@every_call
def test_401_unauthorized(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    check(api.client.request(method, path, params=query), 401, "UNAUTHORIZED")
    check(api.client.request(method, path, params=query, headers={"Authorization": ""}), 401, "UNAUTHORIZED")


@pytest.mark.row("6 401 INVALID_TOKEN")
@every_call
def test_401_invalid_token(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    answer = api.call(method, path, key="xx00000000-0000-0000-0000-000000000000", **query)
    check(answer, 401, "INVALID_TOKEN", "Token is invalid.")


@pytest.mark.row("6 403 ACCESS_DENIED")
@pytest.mark.parametrize(("method", "path", "query"), [call for call in CALLS if "/sources/" not in call[1]])
def test_403_access_denied(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    """A key for items alone (push-api.md 1.3, 7)."""
    check(api.call(method, path, key=NAMES["weak"], **query), 403, "ACCESS_DENIED")


@pytest.mark.row("6 403 ACCESS_DENIED")
def test_403_of_the_gateway_has_a_message_alone(start: Callable[..., Api]) -> None:
    api = start(faults=("POST files: 403 code=none x1",))
    answer = api.call("POST", f"{ROOT}/files")
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})
    assert api.call("POST", f"{ROOT}/files").status_code == 201


@pytest.mark.row("6 404 ORGANIZATION_NOT_FOUND")
@every_call
def test_404_organization_not_found(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    answer = api.call(method, path.replace(NAMES["org"], "nope"), **query)
    check(answer, 404, "ORGANIZATION_NOT_FOUND", "Organization 'nope' does not exist.")


@pytest.mark.row("6 412 SOURCE_DOES_NOT_EXIST")
@pytest.mark.parametrize(
    ("method", "path", "query"), [call for call in (*CALLS, *STREAM_CALLS) if "/sources/" in call[1]]
)
def test_412_source_does_not_exist(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    unknown = path.replace(NAMES["src"], "nope").replace(NAMES["catalog"], "nope")
    check(api.call(method, unknown, **query), 412, "SOURCE_DOES_NOT_EXIST")


@pytest.mark.row("6 412 MISSING_PARAMETER")
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        *((method, path, name) for method, path, query in (*CALLS, *STREAM_CALLS) for name in query),
        ("PUT", f"{PROVIDER}/permissions", "body"),
        ("DELETE", f"{PROVIDER}/permissions", "body"),
        ("PUT", f"{PROVIDER}/mappings", "body"),
    ],
)
def test_412_missing_parameter(api: Api, method: str, path: str, name: str) -> None:
    check(api.call(method, path), 412, "MISSING_PARAMETER", f"Parameter '{name}' is missing.")


@pytest.mark.row("6 412 MISSING_PARAMETER")
def test_412_missing_body_of_an_item(api: Api) -> None:
    check(api.call("PUT", f"{SOURCE}/documents", **ITEM), 412, "MISSING_PARAMETER", "Parameter 'body' is missing.")


@pytest.mark.row("6 412 INVALID_PARAMETER")
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        *(
            (method, path, {**query, "orderingId": "abc"})
            for method, path, query in CALLS
            if path[-5:] not in ("files", "tatus")
        ),
        ("PUT", f"{SOURCE}/documents", {**ITEM, "compressionType": "ZIP"}),
        ("DELETE", f"{SOURCE}/documents", {**ITEM, "deleteChildren": "perhaps"}),
        ("DELETE", f"{SOURCE}/documents/olderthan", {"orderingId": "1", "queueDelay": "-1"}),
        ("DELETE", f"{PROVIDER}/permissions/olderthan", {"orderingId": "1", "queueDelay": "soon"}),
        ("POST", f"{ROOT}/files", {"useVirtualHostedStyleUrl": "perhaps"}),
        ("POST", f"{SOURCE}/status", {"statusType": "RESCAN"}),
    ],
)
def test_412_invalid_parameter(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    check(api.call(method, path, **query), 412, "INVALID_PARAMETER")


@pytest.mark.row("6 412 DOCUMENT_LIMIT_EXCEEDED")
def test_412_document_limit_exceeded(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(items=1))
    api.put("http://a")
    api.put("http://a")
    answer = api.call("PUT", f"{SOURCE}/documents", {"permissions": PUBLIC}, documentId="http://b")
    check(answer, 412, "DOCUMENT_LIMIT_EXCEEDED")


@pytest.mark.row("6 413")
def test_413_is_the_plain_text_of_a_gateway(api: Api) -> None:
    answer = api.call("PUT", f"{SOURCE}/documents", {"data": "x" * (6 * 1024 * 1024)}, **ITEM)
    assert (answer.status_code, answer.text) == (413, "Request Entity Too Large")
    assert answer.headers["content-type"].startswith("text/plain")
    assert api.logs() == []


@pytest.mark.row("6 415 UNSUPPORTED_MEDIA_TYPE")
@pytest.mark.parametrize(
    ("method", "path"),
    [(call[0], call[1]) for call in CALLS if call[1].endswith(("documents", "permissions", "mappings"))],
)
def test_415_unsupported_media_type(api: Api, method: str, path: str) -> None:
    if (method, path) == ("DELETE", f"{SOURCE}/documents"):
        method = "PUT"
    headers = {"Authorization": f"Bearer {NAMES['key']}", "Content-Type": "text/plain"}
    check(api.client.request(method, path, params=ITEM, content="{}", headers=headers), 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.row("6 429 TOO_MANY_REQUESTS")
def test_429_too_many_requests(start: Callable[..., Api]) -> None:
    for limits in (Limits(burst_calls=2), Limits(calls_per_day=2)):
        api = start(limits=limits)
        api.put("http://a")
        api.put("http://b")
        answer = api.call("PUT", f"{SOURCE}/documents", {"permissions": PUBLIC}, documentId="http://c")
        check(answer, 429, "TOO_MANY_REQUESTS")
        assert int(answer.headers["Retry-After"]) > 0
        assert sorted(api.items()) == ["http://a", "http://b"]


@pytest.mark.row("6 429 TOO_MANY_DOCUMENTS_DAILY")
def test_429_too_many_documents_daily(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(items_per_day=1))
    api.put("http://a")
    answer = api.call("PUT", f"{SOURCE}/documents", {"permissions": PUBLIC}, documentId="http://b")
    check(answer, 429, "TOO_MANY_DOCUMENTS_DAILY")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.row("6 500 INTERNAL_SERVER_ERROR")
def test_500_internal_server_error(start: Callable[..., Api]) -> None:
    api = start(faults=("PUT documents: 500 x1",))
    answer = api.call("PUT", f"{SOURCE}/documents", {"permissions": PUBLIC}, **ITEM)
    check(answer, 500, "INTERNAL_SERVER_ERROR", "Failed to process request due to an internal error.")
    assert api.items() == {}


@pytest.mark.row("6 504")
def test_504_has_a_message_alone(start: Callable[..., Api]) -> None:
    api = start(faults=("PUT documents: 504 x1",))
    answer = api.call("PUT", f"{SOURCE}/documents", {"permissions": PUBLIC}, **ITEM)
    assert (answer.status_code, set(answer.json())) == (504, {"message"})
    api.put("http://a")
    assert list(api.items()) == ["http://a"]
