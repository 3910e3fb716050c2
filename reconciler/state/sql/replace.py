"""The rows and doubts of a state replaced as a whole, inside a transaction of its writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.model.canonical import NO_SHARED, digest
from reconciler.state.journal import JournalEntry
from reconciler.state.packing import pack_covers
from reconciler.state.rows import RecordedRow
from reconciler.state.sql.connection import Sql, next_seq, write_meta

_ROW = """
INSERT INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run, verified, verified_detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_DOUBT = """
INSERT INTO journal
    (seq, run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail, in_doubt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
"""


def replace_all(sql: Sql, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
    """Put these rows and doubts where others were."""
    sql.execute("DELETE FROM resources")
    sql.execute("DELETE FROM shared_docs")
    insert_rows(sql, rows)
    sql.execute("UPDATE journal SET in_doubt = 0")
    first = next_seq(sql, "journal")
    sql.executemany(_DOUBT, ((seq, *_doubt(entry, sql.readable)) for seq, entry in enumerate(unsettled, first)))
    write_meta(sql, "churn", 0)


def insert_rows(sql: Sql, rows: Iterable[RecordedRow]) -> None:
    """Put rows where none are."""
    shared: dict[bytes, bytes] = {}
    sql.executemany(_ROW, _cells(rows, shared))
    sql.executemany(
        "INSERT INTO shared_docs (digest, doc) VALUES (?, ?)",
        sorted((key, doc.decode()) for doc, key in shared.items()),
    )
    (rows_now,) = sql.execute("SELECT count(*) FROM resources").fetchone()
    write_meta(sql, "rows_when_tidied", rows_now)


def _cells(rows: Iterable[RecordedRow], shared: dict[bytes, bytes]) -> Iterator[tuple[object, ...]]:
    """Yield the cells of each row; leaves in `shared` the shared documents met, with their digests."""
    for row in rows:
        key = shared.setdefault(row.shared, digest(row.shared)) if row.shared else NO_SHARED
        yield (
            *(str(row.address), digest(row.doc) + key, row.doc.decode()),
            *(row.ordering_id, row.accepted_at, row.run, row.verified, row.verified_detail),
        )


def _doubt(entry: JournalEntry, readable: int) -> tuple[object, ...]:
    intent = entry.intent
    return (
        *(entry.run, intent.call, intent.kind, intent.request_digest, intent.ordering_id, intent.at),
        pack_covers(intent.covers, readable),
        *(entry.outcome, entry.settled_at, entry.detail),
    )
