"""`reconciler state migrate` and `reopen`, from one file to another; other stores are in tests/state."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.builders import Folder, Remote

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""
OLD, NEW = ".reconciler/local.state.db", "shared/other.db"
LOCK = LockInfo("mine", "somebody's work", "2026-01-01T00:00:00.000Z", "elsewhere", "eve", 1)


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    folder.write("all.yaml", MANIFEST.replace("title: B", "title: C").replace("[user:alice@", "[user:bob@"))
    folder.ok("apply", "--auto-approve")
    return folder


def tables(folder: Folder, name: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all that is in a state file, but for where it went."""
    with closing(sqlite3.connect(folder.root / name)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in names}
    found["meta"] = [row for row in found["meta"] if row[0] not in ("moved_to", "churn", "rows_when_tidied")]
    return found


def at(folder: Folder, state: str) -> Folder:
    """Say in the project file where the state is."""
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("target: http", f"state: '{state}', target: http"))
    return folder


def test_everything_arrives_and_the_message_says_what_to_do_next(applied: Folder) -> None:
    before = tables(applied, OLD)
    ran = applied.ok("state", "migrate", "--to", NEW)
    assert tables(applied, NEW) == tables(applied, OLD) == before
    serial = dict(before["meta"])["serial"]
    assert ran.out == (
        f"moved {applied.root}/{OLD} (serial {serial}) to {applied.root}/{NEW} (serial {serial}): "
        "resources: 3, runs: 2\n"
        "the remote was not touched, and no run begins any more where the state was\n"
        "now say in reconciler.yaml, under environments, local:\n"
        f"    state: {NEW}\n"
    )


def test_work_goes_on_at_the_new_place(applied: Folder) -> None:
    known = applied.ok("access", "who", "https://example.com/a", "--format", "json").json
    applied.ok("state", "migrate", "--to", NEW)
    at(applied, NEW)
    applied.ok("plan", "--exit-code")
    assert "the history is whole; runs: 2" in applied.ok("state", "history", "verify").out
    assert applied.ok("access", "who", "https://example.com/a", "--format", "json").json == known
    applied.ok("rollback", "--access-only", "--out", str(applied.root / "undo.json"))
    applied.ok("apply", str(applied.root / "undo.json"), "--auto-approve")
    assert "the history is whole; runs: 3" in applied.ok("state", "history", "verify").out
    applied.ok("state", "check")


@pytest.mark.parametrize(
    "command", [("plan",), ("apply", "--auto-approve"), ("verify",), ("state", "rm", "group/corp/Team")]
)
def test_no_run_begins_where_the_state_was(applied: Folder, command: tuple[str, ...]) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    before = tables(applied, OLD)
    ran = applied.ok(*command, code=1)
    assert f"error[state-migrated]: this state was moved to {NEW}" in ran.err
    assert tables(applied, OLD) == before


def test_a_state_that_was_moved_can_be_used_again(applied: Folder) -> None:
    assert "was not moved; nothing was done" in applied.ok("state", "reopen").out
    applied.ok("state", "migrate", "--to", NEW)
    ran = applied.ok("state", "reopen")
    assert f"is in use again; what was recorded at {NEW} since then is not known here" in ran.out
    applied.ok("apply", "--auto-approve")


def test_a_state_is_moved_twice_only_by_force(applied: Folder) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    ran = applied.ok("state", "migrate", "--to", "third.db", code=1)
    assert "error[state-migrated]" in ran.err
    assert not (applied.root / "third.db").exists()
    applied.ok("state", "migrate", "--to", "third.db", "--force")
    assert tables(applied, "third.db") == tables(applied, NEW)


def test_one_that_was_killed_before_it_closed_the_old_state_is_finished(applied: Folder) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    applied.ok("state", "reopen")
    arrived = tables(applied, NEW)
    applied.ok("state", "migrate", "--to", NEW)
    assert tables(applied, NEW) == arrived
    assert "error[state-migrated]" in applied.ok("plan", code=1).err


