"""Narrowing a plan to what somebody asked for, together with what that needs to be safe.

An item that appears before the group that may see it would be invisible or, worse, rejected, so a
selected item brings the changes of the groups that it names, their members' groups and aliases, and
its parent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from reconciler.model.address import Kind
from reconciler.model.permission import PermissionModel
from reconciler.planning.change import Action, Change
from reconciler.problems import Problem, UsageError


def select(
    changes: Sequence[Change], *, targets: Collection[str] = (), sources: Collection[str] = ()
) -> tuple[Change, ...]:
    """Return the changes that the selection names and those that they need, in the same order.

    A target is an address, a uri, or a pattern of either with `*`; a source is the project's name
    of one. Nothing given selects everything.
    """
    if not targets and not sources:
        return tuple(changes)
    chosen = {change.address for change in changes if _is_named(change, targets, sources)}
    pending = {str(change.address): change for change in changes if change.action is not Action.DELETE}
    queue = [pending[address] for address in sorted(chosen) if address in pending]
    while queue:
        for address in _needs(queue.pop()):
            if address in pending and address not in chosen:
                chosen.add(pending[address].address)
                queue.append(pending[address])
    return tuple(change for change in changes if change.address in chosen)


def check_sources(sources: Iterable[str], known: Collection[str]) -> None:
    """Refuse a source that the project does not have."""
    for source in sources:
        if source not in known:
            raise UsageError(
                Problem("unknown-source", f'no source is named "{source}"', fix=f"the project has {', '.join(known)}.")
            )


def _is_named(change: Change, targets: Collection[str], sources: Collection[str]) -> bool:
    if change.address.kind is Kind.ITEM and change.address.scope in sources:
        return True
    return any(
        candidate == target or fnmatchcase(candidate, target)
        for target in targets
        for candidate in (change.address, change.address.name)
    )


def _needs(change: Change) -> Iterable[str]:
    resource = change.after
    if resource is None:
        return
    shared = resource.shared_doc() or {}
    doc = resource.own()
    if change.address.kind is Kind.ITEM:
        if "parent" in doc:
            yield f"item/{change.address.scope}/{doc['parent']}"
        identities = PermissionModel.from_doc(shared).identities() if shared else ()
    else:
        identities = (*doc.get("members", ()), *shared.get("wellKnowns", ()))
    for identity in identities:
        kind, provider, name = identity.split("/", 2)
        yield identity
        yield f"alias/{provider}/{kind}:{name}"
