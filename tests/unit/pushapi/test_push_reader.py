"""The read side over a mock transport."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from reconciler.model.identity import Identity
from reconciler.pushapi.client import CallFailed
from reconciler.pushapi.hosts import hosts_at
from reconciler.pushapi.reader import Reader

KEY = "xxcanary"


class Remote:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.read()) if request.read() else None
        self.seen.append((request.method, request.url.raw_path.decode(), body))
        assert request.headers["authorization"] == f"Bearer {KEY}"
        answer = self.answers.pop(0)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def reader(self) -> Reader:
        return Reader(
            hosts_at("http://127.0.0.1:9"),
            "org",
            KEY,
            transport=httpx.MockTransport(self),
            sleep=lambda _: None,
        )


def read(remote: Remote, ask: Callable[[Reader], Any]) -> Any:
    with remote.reader() as reader:
        return ask(reader)


def test_items_are_found_by_the_hundred() -> None:
    uris = [f"https://x/{n}" for n in range(150)]

    def results(*wanted: str) -> Any:
        return {"results": [{"uri": uri, "raw": {"uri": uri, "title": uri[-1]}} for uri in wanted]}

    remote = Remote(results("https://x/0", "https://x/99", "https://elsewhere"), results("https://x/149"))
    found = read(remote, lambda reader: reader.find_items("sid", uris + uris, fields=("author",), source_name="S"))
    assert found == {
        "https://x/0": {"uri": "https://x/0", "title": "0"},
        "https://x/99": {"uri": "https://x/99", "title": "9"},
        "https://x/149": {"uri": "https://x/149", "title": "9"},
    }
    assert [path for _, path, _ in remote.seen] == ["/rest/search/v2?organizationId=org&viewAllContent=1"] * 2
    first, second = (body for _, _, body in remote.seen)
    assert first["aq"].startswith('@source==("S","sid") @uri==("https://x/0","https://x/1",')
    assert (first["numberOfResults"], second["numberOfResults"]) == (100, 50)
    assert "author" in first["fieldsToInclude"]


def test_a_quote_cannot_leave_its_string() -> None:
    remote = Remote({"results": []})
    read(remote, lambda reader: reader.find_items("sid", ['https://x/") OR @uri=("y']))
    assert remote.seen[0][2]["aq"] == '@source==("sid") @uri==("https://x/ ) OR @uri=( y")'


@pytest.mark.parametrize(
    "reply", [{}, {"results": 1}, {"results": [1, {"raw": 2}, {"uri": 3}, {"uri": ["https://x"]}]}]
)
def test_strange_results_are_no_results(reply: Any) -> None:
    assert read(Remote(reply), lambda reader: reader.find_items("sid", ["https://x"])) == {}


def test_half_a_character_is_replaced() -> None:
    """A text that was cut in the middle of one can be neither stored nor printed."""
    cut = httpx.Response(200, content=b'{"name":"x\\ud83d \\ud83d\\ude00"}')
    assert read(Remote(cut), lambda reader: reader.source("sid")) == {"name": "x? \U0001f600"}


@pytest.mark.parametrize("reply", [httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])])
def test_an_answer_of_another_kind_is_a_failure(reply: httpx.Response) -> None:
    with pytest.raises(CallFailed) as caught:
        read(Remote(reply), lambda reader: reader.source("sid"))
    [problem] = caught.value.problems
    assert (problem.code, problem.where) == (
        "bad-reply",
        "GET http://127.0.0.1:9/rest/organizations/org/sources/sid",
    )


def test_a_read_is_retried_and_fails_like_a_call() -> None:
    remote = Remote(httpx.Response(503), httpx.Response(403, json={"message": f"no {KEY}"}))
    with pytest.raises(CallFailed) as caught:
        read(remote, lambda reader: reader.source("sid"))
    assert caught.value.outcome == "refused"
    assert caught.value.problems[0].what.startswith("HTTP 403: no *** after 2 attempts")


@pytest.mark.parametrize("indexes", [[{"id": "i 1"}], {"items": [{"id": "i 1"}]}])
def test_an_items_permissions_are_asked_for_by_a_twice_encoded_uri(indexes: Any) -> None:
    remote = Remote(indexes, {"state": "VALID"}, {"state": "PENDING"})
    with remote.reader() as reader:
        assert reader.item_permissions("https://x/a b") == {"state": "VALID"}
        assert reader.item_permissions("u:v") == {"state": "PENDING"}
    assert [path for _, path, _ in remote.seen] == [
        "/rest/organizations/org/indexes",
        "/rest/organizations/org/indexes/i%201/documents/https%253A%252F%252Fx%252Fa%2520b/permissions",
        "/rest/organizations/org/indexes/i%201/documents/u%253Av/permissions",
    ]


def test_no_index_is_a_failure() -> None:
    with pytest.raises(CallFailed):
        read(Remote([]), lambda reader: reader.item_permissions("u:v"))


def test_members_are_paged_by_total_pages_or_by_a_short_page() -> None:
    full = [{"name": str(n)} for n in range(100)]
    remote = Remote({"items": full, "totalPages": 2}, {"items": full[:1], "totalPages": 2})
    assert len(read(remote, lambda reader: list(reader.provider_members("my p")))) == 101
    assert [path for _, path, _ in remote.seen] == [
        f"/rest/organizations/org/securitycache/entities/my%20p/members?page={page}&perPage=100" for page in (0, 1)
    ]
    assert len(read(Remote({"items": full}, {"items": full[:3]}), lambda r: list(r.provider_members("p")))) == 103
    assert read(Remote({"items": []}), lambda reader: list(reader.provider_members("p"))) == []


def test_groups_and_their_members() -> None:
    remote = Remote({"items": [{"name": "a"}]}, {"items": []}, {"items": []})
    group = Identity("virtual-group", "corp", "g", (("k", "v"),))
    with remote.reader() as reader:
        assert list(reader.group_members("pid", group)) == [{"name": "a"}]
        assert list(reader.identity_parents("pid", group)) == []
    member = {
        "name": "g",
        "provider": "pid",
        "type": "VirtualGroup",
        "infos": [{"key": "k", "value": "v"}],
    }
    prefix = "/rest/organizations/org/securitycache/entities/pid/members"
    assert remote.seen == [
        ("POST", f"{prefix}/children?recursive=false&page=0&pageSize=100", member),
        ("POST", f"{prefix}/parents?recursive=false&page=0&pageSize=100", member),
    ]


def test_logs_are_read_week_by_week_and_page_by_page() -> None:
    def entries(*sources: str, more: bool = False) -> Any:
        return {"documentLogEntries": [{"sourceId": source} for source in sources], "hasNextPage": more}

    remote = Remote(entries("sid", "other", more=True), entries("sid"), entries())
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 10, 12, tzinfo=UTC)
    assert len(read(remote, lambda reader: list(reader.logs(["sid"], since, until)))) == 2
    assert [path for _, path, _ in remote.seen] == [
        f"/logs/v1/organizations/org?from={start}&to={end}&page={page}&perPage=100"
        for start, end, page in (
            ("2026-01-01T00%3A00%3A00.000Z", "2026-01-08T00%3A00%3A00.000Z", 0),
            ("2026-01-01T00%3A00%3A00.000Z", "2026-01-08T00%3A00%3A00.000Z", 1),
            ("2026-01-08T00%3A00%3A00.000Z", "2026-01-10T12%3A00%3A00.000Z", 0),
        )
    ]
    assert remote.seen[0][2] == {"sourcesIds": ["sid"], "sourceIds": ["sid"]}


def test_effective_permissions_and_refresh() -> None:
    remote = Remote([{"id": "i"}], {"items": [{"identity": "a"}], "totalPages": 1}, httpx.Response(204))
    with remote.reader() as reader:
        assert list(reader.effective_permissions("u:v")) == [{"identity": "a"}]
        reader.refresh("pid")
    assert remote.seen[-1][:2] == ("POST", "/rest/organizations/org/securitycache/pid/refresh")
    assert KEY not in repr(reader)


def row(number: int) -> dict[str, Any]:
    return {"uri": f"x:{number}", "uniqueId": f"u{number}", "raw": {"uri": f"x:{number}", "rowid": number}}


def test_all_items_of_a_source_are_read_by_ranges_of_the_row() -> None:
    remote = Remote(
        {"totalCount": 3, "results": [row(4), row(7)]},
        httpx.Response(200, text="cut"),
        {"totalCount": 1, "results": [row(9)]},
    )
    found = read(remote, lambda reader: list(reader.source_items("sid", source_name="S")))
    assert [(document["uri"], document["uniqueId"]) for document in found] == [
        ("x:4", "u4"),
        ("x:7", "u7"),
        ("x:9", "u9"),
    ]
    assert [(body["aq"], body["numberOfResults"], body["sortCriteria"]) for _, _, body in remote.seen] == [
        ('@source==("S","sid") @rowid>-1', 200, "@rowid ascending"),
        ('@source==("S","sid") @rowid>7', 200, "@rowid ascending"),
        ('@source==("S","sid") @rowid>7', 100, "@rowid ascending"),
    ]


def test_rows_that_are_not_shown_end_the_reading_with_a_failure_and_not_with_a_part() -> None:
    remote = Remote({"totalCount": 300, "results": [{"uri": "x:1", "raw": {}}]})
    with pytest.raises(CallFailed) as caught:
        read(remote, lambda reader: list(reader.source_items("sid")))
    assert caught.value.problems[0].code == "bad-reply"


def test_one_identity_and_the_settings_of_its_provider() -> None:
    remote = Remote({"name": "a", "state": "UP_TO_DATE"}, {"caseSensitive": True})
    with remote.reader() as reader:
        assert reader.identity("p 1", Identity("virtual-group", "corp", "a", (("k", "v"),)))["state"] == "UP_TO_DATE"
        assert reader.provider("p 1") == {"caseSensitive": True}
    (method, path, body), (other, settings, _) = remote.seen
    assert (method, path) == ("POST", "/rest/organizations/org/securitycache/entities/p%201/entity")
    assert body == {"name": "a", "provider": "p 1", "type": "VirtualGroup", "infos": [{"key": "k", "value": "v"}]}
    assert (other, settings) == ("GET", "/rest/organizations/org/securityproviders/p%201")
