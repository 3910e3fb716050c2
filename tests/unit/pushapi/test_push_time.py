"""What time it is at the remote: asked for without a key, before something is removed by age (push-api.md 5.4)."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from reconciler.pushapi.client import PushClient
from tests.builders import KEY, Remote

BASE = "https://api.example.com/push/v1"


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_any_answer_tells_the_time_and_no_key_travels(status: int) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, headers={"Date": "Thu, 01 Jan 2026 12:00:00 GMT"})

    with PushClient(BASE, KEY, transport=httpx.MockTransport(answer)) as client:
        assert client.remote_time() == datetime(2026, 1, 1, 12, tzinfo=UTC)
    [request] = asked
    assert (request.method, str(request.url)) == ("GET", BASE)
    assert "authorization" not in request.headers


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_who_does_not_say_it_is_not_guessed(headers: dict[str, str]) -> None:
    with PushClient(BASE, KEY, transport=httpx.MockTransport(lambda _: httpx.Response(200, headers=headers))) as client:
        assert client.remote_time() is None


def test_who_cannot_be_asked_says_nothing() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with PushClient(BASE, KEY, transport=httpx.MockTransport(refuse)) as client:
        assert client.remote_time() is None


def test_the_emulator_says_it_too(remote: Remote) -> None:
    with PushClient(f"{remote.url}/push/v1", KEY) as client:
        found = client.remote_time()
    assert found is not None
    assert abs((datetime.now(UTC) - found).total_seconds()) < 60
