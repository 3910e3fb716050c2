"""Streams of a catalog, and what only catalogs do to items: loads, shallow merges, partial updates (push-api.md 2.5).

Within one file full items come first, then deletions, then partial updates; no document tells their order.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec
import orjson

from reconciler.emulator import batchfile
from reconciler.emulator.database import Database, Operation
from reconciler.emulator.faults import rejected
from reconciler.emulator.index import Entry, Indexer, Rejected
from reconciler.emulator.items import Item
from reconciler.emulator.options import Doubts, SourceOptions
from reconciler.emulator.wire import RESERVED_KEYS, BadJson, ItemBody, check_value, folded, text

CATALOG_ITEM_BYTES = 3 * 1024 * 1024
"""What an item of a catalog may come to (push-api.md 4.1)."""

LogLine = Callable[[Operation, str, str, str, dict[str, Any], str], None]
"""Writes (operation, verb, result, task, meta, uri) into the pipeline's log."""


class Streams:
    """The streams that were opened, and the files that each of them got."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connection

    def open(self, place: int, file: str) -> str:
        """Begin a stream with its first container and return its id."""
        stream = str(uuid.uuid4())
        self._connection.execute(
            "INSERT INTO streams VALUES (?, ?, ?, 'open')", (stream, place, orjson.dumps([file]).decode())
        )
        return stream

    def files(self, place: int, stream: str) -> list[str] | None:
        """Return the containers of an open stream, None when this source has no such stream."""
        row = self._connection.execute(
            "SELECT files FROM streams WHERE id = ? AND place = ? AND state = 'open'", (stream, place)
        ).fetchone()
        return None if row is None else list(orjson.loads(row[0]))

    def add(self, place: int, stream: str, file: str) -> None:
        """Give an open stream one more container."""
        files = [*(self.files(place, stream) or ()), file]
        self._connection.execute("UPDATE streams SET files = ? WHERE id = ?", (orjson.dumps(files).decode(), stream))

    def close(self, place: int, stream: str) -> list[str]:
        """End a stream and return those of its containers that something was uploaded to."""
        files = self.uploaded(place, stream)
        self._connection.execute("UPDATE streams SET state = 'closed', files = '[]' WHERE id = ?", (stream,))
        return files

    def uploaded(self, place: int, stream: str) -> list[str]:
        """Return those containers of an open stream that something was uploaded to."""
        files = self.files(place, stream) or []
        rows = self._connection.execute(
            "SELECT file FROM containers WHERE size IS NOT NULL AND file IN (SELECT value FROM json_each(?))",
            (orjson.dumps(files).decode(),),
        )
        uploaded = {row[0] for row in rows}
        return [file for file in files if file in uploaded]

    def held(self) -> set[str]:
        """Return the containers of all open streams."""
        rows = self._connection.execute("SELECT value FROM streams, json_each(streams.files)")
        return {row[0] for row in rows}

    def loaded(self, place: int) -> bool:
        """Return whether a load of this source was ever processed."""
        row = self._connection.execute(
            "SELECT 1 FROM streams WHERE place = ? AND state = 'loaded'", (place,)
        ).fetchone()
        return row is not None

    def mark_loaded(self, place: int, stream: str) -> None:
        self._connection.execute("UPDATE streams SET state = 'loaded' WHERE id = ? AND place = ?", (stream, place))


class Changes:
    """Turns merges and partial updates into whole items for the indexer."""

    def __init__(self, doubts: Doubts, indexer: Indexer, streams: Streams, log: LogLine) -> None:
        self._doubts = doubts
        self._indexer = indexer
        self._streams = streams
        self._log = log

    # Shallow merges

    def merged(self, place: int, entries: Iterable[Entry]) -> list[Entry]:
        """Return entries that keep what they do not mention of the items that are there."""
        entries = list(entries)
        present = self._indexer.items.many(place, [entry.uri for entry in entries])
        return [self._merge(entry, present.get(entry.uri)) for entry in entries]

    def _merge(self, entry: Entry, item: Item | None) -> Entry:
        if item is None or isinstance(entry.body, Rejected):
            return entry
        metadata = {**item.metadata_values(), **entry.body.metadata}
        if self._doubts.merge_null == "remove":
            metadata = {key: value for key, value in metadata.items() if key not in entry.body.nulls}
        return replace(entry, body=replace(entry.body, metadata=metadata), base=item)

    # Loads

    def remove_absent(self, operation: Operation, kept: set[str]) -> None:
        """Delete what a load lacks, unless it was pushed later (push-api.md 2.5)."""
        items = self._indexer.items
        gone = [uri for uri in items.up_to(operation.place, operation.ordering) if uri not in kept]
        items.delete(operation.place, gone, operation.ordering)
        for uri in gone:
            self._log(operation, "DELETE", "COMPLETED", "INDEXING", {}, uri)

    # Partial updates

    def partial(self, operation: Operation, source: SourceOptions, raws: list[msgspec.Raw], touched: set[str]) -> None:
        """Apply the entries of `partialUpdate`, in their order; they create no items (push-api.md 2.5)."""
        changes = [change for raw in raws if (change := self._read(operation, raw)) is not None]
        present = self._indexer.items.many(operation.place, [change["documentid"] for change in changes])
        values = {uri: item.metadata_values() for uri, item in present.items()}
        changed: set[str] = set()
        refused = self._doubts.partial_before_load == "refuse" and not self._streams.loaded(operation.place)
        for change in changes:
            uri = change["documentid"]
            reason = rejected(operation.detail, uri)
            if reason or uri not in present or refused:
                why = reason or ("the source was never loaded" if uri in present else "there is no such item")
                result = "REJECTED" if reason or uri in present else self._doubts.partial_missing
                self._log(operation, "UPDATE", result, "STREAMING", {"error": why}, uri)
                continue
            try:
                self._apply(change, values[uri])
            except BadJson as error:
                self._log(operation, "UPDATE", "REJECTED", "STREAMING", {"error": str(error)}, uri)
            else:
                changed.add(uri)
        entries = [
            Entry(uri, ItemBody(uri, None, "", None, None, None, None, values[uri]), None, base=present[uri])
            for uri in sorted(changed)
        ]
        self._indexer.put(operation, source, entries, touched)

    def _read(self, operation: Operation, raw: msgspec.Raw) -> dict[str, Any] | None:
        uri = ""
        try:
            keys = folded(batchfile.value(raw), "An entry of 'partialUpdate'")
            uri = text(keys, "documentid") or ""
            field = (text(keys, "field") or "").lower()
            operator = (text(keys, "operator") or "").replace("_", "").lower()
            if not uri or not field:
                raise BadJson("A partial update needs a 'documentId' and a 'field'.")
            if operator not in _OPERATORS:
                raise BadJson(f"'{operator[:100]}' is no operator of a partial update.")
            if field in RESERVED_KEYS:
                raise BadJson(f"'{field}' is no field.")
            _check_operand(operator, keys.get("value"))
        except BadJson as error:
            self._log(operation, "UPDATE", "REJECTED", "VALIDATION", {"error": str(error)}, uri)
            return None
        return {"documentid": uri, "field": field, "operator": operator, "value": keys.get("value")}

    def _apply(self, change: dict[str, Any], metadata: dict[str, Any]) -> None:
        field, value = change["field"], change["value"]
        after = _OPERATORS[change["operator"]](metadata.get(field), value, self._doubts)
        if after is None:
            metadata.pop(field, None)
        else:
            metadata[field] = after


def _check_operand(operator: str, value: Any) -> None:
    """Require the type of value that an operator takes (push-api.md 2.5)."""
    if operator == "fieldvaluereplace":
        if value is not None:
            check_value("value", value, dictionary=True)
    elif operator in ("arrayappend", "arrayremove"):
        if not isinstance(value, list):
            raise BadJson("The value must be an array.")
        check_value("value", value)
    elif operator == "dictionaryput":
        if not isinstance(value, dict):
            raise BadJson("The value must be an object.")
        check_value("value", value, dictionary=True)
    elif not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(key, str) for key in value)):
        raise BadJson("The value must be a string or an array of strings.")


def _array(held: Any, doubts: Doubts) -> list[Any]:
    if held is None:
        return []
    if isinstance(held, list):
        return list(held)
    if isinstance(held, dict) or doubts.array_of_scalar == "reject":
        raise BadJson("The field does not hold an array.")
    return [held]


def _dictionary(held: Any) -> dict[str, Any]:
    if held is not None and not isinstance(held, dict):
        raise BadJson("The field does not hold a dictionary.")
    return dict(held or {})


def _replaced(held: Any, value: Any, doubts: Doubts) -> Any:
    del held, doubts
    return value


def _appended(held: Any, value: Any, doubts: Doubts) -> Any:
    return _array(held, doubts) + value


def _removed(held: Any, value: Any, doubts: Doubts) -> Any:
    return None if held is None else [part for part in _array(held, doubts) if part not in value]


def _put(held: Any, value: Any, doubts: Doubts) -> Any:
    del doubts
    return {**_dictionary(held), **value}


def _taken(held: Any, value: Any, doubts: Doubts) -> Any:
    del doubts
    if held is None:
        return None
    keys = [value] if isinstance(value, str) else value
    return {key: entry for key, entry in _dictionary(held).items() if key not in keys}


_OPERATORS: dict[str, Callable[[Any, Any, Doubts], Any]] = {
    "fieldvaluereplace": _replaced,
    "arrayappend": _appended,
    "arrayremove": _removed,
    "dictionaryput": _put,
    "dictionaryremove": _taken,
}
