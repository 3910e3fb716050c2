"""What is logged of a request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from reconciler.logs import DEBUG, INFO, TRACE
from reconciler.pushapi.http import Http, NoReply, api_headers
from reconciler.pushapi.telling import Asked

KEY = "xx-secret"


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    return [(vars(record)["event"], vars(record)["fields"]) for record in caplog.records if hasattr(record, "event")]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.example/push/v1/a", "/push/v1/a"),
        ("https://api.example/a?orderingId=17&fileId=f-1", "/a?orderingId=17&fileId=f-1"),
        ("https://api.example/a?token=secret&page=2", "/a?page=2"),
        ("https://api.example/a?documentId=file%3A%2F%2Fx%20y%0A", "/a?documentId=file://x%20y%0A"),
        ("https://api.example/a#fragment", "/a"),
    ],
)
def test_of_a_query_only_what_is_harmless_is_shown(url: str, path: str) -> None:
    assert Asked("GET", url, 1).path == path


def test_neither_the_user_nor_the_password_of_an_address_is_shown() -> None:
    asked = Asked("GET", "https://ann:secret@api.example:8443/a", 1)
    assert (asked.host, asked.path) == ("api.example:8443", "/a")
    assert Asked("PUT", "https://storage.example/bucket/f?X-Amz-Signature=abc", 1, secret=True).path == ""


def test_an_answer_is_told_with_its_request_id_and_without_a_key_that_it_repeats(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = httpx.Response(202, text="{}", headers={"X-Request-ID": f"r-1 {KEY}"})
    http = Http(headers=api_headers(KEY, "test"), transport=httpx.MockTransport(lambda _request: answer))
    with caplog.at_level(TRACE, "reconciler"):
        http.exchange("PUT", "https://api.example/a", content=b"x", attempt=3)
    (request, asked), (answered, size) = told(caplog)
    assert (request, answered) == ("request", "answer")
    assert asked["request_id"] == "r-1 ***"
    assert (asked["status"], asked["attempt"], asked["host"], asked["path"]) == (202, 3, "api.example", "/a")
    assert size["bytes_received"] == 2
    assert KEY not in caplog.text
    assert ", attempt 3, request r-1 ***" in caplog.text


def test_a_request_without_an_answer_is_told_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    http = Http(headers={}, transport=httpx.MockTransport(refuse), secret=True)
    with caplog.at_level(DEBUG, "reconciler"), pytest.raises(NoReply):
        http.exchange("PUT", "https://storage.example/bucket/f?X-Amz-Signature=abc")
    ((_, asked),) = told(caplog)
    assert (asked["failure"], asked["path"]) == ("refused", "") and "status" not in asked
    assert "bucket" not in caplog.text and "abc" not in caplog.text


def test_nothing_is_told_where_nobody_hears_it(caplog: pytest.LogCaptureFixture) -> None:
    http = Http(headers={}, transport=httpx.MockTransport(lambda _request: httpx.Response(200)))
    with caplog.at_level(INFO, "reconciler"):
        http.exchange("GET", "https://api.example/a")
    assert told(caplog) == []
