"""The tables of a state in PostgreSQL: those of the local file, typed, and two for the lock.

They stand in one schema, so that one database serves many states and a role may be given the right to one of them.
Texts are compared by their bytes (`COLLATE "C"`), as addresses are everywhere else. Documents and what calls cover stay
text, for PostgreSQL compresses long cells by itself.
"""

from __future__ import annotations

from reconciler.state.sql.connection import Sql, write_meta
from reconciler.state.sql.read import UNSURE

FORMAT_VERSION = 3

# `fence` says who took the lock last, and which of its writes was the last one. It stands alone, so that a sign of life
# in `lease` does not wait for a long transaction that has passed the fence. Versions, holders and writes are named by
# random texts: a standby that took over without the last transactions counts the same numbers again.
LOCK_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS lease (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        generation bigint NOT NULL,
        holder text,
        place text NOT NULL,
        signed timestamptz NOT NULL,
        version text NOT NULL,
        backend integer NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS fence (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        generation bigint NOT NULL,
        holder text NOT NULL,
        written text NOT NULL
    )
    """,
    "INSERT INTO fence (generation, holder, written) VALUES (0, '', '') ON CONFLICT DO NOTHING",
)

TABLES = (
    'CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL)',
    """
    CREATE TABLE resources (
        address text COLLATE "C" PRIMARY KEY,
        fingerprint bytea NOT NULL CHECK (length(fingerprint) = 64),
        ordering_id bigint NOT NULL,
        accepted_at text NOT NULL,
        run text NOT NULL,
        verified text CHECK (verified IN ('verified', 'rejected')),
        verified_detail text NOT NULL DEFAULT '',
        doc text NOT NULL
    )
    """,
    "CREATE INDEX resources_rejected ON resources (address) WHERE verified = 'rejected'",
    "CREATE TABLE shared_docs (digest bytea PRIMARY KEY CHECK (length(digest) = 32), doc text NOT NULL)",
    """
    CREATE TABLE runs (
        seq bigint PRIMARY KEY,
        id text NOT NULL UNIQUE,
        command text NOT NULL,
        started_at text NOT NULL,
        host text NOT NULL,
        "user" text NOT NULL,
        plan_digest text NOT NULL,
        tool_version text NOT NULL,
        environment text NOT NULL,
        "commit" text NOT NULL,
        target text NOT NULL,
        base_serial bigint NOT NULL,
        ended_at text NOT NULL DEFAULT '',
        result text NOT NULL DEFAULT '',
        detail text NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE journal (
        seq bigint PRIMARY KEY,
        run text NOT NULL,
        call integer NOT NULL,
        kind text NOT NULL,
        request_digest text NOT NULL,
        ordering_id bigint NOT NULL,
        at text COLLATE "C" NOT NULL,
        covers text NOT NULL,
        outcome text CHECK (outcome IN ('accepted', 'refused', 'unknown')),
        settled_at text NOT NULL DEFAULT '',
        detail text NOT NULL DEFAULT '',
        in_doubt integer NOT NULL DEFAULT 1
    )
    """,
    "CREATE INDEX journal_in_doubt ON journal (seq) WHERE in_doubt = 1",
    "CREATE INDEX journal_run ON journal (run)",
    "CREATE INDEX journal_ordering ON journal (ordering_id)",
    f"CREATE INDEX journal_unsure ON journal (seq) WHERE {UNSURE}",
    "CREATE TABLE formers (seq bigint PRIMARY KEY, run text NOT NULL, formers text NOT NULL)",
    "CREATE INDEX formers_run ON formers (run)",
    """
    CREATE TABLE chain (
        seq bigint PRIMARY KEY,
        lineage text NOT NULL,
        accepted bigint NOT NULL,
        refused bigint NOT NULL,
        unknown bigint NOT NULL,
        digest text NOT NULL CHECK (length(digest) = 64)
    )
    """,
)


def create(sql: Sql) -> None:
    """Make an empty state in the current schema, inside the transaction that its first run begins with."""
    for statement in TABLES:
        sql.execute(statement)
    for key, value in (("format", FORMAT_VERSION), ("lineage", ""), ("serial", 0), ("churn", 0)):
        write_meta(sql, key, value)
    write_meta(sql, "rows_when_tidied", 0)
    write_meta(sql, "formers_from", 1)
