"""Writes to a state in tables, under its lock: each method is one transaction.

What a transaction does to the rows is defined by `journal.advance` and `advance_state_only`; here it
is SQL, so that its cost is that of the change and not of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple, replace
from typing import Protocol

import orjson

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import DIGEST_SIZE, NO_SHARED, digest
from reconciler.model.former import ABSENT, Former, former_of
from reconciler.model.states import Resource, StateBase, Target
from reconciler.problems import StateError
from reconciler.state.journal import (
    DELETE,
    FORGET,
    NO_EFFECT,
    PUT,
    REPLACED,
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
from reconciler.state.sql import read
from reconciler.state.sql.chain import chain_runs
from reconciler.state.sql.connection import MOVED_TO, Sql, next_seq, read_meta, write_meta
from reconciler.state.sql.replace import replace_all
from reconciler.state.sql.whole import restore
from reconciler.state.store import EMPTY_BASE, LockInfo
from reconciler.state.whole import Part, moved_problem

_UPSERT = """
INSERT INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET
    fingerprint = excluded.fingerprint, doc = excluded.doc, ordering_id = excluded.ordering_id,
    accepted_at = excluded.accepted_at, run = excluded.run, verified = NULL, verified_detail = ''
"""
_UPSERT_STATE_ONLY = """
INSERT INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (address) DO UPDATE SET fingerprint = excluded.fingerprint, doc = excluded.doc
"""
_INTENT = """
INSERT INTO journal
    (seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, in_doubt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SETTLE = """
UPDATE journal SET outcome = ?, settled_at = ?, detail = ?, in_doubt = ?
WHERE seq = ? AND run = ? AND (outcome IS NULL OR outcome = 'unknown')
"""
_VERIFY = "UPDATE resources SET verified = ?, verified_detail = ? WHERE address = ? AND ordering_id = ?"
_REMEMBER = """
INSERT INTO formers (seq, run, formers) VALUES (?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET run = excluded.run, formers = excluded.formers
"""
_TIDY_SHARED = """
DELETE FROM shared_docs WHERE digest IN
    (SELECT digest FROM shared_docs EXCEPT SELECT substr(fingerprint, 33) FROM resources)
"""
_ITEM = f"{Kind.ITEM.value}/"
_DONE = Outcome.ACCEPTED
_TIDY_SHARE = 10  # tidy when at least one row in so many was replaced since the last time


class Transactions(Protocol):
    """What the writer asks of the store whose lock is held."""

    @property
    def where(self) -> str: ...
    def base(self) -> StateBase: ...
    def writing(self, *, create: bool = False) -> AbstractContextManager[Sql]: ...
    def sense(self) -> AbstractContextManager[None]: ...
    def stop_writing(self) -> None: ...


class SqlWriter:
    """Fulfils `state.store.Writer` for a `SqlStore` whose lock is held."""

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

    def resume(self, run: str | None) -> None:
        """Go on as if that run had begun here, None outside a run: for who does again what was written elsewhere."""
        self._run = run

    def begin_run(self, run: RunInfo, target: Target, new_lineage: Callable[[], str]) -> StateBase:
        """Record that a run begins; return the state it starts from."""
        if self._released or self._run is not None:
            raise RuntimeError("a run began twice or without its lock. This is a bug in reconciler.")
        with self._store.writing(create=True) as sql:
            if moved := read_meta(sql, MOVED_TO).get(MOVED_TO):
                raise StateError(moved_problem(self._store.where, str(moved)))
            base = read.base(sql)
            with self._store.sense():
                chain_runs(sql)
            if not base.lineage:
                base = StateBase(new_lineage(), base.serial)
                write_meta(sql, "lineage", base.lineage)
            write_meta(sql, "run_lineage", base.lineage)
            marks = ", ".join("?" * (len(read.RUN_FIELDS) + 3))
            sql.execute(
                f"INSERT INTO runs (seq, {read.RUN_COLUMNS}, target, base_serial) VALUES ({marks})",  # noqa: S608
                (next_seq(sql, "runs"), *astuple(run), orjson.dumps(target_doc(target)).decode(), base.serial),
            )
            self._close_settled_doubts(sql)
        self._run = run.id
        return base

    def intent(self, intent: Intent) -> int:
        """Record that a call is about to be sent; return the ticket to settle it by."""
        run = self._current_run()
        with self._store.writing() as sql:
            return _insert_entry(sql, run, intent, intent.covers, None)

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
        with self._store.writing() as sql:
            settled = sql.execute(_SETTLE, (outcome.value, at, detail, in_doubt, ticket, run))
            if settled.rowcount != 1:
                raise RuntimeError(f"call {ticket} is settled already. This is a bug in reconciler.")
            (ours,) = sql.execute("SELECT ordering_id FROM journal WHERE seq = ?", (ticket,)).fetchone()
            with self._store.sense():
                _remember(sql, ticket, run, effect)
            _record(sql, _UPSERT, effect, (ours if ordering_id is None else ordering_id, at, run))
            return _grow(sql)

    def record_activities(self, activities: Iterable[tuple[str, str]]) -> None:
        """Record which sources were told of an activity; the serial stays."""
        if self._released:
            raise RuntimeError("a write without its lock. This is a bug in reconciler.")
        text = orjson.dumps(sorted(activities)).decode()
        with self._store.writing(create=self._run is None) as sql:
            write_meta(sql, "activities", text)

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
        with self._store.writing() as sql:
            known = read.fingerprints_of(sql, sorted({old, new}))
            if set(known) != {old}:
                raise RuntimeError("a move of what is not there, or onto something. This is a bug in reconciler.")
            seq = _insert_entry(sql, run, Intent(0, STATE_ONLY, "", 0, at, ()), covers, _DONE)
            with self._store.sense():
                (row,) = read.rows_of(sql, [old])
                moved = replace(row.resource, address=Address(new))
                _remember(sql, seq, run, Effect((moved,), (Address(old),)), call=False)
            sql.execute("UPDATE resources SET address = ? WHERE address = ?", (new, old))
            return _grow(sql)

    def replace(self, base: StateBase, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
        """Record these rows and doubts, and no others, under this lineage and serial."""
        run = self._current_run()
        with self._store.writing() as sql:
            if base.serial <= read.base(sql).serial:
                raise RuntimeError("a state replaced by one with no higher serial. This is a bug in reconciler.")
            (at,) = sql.execute("SELECT started_at FROM runs WHERE id = ?", (run,)).fetchone()
            whole = tuple(rows)
            with self._store.sense():
                effect = _becoming(sql, whole)
                seq = _insert_entry(sql, run, Intent(0, REPLACED, "", 0, at, ()), effect.covers, _DONE)
                _remember(sql, seq, run, effect, call=False)
            replace_all(sql, whole, unsettled)
            write_meta(sql, "lineage", base.lineage)
            write_meta(sql, "serial", base.serial)

    def restore(self, parts: Iterable[Part]) -> None:
        """Record all that another store held, where nothing was ever recorded."""
        if self._released or self._run is not None:
            raise RuntimeError("a state restored in a run or without its lock. This is a bug in reconciler.")
        with self._store.writing(create=True) as sql:
            if read.base(sql) != EMPTY_BASE or read.runs(sql, 1):
                raise RuntimeError("a state restored over another. This is a bug in reconciler.")
            restore(sql, parts)

    def record_moved(self, to: str) -> None:
        """Record where the state was moved to, empty to go on here."""
        if self._released or self._run is not None:
            raise RuntimeError("a state moved in a run or without its lock. This is a bug in reconciler.")
        with self._store.writing(create=True) as sql:
            write_meta(sql, MOVED_TO, to)

    def record_verified(self, verifications: Iterable[Verification]) -> int:
        """Record what `verify` learned; return how many rows it was still true of."""
        self._current_run()
        rows = sorted((str(entry.address), entry.ordering_id, entry.verified, entry.detail) for entry in verifications)
        with self._store.writing() as sql:
            marked = sql.executemany(
                _VERIFY, ((verified, detail, address, order) for address, order, verified, detail in rows)
            ).rowcount
            if marked > 0:
                _grow(sql)
            return max(marked, 0)

    def end_run(self, *, at: str, result: str, detail: str = "") -> None:
        """Record that the run ended, and tidy up."""
        run = self._current_run()
        with self._store.writing() as sql:
            sql.execute("UPDATE runs SET ended_at = ?, result = ?, detail = ? WHERE id = ?", (at, result, detail, run))
            with self._store.sense():
                chain_runs(sql)
            _tidy(sql)
        self._run = None

    def _without_call(self, kind: str, effect: Effect, *, at: str) -> int:
        run = self._current_run()
        covers: Covers = effect.covers
        if not covers:
            return self._store.base().serial
        with self._store.writing() as sql:
            seq = _insert_entry(sql, run, Intent(0, kind, "", 0, at, ()), covers, _DONE)
            with self._store.sense():
                _remember(sql, seq, run, effect, call=False)
            _record(sql, _UPSERT_STATE_ONLY, effect, (0, at, run))
            return _grow(sql)

    def _close_settled_doubts(self, sql: Sql) -> None:
        # So that reading what is in doubt starts at the oldest doubt that is left, not at the
        # oldest there ever was.
        with self._store.sense():
            doubtful = {entry.seq for entry in read.unsettled(sql)}
        marked = sql.execute("SELECT seq FROM journal WHERE in_doubt = 1").fetchall()
        settled = [row for row in marked if row[0] not in doubtful]
        sql.executemany("UPDATE journal SET in_doubt = 0 WHERE seq = ?", settled)

    def _current_run(self) -> str:
        if self._released or self._run is None:
            raise RuntimeError("a write outside a run or without its lock. This is a bug in reconciler.")
        return self._run


def _insert_entry(sql: Sql, run: str, intent: Intent, covers: Covers, outcome: Outcome | None) -> int:
    settled = outcome is not None
    seq = next_seq(sql, "journal")
    sql.execute(
        _INTENT,
        (
            seq,
            run,
            intent.call,
            intent.kind,
            intent.request_digest,
            intent.ordering_id,
            intent.at,
            pack_covers(covers, sql.readable),
            outcome.value if outcome else None,
            intent.at if settled else "",
            int(not settled),
        ),
    )
    return seq


def _becoming(sql: Sql, rows: Iterable[RecordedRow]) -> Effect:
    """Return what makes these rows of those that are recorded, as far as resources differ."""
    known = read.fingerprints(sql)
    upserts = tuple(row.resource for row in rows if known.pop(row.address, b"") != row.fingerprint)
    return Effect(upserts, tuple(map(Address, known)))


def _remember(sql: Sql, ticket: int, run: str, effect: Effect, *, call: bool = True) -> None:
    """Write down what is recorded now of who sees what and will not be so after the effect.

    Of what is no call it is written down even if it is nothing: earlier versions wrote nothing.
    """
    after: dict[Address, Resource | None] = {resource.address: resource for resource in effect.upserts}
    after.update(dict.fromkeys(effect.deletes))
    known = read.fingerprints_of(sql, sorted(map(str, after)))
    items = {address: resource for address, resource in after.items() if address.startswith(_ITEM)}
    others = sorted(str(address) for address in after if address not in items)
    before = {row.address: row.resource for row in read.rows_of(sql, others)}
    formers = [former_of(Address(address), before.get(Address(address)), after[Address(address)]) for address in others]
    found = [former for former in formers if former is not None]
    found += _items_before(sql, items, known)
    if found or not call:
        sql.execute(_REMEMBER, (ticket, run, pack_formers(found, sql.readable)))


def _items_before(sql: Sql, after: Mapping[Address, Resource | None], known: Mapping[str, bytes]) -> list[Former]:
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
    models = read.shared_docs(sql, {was for _, was, _ in changed} - {ABSENT, NO_SHARED})
    models[NO_SHARED] = models[ABSENT] = b""
    return [Former(address, was != ABSENT, left, b"", models[was]) for address, was, left in changed]


def _record(sql: Sql, upsert: str, effect: Effect, stamp: tuple[int, str, str]) -> None:
    """Write the rows of an effect: in address order, which keeps the tree's pages in the cache."""
    shared: dict[bytes, bytes] = {}
    sql.executemany(upsert, _cells(effect.upserts, shared, stamp))
    sql.executemany(
        "INSERT INTO shared_docs (digest, doc) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
        sorted((key, doc.decode()) for doc, key in shared.items()),
    )
    sql.executemany("DELETE FROM resources WHERE address = ?", ((str(address),) for address in sorted(effect.deletes)))
    touched = len(effect.upserts) + len(effect.deletes)
    write_meta(sql, "churn", int(read_meta(sql, "churn").get("churn", 0)) + touched)


def _cells(
    resources: tuple[Resource, ...], shared: dict[bytes, bytes], stamp: tuple[int, str, str]
) -> Iterator[tuple[object, ...]]:
    """Yield the cells of each row; leaves in `shared` the shared documents met, with their digests."""
    for entry in sorted(resources, key=lambda resource: resource.address):
        key = NO_SHARED
        if entry.shared:
            known = shared.get(entry.shared)
            key = known or shared.setdefault(entry.shared, digest(entry.shared))
        yield (str(entry.address), digest(entry.doc) + key, entry.doc.decode(), *stamp)


def _grow(sql: Sql) -> int:
    serial = read.base(sql).serial + 1
    write_meta(sql, "serial", serial)
    return serial


def _tidy(sql: Sql) -> None:
    """Drop shared documents that nobody shares any more.

    That reads every row, so it waits until the changes since the last time are worth it: the cost of
    a run follows what it changes, not what is recorded.
    """
    meta = read_meta(sql, "churn", "rows_when_tidied")
    churn, rows = int(meta.get("churn", 0)), int(meta.get("rows_when_tidied", 0))
    if not churn or churn * _TIDY_SHARE < rows:
        return
    sql.execute(_TIDY_SHARED)
    (rows_now,) = sql.execute("SELECT count(*) FROM resources").fetchone()
    write_meta(sql, "rows_when_tidied", rows_now)
    write_meta(sql, "churn", 0)
