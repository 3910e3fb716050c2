"""What the SQL of a state asks of a connection, be it to the local file or to PostgreSQL.

One text of each statement serves both, so it keeps to what both understand: `?` for a value, `ON CONFLICT`, no typed
literals, no `LIMIT -1`. Statements run inside a transaction that the store has begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

MOVED_TO = "moved_to"
"""The key under which it stands where a state was moved to."""


class Rows(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Sql(Protocol):
    """A connection to the tables of one state.

    `readable` is how many bytes of JSON stay text in a cell that would be compressed otherwise (`packing`).
    `format_version` is that of the tables, 1 to `sqlite.schema.FORMAT_VERSION`.
    """

    @property
    def readable(self) -> int: ...
    @property
    def format_version(self) -> int: ...
    def execute(self, query: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Rows: ...


def read_meta(sql: Sql, *keys: str) -> dict[str, Any]:
    """Return the values under those of the keys that are there: texts and whole numbers, or their texts."""
    marks = ", ".join("?" * len(keys))
    return dict(sql.execute(f"SELECT key, value FROM meta WHERE key IN ({marks})", keys).fetchall())  # noqa: S608


def write_meta(sql: Sql, key: str, value: str | int) -> None:
    """Put a value under a key."""
    sql.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def next_seq(sql: Sql, table: str) -> int:
    """Return the number that the next entry of a table takes: only the holder of the lock adds any."""
    (found,) = sql.execute(f"SELECT coalesce(max(seq), 0) + 1 FROM {table}").fetchone()  # noqa: S608
    return int(found)
