"""What there is to verify: recorded rows that nobody has seen arrive, and deletions since the last time.

Reads the state, decides nothing else. A deleted resource has no row, so the journal tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.address import Address, Kind
from reconciler.model.states import Target
from reconciler.state.journal import DELETE, WITHOUT_CALL, Outcome, RunRecord
from reconciler.state.rows import VERIFIED
from reconciler.state.store import StateReader
from reconciler.verifying.seen import log_moment

COMMAND = "verify"
"""The command of the runs that record what was learned."""
DONE = "done"


@dataclass(frozen=True, slots=True)
class Scope:
    """The addresses of rows to look at, the deletions with the time they were sent, and what names mean.

    Times are in epoch milliseconds. `newest_run` is the run that had begun last: if it still is when
    the work is done, nothing was deleted in between.
    """

    rows: frozenset[str] = frozenset()
    deletions: Mapping[Address, int] = field(default_factory=dict)
    target: Target | None = None
    newest_run: str = ""

    @property
    def total(self) -> int:
        """How many resources there are to verify."""
        return len(self.rows) + len(self.deletions)


def read_scope(store: StateReader, *, everything: bool) -> Scope:
    """Return what is not verified yet; with `everything`, all that is recorded.

    Deletions are those of all runs since the last verification that found nothing wrong; with
    `everything`, those of the last run that made calls as well.
    """
    # The history first: rows that a run changes after it was read are looked at as they are then.
    history = store.runs()
    rows = {str(row.address) for row in store.rows() if everything or row.verified != VERIFIED}
    deletions, targets = _deletions(store, history, everything=everything)
    for row in store.rows(deletions):
        del deletions[row.address]
    for address, alias in [(address, _alias_of(address)) for address in deletions]:
        if alias is None:
            continue
        if any(True for _ in store.rows([alias])):
            # The identity lives on as an alias, so that is what to look at.
            del deletions[address]
            rows.add(alias)
        elif deletions.get(alias, 0) > deletions[address]:
            # An alias goes by an empty mapping, which brings a deleted identity back: bare, as it should be.
            del deletions[address]
    newest = history[0].run.id if history else ""
    return Scope(frozenset(rows), deletions, _merged(targets, store.target()), newest)


def _deletions(
    store: StateReader, history: tuple[RunRecord, ...], *, everything: bool
) -> tuple[dict[Address, int], list[Target]]:
    """Return the unconfirmed deletions, and the targets of their runs, oldest first."""
    runs: list[tuple[Target, dict[Address, int]]] = []
    confirmed = False
    for record in history:
        if record.run.command == COMMAND:
            confirmed = confirmed or record.result == DONE
        elif (deleted := _deleted_in(store, record.run.id)) is not None:
            runs.append((record.target, deleted))
            if confirmed:
                break
        if confirmed and not everything:
            break
    # Puts need no care here: what was put again is recorded, and the caller leaves it out.
    deletions = {address: sent for _, deleted in reversed(runs) for address, sent in deleted.items()}
    return deletions, [target for target, _ in reversed(runs)]


def _deleted_in(store: StateReader, run: str) -> dict[Address, int] | None:
    """Return what a run deleted last, None when it made no call that was accepted."""
    last: dict[Address, int | None] = {}
    called = False
    for entry in store.journal(run):
        if entry.outcome is not Outcome.ACCEPTED or entry.intent.kind in WITHOUT_CALL:
            continue
        called = True
        # The time of the push, unless the id had to be above one that was ahead of the clock.
        sent = min(entry.intent.ordering_id, log_moment(entry.intent.at) or entry.intent.ordering_id)
        for address, verb in entry.intent.covers:
            last[address] = sent if verb == DELETE else None
    return {address: sent for address, sent in last.items() if sent is not None} if called else None


def _alias_of(address: Address) -> Address | None:
    if address.kind in (Kind.ITEM, Kind.ALIAS):
        return None
    return Address.of(Kind.ALIAS, address.scope, f"{address.kind.value}:{address.name}")


def _merged(targets: list[Target], last: Target | None) -> Target | None:
    """Return the last target, with the names that earlier runs knew besides."""
    if last is None:
        return None
    sources: dict[str, str] = {}
    providers: dict[str, str] = {}
    for target in (*targets, last):
        sources.update(target.sources)
        providers.update(target.providers)
    return Target(last.organization, tuple(sorted(sources.items())), tuple(sorted(providers.items())))
