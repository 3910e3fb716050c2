"""A resource as the JSON that the Push API documents, except for the content of its body.

Pure: it turns canonical documents (`model.canonical`) into the entries of push-api.md section 3 and
knows nothing of files, batching or HTTP. The content of an item's body is not at hand here; the
payload adds it (`pushapi.payload`). From its size alone follows how it travels: text as `data`,
anything else compressed and in base64, and what may be too large for either in a file container of
its own (push-api.md 3.1, 4.1); the bounds say how large each may become.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from reconciler.calls.call import WHOLE, Covered, Verb
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import RESERVED_KEYS, permanent_id
from reconciler.model.digestfield import carried_digest
from reconciler.model.identity import Identity, aliased_identity, parse_identity
from reconciler.model.states import Resource
from reconciler.problems import ManifestError, Problem

ZLIB = "ZLIB"
"""What the API takes binary content for when nothing is said (push-api.md 4.5)."""

# As item permissions spell a type, and as identity calls do (push-api.md 3.4, 3.5 and 7 no. 16).
PERMISSION_TYPES = {"user": "User", "group": "Group", "virtual-group": "VirtualGroup", "unknown": "Unknown"}
_IDENTITY_TYPES = {"user": "USER", "group": "GROUP", "virtual-group": "VIRTUAL_GROUP", "unknown": "UNKNOWN"}

# Properties of an item beside its metadata that are fields as well: a partial update can set them.
PATCHED_PROPERTIES = ("title", "clickableUri")

_CACHED_MODELS = 4096
_BODY_OVERHEAD = 128
_FILE_ID_OVERHEAD = 192  # the key, and a `fileId`, which is a UUID today

# Bytes around the blocks of a compressed stream: its header, its end and its checksum (push-api.md 4.5).
_FRAMES = {ZLIB: 11, "GZIP": 23, "DEFLATE": 5}


class Section(StrEnum):
    """The lists of a batch file (push-api.md 2.5, 3.3 and 3.5)."""

    ADD_OR_UPDATE = "addOrUpdate"
    DELETE = "delete"
    PARTIAL_UPDATE = "partialUpdate"
    MEMBERS = "members"
    MAPPINGS = "mappings"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Body:
    """The body that an item promises: `text` or `binary`, SHA-256 in hex, size in bytes."""

    encoding: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a batch file, or a single call's body: a JSON object, its content still missing.

    `compression` is how binary content of it travels. With `apart` the body is in a file container
    of its own, of at most `container_size` bytes, and the entry only names it.
    """

    head: bytes
    body: Body | None = None
    compression: str = ZLIB
    apart: bool = False

    @property
    def size(self) -> int:
        """An upper bound of the bytes of the whole JSON object; exact without a body."""
        if self.body is None:
            return len(self.head)
        return len(self.head) + (_FILE_ID_OVERHEAD if self.apart else body_bound(self.body.size, self.compression))

    @property
    def container_size(self) -> int:
        """An upper bound of the bytes that the body's own container holds; 0 when it has none."""
        return packed_bound(self.body.size, self.compression) if self.body is not None and self.apart else 0


