"""Looks once at everything that is recorded, or desired, and at what else the remote holds.

[io] It asks the remote through `look`; what is drift is decided in `drift`. It yields how far it is and writes
nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from reconciler.calls.context import WireContext
from reconciler.model.address import Address, Kind
from reconciler.model.digestfield import digest_key
from reconciler.model.identity import Identity
from reconciler.model.states import Target
from reconciler.planning.fields import Fields
from reconciler.state.rows import RecordedRow
from reconciler.verifying.compare import judge_deleted_identity, judge_deleted_item
from reconciler.verifying.drift import (
    DRIFT,
    Drift,
    DriftReport,
    Exactness,
    Foreign,
    Known,
    Standing,
    Times,
    Unseen,
    count_unseen,
    deleted,
    identity_drift,
    item_drift,
    settled,
)
from reconciler.verifying.events import Looked, Started
from reconciler.verifying.look import Look
from reconciler.verifying.refreshed import SeenCache, in_time
from reconciler.verifying.relations import Relations, declared, identity_of, subject_of
from reconciler.verifying.seen import DISABLED, NOT_UPDATED, RecordedModels, Who

PAGE = 1000
EXAMPLES = 100
_ITEM = f"{Kind.ITEM.value}/"
_HEALTHY = ("", "VALID")
_ABSENT = (DISABLED, NOT_UPDATED)

T = TypeVar("T")
Rows = Callable[[Iterable[str] | None], Iterator[RecordedRow]]
"""Yields rows sorted by address: of these addresses, or all."""
ReadFields = Callable[[Collection[str]], tuple[Fields | None, str]]
"""From sources, by name, to the organization's fields; or None, and perhaps a note why they are not known."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to compare, and what is known besides.

    `rows` are those that the remote is held against, and `chosen` says which of them. `target` is the remote that the
    last calls went to, with the names that were known then. `deletions` have the time they
    were sent at. `doubtful` are addresses whose last call has an unknown outcome, `unapplied` those that the
    manifests have otherwise than the state, `removed` those that the state alone has. Of `sources` and `providers`
    (the project's names) everything that they hold is listed, and what nobody asked for is told; `exclusive` are
    those of them that nobody else feeds.
    """

    rows: Rows
    chosen: Callable[[str], bool]
    times: Times
    target: Target | None = None
    deletions: Mapping[Address, int] = field(default_factory=dict)
    doubtful: Collection[str] = frozenset()
    unapplied: Collection[str] = frozenset()
    removed: Collection[str] = frozenset()
    sources: Sequence[str] = ()
    providers: Sequence[str] = ()
    exclusive: Collection[tuple[str, str]] = frozenset()


def find_drift(
    question: Question, *, look: Look, context: WireContext, fields: ReadFields
) -> Iterator[Started | Looked | DriftReport]:
    """Compare, and say how far it is; the last event is the report.

    Raises RemoteError when the remote cannot be read.
    """
    work = _Work(question, look, context)
    work.survey()
    work.read(fields)
    yield Started(len(work.addresses) + len(work.gone))
    yield from work.compare()
    work.list_foreign()
    work.look_behind()
    yield work.report()


@dataclass(slots=True)
class _Work:
    question: Question
    look: Look
    context: WireContext
    known: Known = field(init=False)
    relations: Relations = field(init=False)
    addresses: list[str] = field(default_factory=list)
    gone: dict[Address, int] = field(default_factory=dict)
    subjects: dict[str, set[Who]] = field(default_factory=dict)
    named: set[Who] = field(default_factory=set)
    keys: dict[str, set[str]] = field(default_factory=dict)
    caches: dict[str, SeenCache] = field(default_factory=dict)
    checked: Counter[Kind] = field(default_factory=Counter)
    drifts: dict[Address, Drift] = field(default_factory=dict)
    foreign: list[Foreign] = field(default_factory=list)
    unseen: Unseen = field(default_factory=Unseen)
    notes: list[str] = field(default_factory=list)
    exactness: dict[tuple[str, str], Exactness] = field(default_factory=dict)  # by source and key
    _models: RecordedModels = field(default_factory=RecordedModels)
    _shown: dict[str, int] = field(default_factory=dict)

    # -- what there is to compare --------------------------------------------------------------

    def survey(self) -> None:
        """Go once over all rows: what is chosen, who is named, which metadata keys are in use."""
        for row in self.question.rows(None):
            if row.address.kind is Kind.ITEM:
                own = row.resource.own()
                keys = self.keys.setdefault(row.address.scope, set())
                keys.update(own.get("metadata", {}))
                if (digest := digest_key(own)) is not None:
                    keys.add(digest)
                if row.shared and self.question.providers:
                    self._name_levels(row)
            if self.question.chosen(row.address):
                self.addresses.append(str(row.address))
                self._note_subject(row.address)
        self.gone = {
            address: sent for address, sent in self.question.deletions.items() if self.question.chosen(address)
        }
        for address in self.gone:
            self._note_subject(address)

    def read(self, fields: ReadFields) -> None:
        """Read what is needed to compare anything: fields, relations that are recorded, and identities."""
        known, note = fields({address.split("/", 2)[1] for address in self.addresses if address.startswith(_ITEM)})
        self.known = Known(known, self.keys)
        self.notes += [note] * bool(note)
        self.relations = Relations({who for whos in self.subjects.values() for who in whos})
        if self.subjects or self.question.providers:
            ref = self.context.provider_ref
            self.relations.add(self._naming(self.question.rows(None)), ref)
        wholly = {self.context.provider_id(name) for name in self.question.providers}
        for provider in sorted(wholly | self.subjects.keys()):
            whos = self.subjects.get(provider, set())
            here = provider in wholly
            self.caches[provider] = self.look.everybody(provider) if here else self.look.identities(provider, whos)

    def _note_subject(self, address: Address) -> None:
        if address.kind is not Kind.ITEM:
            provider = self.context.provider_id(address.scope)
            self.subjects.setdefault(provider, set()).add(subject_of(address, self.context.provider_ref))

    def _naming(self, rows: Iterable[RecordedRow]) -> Iterator[RecordedRow]:
        """Yield the rows, taking note of everybody whom identities name."""
        for row in rows:
            if row.address.kind is not Kind.ITEM:
                self.named.add(subject_of(row.address, self.context.provider_ref))
                for whos in declared(row, self.context.provider_ref):
                    self.named |= whos
            yield row

    def _name_levels(self, row: RecordedRow) -> None:
        if row.shared not in self._models:
            for level in self._models.levels_of(row.shared, self.context.provider_ref):
                for entry in level:
                    self.named |= entry.allowed | entry.denied

    # -- comparing -----------------------------------------------------------------------------

    def compare(self) -> Iterator[Looked]:
        """Look at every chosen resource, and at what was deleted."""
        done = 0
        for addresses in _pages(self.addresses):
            page = list(self.question.rows(addresses))
            for kind, number in Counter(row.address.kind for row in page).items():
                self.checked[kind] += number
            self._items([row for row in page if row.address.kind is Kind.ITEM])
            self._identities([row for row in page if row.address.kind is not Kind.ITEM])
            done += len(addresses)
            yield Looked(done)
        for gone in _pages(sorted(self.gone)):
            self._deleted(gone)
            done += len(gone)
            yield Looked(done)

    def _items(self, rows: Sequence[RecordedRow]) -> None:
        for source in sorted({row.address.scope for row in rows}):
            here = [row for row in rows if row.address.scope == source]
            uris = [row.address.name for row in here]
            seen = self.look.items(self.context.source(source).id, uris, self.known.names(source))
            guarded = {row.address.name for row in here if row.shared}
            models = self.look.models({uri: item for uri, item in seen.items() if uri in guarded})
            for row in here:
                uri = row.address.name
                recorded = self._models.levels_of(row.shared, self.context.provider_ref) if row.shared else None
                # Gone between two requests: it is absent.
                found = None if recorded is not None and uri not in models else seen.get(uri)
                model = models.get(uri)
                if found is not None:
                    count_unseen(self.unseen, row, found, self.known.fields)
                    self.known.note_exact(row, found, self.exactness)
                drift = item_drift(row, found, model, recorded, self.known)
                if drift is None:
                    self.unseen.unhealthy += model is not None and model.state not in _HEALTHY
                else:
                    self._take(drift, row)

    def _identities(self, rows: Sequence[RecordedRow]) -> None:
        ref = self.context.provider_ref
        near = self.look.relations([identity_of(row.address) for row in rows], ref)
        for row, neighbours in zip(rows, near, strict=True):
            cache = self.caches[self.context.provider_id(row.address.scope)]
            seen = cache.identities.get(subject_of(row.address, ref))
            drift, unhealthy = identity_drift(row, seen, neighbours, self.relations, cache, ref)
            self.unseen.unhealthy += unhealthy
            if drift is not None:
                self._take(drift, row)

    def _take(self, drift: Drift, row: RecordedRow) -> None:
        unapplied = str(row.address) in self.question.unapplied
        self.drifts[row.address] = settled(drift, row, self.question.times, self.question.doubtful, unapplied=unapplied)

    def _deleted(self, addresses: Sequence[Address]) -> None:
        ref, times = self.context.provider_ref, self.question.times
        items = [address for address in addresses if address.kind is Kind.ITEM]
        for source in sorted({address.scope for address in items}):
            here = [address for address in items if address.scope == source]
            seen = self.look.items(self.context.source(source).id, [address.name for address in here])
            for address in here:
                sent = self.gone[address]
                self._note_deleted(deleted(judge_deleted_item(address, sent, seen.get(address.name)), sent, times))
        others = [address for address in addresses if address.kind is not Kind.ITEM]
        near = self.look.relations([identity_of(address) for address in others], ref)
        for address, neighbours in zip(others, near, strict=True):
            sent = self.gone[address]
            cache = self.caches[self.context.provider_id(address.scope)]
            found = cache.identities.get(subject_of(address, ref))
            finding = judge_deleted_identity(address, found, neighbours, self.relations, ref)
            self._note_deleted(deleted(in_time(finding, sent, found, cache), sent, times))

    def _note_deleted(self, drift: Drift | None) -> None:
        if drift is not None:
            self.drifts[drift.address] = drift
            self.checked[drift.address.kind] += 1

    # -- what nobody asked for -----------------------------------------------------------------

    def list_foreign(self) -> None:
        """List what sources and providers hold beside what was asked for."""
        for source in self.question.sources:
            prefix = f"{Kind.ITEM.value}/{source}/"
            known = {address.removeprefix(prefix) for address in self.addresses if address.startswith(prefix)}
            known.update(address.name for address in self.gone if address.startswith(prefix))
            shown = set(self.look.listing(self.context.source(source).id))
            self._shown[source] = len(shown)
            self._add_foreign("source", source, (f"{prefix}{uri}" for uri in shown - known))
        for provider in self.question.providers:
            id_ = self.context.provider_id(provider)
            # Whoever is named somewhere is listed by that alone (push-api.md 3.5).
            wanted = self.named | self.subjects.get(id_, set())
            here = (who for who, seen in self.caches[id_].identities.items() if seen.state not in _ABSENT)
            named = (
                (str(Identity(who.type, provider, who.name, who.info)), who) for who in here if who.provider == id_
            )
            removed = self.question.removed
            self._add_foreign(
                "provider", provider, (text for text, who in named if who not in wanted or text in removed)
            )
        aliases = sum(Address(address).kind is Kind.ALIAS for address in self.question.removed)
        if aliases and self.question.providers:
            self.notes.append(
                "1 recorded alias that no manifest declares was not looked for; the next apply deletes it"
                if aliases == 1
                else f"{aliases:,} recorded aliases that no manifest declares were not looked for; the next apply "
                "deletes them"
            )

    def _add_foreign(self, place: str, name: str, addresses: Iterable[str]) -> None:
        found = list(addresses)
        removed = [address for address in found if address in self.question.removed]
        others = [address for address in found if address not in self.question.removed]
        exclusive = (place, name) in self.question.exclusive
        for part, gone in ((others, False), (removed, True)):
            if part:
                examples = tuple(heapq.nsmallest(EXAMPLES, part))
                self.foreign.append(Foreign(place, name, len(part), examples, exclusive, gone))

    # -- second looks --------------------------------------------------------------------------

    def look_behind(self) -> None:
        """Look again at what seems missing where a search does not show everything, and at what changed meanwhile."""
        missing: dict[str, list[Address]] = {}
        for drift in self.drifts.values():
            if drift.address.kind is Kind.ITEM and drift.standing is Standing.MISSING:
                missing.setdefault(drift.address.scope, []).append(drift.address)
        for source in sorted(missing.keys() | self._shown.keys()):
            self._look_behind(source, missing.get(source, []))
        standing = set()
        for row in self.question.rows(sorted(map(str, self.drifts))):
            drift = self.drifts[row.address]
            standing.add(row.address)
            if drift.standing in DRIFT and row.ordering_id != drift.ordering_id:
                self.drifts[row.address] = replace(
                    drift, standing=Standing.PENDING, what="pushed again while this was looking", fields=()
                )

        for address in self.drifts.keys() - standing - self.gone.keys():
            # Deleted by another run meanwhile.
            self.checked[self.drifts.pop(address).address.kind] -= 1

    def _look_behind(self, source: str, missing: Sequence[Address]) -> None:
        id_ = self.context.source(source).id
        counted = self.look.documents(id_)
        shown = self._shown[source] if source in self._shown else sum(1 for _ in self.look.listing(id_))
        if counted is not None and counted <= shown:
            return
        if counted is not None:
            self.notes.append(
                f"source {source}: a search shows {shown:,} of {counted:,} items; the key may lack the privilege "
                "Search - View all content, or the index is behind"
            )
        held = self.look.held([address.name for address in missing])
        for address in missing:
            if address.name in held:
                what = "the index holds it, and a search does not show it"
                self.drifts[address] = replace(self.drifts[address], standing=Standing.HIDDEN, what=what)

    def report(self) -> DriftReport:
        """Return what was found."""
        return DriftReport(
            checked=self.checked,
            drifts=tuple(drift for _, drift in sorted(self.drifts.items())),
            foreign=tuple(self.foreign),
            unseen=self.unseen,
            notes=tuple(self.notes),
            exactness=tuple(entry for _, entry in sorted(self.exactness.items())),
        )


def _pages(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while page := list(islice(iterator, PAGE)):
        yield page
