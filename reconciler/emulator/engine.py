"""Accepts operations and processes them later, in order: the remote's queue (push-api.md 5.1, 9).

A 202 only means that an operation was written down. Whoever reads calls `settle` first, so that what is due
has been processed by then; no timer is needed, and a clock that jumps makes everything due at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import orjson

from reconciler.emulator import batchfile, query
from reconciler.emulator.clock import Clock, Pauses
from reconciler.emulator.containers import Containers, NoContent
from reconciler.emulator.database import Database, Operation, ordering_text
from reconciler.emulator.faults import Faults, rejected
from reconciler.emulator.fields import FieldTable
from reconciler.emulator.identities import IdentityTable
from reconciler.emulator.index import Entry, Indexer, Rejected
from reconciler.emulator.options import Doubts, EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.providers import Model, ProviderTable, options_of
from reconciler.emulator.quotas import Meter
from reconciler.emulator.requestlog import RequestLog
from reconciler.emulator.streams import CATALOG_ITEM_BYTES, Changes, Streams
from reconciler.emulator.wire import FILE_KEY, BadJson, Identity, ItemBody, folded, read_identity_body, read_item, text

_CHUNK = 1000
_LOG_SECONDS = 14 * 24 * 3600
_trouble = logging.getLogger(__name__)


class Engine:
    """One emulated remote: what it holds, what waits, and the rules between."""

    def __init__(self, options: EmulatorOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.database = Database(options.data_dir)
        query.install(self.database.connection)
        self.containers = Containers(options, self.database, self.clock)
        self.identities = IdentityTable(options, self.database)
        self._provider_table = ProviderTable(options, self.database)
        self.fields = FieldTable(options, self.database)
        self.indexer = Indexer(options, self.database, self.containers, self.identities, self.fields)
        self.items = self.indexer.items
        self.streams = Streams(self.database)
        self._changes = Changes(options.doubts, self.indexer, self.streams, self._log)
        self.accepted = Accepted(0, 0)
        self.requests = RequestLog(options.request_log_entries, options.request_log_bytes)
        self.meter = Meter(options.limits, self.clock)
        self.faults = Faults(options.faults, options.fault_seed)
        self.pauses = Pauses()
        self._lock = asyncio.Lock()
        self._source_names: dict[tuple[str, str], tuple[int, SourceOptions]] = {}
        self._provider_names: dict[tuple[str, str], int] = {}
        self._sources: dict[int, SourceOptions] = {}
        self._providers: dict[int, ProviderOptions] = {}
        self._place_all()
        self._run: dict[str, Callable[[Operation], Iterator[None]]] = {
            "item.put": self._item_put,
            "item.delete": self._item_delete,
            "item.batch": self._item_batch,
            "item.olderthan": self._item_older,
            "stream.load": self._stream_load,
            "stream.update": self._item_batch,
            "stream.merge": self._item_batch,
            "watermark": self._watermark,
            "identity.put": self._identity_put,
            "identity.map": self._identity_put,
            "identity.delete": self._identity_put,
            "identity.batch": self._identity_batch,
            "identity.olderthan": self._identity_older,
            "identity.refresh": self._identity_refresh,
        }

    def close(self) -> None:
        self.database.close()

    def reset(self) -> None:
        """Forget everything that was pushed and asked; faults and counts are as at the start."""
        self.database.clear()
        self._place_all()
        self.fields.forget()
        self.requests.clear()
        self.meter.forget()
        self.faults.set(self.options.faults, self.options.fault_seed)

    # Places

    def _place_all(self) -> None:
        """Number the sources and the providers as the options and the calls so far have them."""
        self._provider_names.clear()
        self._providers.clear()
        for organization in self.options.organizations:
            linked = self._provider_table.linked(organization)
            for source in self.options.source_table.values():
                place = self.database.place(organization, "source", source.id)
                source = source._replace(provider=source.provider or linked.get(source.id))
                self._source_names[organization, source.id] = (place, source)
                self._sources[place] = source
            providers = list(map(options_of, self._provider_table.models(organization).values()))
            for provider in providers:
                self._add_provider(organization, provider)
            self.identities.know(organization, providers)

    def _add_provider(self, organization: str, provider: ProviderOptions) -> int:
        place = self.identities.place(organization, provider.id)
        self._provider_names[organization, provider.id] = place
        self._providers[place] = provider
        return place

    def provider_models(self, organization: str) -> list[tuple[int, Model]]:
        """Return the number and the model of each provider of an organization."""
        models = self._provider_table.models(organization)
        return [(self._provider_names[organization, name], model) for name, model in models.items()]

    def put_provider(self, organization: str, model: Model) -> None:
        """Create a provider, or give one other settings; identities that then are one become one."""
        with self.database.transaction():
            self._provider_table.put(organization, model)
            self._place_all()
            self.identities.respell(self._provider_names[organization, model["id"]], model["id"])
        self.indexer.forget()

    def delete_provider(self, organization: str, name: str) -> None:
        """Delete a provider with all its identities."""
        with self.database.transaction():
            self._provider_table.delete(organization, name)
            self.identities.drop(self._provider_names[organization, name])
            self._place_all()
        self.indexer.forget()

    def source(self, organization: str, source: str) -> tuple[int, SourceOptions] | None:
        """Return the number and the options of a source."""
        return self._source_names.get((organization, source))

    def sources(self, organization: str) -> list[tuple[int, SourceOptions]]:
        return [found for key, found in self._source_names.items() if key[0] == organization]

    def provider(self, organization: str, provider: str) -> int | None:
        """Return the number of a provider, None when the organization has none of that name."""
        place = self._provider_names.get((organization, provider))
        if place is None:
            if self.options.doubts.unknown_provider == "refuse":
                return None
            place = self._add_provider(organization, ProviderOptions(provider))
        return place

    def providers(self, organization: str) -> list[tuple[int, ProviderOptions]]:
        return [
            (place, self._providers[place])
            for (owner, _), place in self._provider_names.items()
            if owner == organization
        ]

    # Accepting

    def accept(
        self,
        kind: str,
        place: int,
        detail: dict[str, Any],
        *,
        body: bytes | None = None,
        ordering: int | None = None,
        wait: float = 0.0,
    ) -> None:
        """Write an operation down as the `accepted` one; it is due after the emulator's delay and `wait` seconds."""
        now = self.clock.now()
        number = ordering_text(int(now * 1000) if ordering is None else ordering)
        due = now + self.options.delay
        if (
            wait
            and kind.endswith(".olderthan")
            and self.options.doubts.watermark == "immediate"
            and rejected(detail, "") is None
        ):
            self.database.enqueue("watermark", place, number, False, now, due, {})
        seq = self.database.enqueue(kind, place, number, ordering is None, now, due + wait, detail, body)
        self.accepted = Accepted(int(number), seq)

    # Processing

    async def settle(self, until: float | None = None) -> None:
        """Process what is due now (or at `until`), letting other requests in between."""
        async with self._lock:
            for _ in self.steps(until):
                await asyncio.sleep(0)

    def steps(self, until: float | None = None) -> Iterator[None]:
        """Process what is due, in transactions of bounded size; yields after each of them."""
        now = self.clock.now() if until is None else until
        scheduled = self._scheduled(min(now, self.clock.now()))
        if scheduled is not None:
            # What is due after it waits for the next one.
            yield from self._process_due(scheduled)
            with self.database.transaction():
                for place, provider in self._providers.items():
                    if self.identities.refreshed(place) < scheduled:
                        self.identities.refresh(place, provider.id, scheduled)
        yield from self._process_due(now)
        self.containers.purge(self._pending_files)

    def _scheduled(self, now: float) -> float | None:
        """Return the time of the last refresh that the schedule asks for, None when nobody waits for it.

        Refreshes before that one leave no trace behind it, so they are left out.
        """
        every = self.options.refresh_every
        if not every:
            return None
        due = now - now % every
        return due if any(self.identities.refreshed(place) < due for place in self._providers) else None

    def _process_due(self, now: float) -> Iterator[None]:
        while operations := self.database.due(now, _CHUNK):
            for small, group in groupby(operations, _is_small):
                if small:
                    with self.database.transaction():
                        for operation in group:
                            deque(self._process(operation), maxlen=0)
                else:
                    for operation in group:
                        yield from self._process(operation)
            self.database.prune_logs(self.clock.now() - _LOG_SECONDS)
            yield

    def _process(self, operation: Operation) -> Iterator[None]:
        try:
            run = self._run[operation.kind]
            reason = rejected(operation.detail, "") if operation.kind.endswith(".olderthan") else None
            if reason is not None:
                self._reject(operation, reason)
            elif operation.place in self._sources or operation.place in self._providers:
                yield from run(operation)
            if operation.kind.startswith("identity."):
                self.identities.followed(operation.place, operation.due)
        except Exception as error:
            # One operation that we cannot process must not stop all later ones.
            _trouble.exception("operation %s could not be processed", operation.seq)
            self._log(operation, _verb(operation), "ERROR", "PROCESSING", {"error": str(error)[:500]})
        self.database.processed(operation)

    def _pending_files(self) -> set[str]:
        rows = self.database.connection.execute("SELECT detail FROM queue")
        details = [orjson.loads(row[0]) for row in rows]
        named = {file for detail in details for file in (detail.get("fileId"), *detail.get("files", ())) if file}
        return named | self.streams.held()

    def _reject(self, operation: Operation, reason: str, uri: str | None = None, verb: str | None = None) -> None:
        self._log(operation, verb or _verb(operation), "REJECTED", "VALIDATION", {"error": reason}, uri)

    def _log(
        self, operation: Operation, verb: str, result: str, task: str, meta: dict[str, Any], uri: str | None = None
    ) -> None:
        entry = (
            operation.due,
            operation.place,
            verb,
            result,
            task,
            str(uri or operation.detail.get("documentId") or operation.detail.get("fileId") or ""),
            orjson.dumps(meta).decode(),
            operation.seq,
        )
        self.database.log([entry])

    def _consumed(self, operation: Operation, file: str) -> None:
        self.containers.consumed(self.database.owner(operation.place), file)

    # Items

    def _item_put(self, operation: Operation) -> Iterator[None]:
        detail = operation.detail
        source = self._sources[operation.place]
        sent = operation.body or b""
        body: ItemBody | Rejected = read_item(orjson.loads(sent), self.options.doubts, self._dictionaries(operation))
        if len(sent) > self._item_bytes(source):
            body = _too_large()
        entry = _spoiled(operation, Entry(detail["documentId"], body, detail["compressionType"]))
        with self.database.transaction():
            self.indexer.put(operation, source, [entry], set())
        if detail["fileId"]:
            self._consumed(operation, detail["fileId"])
        yield from ()

    def _item_delete(self, operation: Operation) -> Iterator[None]:
        entry = (operation.detail["documentId"], operation.detail["deleteChildren"])
        if reason := rejected(operation.detail, entry[0]):
            self._reject(operation, reason)
            return
        with self.database.transaction():
            self.indexer.delete(operation, [entry], set())
        yield from ()

    def _item_older(self, operation: Operation) -> Iterator[None]:
        with self.database.transaction():
            self.indexer.delete_older_than(operation)
        yield from ()

    def _watermark(self, operation: Operation) -> Iterator[None]:
        self.database.raise_watermark(operation.place, operation.ordering)
        yield from ()

    def _dictionaries(self, operation: Operation) -> frozenset[str]:
        return self.fields.dictionaries(self.database.owner(operation.place))

    def _item_bytes(self, source: SourceOptions) -> float:
        """Return what an item of a source may come to (push-api.md 4.1)."""
        limited = source.kind == "catalog" or self.options.doubts.item_bytes == "all"
        return CATALOG_ITEM_BYTES if limited else float("inf")

    def _entries(self, operation: Operation, raws: list[msgspec.Raw], start: int) -> list[Entry]:
        """Return a slice of `addOrUpdate` as it is to be indexed."""
        doubts, dictionaries = self.options.doubts, self._dictionaries(operation)
        most = self._item_bytes(self._sources[operation.place])
        entries = [
            _spoiled(operation, _entry(raw, rank, doubts, dictionaries, most)) for rank, raw in _slice(raws, start)
        ]
        return self._changes.merged(operation.place, entries) if operation.kind == "stream.merge" else entries

    def _item_batch(self, operation: Operation) -> Iterator[None]:
        names = batchfile.UPDATE_LISTS if operation.kind == "stream.update" else batchfile.ITEM_LISTS
        lists = self._batch_lists(operation, names)
        if lists is None:
            return
        source, touched, files = self._sources[operation.place], set[str](), set[str]()
        if operation.position:
            # A restart came between; what was written before it does not stand against what is left.
            touched = self.items.written(operation.place, operation.ordering, operation.due)
        written, deleted, changed = lists["addorupdate"], lists["delete"], lists.get("partialupdate", [])
        before = len(written) + len(deleted)
        deletes_first = self.options.doubts.batch_order == "deletes first"
        for start in range(operation.position, before + len(changed), _CHUNK):
            with self.database.transaction():
                if deletes_first:
                    self._delete_entries(operation, _part(deleted, start), touched)
                entries = self._entries(operation, written, start - len(deleted) * deletes_first)
                files.update(_files(entries))
                self.indexer.put(operation, source, entries, touched)
                if not deletes_first:
                    self._delete_entries(operation, _part(deleted, start - len(written)), touched)
                if partial := _part(changed, start - before):
                    self._changes.partial(operation, source, partial, touched)
                self.database.processed_up_to(operation, start + _CHUNK)
            yield
        for file in files:
            self._consumed(operation, file)
        counts = {"addOrUpdate": len(written), "delete": len(deleted)}
        self._finish_batch(operation, {**counts, "partialUpdate": len(changed)} if changed else counts)

    def _stream_load(self, operation: Operation) -> Iterator[None]:
        """Replace a source's content by that of a stream (push-api.md 2.5).

        What was written is written again when a restart comes between, so that what is absent stays known.
        """
        source, touched, refused = self._sources[operation.place], set[str](), set[str]()
        files = list(operation.detail["files"])
        whole, count = bool(files), 0
        for file in files:
            lists = self._batch_lists(operation, batchfile.ITEM_LISTS, file)
            if lists is None:
                whole = False
                continue
            for start in range(0, len(lists["addorupdate"]), _CHUNK):
                with self.database.transaction():
                    entries = self._entries(operation, lists["addorupdate"], start)
                    self.indexer.put(operation, source, entries, touched)
                    refused.update(entry.uri for entry in entries)
                yield
            count += len(lists["addorupdate"])
        doubts = self.options.doubts
        if whole or doubts.incomplete_load == "remove":
            kept = touched | refused if doubts.rejected_in_load == "keep" else touched
            with self.database.transaction():
                self._changes.remove_absent(operation, kept)
        self.streams.mark_loaded(operation.place, operation.detail["streamId"])
        for file in files:
            self._consumed(operation, file)
        result = "COMPLETED" if whole else "ERROR"
        meta = {"addOrUpdate": count} if whole else {"error": "The stream has no content, or a chunk without it."}
        self._log(operation, "BATCH_FILE", result, "STREAMING_BATCH", meta)

    def _delete_entries(self, operation: Operation, raws: list[msgspec.Raw], touched: set[str]) -> None:
        entries = []
        for raw in raws:
            try:
                keys = folded(batchfile.value(raw), "An entry of 'delete'")
                uri = text(keys, "documentid")
                if not uri:
                    raise BadJson("'documentId' is missing.")
            except BadJson as error:
                self._log(operation, "DELETE", "REJECTED", "VALIDATION", {"error": str(error)})
                continue
            if reason := rejected(operation.detail, uri):
                self._reject(operation, reason, uri, "DELETE")
            else:
                entries.append((uri, keys.get("deletechildren") is True))
        if entries:
            self.indexer.delete(operation, entries, touched)

    def _batch_lists(
        self, operation: Operation, names: tuple[str, ...], chunk: str | None = None
    ) -> dict[str, list[msgspec.Raw]] | None:
        """Return the lists of an operation's file, or of one chunk of a stream; None when it cannot be read."""
        file: str = chunk or operation.detail["fileId"]
        try:
            path = self.containers.ready(self.database.owner(operation.place), file, operation.accepted)
            return dict(batchfile.read_lists(path, names))
        except NoContent as trouble:
            error = str(trouble)
        except (BadJson, OSError) as trouble:
            error = f"Invalid JSON. {trouble}"
        self._log(operation, "BATCH_FILE", "ERROR", _batch_task(operation), {"error": error}, file)
        self._consumed(operation, file)
        return None

    def _finish_batch(self, operation: Operation, counts: dict[str, int]) -> None:
        self._consumed(operation, operation.detail["fileId"])
        self._log(operation, "BATCH_FILE", "COMPLETED", _batch_task(operation), dict(counts))

    # Identities

    def _identity_put(self, operation: Operation) -> Iterator[None]:
        with self.database.transaction():
            self._change_identity(operation, operation.kind, orjson.loads(operation.body or b""))
        yield from ()

    def _change_identity(self, operation: Operation, kind: str, value: Any) -> None:
        provider = self._providers[operation.place].id
        try:
            body = read_identity_body(value)
            if reason := rejected(operation.detail, body.identity.name):
                refused: str | None = reason
            elif kind == "identity.delete":
                refused = self.identities.disable(operation, provider, body.identity)
            else:
                refused = self.identities.put(operation, provider, body, kind == "identity.map")
        except BadJson as error:
            refused = str(error)
        if refused:
            verb = "DELETE" if kind == "identity.delete" else "UPDATE"
            self._log(operation, verb, "REJECTED", "VALIDATION", {"error": refused, "provider": provider})

    def _identity_batch(self, operation: Operation) -> Iterator[None]:
        lists = self._batch_lists(operation, batchfile.IDENTITY_LISTS)
        if lists is None:
            return
        kinds = {"members": "identity.put", "mappings": "identity.map", "deleted": "identity.delete"}
        entries = [(kinds[name], raw) for name in batchfile.IDENTITY_LISTS for raw in lists[name]]
        for start in range(operation.position, len(entries), _CHUNK):
            with self.database.transaction():
                for kind, raw in entries[start : start + _CHUNK]:
                    try:
                        value = batchfile.value(raw)
                    except BadJson as error:
                        value = error
                    self._change_identity(operation, kind, value)
                self.database.processed_up_to(operation, start + _CHUNK)
            yield
        self._finish_batch(operation, {name: len(lists[name]) for name in batchfile.IDENTITY_LISTS})

    def _identity_older(self, operation: Operation) -> Iterator[None]:
        with self.database.transaction():
            count = self.identities.disable_older_than(operation)
        self._log(operation, "DELETE_OLDER_THAN", "COMPLETED", "PROCESSING", {"disabled": count})
        yield from ()

    def _identity_refresh(self, operation: Operation) -> Iterator[None]:
        provider, named = self._providers[operation.place].id, operation.detail.get("identity")
        identity = None if named is None else Identity(named[0], named[1], tuple(map(tuple, named[2])))
        with self.database.transaction():
            self.identities.refresh(operation.place, provider, operation.due, identity)
        yield from ()

    def cancel_refresh(self, place: int) -> None:
        """Forget the refreshes of a provider that have not happened yet."""
        with self.database.transaction():
            self.database.withdraw("identity.refresh", place)


