"""What is read from the tables of a state: SQL and rows in, values out.

Functions over an open connection; which file or server, which moment and which errors is the store's concern.
Rows that cannot be what we wrote raise ValueError.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.canonical import NO_SHARED
from reconciler.model.former import Former
from reconciler.model.states import StateBase, Target
from reconciler.state.journal import (
    WITHOUT_CALL,
    Calls,
    Intent,
    JournalEntry,
    Outcome,
    RunInfo,
    RunRecord,
    Step,
    Usage,
    still_open,
    usage_of,
)
from reconciler.state.packing import target_from_doc, unpack_covers, unpack_formers
from reconciler.state.rows import RecordedRow
from reconciler.state.sql.connection import Sql, read_meta

PAGE = 1000  # rows fetched at once: the read lock is held no longer than that takes

RUN_FIELDS = tuple(field.name for field in fields(RunInfo))
RUN_COLUMNS = ", ".join(f'"{name}"' for name in RUN_FIELDS)

_ROWS = """
SELECT r.address, r.doc, r.fingerprint, s.doc,
       r.ordering_id, r.accepted_at, r.run, r.verified, r.verified_detail
FROM resources r LEFT JOIN shared_docs s ON s.digest = substr(r.fingerprint, 33)
"""
_FORMERS = """
SELECT f.seq, f.formers FROM formers f JOIN journal j ON j.seq = f.seq
WHERE f.run = ? AND f.seq > ? AND j.kind NOT IN (?, ?, ?) ORDER BY f.seq LIMIT 1
"""
_STEP = """
SELECT j.seq, j.settled_at, f.formers FROM journal j LEFT JOIN formers f ON f.seq = j.seq
WHERE j.run = ? AND j.seq > ? AND j.outcome = 'accepted' AND (f.seq IS NOT NULL OR j.kind IN (?, ?, ?))
ORDER BY j.seq LIMIT 1
"""
UNSURE = "outcome IS NULL OR outcome = 'unknown' OR kind = 'replaced'"
"""Which entries of the journal were never answered, or replaced the whole state: tables have an index of them."""
_ENTRIES = """
SELECT seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail FROM journal
"""


def base(sql: Sql) -> StateBase:
    """Return lineage and serial."""
    meta = read_meta(sql, "lineage", "serial")
    lineage = meta.get("lineage")
    if not isinstance(lineage, str) or "serial" not in meta:
        raise ValueError("it has no lineage or no serial")
    return StateBase(lineage, int(meta["serial"]))


def target(sql: Sql) -> Target | None:
    """Return the target of the last run, None before the first."""
    row = sql.execute("SELECT target FROM runs ORDER BY seq DESC LIMIT 1").fetchone()
    return target_from_doc(orjson.loads(row[0])) if row else None


def fingerprints(sql: Sql) -> dict[str, bytes]:
    """Return address -> fingerprint, in address order."""
    return dict(sql.execute("SELECT address, fingerprint FROM resources ORDER BY address"))


def rejected(sql: Sql) -> tuple[Address, ...]:
    """Return the rejected addresses, sorted."""
    query = "SELECT address FROM resources WHERE verified = 'rejected' ORDER BY address"
    return tuple(Address(address) for (address,) in sql.execute(query))


def page_after(sql: Sql, address: str) -> list[RecordedRow]:
    """Return the next page of rows after `address`; an empty one is the end."""
    query = _ROWS + "WHERE r.address > ? ORDER BY r.address LIMIT ?"
    return [_row(cells) for cells in sql.execute(query, (address, PAGE)).fetchall()]


def page_of(sql: Sql, addresses: Sequence[str]) -> list[RecordedRow]:
    """Return those of a few sorted addresses that are recorded."""
    marks = ",".join("?" * len(addresses))
    query = f"{_ROWS} WHERE r.address IN ({marks}) ORDER BY r.address"
    return [_row(cells) for cells in sql.execute(query, addresses).fetchall()]


def rows_of(sql: Sql, addresses: Sequence[str]) -> Iterator[RecordedRow]:
    """Yield those of any number of sorted addresses that are recorded."""
    for some in _pages(addresses):
        yield from page_of(sql, some)


def fingerprints_of(sql: Sql, addresses: Sequence[str]) -> dict[str, bytes]:
    """Return the fingerprints of those of any number of addresses that are recorded."""
    found: dict[str, bytes] = {}
    for some in _pages(addresses):
        marks = ",".join("?" * len(some))
        query = f"SELECT address, fingerprint FROM resources WHERE address IN ({marks})"  # noqa: S608
        found.update(sql.execute(query, some).fetchall())
    return found


def shared_docs(sql: Sql, digests: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the shared documents of these digests. Raises ValueError when one is missing."""
    found: dict[bytes, bytes] = {}
    for key in sorted(digests):
        row = sql.execute("SELECT doc FROM shared_docs WHERE digest = ?", (key,)).fetchone()
        if row is None:
            raise ValueError("a shared document is missing")
        found[key] = row[0].encode()
    return found


