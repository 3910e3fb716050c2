"""The local file keeps the contract of stores, and refuses what is no state of ours."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_contract import (
    LATER,
    LINEAGE,
    TARGET,
    OpenStore,
    StoreContract,
    accept,
    address,
    intent_for,
    lock_info,
    put,
    resource,
    run_info,
    running,
)

from reconciler.model.states import StateBase
from reconciler.problems import Problem, StateError
from reconciler.state.journal import Effect, Outcome
from reconciler.state.sql.read import UNSURE
from reconciler.state.sqlite.schema import APPLICATION_ID, FORMAT_VERSION
from reconciler.state.sqlite.store import SqliteStore

READ = {
    "base": lambda store: store.base(),
    "target": lambda store: store.target(),
    "fingerprints": lambda store: store.fingerprints(),
    "rows": lambda store: list(store.rows()),
    "some rows": lambda store: list(store.rows(["item/a/b"])),
    "unsettled": lambda store: store.unsettled(),
    "runs": lambda store: store.runs(),
    "journal": lambda store: list(store.journal()),
    "rejected": lambda store: store.rejected(),
    "highest ordering id": lambda store: store.highest_ordering_id(),
    "usage": lambda store: store.usage_since(""),
    "activities": lambda store: store.activities(),
    "runs with formers": lambda store: store.runs_with_formers(),
    "formers": lambda store: store.formers("run-1"),
}


@pytest.fixture
def opened() -> Iterator[Callable[[Path | str], SqliteStore]]:
    stores: list[SqliteStore] = []

    def open_at(path: Path | str) -> SqliteStore:
        stores.append(SqliteStore(path))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".reconciler" / "local.state.db"


@pytest.fixture
def open_store(opened: Callable[[Path], SqliteStore], path: Path) -> OpenStore:
    return lambda: opened(path)


@pytest.fixture
def open_fresh_store(opened: Callable[[Path], SqliteStore], tmp_path: Path) -> Callable[[], OpenStore]:
    numbers = itertools.count()

    def fresh() -> OpenStore:
        here = tmp_path / f"{next(numbers)}.db"
        return lambda: opened(here)

    return fresh


class TestSqliteContract(StoreContract):
    """The contract, kept by the local file."""


def problem_of(error: pytest.ExceptionInfo[StateError]) -> Problem:
    (problem,) = error.value.problems
    return problem


def refused(path: Path, code: str) -> None:
    """Every way of reading, and the lock, refuse with this code, say the path, and change no byte."""
    before = path.read_bytes() if path.is_file() else None
    for ask in READ.values():
        with SqliteStore(path) as store, pytest.raises(StateError) as error:
            ask(store)
        assert problem_of(error).code == code
        assert str(path) in problem_of(error).what
    with SqliteStore(path) as store, pytest.raises(StateError) as error, store.lock(lock_info()):
        pytest.fail("locked what is no state")
    assert problem_of(error).code == code
    assert before is None or path.read_bytes() == before


def other_database(path: Path, application_id: int = 0, version: int = 0) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        f"PRAGMA application_id = {application_id}; PRAGMA user_version = {version}; CREATE TABLE t (a); "
    )
    connection.close()


# --- files that are no state ---------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{}\n", b"hello\n" * 400, b"SQLite format 3\0", os.urandom(5000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    refused(path, "state-not-a-database")


def test_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "state-not-a-database")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "state-not-a-database")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    other_database(tmp_path / "x.db", 0)
    refused(tmp_path / "x.db", "state-not-ours")


def test_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    other_database(tmp_path / "x.db", APPLICATION_ID, FORMAT_VERSION + 1)
    refused(tmp_path / "x.db", "state-newer-version")


def test_missing_tables_are_damage(tmp_path: Path) -> None:
    other_database(tmp_path / "x.db", APPLICATION_ID, FORMAT_VERSION)
    refused(tmp_path / "x.db", "state-corrupt")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9])
def test_truncated_state_is_refused(opened: Callable[[Path], SqliteStore], path: Path, keep: float) -> None:
    with running(opened(path)) as writer:
        accept(writer, put(*map(str, range(500))))
    opened(path).close()
    size = path.stat().st_size
    os.truncate(path, int(size * keep))
    with pytest.raises(StateError) as error:
        opened(path).fingerprints()
    assert problem_of(error).code in ("state-corrupt", "state-not-a-database")


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file" / "x.db", "state-unreadable")


def test_symbolic_link_shares_state_and_lock(opened: Callable[[Path], SqliteStore], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "x.db")
    linked, real = opened(tmp_path / "link.db"), opened(tmp_path / "real" / "x.db")
    with running(linked) as writer:
        accept(writer, put("a"))
        with pytest.raises(StateError, match="holds the lock"), real.lock(lock_info("other")):
            pytest.fail("two locks on one state")
    assert (tmp_path / "link.db").is_symlink()
    assert real.base() == StateBase(LINEAGE, 1)
    assert linked.where == f"{tmp_path / 'link.db'} (serial 1)"


def test_link_that_leads_nowhere_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "x.db").symlink_to(tmp_path / "x.db")
    refused(tmp_path / "x.db", "state-unreadable")


# --- a state at work -----------------------------------------------------------------------------


def test_reading_creates_nothing(tmp_path: Path) -> None:
    for name in ("x.db", "folder/x.db"):
        with SqliteStore(tmp_path / name) as store:
            for ask in READ.values():
                ask(store)
            assert store.check() == ()
    assert list(tmp_path.iterdir()) == []


def test_state_is_one_file_when_nobody_writes(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    with running(opened(path)) as writer:
        accept(writer, put("a"))
        beside = {entry.name for entry in path.parent.iterdir()}
        assert beside == {path.name, f"{path.name}.lock", f"{path.name}.lock.json"}
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}


def test_where_names_path_and_serial(opened: Callable[[str], SqliteStore], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened(".reconciler/local.state.db")
    assert store.where == ".reconciler/local.state.db"
    with running(store) as writer:
        accept(writer, put("a"))
        with pytest.raises(StateError) as error, opened(store.path).lock(lock_info("other")):
            pytest.fail("two writers")
    assert problem_of(error).where == ".reconciler/local.state.db (serial 1)"


def test_store_can_only_be_written_under_the_lock(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    store = opened(path)
    with running(store) as writer:
        accept(writer, put("a"))
        assert store._connection is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store._connection.execute("DELETE FROM resources")


def test_unused_shared_documents_go(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    store = opened(path)
    with running(store) as writer:
        accept(writer, Effect(tuple(resource(f"{n}", allowed=f"user/{n}") for n in range(5))))
    with running(store, "run-2") as writer:
        accept(writer, Effect(tuple(resource(f"{n}", allowed="user/0") for n in range(4))))
    assert store._connection is not None
    assert store._connection.execute("SELECT count(*) FROM shared_docs").fetchone() == (2,)


def test_replaced_file_is_noticed(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    with opened(path).lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        ticket = writer.intent(intent_for(put("a")))
        path.rename(path.with_name("elsewhere.db"))
        with pytest.raises(StateError) as error:
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put("a"))
    assert problem_of(error).code == "state-replaced"
    path.with_name("elsewhere.db").rename(path)
    assert [entry.seq for entry in opened(path).unsettled()] == [ticket]


def test_check_finds_what_was_tampered_with(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    with running(opened(path)) as writer:
        accept(writer, put("a", "b"))
    assert opened(path).check() == ()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE resources SET doc = '{}' WHERE address LIKE '%/a'")
    connection.commit()
    connection.close()
    (problem,) = opened(path).check()
    assert problem.code == "state-corrupt"
    assert address("a") in problem.what


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            "UPDATE resources SET doc = '{}' WHERE address LIKE '%/a'",
            'the row of "item/handbook/https://example.com/a"',
        ),
        ("DELETE FROM shared_docs", "the shared document of"),
        ("UPDATE shared_docs SET doc = '{}'", "does not match its digest"),
        ("UPDATE meta SET value = -1 WHERE key = 'serial'", "its serial is -1"),
        ("UPDATE meta SET value = '' WHERE key = 'lineage'", "runs are recorded and no lineage"),
        ("DELETE FROM meta", "no lineage or no serial"),
        ("DELETE FROM runs", "no run that gave it one"),
        ("DELETE FROM runs", "is missing from the history"),
        ("UPDATE runs SET command = 'x'", "number 1 of 1, does not fit its digest"),
        ("UPDATE runs SET target = 'x'", "unexpected"),
        ("UPDATE journal SET covers = x'00'", "covers: "),
        ("UPDATE formers SET formers = '[]'", "what was recorded before does not read"),
        ("DROP TABLE chain", "no such table: chain"),
        ("DROP TABLE journal", "no such table: journal"),
    ],
)
def test_check_says_what_is_wrong(opened: Callable[[Path], SqliteStore], path: Path, damage: str, told: str) -> None:
    with running(opened(path)) as writer:
        accept(writer, put("a", "b"))
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    problems = opened(path).check()
    assert {problem.code for problem in problems} == {"state-corrupt"}
    assert any(told in problem.what for problem in problems), problems


def test_check_of_broken_pages(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    with running(opened(path)) as writer:
        accept(writer, put(*map(str, range(500))))
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 8192):
        content[page * 8192 : page * 8192 + 64] = bytes(64)
    path.write_bytes(content)
    assert {problem.code for problem in opened(path).check()} == {"state-corrupt"}


def test_values_we_never_write_are_damage(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    for damage, ask in {
        "DELETE FROM meta": "base",
        "UPDATE runs SET target = 'x'": "target",
        "DELETE FROM shared_docs": "rows",
        "UPDATE journal SET covers = x'00'": "journal",
        "UPDATE journal SET in_doubt = 1, covers = '[[1]]'": "unsettled",
        "UPDATE formers SET formers = '[]'": "formers",
        "UPDATE formers SET formers = x'00'": "formers",
    }.items():
        for leftover in path.parent.glob("*"):
            leftover.unlink()
        with running(opened(path)) as writer:
            accept(writer, put("a"))
        connection = sqlite3.connect(path)
        connection.execute(damage)
        connection.commit()
        connection.close()
        with pytest.raises(StateError) as error:
            READ[ask](opened(path))
        assert problem_of(error).code == "state-corrupt", damage


# --- a system that refuses -----------------------------------------------------------------------


def test_full_disk_is_said_and_nothing_lost(opened: Callable[[Path], SqliteStore], path: Path) -> None:
    store = opened(path)
    with store.lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        accept(writer, put("a"))
        assert store._connection is not None
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        big = put(*map(str, range(2000)))
        ticket = writer.intent(intent_for(put("b")))
        with pytest.raises(StateError) as error:
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=big)
        assert problem_of(error).code == "disk-full"
        assert [row.address for row in store.rows()] == [address("a")]
        writer.settle(ticket, Outcome.UNKNOWN, at=LATER)
    assert opened(path).base().serial == 2


def run_child(*arguments: object) -> list[dict[str, str]]:
    child = Path(__file__).with_name("state_child.py")
    done = subprocess.run(
        [sys.executable, str(child), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("what", ["file size limit", "read-only folder", "read-only file", "unreadable file"])
def test_system_that_refuses(opened: Callable[[Path], SqliteStore], tmp_path: Path, what: str) -> None:
    """In a child without privileges: root could write anyway."""
    path = tmp_path / "state" / "x.db"
    with running(opened(path)) as writer:
        accept(writer, put("a"))
    expected = {
        "file size limit": {"read": "ok", "write": "state-io-error"},
        "read-only folder": {"read": "ok", "write": "state-read-only"},
        "read-only file": {"read": "ok", "write": "state-read-only"},
        "unreadable file": {"read": "state-unreadable", "write": "state-unreadable"},
    }[what]
    (found,) = run_child("refusal", path, what.replace(" ", "-"))
    assert found == expected
    assert opened(path).base() == StateBase(LINEAGE, 1)
    assert len(opened(path).fingerprints()) == 1


def test_a_state_of_an_earlier_version_gets_the_index_of_ordering_ids(open_store: OpenStore, path: Path) -> None:
    with running(open_store()) as writer:
        accept(writer, put("a"), 1, 50)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX journal_ordering")
    connection.close()
    assert open_store().highest_ordering_id() == 50
    with running(open_store(), "run-2"):
        pass
    connection = sqlite3.connect(path)
    (plan,) = connection.execute("EXPLAIN QUERY PLAN SELECT max(ordering_id) FROM journal").fetchall()
    connection.close()
    assert "journal_ordering" in plan[3]


def test_a_state_without_the_index_of_doubts_gets_it_with_the_next_run(open_store: OpenStore, path: Path) -> None:
    with running(open_store()) as writer:
        writer.settle(writer.intent(intent_for(put("a"))), Outcome.UNKNOWN, at=LATER)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX journal_unsure")
    connection.close()
    asked = list(open_store().unsure())
    with running(open_store(), "run-2"):
        pass
    assert (list(open_store().unsure()), len(asked)) == (asked, 1)
    connection = sqlite3.connect(path)
    query = f"SELECT seq FROM journal WHERE ({UNSURE}) AND seq > 0 ORDER BY seq LIMIT 20"
    (plan,) = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    connection.close()
    assert "journal_unsure" in plan[3]


def as_version_1(path: Path) -> None:
    """Make a state what the version before would have left."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TABLE formers; DELETE FROM meta WHERE key = 'formers_from'; PRAGMA user_version = 1;"
    )
    connection.close()


