"""[io] The log of a state in an object store: a copy is brought up to date by it, and a record is added to it.

A record's number can be taken once only, and says which record came before. So whoever adds one to the log knows
all that came before it, and two who both think that they hold the lock cannot both go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.problems import StateError
from reconciler.state.objects import faults
from reconciler.state.objects import record as records
from reconciler.state.objects.bucket import Bucket, Found
from reconciler.state.objects.checkpoint import Checkpoints, Head
from reconciler.state.objects.cipher import Sealer, is_encrypted
from reconciler.state.objects.record import Record
from reconciler.state.objects.replica import Position, Replica, keep_fence, move_to, position_in
from reconciler.state.objects.seal import digest_of
from reconciler.state.sql.writer import SqlWriter
from reconciler.state.sqlite.faults import errors
from reconciler.state.sqlite.schema import FORMAT_VERSION, Connection
from reconciler.state.store import newer_version

_MISFITS = (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError)

WINDOW = 64  # records that are read and done again in one transaction
PATIENCE = 5  # how often a log is looked at anew that is shortened while we read it


class TakenError(Exception):
    """The next number is somebody else's."""


class _BehindError(Exception):
    """What comes next is not in the log any more, or belongs to another history: begin with the last checkpoint."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name)
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Caught:
    """What catching up came to: the records that were done, with what each returned; and whether it began anew."""

    records: tuple[tuple[Record, object], ...] = ()
    anew: bool = False


class Log:
    """The log, and the copy that follows it. All methods raise StateError."""

    def __init__(self, bucket: Bucket, replica: Replica, where: Callable[[], str]) -> None:
        self._sealer = Sealer(replica.key, where)
        self.checkpoints = Checkpoints(bucket, self._sealer, where)
        self._bucket = bucket
        self._replica = replica
        self._where = where

    def catch_up(self) -> Caught:
        """Bring the copy up to date."""
        anew = False
        tried: list[Head | None] = []
        if self._replica.damaged:
            self._replica.drop()
        for _ in range(PATIENCE):
            try:
                position = self._position()
                if position.number == 0:
                    anew = True
                    position = self._restart(tried)
                return Caught(self._follow(position), anew)
            except _BehindError as behind:
                if tried and self.checkpoints.head() == tried[-1]:
                    raise faults.corrupt(self._where(), behind.name, behind.why) from None
                self._replica.drop()
        raise faults.unreachable(self._where(), "the state changes faster than it can be read")

    def add(self, connection: Connection, record: Callable[[Position], Record]) -> Position:
        """Add a record after what a transaction of the copy holds, and write that down in it; return the position.

        Raises TakenError if the number is taken by any other record.
        """
        before = position_in(connection)
        made = record(before)
        name, content = records.name_of(made.number), made.encode()
        sealed = self._sealer.seal(name, content, encrypt=connection.key is not None)
        if self._bucket.create(name, sealed) is None:
            raise TakenError
        after = _after(before, made, name, content, len(sealed), "")
        if made.call == records.FENCE:
            keep_fence(connection, made.number)
        move_to(connection, after)
        return after

    def _position(self) -> Position:
        try:
            return self._replica.position()
        except StateError:
            if not self._replica.damaged:
                raise
        self._replica.drop()
        return Position()

    def _restart(self, tried: list[Head | None]) -> Position:
        self._replica.drop()
        while True:
            head = self.checkpoints.head()
            if tried and tried[-1] == head and head is not None:
                raise faults.corrupt(self._where(), head.last.folder, "a piece of it is missing")
            tried.append(head)
            if head is None:
                first = self._bucket.get(records.name_of(1))
                self._replica.encrypt_new = self._sealer.key is not None if first is None else is_encrypted(first.data)
                return Position()
            if self.checkpoints.load(head.last, self._replica):
                return self._replica.position()

    def _follow(self, position: Position) -> tuple[tuple[Record, object], ...]:
        """Do again what the log has after a position. Raises _BehindError."""
        after = records.name_of(position.number - 1) if position.number else ""
        listed = self._bucket.list_after("log", after)
        marks = {n: mark for name, mark in listed if (n := records.number_of(name)) is not None}
        if position.number == 0 and not marks:
            return ()
        last = max(marks, default=0)
        if position.number in marks:
            self._same(position, marks[position.number])
        elif position.number and position.number + 1 not in marks:
            raise _BehindError(records.name_of(position.number), "it is missing, and nothing that follows it is there")
        wanted = range(position.number + 1, last + 1)
        missing = next((number for number in wanted if number not in marks), None)
        if missing is not None:
            raise _BehindError(records.name_of(missing), "it is missing, and later ones are there")
        done: list[tuple[Record, object]] = []
        for start in range(0, len(wanted), WINDOW):
            done += self._do(wanted[start : start + WINDOW], marks)
        return tuple(done)

    def _same(self, position: Position, mark: str) -> None:
        """Make sure that the record that the copy ends with is the one in the store, not one of another history."""
        if position.mark == mark:
            return
        name = records.name_of(position.number)
        found = self._bucket.get(name)
        if found is None:
            raise _BehindError(name, "it was there a moment ago, and is missing now")
        if digest_of(name, self._open(name, found)).hex() != position.digest:
            raise _BehindError(name, "it does not fit the checkpoint")
        with self._replica.together() as connection:
            move_to(connection, replace(position_in(connection), mark=mark))

    def _do(self, numbers: Sequence[int], marks: dict[int, str]) -> list[tuple[Record, object]]:
        names = [records.name_of(number) for number in numbers]
        done: list[tuple[Record, object]] = []
        with self._replica.together() as connection:
            position = position_in(connection)
            for number, name, found in zip(numbers, names, self._bucket.get_all(names), strict=True):
                if found is None:
                    raise _BehindError(name, "it was there a moment ago, and is missing now")
                if is_encrypted(found.data) is not (connection.key is not None):
                    raise _BehindError(name, "it is encrypted and those before it are not, or the other way round")
                content = self._open(name, found)
                record = self._read(name, content)
                if record.number != number:
                    raise faults.corrupt(self._where(), name, f"it says that it is number {record.number}")
                if record.previous != position.digest:
                    raise _BehindError(name, "it does not follow the record before it")
                done.append((record, self._replay(name, record)))
                if record.call == records.FENCE:
                    keep_fence(connection, number)
                position = _after(position, record, name, content, len(found.data), marks[number])
            move_to(connection, position)
        return done

    def _open(self, name: str, found: Found) -> bytes:
        try:
            return self._sealer.unseal(name, found.data)
        except ValueError as error:
            raise faults.corrupt(self._where(), name, str(error)) from error

    def _read(self, name: str, content: bytes) -> Record:
        try:
            record = records.decode(content)
        except records.NewerFormatError as error:
            raise newer_version(self._where(), error.found, records.FORMAT) from error
        except ValueError as error:
            raise faults.corrupt(self._where(), name, "it is no record") from error
        if record.tables > FORMAT_VERSION:
            raise newer_version(self._where(), record.tables, FORMAT_VERSION)
        return record

    def _replay(self, name: str, record: Record) -> object:
        writer = SqlWriter(self._replica, None)
        if record.call != "begin_run":
            writer.resume(record.run or None)
        try:
            return records.replay(writer, record)
        except (*_MISFITS, *errors("IntegrityError")) as error:  # type: ignore[misc]
            detail = f"its {record.call} does not fit what came before it"
            raise faults.corrupt(self._where(), name, detail) from error


def _after(before: Position, record: Record, name: str, content: bytes, size: int, mark: str) -> Position:
    return Position(
        record.number,
        digest_of(name, content).hex(),
        mark,
        max(before.generation, record.generation),
        before.records + 1,
        before.bytes + size,
    )