class Accepted(NamedTuple):
    """What the remote calls an accepted operation: its ordering id and its number."""

    ordering: int
    number: int


def _batch_task(operation: Operation) -> str:
    return "STREAMING_BATCH" if operation.kind.startswith("stream.") else "CONSUMING_BATCH"


def _part(raws: list[msgspec.Raw], start: int) -> list[msgspec.Raw]:
    """Return the part of a later list that belongs to a slice of all lists, `start` entries after its beginning."""
    return raws[max(0, start) : max(0, start + _CHUNK)]


def _too_large() -> Rejected:
    return Rejected(f"the item is larger than {CATALOG_ITEM_BYTES} bytes")


def _is_small(operation: Operation) -> bool:
    """Return whether an operation may share a transaction with others: it concerns one item and no file."""
    return operation.kind in ("item.put", "item.delete") and not operation.detail.get("fileId")


def _verb(operation: Operation) -> str:
    if operation.kind.endswith(".batch") or operation.kind.startswith("stream."):
        return "BATCH_FILE"
    if operation.kind.endswith(".olderthan"):
        return "DELETE_OLDER_THAN"
    return "DELETE" if operation.kind.endswith(".delete") else "UPDATE"


def _spoiled(operation: Operation, entry: Entry) -> Entry:
    """Return the entry, or what a fault makes of it."""
    reason = rejected(operation.detail, entry.uri)
    return entry if reason is None else Entry(entry.uri, Rejected(reason), None)


def _slice(raws: list[msgspec.Raw], start: int) -> Iterator[tuple[int, msgspec.Raw]]:
    return enumerate(_part(raws, start), max(0, start))


def _entry(raw: msgspec.Raw, rank: int, doubts: Doubts, dictionaries: frozenset[str], most: float) -> Entry:
    """Return an entry of `addOrUpdate`; one that cannot be read carries the reason."""
    name, value = f"addOrUpdate[{rank}]", None
    try:
        value = batchfile.value(raw)
        if memoryview(raw).nbytes > most:
            return Entry(_name(value) or name, _too_large(), None)
        body = read_item(value, doubts, dictionaries)
    except BadJson as error:
        return Entry(_name(value) or name, Rejected(str(error)), None)
    if not body.document_id:
        return Entry(name, Rejected("'documentId' is missing."), None)
    return Entry(body.document_id, body, body.compression)


def _name(value: Any) -> str | None:
    """Return the uri of an entry that cannot be read otherwise."""
    try:
        return text(folded(value, "An entry"), "documentid")
    except BadJson:
        return None


def _files(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry.body, ItemBody) and entry.body.content_key == FILE_KEY:
            yield entry.body.content
