"""`reconciler state`: list, show, pull."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.cli.addresses import nearest
from reconciler.model.address import Address
from reconciler.model.states import StateBase, Target
from reconciler.state.journal import Intent, Outcome, RunInfo
from reconciler.state.rows import Verification
from reconciler.state.snapshot import decode
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.builders import Folder

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - uri: https://example.com/a
    title: A
    body: {text: hello}
    permissions: {allowed: [group:Team]}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""
A, B, TEAM = "item/handbook/https://example.com/a", "item/handbook/https://example.com/b", "group/corp/Team"


@pytest.fixture
def applied(folder: Folder) -> Folder:
    folder.write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    return folder


def write_down(folder: Folder, *, verified: dict[str, str], doubtful: tuple[str, ...] = ()) -> None:
    """Write into the state what a later `verify` and a run that died would have."""
    lock = LockInfo("l", "test", "2026-01-01T00:00:00.000Z", "host", "me", 1)
    with SqliteStore(folder.root / ".reconciler" / "local.state.db") as store:
        rows = {row.address: row for row in store.rows()}
        target = store.target() or Target("x")
        with store.lock(lock) as writer:
            writer.begin_run(RunInfo("r2", "reconciler apply", lock.since), target, lambda: "none")
            writer.record_verified(
                Verification(Address(address), rows[Address(address)].ordering_id, word, "too large")
                for address, word in verified.items()
            )
            if doubtful:
                covers = tuple((Address(address), "put") for address in doubtful)
                ticket = writer.intent(Intent(1, "item", "", 7, lock.since, covers))
                writer.settle(ticket, Outcome.UNKNOWN, at=lock.since)


def test_list(applied: Folder) -> None:
    ran = applied.ok("state", "list")
    assert ran.out == f"accepted     {TEAM}\naccepted     {A}\naccepted     {B}\n"
    assert ran.err == ""


def test_list_marks_what_is_known(applied: Folder) -> None:
    write_down(applied, verified={A: "verified", B: "rejected"}, doubtful=(TEAM, "item/handbook/https://new"))
    ran = applied.ok("state", "list")
    assert ran.out == f"unconfirmed  {TEAM}\nverified     {A}\nrejected     {B}\n"
    assert ran.err.startswith("1 more may be at the remote")
    listed = applied.ok("state", "list", "--format", "json").json
    assert listed["unsettled"] == [TEAM, "item/handbook/https://new"]
    assert [(entry["mark"], entry["verified"], entry["verified_detail"]) for entry in listed["resources"]] == [
        ("unconfirmed", None, ""),
        ("verified", "verified", "too large"),
        ("rejected", "rejected", "too large"),
    ]


def test_list_as_json(applied: Folder) -> None:
    listed = applied.ok("state", "list", "--format", "json").json
    assert listed["serial"] > 0
    assert [entry["address"] for entry in listed["resources"]] == [TEAM, A, B]
    assert all(entry["ordering_id"] and entry["run"] and entry["accepted_at"] for entry in listed["resources"])


def test_empty_state(folder: Folder) -> None:
    ran = folder.ok("state", "list")
    assert ran.out == ""
    assert "nothing is recorded yet" in ran.err
    assert folder.ok("state", "list", "--format", "json").json["resources"] == []
    assert decode(folder.ok("state", "pull").out.encode()).base == StateBase("", 0)
    assert "nothing was applied yet" in folder.ok("state", "show", A, code=2).err
    assert not (folder.root / ".reconciler").exists()


def test_show(applied: Folder) -> None:
    write_down(applied, verified={A: "rejected"}, doubtful=(A,))
    document = applied.ok("state", "show", A, "--format", "json").json
    assert document["kind"], document["name"] == ("item", "https://example.com/a")
    assert document["doc"]["title"] == "A"
    assert document["shared"]["levels"][0]["sets"][0]["allowed"] == ["group/corp/Team"]
    assert document["run"]["command"].startswith("reconciler -C ")
    assert (document["mark"], document["verified"]) == ("unconfirmed", "rejected")
    assert document["unsettled"][0]["run"] == "r2"
    text = applied.ok("state", "show", A).out
    for part in (f"{A}\n", f"ordering id {document['ordering_id']}", document["accepted_at"], "rejected: too large"):
        assert part in text
    assert "unconfirmed: call 1 of run r2" in text
    assert '"title": "A"' in text


def test_show_makes_control_characters_visible(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST.replace("title: A", 'title: "A\\e[31m\\u202e"'))
    folder.ok("apply", "--auto-approve")
    text = folder.ok("state", "show", A).out
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "address", ["item/handbook/https://exmple.com/a", "item/handbok/https://example.com/a", "https://example.com/a"]
)
def test_show_unknown_address(applied: Folder, address: str) -> None:
    ran = applied.ok("state", "show", address, code=2)
    assert ran.out == ""
    assert "error[unknown-address]" in ran.err
    assert f'did you mean "{A}"?' in ran.err


def test_show_address_like_no_other(applied: Folder) -> None:
    assert f"reconciler -C {applied.root} state list" in applied.ok("state", "show", "%%%", code=2).err


def test_nearest_of_very_many_is_found_at_once() -> None:
    known = [f"item/handbook/https://example.com/docs/{number}/page" for number in range(100_000)]
    assert nearest("item/handbook/https://example.com/docs/77777/pag", known) == f'did you mean "{known[77777]}"?'


def test_pull_is_canonical(applied: Folder, tmp_path: Path) -> None:
    first = applied.ok("state", "pull")
    assert first.err == ""
    assert applied.ok("state", "pull").out == first.out
    assert [row.address for row in decode(first.out.encode()).rows] == [TEAM, A, B]
    out = tmp_path / "state.json"
    assert applied.ok("state", "pull", "--out", str(out)).out == ""
    assert out.read_text(encoding="utf-8") == first.out
    refused = applied.ok("state", "pull", "--out", str(tmp_path / "no" / "state.json"), code=2)
    assert "error[cannot-write]" in refused.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_environment_chooses_the_state(applied: Folder) -> None:
    path = applied.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("environments:\n", "environments:\n  other: {target: emulator}\n"))
    assert applied.ok("state", "list", "-e", "other").out == ""
    assert applied.ok("-e", "local", "state", "list").out
    assert "did you mean" in applied.ok("state", "list", "-e", "locla", code=2).err


def test_check(applied: Folder) -> None:
    ran = applied.ok("state", "check")
    assert (ran.out.count("resources: 3, runs: 1"), ran.err) == (1, "")
    assert applied.ok("state", "check", "--format", "json").json["problems"] == []
    with closing(sqlite3.connect(applied.root / ".reconciler" / "local.state.db")) as connection:
        connection.executescript("UPDATE resources SET doc = '{}' WHERE address LIKE 'item/%/b'")
    ran = applied.ok("state", "check", code=1)
    assert ran.out == ""
    assert "error[state-corrupt]" in ran.err and f'the row of "{B}" does not match its digest' in ran.err
    (problem,) = applied.ok("state", "check", "--format", "json", code=1).json["problems"]
    assert problem["code"] == "state-corrupt"


def test_check_of_no_state(folder: Folder) -> None:
    assert "resources: 0, runs: 0" in folder.ok("state", "check").out
    assert not (folder.root / ".reconciler").exists()
