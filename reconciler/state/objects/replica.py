"""[io] The local copy of a state in an object store: a state file that knows which record of the log it ends with.

A cache: it may be deleted at any time, and is made anew when it is damaged. Each user of it has it alone, so that none
waits for another, paused one: whoever comes second takes the next file beside it.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from reconciler.problems import StateError
from reconciler.state.key import Key
from reconciler.state.objects import faults as objects_faults
from reconciler.state.sql.connection import Sql
from reconciler.state.sqlite import faults, schema
from reconciler.state.sqlite.store import SqliteStore

MOST_AT_ONCE = 1000  # copies of one state that are in use on one machine
FENCES = 1000  # so many of the last fences stay in the log

_TABLE = """
CREATE TABLE IF NOT EXISTS replica (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    mark TEXT NOT NULL,
    generation INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
)
"""
_FENCE_TABLE = "CREATE TABLE IF NOT EXISTS fences (number INTEGER PRIMARY KEY)"
_DAMAGED = frozenset(
    {
        *("state-not-a-database", "state-not-ours", "state-corrupt", "state-newer-version"),
        *("state-encrypted", "state-key-wrong"),  # made with another key than there is now
    }
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the log a copy is.

    `number` is that of its last record (0: it has none), `digest` that record's (hex). `mark` is how a listing showed
    its object, empty if none did. `generation` is the highest of the lock that was seen. `records` and `bytes` are
    how much of the log is younger than the checkpoint that this copy, or a reader of the last one, begins with.
    """

    number: int = 0
    digest: str = ""
    mark: str = ""
    generation: int = 0
    records: int = 0
    bytes: int = 0


class Replica(SqliteStore):
    """A state file whose transactions carry the position; `where` names the state that it is a copy of.

    `before_commit` is called at the end of each transaction: what it raises undoes the transaction. The copy is
    encrypted if the state is; `encrypt_new` says whether that is so, where there is no copy yet.
    """

    def __init__(self, path: Path, shown: Callable[[], str], key: Key | None = None) -> None:
        super().__init__(path, key)
        self.encrypt_new = key is not None
        self.before_commit: Callable[[schema.Connection], None] | None = None
        self.damaged = False
        self._shown = shown
        self._batch: schema.Connection | None = None

    @property
    def where(self) -> str:
        """The name of the state."""
        return self._shown()

    @property
    def serial(self) -> int | None:
        """The serial that was read last."""
        return self._serial

    def size(self) -> int:
        """Return how many bytes the copy has, 0 when there is none."""
        try:
            return self.real.stat().st_size
        except OSError:
            return 0

    def position(self) -> Position:
        """Return where in the log the copy is."""
        with self._read() as connection:
            return Position() if connection is None else position_in(connection)

    def fences(self) -> frozenset[int]:
        """Return the numbers of the last fences."""
        with self._read() as connection:
            if connection is None or not _has_table(connection, "fences"):
                return frozenset()
            return frozenset(number for (number,) in connection.execute("SELECT number FROM fences").fetchall())

    def drop(self) -> None:
        """Delete the copy. Raises StateError when the system forbids it."""
        with self._guard, faults.reported(self.path, lambda: self.where, writing=True):
            self.close()
            self.damaged = False
            # The journal last: beside another database it would be taken for that one's.
            for name in (self.real.name, self.real.name + "-journal"):
                self.real.with_name(name).unlink(missing_ok=True)

    def put_in_place(self, fresh: Path) -> None:
        """Make a file that was got from elsewhere the copy."""
        with self._guard, faults.reported(self.path, lambda: self.where, writing=True):
            self.drop()
            fresh.replace(self.real)

    def copy_to(self, path: Path) -> None:
        """Write a file with the same content, in the tidiest form."""
        with self._guard, faults.reported(self.path, lambda: self.where, writing=True):
            path.unlink(missing_ok=True)
            connection = self._current()
            if connection is None:
                raise objects_faults.replaced(self.where)
            connection.execute("VACUUM INTO ?", (str(path),))

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[schema.Connection]:  # noqa: ARG002
        """Run one transaction, or a part of the one that `together` began."""
        if self._batch is not None:
            yield self._batch
            return
        with super().writing(create=True) as connection:
            yield connection
            if self.before_commit is not None:
                self.before_commit(connection)

    @contextmanager
    def together(self) -> Iterator[schema.Connection]:
        """Make all writes inside one transaction."""
        with self._guard, super().writing(create=True) as connection:
            self._batch = connection
            try:
                yield connection
            finally:
                self._batch = None

    def _key_for_new(self) -> Key | None:
        return self.key if self.encrypt_new else None

    @contextmanager
    def _read(self) -> Iterator[schema.Connection | None]:
        try:
            with super()._read() as connection:
                yield connection
        except StateError as error:
            if error.problems[0].code not in _DAMAGED:
                raise
            self.damaged = True
            raise objects_faults.bad_copy(self.where, self.path, error) from error


def position_in(connection: Sql) -> Position:
    """Return the position that tables hold."""
    if not _has_table(connection, "replica"):
        return Position()
    row = connection.execute("SELECT number, digest, mark, generation, records, bytes FROM replica").fetchone()
    return Position(*row) if row else Position()


def move_to(connection: Sql, position: Position) -> None:
    """Write the position down, inside the transaction that makes it true."""
    connection.execute(_TABLE)
    connection.execute("INSERT OR REPLACE INTO replica VALUES (1, ?, ?, ?, ?, ?, ?)", astuple(position))


def keep_fence(connection: Sql, number: int) -> None:
    """Write down that a record is a fence, inside the transaction of that record."""
    connection.execute(_FENCE_TABLE)
    connection.execute("INSERT OR REPLACE INTO fences VALUES (?)", (number,))
    connection.execute(
        "DELETE FROM fences WHERE number NOT IN (SELECT number FROM fences ORDER BY number DESC LIMIT ?)", (FENCES,)
    )


def _has_table(connection: Sql, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


class Slot:
    """The right to use one file, from `take` to `give_back`; it ends with the process.

    With `folder`, which goes with it, the file is for this process alone.
    """

    def __init__(self, path: Path, folder: tempfile.TemporaryDirectory[str] | None = None) -> None:
        from filelock import FileLock

        self.path = path
        self._folder = folder
        self._lock = FileLock(path.with_name(path.name + ".lock"), thread_local=False)

    def take(self) -> bool:
        """Return whether it was free, and is ours now."""
        from filelock import Timeout

        with suppress(Timeout):
            self._lock.acquire(timeout=0)
            return True
        return False

    def give_back(self) -> None:
        """Let the next one have it."""
        self._lock.release()
        if self._folder is not None:
            self._folder.cleanup()


def take_slot(path: Path, where: Callable[[], str]) -> Slot:
    """Return the right to use `path` or, while others have that, a file beside it.

    Where nothing may be written it is one in the system's folder for such files. Raises StateError.
    """
    with faults.reported(str(path), where, writing=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for number in range(MOST_AT_ONCE):
                slot = Slot(path if number == 0 else path.with_name(f"{path.name}.{number}"))
                if slot.take():
                    return slot
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                raise
        folder = tempfile.TemporaryDirectory(prefix="reconciler-")
        slot = Slot(Path(folder.name) / path.name, folder)
        slot.take()
        return slot
