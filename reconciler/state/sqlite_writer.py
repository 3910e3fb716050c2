"""Writes to a local state, under its lock: each method is one transaction.

What a transaction does to the rows is defined by `journal.advance` and `advance_state_only`; here it
is SQL, so that its cost is that of the change and not of the state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple
from typing import Protocol

import orjson

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import DIGEST_SIZE, NO_SHARED, digest
from reconciler.model.former import ABSENT, Former, former_of
from reconciler.model.states import Resource, StateBase, Target
from reconciler.state import sqlite_read as read
from reconciler.state import sqlite_schema as schema
from reconciler.state.journal import (
    DELETE,
    FORGET,
    NO_EFFECT,
    PUT,
    STATE_ONLY,
    Covers,
    Effect,
    Intent,
    JournalEntry,
    Outcome,
    RunInfo,
)
from reconciler.state.packing import pack_covers, pack_formers, target_doc
from reconciler.state.rows import RecordedRow, Verification
from reconciler.state.sqlite_chain import chain_runs
from reconciler.state.sqlite_replace import replace_all
from reconciler.state.store import FORMERS_KEPT, LockInfo

_UPSERT = """
INSERT OR REPLACE INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run)
VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?)
"""
_UPSERT_STATE_ONLY = """
INSERT INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run)
VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET fingerprint = excluded.fingerprint, doc = excluded.doc
"""
_INTENT = """
INSERT INTO journal
    (run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, in_doubt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SETTLE = """
UPDATE journal SET outcome = ?, settled_at = ?, detail = ?, in_doubt = ?
WHERE seq = ? AND run = ? AND (outcome IS NULL OR outcome = 'unknown')
"""
_VERIFY = "UPDATE resources SET verified = ?, verified_detail = ? WHERE address = ? AND ordering_id = ?"
_FORMERS_FROM = """
UPDATE meta SET value = max(value, ifnull(
    (SELECT r.seq FROM runs r WHERE r.id IN (SELECT run FROM formers) ORDER BY r.seq DESC LIMIT 1 OFFSET ?), 0))
WHERE key = 'formers_from'
"""
_TIDY_FORMERS = """
DELETE FROM formers WHERE run IN
    (SELECT id FROM runs WHERE seq < (SELECT value FROM meta WHERE key = 'formers_from'))
"""
_TIDY_SHARED = """
DELETE FROM shared_docs WHERE digest NOT IN (SELECT substr(fingerprint, 33) FROM resources)
"""
_ITEM = f"{Kind.ITEM.value}/"
_TIDY_SHARE = 10  # tidy when at least one row in so many was replaced since the last time


class Transactions(Protocol):
    """What the writer asks of the store whose lock is held."""

    def base(self) -> StateBase: ...
    def writing(self, *, create: bool = False) -> AbstractContextManager[sqlite3.Connection]: ...
    def sense(self) -> AbstractContextManager[None]: ...
    def stop_writing(self) -> None: ...


class SqliteWriter:
    """Fulfils `state.store.Writer` for a `SqliteStore` whose lock is held."""

    def __init__(self, store: Transactions, abandoned_by: LockInfo | None) -> None:
        self._store = store
        self._abandoned_by = abandoned_by
        self._run: str | None = None
        self._released = False

    @property
    def abandoned_by(self) -> LockInfo | None:
        """Who held the lock before and died without giving it up, if anybody did."""
        return self._abandoned_by

    def release(self) -> None:
        """Refuse every further write: the lock is about to go."""
        self._released = True
        self._store.stop_writing()

    def begin_run(self, run: RunInfo, target: Target, new_lineage: Callable[[], str]) -> StateBase:
        """Record that a run begins; return the state it starts from."""
        if self._released or self._run is not None:
            raise RuntimeError("a run began twice or without its lock. This is a bug in reconciler.")
        with self._store.writing(create=True) as connection:
            base = read.base(connection)
            schema.upgrade(connection)
            with self._store.sense():
                chain_runs(connection)
            connection.execute(_FORMERS_FROM, (FORMERS_KEPT - 1,))
            connection.execute(_TIDY_FORMERS)
            if not base.lineage:
                base = StateBase(new_lineage(), base.serial)
                connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", (base.lineage,))
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run_lineage', ?)", (base.lineage,))
            marks = ", ".join("?" * (len(read.RUN_FIELDS) + 2))
            connection.execute(
                f"INSERT INTO runs ({read.RUN_COLUMNS}, target, base_serial) VALUES ({marks})",  # noqa: S608
                (*astuple(run), orjson.dumps(target_doc(target)).decode(), base.serial),
            )
            self._close_settled_doubts(connection)
        self._run = run.id
        return base

    def intent(self, intent: Intent) -> int:
        """Record that a call is about to be sent; return the ticket to settle it by."""
        run = self._current_run()
        covers = pack_covers(intent.covers)
        with self._store.writing() as connection:
            return _insert_entry(connection, run, intent, covers, None)

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
        run = self._current_run()
        if effect.covers and outcome is not Outcome.ACCEPTED:
            raise RuntimeError(f"a call that is {outcome.value} has no effect. This is a bug in reconciler.")
        in_doubt = int(outcome is Outcome.UNKNOWN)
        with self._store.writing() as connection:
            settled = connection.execute(_SETTLE, (outcome.value, at, detail, in_doubt, ticket, run))
            if settled.rowcount != 1:
                raise RuntimeError(f"call {ticket} is settled already. This is a bug in reconciler.")
            (ours,) = connection.execute("SELECT ordering_id FROM journal WHERE seq = ?", (ticket,)).fetchone()
            with self._store.sense():
                _remember(connection, ticket, run, effect)
            _record(connection, _UPSERT, effect, (ours if ordering_id is None else ordering_id, at, run))
            return _grow(connection)

    def record_activities(self, activities: Iterable[tuple[str, str]]) -> None:
        """Record which sources were told of an activity; the serial stays."""
        if self._released:
            raise RuntimeError("a write without its lock. This is a bug in reconciler.")
        text = orjson.dumps(sorted(activities)).decode()
        with self._store.writing(create=self._run is None) as connection:
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('activities', ?)", (text,))

    def record_state_only(self, effect: Effect, *, at: str) -> int:
        """Record changes that need no call; return the new serial."""
        return self._without_call(STATE_ONLY, effect, at=at)

    def forget(self, addresses: Iterable[str], *, at: str) -> int:
        """Drop addresses, and doubts about them, without a call; return the new serial."""
        gone = tuple(Address(address) for address in sorted(set(addresses)))
        return self._without_call(FORGET, Effect(deletes=gone), at=at)

    def move(self, old: str, new: str, *, at: str) -> int:
        """Record under `new` what is at `old`; return the new serial."""
        run = self._current_run()
        covers: Covers = ((Address(new), PUT), (Address(old), DELETE))
        with self._store.writing() as connection:
            known = read.fingerprints_of(connection, sorted({old, new}))
            if set(known) != {old}:
                raise RuntimeError("a move of what is not there, or onto something. This is a bug in reconciler.")
            connection.execute("UPDATE resources SET address = ? WHERE address = ?", (new, old))
            _insert_entry(connection, run, Intent(0, STATE_ONLY, "", 0, at, ()), pack_covers(covers), Outcome.ACCEPTED)
            return _grow(connection)

    def replace(self, base: StateBase, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
        """Record these rows and doubts, and no others, under this lineage and serial."""
        self._current_run()
        with self._store.writing() as connection:
            if base.serial <= read.base(connection).serial:
                raise RuntimeError("a state replaced by one with no higher serial. This is a bug in reconciler.")
            replace_all(connection, rows, unsettled)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", (base.lineage,))
            connection.execute("UPDATE meta SET value = ? WHERE key = 'serial'", (base.serial,))

    def record_verified(self, verifications: Iterable[Verification]) -> int:
        """Record what `verify` learned; return how many rows it was still true of."""
        self._current_run()
        rows = sorted((str(entry.address), entry.ordering_id, entry.verified, entry.detail) for entry in verifications)
        with self._store.writing() as connection:
            marked = connection.executemany(
                _VERIFY, ((verified, detail, address, order) for address, order, verified, detail in rows)
            ).rowcount
            if marked > 0:
                _grow(connection)
            return max(marked, 0)

    def end_run(self, *, at: str, result: str, detail: str = "") -> None:
        """Record that the run ended, and tidy up."""
        run = self._current_run()
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE runs SET ended_at = ?, result = ?, detail = ? WHERE id = ?", (at, result, detail, run)
            )
            with self._store.sense():
                chain_runs(connection)
            _tidy(connection)
        self._run = None

    def _without_call(self, kind: str, effect: Effect, *, at: str) -> int:
        run = self._current_run()
        covers: Covers = effect.covers
        if not covers:
            return self._store.base().serial
        packed = pack_covers(covers)
        with self._store.writing() as connection:
            _insert_entry(connection, run, Intent(0, kind, "", 0, at, ()), packed, Outcome.ACCEPTED)
            _record(connection, _UPSERT_STATE_ONLY, effect, (0, at, run))
            return _grow(connection)

    def _close_settled_doubts(self, connection: sqlite3.Connection) -> None:
        # So that reading what is in doubt starts at the oldest doubt that is left, not at the
        # oldest there ever was.
        with self._store.sense():
            doubtful = {entry.seq for entry in read.unsettled(connection)}
        marked = connection.execute("SELECT seq FROM journal WHERE in_doubt = 1").fetchall()
        settled = [row for row in marked if row[0] not in doubtful]
        connection.executemany("UPDATE journal SET in_doubt = 0 WHERE seq = ?", settled)

    def _current_run(self) -> str:
        if self._released or self._run is None:
            raise RuntimeError("a write outside a run or without its lock. This is a bug in reconciler.")
        return self._run


def _insert_entry(
    connection: sqlite3.Connection, run: str, intent: Intent, covers: str | bytes, outcome: Outcome | None
) -> int:
    settled = outcome is not None
    cursor = connection.execute(
        _INTENT,
        (
            run,
            intent.call,
            intent.kind,
            intent.request_digest,
            intent.ordering_id,
            intent.at,
            covers,
            outcome.value if outcome else None,
            intent.at if settled else "",
            int(not settled),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _remember(connection: sqlite3.Connection, ticket: int, run: str, effect: Effect) -> None:
    """Write down what is recorded now of who sees what and will not be so after the effect."""
    after: dict[Address, Resource | None] = {resource.address: resource for resource in effect.upserts}
    after.update(dict.fromkeys(effect.deletes))
    known = read.fingerprints_of(connection, sorted(map(str, after)))
    items = {address: resource for address, resource in after.items() if address.startswith(_ITEM)}
    others = sorted(str(address) for address in after if address not in items)
    before = {row.address: row.resource for row in read.rows_of(connection, others)}
    formers = [former_of(Address(address), before.get(Address(address)), after[Address(address)]) for address in others]
    found = [former for former in formers if former is not None]
    found += _items_before(connection, items, known)
    if found:
        cell = pack_formers(found)
        connection.execute("INSERT OR REPLACE INTO formers (seq, run, formers) VALUES (?, ?, ?)", (ticket, run, cell))


def _items_before(
    connection: sqlite3.Connection, after: Mapping[Address, Resource | None], known: Mapping[str, bytes]
) -> list[Former]:
    """Return what `former_of` says of items; told by their fingerprints, since there may be a hundred thousand."""
    digests: dict[bytes, bytes] = {b"": NO_SHARED}
    changed = []
    for address, resource in after.items():
        left = ABSENT
        if resource is not None:
            model = resource.shared
            left = digests.get(model) or digests.setdefault(model, digest(model))
        was = known[address][DIGEST_SIZE:] if address in known else ABSENT
        if was != left:
            changed.append((address, was, left))
    models = read.shared_docs(connection, {was for _, was, _ in changed} - {ABSENT, NO_SHARED})
    models[NO_SHARED] = models[ABSENT] = b""
    return [Former(address, was != ABSENT, left, b"", models[was]) for address, was, left in changed]


def _record(connection: sqlite3.Connection, upsert: str, effect: Effect, stamp: tuple[int, str, str]) -> None:
    """Write the rows of an effect: in address order, which keeps the tree's pages in the cache."""
    shared: dict[bytes, bytes] = {}
    connection.executemany(upsert, _cells(effect.upserts, shared, stamp))
    connection.executemany(
        "INSERT OR IGNORE INTO shared_docs (digest, doc) VALUES (?, CAST(? AS TEXT))",
        sorted((key, doc) for doc, key in shared.items()),
    )
    connection.executemany(
        "DELETE FROM resources WHERE address = ?", ((str(address),) for address in sorted(effect.deletes))
    )
    touched = len(effect.upserts) + len(effect.deletes)
    connection.execute("UPDATE meta SET value = value + ? WHERE key = 'churn'", (touched,))


def _cells(
    resources: tuple[Resource, ...], shared: dict[bytes, bytes], stamp: tuple[int, str, str]
) -> Iterator[tuple[object, ...]]:
    """Yield the cells of each row; leaves in `shared` the shared documents met, with their digests."""
    for entry in sorted(resources, key=lambda resource: resource.address):
        key = NO_SHARED
        if entry.shared:
            known = shared.get(entry.shared)
            key = known or shared.setdefault(entry.shared, digest(entry.shared))
        yield (str(entry.address), digest(entry.doc) + key, entry.doc, *stamp)


def _grow(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'serial'")
    (serial,) = connection.execute("SELECT value FROM meta WHERE key = 'serial'").fetchone()
    return int(serial)


def _tidy(connection: sqlite3.Connection) -> None:
    """Drop shared documents that nobody shares any more.

    That reads every row, so it waits until the changes since the last time are worth it: the cost of
    a run follows what it changes, not what is recorded.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('churn', 'rows_when_tidied')"))
    churn, rows = meta.get("churn", 0), meta.get("rows_when_tidied", 0)
    if not churn or churn * _TIDY_SHARE < rows:
        return
    connection.execute(_TIDY_SHARED)
    connection.execute("UPDATE meta SET value = (SELECT count(*) FROM resources) WHERE key = 'rows_when_tidied'")
    connection.execute("UPDATE meta SET value = 0 WHERE key = 'churn'")
