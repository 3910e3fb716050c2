"""[io] The state in PostgreSQL: the tables of the local file in a schema, for a team that shares one state.

Decides which session, which moment and who may write. Each write looks at the fence in its own transaction, so what a
holder that lost its lease still tries to write is refused by the database, whatever that holder believes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from reconciler.problems import StateError
from reconciler.state.lease import Lease, Times, clear, lost_problem
from reconciler.state.postgres import faults, schema
from reconciler.state.postgres.lease import PostgresLease
from reconciler.state.postgres.link import Link, place_of
from reconciler.state.sql import read
from reconciler.state.sql.connection import Sql
from reconciler.state.sql.reader import SqlReader
from reconciler.state.sql.writer import SqlWriter
from reconciler.state.store import LockInfo, Waiting, Writer, newer_version

COMMIT_SECONDS = 15.0  # how long to ask whether a commit arrived whose answer was lost


class PostgresStore(SqlReader):
    """The state in a schema of a PostgreSQL database; fulfils `state.store.Store`.

    `url` is `postgresql://user@host:port/database?schema=name` and what else libpq understands. Raises StateError
    `state-url` when it is none.
    """

    def __init__(self, url: str, *, times: Times = Times()) -> None:  # noqa: B008
        self._place = place_of(url)
        self._times = times
        self._guard = threading.RLock()
        self._link: Link | None = None
        self._known = False  # whether this session has seen the tables
        self._moments = 0  # how many `reading()` blocks are open
        self._lease: Lease | None = None

    @property
    def where(self) -> str:
        """The URL without a password, with the serial last seen once there is one."""
        return self._place.shown if self._serial is None else f"{self._place.shown} (serial {self._serial})"

    def close(self) -> None:
        """End the session; the next read begins another."""
        with self._guard:
            if self._link is not None:
                self._link.close()
            self._link, self._known = None, False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make all reads inside see one moment."""
        with self._guard:
            if self._moments:
                yield
                return
            with self._transaction():
                self._moments = 1
                try:
                    yield
                finally:
                    self._moments = 0

    def unlock(self, lock_id: str) -> LockInfo:
        """Clear the lease of a holder that gives no sign of life; return who it was."""
        lease = PostgresLease(self._place, self._times)
        try:
            return clear(lease, lock_id, where=self.where, times=self._times)
        finally:
            lease.close()

    @contextmanager
    def lock(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Writer]:
        """Take the single writer's lock for the extent of a `with` block."""
        kept = PostgresLease(self._place, self._times)
        lease = Lease(kept, lambda: self.where, info, self._times)
        try:
            kept.prepare()
            self.base()  # so that a refusal names the serial
            lease.take(timeout=timeout, waiting=waiting)
            self._lease = lease
            writer = SqlWriter(self, lease.abandoned_by)
            try:
                yield writer
            finally:
                writer.release()
                with suppress(StateError):  # then the lease runs out by itself
                    lease.give_back()
        finally:
            kept.close()

    # --- for the writer -------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[Sql]:
        """Run one transaction; it is on stable storage when the block ends, or did not happen."""
        lease = self._lease
        if lease is None or self._moments:
            raise RuntimeError("a write inside reading() or without the lock. This is a bug in reconciler.")
        lease.check()
        with self._guard, self._transaction(lease) as link:
            if not self._exists(link):
                if not create:
                    raise faults.replaced(self.where)
                schema.create(link)
            yield link
            with self.sense():
                serial = read.base(link).serial
        self._serial = serial

    def stop_writing(self) -> None:
        """Forbid writes again, when the lock is given back."""
        self._lease = None

    # --- sessions -------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[Sql | None]:
        with self._guard:
            if self._moments or (self._link is not None and self._link.in_transaction):
                with faults.reported(lambda: self.where), self.sense():
                    yield self._link if self._link is not None and self._exists(self._link) else None
            else:
                with self._transaction() as link, self.sense():
                    yield link if self._exists(link) else None

    @contextmanager
    def _transaction(self, lease: Lease | None = None) -> Iterator[Link]:
        """Run one transaction: to read, or to write under a lease."""
        mark = uuid.uuid4().hex
        with faults.reported(lambda: self.where):
            link = self._begun(None if lease is None else self._times.lease)
            try:
                if lease is not None:
                    self._pass_fence(link, lease, mark)
                yield link
                self._commit(link, lease, mark)
            except BaseException:
                with suppress(psycopg.Error):
                    link.execute("ROLLBACK")
                self._known = False  # what was made in it is gone
                raise

    def _begun(self, idle_seconds: float | None) -> Link:
        """Return a session with an open transaction: the one there is, or a new one when that one is over."""
        if self._link is not None:
            with suppress(psycopg.OperationalError, psycopg.InterfaceError):
                self._link.begin(idle_seconds=idle_seconds)
                return self._link
            self.close()
        self._link = Link(self._place)
        self._link.begin(idle_seconds=idle_seconds)
        return self._link

    def _pass_fence(self, link: Link, lease: Lease, mark: str) -> None:
        # Whoever takes the lock changes the row, too, and so waits until this transaction is over.
        query = "UPDATE fence SET written = ? WHERE generation = ? AND holder = ?"
        if link.execute(query, (mark, lease.generation, lease.id)).rowcount != 1:
            raise StateError(lost_problem(self.where, None))

    def _commit(self, link: Link, lease: Lease | None, mark: str) -> None:
        try:
            link.execute("COMMIT")
        except (psycopg.OperationalError, psycopg.InterfaceError):
            if lease is None or not self._arrived(lease, mark):
                raise

    def _arrived(self, lease: Lease, mark: str) -> bool:
        """Return whether a transaction was committed although the answer never came.

        It left its mark at the fence or it did not happen: numbers of transactions are given again after a crash. While
        it is still under way the row is locked.
        """
        deadline = time.monotonic() + COMMIT_SECONDS
        while time.monotonic() < deadline:
            with suppress(psycopg.Error):
                self.close()
                self._link = Link(self._place, silent_seconds=COMMIT_SECONDS)
                self._link.begin(idle_seconds=COMMIT_SECONDS)
                query = "SELECT generation, holder, written FROM fence FOR UPDATE"
                generation, holder, written = self._link.execute(query).fetchone()
                self._link.execute("ROLLBACK")
                if (generation, holder) != (lease.generation, lease.id):
                    raise StateError(lost_problem(self.where, None))
                return bool(written == mark)
            time.sleep(0.5)
        return False

    def _exists(self, link: Link) -> bool:
        if not self._known:
            (there,) = link.execute("SELECT to_regclass(?) IS NOT NULL", (f"{self._place.schema}.meta",)).fetchone()
            if there:
                self._refuse_other_formats(link)
            self._known = bool(there)
        return self._known

    def _refuse_other_formats(self, link: Link) -> None:
        row = link.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if row is None or not str(row[0]).isdigit():
            raise self._corrupt("its tables do not say their format")
        if int(row[0]) > schema.FORMAT_VERSION:
            raise newer_version(self.where, int(row[0]), schema.FORMAT_VERSION)

    def _corrupt(self, detail: str) -> StateError:
        return faults.corrupt(self.where, detail)
