"""[io] The local state: state and journal in one SQLite file, one transaction a write, a lock beside it.

Decides which file, which moment and who may write; the tables are in `sqlite/schema.py`, what is read
and written in `sql/read.py` and `sql/writer.py`, the words for errors in `sqlite/faults.py`.

Never opens the state file by other means than SQLite: closing such a file drops the POSIX locks that
SQLite holds on it in the same process.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from reconciler.problems import StateError
from reconciler.state.key import Key
from reconciler.state.sql import read
from reconciler.state.sql.connection import Sql
from reconciler.state.sql.reader import SqlReader
from reconciler.state.sqlite import faults, schema
from reconciler.state.store import LockInfo, Waiting, Writer

if TYPE_CHECKING:
    from reconciler.state.sqlite.lock import Hold


class SqliteStore(SqlReader):
    """The state in a local file; fulfils `state.store.Store`.

    `path` may be a symbolic link to a file: everything, the lock too, lives where it points, so that
    two names of one state share one lock. Messages show the path as it was given.

    With a `key` a new state is encrypted, and an encrypted one can be read; a plain one stays so until it is converted
    (`sqlite_convert`). `must_encrypt` refuses to write a plain one.
    """

    def __init__(self, path: str | os.PathLike[str], key: Key | None = None, *, must_encrypt: bool = False) -> None:
        self.path = os.fspath(path)
        self.key = key
        self._must_encrypt = must_encrypt
        self.real = Path(os.path.realpath(self.path))
        self._guard = threading.RLock()
        self._connection: schema.Connection | None = None
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
                    try:
                        self._connection.execute("ROLLBACK")
                    except faults.errors():  # what was read is read; the next read begins with a connection of its own
                        self.close()

    @contextmanager
    def lock(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Writer]:
        """Take the single writer's lock for the extent of a `with` block."""
        from reconciler.state.sql.writer import SqlWriter

        self.base()  # so that a refusal names the serial, and what is no state is refused at once
        with self.held(info, timeout=timeout, waiting=waiting) as hold:
            self._refuse_clear()
            writer = SqlWriter(self, hold.abandoned_by)
            try:
                yield writer
            finally:
                writer.release()

    @contextmanager
    def held(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Hold]:
        """Keep others from writing, for the extent of a `with` block; what there is was not looked at."""
        from reconciler.state.sqlite.lock import Hold

        hold = Hold(self.real, info)
        with faults.reported(self.path, lambda: self.where, writing=True):
            self.real.parent.mkdir(parents=True, exist_ok=True)
            hold.take(where=lambda: self.where, timeout=timeout, waiting=waiting)
        try:
            yield hold
        finally:
            hold.give_back()

    def is_encrypted(self) -> bool | None:
        """Return whether the state is encrypted, None when there is none."""
        with self._read() as connection:
            return None if connection is None else connection.key is not None

    def unlock(self, lock_id: str) -> LockInfo:
        """Clear the note of a holder that is gone; return who it was."""
        from reconciler.state.sqlite.lock import clear

        with faults.reported(self.path, lambda: self.where, writing=True):
            return clear(self.real, lock_id, where=self.where)

    # --- for the writer -------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[schema.Connection]:
        """Run one transaction; it is on stable storage when the block ends, or did not happen."""
        with self._guard, faults.reported(self.path, lambda: self.where, writing=True):
            if self._moments:
                raise RuntimeError("a write inside reading(). This is a bug in reconciler.")
            connection = self._connection_to_write(create=create)
            connection.execute("BEGIN IMMEDIATE")
            try:
                if create:
                    schema.upgrade(connection)
                yield connection
                with self.sense():
                    serial = read.base(connection).serial
                connection.execute("COMMIT")
            except BaseException:
                with suppress(*faults.errors()):  # SQLite may have rolled back already, as on a full disk
                    connection.execute("ROLLBACK")
                raise
            self._serial = serial

    def stop_writing(self) -> None:
        """Forbid writes again, when the lock is given back."""
        with self._guard, suppress(*faults.errors()):
            if self._connection is not None:
                self._connection.execute("PRAGMA query_only = ON")

    def _key_for_new(self) -> Key | None:
        """Return what a state that is not there yet is encrypted with."""
        return self.key

    def _refuse_clear(self) -> None:
        """Refuse to write a plain state where it must be encrypted."""
        if not self._must_encrypt:
            return
        encrypted = self.is_encrypted()
        if encrypted is None and self.key is None:
            raise faults.key_needed(self.where, self.path)
        if encrypted is False:
            raise faults.not_encrypted(self.where, self.path)

    def _corrupt(self, detail: str) -> StateError:
        return faults.corrupt(self.where, self.path, detail)

    def _misfits(self, sql: Sql) -> Iterator[str]:
        for (line,) in sql.execute("PRAGMA integrity_check(20)").fetchall():
            if line != "ok":
                yield str(line)
        # SQLite knows no such pragma and ignores it. SQLCipher looks at every page, also at those that are free.
        for (line,) in sql.execute("PRAGMA cipher_integrity_check").fetchall():
            yield str(line)

    def _connection_to_write(self, *, create: bool) -> schema.Connection:
        before = self._connection
        connection = self._current()
        if not create and (connection is None or connection is not before):
            raise faults.replaced(self.where, self.path)
        if connection is None:
            schema.create(self.real, self._key_for_new())
            connection = self._current()
        assert connection is not None
        if create:
            schema.allow_writing(connection)
        return connection

    # --- the connection -------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[schema.Connection | None]:
        with self._guard, faults.reported(self.path, lambda: self.where, writing=False), self.sense():
            if not self._moments:
                yield self._current()
            else:
                yield None if self._absent else self._connection

    def _current(self) -> schema.Connection | None:
        """Return a connection to the file that is at the path now, None when there is none."""
        identity = self._refuse_odd_files()
        if self._connection is not None and identity != self._identity:
            self.close()
        if identity is None:
            return None
        if self._connection is None:
            self._connection = schema.connect(self.real, self.path, self.key)
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
