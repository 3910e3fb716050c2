"""From changes to the fewest Push API calls that settle them, in a safe order.

Pure and deterministic: the order of the changes given means nothing. Four stages, each begun when
every call of the one before is accepted (push-api.md 5.2): identities (groups with their members
first, then users, then aliases), items (puts with parents first, then deletions), aliases that go,
identities that go. Within a stage each source or provider is packed on its own (`calls.packing`).

Readings of what the documents leave open:

- An alias goes by putting a mapping without entries, even when its identity is deleted too: nothing
  says that deleting an identity takes its mappings along, and a later push of the name might revive
  them (push-api.md 2.3 and 5.3). It goes after the items, like every deletion, and in a call before
  the identity's deletion, because the order of the lists inside one batch is undefined.
- Content above `Limits.inline_content` travels inside a batch; the documents advise a container of
  its own for it (push-api.md 4.1), which is a call kind still to come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from reconciler.calls.call import Call, CallKind, Compiled, Covered, Stage, Verb
from reconciler.calls.context import WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.calls.packing import Group, Load, pack
from reconciler.calls.wire import COMPRESSION, Wire, alias_identity
from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError, Problem

Batching = Literal["auto", "never"]

IDENTITIES = "identities"
ITEMS = "items"
ALIAS_DELETES = "alias-deletes"
IDENTITY_DELETES = "identity-deletes"
STAGES = (IDENTITIES, ITEMS, ALIAS_DELETES, IDENTITY_DELETES)

_FRAME = 64
_KIND_ORDER = {Kind.GROUP: 0, Kind.VIRTUAL_GROUP: 0, Kind.USER: 1, Kind.ALIAS: 2, Kind.ITEM: 3}
_SINGLE = {
    Verb.PUT: ("PUT", CallKind.IDENTITY_PUT),
    Verb.DELETE: ("DELETE", CallKind.IDENTITY_DELETE),
    Verb.WITHDRAW: ("PUT", CallKind.IDENTITY_PUT),
}


@dataclass(slots=True)
class _Entry:
    address: Address
    verb: Verb
    resource: Resource | None
    kind: Kind
    size: int
    moved_from: Address | None = None


def compile_calls(
    changes: Sequence[Change],
    context: WireContext,
    limits: Limits = PUBLISHED,
    *,
    batching: Batching = "auto",
    body_paths: Mapping[str, str] | None = None,
) -> Compiled:
    """Return the fewest calls that settle `changes`, at most one change for each address.

    `batching="never"` gives one single call for each change instead, except for what is too large
    for a single call. `body_paths` maps the SHA-256 of a body (hex) to its file, for messages.
    Raises ManifestError with every change that no call can carry: `body-too-large` above a
    container, `too-many-permissions`, `reserved-metadata-key`, `unknown-source` or `unknown-provider`.
    """
    wire = Wire(context)
    state_only: list[Address] = []
    staged: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
    problems: list[Problem] = []
    resources = payload_resources(changes)
    most = limits.container - _FRAME
    for change in sorted(changes, key=lambda change: change.address):
        if not alters_wire(change):
            state_only.append(change.address)
            continue
        try:
            entry = _entry(change, resources[change.address], wire)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        if entry.size > most or (entry.kind is Kind.ITEM and entry.verb is Verb.PUT):
            problems.extend(_over_limits(entry, wire, limits, body_paths or {}))
        staged[_stage_of(entry), entry.address.scope].append(entry)
    if problems:
        raise ManifestError(*sorted(set(problems), key=lambda problem: problem.sort_key))
    stages: list[Stage] = []
    number = 0
    for name in STAGES:
        calls: list[Call] = []
        for scope in sorted(scope for stage, scope in staged if stage == name):
            ordered = _in_safe_order(name, staged[name, scope])
            for group in _grouped(ordered, limits, batching):
                number += 1
                calls.append(_call(number, [ordered[index] for index in group.members], wire, group.batch))
        if calls:
            stages.append(Stage(name, tuple(calls)))
    return Compiled(tuple(stages), tuple(state_only))


def payload_resources(changes: Iterable[Change]) -> dict[Address, Resource | None]:
    """Return, for each address, the resource from which a call's payload is built.

    What is put, or what is deleted, except for a user whose declaration is withdrawn, which is put
    without well-knowns, and for an alias: its deletion is a mapping without entries,
    which must repeat the well-knowns that its identity has *afterwards*, or it would bring back old
    ones (push-api.md 5.3). They are those of the identity's own change when there is one, none when
    the identity is deleted, and those recorded with the alias otherwise.
    """
    listed = list(changes)
    resources: dict[Address, Resource | None] = {}
    gone: list[Address] = []
    for change in listed:
        deleted = change.action is Action.DELETE
        resources[change.address] = change.before if deleted else change.after
        if deleted and change.address.kind is Kind.ALIAS:
            gone.append(change.address)
        if _verb(change) is Verb.WITHDRAW:
            resources[change.address] = Resource(change.address, b"{}")
    if gone:
        identities = {change.address: change for change in listed if change.address.kind is not Kind.ITEM}
        for address in gone:
            before = resources[address]
            shared = before.shared if before is not None else b""
            change_of_identity = identities.get(Address(alias_identity(address)))
            if change_of_identity is not None:
                after = change_of_identity.after
                shared = after.shared if after is not None else b""
            resources[address] = Resource(address, b'{"mappings":[]}', shared)
    return resources


def naive_calls(changes: Iterable[Change]) -> int:
    """Return what one call for each change would cost."""
    return sum(map(alters_wire, changes))


def alters_wire(change: Change) -> bool:
    """Whether settling the change takes a call: not when only `protect` differs.

    A change whose earlier call has an unknown outcome always takes one.
    """
    before, after = change.before, change.after
    if change.action is not Action.UPDATE or change.reason == "unconfirmed" or before is None or after is None:
        return True
    if before.shared != after.shared:
        return True
    if b'"protect"' not in before.doc and b'"protect"' not in after.doc:
        return before.doc != after.doc
    return _unprotected(before) != _unprotected(after)


def _unprotected(resource: Resource) -> dict[str, object]:
    own = resource.own()
    own.pop("protect", None)
    return own


def _entry(change: Change, resource: Resource | None, wire: Wire) -> _Entry:
    verb = _verb(change)
    address, kind = change.address, change.address.kind
    # An unknown scope is found here, while problems are gathered.
    if kind is Kind.ITEM:
        wire.context.source(address.scope)
    else:
        wire.context.provider_id(address.scope)
    # Only the size is kept: a hundred thousand entries would cost more than the plan itself.
    size = wire.batch_entry(address, verb, resource).size + 1
    return _Entry(address, verb, resource, kind, size, change.moved_from)


def _verb(change: Change) -> Verb:
    if change.action is not Action.DELETE:
        return Verb.PUT
    # To destroy is to leave nothing; any other removal only says that we declare nothing of this user.
    withdrawn = change.address.kind is Kind.USER and change.reason != "destroy"
    return Verb.WITHDRAW if withdrawn else Verb.DELETE


def _stage_of(entry: _Entry) -> str:
    if entry.kind is Kind.ITEM:
        return ITEMS
    if entry.verb is Verb.PUT:
        return IDENTITIES
    return ALIAS_DELETES if entry.kind is Kind.ALIAS else IDENTITY_DELETES


def _over_limits(entry: _Entry, wire: Wire, limits: Limits, paths: Mapping[str, str]) -> list[Problem]:
    problems = []
    if entry.size > limits.container - _FRAME:
        body = wire.batch_entry(entry.address, entry.verb, entry.resource).body
        file = paths.get(body.sha256) if body else None
        what = f'the body of "{entry.address}"' if body else f'"{entry.address}"'
        problems.append(
            Problem(
                code="body-too-large",
                what=f"{what}{f' ({file})' if file else ''} may take {entry.size:,} bytes on the wire, "
                f"more than the {limits.container:,} of a file container",
                why="the Push API takes no larger piece (push-api.md 4.1).",
                fix="leave it out, or split it into several resources",
            )
        )
    if entry.kind is Kind.ITEM and entry.verb is Verb.PUT and entry.resource is not None:
        count = wire.permission_count(entry.resource)
        if count > limits.permission_identities:
            problems.append(
                Problem(
                    code="too-many-permissions",
                    what=f'the permissions of "{entry.address}" name {count:,} identities, '
                    f"more than {limits.permission_identities:,}",
                    why="the API would accept the item and then reject it (push-api.md 4.1).",
                    fix="gather the identities in a group and allow or deny that group",
                )
            )
    return problems


def _in_safe_order(stage: str, entries: list[_Entry]) -> list[_Entry]:
    if stage == ITEMS:
        puts = [entry for entry in entries if entry.verb is Verb.PUT]
        deletes = [entry for entry in entries if entry.verb is Verb.DELETE]
        return _dependent_last(puts, _parents) + _dependent_last(deletes, _parents)[::-1]
    if stage == IDENTITY_DELETES:
        # A batch holds each list once (`members`, then `deleted`), and addresses alternate between them.
        return sorted(entries, key=lambda entry: entry.verb is Verb.DELETE)
    if stage != IDENTITIES:
        return entries
    groups = [entry for entry in entries if entry.kind in GROUP_KINDS]
    others = [entry for entry in entries if entry.kind not in GROUP_KINDS]
    return _dependent_last(groups, _members) + sorted(others, key=lambda entry: _KIND_ORDER[entry.kind])


def _dependent_last(entries: list[_Entry], needs: Callable[[_Entry], Iterable[str]]) -> list[_Entry]:
    """Return entries so that each follows those it needs; a cycle is cut where the walk meets itself.

    Depth first from the first address on, without recursion: nesting may be as deep as it likes.
    """
    by_address: dict[str, _Entry] = {entry.address: entry for entry in entries}
    seen: set[str] = set()
    ordered: list[_Entry] = []
    for entry in entries:
        if entry.address in seen:
            continue
        seen.add(entry.address)
        walk = [(entry, iter(needs(entry)))]
        while walk:
            current, rest = walk[-1]
            for name in rest:
                found = by_address.get(name)
                if found is not None and name not in seen:
                    seen.add(name)
                    walk.append((found, iter(needs(found))))
                    break
            else:
                ordered.append(current)
                walk.pop()
    return ordered


def _parents(entry: _Entry) -> tuple[str, ...]:
    if entry.resource is None or b'"parent"' not in entry.resource.doc:
        return ()
    parent = orjson.loads(entry.resource.doc).get("parent")
    return (Address.of(Kind.ITEM, entry.address.scope, parent),) if parent else ()


def _members(entry: _Entry) -> tuple[str, ...]:
    if entry.resource is None or b"group/" not in entry.resource.doc:
        return ()
    return tuple(orjson.loads(entry.resource.doc).get("members", ()))


def _grouped(ordered: list[_Entry], limits: Limits, batching: Batching) -> tuple[Group, ...]:
    # A documentId in a single call stands in the query, so the entry's size is an upper bound.
    alone = [entry.size <= limits.single_body for entry in ordered]
    if batching == "never":
        return tuple(Group((index,), batch=not fits) for index, fits in enumerate(alone))
    sizes = [entry.size for entry in ordered]
    room = limits.container - _FRAME
    edges = _edges(ordered) if sum(sizes) > room else ()
    return pack(Load(sizes, alone, room, edges))


def _edges(ordered: list[_Entry]) -> list[tuple[int, int]]:
    """Return what must not come before what: members, parents, and the new place of what moves."""
    position = {entry.address: index for index, entry in enumerate(ordered)}
    edges = []
    for index, entry in enumerate(ordered):
        names: Iterable[str] = ()
        if entry.verb is Verb.PUT:
            names = _parents(entry) if entry.kind is Kind.ITEM else _members(entry)
        for name in names:
            needed = position.get(Address(name))
            if needed is not None and needed < index:
                edges.append((needed, index))
        if entry.moved_from is not None and position.get(entry.moved_from, -1) > index:
            edges.append((index, position[entry.moved_from]))
    return edges


def _call(number: int, entries: list[_Entry], wire: Wire, batch: bool) -> Call:
    first = entries[0]
    scope = first.address.scope
    covers = tuple(Covered(entry.address, entry.verb) for entry in entries)
    if batch:
        size = _FRAME + sum(entry.size for entry in entries)
        if first.kind is Kind.ITEM:
            path, kind = f"{wire.items_path(scope)}/batch", CallKind.ITEM_BATCH
        else:
            path, kind = f"{wire.provider_path(scope)}/permissions/batch", CallKind.IDENTITY_BATCH
        return Call(number, kind, "PUT", path, (), scope, covers, size)
    size = wire.single_entry(first.address, first.verb, first.resource).size
    if first.kind is Kind.ITEM:
        return _single_item(number, first, wire, covers, size)
    if first.kind is Kind.ALIAS:
        path = f"{wire.provider_path(scope)}/mappings"
        return Call(number, CallKind.MAPPING_PUT, "PUT", path, (), scope, covers, size)
    method, kind = _SINGLE[first.verb]
    path = f"{wire.provider_path(scope)}/permissions"
    return Call(number, kind, method, path, (), scope, covers, size)


def _single_item(number: int, entry: _Entry, wire: Wire, covers: tuple[Covered, ...], size: int) -> Call:
    scope = entry.address.scope
    path = wire.items_path(scope)
    document = ("documentId", entry.address.name)
    if entry.verb is Verb.DELETE:
        query: tuple[tuple[str, str], ...] = (document, ("deleteChildren", "false"))
        return Call(number, CallKind.ITEM_DELETE, "DELETE", path, query, scope, covers, size)
    body = wire.batch_entry(entry.address, entry.verb, entry.resource).body
    binary = body is not None and body.encoding != "text"
    query = (document, ("compressionType", COMPRESSION)) if binary else (document,)
    return Call(number, CallKind.ITEM_PUT, "PUT", path, query, scope, covers, size)
