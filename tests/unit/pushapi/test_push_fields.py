"""Fields and mappings over a mock transport: reading them, and creating what is missing."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from reconciler.model.metadata import FieldType
from reconciler.pushapi.client import CallFailed
from reconciler.pushapi.fields import create_fields
from reconciler.pushapi.hosts import hosts_at
from reconciler.pushapi.reader import FIELDS_PER_PAGE, Reader

KEY = "xxcanary"
HOSTS = hosts_at("http://127.0.0.1:9")
SEARCH = "/rest/organizations/my%20org/indexes/fields/search"


class Remote:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        self.seen.append((request.method, request.url.raw_path.decode(), orjson.loads(content) if content else None))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    def reader(self) -> Reader:
        return Reader(HOSTS, "my org", KEY, transport=self.transport, sleep=lambda _: None)

    def create(self, fields: dict[str, FieldType]) -> None:
        create_fields(HOSTS, "my org", KEY, fields, transport=self.transport, sleep=lambda _: None)


def names(remote: Remote) -> list[str]:
    with remote.reader() as reader:
        return [document["name"] for document in reader.fields()]


def pages(*numbers: int) -> list[tuple[str, str, Any]]:
    return [("POST", SEARCH, {"page": number, "perPage": FIELDS_PER_PAGE}) for number in numbers]


def test_fields_are_paged_in_the_body() -> None:
    remote = Remote(
        {"items": [{"name": "a"}, 5], "totalPages": 2, "totalEntries": 3}, {"items": [{"name": "b"}], "totalPages": 2}
    )
    assert names(remote) == ["a", "b"]
    assert remote.seen == pages(0, 1)


def test_a_short_page_ends_what_does_not_count_its_pages() -> None:
    full = [{"name": str(number)} for number in range(FIELDS_PER_PAGE)]
    remote = Remote({"items": full}, {"items": full[:1]})
    assert len(names(remote)) == FIELDS_PER_PAGE + 1
    assert names(Remote({})) == []


def test_mappings_of_a_source() -> None:
    remote = Remote({"common": {"rules": []}, "types": []})
    with remote.reader() as reader:
        assert reader.mappings("s/1") == {"common": {"rules": []}, "types": []}
    assert remote.seen == [("GET", "/rest/organizations/my%20org/sources/s%2F1/mappings", None)]


def test_fields_are_created_by_one_call() -> None:
    remote = Remote(httpx.Response(503), httpx.Response(204))
    remote.create({"price": FieldType.LONG_64, "color": FieldType.STRING, "tags": FieldType.MULTI})
    method, path, body = remote.seen[1]
    assert (method, path) == ("POST", "/rest/organizations/my%20org/indexes/fields/batch/create")
    shown = {"includeInQuery": True, "includeInResults": True}
    assert body == [
        {"name": "color", "type": "STRING", **shown},
        {"name": "price", "type": "LONG_64", **shown},
        {"name": "tags", "type": "STRING", "multiValueFacet": True, "multiValueFacetTokenizers": ";", **shown},
    ]
    assert len(remote.seen) == 2


def test_a_refusal_says_why_and_hides_the_key() -> None:
    remote = Remote(httpx.Response(403, json={"errorCode": "ACCESS_DENIED", "message": f"not with {KEY}"}))
    with pytest.raises(CallFailed) as caught:
        remote.create({"color": FieldType.STRING})
    assert caught.value.outcome == "refused"
    assert caught.value.problems[0].what.startswith("HTTP 403 ACCESS_DENIED: not with ***")
