"""The one database of an emulator: its tables, its places (sources and providers) and its queue."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

FORMAT = 1
MAXIMUM_ORDERING_ID = 2**64 - 1
"""Ordering ids are unsigned 64-bit integers (push-api.md 4.5), so SQLite holds them as padded text."""

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS places (
    id INTEGER PRIMARY KEY, organization TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    watermark TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'IDLE', mappings TEXT,
    UNIQUE (organization, kind, name));
CREATE TABLE IF NOT EXISTS queue (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, accepted REAL NOT NULL, kind TEXT NOT NULL,
    place INTEGER NOT NULL, ordering TEXT NOT NULL, assigned INTEGER NOT NULL, detail TEXT NOT NULL,
    body BLOB, position INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS queue_due ON queue (due, seq);
CREATE TABLE IF NOT EXISTS containers (
    file TEXT PRIMARY KEY, organization TEXT NOT NULL, created REAL NOT NULL, size INTEGER,
    state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY, place INTEGER NOT NULL, uri TEXT NOT NULL, ordering TEXT NOT NULL,
    permanentid TEXT NOT NULL, title TEXT, parent TEXT, extension TEXT, metadata TEXT NOT NULL,
    permissions TEXT, pushed REAL NOT NULL, body_key TEXT, body_size INTEGER NOT NULL,
    body_sha256 TEXT NOT NULL, preview TEXT NOT NULL, body BLOB, fields TEXT,
    compression TEXT,
    UNIQUE (place, uri));
CREATE INDEX IF NOT EXISTS items_permanentid ON items (permanentid);
CREATE TABLE IF NOT EXISTS tombstones (
    place INTEGER NOT NULL, uri TEXT NOT NULL, ordering TEXT NOT NULL, PRIMARY KEY (place, uri)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    info TEXT NOT NULL, members TEXT NOT NULL, mappings TEXT NOT NULL, well_knowns TEXT NOT NULL,
    members_ordering TEXT NOT NULL, mappings_ordering TEXT NOT NULL, disabled INTEGER NOT NULL,
    updated REAL NOT NULL, UNIQUE (place, key));
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, place INTEGER NOT NULL, operation TEXT NOT NULL,
    result TEXT NOT NULL, task TEXT NOT NULL, uri TEXT NOT NULL, meta TEXT NOT NULL, request INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS logs_at ON logs (at);
CREATE TABLE IF NOT EXISTS streams (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, files TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fields (
    organization TEXT NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL, PRIMARY KEY (organization, name));
CREATE TABLE IF NOT EXISTS rules (
    place INTEGER PRIMARY KEY, mappings TEXT NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS providers (
    organization TEXT NOT NULL, name TEXT NOT NULL, model TEXT, PRIMARY KEY (organization, name));
CREATE TABLE IF NOT EXISTS cached (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    info TEXT NOT NULL, members TEXT NOT NULL, mappings TEXT NOT NULL, well_knowns TEXT NOT NULL,
    members_ordering TEXT NOT NULL, mappings_ordering TEXT NOT NULL, disabled INTEGER NOT NULL,
    updated REAL NOT NULL, UNIQUE (place, key));
CREATE TABLE IF NOT EXISTS refreshed (place INTEGER PRIMARY KEY, at REAL NOT NULL);
"""
_CLEARED = (
    *("queue", "containers", "items", "tombstones", "identities", "logs"),
    *("streams", "fields", "rules", "providers", "cached", "refreshed"),
)


class UnreadableDatabase(Exception):
    """The data directory holds something that this emulator did not write."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One accepted request that waits to be processed."""

    seq: int
    due: float
    accepted: float
    kind: str
    place: int
    ordering: str
    assigned: bool
    detail: dict[str, Any]
    body: bytes | None
    position: int


def ordering_text(value: int) -> str:
    """Return an ordering id as text that sorts as the number does."""
    return f"{value:020d}"


