"""Exchanges as the documents show them, replayed over real HTTP against an emulator that serves this module.

An exchange is text: a request line with its headers and body, `---`, the status with its headers and body.
`$name` is filled in. In an expected reply `"*"` is any value, and a key `"..."` allows further keys; without
a body in the expectation, the reply has none.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from string import Template
from typing import Any

import httpx
import pytest

from reconciler.emulator.clock import stepped_clock
from reconciler.emulator.options import EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.server import BackgroundEmulator

EMAIL = "Email Security Provider"
NAMES = {
    "org": "mycoveocloudv2organizationg8tp8wu3",
    "paused": "pausedorganization",
    "src": "mysourceidg3c5d1r2",
    "shared": "mysharedsource",
    "private": "myprivatesource",
    "catalog": "mycatalogid7f2k",
    "prov": "mysecurityidentityprovider8d9s8d",
    "exact": "mycasesensitiveprovider",
    "key": "xx64df6b8c-2f9e-4f4b-9e1c-7e0b3e2f5a11",
    "weak": "xx11111111-2f9e-4f4b-9e1c-7e0b3e2f5a11",
    "index": "emulated-index-1",
}
OPTIONS = EmulatorOptions(
    organizations=(NAMES["org"], NAMES["paused"]),
    paused=frozenset({NAMES["paused"]}),
    sources=(
        SourceOptions(NAMES["src"], "SECURED", NAMES["prov"]),
        SourceOptions(NAMES["shared"], "SHARED"),
        SourceOptions(NAMES["private"], "PRIVATE"),
        SourceOptions(NAMES["catalog"], "SHARED", None, "catalog"),
    ),
    providers=(ProviderOptions(NAMES["prov"]), ProviderOptions(NAMES["exact"], (EMAIL, NAMES["prov"]), True)),
    api_key=NAMES["key"],
    keys={NAMES["weak"]: frozenset({"SOURCE_EDIT"})},
)
PUBLIC = [{"allowAnonymous": True}]


class Api:
    """One emulator as the documents speak to it."""

    def __init__(self, emulator: BackgroundEmulator) -> None:
        self.client = httpx.Client(base_url=emulator.url, timeout=30)
        self.names = dict(NAMES)
        self.root = f"/push/v1/organizations/{NAMES['org']}"
        self.documents = f"{self.root}/sources/{NAMES['src']}/documents"
        self.permissions = f"{self.root}/providers/{NAMES['prov']}/permissions"
        self.platform = f"/rest/organizations/{NAMES['org']}"

    # Exchanges as text

    def replay(self, text: str, **names: str) -> httpx.Response:
        """Send the request of an exchange and hold the reply against what follows it."""
        filled = Template(textwrap.dedent(text).strip("\n")).safe_substitute(self.names, **names)
        asked, _, expected = filled.partition("\n---\n")
        line, headers, body = _parts(asked)
        method, _, target = line.partition(" ")
        answer = self.client.request(method, target, headers=headers, content=body.encode() or None)
        _check(answer, *_parts(expected))
        return answer

    # Requests in short

    def call(self, method: str, path: str, body: Any = None, key: str = NAMES["key"], **query: Any) -> httpx.Response:
        """Send a request with the key and, where there is one, a JSON body."""
        headers = {"Authorization": f"Bearer {key}"}
        return self.client.request(method, path, params=query, json=body, headers=headers)

    def put(self, uri: str, body: Any = None, source: str = "src", **query: Any) -> httpx.Response:
        """Put an item that is accepted."""
        path = f"{self.root}/sources/{self.names[source]}/documents"
        answer = self.call("PUT", path, {"permissions": PUBLIC, **(body or {})}, documentId=uri, **query)
        assert answer.status_code == 202, answer.text
        return answer

    def identity(self, body: Any, path: str = "permissions", provider: str = "prov", **query: Any) -> None:
        """Put an identity or an alias that is accepted."""
        answer = self.call("PUT", f"{self.root}/providers/{self.names[provider]}/{path}", body, **query)
        assert answer.status_code == 202, answer.text

    def container(self, content: bytes) -> str:
        """Upload to a new container and return its name."""
        made = self.call("POST", f"{self.root}/files").json()
        answer = self.client.put(made["uploadUri"], content=content, headers=made["requiredHeaders"])
        assert (answer.status_code, answer.content) == (200, b"")
        return str(made["fileId"])

    def batch(self, source: str = "src", **lists: Any) -> None:
        """Push a batch that is accepted."""
        path = f"{self.root}/sources/{self.names[source]}/documents/batch"
        answer = self.call("PUT", path, fileId=self.container(json.dumps(lists).encode()))
        assert answer.status_code == 202, answer.text

    def advance(self, seconds: float) -> None:
        assert self.client.post("/_emulator/clock", json={"advance": seconds}).status_code == 200

    # What came of it

    def state(self) -> Any:
        return self.client.get("/_emulator/state").json()["organizations"][NAMES["org"]]

    def items(self, source: str = "src") -> dict[str, Any]:
        """Return the items of a source by their uri."""
        return {item["uri"]: item for item in self.state()["sources"][self.names[source]]["items"]}

    def identities(self, provider: str = "prov") -> dict[str, Any]:
        """Return the identities of a provider by their name."""
        return {entry["name"]: entry for entry in self.state()["identities"][self.names[provider]]}

    def search(self, **body: Any) -> Any:
        query = {"organizationId": NAMES["org"], "viewAllContent": "1"}
        answer = self.call("POST", "/rest/search/v2", body, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def logs(self, **filters: Any) -> list[tuple[str, str, str]]:
        """Return operation, result and uri of the pipeline's logs."""
        return [(entry["operation"], entry["result"], entry["id"]) for entry in self.log_entries(**filters)]

    def log_entries(self, **filters: Any) -> list[Any]:
        now = self.client.get("/_emulator/state").json()["now"]
        query = {"from": iso(now - 86400), "to": iso(now + 86400), "perPage": "1000"}
        answer = self.call("POST", f"/logs/v1/organizations/{NAMES['org']}", filters, **query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["documentLogEntries"])


