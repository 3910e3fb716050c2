"""What a run writes down, and how that turns one recorded state into the next.

An intent is written before a call is sent, its outcome after the answer. So whatever happens in
between, the next run knows which resources may or may not have changed: an intent without outcome,
or with an unknown one, is *unsettled* until a later accepted call covers the same addresses.

Pure: times are ISO-8601 strings in UTC and ids are strings, both given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import Resource, StateBase, Target
from reconciler.state.rows import RecordedRow

# Verbs of `Intent.covers`; spelled as in `calls.call.Verb`, which a state may not import.
PUT = "put"
DELETE = "delete"
SWEPT = "swept"

# Kinds of entry that stand for no call: something was recorded or forgotten here alone, or all of it was replaced.
STATE_ONLY = "state-only"
FORGET = "forget"
REPLACED = "replaced"
WITHOUT_CALL = (STATE_ONLY, FORGET, REPLACED)

# Kinds of calls, spelled as in `calls.call.CallKind`: those that the API counts at least twice, for the file
# container or the opening that comes before, and those that carry items.
_COUNTED_TWICE = frozenset({"item-batch", "identity-batch", "stream-update", "stream-load"})
_OF_ITEMS = ("item-", "stream-")

Covers = tuple[tuple[Address, str], ...]


class Outcome(StrEnum):
    """How a call ended. Unknown: no answer that says which; the remote may have taken it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Who runs what: written once, before the first call. `commit` is the manifests' git commit or empty."""

    id: str
    command: str
    started_at: str
    host: str = ""
    user: str = ""
    plan_digest: str = ""
    tool_version: str = ""
    environment: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Calls:
    """How the calls of a run ended: the numbers of each outcome. Unknown are also those without any."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the history tells it.

    `base` is what the run found, `serial` what it left. `ended_at` and `result` are empty for a run
    that is under way or died. `digest` chains it to the run before (`chain.link`), in hex; it is empty
    while the run is under way, or died and no other began since.
    """

    run: RunInfo
    target: Target
    base: StateBase
    serial: int
    ended_at: str = ""
    result: str = ""
    detail: str = ""
    calls: Calls = Calls()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that is about to be sent: its number in the plan, what it is and which resources it settles.

    `request_digest` names the exact request, `covers` holds pairs of address and verb ("put" or
    "delete").
    """

    call: int
    kind: str
    request_digest: str
    ordering_id: int
    at: str
    covers: Covers


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An intent, the run it belongs to and what became of it (`outcome` None: nothing is written).

    `seq` orders the entries of one state; it is no part of what moves to another store.
    """

    seq: int
    run: str
    intent: Intent
    outcome: Outcome | None = None
    settled_at: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """An accepted call, or a change without one, that may have changed who sees what, and what it found recorded.

    `seq` is that of its entry in the journal, `at` is when it was recorded. `formers` is None for a change without a
    call by an earlier version of reconciler, which did not write down what it found.
    """

    seq: int
    at: str
    formers: tuple[Former, ...] | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What an accepted call does to the recorded rows; the store writes it together with the outcome."""

    upserts: tuple[Resource, ...] = ()
    deletes: tuple[Address, ...] = ()

    @property
    def covers(self) -> Covers:
        """The addresses with the verb that each effect amounts to."""
        return tuple((entry.address, PUT) for entry in self.upserts) + tuple(
            (address, DELETE) for address in self.deletes
        )


NO_EFFECT = Effect()


@dataclass(frozen=True, slots=True)
class Usage:
    """What the remote counted at least: API calls, and items that they added, changed or deleted.

    Attempts that were repeated and containers of single items are not known here.
    """

    calls: int = 0
    items: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.calls + other.calls, self.items + other.items)


def usage_of(kind: str, covers: Covers) -> Usage:
    """Return what one call of a journal that was accepted, or may have been, came to; nothing for other entries.

    What went only because something else went was never named to the remote, and counts nothing.
    """
    if kind in WITHOUT_CALL:
        return Usage()
    named = sum(verb != SWEPT for _, verb in covers) if kind.startswith(_OF_ITEMS) else 0
    return Usage(2 if kind in _COUNTED_TWICE else 1, named)


def advance(
    rows: Mapping[Address, RecordedRow], effect: Effect, *, ordering_id: int, accepted_at: str, run: str
) -> dict[Address, RecordedRow]:
    """Return the rows after an accepted call: the definition that every store's transaction obeys.

    An upsert replaces the whole row, so what was verified before is unknown again. Deleting an
    address that is not recorded is no error. An address that is both is deleted.
    """
    after = dict(rows)
    for entry in effect.upserts:
        after[entry.address] = RecordedRow(entry.address, entry.doc, entry.shared, ordering_id, accepted_at, run)
    for address in effect.deletes:
        after.pop(address, None)
    return after


def advance_state_only(
    rows: Mapping[Address, RecordedRow], effect: Effect, *, at: str, run: str
) -> dict[Address, RecordedRow]:
    """Return the rows after a change that needed no call, such as a protection switched on.

    A known row keeps when and how it was accepted and whether it was verified, for nothing was sent;
    a new one has ordering id 0.
    """
    after = dict(rows)
    for entry in effect.upserts:
        known = after.get(entry.address)
        after[entry.address] = (
            replace(known, doc=entry.doc, shared=entry.shared)
            if known
            else RecordedRow(entry.address, entry.doc, entry.shared, 0, at, run)
        )
    for address in effect.deletes:
        after.pop(address, None)
    return after


def still_open(entries: Iterable[JournalEntry]) -> Iterator[JournalEntry]:
    """Yield what is unsettled in a journal (in order of `seq`), narrowed to the addresses still in doubt.

    A later accepted call settles the addresses that it covers, whatever its verb: it has put them
    where they are known. A later refusal settles nothing, for the doubt is about the earlier call.
    """
    doubtful: list[tuple[JournalEntry, dict[Address, str]]] = []
    for entry in entries:
        if entry.outcome in (None, Outcome.UNKNOWN):
            doubtful.append((entry, dict(entry.intent.covers)))
        elif entry.outcome is Outcome.ACCEPTED and doubtful:
            for _, open_covers in doubtful:
                for address, _ in entry.intent.covers:
                    open_covers.pop(address, None)
    for entry, open_covers in doubtful:
        if open_covers:
            yield replace(entry, intent=replace(entry.intent, covers=tuple(open_covers.items())))
