"""The rules by which accepted item operations become indexed items (push-api.md 9, last paragraph).

Nothing here knows HTTP or the clock: an operation carries its own times. What is refused ends in the logs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

import orjson

from reconciler.emulator import bodies
from reconciler.emulator.bodies import BadContent, Body
from reconciler.emulator.containers import Containers, NoContent
from reconciler.emulator.database import Database, Operation, ordering_text
from reconciler.emulator.fields import FieldTable
from reconciler.emulator.identities import IdentityTable
from reconciler.emulator.items import Item, ItemRow, ItemTable
from reconciler.emulator.options import EmulatorOptions, SourceOptions
from reconciler.emulator.permissions import InvalidPermissions, read_levels
from reconciler.emulator.wire import FILE_KEY, BadJson, ItemBody

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")

INLINE_BYTES = 5 * 1024 * 1024
"""What an item may bring in its body (push-api.md 4.1)."""

LogRow = tuple[float, int, str, str, str, str, str, int]


class Rejected(ValueError):
    """An item that is refused after its 202; `result` and `task` are the logs' words."""

    def __init__(self, why: str, result: str = "REJECTED", task: str = "VALIDATION") -> None:
        super().__init__(why)
        self.result = result
        self.task = task


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of an operation: its uri, what it holds (or why it cannot be read) and its compression.

    `base` is the item whose content, permissions and other properties stay where `body` has none.
    """

    uri: str
    body: ItemBody | Rejected
    compression: str | None
    base: Item | None = None


class Indexer:
    """Applies item operations to the items of their source."""

    def __init__(
        self,
        options: EmulatorOptions,
        database: Database,
        containers: Containers,
        identities: IdentityTable,
        fields: FieldTable,
    ) -> None:
        self._options = options
        self._containers = containers
        self._database = database
        self._identities = identities
        self._fields = fields
        self.items = ItemTable(database)
        self._models: dict[bytes, tuple[str, frozenset[Any]]] = {}

    def forget(self) -> None:
        """Drop what was derived from the providers."""
        self._models.clear()

    # Adding and replacing

    def put(self, operation: Operation, source: SourceOptions, entries: list[Entry], touched: set[str]) -> None:
        """Replace the items of `entries`; `touched` are the uris that this operation wrote before.

        An operation never competes with itself: of two entries with one uri the later one stays.
        """
        entries = list({entry.uri: entry for entry in entries}.values())
        present, deleted = self.items.orderings(operation.place, [entry.uri for entry in entries])
        watermark = self._database.watermark(operation.place)
        room = self._room(operation.place, source)
        rows: list[ItemRow] = []
        logs: list[LogRow] = []
        for entry in entries:
            verb = "UPDATE" if entry.uri in present else "ADD"
            try:
                ordered = self._ordered(operation, entry.body)
                if entry.uri not in touched:
                    stored = present.get(entry.uri) or deleted.get(entry.uri, "")
                    self._check_order(ordered, stored, watermark)
                if entry.uri not in present and room <= 0:
                    raise Rejected(f"a catalog holds {self._options.catalog_items} items at most")
                rows.append(self._judge(ordered, source, entry))
                touched.add(entry.uri)
                room -= entry.uri not in present
            except (Rejected, BadJson) as error:
                logs.append(_log(operation, verb, entry.uri, error))
            else:
                logs.append(_log(operation, verb, entry.uri, None))
        self.items.put(rows)
        self._database.log(logs)

    def _room(self, place: int, source: SourceOptions) -> float:
        """Return how many items more a source may hold (push-api.md 4.1)."""
        return self._options.catalog_items - self.items.count(place) if source.kind == "catalog" else float("inf")

    def _ordered(self, operation: Operation, body: ItemBody | Rejected) -> Operation:
        """Return the operation with the ordering id that an item brings of its own, if that counts."""
        own = None if isinstance(body, Rejected) else body.ordering
        alone = operation.kind == "item.put" and not operation.assigned
        if own is None or alone or self._options.doubts.item_ordering_id == "ignore":
            return operation
        return replace(operation, ordering=ordering_text(own), assigned=False)

    def _check_order(self, operation: Operation, stored: str, watermark: str) -> None:
        if operation.ordering < watermark:
            raise Rejected(f"the ordering id is lower than the source's watermark {int(watermark)}")
        if not is_later(operation, stored, self._options.doubts.equal_ordering_id):
            raise Rejected(f"the ordering id is not higher than the stored {int(stored)}", "SKIPPED", "CONSUMING")

    def _judge(self, operation: Operation, source: SourceOptions, entry: Entry) -> ItemRow:
        body = entry.body
        if isinstance(body, Rejected):
            raise body
        check_uri(entry.uri)
        base = entry.base
        if base is not None and not body.permissions:
            permissions = base.permissions
        else:
            permissions = self._permissions(operation.place, source, body)
        if base is not None and body.content_key is None:
            kept = self.items.body(base)
            content = Body(base.body_size, base.body_sha256, base.preview, kept, base.compression)
        else:
            content = self._content(operation, body, entry.compression)
        title = body.metadata.get("title")
        permanentid = body.metadata.get("permanentid")
        return (
            operation.place,
            entry.uri,
            operation.ordering,
            permanentid if isinstance(permanentid, str) else _permanentid(entry.uri),
            title if isinstance(title, str) else None,
            body.parent or (base and base.parent),
            body.extension or (base and base.extension),
            orjson.dumps(body.metadata).decode(),
            permissions,
            operation.due,
            body.content_key or (base and base.body_key),
            content.size,
            content.sha256,
            content.preview,
            content.kept,
            self._fields.take(operation.place, body.metadata),
            content.compression,
        )

    def _permissions(self, place: int, source: SourceOptions, body: ItemBody) -> str | None:
        if not body.permissions:
            if source.visibility == "SECURED":
                raise Rejected("an item of a secured source needs permissions")
            return None
        # Most items share their model with others, so each is read once.
        organization = self._database.owner(place)
        key = orjson.dumps((organization, source.provider, body.permissions))
        known = self._models.get(key)
        if known is None:
            known = self._read_model(organization, source, body.permissions)
            if len(self._models) >= 4096:
                self._models.clear()
            self._models[key] = known
        model, named = known
        if self._options.doubts.identities_must_exist and source.visibility == "SECURED":
            unknown = [who.name for who in named if not self._identities.known(who)]
            if unknown:
                raise Rejected(f"no identity '{min(unknown)}' was pushed")
        return model

    def _read_model(
        self, organization: str, source: SourceOptions, permissions: list[Any]
    ) -> tuple[str, frozenset[Any]]:
        try:
            mixed = self._options.doubts.mixed_permissions == "levels"
            levels = read_levels(permissions, source.provider, mixed=mixed)
        except InvalidPermissions as error:
            raise Rejected(str(error)) from None
        evaluable = self._identities.directory_of(organization).levels(levels)
        named = frozenset(who for level in evaluable for entry in level for who in entry.allowed | entry.denied)
        return orjson.dumps(levels).decode(), named

    def _content(self, operation: Operation, body: ItemBody, compression: str | None) -> Body:
        if body.content_key is None:
            return bodies.EMPTY
        if body.content_key != FILE_KEY and self._options.doubts.inline_content == "reject":
            check_inline(body.content)
        keep, limit = self._options.kept_body_bytes, self._options.decompressed_bytes
        if body.content_key == "data":
            return bodies.body_of_text(body.content, keep)
        name = (compression or "ZLIB").upper()
        if name not in bodies.COMPRESSIONS:
            raise Rejected(f"no compression is called '{name[:50]}'")
        try:
            if body.content_key == "compressedbinarydata":
                return bodies.body_of_base64(body.content, name, keep, limit)
            organization = self._database.owner(operation.place)
            path = self._containers.ready(organization, body.content, operation.accepted)
            return bodies.body_of_file(path, name, keep, limit)
        except (BadContent, NoContent) as error:
            raise Rejected(str(error), "ERROR", "PROCESSING") from None

    # Deleting

    def delete(self, operation: Operation, entries: list[tuple[str, bool]], touched: set[str]) -> None:
        """Delete the items of `entries` (uri, and whether what lies below it goes too)."""
        present, deleted = self.items.orderings(operation.place, [uri for uri, _ in entries])
        watermark = self._database.watermark(operation.place)
        gone: set[str] = set()
        logs: list[LogRow] = []
        for uri, with_children in entries:
            verb = "DELETE_AND_CHILDREN" if with_children else "DELETE"
            try:
                if uri not in touched:
                    self._check_order(operation, present.get(uri) or deleted.get(uri, ""), watermark)
            except Rejected as error:
                logs.append(_log(operation, verb, uri, error))
                continue
            children = self._below(operation, uri) if with_children else []
            gone.update((uri, *children))
            touched.add(uri)
            missing = Rejected("there is no such item", "SKIPPED", "INDEXING")
            logs.append(_log(operation, verb, uri, None if uri in present or children else missing))
        self.items.delete(operation.place, sorted(gone), operation.ordering)
        self._database.log(logs)

    def _below(self, operation: Operation, uri: str) -> list[str]:
        parents = self._options.doubts.children == "prefix and parent"
        return self.items.below(operation.place, uri, operation.ordering, parents=parents)

    def delete_older_than(self, operation: Operation) -> None:
        """Delete what was pushed before the operation's value, when its delay has passed (push-api.md 5.4)."""
        self._database.raise_watermark(operation.place, operation.ordering)
        uris = self.items.delete_older_than(operation.place, operation.ordering)
        logs = [_log(operation, "DELETE", uri, None) for uri in uris]
        meta = orjson.dumps({"deleted": len(uris), "orderingId": int(operation.ordering)}).decode()
        logs.append(
            (operation.due, operation.place, "DELETE_OLDER_THAN", "COMPLETED", "INDEXING", "", meta, operation.seq)
        )
        self._database.log(logs)


