"""An emulated organization on a clock that stands still, spoken to without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from reconciler.emulator.clock import Clock, stepped_clock
from reconciler.emulator.options import EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.server import create_app

ORGANIZATION = "mycoveocloudv2organizationg8tp8wu3"
SOURCE = "mysourceidg3c5d1r2"
PROVIDER = "mysecurityidentityprovider8d9s8d"
KEY = "xx00000000-0000-0000-0000-000000000000"
EMAIL = "Email Security Provider"
OPTIONS = EmulatorOptions(
    organizations=(ORGANIZATION, "other"),
    sources=(SourceOptions(SOURCE, "SECURED", PROVIDER), ("shared", "SHARED", None)),
    providers=(ProviderOptions(PROVIDER), ("exact", (EMAIL, PROVIDER), True)),
    api_key=KEY,
)
READABLE = [{"allowedPermissions": [{"identity": "alice@example.com", "identityType": "User"}]}]


class Bridge(httpx.BaseTransport):
    """Carries the requests of a plain client to an application in this thread."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._transport = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._carry(request))

    async def _carry(self, request: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(request.read())
        sent = httpx.Request(request.method, request.url, headers=request.headers, stream=stream)
        answer = await self._transport.handle_async_request(sent)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self) -> None:
        self.app.state.engine.close()
        self._loop.close()


class Remote:
    """The emulator as a client sees it, with short names for its paths."""

    def __init__(self, client: httpx.Client, clock: Clock, prefix: str = "/push/v1") -> None:
        self.client = client
        self.clock = clock
        self.base = f"{prefix}/organizations/{ORGANIZATION}"
        self.documents = f"{self.base}/sources/{SOURCE}/documents"
        self.shared = f"{self.base}/sources/shared/documents"
        self.identities = f"{self.base}/providers/{PROVIDER}/permissions"
        self.mappings = f"{self.base}/providers/{PROVIDER}/mappings"
        self.platform = f"/rest/organizations/{ORGANIZATION}"

    def put(self, uri: str, body: Any = None, path: str | None = None, **query: Any) -> Any:
        body = {"permissions": READABLE} if body is None else body
        answer = self.client.put(path or self.documents, params={"documentId": uri, **query}, json=body)
        assert answer.status_code == 202, answer.text
        return answer

    def delete(self, uri: str, **query: Any) -> Any:
        answer = self.client.delete(self.documents, params={"documentId": uri, **query})
        assert answer.status_code == 202, answer.text
        return answer

    def upload(self, content: bytes) -> str:
        container = self.client.post(f"{self.base}/files").json()
        headers = {"authorization": "", **container["requiredHeaders"]}
        request = self.client.build_request("PUT", container["uploadUri"], content=content, headers=headers)
        del request.headers["authorization"]
        assert self.client.send(request).status_code == 200
        return str(container["fileId"])

    def state(self) -> Any:
        return self.client.get("/_emulator/state").json()["organizations"][ORGANIZATION]

    def items(self, source: str = SOURCE) -> dict[str, Any]:
        return {item["uri"]: item for item in self.state()["sources"][source]["items"]}

    def logs(self, **body: Any) -> list[tuple[str, str, str, str]]:
        now = self.clock.now()
        query = {"from": _iso(now - 86400), "to": _iso(now + 86400), "perPage": "1000"}
        answer = self.client.post(f"/logs/v1/organizations/{ORGANIZATION}", params=query, json=body)
        assert answer.status_code == 200, answer.text
        return [
            (entry["operation"], entry["result"], entry["id"], entry["meta"].get("error", ""))
            for entry in answer.json()["documentLogEntries"]
        ]

    def search(self, query: str = "", **body: Any) -> Any:
        answer = self.client.post(
            "/rest/search/v2",
            params={"organizationId": ORGANIZATION, "viewAllContent": "1"},
            json={"aq": query, "numberOfResults": 1000, **body},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def uris(self, query: str = "", **body: Any) -> list[str]:
        return [result["uri"] for result in self.search(query, **body)["results"]]


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


Start = Callable[..., Remote]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start emulators with some options changed."""
    clients: list[httpx.Client] = []

    def begin(*, clock: Clock | None = None, prefix: str = "/push/v1", **changes: Any) -> Remote:
        clock = clock or stepped_clock()
        app = create_app(replace(OPTIONS, **changes), clock)
        headers = {"Authorization": f"Bearer {KEY}"}
        client = httpx.Client(transport=Bridge(app), base_url="http://emulator.test", headers=headers)
        clients.append(client)
        return Remote(client, clock, prefix)

    yield begin
    for client in clients:
        client.close()


@pytest.fixture
def remote(start: Start) -> Remote:
    return start()
