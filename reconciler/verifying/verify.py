"""Looks again and again until everything has arrived, was rejected, or the time is over.

[io] It asks the remote through `look` and the clock through `Clock`; what arrived is decided in
`compare`. It yields what happens and writes nothing: the caller records the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from reconciler.calls.context import WireContext
from reconciler.model.address import Address, Kind
from reconciler.model.digestfield import carried_metadata
from reconciler.planning.fields import Fields
from reconciler.problems import RemoteError
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow, Verification
from reconciler.verifying.compare import (
    expected_values,
    judge_deleted_identity,
    judge_deleted_item,
    judge_identity,
    judge_item,
    sent_between,
    with_log,
)
from reconciler.verifying.events import (
    Clock,
    Event,
    Looked,
    Metadata,
    ProviderSeen,
    Report,
    Started,
    Stopped,
    Vanishing,
    Waiting,
)
from reconciler.verifying.findings import RESEND, Finding, Status, rejected
from reconciler.verifying.logs import Asked, Key, LogBook
from reconciler.verifying.look import Look
from reconciler.verifying.refreshed import SeenCache, in_time, with_identities
from reconciler.verifying.relations import Relations, identity_of, subject_of
from reconciler.verifying.scope import Scope
from reconciler.verifying.seen import RecordedModels, SeenIdentity, SeenItem, Who

PAGE = 1000
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
LOG_AGE = timedelta(days=14)
"""How long the remote keeps its logs (push-api.md 2.6)."""
_SKEW = timedelta(minutes=5)
_NEVER = (None, "")

T = TypeVar("T")

Rows = Callable[[Iterable[str] | None], Iterator[RecordedRow]]
"""Yields recorded rows sorted by address: of these addresses, or all (`StateReader.rows`)."""


def verify(
    scope: Scope,
    *,
    rows: Rows,
    look: Look,
    context: WireContext,
    clock: Clock,
    timeout: float,
    fields: Fields | None = None,
) -> Generator[Event, None, None]:
    """Verify what is in scope, waiting up to `timeout` seconds; the last event is the report.

    With the organization's `fields`, metadata is compared and what vanishes is told.

    What was learned is not lost: once anything is found, the report ends it also when the remote fails, and when
    somebody stops it (KeyboardInterrupt, from within or thrown in). Raises RemoteError when the remote cannot be
    read at all.
    """
    began = clock.seconds()
    work = _Work(scope, rows, look, context, clock, fields)
    wait = FIRST_WAIT
    stopped: Stopped | None = None
    failure: RemoteError | None = None
    try:
        yield Started(scope.total)
        while True:
            yield from work.round()
            left = timeout - (clock.seconds() - began)
            if not work.pending:
                break
            if left <= 0:
                stopped = Stopped.DEADLINE
                break
            pause = min(wait, left)
            yield Waiting(len(work.pending), pause, left)
            clock.sleep(pause)
            wait = min(wait * 2, LONGEST_WAIT)
    except KeyboardInterrupt:
        stopped = Stopped.INTERRUPTED
    except RemoteError as error:
        if not (work.settled or work.open or work.before):
            raise
        stopped, failure = Stopped.REMOTE, error
    yield work.report(clock.seconds() - began, stopped, failure)


@dataclass(slots=True)
class _Work:
    scope: Scope
    rows: Rows
    look: Look
    context: WireContext
    clock: Clock
    fields: Fields | None
    pending: set[str] = field(init=False)
    settled: int = 0
    verified: Counter[Kind] = field(default_factory=Counter)
    problems: list[Finding] = field(default_factory=list)
    open: list[Finding] = field(default_factory=list)
    before: list[Finding] = field(default_factory=list)  # what was open after the last look at everything
    known: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    verifications: list[Verification] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    log: LogBook | None = None
    caches: dict[str, SeenCache] = field(default_factory=dict)  # by the provider's id
    pushed: dict[str, int] = field(default_factory=dict)  # by the provider's name, as `effective`
    effective: Counter[str] = field(default_factory=Counter)
    blind: set[str] = field(default_factory=set)  # items whose fields no search can show
    asked: set[tuple[str, str]] = field(default_factory=set)
    shown: set[tuple[str, str]] = field(default_factory=set)
    _models: RecordedModels = field(default_factory=RecordedModels)

    def __post_init__(self) -> None:
        self.pending = {*self.scope.rows, *self.scope.deletions}

    # -- one look at everything that is pending ------------------------------------------------

    def round(self) -> Iterator[Looked]:
        """Look once at what is pending and keep what is final."""
        self.before, self.open = self.open, []
        relations = self._identities()
        doubtful: list[Finding] = []
        for page in _pages(self.rows(sorted(self.pending - self.scope.deletions.keys()))):
            self.known.update((row.address, (row.verified, row.verified_detail)) for row in page if row.verified)
            findings = [*self._items(page), *self._identity_findings(page, relations)]
            self._take(findings, doubtful)
            yield Looked(self.settled)
        gone = sorted(self.pending & self.scope.deletions.keys())
        for addresses in _pages(gone):
            deleted = [Address(address) for address in addresses]
            found = [*self._deleted_items(deleted), *self._deleted_identities(deleted, relations)]
            self._take(found, doubtful)
            yield Looked(self.settled)
        self._read_logs(doubtful)
        # What is in no finding was deleted or forgotten while we looked.
        self.pending = {finding.address for finding in self.open}
        self.before = []
        yield Looked(self.settled)

    def _take(self, findings: Iterable[Finding], doubtful: list[Finding]) -> None:
        """Settle findings, except those that the logs may know more about."""
        for finding in findings:
            verdict, reason = _NEVER if finding.deletion else self.known.get(finding.address, _NEVER)
            said = verdict == REJECTED and not reason.startswith(RESEND)
            if said and finding.status is not Status.VERIFIED:
                # The remote has spoken of this push before; its logs may be gone, its word is not.
                finding = rejected(finding, reason)
            if finding.address.kind is Kind.ITEM and not finding.arrived and finding.status is not Status.REJECTED:
                doubtful.append(finding)
            else:
                self._settle(finding)

    def _settle(self, finding: Finding) -> None:
        if not finding.final:
            self.open.append(finding)
            return
        self.settled += 1
        self.pending.discard(finding.address)
        if finding.status is Status.VERIFIED:
            self.verified[finding.address.kind] += 1
            if finding.address.kind is not Kind.ITEM:
                self.effective[finding.address.scope] += 1
        else:
            self.problems.append(finding)
        self._learn(finding, finding.status.value)

    def _learn(self, finding: Finding, verdict: str | None) -> None:
        detail = finding.what[:500]
        if not finding.deletion and self.known.get(finding.address, _NEVER) != (verdict, detail):
            self.verifications.append(Verification(finding.address, finding.ordering_id, verdict, detail))

    # -- items ---------------------------------------------------------------------------------

    def _items(self, page: Sequence[RecordedRow]) -> Iterator[Finding]:
        for source, rows in _by_scope(row for row in page if row.address.kind is Kind.ITEM):
            uris = [row.address.name for row in rows]
            fields = self._fields_of(source, rows)
            seen = self.look.items(self.context.source(source).id, uris, fields)
            self._note_shown(source, rows, seen)
            guarded = {row.address.name for row in rows if row.shared}
            models = self.look.models({uri: item for uri, item in seen.items() if uri in guarded})
            for row in rows:
                uri = row.address.name
                recorded = self._models.levels_of(row.shared, self.context.provider_ref) if row.shared else None
                # Gone between two requests: looked at again, it is absent.
                found = None if recorded is not None and uri not in models else seen.get(uri)
                yield judge_item(row, found, models.get(uri), recorded, self.fields)

    def _note_shown(self, source: str, rows: Iterable[RecordedRow], seen: Mapping[str, SeenItem]) -> None:
        """Remember which metadata keys the index was seen to show, and which of them it was asked for at all."""
        for row in rows:
            item = seen.get(row.address.name)
            if item is None:
                continue
            if item.values is None:
                self.blind.add(row.address)
            else:
                self.asked.update((source, key) for key in carried_metadata(row.resource))
                self.shown.update((source, name) for name in item.values)

    def _fields_of(self, source: str, rows: Iterable[RecordedRow]) -> tuple[str, ...]:
        """Return the names of the fields that show the metadata of these items, or might."""
        if self.fields is None:
            return ()
        metadata: dict[str, Any] = {}
        for row in rows:
            metadata.update(carried_metadata(row.resource))
        names = {field.name for field, _ in expected_values(source, metadata, self.fields).values()}
        return tuple(sorted(names.union(key for key in metadata if self.fields.vanishes(source, key))))

    def _metadata(self, fields: Fields) -> Metadata:
        """Return what became of the metadata of the items in scope that arrived."""
        vanishing: dict[tuple[str, str], Vanishing] = {}
        # What the index shows has a field, whatever the list of fields says.
        unseen = self.asked - self.shown
        absent = {entry.address for entry in self.problems if entry.status in (Status.MISSING, Status.REJECTED)}
        visible = total = 0
        for row in self.rows(sorted(self.scope.rows)):
            if row.address.kind is not Kind.ITEM or row.address in absent:
                continue
            source, metadata = row.address.scope, carried_metadata(row.resource)
            total += len(metadata)
            if row.address in self.blind:
                continue
            expected = expected_values(source, metadata, fields)
            visible += sum(key in expected or (source, key) in self.shown for key in metadata)
            for key in metadata:
                if (source, key) in unseen and fields.vanishes(source, key):
                    known = vanishing.get((source, key))
                    items, example = (known.items + 1, known.example) if known else (1, str(row.address))
                    vanishing[source, key] = Vanishing(source, key, items, example)
        return Metadata(tuple(entry for _, entry in sorted(vanishing.items())), visible, total - visible)

    def _deleted_items(self, addresses: Sequence[Address]) -> Iterator[Finding]:
        items = [address for address in addresses if address.kind is Kind.ITEM]
        for source in sorted({address.scope for address in items}):
            here = [address for address in items if address.scope == source]
            seen = self.look.items(self.context.source(source).id, [address.name for address in here])
            for address in here:
                yield judge_deleted_item(address, self.scope.deletions[address], seen.get(address.name))

    # -- identities ----------------------------------------------------------------------------

    def _identities(self) -> Relations:
        """Return what the state says of the pending identities' relations, and look which of them are listed."""
        ref = self.context.provider_ref
        wanted: dict[str, set[Who]] = {}
        for text in self.pending:
            address = Address(text)
            if address.kind is not Kind.ITEM:
                provider = self.context.provider_id(address.scope)
                wanted.setdefault(provider, set()).add(subject_of(address, ref))
        relations = Relations({who for whos in wanted.values() for who in whos})
        if wanted:
            relations.add(self.rows(None), ref)
        for provider, whos in sorted(wanted.items()):
            self.caches[provider] = self.look.identities(provider, whos)
        return relations

    def _identity_findings(self, page: Sequence[RecordedRow], relations: Relations) -> Iterator[Finding]:
        rows = [row for row in page if row.address.kind is not Kind.ITEM]
        ref = self.context.provider_ref
        near = self.look.relations([identity_of(row.address) for row in rows], ref)
        for row, neighbours in zip(rows, near, strict=True):
            seen, cache = self._seen(row.address)
            earliest, latest = sent_between(row)
            self._note_push(row.address, latest)
            yield in_time(judge_identity(row, seen, neighbours, relations, ref), earliest, seen, cache)

    def _deleted_identities(self, addresses: Sequence[Address], relations: Relations) -> Iterator[Finding]:
        here = [address for address in addresses if address.kind is not Kind.ITEM]
        ref = self.context.provider_ref
        near = self.look.relations([identity_of(address) for address in here], ref)
        for address, neighbours in zip(here, near, strict=True):
            seen, cache = self._seen(address)
            sent = self.scope.deletions[address]
            self._note_push(address, sent)
            yield in_time(judge_deleted_identity(address, seen, neighbours, relations, ref), sent, seen, cache)

    def _seen(self, address: Address) -> tuple[SeenIdentity | None, SeenCache]:
        """Return what the cache shows of an identity, and the cache of its provider."""
        cache = self.caches[self.context.provider_id(address.scope)]
        return cache.identities.get(subject_of(address, self.context.provider_ref)), cache

    def _waiting(self, findings: Iterable[Finding]) -> set[Who]:
        """Return the identities that only wait for their provider's refresh."""
        return {
            subject_of(finding.address, self.context.provider_ref)
            for finding in findings
            if finding.status is Status.WAITING and not finding.deletion
        }

    def _note_push(self, address: Address, sent: int) -> None:
        self.pushed[address.scope] = max(sent, self.pushed.get(address.scope, 0))

    def _providers(self) -> Iterator[ProviderSeen]:
        bad = Counter((entry.address.scope, entry.status is Status.WAITING) for entry in self._identity_problems())
        for provider in sorted({scope for scope, _ in bad} | self.effective.keys()):
            effective, waiting, wrong = self.effective[provider], bad[provider, True], bad[provider, False]
            cache = self.caches.get(self.context.provider_id(provider), SeenCache())
            checked = effective + waiting + wrong
            yield ProviderSeen(provider, checked, effective, waiting, wrong, self.pushed.get(provider), cache.newest)

    def _identity_problems(self) -> Iterator[Finding]:
        return (finding for finding in self.problems if finding.address.kind is not Kind.ITEM)

    # -- logs ----------------------------------------------------------------------------------

    def _read_logs(self, doubtful: Collection[Finding]) -> None:
        """Settle the items that have not visibly arrived by what the logs say of them."""
        book = None
        if doubtful:
            asked = {self._key(finding): Asked(finding.sent, finding.deletion) for finding in doubtful}
            now = self.clock.now()
            oldest = min(entry.since for entry in asked.values()) / 1000
            since = max(datetime.fromtimestamp(oldest, now.tzinfo), now - LOG_AGE)
            try:
                book, whole = self.look.log_book(asked, since, now + _SKEW)
            except RemoteError as error:
                self.notes[f"the logs cannot be read, so reasons are not known: {error}"] = None
            else:
                if not whole:
                    self.notes["the sources' logs are too long to be read whole, so reasons may be missing"] = None
        self.log = book
        for finding in doubtful:
            self._settle(with_log(finding, book.drop(self._key(finding)) if book else ""))

    def _key(self, finding: Finding) -> Key:
        return self.context.source(finding.address.scope).id, finding.address.name

    def report(self, seconds: float, stopped: Stopped | None, failure: RemoteError | None) -> Report:
        """Return what was found, now that nobody waits any longer."""
        left, self.open = self.open, []
        looked = {finding.address for finding in left}
        # Of what this look did not come to, the one before it tells.
        left += [entry for entry in self.before if entry.address in self.pending - looked]
        unlooked = len(self.pending - {finding.address for finding in left})
        waiting = self._waiting(left)
        for finding in (with_identities(entry, waiting) for entry in left):
            absent = finding.status is Status.MISSING and finding.address.kind is Kind.ITEM
            failed = self.log.failed_batch(self._key(finding)) if self.log and absent else ""
            if failed:
                self._settle(rejected(finding, f"a batch of its source failed after it was sent: {failed}"))
            else:
                self.problems.append(finding)
                if self.known.get(finding.address, _NEVER)[0] == VERIFIED:
                    self._learn(finding, None)
        checked = self.verified + Counter(finding.address.kind for finding in self.problems)
        return Report(
            checked=checked,
            verified=self.verified,
            problems=tuple(sorted(self.problems, key=lambda finding: finding.address)),
            verifications=tuple(self.verifications),
            notes=tuple(self.notes),
            seconds=seconds,
            metadata=self._metadata(self.fields) if self.fields is not None and not unlooked else None,
            providers=tuple(self._providers()),
            stopped=stopped,
            unlooked=unlooked,
            failure=failure,
        )


def _by_scope(rows: Iterable[RecordedRow]) -> Iterator[tuple[str, list[RecordedRow]]]:
    found: dict[str, list[RecordedRow]] = {}
    for row in rows:
        found.setdefault(row.address.scope, []).append(row)
    yield from found.items()


def _pages(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while page := list(islice(iterator, PAGE)):
        yield page
