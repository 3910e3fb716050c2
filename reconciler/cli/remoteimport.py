"""Reads sources and providers of a live remote, for manifests that say what is there.

Items come in pages, and of each nothing stays but its entry. What the read side does not show is told in notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.cli.remoteworld import THREADS, Tell, progress, refused, status_of
from reconciler.cli.session import Session
from reconciler.importing.documents import Gathered
from reconciler.importing.live import live_alias, live_group, live_item, live_user, metadata_fields
from reconciler.manifest.project import Provider, Source
from reconciler.model.identity import parse_identity
from reconciler.problems import RemoteError
from reconciler.verifying.observed import (
    OUT_OF_DATE,
    Entry,
    ObservedModel,
    is_group,
    observed_entry,
    observed_model,
    provider_name,
)
from reconciler.verifying.seen import DISABLED, UP_TO_DATE

if TYPE_CHECKING:
    from reconciler.pushapi.reader import Document, Reader

A = TypeVar("A")
B = TypeVar("B")

_PAGE = 100
_NOT_FOUND = 404
_SECTIONS = {"group": "groups", "virtual-group": "virtualGroups", "user": "users"}


@dataclass(slots=True)
class Shown:
    """What the remote showed. `unpushed` are addresses of groups that are named there and were never pushed."""

    gathered: Gathered = field(default_factory=Gathered)
    unpushed: set[str] = field(default_factory=set)


def read_remote(session: Session, sources: Sequence[Source], providers: Sequence[Provider]) -> Shown:
    """Return what the remote shows of these sources and providers. Raises RemoteError where it refuses to."""
    from reconciler.cli.remote import connect

    with (
        connect(session) as remote,
        remote.reader(session.project.environment.organization) as reader,
        progress() as tell,
        ThreadPoolExecutor(THREADS, thread_name_prefix="import") as pool,
    ):
        reading = _Reading(session, reader, pool, tell)
        for source in sources:
            reading.source(source)
        for provider in providers:
            reading.provider(provider)
        return reading.shown


class _Reading:
    def __init__(self, session: Session, reader: Reader, pool: ThreadPoolExecutor, tell: Tell) -> None:
        self._reader = reader
        self._pool = pool
        self._tell = tell
        self._ids = {provider.name: provider.id for provider in session.project.providers}
        self._name = provider_name({id_: name for name, id_ in self._ids.items()})
        self._fields: dict[str, str] | None = None
        self._groups: set[str] = set()
        self.shown = Shown()

    # Items

    def source(self, source: Source) -> None:
        """Read every item of a source."""
        with refused("Sources - View"):
            summary = self._reader.source(source.id)
        shown = summary.get("name")
        name = shown if isinstance(shown, str) and shown else None
        if self._fields is None:
            with refused("Fields - View"):
                self._fields = metadata_fields(self._reader.fields())
        done = 0
        with refused("Search - Execute queries, and Search - View all content"):
            for part in _paged(self._reader.source_items(source.id, source_name=name)):
                self._tell(f"reading items of {source.name}", done, None)
                self._items(source, name, part)
                done += len(part)
        self._note(done, "items whose body, file extension and metadata without a field cannot be read back")

    def _items(self, source: Source, name: str | None, documents: Sequence[Document]) -> None:
        assert self._fields is not None
        uris = [document["uri"] for document in documents]
        # A digest is no metadata of anybody: it follows from the item.
        fields = {key: kind for key, kind in self._fields.items() if key != source.digest_field}
        whole = self._reader.find_items(source.id, uris, fields=tuple(fields), source_name=name)
        models = self._each(lambda document: self._model(source, document), documents)
        for document, model in zip(documents, models, strict=True):
            if model is None:
                self._note(1, "items that went while the source was read")
                continue
            found = whole.get(document["uri"], document)
            if found is document:
                self._note(1, "items whose metadata a search cannot ask for, for the characters of their uris")
            entry = live_item(found, fields, model.model, source.provider)
            self.shown.gathered.items[source.name, document["uri"]] = entry
            self._groups.update(entry.identity for entry in model.entries if is_group(entry.identity))

    def _model(self, source: Source, document: Document) -> ObservedModel | None:
        if source.visibility == "shared":
            return ObservedModel(None, "", ())
        handle = document.get("uniqueId") or document["uri"]
        with refused("Organization - View and Security cache - View"):
            try:
                shown = self._reader.item_permissions(handle)
            except RemoteError as error:
                if status_of(error) == _NOT_FOUND:
                    return None
                raise
        return observed_model(shown, self._ids.get(source.provider or "", ""), self._name)

    # Identities

    def provider(self, provider: Provider) -> None:
        """Read every identity of a provider, and the groups that items of the sources named in it."""
        known: dict[str, Entry] = {}
        with refused("Security identity providers - View or Security cache - View"):
            for number, document in enumerate(self._reader.provider_members(provider.id)):
                entry = observed_entry(document, provider.id, self._name)
                if entry is not None and entry.identity.split("/", 2)[1] == provider.name:
                    known[entry.identity] = entry
                if number % _PAGE == 0:
                    self._tell(f"listing identities of {provider.name}", number, None)
            identities = sorted(name for name, entry in known.items() if entry.state != DISABLED)
            for start in range(0, len(identities), _PAGE):
                self._tell(f"reading identities of {provider.name}", start, len(identities))
                part = identities[start : start + _PAGE]
                for identity, related in zip(part, self._each(self._related, part), strict=True):
                    self._identity(provider, identity, known[identity], related)
        self._unpushed(provider)

    def _related(self, identity: str) -> list[str]:
        """Return a group's members, or the groups and aliases of anything else."""
        parsed = parse_identity(identity)
        provider = self._ids[parsed.provider]
        ask = self._reader.group_members if is_group(identity) else self._reader.identity_parents
        found = (observed_entry(document, provider, self._name) for document in ask(provider, parsed))
        return [entry.identity for entry in found if entry is not None and entry.state != DISABLED]

    def _identity(self, provider: Provider, identity: str, entry: Entry, related: Iterable[str]) -> None:
        pushed = entry.state in (UP_TO_DATE, OUT_OF_DATE)
        kind = identity.partition("/")[0]
        home = [other for other in related if other.split("/", 2)[1] == provider.name]
        if is_group(identity):
            self._groups.update(other for other in home if is_group(other))
            elsewhere = sum(other.split("/", 2)[1] != provider.name for other in related)
            self._note(elsewhere, "members of groups that are of another provider, as an alias of the group makes them")
            if pushed:
                self._put(_SECTIONS[kind], provider, identity, live_group(identity, home))
            return
        if kind == "user" and pushed:
            self._put("users", provider, identity, live_user(identity))
        targets = [other for other in related if not is_group(other) and other.split("/", 2)[1] != provider.name]
        if targets:
            self._put("aliases", provider, identity, live_alias(identity, targets))

    def _unpushed(self, provider: Provider) -> None:
        """Declare the groups that are named and that nobody pushed: a manifest may name no other."""
        for identity in sorted(self._groups):
            kind, where, _ = identity.split("/", 2)
            if where == provider.name and (_SECTIONS[kind], where, identity) not in self.shown.gathered.identities:
                self._put(_SECTIONS[kind], provider, identity, live_group(identity, ()))
                self.shown.unpushed.add(identity)
                self._note(1, "groups that are named and were never pushed, so the next plan creates them empty")

    def _put(self, section: str, provider: Provider, identity: str, entry: dict[str, Any]) -> None:
        self.shown.gathered.identities[section, provider.name, identity] = entry

    def _note(self, number: int, text: str) -> None:
        self.shown.gathered.notes[text] += number

    def _each(self, function: Callable[[A], B], values: Sequence[A]) -> list[B]:
        return list(self._pool.map(function, values))


def _paged(documents: Iterable[Document]) -> Iterator[list[Document]]:
    waiting = iter(documents)
    while part := list(islice(waiting, _PAGE)):
        yield part