def is_later(operation: Operation, stored: str, equal: str) -> bool:
    """Return whether an operation counts against what is stored (push-api.md 5.4).

    Ordering ids that the remote chose itself are its clock's: of two in one millisecond the later arrived
    later, so only an explicit one can be refused for being equal.
    """
    if operation.ordering != stored:
        return operation.ordering > stored
    return operation.assigned or equal == "accept"


def check_inline(content: str) -> None:
    """Refuse content that belongs into a file container (push-api.md 4.1)."""
    # Counting bytes is for texts that could be too large only.
    if len(content) > INLINE_BYTES // 4 and len(content.encode()) > INLINE_BYTES:
        raise Rejected(f"the content is larger than {INLINE_BYTES} bytes")


def check_uri(uri: str) -> None:
    """Refuse what the documents say is never indexed: no scheme, or a fragment (push-api.md 4.3)."""
    if not _SCHEME.match(uri):
        raise Rejected("the document id is not a URI with a scheme")
    if "#" in uri:
        raise Rejected("the document id has a fragment (#)")


def _permanentid(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:60]


_NO_META = "{}"


def _log(operation: Operation, verb: str, uri: str, error: Exception | None) -> LogRow:
    if error is None:
        result, task, meta = "COMPLETED", "INDEXING", _NO_META
    else:
        result, task = getattr(error, "result", "REJECTED"), getattr(error, "task", "VALIDATION")
        meta = orjson.dumps({"error": str(error)}).decode()
    return (operation.due, operation.place, verb, result, task, uri, meta, operation.seq)