def _pages(addresses: Sequence[str]) -> Iterator[Sequence[str]]:
    return (addresses[start : start + PAGE // 2] for start in range(0, len(addresses), PAGE // 2))


def runs(sql: Sql, limit: int | None) -> tuple[RunRecord, ...]:
    """Return the runs, newest first."""
    state = base(sql)
    query = (
        f"SELECT {RUN_COLUMNS}, seq, target, base_serial, ended_at, result, detail "  # noqa: S608
        "FROM runs ORDER BY seq DESC"
    )
    rows = sql.execute(query).fetchall() if limit is None else sql.execute(query + " LIMIT ?", (limit,)).fetchall()
    links = _links(sql, rows[-1][len(RUN_FIELDS)]) if rows else {}
    # That of an earlier format never changed.
    lineage = read_meta(sql, "run_lineage").get("run_lineage", state.lineage)
    found: list[RunRecord] = []
    left = state.serial  # the serial moves in runs only, so each run left what the next one found
    for cells in rows:
        info = RunInfo(*cells[: len(RUN_FIELDS)])
        seq, text, serial, ended_at, result, detail = cells[len(RUN_FIELDS) :]
        linked = links.get(seq, ("", 0, 0, 0, ""))
        texts = (*cells[: len(RUN_FIELDS)], text, ended_at, result, detail, linked[0], linked[-1])
        if not all(isinstance(cell, str) for cell in texts) or not all(
            isinstance(cell, int) for cell in (serial, *linked[1:-1])
        ):
            raise ValueError("a record of its history holds what is never written there")
        if seq in links:
            found_lineage, *counts, digest = links[seq]
            calls = Calls(*counts)
        else:
            found_lineage, calls, digest = lineage, _calls(sql, info.id), ""
        target = target_from_doc(orjson.loads(text))
        started_from = StateBase(found_lineage, serial)
        found.append(RunRecord(info, target, started_from, left, ended_at, result, detail, calls, digest))
        left = serial
    return tuple(found)


def history(sql: Sql, limit: int | None) -> tuple[RunRecord, ...]:
    """Return the runs, newest first, of a state that no run is just being chained in."""
    found = runs(sql, limit)
    # In this format what ends a run chains it: without any link, all were taken away.
    if sql.format_version >= 3 and any(run.ended_at for run in found) and not any(run.digest for run in found):
        raise ValueError("the chain of its history is missing")
    return found


def _links(sql: Sql, first: int) -> dict[int, tuple[Any, ...]]:
    """Return what the chain says of the runs from `first` (their `seq`) on."""
    if sql.format_version < 3:
        return {}
    query = "SELECT seq, lineage, accepted, refused, unknown, digest FROM chain WHERE seq >= ?"
    return {seq: tuple(cells) for seq, *cells in sql.execute(query, (first,))}


def _calls(sql: Sql, run: str) -> Calls:
    """Return how the calls of a run ended, as its journal says."""
    query = "SELECT outcome, count(*) FROM journal WHERE run = ? AND kind NOT IN (?, ?, ?) GROUP BY outcome"
    counts = dict(sql.execute(query, (run, *WITHOUT_CALL)).fetchall())
    unknown = counts.get(None, 0) + counts.get(Outcome.UNKNOWN.value, 0)
    return Calls(counts.get(Outcome.ACCEPTED.value, 0), counts.get(Outcome.REFUSED.value, 0), unknown)


def unsettled(sql: Sql) -> tuple[JournalEntry, ...]:
    """Return what is in doubt, oldest first, narrowed to the addresses still in doubt."""
    (first,) = sql.execute("SELECT min(seq) FROM journal WHERE in_doubt = 1").fetchone()
    if first is None:
        return ()
    query = _ENTRIES + "WHERE seq >= ? AND (in_doubt = 1 OR outcome = 'accepted') ORDER BY seq"
    return tuple(still_open(entry(cells) for cells in sql.execute(query, (first,))))


def highest_ordering_id(sql: Sql) -> int:
    """Return the highest ordering id in the journal, 0 when there is none."""
    (found,) = sql.execute("SELECT max(ordering_id) FROM journal").fetchone()
    return found or 0


def usage_since(sql: Sql, at: str) -> Usage:
    """Return what the calls since a moment came to at least."""
    query = "SELECT kind, covers FROM journal WHERE at >= ? AND (outcome IS NULL OR outcome <> 'refused')"
    found = Usage()
    for kind, covers in sql.execute(query, (at,)):
        found += usage_of(kind, unpack_covers(covers))
    return found


def activities(sql: Sql) -> tuple[tuple[str, str], ...]:
    """Return the sources that were told of an activity and not of its end."""
    text = read_meta(sql, "activities").get("activities", "[]")
    return tuple((str(source), str(path)) for source, path in orjson.loads(text))


def entries_after(sql: Sql, seq: int, run: str | None) -> list[tuple[Any, ...]]:
    """Return the cells of a few of the next journal entries after `seq`, of one run if named.

    Left packed: one entry may cover a hundred thousand addresses, so `entry` unpacks one at a time.
    """
    if run is None:
        return sql.execute(_ENTRIES + "WHERE seq > ? ORDER BY seq LIMIT 20", (seq,)).fetchall()
    query = _ENTRIES + "WHERE run = ? AND seq > ? ORDER BY seq LIMIT 20"
    return sql.execute(query, (run, seq)).fetchall()


def entry(cells: Sequence[Any]) -> JournalEntry:
    """Return the journal entry that cells hold."""
    seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail = cells
    intent = Intent(call, kind, request_digest, ordering_id, at, unpack_covers(covers))
    return JournalEntry(seq, run, intent, None if outcome is None else Outcome(outcome), settled_at, detail)


def runs_with_formers(sql: Sql) -> tuple[str, ...]:
    """Return the runs of which it is known what was recorded before, newest first; none in a file of version 1."""
    first = read_meta(sql, "formers_from").get("formers_from")
    if first is None:
        return ()
    query = "SELECT id FROM runs WHERE seq >= ? ORDER BY seq DESC"
    return tuple(run for (run,) in sql.execute(query, (int(first),)))


def formers_after(sql: Sql, seq: int, run: str) -> tuple[int, tuple[Former, ...]] | None:
    """Return what the next call of a run after `seq` found recorded, with its own `seq`; None after the last."""
    if sql.format_version < 2:
        return None
    cells = sql.execute(_FORMERS, (run, seq, *WITHOUT_CALL)).fetchone()
    return (cells[0], unpack_formers(cells[1])) if cells else None


def step_after(sql: Sql, seq: int, run: str) -> Step | None:
    """Return the next change of a run after `seq` that may have changed access; None after the last."""
    if sql.format_version < 2:
        return None
    cells = sql.execute(_STEP, (run, seq, *WITHOUT_CALL)).fetchone()
    if cells is None:
        return None
    number, at, formers = cells
    return Step(number, at, None if formers is None else unpack_formers(formers))


def unsure_after(sql: Sql, seq: int) -> list[tuple[Any, ...]]:
    """Return the cells of a few of the next entries after `seq` that were never answered or replaced the state."""
    query = f"{_ENTRIES} WHERE ({UNSURE}) AND seq > ? ORDER BY seq LIMIT 20"
    return sql.execute(query, (seq,)).fetchall()


def _row(cells: Sequence[Any]) -> RecordedRow:
    address, doc, fingerprint, shared, *rest = cells
    if shared is None:
        if fingerprint[32:] != NO_SHARED:
            raise ValueError(f'the shared document of "{address}" is missing')
        shared = ""
    return RecordedRow(Address(address), doc.encode(), shared.encode(), *rest)
