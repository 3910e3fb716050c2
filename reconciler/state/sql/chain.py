"""The chain of runs in the tables of a state: what each run came to, and its digest.

What a digest covers is defined by `chain.link`. A state of an earlier format has no such table: its runs are counted
from the journal, and chained from the first on when the next run begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

from reconciler.state.chain import link
from reconciler.state.sql import read
from reconciler.state.sql.connection import Sql


def chain_runs(sql: Sql) -> None:
    """Chain the runs that are not chained yet, oldest first: none of them may be under way any more."""
    (chained,) = sql.execute("SELECT coalesce(max(seq), 0) FROM chain").fetchone()
    (waiting,) = sql.execute("SELECT count(*) FROM runs WHERE seq > ?", (chained,)).fetchone()
    row = sql.execute("SELECT digest FROM chain WHERE seq = ?", (chained,)).fetchone()
    previous = row[0] if row else ""
    for record in reversed(read.runs(sql, waiting)):
        previous = link(previous, record)
        (seq,) = sql.execute("SELECT seq FROM runs WHERE id = ?", (record.run.id,)).fetchone()
        sql.execute(
            "INSERT INTO chain (seq, lineage, accepted, refused, unknown, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, record.base.lineage, *astuple(record.calls), previous),
        )


def lost_runs(sql: Sql) -> Iterator[str]:
    """Yield what the chain says of runs that are not there any more."""
    if sql.format_version < 3:
        return
    query = "SELECT digest FROM chain c WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.seq = c.seq) ORDER BY seq"
    for (digest,) in sql.execute(query):
        yield f"the run with the digest {digest} is missing from the history"
