"""What is read from the tables of a local state: SQL and rows in, values out.

Functions over an open connection; which file, which moment and which errors is `sqlite.py`'s concern.
Rows that cannot be what we wrote raise ValueError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.canonical import NO_SHARED
from reconciler.model.former import Former
from reconciler.model.states import StateBase, Target
from reconciler.state.journal import (
    FORGET,
    STATE_ONLY,
    Calls,
    Intent,
    JournalEntry,
    Outcome,
    RunInfo,
    RunRecord,
    Usage,
    still_open,
    usage_of,
)
from reconciler.state.packing import target_from_doc, unpack_covers, unpack_formers
from reconciler.state.rows import RecordedRow

PAGE = 1000  # rows fetched at once: the read lock is held no longer than that takes

RUN_FIELDS = tuple(field.name for field in fields(RunInfo))
RUN_COLUMNS = ", ".join(f'"{name}"' for name in RUN_FIELDS)

_ROWS = """
SELECT r.address, CAST(r.doc AS BLOB), r.fingerprint, CAST(s.doc AS BLOB),
       r.ordering_id, r.accepted_at, r.run, r.verified, r.verified_detail
FROM resources r LEFT JOIN shared_docs s ON s.digest = substr(r.fingerprint, 33)
"""
_ENTRIES = """
SELECT seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail FROM journal
"""


def base(connection: sqlite3.Connection) -> StateBase:
    """Return lineage and serial."""
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('lineage', 'serial')"))
    lineage, serial = meta.get("lineage"), meta.get("serial")
    if not isinstance(lineage, str) or not isinstance(serial, int):
        raise ValueError("it has no lineage or no serial")
    return StateBase(lineage, serial)


def target(connection: sqlite3.Connection) -> Target | None:
    """Return the target of the last run, None before the first."""
    row = connection.execute("SELECT target FROM runs ORDER BY seq DESC LIMIT 1").fetchone()
    return target_from_doc(orjson.loads(row[0])) if row else None


def fingerprints(connection: sqlite3.Connection) -> dict[str, bytes]:
    """Return address -> fingerprint, in address order."""
    return dict(connection.execute("SELECT address, fingerprint FROM resources ORDER BY address"))


def rejected(connection: sqlite3.Connection) -> tuple[Address, ...]:
    """Return the rejected addresses, sorted."""
    query = "SELECT address FROM resources WHERE verified = 'rejected' ORDER BY address"
    return tuple(Address(address) for (address,) in connection.execute(query))


def page_after(connection: sqlite3.Connection, address: str) -> list[RecordedRow]:
    """Return the next page of rows after `address`; an empty one is the end."""
    query = _ROWS + "WHERE r.address > ? ORDER BY r.address LIMIT ?"
    return [_row(cells) for cells in connection.execute(query, (address, PAGE)).fetchall()]


def page_of(connection: sqlite3.Connection, addresses: Sequence[str]) -> list[RecordedRow]:
    """Return those of a few sorted addresses that are recorded."""
    marks = ",".join("?" * len(addresses))
    query = f"{_ROWS} WHERE r.address IN ({marks}) ORDER BY r.address"
    return [_row(cells) for cells in connection.execute(query, addresses).fetchall()]


def rows_of(connection: sqlite3.Connection, addresses: Sequence[str]) -> Iterator[RecordedRow]:
    """Yield those of any number of sorted addresses that are recorded."""
    for some in _pages(addresses):
        yield from page_of(connection, some)


def fingerprints_of(connection: sqlite3.Connection, addresses: Sequence[str]) -> dict[str, bytes]:
    """Return the fingerprints of those of any number of addresses that are recorded."""
    found: dict[str, bytes] = {}
    for some in _pages(addresses):
        marks = ",".join("?" * len(some))
        query = f"SELECT address, fingerprint FROM resources WHERE address IN ({marks})"  # noqa: S608
        found.update(connection.execute(query, some).fetchall())
    return found


def shared_docs(connection: sqlite3.Connection, digests: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the shared documents of these digests. Raises ValueError when one is missing."""
    found: dict[bytes, bytes] = {}
    for key in sorted(digests):
        row = connection.execute("SELECT CAST(doc AS BLOB) FROM shared_docs WHERE digest = ?", (key,)).fetchone()
        if row is None:
            raise ValueError("a shared document is missing")
        found[key] = row[0]
    return found


