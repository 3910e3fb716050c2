"""[io] The lock of a store that several machines share: a lease, and a generation that fences off who lost it.

No operating system tells one machine that a process of another one died, so the holder gives a sign of life every
`Times.renew` seconds, and after `Times.lease` seconds without one whoever asks may take the lock. How long ago the
last sign was is told by the store's own clock: the clocks of the machines need not agree.

A holder that was only paused wakes up and knows nothing of it. Each taking therefore has a generation, one higher
than the last, and a store writes nothing under an older generation than the last one (`Lease.check` only saves the
way there). The calls that such a holder might still send carry older ordering ids, which the remote ignores where a
newer one came first (push-api.md 2.5).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from reconciler.problems import Problem, StateError
from reconciler.state.holder import is_dead
from reconciler.state.store import LockInfo, Waiting, locked_problem, other_lock_problem

POLL_SECONDS = 0.25
TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds: how long a lease holds without a sign of life, how often there is one, and when a holder is missed.

    Whoever was missed may be cleared by the id of its lock (`state unlock`), or is known to be gone when the store
    says that its session ended, too.
    """

    lease: float = 60.0
    renew: float = 10.0
    missed: float = 25.0


@dataclass(frozen=True, slots=True)
class Found:
    """A lease as the store shows it.

    `holder` is None when it was given back. `age` is how many seconds ago its last sign of life was, by the store's
    clock. `place` says where the holder runs (`this_place`). `version` names what was read, so that it is replaced
    only if nothing else came between. `ended` is whether the store knows that the holder's session is over; a
    store without sessions never does.
    """

    generation: int
    holder: LockInfo | None
    place: str
    age: float
    version: str
    ended: bool = False


class LeaseStore(Protocol):
    """Where a lease is kept. Both methods raise StateError when the store cannot be used."""

    def look(self) -> Found | None:
        """Return the lease, None when there never was one."""

    def put(self, holder: LockInfo | None, place: str, generation: int, instead_of: Found | None) -> str | None:
        """Record the lease with a sign of life now, if it still is the version that was found; return the new version.

        None: somebody else was faster, and nothing is changed.
        """


class Lease:
    """One holding of the lock, from `take` to `give_back`; gives signs of life from a thread of its own."""

    def __init__(self, store: LeaseStore, where: Callable[[], str], info: LockInfo, times: Times) -> None:
        self.generation = 0
        self.id = info.id
        self.abandoned_by: LockInfo | None = None
        self._store = store
        self._where = where
        self._info = info
        self._times = times
        self._version = ""
        self._signed = 0.0  # when the last sign of life was begun, by our monotonic clock
        self._lost_to: LockInfo | None = None
        self._lost = False
        self._guard = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, *, timeout: float, waiting: Waiting | None) -> None:
        """Take the lock. Raises StateError `state-locked` when another keeps it for `timeout` seconds."""
        start = time.monotonic()
        told = -TELL_SECONDS
        while True:
            found = self._store.look()
            if (found is None or is_free(found, self._times)) and self._try(found):
                break
            waited = time.monotonic() - start
            holder = found.holder if found else None
            if waited >= timeout:
                raise StateError(self._locked(found, waited))
            if waiting is not None and waited - told >= TELL_SECONDS:
                told = waited
                waiting(holder, waited)
            time.sleep(min(POLL_SECONDS, max(timeout - waited, 0.01)))
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _try(self, free: Found | None) -> bool:
        begun = time.monotonic()
        generation = free.generation + 1 if free else 1
        version = self._store.put(self._info, this_place(), generation, free)
        if version is None:
            now = self._store.look()
            if now is None or now.holder != self._info or now.generation != generation:
                return False
            version = now.version  # it arrived, and its answer did not
        self.generation, self._version, self._signed = generation, version, begun
        self.abandoned_by = free.holder if free else None
        return True

    def check(self) -> None:
        """Raise StateError `lock-lost` when the lock is known to be somebody else's.

        After a pause that was longer than the lease it is asked for anew, and goes on to be ours if nobody took it.
        """
        if not self._lost and time.monotonic() - self._signed > self._times.lease:
            self._sign()
        if self._lost:
            raise StateError(lost_problem(self._where(), self._lost_to))

    def give_back(self) -> None:
        """Let the next one take the lock at once; harmless when it is lost already."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            if not self._lost:
                self._store.put(None, "", self.generation, self._ours())

    def _keep(self) -> None:
        while not self._done.wait(self._times.renew):
            try:
                self._sign()
            except StateError:
                continue  # the store is out of reach for now; whoever writes will be told so
            if self._lost:
                return

    def _sign(self) -> None:
        with self._guard:
            if self._lost or self._done.is_set():
                return
            begun = time.monotonic()
            version = self._store.put(self._info, this_place(), self.generation, self._ours())
            if version is None:
                found = self._store.look()
                if found is None or found.generation != self.generation or found.holder != self._info:
                    self._lost, self._lost_to = True, found.holder if found else None
                    return
                version = found.version  # an earlier sign arrived, and its answer did not
            self._version, self._signed = version, begun

    def _ours(self) -> Found:
        return Found(self.generation, self._info, this_place(), 0.0, self._version)

    def _locked(self, found: Found | None, waited: float) -> Problem:
        problem = locked_problem(self._where(), found.holder if found else None, waited)
        if found is None or found.holder is None:
            return problem
        return replace(
            problem,
            fix="let it finish, or wait for it with --lock-timeout SECONDS; its last sign of life was "
            f"{found.age:.0f} s ago, and after {self._times.lease:.0f} s without one the lock is free.",
        )


def is_free(found: Found, times: Times) -> bool:
    """Return whether the lock may be taken: it was given back, or its holder is gone."""
    if found.holder is None or found.age > times.lease or (found.ended and found.age > times.missed):
        return True
    return found.place != "" and found.place == this_place() and is_dead(found.holder)


def clear(store: LeaseStore, lock_id: str, *, where: str, times: Times) -> LockInfo:
    """Clear the lease of a holder that gives no sign of life any more; return who it was.

    Raises StateError: `state-locked` while there are signs of life, `other-lock` when the lock has another id.
    """
    found = store.look()
    if found is None or found.holder is None or found.holder.id != lock_id:
        raise StateError(other_lock_problem(where, lock_id, found.holder if found else None))
    if not is_free(found, times) and found.age <= times.missed:
        problem = locked_problem(where, found.holder, 0.0)
        raise StateError(
            replace(
                problem,
                fix=f"its last sign of life was {found.age:.0f} s ago. If it hangs, stop it, and clear its lock when "
                f"there was none for {times.missed:.0f} s.",
            )
        )
    if store.put(None, "", found.generation, found) is None:
        raise StateError(other_lock_problem(where, lock_id, None))
    return found.holder


def lost_problem(where: str, holder: LockInfo | None) -> Problem:
    """Return the problem `lock-lost`: this run may write no more, and who may."""
    now = (
        f'{holder.user or "somebody"} on {holder.host or "an unknown host"} holds it now ("{holder.command}", '
        f"lock {holder.id})"
        if holder
        else "another run had it since"
    )
    return Problem(
        code="lock-lost",
        what=f"this run lost the lock of the state: {now}",
        why="it gave no sign of life for too long (paused, or cut off from the store), so another one could take over. "
        "What it had recorded until then is kept, and it sends nothing more.",
        fix="run `reconciler plan` to see what is left.",
        where=where,
    )


@cache
def this_place() -> str:
    """Return what names the running kernel and the set of process ids that this process is counted in.

    Two containers may share a host's name and still mean different processes by one id. Empty where it cannot be told,
    which no other place equals.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""
