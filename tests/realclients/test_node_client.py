"""The official Node client, unchanged, and what arrives of what it sends (push-api.md 7, 10).

The `source:push` commands of the official command line send what this client sends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ON_CI
from tests.realclients.conftest import CATALOG, CLIENTS, KEY, PROVIDER, SOURCE, Emulated, Start, needs, run

HERE = Path(__file__).with_name("node")
FOLDER = CLIENTS / "node"
EMAIL = "Email Security Provider"


def drive(emulated: Emulated, scenario: str, work: Path) -> Any:
    """Run a scenario of the driver and return what it returns."""
    needs(FOLDER / "node_modules" / "@coveo" / "push-api-client")
    node = shutil.which("node")
    if node is None:
        assert os.environ.get(ON_CI) != "true", "CI has Node, so this must run there"
        pytest.skip("Node is not installed")
    work.mkdir(exist_ok=True)
    command = [node, "--require", str(HERE / "route.cjs"), str(HERE / "drive.cjs"), emulated.settings(), scenario]
    return run(command, {"EMULATOR_URL": emulated.emulator.url, "CLIENT_FOLDER": str(FOLDER), "WORK_FOLDER": str(work)})


def test_items(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "add", tmp_path) == [202, 202]
    uri = "https://example.com/a?x=1&y=2"
    item = emulated.items()[uri]
    assert item["metadata"] == {
        "title": "Title",
        "date": "2017-11-08T12:18:41.000Z",
        "mykey": ["one", "two"],
        "permanentid": hashlib.md5(uri.encode()).hexdigest()[:30] + hashlib.sha1(uri.encode()).hexdigest()[:30],
    }
    (level,) = item["permissions"]
    assert [(who["securityProvider"], who["identity"]) for who in level["permissionSets"][0]["allowedPermissions"]] == [
        (EMAIL, "alice@example.com"),
        (PROVIDER, "Team"),
    ]
    levels = emulated.items()["https://example.com/levels"]["permissions"]
    assert [level["name"] for level in levels] == ["top", "rest"]


def test_an_item_whose_fields_it_makes_first(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "addWithFields", tmp_path) == [202]
    assert list(emulated.items()) == ["https://example.com/fields"]
    asked = [path for _, path, _ in emulated.requests()]
    assert asked.count("/rest/privilege/evaluate") == 4
    assert [path for path in asked if "privilege" not in path][:3] == [
        "indexes/page/fields",
        "indexes/fields/batch/create",
        "documents",
    ]
    assert emulated.fields().items() >= {"mynumber": "LONG", "mytext": "STRING"}.items()


def test_it_makes_no_fields_without_the_privilege(start: Start, tmp_path: Path) -> None:
    emulated = start(api_key="", keys={KEY: frozenset({"SOURCE_EDIT", "FIELD_VIEW"})})
    with pytest.raises(AssertionError, match="doesn't have the privilege to create or update fields"):
        drive(emulated, "addWithFields", tmp_path)
    assert "documents" not in [path for _, path, _ in emulated.requests()]


def test_an_item_whose_uri_has_no_scheme(start: Start, tmp_path: Path) -> None:
    """It sends another document id in the body than in the query, which is refused (push-api.md 7, 5)."""
    emulated = start()
    with pytest.raises(AssertionError, match="Parameter 'documentId' has an invalid value 'file:///"):
        drive(emulated, "addNoUri", tmp_path)
    assert emulated.requests() == [("PUT", "documents", 412)]


def test_deletes(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "remove", tmp_path) == [202, 202]
    assert list(emulated.items()) == ["file://other/a"]


def test_old_items(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "removeOld", tmp_path) == [202, 202]
    assert list(emulated.items()) == ["https://example.com/old"], "it waits for 15 minutes"
    emulated.http.post("/_emulator/clock", json={"advance": 900})
    assert emulated.items() == {}


def test_a_batch(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "batch", tmp_path) == [202]
    items = emulated.items()
    assert {uri: item["body"]["preview"] for uri, item in items.items()} == {
        "https://example.com/text": "ü",
        "https://example.com/gzip": "packed",
    }
    assert emulated.requests()[:5] == [
        ("POST", "status", 201),
        ("PUT", "documents", 202),
        ("POST", "files", 201),
        ("PUT", "storage", 200),
        ("PUT", "documents/batch", 202),
    ]
    assert emulated.state()["sources"][SOURCE]["status"] == "REBUILD"


def test_a_folder_of_files(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "files", tmp_path / "items") == [202]
    assert sorted(emulated.items()) == [f"https://example.com/{number}" for number in (1, 2, 3)]


def test_identities_and_aliases(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "identities", tmp_path) == []
    found = emulated.identities()
    assert [who["name"] for who in found["Team"]["members"]] == ["alice"]
    assert [who["name"] for who in found["Team"]["wellKnowns"]] == ["Everyone"]
    assert [(who["provider"], who["name"]) for who in found["alice"]["mappings"]] == [(EMAIL, "alice@example.com")]
    assert found["Gone"]["disabled"] is True


def test_old_identities(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "oldIdentities", tmp_path) == []
    assert emulated.identities()["Old"]["disabled"] is True


def test_a_batch_of_identities(start: Start, tmp_path: Path) -> None:
    emulated = start()
    assert drive(emulated, "identityBatch", tmp_path) == [200]
    assert [who["name"] for who in emulated.identities()["Team"]["members"]] == ["alice"]


def test_a_catalog(start: Start, tmp_path: Path) -> None:
    """A load replaces all there was; an update adds to it (push-api.md 2.5)."""
    emulated = start()
    assert drive(emulated, "stream", tmp_path) == [202]
    assert sorted(emulated.items(CATALOG)) == ["product://b", "product://c", "product://d"]


def test_it_tries_again_when_it_is_throttled(start: Start, tmp_path: Path) -> None:
    emulated = start(faults=("POST files: 429 x2",))
    assert drive(emulated, "batch", tmp_path) == [202]
    assert [status for _, path, status in emulated.requests() if path == "files"] == [429, 429, 201]
