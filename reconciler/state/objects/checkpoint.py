"""[io] Checkpoints: whole copies of a state in an object store, so that nobody needs the log from its beginning.

A checkpoint is a folder of pieces, each an object that fits into memory. `head` names the last one and the one before;
it is replaced under the condition that nobody else did so, after the pieces are there, and before anything that is
older is deleted. So a run that dies, or lost the lock, at any moment in between leaves a state that reads.

Of the log, fences stay. Whoever wakes up after it lost the lock goes on with the number that the next holder's fence
has; were that free again, its record would seem to be taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from reconciler.state.objects import faults
from reconciler.state.objects.bucket import Bucket
from reconciler.state.objects.cipher import Sealer
from reconciler.state.objects.record import name_of, number_of
from reconciler.state.objects.replica import Position, Replica, move_to, position_in
from reconciler.state.sqlite import faults as sqlite_faults
from reconciler.state.sqlite.schema import FORMAT_VERSION
from reconciler.state.store import newer_version

HEAD = "head"
FOLDER = "checkpoints"
FORMAT = 1
PIECE = 16 << 20  # bytes of a state file in one object, before compression

_PIECE = re.compile(rf"({FOLDER}/([0-9]{{20}})-[0-9a-f]{{12}})/[0-9]{{6}}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A copy of the state after the record `number`, whose digest (hex) is `digest`: `pieces` objects in `folder`."""

    number: int
    digest: str
    folder: str
    pieces: int

    def names(self) -> list[str]:
        """Return the names of its objects."""
        return [f"{self.folder}/{number:06}" for number in range(self.pieces)]


@dataclass(frozen=True, slots=True)
class Head:
    """The last checkpoint, and the one before that slow readers may still be reading; `version` is the object's."""

    last: Checkpoint
    before: Checkpoint | None
    version: str


class Checkpoints:
    """The checkpoints of one state. All methods raise StateError."""

    def __init__(self, bucket: Bucket, sealer: Sealer, where: Callable[[], str]) -> None:
        self._bucket = bucket
        self._sealer = sealer
        self._where = where

    def head(self) -> Head | None:
        """Return which checkpoints there are, None when none was made yet."""
        found = self._bucket.get(HEAD)
        if found is None:
            return None
        try:
            doc = orjson.loads(self._sealer.unseal(HEAD, found.data))
            if doc["format"] > FORMAT or doc["tables"] > FORMAT_VERSION:
                raise newer_version(self._where(), max(doc["format"], doc["tables"]), FORMAT_VERSION)
            before = doc["before"]
            return Head(Checkpoint(**doc["last"]), Checkpoint(**before) if before else None, found.version)
        except (KeyError, TypeError, ValueError) as error:
            raise faults.corrupt(self._where(), HEAD, _why(error)) from error

    def load(self, checkpoint: Checkpoint, replica: Replica) -> bool:
        """Make a copy of the state what the checkpoint holds; return False if somebody deleted that meanwhile."""
        fresh = replica.real.with_name(replica.real.name + ".got")
        names = checkpoint.names()
        with sqlite_faults.reported(str(fresh), self._where, writing=True):
            try:
                with fresh.open("wb") as file:
                    for name, found in zip(names, self._bucket.get_all(names), strict=True):
                        if found is None:
                            return False
                        try:
                            file.write(self._sealer.unseal(name, found.data))
                        except ValueError as error:
                            raise faults.corrupt(self._where(), name, _why(error)) from error
                replica.put_in_place(fresh)
            finally:
                fresh.unlink(missing_ok=True)
        position = replica.position()
        if (position.number, position.digest) != (checkpoint.number, checkpoint.digest):
            replica.drop()
            raise faults.corrupt(self._where(), checkpoint.folder, "it is of another state, or of another moment")
        _nothing_since(replica)
        return True

    def make(self, replica: Replica, head: Head | None) -> None:
        """Keep what the copy of the state holds now, then delete what nobody needs any more."""
        path = replica.real.with_name(replica.real.name + ".checkpoint")
        position, encrypt = replica.position(), bool(replica.is_encrypted())
        if head is not None and head.last.number >= position.number:
            return  # another one has the lock now, and is further than we are
        with sqlite_faults.reported(str(path), self._where, writing=True):
            replica.copy_to(path)
            try:
                made = self._store(path, position, encrypt=encrypt)
            finally:
                path.unlink(missing_ok=True)
        doc: dict[str, Any] = {
            "format": FORMAT,
            "tables": FORMAT_VERSION,
            "last": asdict(made),
            "before": asdict(head.last) if head else None,
        }
        data = self._sealer.seal(HEAD, orjson.dumps(doc), encrypt=encrypt)
        version = self._bucket.create(HEAD, data) if head is None else self._bucket.swap(HEAD, data, head.version)
        if version is None:
            return  # another one did the same, or has the lock now; what we stored is swept by the next
        _nothing_since(replica)
        self._sweep(Head(made, head.last if head else None, version), replica.fences())

    def _store(self, path: Path, position: Position, *, encrypt: bool) -> Checkpoint:
        # No two attempts share names: one that was cut short leaves pieces of another moment.
        folder = f"{FOLDER}/{position.number:020}-{os.urandom(6).hex()}"
        pieces = 0
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                name = f"{folder}/{pieces:06}"
                self._bucket.put(name, self._sealer.seal(name, piece, encrypt=encrypt))
                pieces += 1
        return Checkpoint(position.number, position.digest, folder, pieces)

    def _sweep(self, head: Head, fences: frozenset[int]) -> None:
        kept = {checkpoint.folder for checkpoint in (head.last, head.before) if checkpoint}
        pieces = [found for name, _ in self._bucket.list_after(FOLDER) if (found := _PIECE.fullmatch(name))]
        # Not those of later records: if we lost the lock meanwhile, they are of the next holder's checkpoint.
        self._bucket.delete([p[0] for p in pieces if p[1] not in kept and int(p[2]) <= head.last.number])
        if head.before is None:
            return
        numbers = [number_of(name) for name, _ in self._bucket.list_after("log")]
        old = (n for n in numbers if n is not None and n <= head.before.number and n not in fences)
        self._bucket.delete([name_of(n) for n in old])


def _nothing_since(replica: Replica) -> None:
    with replica.together() as connection:
        move_to(connection, replace(position_in(connection), records=0, bytes=0))


def _why(error: Exception) -> str:
    return str(error) if type(error) is ValueError else "it does not read"
