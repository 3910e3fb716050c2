"""[io] The lock of a state in an object store: one object, replaced under the condition that nobody else did so.

How long ago its last sign of life was is told by the store's clock alone. That is learned from a small object of our
own: when the store says that it was written then, it is at least that late now. Times are whole seconds, cut off, so
an age may come out up to a second too low, never too high.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict

import orjson

from reconciler.state.lease import Found
from reconciler.state.objects import faults
from reconciler.state.objects.bucket import Bucket
from reconciler.state.store import LockInfo, newer_version

LOCK = "lock"
CLOCK = "clock"
FORMAT = 1


class LeaseObject:
    """Fulfils `state.lease.LeaseStore`. `generation` tells the last one that the log knows of."""

    def __init__(self, bucket: Bucket, where: Callable[[], str], generation: Callable[[], int]) -> None:
        self._bucket = bucket
        self._where = where
        self._generation = generation
        self._clock: tuple[float, float] | None = None  # the store's, and our monotonic one not before that

    def look(self) -> Found | None:
        """Return the lease as it is now."""
        found = self._bucket.get(LOCK)
        if found is None:
            # Somebody deleted it: generations go on from where they were.
            last = self._generation()
            return Found(last, None, "", 0.0, "") if last else None
        holder, place, generation = self._read(found.data)
        age = 0.0 if holder is None else max(self._now() - found.modified - 1.0, 0.0)
        return Found(generation, holder, place, age, found.version)

    def put(self, holder: LockInfo | None, place: str, generation: int, instead_of: Found | None) -> str | None:
        """Record the lease if nobody else did since; return the new version."""
        doc = {
            "format": FORMAT,
            "generation": generation,
            "holder": None if holder is None else asdict(holder),
            "place": place,
            # Stores name a version by its content, and each sign of life must be another version.
            "sign": os.urandom(12).hex(),
        }
        data = orjson.dumps(doc, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if instead_of is None or not instead_of.version:
            return self._bucket.create(LOCK, data)
        return self._bucket.swap(LOCK, data, instead_of.version)

    def _read(self, data: bytes) -> tuple[LockInfo | None, str, int]:
        try:
            doc = orjson.loads(data)
            known = doc["format"]
            if isinstance(known, int) and known > FORMAT:
                raise newer_version(self._where(), known, FORMAT)
            holder = None if doc["holder"] is None else LockInfo(**doc["holder"])
            return holder, str(doc["place"]), int(doc["generation"])
        except (KeyError, TypeError, ValueError) as error:
            raise faults.corrupt(self._where(), LOCK, "it does not say who holds the lock") from error

    def _now(self) -> float:
        """Return a time that is not later than it is now by the store's clock, in seconds since 1970."""
        if self._clock is None:
            self._bucket.put(CLOCK, os.urandom(12).hex().encode())
            found = self._bucket.get(CLOCK)  # another one's, if that came between, does as well
            if found is None:
                raise faults.unreachable(self._where(), "what was written is not there")
            self._clock = (found.modified, time.monotonic())
        theirs, ours = self._clock
        return theirs + (time.monotonic() - ours)
