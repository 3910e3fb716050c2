"""The tables of the local state file: their SQL, how a file is created and how it is recognised.

The file names itself by `application_id` and its format by `user_version`, both in the header, so
that a file of somebody else, or of a later reconciler, is refused before anything in it is believed.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, cast
from weakref import WeakSet

from reconciler.state.key import Key
from reconciler.state.packing import READABLE
from reconciler.state.sql.read import UNSURE
from reconciler.state.sqlite import faults
from reconciler.state.store import newer_version

if TYPE_CHECKING:
    from reconciler.state.sqlite.cipher import CipherConnection

APPLICATION_ID = 0x52434E4C  # "RCNL"
FORMAT_VERSION = 3
BUSY_SECONDS = 30.0
PAGE = 8192  # bytes

# `fingerprint` is the digest of `doc`, then of the shared document (zero bytes: none): 64 bytes. It
# comes before the documents so that reading all fingerprints skips what overflows a page.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE resources (
    address TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 64),
    ordering_id INTEGER NOT NULL,
    accepted_at TEXT NOT NULL,
    run TEXT NOT NULL,
    verified TEXT CHECK (verified IN ('verified', 'rejected')),
    verified_detail TEXT NOT NULL DEFAULT '',
    doc TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX resources_rejected ON resources (address) WHERE verified = 'rejected';
CREATE TABLE shared_docs (digest BLOB PRIMARY KEY CHECK (length(digest) = 32), doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    command TEXT NOT NULL,
    started_at TEXT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    environment TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    target TEXT NOT NULL,
    base_serial INTEGER NOT NULL,
    ended_at TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    call INTEGER NOT NULL,
    kind TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    ordering_id INTEGER NOT NULL,
    at TEXT NOT NULL,
    covers NOT NULL,
    outcome TEXT CHECK (outcome IN ('accepted', 'refused', 'unknown')),
    settled_at TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    in_doubt INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX journal_in_doubt ON journal (seq) WHERE in_doubt = 1;
CREATE INDEX journal_run ON journal (run);
CREATE INDEX journal_ordering ON journal (ordering_id);
CREATE INDEX journal_unsure ON journal (seq) WHERE outcome IS NULL OR outcome = 'unknown' OR kind = 'replaced';
INSERT INTO meta VALUES ('lineage', ''), ('serial', 0), ('churn', 0), ('rows_when_tidied', 0);
"""

# `seq` is that of the call in the journal. Version 1 had no such table: runs before `formers_from` (their `seq`)
# wrote nothing down.
_FORMERS = """
CREATE TABLE formers (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, formers NOT NULL);
CREATE INDEX formers_run ON formers (run);
INSERT INTO meta SELECT 'formers_from', 1 + ifnull(max(seq), 0) FROM runs;
"""

# One row for each run that ended, or died before another began; `seq` is the run's.
_CHAIN = """
CREATE TABLE IF NOT EXISTS chain (
    seq INTEGER PRIMARY KEY,
    lineage TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    digest TEXT NOT NULL CHECK (length(digest) = 64)
);
"""


class Connection(sqlite3.Connection):
    """A connection to a local state; fulfils `state.sql.Sql`.

    One to an encrypted state is a `sqlite.cipher.CipherConnection`, which has the same methods, and a `key`.
    """

    readable = READABLE
    key: Key | None = None

    @property
    def format_version(self) -> int:
        """The version of the tables."""
        (version,) = self.execute("PRAGMA user_version").fetchone()
        return int(version)


# Encrypted files that are open in this process.
_OPEN: WeakSet[CipherConnection] = WeakSet()


def create(path: Path, key: Key | None = None) -> None:
    """Make an empty state at `path`, where none is, encrypted if there is a key; only the holder of the lock may.

    Made beside and renamed: killed at any moment, there is either no state or a whole one. Hence a
    file without content is never ours, and can be refused instead of being taken for an empty state.
    """
    fresh = path.with_name(path.name + ".new")
    for leftover in (fresh, fresh.with_name(fresh.name + "-journal")):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(fresh, isolation_level=None) if key is None else _encrypted(fresh, key, "rwc")
    try:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION};"
            f"{TABLES} {_FORMERS} {_CHAIN} COMMIT;"
        )
    finally:
        connection.close()
    fresh.replace(path)
    sync_folder(path.parent)


