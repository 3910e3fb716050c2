"""What undoes changes of access: what is recorded now, and what was before, give what is to be.

Content has no way back here: an item keeps the document that it has and gets the permission model from before.
What has ended by itself does not come back. Knows nothing of runs or of calls, and leaves alone what is not as those
changes left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import orjson

from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.former import Former, access_digest
from reconciler.model.grant import EVERY, MODELS, Grant
from reconciler.model.identity import alias_address, aliased_identity
from reconciler.model.permission import PermissionModel
from reconciler.model.states import Resource
from reconciler.planning.expiring import entries_of, given_by


@dataclass(frozen=True, slots=True)
class Inverse:
    """What is to be of the addresses that change, None where nothing is to be any more, and what is left alone.

    `conflicts` were changed again since, `gone` are items that were deleted, `stay` are items that were created and
    keep whoever sees them. All are sorted.
    """

    after: Mapping[Address, Resource | None]
    conflicts: tuple[Address, ...] = ()
    gone: tuple[Address, ...] = ()
    stay: tuple[Address, ...] = ()


def inverse(
    formers: Iterable[Former], recorded: Callable[[Collection[str]], Mapping[str, Resource]], *, created: bool = False
) -> Inverse:
    """Return what undoes the changes that `formers` were before.

    `recorded` looks up what is recorded now. What is as it was before takes no undoing, whoever undid it. With
    `created`, items that the changes created go as well. An identity and its alias have the same well-knowns, at the
    remote too (push-api.md 5.3), so these stay as they are where one of the two was changed again.
    """
    known = {former.address: former for former in formers}
    now = recorded(known)
    due = [former for former in known.values() if access_digest(now.get(former.address)) != former.access]
    conflicts = {former.address for former in due if access_digest(now.get(former.address)) != former.left}
    conflicts |= {
        former.address
        for former in due
        if former.shared != _shared(now.get(former.address)) and _partner(former.address) in conflicts
    }
    after: dict[Address, Resource | None] = {}
    gone, stay = [], []
    for former in sorted(due, key=lambda each: each.address):
        address, present = former.address, now.get(former.address)
        if address in conflicts:
            continue
        if address.kind is not Kind.ITEM:
            after[address] = _identity(former, present) if former.existed else None
        elif present is None:
            gone.append(address)
        elif former.existed:
            after[address] = Resource(address, present.doc, former.shared)
        elif created:
            after[address] = None
        else:
            stay.append(address)
    return Inverse(after, tuple(sorted(conflicts)), tuple(gone), tuple(stay))


def given_back(
    after: Mapping[Address, Resource | None], now: Mapping[str, Resource], grants: Iterable[Grant]
) -> Iterator[tuple[Address, Grant, frozenset[str]]]:
    """Yield each of these grants that would be there again, where, and for which identities.

    Which named model an item had is not recorded: who was allowed in any is taken for it.
    """
    known = _Ends.of(grants)
    counted: dict[bytes, Counter[str]] = {}

    def given(resource: Resource | None) -> Counter[str]:
        if resource is None or resource.address.kind is not Kind.ITEM:
            return given_by(resource)
        if resource.shared not in counted:
            counted[resource.shared] = given_by(resource)
        return counted[resource.shared]

    for address, resource in after.items():
        back = Counter[str]() if resource is None else given(resource) - given(now.get(address))
        for grant in known.at(address, back) if back else ():
            if entries := frozenset(back).intersection(entries_of(grant, address, back)):
                yield address, grant, entries


def without(resource: Resource, entries: Collection[str]) -> Resource | None:
    """Return a resource that gives these identities nothing, None for an alias that then stands for nobody."""
    if resource.address.kind is Kind.ITEM:
        model = PermissionModel.from_doc(resource.shared_doc() or {"levels": ()})
        levels = tuple(
            replace(
                level,
                sets=tuple(
                    replace(held, allowed=tuple(entry for entry in held.allowed if entry not in entries))
                    for held in level.sets
                ),
            )
            for level in model.levels
        )
        return replace(resource, shared=canonical_json(PermissionModel(levels).to_doc()))
    own = resource.own()
    key = "mappings" if resource.address.kind is Kind.ALIAS else "members"
    own[key] = [entry for entry in own[key] if entry not in entries]
    return replace(resource, doc=canonical_json(own)) if own[key] or key == "members" else None


@dataclass(frozen=True, slots=True)
class _Ends:
    """Grants that end, by where they may be given back.

    That is at an address, at any item (by the identity), or at aliases that begin alike.
    """

    exact: dict[str, list[Grant]]
    models: dict[str, list[Grant]]
    of_each: list[tuple[str, Grant]]

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> _Ends:
        found = cls({}, {}, [])
        for grant in grants:
            if grant.kind == "each":
                found.of_each.append((grant.address[: -len(EVERY)], grant))
            elif grant.address.startswith(MODELS):
                found.models.setdefault(grant.entry, []).append(grant)
            else:
                found.exact.setdefault(grant.address, []).append(grant)
        return found

    def at(self, address: Address, back: Iterable[str]) -> list[Grant]:
        """Return those that may be among what comes back at an address."""
        found = self.exact.get(address, [])
        if address.kind is Kind.ITEM:
            return [*found, *(grant for entry in back for grant in self.models.get(entry, ()))]
        if address.kind is Kind.ALIAS:
            return [*found, *(grant for start, grant in self.of_each if address.startswith(start))]
        return found


def with_needed(
    chosen: Collection[str], after: Mapping[Address, Resource | None], recorded: Collection[str]
) -> frozenset[str]:
    """Return a choice of what changes, together with what it names of those identities that only then come back.

    Without them an item would name a group that nobody knows, and be hidden from everybody.
    """
    found = set(chosen)
    queue = list(found)
    while queue:
        resource = after.get(Address(queue.pop()))
        for name in () if resource is None else _named(resource):
            if name in after and name not in recorded and name not in found:
                found.add(name)
                queue.append(name)
    return frozenset(found)


def unknown_groups(
    after: Mapping[Address, Resource | None], recorded: Collection[str], providers: Collection[str]
) -> Iterator[tuple[Address, Address]]:
    """Yield each group of these providers that will not be there, after what is to name it.

    Such a name resolves to nobody: those that it stands for stay locked out.
    """
    known: dict[bytes, tuple[Address, ...]] = {}
    for address, resource in after.items():
        if resource is None:
            continue
        own = b"" if address.kind is Kind.ITEM else resource.doc
        named = known.get(own + resource.shared)
        if named is None:
            named = known[own + resource.shared] = tuple(
                sorted(
                    name
                    for name in set(_named(resource))
                    if name.kind in GROUP_KINDS
                    and name.scope in providers
                    and (after[name] is None if name in after else name not in recorded)
                )
            )
        yield from ((address, name) for name in named)


def _identity(former: Former, present: Resource | None) -> Resource:
    """Return an identity as it was; whether it is protected is no matter of access, and stays as it is."""
    if present is None:
        return Resource(former.address, former.doc, former.shared)
    own = orjson.loads(former.doc)
    own.pop("protect", None)
    if present.own().get("protect"):
        own["protect"] = True
    return Resource(former.address, canonical_json(own), former.shared)


def _shared(resource: Resource | None) -> bytes:
    return b"" if resource is None else resource.shared


def _partner(address: Address) -> Address | None:
    if address.kind is Kind.ITEM:
        return None
    return Address(aliased_identity(address) if address.kind is Kind.ALIAS else alias_address(address))


def _named(resource: Resource) -> Iterable[Address]:
    shared = resource.shared_doc() or {}
    if resource.address.kind is Kind.ITEM:
        names = PermissionModel.from_doc(shared).identities() if shared else ()
    else:
        own = resource.own()
        names = (*own.get("members", ()), *own.get("mappings", ()), *shared.get("wellKnowns", ()))
    for name in names:
        yield Address(name)
        yield Address(alias_address(name))
