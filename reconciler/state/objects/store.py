"""[io] The state of a team in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Under one prefix there are

    log/<number>          each write of each run, one object each, in the order of their numbers
    checkpoints/...       the whole state after some record, in pieces
    head                  which checkpoint is the last
    lock                  who may write (`state.lease`)
    clock                 written to learn what time it is for the store

Reads are answered from a copy on this machine that is brought up to date first: one listing of the log, and what is
new in it. Whoever takes the lock writes a fence into the log, so that who had it before can add nothing any more.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import StateBase, Target
from reconciler.problems import Problem, StateError
from reconciler.state.journal import JournalEntry, RunRecord, Step, Usage
from reconciler.state.key import Key
from reconciler.state.lease import Lease, Times, clear
from reconciler.state.objects import faults
from reconciler.state.objects.bucket import Network, connect
from reconciler.state.objects.lease import LOCK, LeaseObject
from reconciler.state.objects.log import Log
from reconciler.state.objects.replica import Replica, Slot, take_slot
from reconciler.state.objects.url import parse
from reconciler.state.objects.writer import ObjectWriter
from reconciler.state.rows import RecordedRow
from reconciler.state.sqlite import faults as sqlite_faults
from reconciler.state.store import LockInfo, Waiting, Writer
from reconciler.state.whole import Part


class ObjectStore:
    """The state under a prefix of an object store; fulfils `state.store.Store`.

    `replica` is where the copy on this machine may be kept; while another process uses that file, it is one beside it.
    With a `key` a new state is encrypted, and an encrypted one can be read; `must_encrypt` refuses to write another.
    Raises StateError `state-url` for an address that is none.
    """

    def __init__(
        self,
        url: str,
        replica: Path,
        key: Key | None = None,
        *,
        must_encrypt: bool = False,
        times: Times = Times(),  # noqa: B008
        network: Network = Network(),  # noqa: B008
    ) -> None:
        place = parse(url)
        self._shown = place.shown
        self._path = replica
        self._times = times
        self._bucket = connect(place, lambda: self.where, network)
        self._guard = threading.RLock()
        self._slot: Slot | None = None
        self._key = key
        self._must_encrypt = must_encrypt
        self._replica = Replica(replica, lambda: self.where, key)
        self._log = Log(self._bucket, self._replica, lambda: self.where)
        self._moments = 0  # how many `reading()` blocks are open
        self._writing = False  # while we hold the lock, nobody else writes

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address, with the serial last seen once there is one."""
        serial = self._replica.serial
        return self._shown if serial is None else f"{self._shown} (serial {serial})"

    def close(self) -> None:
        """Let go of the copy; the next read takes one again."""
        with self._guard:
            self._replica.close()
            if self._slot is not None:
                self._slot.give_back()
                self._slot = None

    # --- reading --------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make all reads inside see one moment."""
        with self._guard:
            replica = self._fresh()
            with replica.reading():
                self._moments += 1
                try:
                    yield
                finally:
                    self._moments -= 1

    def base(self) -> StateBase:
        """Return lineage and serial."""
        return self._fresh().base()

    def target(self) -> Target | None:
        """Return the remote that the last run spoke to."""
        return self._fresh().target()

    def fingerprints(self) -> dict[str, bytes]:
        """Return the fingerprint of every recorded address, in address order."""
        return self._fresh().fingerprints()

    def rows(self, addresses: Iterable[str] | None = None) -> Iterator[RecordedRow]:
        """Yield the recorded rows, sorted by address; of `addresses` those that are recorded."""
        return self._fresh().rows(addresses)

    def rejected(self) -> tuple[Address, ...]:
        """Return the addresses that were found rejected."""
        return self._fresh().rejected()

    def unsettled(self) -> tuple[JournalEntry, ...]:
        """Return the intents that are in doubt, narrowed to the addresses in doubt."""
        return self._fresh().unsettled()

    def highest_ordering_id(self) -> int:
        """Return the highest ordering id that any call was ever given here."""
        return self._fresh().highest_ordering_id()

    def usage_since(self, at: str) -> Usage:
        """Return what the calls since a moment came to at least."""
        return self._fresh().usage_since(at)

    def activities(self) -> tuple[tuple[str, str], ...]:
        """Return the sources that were told of an activity and not of its end."""
        return self._fresh().activities()

    def runs(self, limit: int | None = None) -> tuple[RunRecord, ...]:
        """Return the history, newest run first."""
        return self._fresh().runs(limit)

    def journal(self, run: str | None = None, *, after: int = 0) -> Iterator[JournalEntry]:
        """Yield the journal after the entry `after` in the order in which it was written."""
        return self._fresh().journal(run, after=after)

    def unsure(self) -> Iterator[JournalEntry]:
        """Yield the intents that were never answered, and what replaced the state, oldest first."""
        return self._fresh().unsure()

    def runs_with_formers(self) -> tuple[str, ...]:
        """Return the runs whose changes of access can be looked up, newest first."""
        return self._fresh().runs_with_formers()

    def formers(self, run: str) -> Mapping[Address, Former]:
        """Return what was recorded before a run, of each address whose access it changed, in address order."""
        return self._fresh().formers(run)

    def steps(self, run: str) -> Iterator[Step]:
        """Yield each change of a run that may have changed access, oldest first."""
        return self._fresh().steps(run)

    def dump(self) -> Iterator[Part]:
        """Yield all that is kept, to be restored elsewhere."""
        return self._fresh().dump()

    def moved_to(self) -> str:
        """Return where the state was moved to, empty if it was not."""
        return self._fresh().moved_to()

    def check(self) -> tuple[Problem, ...]:
        """Return what is wrong: with the state, and with the objects that it can be read from."""
        try:
            replica = self._fresh()
            problems = replica.check()
            with (
                tempfile.TemporaryDirectory() as folder,
                closing(Replica(Path(folder) / "state", lambda: self.where, self._key)) as other,
            ):
                # Everything that a machine without a copy would read.
                Log(self._bucket, other, lambda: self.where).catch_up()
                ours, theirs = self._fresh().position(), other.position()
            if ours.number == theirs.number and ours.digest != theirs.digest:
                problems += faults.corrupt(self.where, "head", "it leads to another state than the log").problems
        except StateError as error:
            return error.problems
        return problems

    # --- writing --------------------------------------------------------------------------------

    @contextmanager
    def lock(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Writer]:
        """Take the single writer's lock for the extent of a `with` block."""
        self.base()  # so that a refusal names the serial, and a state that cannot be used is refused at once
        self._refuse_clear()
        if self._generation() == 0 and self._bucket.get(LOCK) is None:
            self._probe()
        lease = Lease(self._lease(), lambda: self.where, info, self._times)
        lease.take(timeout=timeout, waiting=waiting)
        writer: ObjectWriter | None = None
        try:
            with self._guard:
                writer = ObjectWriter(self._log, self._replica, lease, info, lambda: self.where)
                writer.fence()
                self._writing = True
            yield writer
        finally:
            with self._guard:
                if writer is not None:
                    writer.release()
                self._writing = False
            with suppress(StateError):  # what was done is recorded, and the lock goes by itself
                lease.give_back()

    def unlock(self, lock_id: str) -> LockInfo:
        """Clear the lock of a holder that is gone; return who it was."""
        with suppress(StateError):  # a state that cannot be read can be unlocked
            self.base()  # so that a refusal names the serial
        return clear(self._lease(), lock_id, where=self.where, times=self._times)

    def _refuse_clear(self) -> None:
        """Refuse to write a state in clear where it must be encrypted."""
        if not self._must_encrypt:
            return
        encrypted = self._fresh().is_encrypted()
        if encrypted is None and self._key is None:
            raise sqlite_faults.key_needed(self.where, self._shown)
        if encrypted is False:
            raise faults.not_encrypted(self.where)

    def _lease(self) -> LeaseObject:
        return LeaseObject(self._bucket, lambda: self.where, self._generation)

    def _generation(self) -> int:
        return self._replica.position().generation

    def _probe(self) -> None:
        """Refuse a store that writes whatever the condition: before the first state in it, that costs nothing."""
        name = f"probe/{os.urandom(12).hex()}"
        first = self._bucket.create(name, b"1")
        try:
            if first is None or self._bucket.create(name, b"2") is not None:
                raise faults.unfit(self.where, "it overwrites an object that must be new (If-None-Match)")
            second = self._bucket.swap(name, b"3", first)
            if second is None or self._bucket.swap(name, b"4", first) is not None:
                raise faults.unfit(self.where, "it overwrites an object that has changed (If-Match)")
        finally:
            self._bucket.delete([name])

    # --- the copy -------------------------------------------------------------------------------

    def _fresh(self) -> Replica:
        """Return the copy, as it is in the store now; inside `reading()` as it was at first."""
        with self._guard:
            if self._moments or self._writing:
                return self._replica
            if self._slot is None:
                self._slot = take_slot(self._path, lambda: self.where)
                self._replica = Replica(self._slot.path, lambda: self.where, self._key)
                self._log = Log(self._bucket, self._replica, lambda: self.where)
            self._log.catch_up()
            return self._replica