def _pages(addresses: Sequence[str]) -> Iterator[Sequence[str]]:
    return (addresses[start : start + PAGE // 2] for start in range(0, len(addresses), PAGE // 2))


def runs(connection: sqlite3.Connection, limit: int | None) -> tuple[RunRecord, ...]:
    """Return the runs, newest first."""
    state = base(connection)
    query = (
        f"SELECT {RUN_COLUMNS}, seq, target, base_serial, ended_at, result, detail "  # noqa: S608
        "FROM runs ORDER BY seq DESC LIMIT ?"
    )
    rows = connection.execute(query, (-1 if limit is None else limit,)).fetchall()
    links = _links(connection, rows[-1][len(RUN_FIELDS)]) if rows else {}
    # That of an earlier format never changed.
    (lineage,) = connection.execute("SELECT value FROM meta WHERE key = 'run_lineage'").fetchone() or (state.lineage,)
    found: list[RunRecord] = []
    left = state.serial  # the serial moves in runs only, so each run left what the next one found
    for cells in rows:
        info = RunInfo(*cells[: len(RUN_FIELDS)])
        seq, text, serial, ended_at, result, detail = cells[len(RUN_FIELDS) :]
        if seq in links:
            found_lineage, *counts, digest = links[seq]
            calls = Calls(*counts)
        else:
            found_lineage, calls, digest = lineage, _calls(connection, info.id), ""
        target = target_from_doc(orjson.loads(text))
        started_from = StateBase(found_lineage, serial)
        found.append(RunRecord(info, target, started_from, left, ended_at, result, detail, calls, digest))
        left = serial
    return tuple(found)


def has_chain(connection: sqlite3.Connection) -> bool:
    """Return whether the file is of a format that chains its runs."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= 3)


def _links(connection: sqlite3.Connection, first: int) -> dict[int, tuple[Any, ...]]:
    """Return what the chain says of the runs from `first` (their `seq`) on."""
    if not has_chain(connection):
        return {}
    query = "SELECT seq, lineage, accepted, refused, unknown, digest FROM chain WHERE seq >= ?"
    return {seq: tuple(cells) for seq, *cells in connection.execute(query, (first,))}


def _calls(connection: sqlite3.Connection, run: str) -> Calls:
    """Return how the calls of a run ended, as its journal says."""
    query = "SELECT outcome, count(*) FROM journal WHERE run = ? AND kind NOT IN (?, ?) GROUP BY outcome"
    counts = dict(connection.execute(query, (run, STATE_ONLY, FORGET)).fetchall())
    unknown = counts.get(None, 0) + counts.get(Outcome.UNKNOWN.value, 0)
    return Calls(counts.get(Outcome.ACCEPTED.value, 0), counts.get(Outcome.REFUSED.value, 0), unknown)


def unsettled(connection: sqlite3.Connection) -> tuple[JournalEntry, ...]:
    """Return what is in doubt, oldest first, narrowed to the addresses still in doubt."""
    (first,) = connection.execute("SELECT min(seq) FROM journal WHERE in_doubt = 1").fetchone()
    if first is None:
        return ()
    query = _ENTRIES + "WHERE seq >= ? AND (in_doubt = 1 OR outcome = 'accepted') ORDER BY seq"
    return tuple(still_open(entry(cells) for cells in connection.execute(query, (first,))))


def highest_ordering_id(connection: sqlite3.Connection) -> int:
    """Return the highest ordering id in the journal, 0 when there is none."""
    (found,) = connection.execute("SELECT max(ordering_id) FROM journal").fetchone()
    return found or 0


def usage_since(connection: sqlite3.Connection, at: str) -> Usage:
    """Return what the calls since a moment came to at least."""
    query = "SELECT kind, covers FROM journal WHERE at >= ? AND outcome IS NOT 'refused'"
    found = Usage()
    for kind, covers in connection.execute(query, (at,)):
        found += usage_of(kind, unpack_covers(covers))
    return found


def activities(connection: sqlite3.Connection) -> tuple[tuple[str, str], ...]:
    """Return the sources that were told of an activity and not of its end."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'activities'").fetchone()
    if row is None:
        return ()
    return tuple((str(source), str(path)) for source, path in orjson.loads(row[0]))


def entries_after(connection: sqlite3.Connection, seq: int, run: str | None) -> list[tuple[Any, ...]]:
    """Return the cells of a few of the next journal entries after `seq`, of one run if named.

    Left packed: one entry may cover a hundred thousand addresses, so `entry` unpacks one at a time.
    """
    if run is None:
        return connection.execute(_ENTRIES + "WHERE seq > ? ORDER BY seq LIMIT 20", (seq,)).fetchall()
    query = _ENTRIES + "WHERE run = ? AND seq > ? ORDER BY seq LIMIT 20"
    return connection.execute(query, (run, seq)).fetchall()


def entry(cells: Sequence[Any]) -> JournalEntry:
    """Return the journal entry that cells hold."""
    seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail = cells
    intent = Intent(call, kind, request_digest, ordering_id, at, unpack_covers(covers))
    return JournalEntry(seq, run, intent, None if outcome is None else Outcome(outcome), settled_at, detail)


def runs_with_formers(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return the runs of which it is known what was recorded before, newest first; none in a file of version 1."""
    query = "SELECT id FROM runs WHERE seq >= (SELECT value FROM meta WHERE key = 'formers_from') ORDER BY seq DESC"
    return tuple(run for (run,) in connection.execute(query))


def formers_after(connection: sqlite3.Connection, seq: int, run: str) -> tuple[int, tuple[Former, ...]] | None:
    """Return what the next call of a run after `seq` found recorded, with its own `seq`; None after the last."""
    if connection.execute("PRAGMA user_version").fetchone() < (2,):
        return None
    query = "SELECT seq, formers FROM formers WHERE run = ? AND seq > ? ORDER BY seq LIMIT 1"
    cells = connection.execute(query, (run, seq)).fetchone()
    return (cells[0], unpack_formers(cells[1])) if cells else None


def misfits(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what SQLite's own check finds wrong with the file."""
    for (line,) in connection.execute("PRAGMA integrity_check(20)").fetchall():
        if line != "ok":
            yield str(line)


def _row(cells: Sequence[Any]) -> RecordedRow:
    address, doc, fingerprint, shared, *rest = cells
    if shared is None:
        if fingerprint[32:] != NO_SHARED:
            raise ValueError(f'the shared document of "{address}" is missing')
        shared = b""
    return RecordedRow(Address(address), doc, shared, *rest)
