"""From both states to a plan: the whole of planning in one pure function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from reconciler.model.address import Kind
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.change import Action
from reconciler.planning.diff import changes_of, compare
from reconciler.planning.expiring import NOTHING_LAPSED, Lapsed
from reconciler.planning.hazards import Limits, hazards_of, protected_deletions
from reconciler.planning.plan import BodyRef, Plan
from reconciler.planning.selection import check_targets, select
from reconciler.planning.wish import Wish
from reconciler.problems import Problem

Lookup = Callable[[Iterable[str]], Mapping[str, Resource]]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison: every address with its fingerprint, and a way to look at a few."""

    fingerprints: Mapping[str, bytes]
    resources: Lookup


def make_plan(
    *,
    environment: str,
    target: Target,
    base: StateBase,
    desired: Side,
    recorded: Side,
    unsettled: Collection[str] = (),
    drifted: Collection[str] = (),
    rejected: Collection[str] = (),
    again: Collection[str] = (),
    moved: Mapping[str, str],
    forgotten: Collection[str] = (),
    limits: Limits,
    wish: Wish,
    problems: Iterable[Problem] = (),
    bodies: Callable[[Iterable[str]], Iterable[BodyRef]],
    manifest_digest: str = "",
    lapsed: Lapsed = NOTHING_LAPSED,
) -> Plan:
    """Return the plan that turns `recorded` into `desired`.

    `unsettled` are addresses whose last call has an unknown outcome, `drifted` those that somebody changed at the
    remote, `rejected` those whose last push it dropped, `again` recorded ones that somebody asked to send again.
    `bodies` says where the content of the resources at given addresses comes from, `lapsed` what is
    not desired any more because it ended. The result
    depends on nothing but the arguments. Raises UsageError for a target that names nothing.
    """
    check_targets(wish.targets, chain(desired.fingerprints, recorded.fingerprints, unsettled))
    prefixes = tuple(f"{Kind.ITEM.value}/{source}/" for source in wish.resent)
    resent = [address for address in desired.fingerprints if address.startswith(prefixes)] if prefixes else []
    resent += again
    differences = compare(desired.fingerprints, recorded.fingerprints, unsettled, resent, drifted, rejected)
    everything = changes_of(
        differences,
        desired=desired.resources,
        recorded=recorded.resources,
        moved=moved,
        removal=wish.removal,
        forgotten=forgotten,
    )
    changes = select(everything, targets=wish.targets, sources=wish.sources)
    hazards = hazards_of(
        changes,
        desired=desired.fingerprints,
        recorded=recorded.fingerprints.keys(),
        limits=limits,
        allowed=wish.allowed,
        lapsed=lapsed,
    )
    needed = [change.address for change in changes if change.action is not Action.DELETE]
    return Plan(
        environment=environment,
        target=target,
        base=base,
        changes=changes,
        no_op=differences.no_op,
        hazards=hazards,
        problems=(*problems, *protected_deletions(changes)),
        bodies=tuple(sorted(bodies(needed), key=lambda body: (body.sha256, body.path or ""))),
        manifest_digest=manifest_digest,
        selection=wish.selection,
    )
