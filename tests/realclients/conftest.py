"""An emulator for clients that are installed for these tests alone, each into a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.emulator.clock import stepped_clock
from reconciler.emulator.options import EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.server import BackgroundEmulator
from tests.builders import REPOSITORY
from tests.conftest import ON_CI

CLIENTS = REPOSITORY / ".clients"
ORGANIZATION = "mycoveocloudv2organizationg8tp8wu3"
SOURCE = "mysourceidg3c5d1r2"
CATALOG = "mycatalogid7f2k"
PROVIDER = "mysecurityidentityprovider8d9s8d"
KEY = "xx64df6b8c-2f9e-4f4b-9e1c-7e0b3e2f5a11"
OPTIONS = EmulatorOptions(
    organizations=(ORGANIZATION,),
    sources=(SourceOptions(SOURCE, "SECURED", PROVIDER), SourceOptions(CATALOG, "SHARED", None, "catalog")),
    providers=(ProviderOptions(PROVIDER),),
    api_key=KEY,
)


def needs(path: Path) -> None:
    """Skip a test when a client is not installed; where everything is to be there, fail."""
    if not path.exists():
        place = path.relative_to(REPOSITORY)
        assert os.environ.get(ON_CI) != "true", f"CI installs {place}, so this must run there"
        pytest.skip(f"{place} is not there; `make clients` installs it")


@dataclass
class Emulated:
    """An emulator, and what a client did to it."""

    emulator: BackgroundEmulator
    http: httpx.Client

    def settings(self) -> str:
        """Return what a client needs to know, as JSON."""
        return json.dumps(
            {
                "url": self.emulator.url,
                "organization": ORGANIZATION,
                "source": SOURCE,
                "catalog": CATALOG,
                "provider": PROVIDER,
                "key": KEY,
            }
        )

    def state(self) -> Any:
        return self.http.get("/_emulator/state").json()["organizations"][ORGANIZATION]

    def items(self, source: str = SOURCE) -> dict[str, Any]:
        return {item["uri"]: item for item in self.state()["sources"][source]["items"]}

    def identities(self) -> dict[str, Any]:
        return {entry["name"]: entry for entry in self.state()["identities"][PROVIDER]}

    def fields(self) -> dict[str, str]:
        """Return the types of the fields by their names."""
        path, headers = f"/rest/organizations/{ORGANIZATION}/indexes/fields/search", {"Authorization": f"Bearer {KEY}"}
        found = self.http.post(path, json={"perPage": 1000}, headers=headers).json()
        return {field["name"]: field["type"] for field in found["items"]}

    def requests(self) -> list[tuple[str, str, int]]:
        """Return method, path below the organization and status of every request."""
        asked = self.http.get("/_emulator/requests").json()["requests"]
        return [(entry["method"], _short(entry["path"]), entry["status"]) for entry in asked]

    def bodies(self) -> list[Any]:
        """Return the JSON bodies that were sent, None for a request without one."""
        return [entry["body"] for entry in self.http.get("/_emulator/requests").json()["requests"]]

    def logs(self) -> list[tuple[str, str]]:
        query = {"from": "2023-11-14T00:00:00Z", "to": "2023-11-16T00:00:00Z", "perPage": "1000"}
        headers = {"Authorization": f"Bearer {KEY}"}
        found = self.http.post(f"/logs/v1/organizations/{ORGANIZATION}", params=query, headers=headers).json()
        return [(entry["operation"], entry["result"]) for entry in found["documentLogEntries"]]


def _short(path: str) -> str:
    """Return a path without the names in it that are the same in every test."""
    if path.startswith("/_storage/"):
        return "storage"
    _, _, tail = path.partition(f"/organizations/{ORGANIZATION}/")
    return (tail or path).replace(f"sources/{SOURCE}/", "").replace(f"providers/{PROVIDER}/", "")


Start = Callable[..., Emulated]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start emulators with some options changed."""
    running: list[Emulated] = []

    def begin(**changes: Any) -> Emulated:
        emulator = BackgroundEmulator(replace(OPTIONS, **changes), stepped_clock()).start()
        running.append(Emulated(emulator, httpx.Client(base_url=emulator.url)))
        return running[-1]

    yield begin
    for entry in running:
        entry.http.close()
        entry.emulator.stop()


def run(command: list[str], environment: dict[str, str]) -> Any:
    """Run a client and return the JSON that it prints."""
    ran = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
