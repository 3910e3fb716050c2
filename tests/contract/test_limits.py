"""Sizes, counts and rates: each row of push-api.md 4.1 and 4.2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from reconciler.emulator.quotas import RATES, Limits
from tests.contract.conftest import PUBLIC, Api

MB = 1024 * 1024


def sized(body: dict[str, object], size: int) -> bytes:
    """Return the JSON of a body, padded to a number of bytes."""
    short = json.dumps({**body, "pad": ""}).encode()
    return json.dumps({**body, "pad": "x" * (size - len(short))}).encode()


def send(api: Api, method: str, path: str, content: bytes, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.names['key']}", "Content-Type": "application/json"}
    return api.client.request(method, path, params=query, content=content, headers=headers)


@pytest.mark.row("4.1 request body")
@pytest.mark.parametrize("size", [6 * MB, 6 * MB + 1])
def test_a_request_has_6_mb(api: Api, size: int) -> None:
    name = {"name": "SampleGroup", "type": "GROUP"}
    wanted = 202 if size == 6 * MB else 413
    item = sized({"permissions": PUBLIC}, size)
    assert send(api, "PUT", api.documents, item, documentId="http://a").status_code == wanted
    identity = sized({"identity": name}, size)
    mappings = f"{api.root}/providers/{api.names['prov']}/mappings"
    for method, path in (("PUT", api.permissions), ("PUT", mappings), ("DELETE", api.permissions)):
        assert send(api, method, path, identity).status_code == wanted
    assert len(api.items()) == (1 if wanted == 202 else 0)


@pytest.mark.row("4.1 data, compressedBinaryData")
def test_content_of_5_mb_fits_into_a_request(api: Api) -> None:
    api.put("http://a", {"data": "x" * (5 * MB)})
    assert api.items()["http://a"]["body"]["size"] == 5 * MB


@pytest.mark.row("4.1 file container")
def test_a_container_of_more_than_256_mb_fails_later(api: Api, tmp_path: Path) -> None:
    """The storage takes it; the pipeline does not (push-api.md 8)."""
    content = tmp_path / "large.json"
    with content.open("wb") as file:
        file.truncate(256 * MB + 1)
    made = api.call("POST", f"{api.root}/files").json()
    headers = {**made["requiredHeaders"], "Content-Length": str(256 * MB + 1)}
    with content.open("rb") as file:
        assert api.client.put(made["uploadUri"], content=file, headers=headers).status_code == 200
    assert api.call("PUT", f"{api.documents}/batch", fileId=made["fileId"]).status_code == 202
    (entry,) = api.log_entries()
    assert (entry["operation"], entry["result"]) == ("BATCH_FILE", "ERROR")
    assert "larger than" in entry["meta"]["error"]


@pytest.mark.row("4.1 practical batch size")
def test_a_batch_may_be_larger_than_clients_make_them(api: Api) -> None:
    api.batch(addOrUpdate=[{"documentId": f"http://{n}", "data": "x" * MB, "permissions": PUBLIC} for n in range(7)])
    assert len(api.items()) == 7


@pytest.mark.row("4.1 permissions per item")
@pytest.mark.parametrize("count", [5000, 5001])
def test_an_item_names_5000_identities(api: Api, count: int) -> None:
    allowed = [{"identity": f"user{number}@example.com", "identityType": "User"} for number in range(count)]
    api.put("http://a", {"permissions": [{"allowedPermissions": allowed}]})
    assert len(api.items()) == (1 if count == 5000 else 0)
    assert api.logs() == [("ADD", "COMPLETED" if count == 5000 else "REJECTED", "http://a")]


@pytest.mark.row("4.1 index item quota")
def test_the_index_holds_so_many_items(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(items=2))
    for uri in ("http://a", "http://b", "http://a"):
        api.put(uri)
    answer = api.call("PUT", api.documents, {"permissions": PUBLIC}, documentId="http://c")
    assert (answer.status_code, answer.json()["errorCode"]) == (412, "DOCUMENT_LIMIT_EXCEEDED")
    assert api.call("DELETE", api.documents, documentId="http://a").status_code == 202
    api.put("http://c")
    assert sorted(api.items()) == ["http://b", "http://c"]


@pytest.mark.row("4.1 security identity size")
def test_an_identity_may_be_large_and_have_many_members(api: Api) -> None:
    """The numbers of this limit are not published, so none is enforced."""
    info = {f"key{number}": "value" * 100 for number in range(100)}
    members = [{"name": f"user{number}@example.com", "type": "USER"} for number in range(10_000)]
    api.identity({"identity": {"name": "g" * 1000, "type": "GROUP", "additionalInfo": info}, "members": members})
    assert len(api.identities()["g" * 1000]["members"]) == 10_000


@pytest.mark.row("4.1 unpublished limits")
def test_what_has_no_published_limit_is_taken(api: Api) -> None:
    uri = "http://a/" + "x" * 100_000
    metadata = {f"key{number}": "value" * 20 for number in range(2000)}
    api.batch(addOrUpdate=[{"documentId": uri, "permissions": PUBLIC, **metadata}])
    assert len(api.items()[uri]["metadata"]) == 2000


@pytest.mark.row("4.2 calls and items per day")
def test_calls_items_and_identities_have_a_quota_of_the_day(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(items_per_day=2, identities_per_day=1))
    for uri in ("http://a", "http://b"):
        api.put(uri)
    answer = api.call("PUT", api.documents, {"permissions": PUBLIC}, documentId="http://c")
    assert (answer.status_code, answer.json()["errorCode"]) == (429, "TOO_MANY_DOCUMENTS_DAILY")
    body = {"identity": {"name": "g", "type": "GROUP"}}
    api.identity(body)
    answer = api.call("PUT", api.permissions, body)
    assert (answer.status_code, answer.json()["errorCode"]) == (429, "TOO_MANY_REQUESTS")
    api.advance(24 * 3600)
    api.put("http://c")
    api.identity(body)


@pytest.mark.row("4.2 calls and items per day")
def test_a_batch_is_two_calls_whatever_it_holds(start: Callable[..., Api]) -> None:
    """The upload goes to the storage and counts nowhere (push-api.md 4.2)."""
    api = start(limits=Limits(calls_per_day=2))
    api.batch(addOrUpdate=[{"documentId": f"http://{n}", "permissions": PUBLIC} for n in range(50)])
    assert len(api.items()) == 50
    assert api.call("POST", f"{api.root}/files").status_code == 429


@pytest.mark.row("4.2 published numbers")
@pytest.mark.parametrize(("name", "calls", "burst"), [("published", 15_000, 250), ("trial", 10_000, 150)])
def test_the_published_numbers(start: Callable[..., Api], name: str, calls: int, burst: int) -> None:
    assert (RATES[name].calls_per_day, RATES[name].burst_seconds) == (calls, 300)
    api = start(limits=RATES[name])
    statuses = [api.call("POST", f"{api.root}/files").status_code for _ in range(burst + 1)]
    assert statuses == [201] * burst + [429]


@pytest.mark.row("4.2 older guidance")
def test_what_older_pages_advise_is_not_enforced(api: Api) -> None:
    """An index of a trial digests some 10,000 items an hour; the API takes them at once."""
    api.batch(addOrUpdate=[{"documentId": f"http://a/{n}", "permissions": PUBLIC} for n in range(10_001)])
    assert api.search(numberOfResults=1)["totalCount"] == 10_001


@pytest.mark.row("4.2 429")
def test_after_the_seconds_of_retry_after_there_is_room(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(burst_calls=1))
    assert api.call("POST", f"{api.root}/files").status_code == 201
    answer = api.call("POST", f"{api.root}/files")
    assert answer.status_code == 429
    wait = int(answer.headers["Retry-After"])
    assert 0 < wait <= 300
    api.advance(wait - 1)
    assert api.call("POST", f"{api.root}/files").status_code == 429
    api.advance(1)
    assert api.call("POST", f"{api.root}/files").status_code == 201
