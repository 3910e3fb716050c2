"""The items of an index as rows: read, replaced whole, deleted with a tombstone."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from reconciler.emulator.database import Database


class Item(NamedTuple):
    """An indexed item without its body; `metadata` and `permissions` are JSON texts."""

    row: int
    place: int
    uri: str
    ordering: str
    permanentid: str
    title: str | None
    parent: str | None
    extension: str | None
    metadata: str
    permissions: str | None
    pushed: float
    body_key: str | None
    body_size: int
    body_sha256: str
    preview: str
    fields: str | None = None
    """The fields that the item's metadata came to as JSON, None where each key is a field of its own."""
    compression: str | None = None
    """How its content was taken to be compressed, None for `data` and where it was not remembered."""

    @property
    def unique_id(self) -> str:
        """The index's own name for the item (`uniqueId`, push-api.md 2.6)."""
        return f"42.{self.place}${self.row}${self.uri}"

    @property
    def primary_id(self) -> str:
        """The identifier that stays with the item (`primaryid`, push-api.md 3.1): its own, or one made of its uri."""
        own = self.metadata_values().get("primaryid")
        return own if isinstance(own, str) and own else primary_id(self.place, self.uri)

    def metadata_values(self) -> dict[str, Any]:
        values: dict[str, Any] = orjson.loads(self.metadata)
        return values

    def field_values(self) -> dict[str, Any]:
        """Return the fields that the item's metadata came to; some of them may have names that no field can have."""
        values: dict[str, Any] = orjson.loads(self.metadata if self.fields is None else self.fields)
        return values

    def levels(self) -> list[dict[str, Any]] | None:
        """Return the stored permission model, None when the item was pushed without one."""
        return None if self.permissions is None else orjson.loads(self.permissions)


def primary_id(place: int, uri: str) -> str:
    """Return the `primaryid` of an item that was pushed without one."""
    return b32encode(hashlib.sha256(f"{place} {uri}".encode()).digest()[:16]).decode().rstrip("=")


COLUMNS = ", ".join(Item._fields)
_UPSERT = f"""
INSERT INTO items (place, uri, ordering, permanentid, title, parent, extension, metadata, permissions, pushed,
    body_key, body_size, body_sha256, preview, body, fields, compression)
VALUES ({", ".join("?" * 17)})
ON CONFLICT (place, uri) DO UPDATE SET
    ordering = excluded.ordering, permanentid = excluded.permanentid, title = excluded.title,
    parent = excluded.parent, extension = excluded.extension, metadata = excluded.metadata,
    permissions = excluded.permissions, pushed = excluded.pushed, body_key = excluded.body_key,
    body_size = excluded.body_size, body_sha256 = excluded.body_sha256, preview = excluded.preview,
    body = excluded.body, fields = excluded.fields, compression = excluded.compression"""  # noqa: S608

ItemRow = tuple[
    int, str, str, str, str | None, str | None, str | None, str, str | None, float, str | None, int, str, str,
    bytes | None, str | None, str | None,
]  # fmt: skip


