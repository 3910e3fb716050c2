"""What of a resource decides who sees what, and what that was before somebody changed it.

Of an item it is the permission model, of an identity its members, mappings and well-knowns, and of both whether
they are there at all. Knows nothing of runs, of how it is kept, or of what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import orjson

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import NO_SHARED, canonical_json, digest
from reconciler.model.states import Resource

ABSENT = b""
"""The access digest of what is not there."""


@dataclass(frozen=True, slots=True)
class Former:
    """What was recorded at an address before a run, and what that run left there.

    `existed` says whether anything was recorded; `doc` is the own document of an identity and empty for an item,
    of which only the permission model is kept; `shared` is the permission model or the well-knowns. `left` is the
    access digest of what the run left.
    """

    address: Address
    existed: bool
    left: bytes
    doc: bytes = b""
    shared: bytes = b""

    @property
    def access(self) -> bytes:
        """The access digest of what was recorded before."""
        return access_digest(Resource(self.address, self.doc, self.shared)) if self.existed else ABSENT


def former_of(address: Address, before: Resource | None, after: Resource | None) -> Former | None:
    """Return what is to be remembered of a resource that went from `before` to `after`, None if access is the same."""
    left = access_digest(after)
    if access_digest(before) == left:
        return None
    if before is None:
        return Former(address, False, left)
    return Former(address, True, left, b"" if address.kind is Kind.ITEM else before.doc, before.shared)


def merge(found: dict[Address, Former], later: Iterable[Former]) -> None:
    """Add later changes to earlier ones: the oldest before stays, the newest left replaces."""
    for former in later:
        earlier = found.get(former.address)
        found[former.address] = former if earlier is None else replace(earlier, left=former.left)


def access_digest(resource: Resource | None) -> bytes:
    """Return 32 bytes that are equal when resources at one address let the same in, `ABSENT` for none."""
    if resource is None:
        return ABSENT
    shared = digest(resource.shared) if resource.shared else NO_SHARED
    if resource.address.kind is Kind.ITEM:
        return shared
    return digest(_without_protection(resource.doc) + shared)


def _without_protection(doc: bytes) -> bytes:
    if b'"protect"' not in doc:
        return doc
    own = orjson.loads(doc)
    own.pop("protect", None)
    return canonical_json(own)