def iso(seconds: float) -> str:
    """Return a time as a W3C date."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _parts(text: str) -> tuple[str, dict[str, str], str]:
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    pairs = (line.partition(":") for line in lines)
    return first.strip(), {name.strip(): value.strip() for name, _, value in pairs}, body.strip()


def _check(answer: httpx.Response, status: str, headers: dict[str, str], body: str) -> None:
    assert answer.status_code == int(status), answer.text
    for name, value in headers.items():
        assert value in ("*", answer.headers.get(name)), f"{name}: {answer.headers.get(name)}"
        assert name in answer.headers
    if not body:
        assert answer.content == b""
    elif body[0] in '{["' or body in ("true", "false", "null"):
        assert answer.headers["content-type"] == "application/json"
        assert alike(json.loads(body), answer.json()), answer.text
    else:
        assert answer.text == body


def alike(pattern: Any, value: Any) -> bool:
    """Return whether a value is what a pattern allows."""
    if pattern == "*":
        return True
    if isinstance(pattern, dict) and isinstance(value, dict):
        named = pattern.keys() - {"..."}
        same = named <= value.keys() if "..." in pattern else named == value.keys()
        return same and all(alike(pattern[key], value[key]) for key in named)
    if isinstance(pattern, list) and isinstance(value, list):
        return len(pattern) == len(value) and all(map(alike, pattern, value))
    return bool(pattern == value) and isinstance(pattern, bool) == isinstance(value, bool)


@pytest.fixture(scope="module")
def served() -> Iterator[Api]:
    """One emulator for all tests of a module; `api` empties it."""
    with BackgroundEmulator(OPTIONS, stepped_clock()) as emulator:
        api = Api(emulator)
        yield api
        api.client.close()


@pytest.fixture
def api(served: Api) -> Api:
    """An emulator that was sent nothing yet."""
    assert served.client.post("/_emulator/reset").status_code == 200
    return served


@pytest.fixture
def start() -> Iterator[Callable[..., Api]]:
    """Start emulators with some options changed, for the length of a test."""
    running: list[tuple[BackgroundEmulator, Api]] = []

    def begin(**changes: Any) -> Api:
        emulator = BackgroundEmulator(replace(OPTIONS, **changes), stepped_clock()).start()
        api = Api(emulator)
        running.append((emulator, api))
        return api

    yield begin
    for emulator, api in running:
        api.client.close()
        emulator.stop()
