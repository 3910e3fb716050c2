"""What every store of the recorded state promises: the local file here, the team stores later.

Reading needs no lock and changes nothing; writing needs the lock, and every write belongs to a run.
One contract suite (`tests/state/contract.py`) holds each store to the docstrings below. Knows
nothing of files or databases.

    with store.lock(info) as writer:
        writer.begin_run(run, target, new_lineage)
        ticket = writer.intent(intent)                            # durable before the call is sent
        ...send the call...
        writer.settle(ticket, Outcome.ACCEPTED, at=now, effect=effect)    # outcome and rows together
        writer.end_run(at=now, result="done")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import StateBase, Target
from reconciler.problems import Problem, StateError
from reconciler.state.journal import NO_EFFECT, Effect, Intent, JournalEntry, Outcome, RunInfo, RunRecord, Step, Usage
from reconciler.state.rows import RecordedRow, Verification
from reconciler.state.whole import Part

EMPTY_BASE = StateBase(lineage="", serial=0)


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds the lock, or wants it: shown to whoever is refused. `id` is unique to this holding."""

    id: str
    command: str
    since: str
    host: str
    user: str
    pid: int


Waiting = Callable[[LockInfo | None, float], None]
"""Told who holds the lock (None: not known) and the seconds waited, now and then while waiting."""


class StateReader(Protocol):
    """The recorded state, read.

    Reads see whole transactions only. Without `reading()` each read sees its own moment, so read
    `base()` first: whatever moves after it makes the plan stale, never wrong. A state that does not
    exist yet reads as empty (serial 0, no lineage, no rows) and is not created by reading it. All
    methods raise StateError, and only that, for a state that cannot be used.
    """

    @property
    def where(self) -> str:
        """The state's name for messages, with the serial last seen: `path (serial 43)`."""

    def reading(self) -> AbstractContextManager[None]:
        """Make all reads inside see one moment. Keep it short: a writer may have to wait for it."""

    def base(self) -> StateBase:
        """Return lineage and serial."""

    def target(self) -> Target | None:
        """Return the remote that the last run spoke to, None before the first run."""

    def fingerprints(self) -> dict[str, bytes]:
        """Return the fingerprint (64 bytes) of every recorded address, in address order."""

    def rows(self, addresses: Iterable[str] | None = None) -> Iterator[RecordedRow]:
        """Yield the recorded rows, sorted by address, each once; of `addresses` those that are recorded.

        Memory is bounded by a page of rows. May be left unfinished.
        """

    def rejected(self) -> tuple[Address, ...]:
        """Return the addresses that `verify` found rejected, sorted: they are pending again."""

    def unsettled(self) -> tuple[JournalEntry, ...]:
        """Return the intents whose outcome is unknown or missing, oldest first.

        `covers` holds only the addresses that no later accepted call covered.
        """

    def highest_ordering_id(self) -> int:
        """Return the highest ordering id that any call was ever given here, 0 when none was.

        Also of calls that were refused, and of resources that are gone.
        """

    def usage_since(self, at: str) -> Usage:
        """Return what the calls since a moment (ISO-8601, UTC) came to at least, refused ones left out."""

    def activities(self) -> tuple[tuple[str, str], ...]:
        """Return the sources that were told of an activity and not of its end: name and path, as recorded."""

    def runs(self, limit: int | None = None) -> tuple[RunRecord, ...]:
        """Return the history, newest run first.

        Each run is chained to the one before (`chain.link`) in the transaction that ends it, one that died when the
        next begins.
        """

    def runs_with_formers(self) -> tuple[str, ...]:
        """Return the runs whose changes of access can be looked up, newest first, those that changed none included.

        All are kept, but for those of a state's earliest format.
        """

    def formers(self, run: str) -> Mapping[Address, Former]:
        """Return what was recorded before a run, of each address whose access it changed, in address order.

        Access is what `model.former` says. Also of a run that is under way or died: it is written with the rows.
        What changed without a call is not among it, for there is nothing to undo at the remote; `steps` has it.
        """

    def steps(self, run: str) -> Iterator[Step]:
        """Yield each change of a run that may have changed access, oldest first: those without a call as well."""

    def journal(self, run: str | None = None, *, after: int = 0) -> Iterator[JournalEntry]:
        """Yield the journal after the entry `after` in the order in which it was written, or one run's part of it."""

    def unsure(self) -> Iterator[JournalEntry]:
        """Yield the intents that were never answered, settled by a later call or not, and each `journal.REPLACED`.

        Oldest first; cheap where there are few, however long the journal is.
        """

    def dump(self) -> Iterator[Part]:
        """Yield all that is kept, history included, for `Writer.restore` of another store; nothing of an absent state.

        It is one state only inside `reading()`. Memory is bounded by a page and by the history of runs.
        """

    def moved_to(self) -> str:
        """Return where this state was moved to, as `state` of the settings names it; empty if it was not.

        No run begins in a state that was moved (`state-migrated`).
        """

    def check(self) -> tuple[Problem, ...]:
        """Return all that is wrong with what is kept: `checking.trouble_in`, and what only this store can tell.

        Of what cannot be read it returns the problem and looks at the rest.
        """


