"""All that the tables of a state hold, read and written as the parts of `whole`, inside a transaction of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from itertools import groupby
from types import MappingProxyType
from typing import Any

import orjson

from reconciler.state.packing import pack_covers, pack_formers, target_doc, unpack_formers
from reconciler.state.rows import RecordedRow
from reconciler.state.sql import read
from reconciler.state.sql.connection import Sql, read_meta, write_meta
from reconciler.state.sql.replace import insert_rows
from reconciler.state.whole import Head, KeptEntry, KeptFormers, KeptRun, Part

_PAGE = 20  # entries fetched at once, each of which may cover a hundred thousand addresses
_ENTRIES = """
SELECT seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail, in_doubt
FROM journal WHERE seq > ? ORDER BY seq LIMIT ?
"""
_FORMERS = "SELECT seq, run, formers FROM formers WHERE seq > ? ORDER BY seq LIMIT ?"
_INTO_JOURNAL = """
INSERT INTO journal
    (seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail, in_doubt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def dump(sql: Sql) -> Iterator[Part]:
    """Yield all that is kept. Raises ValueError for what we never write."""
    meta = read_meta(sql, "run_lineage", "formers_from")
    base = read.base(sql)
    seqs = dict(sql.execute("SELECT id, seq FROM runs").fetchall())
    # Tables of the first format kept of no run what it found.
    first = int(meta.get("formers_from", 1 + max(seqs.values(), default=0)))
    yield Head(base, meta.get("run_lineage", base.lineage), first, read.activities(sql))
    for record in reversed(read.runs(sql, None)):
        yield KeptRun(seqs[record.run.id], record)
    address = ""
    while page := read.page_after(sql, address):
        yield from page
        address = page[-1].address
    for *cells, in_doubt in _by_seq(sql, _ENTRIES):
        yield KeptEntry(read.entry(cells), bool(in_doubt))
    if sql.format_version >= 2:
        for seq, run, formers in _by_seq(sql, _FORMERS):
            yield KeptFormers(seq, run, unpack_formers(formers))


def restore(sql: Sql, parts: Iterable[Part]) -> None:
    """Write a whole stream into tables that hold nothing yet."""
    for kind, some in groupby(parts, type):
        _INTO[kind](sql, some)


def _by_seq(sql: Sql, query: str) -> Iterator[Any]:
    seq = 0
    while page := sql.execute(query, (seq, _PAGE)).fetchall():
        yield from page
        seq = page[-1][0]


def _restore_head(sql: Sql, heads: Iterable[Head]) -> None:
    for head in heads:
        write_meta(sql, "lineage", head.base.lineage)
        write_meta(sql, "serial", head.base.serial)
        write_meta(sql, "run_lineage", head.run_lineage)
        write_meta(sql, "formers_from", head.formers_from)
        write_meta(sql, "activities", orjson.dumps(head.activities).decode())


def _restore_runs(sql: Sql, runs: Iterable[KeptRun]) -> None:
    names = f"seq, {read.RUN_COLUMNS}, target, base_serial, ended_at, result, detail"
    marks = ", ".join("?" * (len(read.RUN_FIELDS) + 6))
    for kept in runs:
        record = kept.record
        target = orjson.dumps(target_doc(record.target)).decode()
        how = (record.base.serial, record.ended_at, record.result, record.detail)
        sql.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", (kept.seq, *astuple(record.run), target, *how))  # noqa: S608
        if record.digest:
            sql.execute(
                "INSERT INTO chain (seq, lineage, accepted, refused, unknown, digest) VALUES (?, ?, ?, ?, ?, ?)",
                (kept.seq, record.base.lineage, *astuple(record.calls), record.digest),
            )


def _restore_entries(sql: Sql, entries: Iterable[KeptEntry]) -> None:
    sql.executemany(_INTO_JOURNAL, (_entry_cells(kept, sql.readable) for kept in entries))


def _entry_cells(kept: KeptEntry, readable: int) -> tuple[object, ...]:
    entry, intent = kept.entry, kept.entry.intent
    return (
        *(entry.seq, entry.run, intent.call, intent.kind, intent.request_digest, intent.ordering_id, intent.at),
        pack_covers(intent.covers, readable),
        *(entry.outcome, entry.settled_at, entry.detail, int(kept.in_doubt)),
    )


def _restore_formers(sql: Sql, formers: Iterable[KeptFormers]) -> None:
    sql.executemany(
        "INSERT INTO formers (seq, run, formers) VALUES (?, ?, ?)",
        ((kept.seq, kept.run, pack_formers(kept.formers, sql.readable)) for kept in formers),
    )


_INTO: MappingProxyType[type, Callable[[Sql, Iterable[Any]], None]] = MappingProxyType(
    {
        Head: _restore_head,
        KeptRun: _restore_runs,
        RecordedRow: insert_rows,
        KeptEntry: _restore_entries,
        KeptFormers: _restore_formers,
    }
)