class ItemTable:
    """The table of items and the one of tombstones."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection
        self._connection.create_function("primary_id", 2, primary_id, deterministic=True)

    def orderings(self, place: int, uris: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the stored ordering ids of `uris`: of those that are items, and of those that were deleted."""
        found = []
        for table in ("items", "tombstones"):
            rows = self._connection.execute(
                f"SELECT uri, ordering FROM {table} WHERE place = ?"  # noqa: S608
                " AND uri IN (SELECT value FROM json_each(?))",
                (place, orjson.dumps(uris).decode()),
            )
            found.append(dict(rows.fetchall()))
        return found[0], found[1]

    def many(self, place: int, uris: list[str]) -> dict[str, Item]:
        """Return those of `uris` that are items of a source."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE place = ? AND uri IN (SELECT value FROM json_each(?))",  # noqa: S608
            (place, orjson.dumps(uris).decode()),
        )
        return {item.uri: item for item in map(Item._make, rows)}

    def written(self, place: int, ordering: str, pushed: float) -> set[str]:
        """Return what one operation wrote or deleted so far, by its ordering id and its time."""
        rows = self._connection.execute(
            "SELECT uri FROM items WHERE place = ? AND ordering = ? AND pushed = ?"
            " UNION SELECT uri FROM tombstones WHERE place = ? AND ordering = ?",
            (place, ordering, pushed, place, ordering),
        )
        return {row[0] for row in rows}

    def up_to(self, place: int, ordering: str) -> list[str]:
        """Return the uris of the items that were last pushed with `ordering` or before."""
        rows = self._connection.execute(
            "SELECT uri FROM items WHERE place = ? AND ordering <= ? ORDER BY uri", (place, ordering)
        )
        return [row[0] for row in rows]

    def put(self, rows: list[ItemRow]) -> None:
        """Replace items whole, or add them; their tombstones go."""
        self._connection.executemany(_UPSERT, rows)
        self._connection.executemany(
            "DELETE FROM tombstones WHERE place = ? AND uri = ?", [(row[0], row[1]) for row in rows]
        )

    def delete(self, place: int, uris: Iterable[str], ordering: str) -> None:
        """Delete items and leave tombstones, so that a late older push cannot bring one back."""
        uris = list(uris)
        self._connection.executemany("DELETE FROM items WHERE place = ? AND uri = ?", [(place, uri) for uri in uris])
        self._connection.executemany(
            "INSERT INTO tombstones (place, uri, ordering) VALUES (?, ?, ?)"
            " ON CONFLICT (place, uri) DO UPDATE SET ordering = max(ordering, excluded.ordering)",
            [(place, uri, ordering) for uri in uris],
        )

    def below(self, place: int, uri: str, ordering: str, *, parents: bool = False) -> list[str]:
        """Return the items whose uri starts with `uri` and a slash, unless pushed later than `ordering`.

        A rule of prefixes, not of parents (push-api.md 2.1), unless `parents` adds those whose parent is `uri`.
        """
        # '0' is the character after '/', so the range holds exactly that prefix.
        rows = self._connection.execute(
            "SELECT uri FROM items WHERE place = ? AND (uri > ? AND uri < ? OR ? AND parent = ? AND uri <> parent)"
            " AND ordering <= ? ORDER BY uri",
            (place, f"{uri}/", f"{uri}0", parents, uri, ordering),
        )
        return [row[0] for row in rows]

    def delete_older_than(self, place: int, ordering: str) -> list[str]:
        """Delete what was last pushed strictly before `ordering` (push-api.md 2.1) and return the uris."""
        rows = self._connection.execute(
            "DELETE FROM items WHERE place = ? AND ordering < ? RETURNING uri", (place, ordering)
        )
        return sorted(row[0] for row in rows.fetchall())

    def count(self, place: int) -> int:
        found: int = self._connection.execute("SELECT count(*) FROM items WHERE place = ?", (place,)).fetchone()[0]
        return found

    def total_size(self, place: int) -> int:
        found: int = self._connection.execute(
            "SELECT coalesce(sum(body_size), 0) FROM items WHERE place = ?", (place,)
        ).fetchone()[0]
        return found

    def each(self, place: int, limit: int = -1, offset: int = 0) -> Iterator[Item]:
        """Yield the items of a source in the order of their uris."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE place = ? ORDER BY uri LIMIT ? OFFSET ?",  # noqa: S608
            (place, limit, offset),
        )
        return map(Item._make, rows)

    def one(self, places: Iterable[int], name: str) -> Item | None:
        """Return the item with this uri or unique id in one of `places`."""
        listed = orjson.dumps(list(places)).decode()
        uri = name
        if name.startswith("42.") and name.count("$") >= 2:
            uri = name.split("$", 2)[2]
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE uri IN (?, ?)"  # noqa: S608
            " AND place IN (SELECT value FROM json_each(?)) ORDER BY place",
            (uri, name, listed),
        )
        found = [Item._make(row) for row in rows]
        return next((item for item in found if item.unique_id == name), found[0] if found else None)

    def by_primary_id(self, places: Iterable[int], name: str) -> Item | None:
        """Return the item with this `primaryid` in one of `places`."""
        listed = orjson.dumps(list(places)).decode()
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE place IN (SELECT value FROM json_each(?))"  # noqa: S608
            " AND coalesce(nullif(json_extract(metadata, '$.primaryid'), ''), primary_id(place, uri)) = ? LIMIT 1",
            (listed, name),
        )
        return next(map(Item._make, rows), None)

    def body(self, item: Item) -> bytes | None:
        """Return the content of an item, None when it was too large to keep or there is none."""
        row = self._connection.execute("SELECT body FROM items WHERE row = ?", (item.row,)).fetchone()
        return row[0] if row else None

    def select(self, where: str, values: list[Any], order: str, limit: int, offset: int) -> list[Item]:
        """Return the items that a compiled query finds; `where` and `order` come from query.py only."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM items WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608
            (*values, limit, offset),
        )
        return [Item._make(row) for row in rows]

    def matching(self, where: str, values: list[Any]) -> int:
        """Return how many items a compiled query finds."""
        found: int = self._connection.execute(
            f"SELECT count(*) FROM items WHERE {where}",  # noqa: S608
            values,
        ).fetchone()[0]
        return found
