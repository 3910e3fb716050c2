"""An encrypted local state keeps the contract of stores, shows nothing in clear, and opens with its key alone."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlcipher3 import dbapi2
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
    run_info,
    running,
)

from reconciler.model.states import StateBase
from reconciler.problems import Problem, StateError
from reconciler.settings import Secret
from reconciler.state.journal import Outcome
from reconciler.state.key import Key
from reconciler.state.sql.connection import Sql
from reconciler.state.sqlite import convert as sqlite_convert
from reconciler.state.sqlite.cipher import CipherConnection, open_file
from reconciler.state.sqlite.convert import Converted, convert
from reconciler.state.sqlite.schema import APPLICATION_ID, FORMAT_VERSION, PAGE
from reconciler.state.sqlite.store import SqliteStore

KEY, OTHER = Secret("5ea1ed0b" * 8), Secret("0ddba11c" * 8)
CHILD = Path(__file__).with_name("state_child.py")
WORDS = (b"example.com", b"group/corp", b"hold it", LINEAGE.encode(), b"org-handbook", b"title", b"CREATE TABLE")
Opened = Callable[..., SqliteStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    stores: list[SqliteStore] = []

    def open_at(path: Path, key: Key | None = KEY) -> SqliteStore:
        stores.append(SqliteStore(path, key))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".reconciler" / "local.state.db"


@pytest.fixture
def open_store(opened: Opened, path: Path) -> OpenStore:
    return lambda: opened(path)


@pytest.fixture
def open_fresh_store(opened: Opened, tmp_path: Path) -> Callable[[], OpenStore]:
    numbers = itertools.count()

    def fresh() -> OpenStore:
        here = tmp_path / f"{next(numbers)}.db"
        return lambda: opened(here)

    return fresh


class TestEncryptedContract(StoreContract):
    """The contract, kept by an encrypted local file."""


def problem_of(error: pytest.ExceptionInfo[StateError]) -> Problem:
    (problem,) = error.value.problems
    return problem


def refused(store: SqliteStore, code: str) -> Problem:
    """Reading, the lock and the check refuse with this code, and change no byte."""
    before = store.real.read_bytes()
    with pytest.raises(StateError) as error:
        store.fingerprints()
    with pytest.raises(StateError) as locked, store.lock(lock_info()):
        pytest.fail("locked what it cannot read")
    (checked,) = store.check()
    assert problem_of(error).code == problem_of(locked).code == checked.code == code
    assert store.real.read_bytes() == before
    return checked


def fill(store: SqliteStore, count: int = 50) -> None:
    with running(store) as writer:
        accept(writer, put(*map(str, range(count))))
        writer.intent(intent_for(put("0"), 2, 2))


def in_clear(path: Path) -> set[bytes]:
    """Return what can be read without the key in any file that begins like this one."""
    return {word for file in path.parent.glob(f"{path.name}*") for word in WORDS if word in file.read_bytes()}


def dumped(path: Path, key: Key | None) -> list[tuple[str, list[Any]]]:
    """Return all that the tables of a file hold, and the numbers that the file says of itself."""
    with closing(open_file(path, key, mode="ro", timeout=0)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        numbers = connection.execute("SELECT * FROM pragma_application_id, pragma_user_version").fetchall()
        tables = [
            (name, sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr))
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        ]
        return [("schema", found), ("numbers", numbers), *sorted(tables)]


# --- what the file shows -------------------------------------------------------------------------


def test_nothing_is_in_clear_while_a_run_writes_either(opened: Opened, path: Path) -> None:
    """The journal of a transaction that is under way is on the disk: the cache is too small for it."""
    store = opened(path)
    fill(store, 500)
    seen: dict[str, bytes] = {}
    with store.lock(lock_info()) as writer:
        writer.begin_run(run_info("run-2"), TARGET, lambda: LINEAGE)
        with store.writing() as connection:
            connection.execute("PRAGMA cache_size = 2")
            connection.execute("UPDATE resources SET doc = doc || ' '")
            note = f"{path.name}.lock.json"
            seen = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.name != note}
    assert set(seen) == {path.name, f"{path.name}-journal", f"{path.name}.lock"}
    assert len(seen[f"{path.name}-journal"]) > 10 * PAGE
    for name, content in seen.items():
        assert not [word for word in WORDS if word in content], name
        assert not content.startswith(b"SQLite format 3"), name


def test_a_plain_state_shows_what_is_looked_for(opened: Opened, path: Path) -> None:
    fill(opened(path, None))
    assert in_clear(path) == set(WORDS) - {b"hold it"}


def test_a_file_that_is_being_made_shows_nothing(opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def look(self: Path, target: Path) -> Path:
        seen.append(self.read_bytes())
        return replace(self, target)

    replace = Path.replace
    fill(opened(path, None))
    monkeypatch.setattr(Path, "replace", look)
    convert(opened(path), lock_info(), KEY)
    fill(opened(path.with_name("new.db")))
    assert len(seen) == 2
    for content in seen:
        assert len(content) > PAGE
        assert not [word for word in WORDS if word in content]


# --- keys ----------------------------------------------------------------------------------------


def test_without_a_key(opened: Opened, path: Path) -> None:
    fill(opened(path))
    assert "no key" in refused(opened(path, None), "state-encrypted").what


def test_with_another_key(opened: Opened, path: Path) -> None:
    fill(opened(path))
    problem = refused(opened(path, OTHER), "state-key-wrong")
    assert "another key, or its beginning is damaged" in problem.why
    assert OTHER.reveal() not in repr(problem)


def test_what_no_key_can_open(opened: Opened, tmp_path: Path) -> None:
    """Of pages that nobody can read it cannot be said whose they were; what has no pages is no state."""
    for content, code in {
        b"hello\n" * 400: "state-not-a-database",
        bytes(PAGE + 1): "state-not-a-database",
        b"": "state-not-a-database",
        os.urandom(2 * PAGE): "state-key-wrong",
    }.items():
        path = tmp_path / "x.db"
        path.write_bytes(content)
        refused(opened(path), code)


@pytest.mark.parametrize(
    ("application_id", "version", "code"),
    [
        (0, 0, "state-not-ours"),
        (APPLICATION_ID, FORMAT_VERSION + 1, "state-newer-version"),
        (APPLICATION_ID, 0, "state-corrupt"),
    ],
)
def test_what_is_encrypted_with_the_key_and_no_state(
    opened: Opened, tmp_path: Path, application_id: int, version: int, code: str
) -> None:
    path = tmp_path / "x.db"
    with closing(open_file(path, KEY, mode="rwc", timeout=0)) as connection:
        connection.executescript(
            f"PRAGMA application_id = {application_id}; PRAGMA user_version = {version}; CREATE TABLE t (a);"
        )
    refused(opened(path), code)


def test_a_page_that_was_altered_is_damage(opened: Opened, path: Path) -> None:
    """One bit of it is enough, wherever, also in pages that are free: all are authenticated."""
    fill(opened(path), 500)
    with running(opened(path), "run-2") as writer:
        writer.forget([address(str(number)) for number in range(100, 400)], at=LATER)
    store = opened(path)
    store.base()
    assert store._connection is not None
    assert store._connection.execute("PRAGMA freelist_count").fetchone()[0] > 2
    content = path.read_bytes()
    for page in range(1, len(content) // PAGE):
        altered = bytearray(content)
        altered[page * PAGE + 4000] ^= 1
        path.write_bytes(altered)
        assert {problem.code for problem in opened(path).check()} == {"state-corrupt"}, page


@pytest.mark.parametrize("keep", [0, 1000, PAGE, 2 * PAGE + 1])
def test_a_state_that_was_cut_off_is_refused(opened: Opened, path: Path, keep: int) -> None:
    fill(opened(path), 500)
    opened(path).close()
    os.truncate(path, keep)
    with pytest.raises(StateError) as error:
        opened(path).fingerprints()
    assert problem_of(error).code in ("state-corrupt", "state-not-a-database")


def test_a_second_store_of_the_same_file_takes_no_lock_away(opened: Opened, path: Path) -> None:
    """Both libraries have the file open in turn; what one closes must not end what the other has locked."""
    store = opened(path)
    fill(store)
    with running(store, "run-2"), store.writing() as connection:
        connection.execute("UPDATE resources SET doc = doc || ' '")
        assert len(opened(path).fingerprints()) == 50
        other = "import sys; from sqlcipher3 import dbapi2 as d; c = d.connect(sys.argv[1], timeout=0); "
        other += f"""c.execute("PRAGMA cipher_default_page_size = {PAGE}"); c.set_key("x'{KEY.reveal()}'"); """
        other += "c.execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", other, str(path)], capture_output=True, text=True)
        assert "database is locked" in done.stderr


def test_the_package_is_missing(opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(opened(path, None))
    fill(opened(path.with_name("other.db")))
    monkeypatch.setitem(sys.modules, "reconciler.state.sqlite.cipher", None)
    assert len(opened(path).fingerprints()) == 50
    for act in (
        lambda: opened(path.with_name("other.db")).base(),
        lambda: convert(opened(path), lock_info(), KEY),
        lambda: fill(opened(path.with_name("new.db"))),
    ):
        with pytest.raises(StateError) as error:
            act()
        assert problem_of(error).code == "encryption-package"
        assert "pip install 'reconciler[encryption]'" in problem_of(error).fix


# --- one form and the other ----------------------------------------------------------------------


def test_every_row_is_kept_whatever_becomes_of_the_file(opened: Opened, path: Path) -> None:
    fill(opened(path, None), 500)
    path.chmod(0o640)
    for key in (KEY, OTHER, None):
        store = opened(path, OTHER if key is None else KEY)
        before = dumped(path, None if key is KEY else store.key)
        assert convert(store, lock_info(), key) == Converted((path.name,))
        assert dumped(path, key) == before
        assert store.is_encrypted() is (key is not None)
        assert opened(path, key).check() == ()
        assert path.stat().st_mode & 0o777 == 0o640
        assert convert(store, lock_info(), key) == Converted()
        assert bool(in_clear(path)) is (key is None)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_who_reads_meanwhile_goes_on(opened: Opened, path: Path) -> None:
    reader = opened(path)
    fill(opened(path, None))
    with reader.reading():
        assert len(reader.fingerprints()) == 50
        convert(opened(path), lock_info(), KEY)
        assert len(reader.fingerprints()) == 50
    assert reader.is_encrypted() is True


def test_nothing_is_converted_under_a_run(opened: Opened, path: Path) -> None:
    store = opened(path, None)
    with running(store) as writer:
        accept(writer, put("a"))
        with pytest.raises(StateError, match="holds the lock"):
            convert(opened(path), lock_info("other"), KEY)
    assert opened(path, None).is_encrypted() is False


def as_version_1(path: Path, key: Key | None) -> None:
    """Make a state what an early version would have left."""
    with closing(open_file(path, key, mode="rw", timeout=0)) as connection:
        connection.executescript(
            "DROP TABLE formers; DROP TABLE chain; DELETE FROM meta WHERE key = 'formers_from';PRAGMA user_version = 1;"
        )


def test_the_copies_of_earlier_formats_go_along(opened: Opened, path: Path) -> None:
    fill(opened(path, None))
    opened(path, None).close()
    as_version_1(path, None)
    with running(opened(path, None), "run-2"):
        pass
    copy = path.with_name(f"{path.name}.version-1")
    assert b"example.com" in copy.read_bytes()
    left = [path.with_name(f"{path.name}{end}") for end in (".new", ".new-journal", ".version-1.new")]
    for file in left:
        file.write_bytes(b"what a killed run left: example.com")
    before = dumped(copy, None)
    assert convert(opened(path), lock_info(), KEY) == Converted((copy.name, path.name))
    assert not in_clear(path)
    assert not any(file.exists() for file in left)
    assert dumped(copy, KEY) == before
    convert(opened(path), lock_info(), None)
    assert dumped(copy, None) == before


def test_the_copy_that_an_upgrade_makes_of_an_encrypted_state_is_encrypted(opened: Opened, path: Path) -> None:
    fill(opened(path))
    as_version_1(path, KEY)
    before = dumped(path, KEY)
    with running(opened(path), "run-2"):
        pass
    assert not in_clear(path)
    assert dumped(path.with_name(f"{path.name}.version-1"), KEY) == before
    assert opened(path).check() == ()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_nobody_may_read_a_copy_who_may_not_read_the_state(
    opened: Opened, path: Path, key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(opened(path, key))
    as_version_1(path, key)
    path.chmod(0o600)
    with running(opened(path, key), "run-2"):
        pass
    copy = path.with_name(f"{path.name}.version-1")
    whole, modes = sqlite_convert._copy, set()

    def spy(connection: Sql) -> None:
        whole(connection)
        modes.update(file.stat().st_mode & 0o777 for file in path.parent.glob("*.new*"))

    monkeypatch.setattr(sqlite_convert, "_copy", spy)
    opened(path, key).close()
    convert(opened(path, key), lock_info(), KEY if key is None else None)
    assert modes == {0o600}
    assert [file.stat().st_mode & 0o777 for file in (path, copy)] == [0o600, 0o600]


# --- kills ---------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("before", "after"), [(None, KEY), (KEY, OTHER), (KEY, None)], ids=["encrypt", "another key", "decrypt"]
)
def test_killed_at_every_boundary_of_a_conversion(
    opened: Opened, folder: Path, before: Key | None, after: Key | None
) -> None:
    """The state and the copy of an earlier format are each there in one form or the other; then it goes on."""
    seed = folder / "seed.db"
    fill(opened(seed, before), 20)
    as_version_1(seed, before)
    with running(opened(seed, before), "run-2"):
        pass
    opened(seed, before).close()
    names = ("seed.db.version-1", "seed.db")
    whole = {name: dumped(folder / name, before) for name in names}
    words = [key.reveal() if key else "-" for key in (before, after)]
    done = subprocess.run(
        [sys.executable, str(CHILD), "convert", str(folder), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    killed = sorted(path for path in folder.iterdir() if path.is_dir())
    assert len(killed) > 60
    forms = set()
    for place in killed:
        forms.add(tuple(form_of(place / name, whole[name], before, after) for name in names))
        convert(opened(place / "seed.db", before), lock_info(), after)
        assert {name: dumped(place / name, after) for name in names} == whole
        assert {path.name for path in place.iterdir()} <= {*names, "seed.db.lock"}
        assert bool(in_clear(place / "seed.db")) is (after is None)
    assert forms == {("before", "before"), ("after", "before"), ("after", "after")}


def form_of(path: Path, whole: list[tuple[str, list[Any]]], before: Key | None, after: Key | None) -> str:
    for name, key in (("before", before), ("after", after)):
        try:
            assert dumped(path, key) == whole
        except dbapi2.DatabaseError:
            continue
        return name
    raise AssertionError(f"{path} opens with neither key")


# --- a system that refuses -----------------------------------------------------------------------


def test_a_full_disk_leaves_it_as_it_was(opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(opened(path, None), 500)
    before = path.read_bytes()

    def execute(self: CipherConnection, query: str, *values: Any) -> Any:
        found = dbapi2.Connection.execute(self, query, *values)
        if query.startswith("ATTACH"):
            dbapi2.Connection.execute(self, "PRAGMA fresh.max_page_count = 3")
        return found

    monkeypatch.setattr(CipherConnection, "execute", execute, raising=False)
    with pytest.raises(StateError) as error:
        convert(opened(path), lock_info(), KEY)
    assert problem_of(error).code == "disk-full"
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}
    assert path.read_bytes() == before


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("what", ["file size limit", "read-only folder", "read-only file", "unreadable file"])
def test_system_that_refuses(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, *, plain: bool
) -> None:
    """In a child without privileges: root could write anyway."""
    path = tmp_path / "state" / "x.db"
    key = None if plain else KEY
    fill(opened(path, key))
    expected = {
        "file size limit": {"read": "ok", "write": "state-io-error", "convert": "state-io-error"},
        "read-only folder": {"read": "ok", "write": "state-read-only", "convert": "state-read-only"},
        "read-only file": {"read": "ok", "write": "state-read-only", "convert": "state-read-only"},
        "unreadable file": dict.fromkeys(("read", "write", "convert"), "state-unreadable"),
    }[what]
    monkeypatch.setenv("STATE_CHILD_KEY", KEY.reveal())
    done = subprocess.run(
        [sys.executable, str(CHILD), "refusal", str(path), what.replace(" ", "-")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    assert opened(path, key).base() == StateBase(LINEAGE, 1)
    assert len(opened(path, key).fingerprints()) == 50


def test_full_disk_is_said_and_nothing_lost(opened: Opened, path: Path) -> None:
    store = opened(path)
    with store.lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        accept(writer, put("a"))
        assert store._connection is not None
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        ticket = writer.intent(intent_for(put("b")))
        with pytest.raises(StateError) as error:
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put(*map(str, range(2000))))
        assert problem_of(error).code == "disk-full"
        assert [row.address for row in store.rows()] == [address("a")]
        writer.settle(ticket, Outcome.UNKNOWN, at=LATER)
    assert opened(path).base().serial == 2
