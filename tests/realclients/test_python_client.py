"""The official Python client, unchanged, and what arrives of what it sends (push-api.md 7, 10)."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator.options import Doubts
from tests.realclients.conftest import CLIENTS, PROVIDER, Emulated, Start, needs, run

DRIVER = Path(__file__).with_name("drive_python.py")
FOLDER = CLIENTS / "python"
EMAIL = "Email Security Provider"


def drive(emulated: Emulated, scenario: str) -> Any:
    """Run a scenario of the driver and return the statuses that the client got."""
    needs(FOLDER / "push_api_clientpy")
    command = [sys.executable, "-W", "ignore", str(DRIVER), emulated.settings(), scenario]
    return run(command, {"PYTHONPATH": str(FOLDER), "PYTHONDONTWRITEBYTECODE": "1"})


def test_an_item(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "add") == [202]
    uri = "https://example.com/a b?x=1&y=2"
    item = emulated.items()[uri]
    assert item["metadata"] == {
        "title": "Title",
        "author": "Alice",
        "date": "2017-11-08T12:18:41",
        "clickableuri": "https://example.com/click",
        "mykey": ["one", "two"],
        "number": 5,
        "permanentid": hashlib.md5(uri.encode()).hexdigest()[:30] + hashlib.sha1(uri.encode()).hexdigest()[:30],
    }
    assert (item["fileExtension"], item["parentId"]) == (".txt", "https://example.com/")
    assert item["body"]["preview"] == "Some text"
    assert [level["permissionSets"][0]["allowAnonymous"] for level in item["permissions"]] == [True], "its default"


def test_an_item_with_permissions(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "add_with_permissions") == [202]
    (level,) = emulated.items()["https://example.com/secret"]["permissions"]
    (found,) = level["permissionSets"]
    assert found["allowAnonymous"] is False
    allowed = [(who["securityProvider"], who["identityType"], who["identity"]) for who in found["allowedPermissions"]]
    assert sorted(allowed) == [
        (EMAIL, "User", "alice@example.com"),
        (EMAIL, "User", "carol@example.com"),
        (PROVIDER, "Group", "Team"),
    ]
    denied = [(who["securityProvider"], who["identityType"], who["identity"]) for who in found["deniedPermissions"]]
    assert denied == [(PROVIDER, "VirtualGroup", "Guests")]


@pytest.mark.parametrize(("doubt", "indexed"), [("ignore", ["ZLIB"]), ("honour", ["GZIP", "ZLIB"])])
def test_compressed_items(start: Start, doubt: Any, indexed: list[str]) -> None:
    """It says the compression in the body, where the documents know none of a single item (push-api.md 7, 3)."""
    emulated = start(doubts=Doubts(body_compression_type=doubt))
    assert drive(emulated, "add_compressed") == [202, 202]
    items = emulated.items()
    assert sorted(items) == [f"https://example.com/{name}" for name in indexed]
    assert {item["body"]["preview"] for item in items.values()} == {"<p>packed</p>"}


def test_deletes(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "delete") == [202] * 6
    assert list(emulated.items()) == ["file://other/a"]


def test_a_batch(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "batch") == [202, 202]
    items = emulated.items()
    assert sorted(items) == sorted([*(f"https://example.com/{n}" for n in range(20)), "https://example.com/gzip"])
    assert items["https://example.com/19"]["body"]["size"] == 38
    assert items["https://example.com/gzip"]["body"]["preview"] == "packed"
    assert emulated.requests()[1:4] == [
        ("POST", "files", 201),
        ("PUT", "storage", 200),
        ("PUT", "documents/batch", 202),
    ]


def test_identities_and_aliases(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "identities") == [202] * 4
    found = emulated.identities()
    assert [who["name"] for who in found["Team"]["members"]] == ["alice"]
    assert [(who["type"], who["name"], who["additionalInfo"]) for who in found["Team"]["wellKnowns"]] == [
        ("VIRTUAL_GROUP", "Everyone", {"key": "value"})
    ]
    assert [(who["provider"], who["name"]) for who in found["alice"]["mappings"]] == [(EMAIL, "alice@example.com")]
    assert (found["Gone"]["disabled"], found["Team"]["disabled"]) == (True, False)
    assert emulated.requests()[:4] == [
        ("PUT", "permissions", 202),
        ("PUT", "permissions", 202),
        ("PUT", "mappings", 202),
        ("DELETE", "permissions", 202),
    ]
    assert emulated.bodies()[3] == {"identity": {"additionalInfo": {}, "name": "Gone", "type": "GROUP"}}


def test_old_identities(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "old_identities") == [202, 202]
    assert emulated.identities()["Old"]["disabled"] is True


def test_a_batch_of_identities(start: Start) -> None:
    emulated = start()
    assert drive(emulated, "identity_batch") == [202, 201, 200, 202]
    found = emulated.identities()
    assert [who["name"] for who in found["Team"]["members"]] == ["alice"]
    assert [who["name"] for who in found["alice"]["mappings"]] == ["alice@example.com"]
    assert found["Gone"]["disabled"] is True


def test_it_tries_again_when_it_is_throttled(start: Start) -> None:
    emulated = start(faults=("PUT documents: 429 retry-after=1 x2",))
    assert drive(emulated, "add") == [202]
    assert [status for _, _, status in emulated.requests()] == [429, 429, 202]


def test_it_commits_a_batch_whose_upload_was_refused(start: Start) -> None:
    """It looks at no answer of the storage; only the logs say that nothing arrived (push-api.md 7, 6)."""
    emulated = start(faults=("PUT storage: 403 x1",))
    assert drive(emulated, "batch") == [202, 202]
    assert list(emulated.items()) == ["https://example.com/gone"]
    assert emulated.logs()[-1] == ("BATCH_FILE", "ERROR")
