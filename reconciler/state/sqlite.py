"""[io] The local state: state and journal in one SQLite file, one transaction a write, a lock beside it.

Decides which file, which moment and who may write; the tables are in `sqlite_schema.py`, what is read
and written in `sqlite_read.py` and `sqlite_writer.py`, the words for errors in `sqlite_faults.py`.

Never opens the state file by other means than SQLite: closing such a file drops the POSIX locks that
SQLite holds on it in the same process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from reconciler.model.address import Address
from reconciler.model.former import Former, merge
from reconciler.model.states import StateBase, Target
from reconciler.problems import Problem, StateError
from reconciler.state import sqlite_faults as faults
from reconciler.state import sqlite_read as read
from reconciler.state import sqlite_schema as schema
from reconciler.state.checking import trouble_in
from reconciler.state.journal import JournalEntry, RunRecord, Usage
from reconciler.state.rows import RecordedRow
from reconciler.state.sqlite_chain import lost_runs
from reconciler.state.store import EMPTY_BASE, LockInfo, Waiting, Writer


class SqliteStore:
    """The state in a local file; fulfils `state.store.Store`.

    `path` may be a symbolic link to a file: everything, the lock too, lives where it points, so that
    two names of one state share one lock. Messages show the path as it was given.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.real = Path(os.path.realpath(self.path))
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._serial: int | None = None
        self._moments = 0  # how many `reading()` blocks are open
        self._absent = False  # inside `reading()`: there was no file when it began

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The path, with the serial last seen once there is one."""
        return self.path if self._serial is None else f"{self.path} (serial {self._serial})"

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make all reads inside see one moment."""
        with self._guard:
            if self._moments:
                yield
                return
            try:
                with self._read() as connection:
                    if connection is not None:
                        connection.execute("BEGIN")
                        read.base(connection)  # the first read, not BEGIN, fixes the moment
                self._absent = connection is None
                self._moments = 1
                yield
            finally:
                self._moments, self._absent = 0, False
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def base(self) -> StateBase:
        """Return lineage and serial."""
        with self._read() as connection:
            found = read.base(connection) if connection else EMPTY_BASE
            self._serial = found.serial
            return found

    def target(self) -> Target | None:
        """Return the remote that the last run spoke to."""
        with self._read() as connection:
            return read.target(connection) if connection else None

    def fingerprints(self) -> dict[str, bytes]:
        """Return the fingerprint of every recorded address, in address order."""
        with self._read() as connection:
            return read.fingerprints(connection) if connection else {}

    def rows(self, addresses: Iterable[str] | None = None) -> Iterator[RecordedRow]:
        """Yield the recorded rows, sorted by address; of `addresses` those that are recorded."""
        if addresses is None:
            return self._all_rows()
        return self._rows_of(sorted({str(address) for address in addresses}))

    def rejected(self) -> tuple[Address, ...]:
        """Return the addresses that were found rejected."""
        with self._read() as connection:
            return read.rejected(connection) if connection else ()

    def unsettled(self) -> tuple[JournalEntry, ...]:
        """Return the intents that are in doubt, narrowed to the addresses in doubt."""
        with self._read() as connection:
            return read.unsettled(connection) if connection else ()

    def highest_ordering_id(self) -> int:
        """Return the highest ordering id that any call was ever given here."""
        with self._read() as connection:
            return read.highest_ordering_id(connection) if connection else 0

    def usage_since(self, at: str) -> Usage:
        """Return what the calls since a moment came to at least."""
        with self._read() as connection:
            return read.usage_since(connection, at) if connection else Usage()

    def activities(self) -> tuple[tuple[str, str], ...]:
        """Return the sources that were told of an activity and not of its end."""
        with self._read() as connection:
            return read.activities(connection) if connection else ()

    def runs(self, limit: int | None = None) -> tuple[RunRecord, ...]:
        """Return the history, newest run first."""
        with self._read() as connection:
            return read.runs(connection, limit) if connection else ()

    def journal(self, run: str | None = None) -> Iterator[JournalEntry]:
        """Yield the journal in the order in which it was written."""
        seq = 0
        while True:
            with self._read() as connection:
                page = read.entries_after(connection, seq, run) if connection else []
            if not page:
                return
            for cells in page:
                with self.sense():
                    entry = read.entry(cells)
                yield entry
                seq = entry.seq

    def runs_with_formers(self) -> tuple[str, ...]:
        """Return the runs whose changes of access can be looked up, newest first."""
        with self._read() as connection:
            return read.runs_with_formers(connection) if connection else ()

    def formers(self, run: str) -> Mapping[Address, Former]:
        """Return what was recorded before a run, of each address whose access it changed, in address order."""
        found: dict[Address, Former] = {}
        seq = 0
        while True:
            with self._read() as connection:
                page = read.formers_after(connection, seq, run) if connection else None
            if page is None:
                return dict(sorted(found.items()))
            seq, formers = page
            merge(found, formers)

    def check(self) -> tuple[Problem, ...]:
        """Return what is wrong: the file's pages, and what `checking.trouble_in` finds."""
        problems: list[Problem] = []
        try:
            with self.reading():
                with self._read() as connection:
                    pages = [*read.misfits(connection), *lost_runs(connection)] if connection is not None else []
                for detail in pages:
                    problems += faults.corrupt(self.where, self.path, detail).problems
                problems += trouble_in(self, lambda detail: faults.corrupt(self.where, self.path, detail))
        except StateError as error:
            problems += error.problems
        return tuple(problems)

    @contextmanager
    def lock(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Writer]:
        """Take the single writer's lock for the extent of a `with` block."""
        from reconciler.state.sqlite_lock import Hold
        from reconciler.state.sqlite_writer import SqliteWriter

        hold = Hold(self.real, info)
        with faults.reported(self.path, lambda: self.where, writing=True):
            self._refuse_odd_files()
            self.real.parent.mkdir(parents=True, exist_ok=True)
            self.base()  # so that a refusal names the serial, and what is no state is refused at once
            hold.take(where=lambda: self.where, timeout=timeout, waiting=waiting)
        writer = SqliteWriter(self, hold.abandoned_by)
        try:
            yield writer
        finally:
            writer.release()
            hold.give_back()

    def unlock(self, lock_id: str) -> LockInfo:
        """Clear the note of a holder that is gone; return who it was."""
        from reconciler.state.sqlite_lock import clear

        with faults.reported(self.path, lambda: self.where, writing=True):
            return clear(self.real, lock_id, where=self.where)

    # --- for the writer -------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Run one transaction; it is on stable storage when the block ends, or did not happen."""
        with self._guard, faults.reported(self.path, lambda: self.where, writing=True):
            if self._moments:
                raise RuntimeError("a write inside reading(). This is a bug in reconciler.")
            connection = self._connection_to_write(create=create)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                with self.sense():
                    serial = read.base(connection).serial
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back already, as on a full disk
                    connection.execute("ROLLBACK")
                raise
            self._serial = serial

    def stop_writing(self) -> None:
        """Forbid writes again, when the lock is given back."""
        with self._guard, suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.execute("PRAGMA query_only = ON")

    @contextmanager
    def sense(self) -> Iterator[None]:
        """Report values that we never write as damage."""
        try:
            yield
        except ValueError as error:
            raise faults.corrupt(self.where, self.path, str(error)) from error

    def _connection_to_write(self, *, create: bool) -> sqlite3.Connection:
        before = self._connection
        connection = self._current()
        if not create and (connection is None or connection is not before):
            raise faults.replaced(self.where, self.path)
        if connection is None:
            schema.create(self.real)
            connection = self._current()
        assert connection is not None
        if create:
            schema.allow_writing(connection)
        return connection

    # --- the connection -------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection | None]:
        with self._guard, faults.reported(self.path, lambda: self.where, writing=False), self.sense():
            if not self._moments:
                yield self._current()
            else:
                yield None if self._absent else self._connection

    def _current(self) -> sqlite3.Connection | None:
        """Return a connection to the file that is at the path now, None when there is none."""
        identity = self._refuse_odd_files()
        if self._connection is not None and identity != self._identity:
            self.close()
        if identity is None:
            return None
        if self._connection is None:
            self._connection = schema.connect(self.real, self.path)
            self._identity = identity
        return self._connection

    def _refuse_odd_files(self) -> tuple[int, int] | None:
        """Return what identifies the file, None when there is none; refuse what is no plain file."""
        try:
            found = self.real.stat()
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode):
            raise faults.not_a_database(self.path, "is a folder, not a state file")
        if not stat.S_ISREG(found.st_mode):
            raise faults.not_a_database(self.path, "is a pipe or a device, not a state file")
        return (found.st_dev, found.st_ino)

    def _all_rows(self) -> Iterator[RecordedRow]:
        address = ""
        while True:
            with self._read() as connection:
                page = read.page_after(connection, address) if connection else []
            if not page:
                return
            yield from page
            address = page[-1].address

    def _rows_of(self, addresses: Sequence[str]) -> Iterator[RecordedRow]:
        for start in range(0, len(addresses), read.PAGE // 2):
            with self._read() as connection:
                if connection is None:
                    return
                page = read.page_of(connection, addresses[start : start + read.PAGE // 2])
            yield from page
