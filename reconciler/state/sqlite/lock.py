"""[io] The lock of a local state: an operating system's lock, and a note that says who holds it.

`<state>.lock` carries the lock, which dies with its process; it is never removed, for removing a
locked file would let two processes hold "the" lock on two files. `<state>.lock.json` is the note. It
decides nothing: a note without the lock is what a killed run left behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from reconciler.problems import StateError
from reconciler.state.holder import is_dead
from reconciler.state.store import LockInfo, Waiting, locked_problem, other_lock_problem

if TYPE_CHECKING:
    from filelock import BaseFileLock

POLL_SECONDS = 0.1
NOTE_SECONDS = 0.3  # how long a new holder may take to write its note
TELL_SECONDS = 1.0


class Hold:
    """One holding of the lock of `state`, from `take` to `give_back`."""

    def __init__(self, state: Path, info: LockInfo) -> None:
        from filelock import FileLock

        # Not thread-local: whichever thread ends the run gives the lock back.
        self._lock = FileLock(state.with_name(state.name + ".lock"), thread_local=False)
        self._note = state.with_name(state.name + ".lock.json")
        self._info = info
        self.abandoned_by: LockInfo | None = None

    def take(self, *, where: Callable[[], str], timeout: float, waiting: Waiting | None) -> None:
        """Take the lock and write the note. Raises StateError when somebody else keeps it, and OSError."""
        _acquire(self._lock, self._note, where=where, timeout=timeout, waiting=waiting)
        try:
            self.abandoned_by = read_note(self._note)
            _write_note(self._note, self._info)
        except BaseException:
            self._lock.release()
            raise

    def give_back(self) -> None:
        """Remove the note, then let go of the lock."""
        with suppress(OSError):
            self._note.unlink()
        self._lock.release()


def clear(state: Path, lock_id: str, *, where: str) -> LockInfo:
    """Remove the note of a holder that is gone; return who it was. Raises StateError, and OSError.

    The lock itself cannot be left behind: it dies with its process, and no living process is robbed of it.
    """
    from filelock import FileLock

    note = state.with_name(state.name + ".lock.json")
    holder = read_note(note)
    if holder is None or holder.id != lock_id:
        raise StateError(other_lock_problem(where, lock_id, holder))
    lock = FileLock(state.with_name(state.name + ".lock"), thread_local=False)
    if not _try(lock):
        # A dead one's note beside a lock that is held: the next holder has not written its own yet.
        raise StateError(locked_problem(where, None if is_dead(holder) else holder, 0.0))
    try:
        if read_note(note) != holder:
            raise StateError(other_lock_problem(where, lock_id, read_note(note)))
        note.unlink()
    finally:
        lock.release()
    return holder


def read_note(note: Path) -> LockInfo | None:
    """Return who wrote the note, or None when there is none or it says nothing sensible."""
    try:
        doc = orjson.loads(note.read_bytes())
        info = LockInfo(**doc)
    except (OSError, ValueError, TypeError):
        return None
    texts = (info.id, info.command, info.since, info.host, info.user)
    return info if all(isinstance(text, str) for text in texts) and isinstance(info.pid, int) else None


def _acquire(
    lock: BaseFileLock, note: Path, *, where: Callable[[], str], timeout: float, waiting: Waiting | None
) -> None:
    start = time.monotonic()
    told = -TELL_SECONDS
    while not _try(lock):
        waited = time.monotonic() - start
        holder = read_note(note)
        if holder is not None and is_dead(holder):
            holder = None  # the note of a killed run: the new holder has not written its own yet
        if waited >= timeout and (holder is not None or waited >= timeout + NOTE_SECONDS):
            raise StateError(locked_problem(where(), holder, waited))
        if waiting is not None and waited < timeout and waited - told >= TELL_SECONDS:
            told = waited
            waiting(holder, waited)
        time.sleep(POLL_SECONDS)


def _try(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _write_note(note: Path, info: LockInfo) -> None:
    # Renamed into place, so that whoever is refused reads a whole note or the one before.
    fresh = note.with_name(note.name + ".new")
    fresh.write_bytes(orjson.dumps(asdict(info), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    os.replace(fresh, note)  # noqa: PTH105
