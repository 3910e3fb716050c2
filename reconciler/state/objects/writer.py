"""[io] Writes to a state in an object store, under its lock: each is done on the copy, and kept if the log takes it.

The transaction of the copy is open while the record travels, and is committed when the record is in the log. If that
cannot be told, the next write first looks at the log: what arrived after all was ours, and is done again on the copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from reconciler.model.states import StateBase, Target
from reconciler.problems import StateError
from reconciler.state.journal import NO_EFFECT, Effect, Intent, JournalEntry, Outcome, RunInfo
from reconciler.state.lease import Lease, lost_problem
from reconciler.state.objects import faults
from reconciler.state.objects import record as records
from reconciler.state.objects.log import Log, TakenError
from reconciler.state.objects.record import Doc, Record
from reconciler.state.objects.replica import Position, Replica
from reconciler.state.rows import RecordedRow, Verification
from reconciler.state.sql.connection import Sql
from reconciler.state.sql.read import base
from reconciler.state.sql.writer import SqlWriter
from reconciler.state.sqlite.schema import FORMAT_VERSION, Connection
from reconciler.state.store import LockInfo
from reconciler.state.whole import Part

Result = TypeVar("Result")

ATTEMPTS = 50
# A checkpoint is due when the log has grown by so many records, or bytes: at the end of a run, and amid a long one.
# The larger a state, the longer a log is worth reading instead.
DUE_AT_END = 100
DUE_AMID = 2000
DUE_BYTES = 1 << 20
RECORDS_PER_BYTE = 2 / (1 << 20)
BYTES_PER_BYTE = 1 / 16


class ObjectWriter:
    """Fulfils `state.store.Writer` for an `ObjectStore` whose lock is held."""

    def __init__(self, log: Log, replica: Replica, lease: Lease, info: LockInfo, where: Callable[[], str]) -> None:
        self._log = log
        self._replica = replica
        self._lease = lease
        self._info = info
        self._where = where
        self._local = SqlWriter(replica, lease.abandoned_by)
        self._guard = threading.RLock()
        self._run = ""
        self._count = 0
        self._number = 0  # of the last record that we know of
        self._unsure = False  # whether the log may hold more of ours than the copy
        self._later = 0  # up to this record no checkpoint is tried again
        self._lost: StateError | None = None
        self._released = False

    @property
    def abandoned_by(self) -> LockInfo | None:
        """Who held the lock before and died without giving it up, if anybody did."""
        return self._local.abandoned_by

    def release(self) -> None:
        """Refuse every further write: the lock is about to go."""
        with self._guard:
            self._released = True
            self._local.release()

    def fence(self) -> None:
        """Take the next number of the log, so that who held the lock before can add nothing any more.

        Raises StateError `lock-lost` when a later holder did the same first.
        """
        for _ in range(ATTEMPTS):
            self._log.catch_up()
            self._number = self._replica.position().number
            with suppress(TakenError):
                self._add(records.FENCE, lambda _: {}, self._nothing)
                return
        raise faults.unreachable(self._where(), "others keep writing to it")

    def begin_run(self, run: RunInfo, target: Target, new_lineage: Callable[[], str]) -> StateBase:
        """Record that a run begins; return the state it starts from."""
        with self._guard:
            found = self._write(
                "begin_run",
                lambda connection: records.begin_run(run, target, base(connection).lineage),
                lambda: self._local.begin_run(run, target, new_lineage),
                run=run.id,
            )
            self._run = run.id
            return found

    def intent(self, intent: Intent) -> int:
        """Record that a call is about to be sent; return the ticket to settle it by."""
        return self._write("intent", lambda _: records.intent(intent), lambda: self._local.intent(intent))

    def settle(
        self,
        ticket: int,
        outcome: Outcome,
        *,
        at: str,
        effect: Effect = NO_EFFECT,
        detail: str = "",
        ordering_id: int | None = None,
    ) -> int:
        """Record how a call ended and, when accepted, its effect; return the new serial."""
        return self._write(
            "settle",
            lambda _: records.settle(ticket, outcome, at=at, effect=effect, detail=detail, ordering_id=ordering_id),
            lambda: self._local.settle(ticket, outcome, at=at, effect=effect, detail=detail, ordering_id=ordering_id),
        )

    def record_activities(self, activities: Iterable[tuple[str, str]]) -> None:
        """Record which sources were told of an activity; the serial stays."""
        told = tuple(activities)
        self._write(
            "record_activities", lambda _: records.activities(told), lambda: self._local.record_activities(told)
        )

    def record_state_only(self, effect: Effect, *, at: str) -> int:
        """Record changes that need no call; return the new serial."""
        return self._write(
            "record_state_only",
            lambda _: records.state_only(effect, at=at),
            lambda: self._local.record_state_only(effect, at=at),
        )

    def record_verified(self, verifications: Iterable[Verification]) -> int:
        """Record what `verify` learned; return how many rows it was still true of."""
        found = tuple(verifications)
        return self._write(
            "record_verified", lambda _: records.verified(found), lambda: self._local.record_verified(found)
        )

    def forget(self, addresses: Iterable[str], *, at: str) -> int:
        """Drop addresses, and doubts about them, without a call; return the new serial."""
        gone = tuple(addresses)
        return self._write("forget", lambda _: records.forget(gone, at=at), lambda: self._local.forget(gone, at=at))

    def move(self, old: str, new: str, *, at: str) -> int:
        """Record under `new` what is at `old`; return the new serial."""
        return self._write("move", lambda _: records.move(old, new, at=at), lambda: self._local.move(old, new, at=at))

    def replace(self, base: StateBase, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
        """Record these rows and doubts, and no others, under this lineage and serial."""
        whole, doubts = tuple(rows), tuple(unsettled)
        self._write(
            "replace",
            lambda _: records.replace(base, whole, doubts),
            lambda: self._local.replace(base, whole, doubts),
        )

    def restore(self, parts: Iterable[Part]) -> None:
        """Record all that another store held, where nothing was ever recorded."""
        whole = tuple(parts)
        with self._guard:
            self._write("restore", lambda _: records.restore(whole), lambda: self._local.restore(whole))
            self._keep_if_due(DUE_AT_END, first=True)

    def record_moved(self, to: str) -> None:
        """Record where the state was moved to, empty to go on here."""
        self._write("record_moved", lambda _: records.moved(to), lambda: self._local.record_moved(to))

    def end_run(self, *, at: str, result: str, detail: str = "") -> None:
        """Record that the run ended, and tidy up."""
        with self._guard:
            self._write(
                "end_run",
                lambda _: records.end_run(at=at, result=result, detail=detail),
                lambda: self._local.end_run(at=at, result=result, detail=detail),
            )
            self._run = ""
            self._keep_if_due(DUE_AT_END, first=True)

    # --- one write ------------------------------------------------------------------------------

    def _write(
        self,
        call: str,
        arguments: Callable[[Sql], Doc],
        local: Callable[[], Result],
        run: str | None = None,
    ) -> Result:
        with self._guard:
            if self._released:
                return local()  # which refuses
            if self._lost is not None:
                raise self._lost
            for _ in range(ATTEMPTS):
                self._lease.check()
                if self._unsure:
                    self._look()
                with suppress(TakenError):
                    found = self._add(call, arguments, local, run)
                    self._keep_if_due(DUE_AMID)
                    return found
            raise faults.unreachable(self._where(), "it neither takes a record nor shows whose is there")

    def _add(
        self,
        call: str,
        arguments: Callable[[Sql], Doc],
        local: Callable[[], Result],
        run: str | None = None,
    ) -> Result:
        """Do one write on the copy and in the log. Raises TakenError, and nothing is done, if the number was taken."""
        added: list[Position] = []

        def made(connection: Sql, before: Position) -> Record:
            if before.number != self._number:
                raise faults.replaced(self._where())
            if before.generation > self._lease.generation:
                raise self._gone()
            self._count += 1
            return Record(
                number=before.number + 1,
                previous=before.digest,
                lock=self._info.id,
                generation=self._lease.generation,
                count=self._count,
                tables=FORMAT_VERSION,
                run=self._run if run is None else run,
                call=call,
                arguments=arguments(connection),
            )

        def add(connection: Connection) -> None:
            def record(before: Position) -> Record:
                entry = made(connection, before)
                self._unsure = True
                return entry

            added.append(self._log.add(connection, record))

        self._replica.before_commit = add
        try:
            found = local()
        finally:
            self._replica.before_commit = None
        if added:
            self._number = added[-1].number
        self._unsure = False
        return found

    def _nothing(self) -> None:
        with self._replica.writing():
            pass

    def _look(self) -> None:
        """Bring the copy up to date with what of ours arrived; others' records say that the lock is lost."""
        caught = self._log.catch_up()
        ours = (self._info.id, self._lease.generation)
        if caught.anew or any((record.lock, record.generation) != ours for record, _ in caught.records):
            raise self._gone()
        for record, _ in caught.records:
            self._number = record.number
            self._run = "" if record.call == "end_run" else record.run
            self._local.resume(self._run or None)
        self._unsure = False

    def _gone(self) -> StateError:
        self._lost = StateError(lost_problem(self._where(), None))
        return self._lost

    # --- checkpoints ----------------------------------------------------------------------------

    def _keep_if_due(self, least: int, *, first: bool = False) -> None:
        """Make a checkpoint if one is due, or if it is the first. What was recorded is in the log already."""
        position, size = self._replica.position(), self._replica.size()
        due = position.records >= max(least, size * RECORDS_PER_BYTE) or position.bytes >= max(
            DUE_BYTES, size * BYTES_PER_BYTE
        )
        alone = first and position.number == position.records
        if position.number < self._later or not (alone or due):
            return
        try:
            head = self._log.checkpoints.head()
            if head is None or due:
                self._log.checkpoints.make(self._replica, head)
        except StateError:
            self._later = position.number + DUE_AMID  # a later run makes it, if this one does not live to