def test_one_that_was_killed_before_it_could_say_so_is_done(applied: Folder) -> None:
    first = applied.ok("state", "migrate", "--to", NEW)
    assert applied.ok("state", "migrate", "--to", NEW).out == first.out
    at(applied, NEW).ok("state", "rm", "group/corp/Team")
    project = applied.root / "reconciler.yaml"
    project.write_text(project.read_text().replace(f"state: '{NEW}', ", ""))
    assert "error[state-migrated]" in applied.ok("state", "migrate", "--to", NEW, code=1).err


def test_a_place_that_holds_another_state_is_left_alone(applied: Folder) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    applied.ok("state", "reopen")
    applied.ok("state", "rm", "group/corp/Team")
    arrived = tables(applied, NEW)
    ran = applied.ok("state", "migrate", "--to", NEW, code=1)
    assert "error[state-not-empty]: another state is recorded there already" in ran.err
    assert tables(applied, NEW) == arrived
    applied.ok("apply", "--auto-approve")


def test_back_from_another_place(applied: Folder) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    ran = applied.ok("state", "migrate", "--from", NEW, "--to", "back.db")
    assert "reconciler.yaml" not in ran.out
    assert tables(applied, "back.db") == tables(applied, NEW)


def test_back_to_where_it_was_and_nothing_happened_since(applied: Folder) -> None:
    applied.ok("state", "migrate", "--to", NEW)
    applied.ok("state", "migrate", "--from", NEW, "--to", OLD)
    applied.ok("plan", "--exit-code")
    assert "error[state-migrated]" in at(applied, NEW).ok("plan", code=1).err


def test_a_state_that_was_moved_tells_no_past(applied: Folder) -> None:
    ended = applied.ok("state", "history", "--format", "json").json["runs"][0]["ended_at"]
    asked = ("access", "who", "https://example.com/a", "--at", ended)
    applied.ok(*asked)
    applied.ok("state", "migrate", "--to", NEW)
    assert "error[state-migrated]" in applied.ok(*asked, code=1).err


def test_a_damaged_state_is_not_moved(applied: Folder) -> None:
    with closing(sqlite3.connect(applied.root / OLD)) as connection, connection:
        connection.execute("UPDATE runs SET result = 'tampered' WHERE seq = 1")
    ran = applied.ok("state", "migrate", "--to", NEW, code=1)
    assert "error[state-corrupt]" in ran.err
    assert not (applied.root / NEW).exists()


@pytest.mark.parametrize("held", [OLD, NEW])
def test_both_places_are_locked(applied: Folder, held: str) -> None:
    with SqliteStore(applied.root / held) as store, store.lock(LOCK):
        ran = applied.ok("state", "migrate", "--to", NEW, code=1)
    assert "error[state-locked]" in ran.err
    assert not (applied.root / NEW).exists()
    applied.ok("plan")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--to", OLD), 2, "same-store"),
        (("--to", f"./{OLD}"), 2, "same-store"),
        (("--to", "../elsewhere.db"), 2, "path-outside"),
        (("--to", "mysql://host/db"), 2, "state-store"),
        (("--to", NEW, "--from", "nothing.db"), 1, "empty-state"),
    ],
)
def test_what_cannot_be_moved_is_refused(applied: Folder, arguments: tuple[str, ...], code: int, error: str) -> None:
    assert f"error[{error}]" in applied.ok("state", "migrate", *arguments, code=code).err
    assert not (applied.root / NEW).exists()


@pytest.mark.parametrize("option", ["--to", "--from"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:hunter2@host/db",
        "postgresql://host/db?user=joe&password=hunter2",
        "postgresql://joe:a/hunter2@host/db",
        "s3://key:hunter2@bucket/prefix",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(applied: Folder, option: str, url: str) -> None:
    other = () if option == "--to" else ("--to", NEW)
    ran = applied.ok("state", "migrate", option, url, *other, code=2)
    assert f"error[secret-in-url]: the URL of {option} holds credentials" in ran.err
    assert "hunter2" not in ran.err + ran.out
