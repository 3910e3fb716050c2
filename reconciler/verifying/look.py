"""Asks the remote about many resources at once.

[io] One search for a hundred items; one request for each item's permissions and for each identity's
relations, eight at a time. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from reconciler.model.identity import Identity
from reconciler.problems import RemoteError
from reconciler.verifying.compare import SeenRelations
from reconciler.verifying.logs import Asked, Key, LogBook
from reconciler.verifying.refreshed import SeenCache
from reconciler.verifying.relations import GROUP_TYPES
from reconciler.verifying.seen import SeenIdentity, SeenItem, SeenModel, Who, read_identity, read_item, read_model

A = TypeVar("A")
B = TypeVar("B")
Document = dict[str, Any]

THREADS = 8
URIS = 100
LOG_ENTRIES = 100_000
"""How many log entries are read at most in one go: a busy source may have millions."""

# The query language cannot say these inside a value, so a search cannot ask for such a uri.
_UNSEARCHABLE = frozenset('"\\')
_NOT_FOUND = 404


class Reads(Protocol):
    """The read side of the remote (`pushapi.reader.Reader`)."""

    def find_items(
        self, source_id: str, uris: Iterable[str], *, fields: Sequence[str] = (), source_name: str | None = None
    ) -> dict[str, Document]: ...
    def source_items(self, source_id: str, *, source_name: str | None = None) -> Iterator[Document]: ...
    def source(self, source_id: str) -> Document: ...
    def item_permissions(self, uri: str) -> Document: ...
    def provider_members(self, provider_id: str) -> Iterator[Document]: ...
    def group_members(self, provider_id: str, group: Identity) -> Iterator[Document]: ...
    def identity_parents(self, provider_id: str, identity: Identity) -> Iterator[Document]: ...
    def logs(self, source_ids: Sequence[str], since: datetime, until: datetime) -> Iterator[Document]: ...


class Look:
    """Looks at the remote with a few threads; a context manager."""

    def __init__(self, reads: Reads, threads: int = THREADS) -> None:
        self._reads = reads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
        self._names: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def items(self, source_id: str, uris: Sequence[str], fields: Sequence[str] = ()) -> dict[str, SeenItem]:
        """Return those of these items that the index holds, with the values of `fields`."""
        name = self._source_name(source_id)
        chunks = [uris[start : start + URIS] for start in range(0, len(uris), URIS)]
        found: dict[str, SeenItem] = {}
        for documents in self._each(lambda chunk: self._search(source_id, name, chunk, fields), chunks):
            found.update((uri, read_item(uri, document, fields)) for uri, document in documents.items())
        odd = [uri for uri in uris if uri not in found and not _UNSEARCHABLE.isdisjoint(uri)]
        for uri, model in zip(odd, self._each(self._model, odd), strict=True):
            if model is not None:
                found[uri] = SeenItem(uri)
        return found

    def models(self, items: Mapping[str, SeenItem]) -> dict[str, SeenModel]:
        """Return the permission models of these items, by uri; without those that went meanwhile."""
        models = self._each(self._model, [item.handle for item in items.values()])
        return {uri: model for uri, model in zip(items, models, strict=True) if model is not None}

    def identities(self, provider_id: str, wanted: Collection[Who]) -> SeenCache:
        """Return those of the wanted identities that the cache lists, and how old it is.

        Reads no further than it must: all of it where one of them is not listed.
        """
        missing = set(wanted)
        cache = SeenCache()
        for document in self._reads.provider_members(provider_id):
            seen = read_identity(document, provider_id)
            if seen is None:
                continue
            cache.add(seen)
            if seen.who in missing:
                cache.identities[seen.who] = seen
                missing.discard(seen.who)
                if not missing:
                    break
        return cache

    def listing(self, source_id: str) -> Iterator[str]:
        """Yield the uri of every item of a source that a search shows; one that is pushed meanwhile may come twice."""
        for document in self._reads.source_items(source_id, source_name=self._source_name(source_id)):
            yield document["uri"]

    def documents(self, source_id: str) -> int | None:
        """Return how many items a source counts, which lags behind (push-api.md 2.6), None when it does not say."""
        information = self._reads.source(source_id).get("information")
        number = information.get("numberOfDocuments") if isinstance(information, dict) else None
        return number if isinstance(number, int) else None

    def held(self, uris: Sequence[str]) -> set[str]:
        """Return those of these uris that the index has permissions of, in whichever source; no search is asked."""
        models = self._each(self._model, uris)
        return {uri for uri, model in zip(uris, models, strict=True) if model is not None}

    def everybody(self, provider_id: str) -> SeenCache:
        """Return all identities that the cache lists of a provider, and how old it is."""
        cache = SeenCache()
        for document in self._reads.provider_members(provider_id):
            seen = read_identity(document, provider_id)
            if seen is not None:
                cache.add(seen)
                cache.identities.setdefault(seen.who, seen)
        return cache

    def relations(self, identities: Sequence[Identity], ref: Callable[[str], str]) -> list[SeenRelations]:
        """Return the neighbours of each identity, in the same order."""

        def one(identity: Identity) -> SeenRelations:
            provider = ref(identity.provider)
            parents = _seen(self._reads.identity_parents(provider, identity), provider)
            if identity.type not in GROUP_TYPES:
                return SeenRelations(parents=parents)
            return SeenRelations(_seen(self._reads.group_members(provider, identity), provider), parents)

        return self._each(one, identities)

    def log_book(self, asked: Mapping[Key, Asked], since: datetime, until: datetime) -> tuple[LogBook, bool]:
        """Return what the logs say of the pushes asked about, and whether they were read to their end."""
        book = LogBook(asked)
        entries = self._reads.logs(sorted({source for source, _ in asked}), since, until)
        for entry in islice(entries, LOG_ENTRIES):
            book.add(entry)
        return book, next(entries, None) is None

    def _each(self, function: Callable[[A], B], values: Sequence[A]) -> list[B]:
        return list(self._pool.map(function, values))

    def _source_name(self, source_id: str) -> str | None:
        # The field `source` holds the display name, so a search needs it.
        if source_id not in self._names:
            name = self._reads.source(source_id).get("name")
            self._names[source_id] = name if isinstance(name, str) and name else None
        return self._names[source_id]

    def _search(
        self, source_id: str, name: str | None, uris: Sequence[str], fields: Sequence[str]
    ) -> dict[str, Document]:
        try:
            return self._reads.find_items(source_id, uris, fields=("indexeddate", *fields), source_name=name)
        except RemoteError as error:
            # A reply with many long titles may have been cut: fewer of them fit.
            if len(uris) == 1 or error.problems[0].code != "bad-reply":
                raise
        half = len(uris) // 2
        first, second = (self._search(source_id, name, part, fields) for part in (uris[:half], uris[half:]))
        return first | second

    def _model(self, handle: str) -> SeenModel | None:
        try:
            return read_model(self._reads.item_permissions(handle))
        except RemoteError as error:
            if getattr(error, "status", None) == _NOT_FOUND:
                return None
            raise


def _seen(documents: Iterable[Document], provider: str) -> tuple[SeenIdentity, ...]:
    read = (read_identity(document, provider) for document in documents)
    return tuple(entry for entry in read if entry is not None)
