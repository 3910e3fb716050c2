"""`reconciler state rm`, `mv` and `push`: changes of the record alone, by the lock, in the history."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_apply import Terminal

from reconciler.model.address import Address
from reconciler.model.states import Target
from reconciler.state.holder import host_name
from reconciler.state.journal import Intent, Outcome, RunInfo
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.builders import ORGANIZATION, PROVIDER_ID, Folder, Remote

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""
A, B, TEAM = "item/handbook/https://example.com/a", "item/handbook/https://example.com/b", "group/corp/Team"
LOCK = LockInfo("mine", "somebody's work", "2026-01-01T00:00:00.000Z", "elsewhere", "eve", 1)


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    return folder


def store_of(folder: Folder) -> SqliteStore:
    return SqliteStore(folder.root / ".reconciler" / "local.state.db")


def listed(folder: Folder) -> list[str]:
    return [entry["address"] for entry in folder.ok("state", "list", "--format", "json").json["resources"]]


def history(folder: Folder) -> list[dict[str, Any]]:
    return list(folder.ok("state", "history", "--format", "json").json["runs"])


def send_into_doubt(folder: Folder, address: str) -> None:
    with store_of(folder) as store, store.lock(LOCK) as writer:
        writer.begin_run(RunInfo("lost", "apply", LOCK.since), store.target() or Target(""), lambda: "none")
        writer.settle(
            writer.intent(Intent(1, "item", "", 7, LOCK.since, ((Address(address), "put"),))),
            Outcome.UNKNOWN,
            at=LOCK.since,
        )
        writer.end_run(at=LOCK.since, result="stopped")


# -- rm --------------------------------------------------------------------------------------------


def test_what_is_forgotten_stays_at_the_remote_and_is_planned_anew(applied: Folder, remote: Remote) -> None:
    contents, total, serial = remote.contents(), remote.total, history(applied)[0]["serial_after"]
    ran = applied.run("state", "rm", A, TEAM, key=None)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"forgot 2 addresses (serial {serial + 1}):\n  {TEAM}\n  {A}\n"
        "the remote was not touched: it keeps what it has; what a manifest still declares is planned as new\n"
    )
    assert listed(applied) == [B]
    assert (remote.contents(), remote.total) == (contents, total)
    newest = history(applied)[0]
    assert (newest["result"], newest["serial_after"]) == ("done", serial + 1)
    assert newest["command"].endswith(f"state rm {A} {TEAM}")
    assert "is whole; runs: 2" in applied.ok("state", "history", "verify").out
    applied.write("all.yaml", "items: []\n")
    plan = applied.ok("plan", "--format", "json").json
    assert [change["address"] for change in plan["changes"]] == [B], "what is not recorded is not deleted"


def test_an_unknown_address_leaves_all_of_them_recorded(applied: Folder) -> None:
    ran = applied.ok("state", "rm", A, "item/handbook/https://example.com/bb", code=2)
    assert "error[unknown-address]" in ran.err and f'did you mean "{B}"?' in ran.err
    assert "error[unknown-address]" in applied.ok("state", "rm", "item/blog/*", "--auto-approve", code=2).err
    assert listed(applied) == [TEAM, A, B]
    assert len(history(applied)) == 1


def test_a_pattern_lists_what_it_means_and_needs_a_word(applied: Folder) -> None:
    ran = applied.ok("state", "rm", "item/*", code=2)
    assert ran.out == ""
    assert ran.err.startswith(f"these would be forgotten:\n  {A}\n  {B}\n")
    assert "error[approval-needed]" in ran.err
    assert listed(applied) == [TEAM, A, B]
    applied.ok("state", "rm", "item/*", "--auto-approve")
    assert listed(applied) == [TEAM]


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 2, [TEAM, A, B]), ("y\n", 0, [TEAM])])
def test_on_a_terminal_it_asks(applied: Folder, answer: str, code: int, left: list[str]) -> None:
    terminal = Terminal("-C", str(applied.root), "state", "rm", "item/*")
    terminal.wait_for("Forget 2 addresses? [y/N]")
    assert f"  {B}" in terminal.shown
    terminal.type(answer)
    assert terminal.end() == code
    assert listed(applied) == left


@pytest.mark.parametrize("command", [("rm", TEAM), ("rm", "*", "--auto-approve"), ("mv", TEAM, "group/corp/Crew")])
def test_what_is_protected_must_be_allowed(applied: Folder, command: tuple[str, ...]) -> None:
    applied.write("all.yaml", MANIFEST.replace("{name: Team,", "{name: Team, protect: true,"))
    applied.ok("apply", "--auto-approve")
    ran = applied.ok("state", *command, code=1)
    assert "error[protected]" in ran.err and f'"{TEAM}" is protected' in ran.err
    assert listed(applied) == [TEAM, A, B]
    applied.ok("state", *command, "--allow", "protected")
    assert TEAM not in listed(applied)


def test_protection_removed_together_with_its_resource_still_holds(applied: Folder, remote: Remote) -> None:
    applied.write("all.yaml", MANIFEST.replace("title: B,", "title: B, protect: true,"))
    applied.ok("apply", "--auto-approve")
    contents = remote.contents()
    applied.write("all.yaml", "".join(line for line in MANIFEST.splitlines(True) if "title: B" not in line))
    for command in (("plan",), ("apply", "--auto-approve"), ("destroy", "--auto-approve")):
        ran = applied.ok(*command, code=1)
        assert f'error[protected]: "{B}" is protected and would be deleted' in ran.out + ran.err
    assert remote.contents() == contents


def test_doubt_about_an_address_can_be_forgotten(applied: Folder) -> None:
    send_into_doubt(applied, "item/handbook/https://example.com/new")
    assert "1 more may be at the remote" in applied.ok("state", "list").err
    applied.ok("state", "rm", "item/handbook/https://example.com/new")
    assert applied.ok("state", "list").err == ""


@pytest.mark.parametrize("command", [("rm", TEAM), ("mv", TEAM, "group/corp/Crew")])
def test_nothing_is_changed_while_somebody_holds_the_lock(applied: Folder, command: tuple[str, ...]) -> None:
    with store_of(applied) as store, store.lock(LOCK):
        ran = applied.ok("state", *command, code=1)
    assert "error[state-locked]" in ran.err and "eve on elsewhere holds the lock" in ran.err
    assert listed(applied) == [TEAM, A, B]


def test_what_is_recorded_while_somebody_thinks_about_it_stops_it(applied: Folder) -> None:
    """Also a call of unknown outcome, which moves no serial."""
    terminal = Terminal("-C", str(applied.root), "state", "rm", "item/*")
    terminal.wait_for("Forget 2 addresses? [y/N]")
    with store_of(applied) as store, store.lock(LOCK) as writer:
        writer.begin_run(RunInfo("lost", "apply", LOCK.since), store.target() or Target(""), lambda: "none")
        writer.intent(Intent(1, "item", "", 7, LOCK.since, ((Address(A), "put"),)))
    terminal.type("y\n")
    assert terminal.end() == 1
    assert "error[state-moved]" in terminal.shown
    assert listed(applied) == [TEAM, A, B]


# -- mv --------------------------------------------------------------------------------------------


def test_a_source_under_another_name_is_the_same_to_the_next_plan(applied: Folder, remote: Remote) -> None:
    total = remote.total
    project = applied.root / "reconciler.yaml"
    text = project.read_text()
    project.write_text(text.replace("providers:\n  corp:", f"providers:\n  people: {{id: {PROVIDER_ID}x}}\n  corp:"))
    before = applied.ok("state", "show", TEAM, "--format", "json").json
    ran = applied.run("state", "mv", TEAM, "group/people/Team", key=None)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{TEAM}\nis now recorded as group/people/Team (serial ")
    assert "the remote was not touched" in ran.out
    after = applied.ok("state", "show", "group/people/Team", "--format", "json").json
    assert after == before | {"address": "group/people/Team", "scope": "people"}
    assert (listed(applied), remote.total) == (["group/people/Team", A, B], total)
    assert history(applied)[0]["calls"] == {"accepted": 0, "refused": 0, "unknown": 0}


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("group/corp/Tam", "group/corp/Crew", "unknown-address", 'did you mean "group/corp/Team"?'),
        (TEAM, "item/handbook/x:1", "bad-address", "group/SCOPE/NAME"),
        (TEAM, "Crew", "bad-address", "group/SCOPE/NAME"),
        (TEAM, "group/corp/", "bad-address", "group/SCOPE/NAME"),
        (TEAM, "group/crop/Crew", "unknown-provider", 'did you mean "corp"?'),
        (A, "item/handbok/x:1", "unknown-source", 'did you mean "handbook"?'),
        (A, B, "address-taken", "state rm"),
    ],
)
def test_moves_that_make_no_sense_are_refused(applied: Folder, old: str, new: str, code: str, told: str) -> None:
    ran = applied.ok("state", "mv", old, new, code=2)
    assert f"error[{code}]" in ran.err and told in ran.err
    assert (listed(applied), len(history(applied))) == ([TEAM, A, B], 1)


@pytest.mark.parametrize("doubtful", [A, "item/handbook/x:1"])
def test_what_is_in_doubt_is_not_moved(applied: Folder, doubtful: str) -> None:
    send_into_doubt(applied, doubtful)
    assert "error[unconfirmed]" in applied.ok("state", "mv", A, "item/handbook/x:1", code=1).err
    assert listed(applied) == [TEAM, A, B]


# -- unlock ----------------------------------------------------------------------------------------


def test_a_held_lock_is_kept_and_what_a_dead_run_left_is_cleared_by_its_id(applied: Folder) -> None:
    with store_of(applied) as store, store.lock(LOCK):
        assert "error[state-locked]" in applied.ok("state", "unlock", "mine", code=1).err
        ran = applied.ok("state", "unlock", "yours", code=1)
        assert 'the lock of this state is not "yours"' in ran.err and "it is mine, of eve on elsewhere" in ran.err
    assert "nothing was left behind" in applied.ok("state", "unlock", "mine", code=1).err
    leftover = asdict(LOCK) | {"host": host_name(), "pid": 2**22 + 1}
    note = applied.root / ".reconciler" / "local.state.db.lock.json"
    note.write_bytes(orjson.dumps(leftover))
    assert "error[other-lock]" in applied.ok("state", "unlock", "yours", code=1).err
    assert note.exists()
    ran = applied.ok("state", "unlock", "mine")
    assert ran.out.startswith("nobody holds the lock any more; what was left of lock mine is cleared: process 4194305")
    assert "did not end" not in ran.out
    assert not note.exists()


def test_unlock_names_the_run_that_did_not_end(applied: Folder) -> None:
    with store_of(applied) as store, store.lock(LOCK) as writer:
        writer.begin_run(RunInfo("died", "apply", LOCK.since), store.target() or Target(""), lambda: "none")
    (applied.root / ".reconciler" / "local.state.db.lock.json").write_bytes(orjson.dumps(asdict(LOCK)))
    assert "run died did not end: apply goes on where it stopped" in applied.ok("state", "unlock", "mine").out


# -- push ------------------------------------------------------------------------------------------


@pytest.fixture
def pulled(applied: Folder) -> Path:
    """The state in a file."""
    out = applied.root.parent / "state.json"
    applied.ok("state", "pull", "--out", str(out))
    return out


def test_a_snapshot_in_a_fresh_folder_is_the_state_there(applied: Folder, pulled: Path, remote: Remote) -> None:
    total = remote.total
    fresh = Folder(applied.root.parent / "fresh", (applied.root / "reconciler.yaml").read_text())
    fresh.write("all.yaml", MANIFEST)
    ran = fresh.run("state", "push", str(pulled), key=None)
    assert (ran.code, ran.err) == (0, "")
    assert "3 resources (serial 3); before, there were 0\nthe remote was not touched\n" in ran.out
    assert fresh.ok("state", "pull").out == pulled.read_text()
    assert fresh.ok("plan", "--exit-code").out.endswith("No changes. 3 resources are as recorded; no call is needed.\n")
    assert "nothing was done" in fresh.ok("state", "push", str(pulled)).out
    assert "is whole; runs: 1" in fresh.ok("state", "history", "verify").out
    assert "nothing is wrong" in fresh.ok("state", "check").out
    assert remote.total == total
    fresh.write("all.yaml", MANIFEST.replace("title: A", "title: A2"))
    fresh.ok("apply", "--auto-approve")
    applied.ok("state", "pull", "--out", str(pulled))
    assert "error[older-serial]" in fresh.ok("state", "push", str(pulled), code=1).err
    fresh.ok("state", "pull", "--out", str(pulled))
    assert "serial 4" in applied.ok("state", "push", str(pulled)).out
    assert applied.ok("state", "pull").out == pulled.read_text()


def test_an_older_snapshot_needs_force_and_gets_a_serial_of_its_own(applied: Folder, pulled: Path) -> None:
    applied.write("all.yaml", MANIFEST.replace("title: A", "title: A2"))
    applied.ok("apply", "--auto-approve")
    plan = str(applied.root.parent / "plan.json")
    applied.write("all.yaml", MANIFEST.replace("title: A", "title: A3"))
    applied.ok("plan", "--out", plan)
    before = applied.ok("state", "pull").out
    ran = applied.ok("state", "push", str(pulled), code=1)
    assert "error[older-serial]" in ran.err and "has serial 3, and the state 4" in ran.err
    assert applied.ok("state", "pull").out == before
    applied.ok("state", "push", str(pulled), "--force")
    assert applied.ok("state", "pull").out == pulled.read_text().replace('"serial": 3', '"serial": 5')
    assert "error[stale-plan]" in applied.ok("apply", plan, "--auto-approve", code=1).err
    assert [(run["serial_before"], run["serial_after"]) for run in history(applied)] == [(4, 5), (3, 4), (0, 3)]


def test_the_same_serial_with_other_contents_is_refused(applied: Folder, pulled: Path) -> None:
    pulled.write_text(pulled.read_text().replace('"title":"A"', '"title":"forged"'))
    assert "with other contents" in applied.ok("state", "push", str(pulled), code=1).err


def test_another_lineage_needs_force(applied: Folder, pulled: Path) -> None:
    lineage = orjson.loads(pulled.read_bytes())["lineage"]
    pulled.write_text(pulled.read_text().replace(lineage, "another").replace('"serial": 3', '"serial": 40'))
    ran = applied.ok("state", "push", str(pulled), code=1)
    assert "error[other-lineage]" in ran.err and lineage in ran.err
    applied.ok("state", "push", str(pulled), "--force")
    assert applied.ok("state", "pull").out == pulled.read_text()
    assert [run["lineage"] for run in history(applied)] == [lineage, lineage]
    assert "is whole; runs: 2" in applied.ok("state", "history", "verify").out


def test_doubts_move_with_the_snapshot(applied: Folder, pulled: Path) -> None:
    send_into_doubt(applied, A)
    applied.ok("state", "pull", "--out", str(pulled))
    fresh = Folder(applied.root.parent / "fresh", (applied.root / "reconciler.yaml").read_text())
    fresh.ok("state", "push", str(pulled))
    assert f"unconfirmed  {A}" in fresh.ok("state", "list").out
    assert fresh.ok("state", "pull").out == pulled.read_text()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda text: text[: len(text) // 2], "snapshot-broken"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "snapshot-newer-version"),
        (lambda text: text.replace(ORGANIZATION, "anotherorganization"), "other-target"),
        (lambda text: text.replace(TEAM, "Team"), "snapshot-broken"),
        (lambda text: re.sub(r'"ordering_id":\d+', f'"ordering_id":{2**63}', text), "snapshot-broken"),
        (lambda text: text.replace('"serial": 3', f'"serial": {2**63}'), "snapshot-broken"),
    ],
)
def test_what_is_no_snapshot_of_this_state_changes_nothing(
    applied: Folder, pulled: Path, damage: Callable[[str], str], code: str
) -> None:
    before = applied.ok("state", "pull").out
    pulled.write_text(damage(pulled.read_text()))
    assert f"error[{code}]" in applied.ok("state", "push", str(pulled), "--force", code=1).err
    assert applied.ok("state", "pull").out == before
    assert len(history(applied)) == 1


def test_no_snapshot_at_all(applied: Folder, folder: Folder) -> None:
    assert "error[no-snapshot]" in applied.ok("state", "push", str(folder.root / "none.json"), code=2).err
    fresh = Folder(folder.root.parent / "fresh")
    empty = fresh.root / "empty.json"
    fresh.ok("state", "pull", "--out", str(empty))
    assert "error[empty-snapshot]" in applied.ok("state", "push", str(empty), "--force", code=1).err


def test_a_snapshot_waits_for_the_lock(applied: Folder, pulled: Path) -> None:
    send_into_doubt(applied, A)
    with store_of(applied) as store, store.lock(LOCK):
        assert "error[state-locked]" in applied.ok("state", "push", str(pulled), "--force", code=1).err