def test_a_state_of_version_1_is_read_as_it_is_and_remembers_from_the_next_run_on(
    open_store: OpenStore, path: Path
) -> None:
    with running(open_store()) as writer:
        accept(writer, put("a"))
    open_store().close()
    as_version_1(path)
    before = path.read_bytes()
    store = open_store()
    assert (store.runs_with_formers(), store.formers("run-1")) == ((), {})
    assert [row.address for row in store.rows()] == [address("a")]
    assert path.read_bytes() == before, "reading changes nothing"
    with running(store, "run-2") as writer:
        accept(writer, Effect(deletes=(address("a"),)), 1, 8)
    fresh = open_store()
    assert fresh.runs_with_formers() == ("run-2",)
    assert list(fresh.formers("run-2")) == [address("a")]
    assert fresh.check() == ()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT_VERSION,)
    connection.close()


def test_what_many_items_had_before_is_kept_small(open_store: OpenStore, path: Path) -> None:
    with running(open_store()) as writer:
        accept(writer, Effect(tuple(resource(f"{n:05}", allowed=f"user/corp/{n % 7}") for n in range(3000))))
    with running(open_store(), "run-2") as writer:
        accept(writer, Effect(tuple(resource(f"{n:05}", allowed="group/corp/everybody") for n in range(3000))), 1, 8)
    assert len(open_store().formers("run-2")) == 3000
    connection = sqlite3.connect(path)
    (size,) = connection.execute("SELECT sum(length(formers)) FROM formers WHERE run = 'run-2'").fetchone()
    connection.close()
    assert size < 3000 * 20
