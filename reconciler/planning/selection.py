"""Narrowing a plan to what somebody asked for, together with what that needs to be safe.

An item that appears before the group that may see it would be invisible or, worse, rejected, so a
selected item brings the changes of the groups that it names, their members' groups and aliases, and
its parent. What is deleted because it moved brings its new place, or nothing would be left of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from reconciler.model.address import Kind
from reconciler.model.identity import alias_address
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
    named = matcher(targets)
    first = [change for change in changes if _is_in(change, sources) or named(change.address)]
    chosen = {change.address for change in first}
    pending = {str(change.address): change for change in changes if change.action is not Action.DELETE}
    queue = first
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


def check_targets(targets: Iterable[str], addresses: Iterable[str]) -> None:
    """Refuse a target that names nothing on either side, which would look like "no changes"."""
    waiting = {target: matcher([target]) for target in targets}
    for address in addresses:
        if not waiting:
            return
        for target in [target for target, named in waiting.items() if named(address)]:
            del waiting[target]
    if waiting:
        raise UsageError(
            *(
                Problem(
                    "unknown-target",
                    f'"{target}" names nothing in the manifests, nor in the state',
                    fix="give an address (item/SOURCE/URI), a uri or name, or a pattern of either with `*`.",
                )
                for target in sorted(waiting)
            )
        )


def _is_in(change: Change, sources: Collection[str]) -> bool:
    return change.address.kind is Kind.ITEM and change.address.scope in sources


def matcher(targets: Collection[str]) -> Callable[[str], bool]:
    """Return whether an address, or the name in it, is a target; only `*` stands for anything else.

    Uris hold `?` and `[`, which the patterns of shells would take for something else.
    """
    exact = {target for target in targets if "*" not in target}
    patterns = [
        "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", target))
        for target in sorted(targets)
        if "*" in target
    ]
    pattern = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def matches(address: str) -> bool:
        name = address.split("/", 2)[2]
        if address in exact or name in exact:
            return True
        return pattern is not None and bool(pattern.fullmatch(address) or pattern.fullmatch(name))

    return matches


def _needs(change: Change) -> Iterable[str]:
    if change.moved_to is not None:
        yield change.moved_to
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
        yield identity
        yield alias_address(identity)