class Writer(Protocol):
    """Writes under the lock; each method is one transaction that is on stable storage when it returns.

    After an error nothing of that method is recorded. May be used from several threads. Using it
    after its lock was given up, before `begin_run`, or a ticket in ways not allowed here, is a bug
    of the caller and raises RuntimeError.
    """

    @property
    def abandoned_by(self) -> LockInfo | None:
        """Who held the lock before and died without giving it up, if anybody did."""

    def begin_run(self, run: RunInfo, target: Target, new_lineage: Callable[[], str]) -> StateBase:
        """Record that a run begins and which remote it speaks to; return the state it starts from.

        The first run of a state calls `new_lineage` for the identity of its history. The serial stays.
        """

    def intent(self, intent: Intent) -> int:
        """Record that a call is about to be sent; return the ticket to settle it by. The serial stays."""

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
        """Record how a call ended and, when accepted, its effect on the rows; return the new serial.

        What the effect takes away of who sees what is recorded with it (`StateReader.formers`).
        The rows take ordering id and run from the intent and `at` as the time of acceptance; with
        `ordering_id`, which the remote chose (push-api.md 2.5), they take that instead. Only an
        accepted call has an effect. An unknown outcome may be settled again, any other is final.
        """

    def record_activities(self, activities: Iterable[tuple[str, str]]) -> None:
        """Record which sources were told of an activity, instead of what was recorded before; the serial stays.

        Needs no run: whoever holds the lock may say that all of them were told of the end.
        """

    def record_state_only(self, effect: Effect, *, at: str) -> int:
        """Record changes that need no call; return the new serial (the old one if `effect` is empty).

        Known rows keep ordering id, acceptance and verification. Settles earlier doubts about the
        addresses.
        """

    def record_verified(self, verifications: Iterable[Verification]) -> int:
        """Record what `verify` learned; return how many rows it was still true of.

        The serial grows if that is any, since a rejected row is pending again.
        """

    def forget(self, addresses: Iterable[str], *, at: str) -> int:
        """Drop addresses, and doubts about them, from the state without a call; return the new serial."""

    def move(self, old: str, new: str, *, at: str) -> int:
        """Record under `new`, where nothing is recorded, what is at `old`, without a call; return the new serial.

        The row keeps ordering id, acceptance and verification.
        """

    def replace(self, base: StateBase, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
        """Record these rows and doubts, and no others, without a call, under this lineage and higher serial.

        History and journal stay. The replacement is an entry of the journal (`journal.REPLACED`), dated as the run.
        """

    def restore(self, parts: Iterable[Part]) -> None:
        """Record all that `StateReader.dump` of another store gave, in a state in which no run ever began.

        Needs no run; history is what the parts say. Where a run began before it is a bug of the caller.
        """

    def record_moved(self, to: str) -> None:
        """Record where the state was moved to (`StateReader.moved_to`), empty to go on here. Needs no run."""

    def end_run(self, *, at: str, result: str, detail: str = "") -> None:
        """Record that the run ended, and tidy up. `result` is a word: done, stopped, interrupted, failed."""


class Store(StateReader, Protocol):
    """A state that can be read and, under its lock, written."""

    def lock(
        self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None
    ) -> AbstractContextManager[Writer]:
        """Take the single writer's lock for the extent of a `with` block.

        Waits up to `timeout` seconds, then raises StateError `state-locked`, which names the holder.
        A holder that died does not block. Taking it creates no state; the first `begin_run` does.
        """

    def unlock(self, lock_id: str) -> LockInfo:
        """Clear what a holder that is gone left of its lock; return who it was.

        Raises StateError: `state-locked` while it holds the lock, `other-lock` when the last lock has another id, or
        there is none.
        """

    def close(self) -> None:
        """Let go of files and connections; harmless when repeated. The next read opens them again."""


def locked_problem(where: str, holder: LockInfo | None, waited: float) -> Problem:
    """Return the problem `state-locked`: who, since when, from where, and what to do."""
    patience = f" after waiting {waited:.0f} s" if waited >= 1 else ""
    if holder is None:
        what = f"another run holds the lock{patience}, and has not said who it is yet"
    else:
        what = (
            f"{holder.user or 'somebody'} on {holder.host or 'an unknown host'} holds the lock since "
            f'{holder.since} (process {holder.pid}, "{holder.command}", lock {holder.id}){patience}'
        )
    return Problem(
        code="state-locked",
        what=what,
        why="two runs at once could undo each other's changes, so only one may write.",
        fix="let it finish, or wait for it with --lock-timeout SECONDS; "
        "the lock goes by itself when that process ends.",
        where=where,
    )


def other_lock_problem(where: str, lock_id: str, holder: LockInfo | None) -> Problem:
    """Return the problem `other-lock`: which lock there is instead of `lock_id`, if any."""
    if holder is None:
        why = "nobody holds it, and nothing was left behind: there is nothing to clear."
    else:
        why = (
            f"it is {holder.id}, of {holder.user or 'somebody'} on {holder.host or 'an unknown host'} since "
            f'{holder.since} (process {holder.pid}, "{holder.command}").'
        )
    return Problem(
        code="other-lock",
        what=f'the lock of this state is not "{lock_id}"',
        why=why,
        fix="give the id that the message `state-locked` shows." if holder else "",
        where=where,
    )


def newer_version(where: str, found: int, known: int, what: str = "the state") -> StateError:
    """Return the error `state-newer-version`, for what a later reconciler wrote."""
    return StateError(
        Problem(
            code="state-newer-version",
            what=f"{what} has format version {found}; this reconciler knows versions up to {known}",
            why="a later reconciler wrote it; reading it by older rules could misread what was accepted. "
            "It was left untouched.",
            fix="use the version of reconciler that wrote it, or a later one.",
            where=where,
        )
    )
