"""[io] The chain of runs in the tables of a local state: what each run came to, and its digest.

What a digest covers is defined by `chain.link`. A state of an earlier format has no such table: its runs are counted
from the journal, and chained from the first on when the next run begins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import astuple

from reconciler.state import sqlite_read as read
from reconciler.state.chain import link


def chain_runs(connection: sqlite3.Connection) -> None:
    """Chain the runs that are not chained yet, oldest first: none of them may be under way any more."""
    (chained,) = connection.execute("SELECT ifnull(max(seq), 0) FROM chain").fetchone()
    (waiting,) = connection.execute("SELECT count(*) FROM runs WHERE seq > ?", (chained,)).fetchone()
    row = connection.execute("SELECT digest FROM chain WHERE seq = ?", (chained,)).fetchone()
    previous = row[0] if row else ""
    for record in reversed(read.runs(connection, waiting)):
        previous = link(previous, record)
        connection.execute(
            "INSERT INTO chain (seq, lineage, accepted, refused, unknown, digest) "
            "SELECT seq, ?, ?, ?, ?, ? FROM runs WHERE id = ?",
            (record.base.lineage, *astuple(record.calls), previous, record.run.id),
        )


def lost_runs(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what the chain says of runs that are not there any more."""
    if not read.has_chain(connection):
        return
    query = "SELECT digest FROM chain WHERE seq NOT IN (SELECT seq FROM runs) ORDER BY seq"
    for (digest,) in connection.execute(query):
        yield f"the run with the digest {digest} is missing from the history"
