"""[io] The rows and doubts of a local state replaced as a whole, inside a transaction of its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from reconciler.model.canonical import NO_SHARED, digest
from reconciler.state.journal import JournalEntry
from reconciler.state.packing import pack_covers
from reconciler.state.rows import RecordedRow

_ROW = """
INSERT INTO resources (address, fingerprint, doc, ordering_id, accepted_at, run, verified, verified_detail)
VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?)
"""
_DOUBT = """
INSERT INTO journal
    (run, call, kind, request_digest, ordering_id, at, covers, outcome, settled_at, detail, in_doubt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
"""
_FORGET_FORMERS = """
UPDATE meta SET value = (SELECT 1 + ifnull(max(seq), 0) FROM runs) WHERE key = 'formers_from'
"""


def replace_all(connection: sqlite3.Connection, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> None:
    """Put these rows and doubts where others were; what was before earlier runs is not kept, for a gap is in it now."""
    connection.execute("DELETE FROM resources")
    connection.execute("DELETE FROM shared_docs")
    shared: dict[bytes, bytes] = {}
    connection.executemany(_ROW, _cells(rows, shared))
    connection.executemany(
        "INSERT INTO shared_docs (digest, doc) VALUES (?, CAST(? AS TEXT))",
        sorted((key, doc) for doc, key in shared.items()),
    )
    connection.execute("UPDATE journal SET in_doubt = 0")
    connection.executemany(_DOUBT, map(_doubt, unsettled))
    connection.execute("DELETE FROM formers")
    connection.execute(_FORGET_FORMERS)
    connection.execute("UPDATE meta SET value = (SELECT count(*) FROM resources) WHERE key = 'rows_when_tidied'")
    connection.execute("UPDATE meta SET value = 0 WHERE key = 'churn'")


def _cells(rows: Iterable[RecordedRow], shared: dict[bytes, bytes]) -> Iterator[tuple[object, ...]]:
    """Yield the cells of each row; leaves in `shared` the shared documents met, with their digests."""
    for row in rows:
        key = shared.setdefault(row.shared, digest(row.shared)) if row.shared else NO_SHARED
        yield (
            *(str(row.address), digest(row.doc) + key, row.doc),
            *(row.ordering_id, row.accepted_at, row.run, row.verified, row.verified_detail),
        )


def _doubt(entry: JournalEntry) -> tuple[object, ...]:
    intent = entry.intent
    return (
        *(entry.run, intent.call, intent.kind, intent.request_digest, intent.ordering_id, intent.at),
        pack_covers(intent.covers),
        *(entry.outcome, entry.settled_at, entry.detail),
    )
