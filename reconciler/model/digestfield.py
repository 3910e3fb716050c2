"""The digest that an item carries in a metadata key of its own, where its source has a digest field.

The index gives back neither bodies nor metadata without a field (push-api.md 5.6), so a comparison of what it shows
is blind to them. A digest of all that was pushed, in a field that is shown, stands for the rest. Documents name the
key alone (`digestField`): the value follows from them, as the permanent id does from the uri, and calls put it in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource

DIGEST_FIELD = "digestField"
DIGITS = 32
"""Hex digits of a digest: 128 bits, enough against chance, and short in an index of millions."""


def item_digest(resource: Resource) -> str:
    """Return the digest of what a push of this item says: its documents, the body by its own digest.

    Protection is left out: it is ours alone, and no call carries it.
    """
    if b'"protect"' in resource.doc:
        own = resource.own()
        own.pop("protect", None)
        resource = Resource(resource.address, canonical_json(own), resource.shared)
    return hashlib.sha256(resource.fingerprint).hexdigest()[:DIGITS]


def digest_key(own: Mapping[str, Any]) -> str | None:
    """Return the metadata key that carries an item's digest, None where it carries none."""
    key: str | None = own.get(DIGEST_FIELD)
    return key


def carried_digest(resource: Resource) -> tuple[str, str] | None:
    """Return the metadata key and the digest that an item carries, None where it carries none."""
    # Most items of most projects carry none: that is seen without reading their documents.
    key = digest_key(orjson.loads(resource.doc)) if b'"digestField"' in resource.doc else None
    return None if key is None else (key, item_digest(resource))


def without_digest(resource: Resource) -> Resource:
    """Return the item as one that carries no digest: what somebody else pushed has none of ours."""
    if b'"digestField"' not in resource.doc:
        return resource
    own = resource.own()
    own.pop(DIGEST_FIELD, None)
    return Resource(resource.address, canonical_json(own), resource.shared)


def carried_metadata(resource: Resource) -> dict[str, Any]:
    """Return an item's metadata as it is sent, its digest included; its permanent id only where it is given."""
    own = resource.own()
    metadata: dict[str, Any] = own.get("metadata") or {}
    key = digest_key(own)
    return metadata if key is None else {**metadata, key: item_digest(resource)}