class Database:
    """The connection, the folder for containers, and the tables that no other module owns."""

    def __init__(self, directory: Path | None) -> None:
        if directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="emulator-"))
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        else:
            self.directory = directory
        self._owners: dict[int, str] = {}
        self.containers = self.directory / "containers"
        self.containers.mkdir(parents=True, exist_ok=True)
        name = ":memory:" if directory is None else str(directory / "emulator.db")
        self.connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        self.close = weakref.finalize(self, self.connection.close)
        self._prepare(name)

    def _prepare(self, name: str) -> None:
        execute = self.connection.execute
        try:
            # A killed process loses nothing: only a crash of the machine could, and this is no place for
            # content that exists nowhere else.
            execute("PRAGMA journal_mode=WAL")
            execute("PRAGMA synchronous=OFF")
            execute("PRAGMA cache_size=-65536")
            execute("PRAGMA case_sensitive_like=ON")
            (version,) = execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise UnreadableDatabase(f"{name} has the format {version}, this emulator reads {FORMAT}")
            self.connection.executescript(_TABLES)
            columns = {row[1] for row in execute("PRAGMA table_info(items)")}
            for name in ("fields", "compression"):
                if name not in columns:
                    execute(f"ALTER TABLE items ADD COLUMN {name} TEXT")
            execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.DatabaseError as error:
            raise UnreadableDatabase(f"{name} is not a database of this emulator: {error}") from error
        execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", (secrets.token_hex(32),))
        (self.secret,) = execute("SELECT value FROM settings WHERE name = 'secret'").fetchone()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside, or nothing of it; inside of another one, with that one."""
        nested = self.connection.in_transaction
        self.connection.execute("SAVEPOINT part" if nested else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO part" if nested else "ROLLBACK")
            raise
        finally:
            if nested:
                self.connection.execute("RELEASE part")
        if not nested:
            self.connection.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything that was pushed."""
        with self.transaction():
            for table in _CLEARED:
                self.connection.execute(f"DELETE FROM {table}")  # noqa: S608
            self.connection.execute("UPDATE places SET watermark = '', status = 'IDLE', mappings = NULL")
        for path in self.containers.iterdir():
            path.unlink(missing_ok=True)

    def place(self, organization: str, kind: str, name: str) -> int:
        """Return the number of a source or a provider of an organization."""
        key = (organization, kind, name)
        self.connection.execute("INSERT OR IGNORE INTO places (organization, kind, name) VALUES (?, ?, ?)", key)
        found: int = self.connection.execute(
            "SELECT id FROM places WHERE organization = ? AND kind = ? AND name = ?", key
        ).fetchone()[0]
        return found

    def owner(self, place: int) -> str:
        """Return the organization of a source or a provider."""
        found = self._owners.get(place)
        if found is None:
            row = self.connection.execute("SELECT organization FROM places WHERE id = ?", (place,)).fetchone()
            found = self._owners[place] = row[0]
        return found

    def watermark(self, place: int) -> str:
        """Return the highest olderthan value of a place (push-api.md 5.4), or ''."""
        found: str = self.connection.execute("SELECT watermark FROM places WHERE id = ?", (place,)).fetchone()[0]
        return found

    def status(self, place: int) -> str:
        """Return the status that a source was last given (push-api.md 5.5)."""
        found: str = self.connection.execute("SELECT status FROM places WHERE id = ?", (place,)).fetchone()[0]
        return found

    def raise_watermark(self, place: int, ordering: str) -> None:
        self.connection.execute("UPDATE places SET watermark = max(watermark, ?) WHERE id = ?", (ordering, place))

    # The queue

    def enqueue(
        self,
        kind: str,
        place: int,
        ordering: str,
        assigned: bool,
        accepted: float,
        due: float,
        detail: dict[str, Any],
        body: bytes | None = None,
    ) -> int:
        """Write down an accepted operation and return its number."""
        row = (due, accepted, kind, place, ordering, assigned, orjson.dumps(detail).decode(), body)
        cursor = self.connection.execute(
            "INSERT INTO queue (due, accepted, kind, place, ordering, assigned, detail, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        return cursor.lastrowid or 0

    def withdraw(self, kind: str, place: int) -> None:
        """Forget the operations of a kind that wait for a source or a provider."""
        self.connection.execute("DELETE FROM queue WHERE kind = ? AND place = ?", (kind, place))

    def due(self, now: float, limit: int) -> list[Operation]:
        """Return the next operations to process, in order."""
        rows = self.connection.execute(
            "SELECT seq, due, accepted, kind, place, ordering, assigned, detail, body, position"
            " FROM queue WHERE due <= ? ORDER BY due, seq LIMIT ?",
            (now, limit),
        )
        return [_operation(*row) for row in rows]

    def processed(self, operation: Operation) -> None:
        self.connection.execute("DELETE FROM queue WHERE seq = ?", (operation.seq,))

    def processed_up_to(self, operation: Operation, position: int) -> None:
        """Remember how far a long operation came, in the transaction that holds what it wrote."""
        self.connection.execute("UPDATE queue SET position = ? WHERE seq = ?", (position, operation.seq))

    def waiting(self, place: int) -> bool:
        """Return whether something waits for a source or a provider."""
        return self.connection.execute("SELECT 1 FROM queue WHERE place = ? LIMIT 1", (place,)).fetchone() is not None

    def pending(self) -> int:
        """Return how many operations wait."""
        found: int = self.connection.execute("SELECT count(*) FROM queue").fetchone()[0]
        return found

    # The pipeline's logs

    def log(self, rows: Iterable[tuple[float, int, str, str, str, str, str, int]]) -> None:
        """Write (time, place, operation, result, task, uri, meta as JSON, request) entries."""
        self.connection.executemany(
            "INSERT INTO logs (at, place, operation, result, task, uri, meta, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def prune_logs(self, before: float) -> None:
        self.connection.execute("DELETE FROM logs WHERE at < ?", (before,))


def _operation(*row: Any) -> Operation:
    seq, due, accepted, kind, place, ordering, assigned, detail, body, position = row
    values = orjson.loads(detail)
    return Operation(seq, due, accepted, kind, place, ordering, bool(assigned), values, body, position)