def packed_bound(size: int, compression: str) -> int:
    """Return how many bytes `size` bytes may take when they are compressed in this way.

    For the deflating kinds five bytes for each started 16,383 and the frame. It is a promise, not a
    property of some zlib build: the payload falls back to stored blocks when a compressor would
    exceed it. LZMA has no such blocks; what it adds to noise is a hundredth, and a 32nd is kept free.
    """
    if compression == "UNCOMPRESSED":
        return size
    if compression == "LZMA":
        return size + size // 32 + 4096
    return size + 5 * (size // 16_383 + 1) + _FRAMES[compression]


def body_bound(size: int, compression: str = ZLIB) -> int:
    """Return how many bytes a body of `size` bytes adds to its JSON entry at most, key included.

    The same on every machine, whatever the content: base64 of the largest compressed form. Escaped text
    nearly always stays below it; text of which more than a third needs escapes travels compressed
    (`compressedBinaryData`), so that the bound holds without reading the text (push-api.md 3.1).
    """
    return (packed_bound(size, compression) + 2) // 3 * 4 + _BODY_OVERHEAD


def section_of(address: Address, verb: Verb) -> Section | None:
    """Return the list of a batch file in which this change stands; None for one that is written nowhere."""
    if verb is Verb.SWEPT:
        return None
    kind = address.kind
    if kind is Kind.ITEM:
        if verb is Verb.PATCH:
            return Section.PARTIAL_UPDATE
        return Section.ADD_OR_UPDATE if verb in WHOLE else Section.DELETE
    if kind is Kind.ALIAS:
        return Section.MAPPINGS
    return Section.DELETED if verb is Verb.DELETE else Section.MEMBERS


class Wire:
    """Turns resources into entries for one context; permission models are turned once each."""

    def __init__(self, context: WireContext, limits: Limits = PUBLISHED) -> None:
        self.context = context
        self.limits = limits
        self._models: dict[tuple[str, bytes], tuple[orjson.Fragment, int]] = {}

    def source_path(self, source: str) -> str:
        """Return the path under which a source's calls live (push-api.md 2.1 and 2.5)."""
        return f"{self._organization()}/sources/{_segment(self.context.source(source).id)}"

    def items_path(self, source: str) -> str:
        """Return the path of a source's single item calls (push-api.md 2.1)."""
        return f"{self.source_path(source)}/documents"

    def provider_path(self, provider: str) -> str:
        """Return the path under which a provider's identity calls live (push-api.md 2.3)."""
        return f"{self._organization()}/providers/{_segment(self.context.provider_id(provider))}"

    def batch_entry(self, covered: Covered, resource: Resource | None) -> Entry:
        """Return the entry of a batch file; for a patch, its entries, with commas between them.

        `resource` is what is put, or what an alias was before its deletion; it may be None for any
        other deletion. Raises ManifestError for metadata that the wire has no place for.
        """
        address, verb = covered.address, covered.verb
        if address.kind is not Kind.ITEM:
            return self.single_entry(address, verb, resource)
        if verb in WHOLE:
            return self._item(_needed(address, resource), documented_id=address.name)
        if verb is Verb.PATCH:
            return self._patch(address.name, covered.fields, _needed(address, resource))
        # Explicit, although false is the API's default: the rule is a prefix rule, and clients
        # disagree about the default (push-api.md 7 no. 9).
        tree = verb is Verb.DELETE_TREE
        return Entry(orjson.dumps({"documentId": address.name, "deleteChildren": tree}))

    def single_entry(self, address: Address, verb: Verb, resource: Resource | None) -> Entry:
        """Return the body of a single call; an item's documentId is in the query, not in the body."""
        if address.kind is Kind.ITEM:
            return self._item(_needed(address, resource)) if verb in WHOLE else Entry(b"")
        if address.kind is Kind.ALIAS:
            return Entry(orjson.dumps(self._mapping(address, _needed(address, resource), verb)))
        if verb is Verb.DELETE:
            return Entry(orjson.dumps({"identity": _identity_doc(parse_identity(address))}))
        return Entry(orjson.dumps(self._identity(address, _needed(address, resource))))

    def permission_count(self, resource: Resource) -> int:
        """Return how many identities an item's permissions name, repeats included."""
        if not resource.shared:
            return 0
        return self._model(resource.address.scope, resource.shared)[1]

    def _organization(self) -> str:
        return f"organizations/{_segment(self.context.organization)}"

    def _item(self, resource: Resource, documented_id: str | None = None) -> Entry:
        own = orjson.loads(resource.doc)
        doc: dict[str, Any] = own.get("metadata") or {}
        _check_metadata(resource.address, own, doc)
        doc.setdefault("permanentid", permanent_id(resource.address.name))
        if (carried := carried_digest(resource)) is not None:
            doc[carried[0]] = carried[1]
        if documented_id is not None:
            doc["documentId"] = documented_id
        for key, wire_key in (
            ("title", "title"),
            ("clickableUri", "clickableUri"),
            ("fileExtension", "fileExtension"),
            ("parent", "parentId"),
        ):
            if key in own:
                doc[wire_key] = own[key]
        source = self.context.source(resource.address.scope)
        body = Body(**own["body"]) if own.get("body") is not None else None
        apart = body is not None and self._apart(body, source)
        packed = body is not None and (apart or body.encoding != "text")
        if packed and documented_id is not None:
            # A key of batch entries only; a single call says it in its query (push-api.md 2.1).
            doc["compressionType"] = source.compression
        if resource.shared:
            doc["permissions"] = self._model(resource.address.scope, resource.shared)[0]
        # Text that has to be compressed after all is what nothing is said of: ZLIB.
        return Entry(orjson.dumps(doc), body, source.compression if packed else ZLIB, apart)

    def _apart(self, body: Body, source: SourceRef) -> bool:
        # Text in an entry is compressed only in an emergency, and then with what nothing is said of. An item
        # of a catalog is smaller than what fits inline, and its stream fills containers of its own.
        inline = ZLIB if body.encoding == "text" else source.compression
        return not source.catalog and body_bound(body.size, inline) > self.limits.inline_content

    def _patch(self, document_id: str, fields: Sequence[str], resource: Resource) -> Entry:
        """Return what sets these fields to their new values (push-api.md 2.5).

        Always `fieldValueReplace`: appending to a list is not harmless to repeat, and a call whose reply
        was lost is repeated.
        """
        own = orjson.loads(resource.doc)
        metadata: dict[str, Any] = own.get("metadata") or {}
        _check_metadata(resource.address, own, metadata)
        values = {key.lower(): own[key] for key in PATCHED_PROPERTIES if key in own} | metadata
        values.setdefault("permanentid", permanent_id(resource.address.name))
        if (carried := carried_digest(resource)) is not None:
            values[carried[0]] = carried[1]
        entries = (
            orjson.dumps(
                {
                    "documentId": document_id,
                    "operator": "fieldValueReplace",
                    "field": field,
                    "value": values.get(field),
                }
            )
            for field in fields
        )
        return Entry(b",".join(entries))

    def _model(self, source: str, shared: bytes) -> tuple[orjson.Fragment, int]:
        key = (source, shared)
        known = self._models.get(key)
        if known is None:
            if len(self._models) >= _CACHED_MODELS:
                self._models.clear()
            known = self._models[key] = self._permissions(source, orjson.loads(shared))
        return known

    def _permissions(self, source: str, model: dict[str, Any]) -> tuple[orjson.Fragment, int]:
        provider = self.context.source(source).provider
        own = None if provider is None else self.context.provider_ref(provider)
        levels = model["levels"]
        count = 0

        def identity(text: str) -> dict[str, Any]:
            nonlocal count
            count += 1
            return self._permission_identity(parse_identity(text), own)

        def one_set(entry: dict[str, Any]) -> dict[str, Any]:
            doc: dict[str, Any] = {"name": entry["name"]} if entry.get("name") else {}
            # Always said: two official clients default to true, the API to false (push-api.md 3.4).
            doc["allowAnonymous"] = bool(entry.get("anonymous", False))
            doc["allowedPermissions"] = [identity(text) for text in entry.get("allowed", ())]
            doc["deniedPermissions"] = [identity(text) for text in entry.get("denied", ())]
            return doc

        if len(levels) == 1 and not levels[0].get("name"):
            docs = [one_set(entry) for entry in levels[0]["sets"]]
        else:
            docs = [
                ({"name": level["name"]} if level.get("name") else {})
                | {"permissionSets": [one_set(entry) for entry in level["sets"]]}
                for level in levels
            ]
        # A copy: what the encoder returns holds the whole of its buffer, and this one is kept.
        return orjson.Fragment(bytes(memoryview(orjson.dumps(docs)))), count

    def _permission_identity(self, identity: Identity, own: str | None) -> dict[str, Any]:
        doc: dict[str, Any] = {
            "identity": identity.name,
            "identityType": PERMISSION_TYPES[identity.type],
        }
        provider = self.context.provider_ref(identity.provider)
        if provider != own:
            doc["securityProvider"] = provider
        if identity.info:
            doc["additionalInfo"] = dict(identity.info)
        return doc

    def _identity(self, address: Address, resource: Resource) -> dict[str, Any]:
        doc: dict[str, Any] = {"identity": _identity_doc(parse_identity(address))}
        if address.kind is not Kind.USER:
            members = orjson.loads(resource.doc).get("members", ())
            doc["members"] = [self._related(text, address.scope) for text in members]
        return doc | self._well_knowns(resource)

    def _mapping(self, address: Address, resource: Resource, verb: Verb) -> dict[str, Any]:
        doc: dict[str, Any] = {"identity": _identity_doc(alias_identity(address))}
        # No call deletes an alias: a mapping without entries replaces it (push-api.md 2.3).
        mappings = orjson.loads(resource.doc).get("mappings", ()) if verb in WHOLE else ()
        doc["mappings"] = [self._related(text, None) for text in mappings]
        return doc | self._well_knowns(resource)

    def _well_knowns(self, resource: Resource) -> dict[str, Any]:
        if not resource.shared:
            return {}
        names = orjson.loads(resource.shared).get("wellKnowns", ())
        return {"wellKnowns": [self._related(text, resource.address.scope) for text in names]}

    def _related(self, text: str, scope: str | None) -> dict[str, Any]:
        identity = parse_identity(text)
        doc = _identity_doc(identity)
        if identity.provider != scope:
            doc["provider"] = self.context.provider_ref(identity.provider)
        return doc


def alias_identity(address: Address) -> Identity:
    """Return the identity that an alias's address is about."""
    return parse_identity(aliased_identity(address))


def _identity_doc(identity: Identity) -> dict[str, Any]:
    doc: dict[str, Any] = {"name": identity.name, "type": _IDENTITY_TYPES[identity.type]}
    if identity.info:
        doc["additionalInfo"] = dict(identity.info)
    return doc


def _needed(address: Address, resource: Resource | None) -> Resource:
    if resource is None or resource.address != address:
        raise ValueError(f"the call covers {address!r} but was given something else. This is a bug in reconciler.")
    return resource


def _check_metadata(address: Address, own: dict[str, Any], metadata: dict[str, Any]) -> None:
    # A metadata key `permissions` would be read as the item's permissions: never let one through.
    taken = RESERVED_KEYS & metadata.keys()
    if "title" in metadata and "title" in own:
        taken |= {"title"}
    if "clickableuri" in metadata and "clickableUri" in own:
        taken |= {"clickableuri"}
    if taken:
        name = min(taken)
        raise ManifestError(
            Problem(
                code="reserved-metadata-key",
                what=f'"{address}" has metadata "{name}", a name that the Push API uses itself',
                why="keys ignore case on the wire, so it would take the place of the item's own property.",
                fix="rename the metadata key, or use the item's property of that name",
            )
        )


def _segment(text: str) -> str:
    return quote(text, safe="")