def connect(path: Path, shown: str, key: Key | None = None) -> Connection:
    """Open the state at `path`, which must exist, for reading; refuse what is no state of ours.

    Opened in a way that could write, although `query_only` forbids it: if a run was killed while it
    committed, the first to open the file must undo the half-written transaction. Where the file is
    write-protected, SQLite opens it for reading by itself.
    """
    found = path.stat()
    if found.st_size == 0:
        raise faults.not_a_database(shown, "is empty (0 bytes), which a state never is")
    identity = (found.st_dev, found.st_ino)
    # Whether a file is encrypted, only SQLite may find out. But it is another library than SQLCipher: where that one
    # has the file open, closing it here would take its locks along.
    if all(connection.identity != identity for connection in list(_OPEN)):
        try:
            return _prepared(_plain(path), shown)
        except sqlite3.DatabaseError as error:
            if not faults.is_no_database(error):
                raise
    if found.st_size % PAGE:
        raise faults.not_a_database(shown, "is not a state file: it is no SQLite database")
    if key is None:
        raise faults.encrypted(shown)
    connection = _encrypted(path, key, "rw")
    try:
        prepared = _prepared(connection, shown)
    except Exception as error:
        if faults.is_no_database(error):
            raise faults.key_wrong(shown) from None
        raise
    connection.identity = identity
    _OPEN.add(connection)
    return prepared


def _plain(path: Path) -> Connection:
    return sqlite3.connect(
        path.as_uri() + "?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        factory=Connection,
    )


def _encrypted(path: Path, key: Key, mode: str) -> CipherConnection:
    try:
        from reconciler.state.sqlite.cipher import open_file
    except ImportError:
        raise faults.no_cipher(str(path)) from None
    return open_file(path, key, mode=mode, timeout=BUSY_SECONDS)


def _prepared(opened: Connection | CipherConnection, shown: str) -> Connection:
    connection = cast("Connection", opened)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # the file comes from elsewhere: run nothing in it
        connection.execute("PRAGMA temp_store = MEMORY")
        _recognise(connection, shown)
    except BaseException:
        connection.close()
        raise
    return connection


def allow_writing(connection: Connection) -> None:
    """Prepare a connection of the lock's holder for writing.

    A rollback journal, not a WAL: every finished transaction is in the one file at once, so that
    copying, caching or committing it, even after a kill, never leaves accepted calls behind in a
    second file (a kill amid a commit leaves a journal beside it, which the next reader undoes); and
    it can be read from read-only media and kept on network folders, which a WAL cannot. The price
    is 1 ms a transaction instead of 0.2, and a call takes longer than either. EXTRA also syncs the
    folder after the journal is removed: with FULL a power cut could undo an intent whose call was
    already sent.
    """
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("PRAGMA journal_mode = DELETE")  # undoes a WAL that another tool switched on
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA cache_size = -32768")  # 32 MB: most batches never spill before commit


def upgrade(connection: Connection) -> None:
    """Bring the tables of an earlier version up to this one, inside the transaction that a run begins with.

    An earlier reconciler refuses the file from then on: it would change who sees what and not write down what was
    before, and leave its runs out of the chain. What it can still read is kept beside the file, as it was.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < FORMAT_VERSION:
        _keep_copy(connection, version)
    # States that an early version 1 and an early version 3 made do not have such indexes.
    connection.execute("CREATE INDEX IF NOT EXISTS journal_ordering ON journal (ordering_id)")
    connection.execute(f"CREATE INDEX IF NOT EXISTS journal_unsure ON journal (seq) WHERE {UNSURE}")
    if version < 2:
        for statement in _FORMERS.strip().split(";\n"):
            connection.execute(statement)
    if version < 3:
        connection.execute(_CHAIN)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def _keep_copy(connection: Connection, version: int) -> None:
    """Copy the state, of which nothing was changed yet, to `<its name>.version-<version>`."""
    path = Path(connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0])
    kept = path.with_name(f"{path.name}.version-{version}")
    fresh = kept.with_name(kept.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(0o600)
    # By SQLite alone: opening the file in any other way would, once closed, take this process's locks on it along.
    if connection.key is None:
        _copy_plain(path, fresh)
    else:
        _copy_encrypted(path, fresh, connection.key)
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(kept)
    sync_folder(path.parent)


def _copy_plain(path: Path, fresh: Path) -> None:
    source = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)
    target = sqlite3.connect(fresh)
    try:
        target.execute("PRAGMA synchronous = EXTRA")
        source.backup(target)
    finally:
        source.close()
        target.close()


def _copy_encrypted(path: Path, fresh: Path, key: Key) -> None:
    source = _encrypted(path, key, "ro")
    try:
        source.execute("PRAGMA synchronous = EXTRA")  # of what is written, too
        source.execute("VACUUM INTO ?", (str(fresh),))
    finally:
        source.close()


def _recognise(connection: Connection, shown: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise faults.not_ours(shown)
    if version > FORMAT_VERSION:
        raise newer_version(shown, version, FORMAT_VERSION, f'"{shown}"')
    if version < 1:
        raise faults.corrupt(shown, shown, f"format version {version} never existed")


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder last."""
    if os.name != "posix":
        return  # other systems cannot open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
