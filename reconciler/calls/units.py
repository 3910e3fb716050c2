"""What each change becomes on the wire, before it is packed into calls.

Pure. A unit is one entry of a call's payload; it knows its size, not its content.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from reconciler.calls.call import Covered, Verb
from reconciler.calls.wire import PATCHED_PROPERTIES, Wire, alias_identity
from reconciler.model.address import Address, Kind
from reconciler.model.digestfield import DIGEST_FIELD, digest_key
from reconciler.model.states import Resource
from reconciler.planning.change import FORGOTTEN, Action, Change, field_changes
from reconciler.planning.diff import DESTROY, DRIFTED, REJECTED, RESENT, UNCONFIRMED

# Reasons to send a resource although desired and recorded agree.
_SENT_ANYWAY = frozenset({UNCONFIRMED, RESENT, DRIFTED, REJECTED})

_METADATA_PATHS = frozenset({"metadata", DIGEST_FIELD, *PATCHED_PROPERTIES})


@dataclass(slots=True)
class Unit:
    """One change on its way into a call.

    `size` bounds its entry in a batch file, comma included, `apart` the file container that its body
    takes beside it (0: none). `fields` are those that a patch sets. `swept` are further addresses that
    go because this one does.
    """

    address: Address
    verb: Verb
    resource: Resource | None
    kind: Kind
    size: int
    apart: int = 0
    fields: tuple[str, ...] = ()
    swept: tuple[Address, ...] = ()
    moved_from: Address | None = None

    @property
    def covers(self) -> tuple[Covered, ...]:
        """What a call that holds this unit settles."""
        own = Covered(self.address, self.verb, self.fields)
        return (own, *(Covered(address, Verb.SWEPT) for address in self.swept))


def unit_of(change: Change, resource: Resource | None, wire: Wire) -> Unit:
    """Return the unit of a change that alters the wire. Raises ManifestError when no call can carry it."""
    address, kind = change.address, change.address.kind
    verb = verb_of(change)
    fields: tuple[str, ...] = ()
    # An unknown scope is found here, while problems are gathered.
    if kind is not Kind.ITEM:
        wire.context.provider_id(address.scope)
    elif wire.context.source(address.scope).catalog and verb is Verb.PUT:
        fields = patched_fields(change)
        verb = Verb.PATCH if fields else verb
    # Only the sizes are kept: a hundred thousand entries would cost more than the plan itself.
    entry = wire.batch_entry(Covered(address, verb, fields), resource)
    return Unit(
        address, verb, resource, kind, entry.size + 1, entry.container_size, fields, moved_from=change.moved_from
    )


def tightening_unit(resource: Resource, wire: Wire) -> Unit:
    """Return the unit that puts a resource for the time being."""
    address = resource.address
    entry = wire.batch_entry(Covered(address, Verb.TIGHTEN), resource)
    return Unit(address, Verb.TIGHTEN, resource, address.kind, entry.size + 1, entry.container_size)


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
        if verb_of(change) is Verb.WITHDRAW:
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


def verb_of(change: Change) -> Verb:
    """Return what settling a change does to its resource, before calls are chosen."""
    if change.action is not Action.DELETE:
        return Verb.PUT
    # To destroy is to leave nothing; any other removal only says that we declare nothing of this user.
    withdrawn = change.address.kind is Kind.USER and change.reason != DESTROY
    return Verb.WITHDRAW if withdrawn else Verb.DELETE


def alters_wire(change: Change) -> bool:
    """Whether settling the change takes a call: not when only `protect` differs, nor to forget.

    A change whose earlier call has an unknown outcome always takes one, and so does one that is asked for.
    """
    before, after = change.before, change.after
    if change.reason == FORGOTTEN:
        return False
    if change.action is not Action.UPDATE or change.reason in _SENT_ANYWAY or before is None or after is None:
        return True
    if before.shared != after.shared:
        return True
    if b'"protect"' not in before.doc and b'"protect"' not in after.doc:
        return before.doc != after.doc
    return _unprotected(before) != _unprotected(after)


def patched_fields(change: Change) -> tuple[str, ...]:
    """Return the fields that a partial update would set, sorted; empty when the whole item must be sent.

    Only an item that is known to be there can be updated in part, and only where nothing but fields
    differs: permissions, body, type and parent are no fields (push-api.md 2.5).
    """
    if change.reason != "changed" or change.before is None or change.after is None:
        return ()
    paths = [entry.path for entry in field_changes(change) if entry.path != ("protect",)]
    if any(path[0] not in _METADATA_PATHS for path in paths):
        return ()
    # A property and a metadata key may be one field.
    named = {path[-1].lower() for path in paths if path != (DIGEST_FIELD,)}
    if paths:
        # Whatever changes, the digest does; of one that is taken away the field is emptied.
        digests = (digest_key(side.own()) for side in (change.before, change.after))
        named.update(key for key in digests if key is not None)
    return tuple(sorted(named))


def _unprotected(resource: Resource) -> dict[str, object]:
    own = resource.own()
    own.pop("protect", None)
    return own


def parents_of(unit: Unit) -> tuple[str, ...]:
    """Return the address of the item's parent, if it has one."""
    if unit.resource is None or b'"parent"' not in unit.resource.doc:
        return ()
    parent = orjson.loads(unit.resource.doc).get("parent")
    return (Address.of(Kind.ITEM, unit.address.scope, parent),) if parent else ()


def members_of(unit: Unit) -> tuple[str, ...]:
    """Return a group's members, where there are groups among them."""
    if unit.resource is None or b"group/" not in unit.resource.doc:
        return ()
    return tuple(orjson.loads(unit.resource.doc).get("members", ()))
