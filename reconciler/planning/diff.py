"""What differs between desired and recorded, by address; equality is that of fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from reconciler.model.address import Address
from reconciler.model.identity import aliased_identity
from reconciler.model.states import Resource
from reconciler.planning.change import FORGOTTEN, Action, Change

DESTROY = "destroy"
UNCONFIRMED = "unconfirmed"
RESENT = "resent"
DRIFTED = "drifted"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Differences:
    """Addresses by what happens to them, each sorted; what stays the same is counted.

    `unconfirmed` are those whose last call has an unknown outcome: the remote may hold either
    version, so they are sent again even when desired and recorded agree. `resent` are those that
    somebody asked to send again, `drifted` those that somebody changed at the remote, `rejected` those whose last
    push was accepted and dropped later.
    """

    created: tuple[str, ...]
    updated: tuple[str, ...]
    deleted: tuple[str, ...]
    unconfirmed: frozenset[str]
    no_op: int
    resent: frozenset[str] = frozenset()
    drifted: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()

    @property
    def addresses(self) -> Iterable[str]:
        """Every address that changes."""
        yield from self.created
        yield from self.updated
        yield from self.deleted


def compare(
    desired: Mapping[str, bytes],
    recorded: Mapping[str, bytes],
    unsettled: Collection[str] = (),
    resent: Collection[str] = (),
    drifted: Collection[str] = (),
    rejected: Collection[str] = (),
) -> Differences:
    """Return how the two sides differ; `resent` are desired addresses that differ by wish.

    `drifted` are recorded addresses that the remote was seen to hold otherwise, `rejected` those whose last push it
    dropped: those that are still desired differ.
    Costs one look-up per address and sorts only what differs.
    """
    created = []
    updated = []
    for address, fingerprint in desired.items():
        known = recorded.get(address)
        if known is None:
            created.append(address)
        elif known != fingerprint:
            updated.append(address)
    no_op = len(desired) - len(created) - len(updated)
    deleted = [] if no_op + len(updated) == len(recorded) else [key for key in recorded if key not in desired]
    again = set()
    if unsettled or resent or drifted or rejected:
        changing = {*created, *updated, *deleted}
        again = {address for address in chain(unsettled, resent, drifted, rejected) if address not in changing}
        updated += [address for address in again if address in desired]
        deleted += [address for address in again if address not in desired]
        no_op -= sum(address in desired for address in again)
    unconfirmed = frozenset(unsettled) & {*created, *updated, *deleted}
    return Differences(
        tuple(sorted(created)),
        tuple(sorted(updated)),
        tuple(sorted(deleted)),
        unconfirmed,
        no_op,
        frozenset(resent),
        frozenset(drifted),
        frozenset(rejected),
    )


def changes_of(
    differences: Differences,
    *,
    desired: Callable[[Iterable[str]], Mapping[str, Resource]],
    recorded: Callable[[Iterable[str]], Mapping[str, Resource]],
    moved: Mapping[str, str],
    removal: str = "removed",
    forgotten: Collection[str] = (),
) -> tuple[Change, ...]:
    """Return one change per differing address, in address order.

    `desired` and `recorded` look up resources by address. `moved` maps old addresses to new ones: a
    declared rename counts only where the old one is deleted and the new one created. `removal` is
    the reason given for deletions but for those of `forgotten`, which only the state lets go of.
    """
    after = desired((*differences.created, *differences.updated))
    before = _with_present_well_knowns(recorded((*differences.updated, *differences.deleted)), differences, recorded)
    created, deleted = set(differences.created), set(differences.deleted)
    renames = {old: new for old, new in moved.items() if old in deleted and new in created}
    origins = {new: old for old, new in renames.items()}
    changes = []
    for address in differences.created:
        origin = origins.get(address)
        reason = _reason(address, differences, "moved" if origin else "new")
        changes.append(
            Change(
                Address(address),
                Action.CREATE,
                reason,
                after=after[address],
                moved_from=Address(origin) if origin else None,
            )
        )
    for address in differences.updated:
        reason = _reason(address, differences, _reason_of_update(address, differences))
        changes.append(Change(Address(address), Action.UPDATE, reason, before.get(address), after[address]))
    for address in differences.deleted:
        goal = renames.get(address)
        # To destroy says more than doubt does: it leaves nothing of a user (`calls.compile`).
        reason = removal if removal == DESTROY else _reason(address, differences, "moved" if goal else removal)
        if address in forgotten and goal is None:
            reason = FORGOTTEN
        changes.append(
            Change(
                Address(address),
                Action.DELETE,
                reason,
                before=before.get(address),
                moved_to=Address(goal) if goal else None,
            )
        )
    return tuple(sorted(changes, key=lambda change: change.address))


def _with_present_well_knowns(
    before: Mapping[str, Resource],
    differences: Differences,
    recorded: Callable[[Iterable[str]], Mapping[str, Resource]],
) -> Mapping[str, Resource]:
    """Return `before`, where each alias that goes has the well-knowns that its identity is recorded with.

    At the remote they belong to the identity, and whichever call came last set them for both
    (push-api.md 5.3). The call that empties an alias repeats them, so old ones would come back to
    life when the identity was settled by an earlier run, one that stopped before the alias.
    """
    gone = [address for address in differences.deleted if address.startswith("alias/") and address in before]
    if not gone:
        return before
    identities = {address: aliased_identity(address) for address in gone}
    known = recorded(sorted(set(identities.values())))
    present = dict(before)
    for address, identity in identities.items():
        shared = known[identity].shared if identity in known else b""
        present[address] = replace(before[address], shared=shared)
    return present


def _reason_of_update(address: str, differences: Differences) -> str:
    if address in differences.rejected:
        return REJECTED
    if address in differences.resent:
        return RESENT
    return DRIFTED if address in differences.drifted else "changed"


def _reason(address: str, differences: Differences, otherwise: str) -> str:
    return UNCONFIRMED if address in differences.unconfirmed else otherwise
