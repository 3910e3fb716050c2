"""What the content browser asks of the database: pages of items, identities and log entries. Reads only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from reconciler.emulator.database import Database
from reconciler.emulator.identities import IDENTITY_COLUMNS, IdentityRow
from reconciler.emulator.items import COLUMNS, Item

Sees = Callable[[str | None], bool]
"""Whether somebody sees the items with these stored permissions (JSON text, None for none)."""


class LogEntry(NamedTuple):
    """One entry of the pipeline's log; `meta` is JSON text."""

    at: float
    place: int
    operation: str
    result: str
    task: str
    uri: str
    meta: str

    @property
    def why(self) -> str:
        """What the entry gives as its reason, or what it counted."""
        meta: dict[str, Any] = orjson.loads(self.meta)
        return ", ".join(str(value) if key == "error" else f"{key} {value}" for key, value in meta.items())


_LOG_COLUMNS = ", ".join(LogEntry._fields)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items of a source: those whose uri or title holds `words`, and that `sees` says yes to."""

    place: int
    words: str = ""
    sees: Sees | None = None


class Listing:
    """Pages out of one database."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection
        self._connection.create_function("folded", 1, _folded, deterministic=True)

    # Items

    def items(self, wanted: Wanted, limit: int, offset: int) -> list[Item]:
        """Return a page of items by uri; items before it are only looked at, not read."""
        where, values = self._condition(wanted)
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE {where} ORDER BY uri LIMIT ? OFFSET ?",  # noqa: S608
            (*values, limit, offset),
        )
        return [Item._make(row) for row in rows]

    def count(self, wanted: Wanted) -> int:
        """Return how many items there are; with `sees`, every one is judged."""
        where, values = self._condition(wanted)
        return self._number(f"SELECT count(*) FROM items WHERE {where}", *values)  # noqa: S608

    def _condition(self, wanted: Wanted) -> tuple[str, list[object]]:
        where, values = "place = ?", list[object]([wanted.place])
        if wanted.words:
            where += " AND (instr(folded(uri), ?) OR instr(folded(title), ?))"
            values += [wanted.words.casefold()] * 2
        if wanted.sees is not None:
            self._connection.create_function("seen", 1, wanted.sees)
            where += " AND seen(permissions)"
        return where, values

    def children(self, place: int, uri: str, limit: int) -> tuple[list[str], int]:
        """Return the first items whose parent is `uri`, and how many there are."""
        condition = "place = ? AND parent = ? AND uri <> ?"
        rows = self._connection.execute(
            f"SELECT uri FROM items WHERE {condition} ORDER BY uri LIMIT ?",  # noqa: S608
            (place, uri, uri, limit),
        )
        total = self._number(f"SELECT count(*) FROM items WHERE {condition}", place, uri, uri)  # noqa: S608
        return [row[0] for row in rows], total

    def head(self, item: Item, size: int) -> bytes | None:
        """Return the first bytes of an item's content, None when it was too large to keep or there is none."""
        row = self._connection.execute(
            "SELECT substr(body, 1, ?) FROM items WHERE row = ?", (size, item.row)
        ).fetchone()
        return row[0] if row else None

    # Operations

    def waiting(self, place: int) -> int:
        """Return how many accepted operations of a source or provider wait."""
        return self._number("SELECT count(*) FROM queue WHERE place = ?", place)

    def log(self, places: list[int], limit: int, *, uri: str | None = None, failed: bool = False) -> list[LogEntry]:
        """Return the last log entries of some places, newest first: of one item, or of what was not completed."""
        where, values = "place IN (SELECT value FROM json_each(?))", list[object]([orjson.dumps(places).decode()])
        if uri is not None:
            where += " AND uri = ?"
            values.append(uri)
        if failed:
            where += " AND result <> 'COMPLETED'"
        rows = self._connection.execute(
            f"SELECT {_LOG_COLUMNS} FROM logs WHERE {where} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [LogEntry._make(row) for row in rows]

    # Identities

    def identity_count(self, place: int) -> int:
        """Return how many identities were pushed to a provider."""
        return self._number("SELECT count(*) FROM identities WHERE place = ?", place)

    def identity(self, place: int, key: str) -> IdentityRow | None:
        """Return the identity that is stored under `key`."""
        row = self._connection.execute(
            f"SELECT {IDENTITY_COLUMNS} FROM identities WHERE place = ? AND key = ?",  # noqa: S608
            (place, key),
        ).fetchone()
        return IdentityRow._make(row) if row else None

    def _number(self, query: str, *values: object) -> int:
        found: int = self._connection.execute(query, values).fetchone()[0]
        return found


def _folded(value: str | None) -> str:
    return (value or "").casefold()


def remembering(sees: Sees) -> Sees:
    """Return `sees` with a memory: most items share their permissions with others, and lists are counted first."""
    known: dict[str | None, bool] = {}

    def ask(permissions: str | None) -> bool:
        found = known.get(permissions)
        if found is None:
            found = known[permissions] = sees(permissions)
        return found

    return ask
