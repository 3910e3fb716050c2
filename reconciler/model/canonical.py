"""The canonical form of a resource and its digest: the only definition of "equal".

A resource is two documents: its own (`doc`), and at most one that many resources share (`shared`):
the permission model of an item, the well-knowns of an identity. Both are JSON with sorted keys.
Two resources are equal when both digests are. The own document, by kind:

    item            {"body"?, "clickableUri"?, "digestField"?, "fileExtension"?, "metadata", "parent"?, "protect"?,
                     "title"?}
                    body: {"encoding": "text"|"binary", "sha256": hex, "size": bytes}
                    metadata: lower-case key -> string, number, boolean, or a list of those; without a
                    `permanentid` the item has the one that follows from its uri (`permanent_id`)
                    digestField: the metadata key that carries a digest of the rest (`model.digestfield`)
    group, virtual-group   {"members": [identity, ...], "protect"?}
    user            {"protect"?}
    alias           {"mappings": [identity, ...], "protect"?}

and the shared one:

    item            a permission model, `PermissionModel.to_doc()`
    all others      {"wellKnowns": [identity, ...]}

Well-knowns are shared because the wire wants the same list on an identity and on its alias, every
time (push-api.md 5.3). Identities are canonical strings, sorted. A digest is SHA-256, 32 bytes;
`NO_SHARED` stands for the absence of a shared document.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

DIGEST_SIZE = 32
NO_SHARED = bytes(DIGEST_SIZE)

# Keys of an item's envelope (push-api.md 3.1), in lower case because the wire ignores case: as metadata
# they would take the envelope's place.
RESERVED_KEYS = frozenset(
    {
        "compressedbinarydata",
        "compressedbinarydatafileid",
        "compressiontype",
        "data",
        "documentid",
        "fileextension",
        "orderingid",
        "parentid",
        "permissions",
    }
)


def canonical_json(doc: Any) -> bytes:
    """Return the one JSON text of a document of JSON values. Integers must fit 64 bits."""
    # A copy of exact size: orjson's own bytes keep a buffer of 4 KB, and documents are held by the ten thousand.
    return bytes(memoryview(orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)))


def digest(canonical: bytes) -> bytes:
    """Return the digest of a canonical JSON text."""
    return hashlib.sha256(canonical).digest()


def permanent_id(uri: str) -> str:
    """Return the stable id of an item: 30 hex digits of MD5 and 30 of SHA-1 of its uri.

    The official clients make the same (push-api.md 3.1), so moving to us changes no id. It follows
    from the uri, so documents leave it out and calls put it in.
    """
    data = uri.encode()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return md5[:30] + hashlib.sha1(data, usedforsecurity=False).hexdigest()[:30]
