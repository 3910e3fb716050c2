"""[io] The lease of a state in PostgreSQL: a row, and an advisory lock that shows whether the holder's session stands.

The row decides; the server's clock tells its age. The advisory lock belongs to the session of whoever signs the row:
when the session ends, however that came, everybody sees so at once and need not wait for the lease to run out. A
holder whose connection dropped opens another, and goes on if the row is still its own.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import asdict

import orjson
import psycopg
from psycopg import errors

from reconciler.state.lease import Found, Times
from reconciler.state.postgres import faults
from reconciler.state.postgres.link import Link, Place
from reconciler.state.postgres.schema import LOCK_TABLES
from reconciler.state.store import LockInfo

SILENT_SECONDS = 15.0  # these statements take no time
WAIT_SECONDS = 2  # how long to wait for a transaction of the old holder that is still under way

_LOOK = """
SELECT generation, holder, place, extract(epoch FROM clock_timestamp() - signed)::float8, version,
    EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = backend
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32 | objid::bigint) = ?)
FROM lease
"""
_FIRST = """
INSERT INTO lease (generation, holder, place, signed, version, backend)
VALUES (?, ?, ?, clock_timestamp(), ?, pg_backend_pid()) ON CONFLICT DO NOTHING RETURNING version
"""
_NEXT = """
UPDATE lease SET generation = ?, holder = ?, place = ?, signed = clock_timestamp(), version = ?,
    backend = pg_backend_pid()
WHERE version = ? RETURNING version
"""


class PostgresLease:
    """Fulfils `state.lease.LeaseStore`, by a session of its own. Close it."""

    def __init__(self, place: Place, times: Times) -> None:
        self._place = place
        self._times = times
        self._link: Link | None = None
        self._holds = False  # whether this session has the advisory lock
        self._key = 0

    def prepare(self) -> None:
        """Make the tables of the lock, and the schema, where there are none."""
        with faults.reported(lambda: self._place.shown):
            link = self._session()
            (encoding,) = link.execute("SHOW server_encoding").fetchone()
            if encoding != "UTF8":
                raise faults.unsuitable(self._place.shown, encoding)
            if self._is_prepared(link):
                return
            link.begin(idle_seconds=self._times.missed)
            try:
                # Sixteen that come first at once must not all make the same tables.
                link.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 1))", (self._place.schema,))
                (there,) = link.execute("SELECT to_regnamespace(?) IS NOT NULL", (self._place.schema,)).fetchone()
                if not there:
                    link.execute(f'CREATE SCHEMA "{self._place.schema}"')
                for statement in LOCK_TABLES:
                    link.execute(statement)
                link.execute("COMMIT")
            except BaseException:
                self._undo(link)
                raise

    def look(self) -> Found | None:
        """Return the lease, None when there never was one."""
        with faults.reported(lambda: self._place.shown):
            link = self._session()
            if not self._is_prepared(link):
                return None
            link.begin(idle_seconds=None)
            try:
                row = link.execute(_LOOK, (self._key,)).fetchone()
            finally:
                self._undo(link)
            if row is None:
                return None
            generation, holder, place, age, version, stands = row
            info = LockInfo(**orjson.loads(holder)) if holder else None
            return Found(generation, info, place, max(age, 0.0), version, ended=not stands)

    def put(self, holder: LockInfo | None, place: str, generation: int, instead_of: Found | None) -> str | None:
        """Record the lease if it still is the version that was found; return the new version."""
        text = orjson.dumps(asdict(holder)).decode() if holder else None
        version = uuid.uuid4().hex
        with faults.reported(lambda: self._place.shown):
            link = self._session()
            link.begin(idle_seconds=self._times.missed)
            try:
                link.execute(f"SET LOCAL lock_timeout TO '{WAIT_SECONDS}s'")
                if instead_of is None:
                    row = link.execute(_FIRST, (generation, text, place, version)).fetchone()
                else:
                    row = link.execute(_NEXT, (generation, text, place, version, instead_of.version)).fetchone()
                if row is not None and holder is not None and (not instead_of or generation != instead_of.generation):
                    link.execute("UPDATE fence SET generation = ?, holder = ?", (generation, holder.id))
                link.execute("COMMIT")
            except errors.LockNotAvailable:
                self._undo(link)
                return None
            except BaseException:
                self._undo(link)
                raise
            if row is None:
                return None
            self._show(link, stands=holder is not None)
            return version

    def close(self) -> None:
        """End the session, and with it the advisory lock."""
        if self._link is not None:
            self._link.close()
            self._link, self._holds = None, False

    def _session(self) -> Link:
        if self._link is not None and not self._link.broken:
            with suppress(psycopg.OperationalError, psycopg.InterfaceError):
                self._link.execute("SELECT 1")
                return self._link
        self.close()
        self._link = Link(self._place, silent_seconds=SILENT_SECONDS)
        (self._key,) = self._link.execute("SELECT hashtextextended(?, 0)", (self._place.schema,)).fetchone()
        return self._link

    def _is_prepared(self, link: Link) -> bool:
        (there,) = link.execute(
            "SELECT to_regclass(?) IS NOT NULL AND to_regclass(?) IS NOT NULL",
            (f"{self._place.schema}.lease", f"{self._place.schema}.fence"),
        ).fetchone()
        return bool(there)

    def _show(self, link: Link, *, stands: bool) -> None:
        """Have the advisory lock of this session say whether its holder still stands."""
        if link.pooled:
            return  # it would be a lock of whoever else the pool gives that session to
        if not stands:
            link.execute("SELECT pg_advisory_unlock_all()")
            self._holds = False
        elif not self._holds:
            # A paused one that lost its lease may still have it. The lock is shared, so that it is in nobody's way.
            link.execute("SELECT pg_advisory_lock_shared(?)", (self._key,))
            self._holds = True

    def _undo(self, link: Link) -> None:
        with suppress(psycopg.Error):
            link.execute("ROLLBACK")
