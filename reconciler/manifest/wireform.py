"""Entries in the shape of Push API bodies, turned into the shape that people write.

The documents, the seeds and existing push scripts hold items and identities as request bodies, in
PascalCase or camelCase (push-api.md 3: keys are case-insensitive). They are accepted wherever an
entry stands, and mean the same as the entry that this module returns. What is not understood is
left as it is, so that validation names it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import lzma
import zlib
from typing import Any

from reconciler.model.identity import identity_type

MAX_CONTENT = 256 * 1024 * 1024  # push-api.md 4.1: the size of a container; no item can hold more.

_ITEM_KEYS = {
    "documentid": "uri",
    "title": "title",
    "clickableuri": "clickableUri",
    "fileextension": "fileExtension",
    "parentid": "parent",
    "permanentid": "permanentId",
    "permissions": "permissions",
}
_MARKS = frozenset({"documentid", "data", "compressedbinarydata", "fileextension", "parentid"})


def is_wire_item(entry: Any) -> bool:
    """Whether an item entry is a Push API body: `DocumentId` instead of `uri`, or keys that only the wire has."""
    if not isinstance(entry, dict):
        return False
    lowered = {key.lower() for key in entry if isinstance(key, str)}
    if "documentid" in lowered:
        return True
    return any(key != "fileExtension" and key.lower() in _MARKS for key in entry if isinstance(key, str)) or (
        "Permissions" in entry
    )


def item_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Return the item entry that means the same as a DocumentBody (push-api.md 3.1).

    Raises ValueError with a sentence when compressed content cannot be read.
    """
    out: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    lowered = {key.lower(): value for key, value in body.items()}
    compression = lowered.pop("compressiontype", None)
    for key, value in lowered.items():
        if key in _ITEM_KEYS:
            out[_ITEM_KEYS[key]] = value
        elif key == "data":
            out["body"] = {"text": value}
        elif key == "compressedbinarydata":
            out["body"] = {"base64": _decompressed(value, str(compression or "ZLIB"))}
        elif key in ("uri", "source", "protect"):
            out[key] = value
        elif key == "metadata" and isinstance(value, dict):
            metadata.update(value)
        else:
            metadata[key] = value
    if metadata:
        out["metadata"] = metadata
    return out


def _decompressed(text: Any, compression: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("compressedBinaryData is not valid base64") from error
    try:
        content = _inflate(data, compression.upper())
    except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(f"compressedBinaryData is not {compression.upper()} data") from error
    return base64.b64encode(content).decode()


def _inflate(data: bytes, compression: str) -> bytes:
    if compression == "UNCOMPRESSED":
        return data
    if compression == "GZIP":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(MAX_CONTENT + 1)
    elif compression == "LZMA":
        content = lzma.LZMADecompressor().decompress(data, MAX_CONTENT + 1)
    elif compression in ("ZLIB", "DEFLATE"):
        content = _zlib(data, raw=compression == "DEFLATE")
    else:
        raise ValueError(f'compressionType "{compression}" is none of ZLIB, GZIP, DEFLATE, LZMA, UNCOMPRESSED')
    if len(content) > MAX_CONTENT:
        raise ValueError("compressedBinaryData holds more than an item may")
    return content


def _zlib(data: bytes, *, raw: bool) -> bytes:
    # The documents' own DEFLATE sample is zlib data (push-api.md 4.5), so raw deflate is tried second.
    try:
        return zlib.decompressobj().decompress(data, MAX_CONTENT + 1)
    except zlib.error:
        if not raw:
            raise
        return zlib.decompressobj(-15).decompress(data, MAX_CONTENT + 1)


def permission_entry(elements: list[Any]) -> dict[str, Any]:
    """Return the permission model that a wire `permissions` array means (push-api.md 3.4).

    Elements with `permissionSets` are levels, in order; all others are the sets of one level.
    """
    folded = [_fold(element) for element in elements]
    if not any("permissionsets" in element for element in folded):
        return {"sets": [_set_entry(element) for element in folded]}
    levels = []
    for element in folded:
        if "permissionsets" in element:
            level: dict[str, Any] = {"sets": [_set_entry(_fold(entry)) for entry in element["permissionsets"] or []]}
        else:
            level = {"sets": [_set_entry(element)]}
        if element.get("name"):
            level["name"] = element["name"]
        levels.append(level)
    return {"levels": levels}


def _set_entry(folded: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in folded.items():
        if key == "allowanonymous":
            out["anonymous"] = value
        elif key == "allowedpermissions":
            out["allowed"] = [_identity_entry(entry) for entry in value or []]
        elif key == "deniedpermissions":
            out["denied"] = [_identity_entry(entry) for entry in value or []]
        else:
            out[key] = value
    return out


def _identity_entry(element: Any) -> Any:
    folded = _fold(element)
    kind = identity_type(str(folded.pop("identitytype", folded.pop("type", "unknown"))))
    name = folded.pop("identity", folded.pop("name", None))
    if kind is None or not isinstance(name, str):
        return element
    out: dict[str, Any] = {"virtualGroup" if kind == "virtual-group" else kind: name}
    for wire, own in (("securityprovider", "provider"), ("provider", "provider"), ("additionalinfo", "additionalInfo")):
        if folded.get(wire):
            out[own] = folded.pop(wire)
    return {**out, **{key: value for key, value in folded.items() if value}}


def is_wire_identity(entry: Any) -> bool:
    """Whether an entry is an IdentityBody or MappedIdentityBody of the Push API (push-api.md 3.5)."""
    return isinstance(entry, dict) and any(isinstance(key, str) and key.lower() == "identity" for key in entry)


def group_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Return the group entry that means the same as an IdentityBody."""
    folded = _fold(body)
    identity = _fold(folded.get("identity"))
    out: dict[str, Any] = {
        "name": identity.get("name"),
        "members": [_identity_entry(entry) for entry in folded.get("members") or []],
    }
    if folded.get("wellknowns"):
        out["wellKnowns"] = [_identity_entry(entry) for entry in folded["wellknowns"]]
    if identity.get("additionalinfo"):
        out["additionalInfo"] = identity["additionalinfo"]
    return out


def alias_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Return the alias entry that means the same as a MappedIdentityBody."""
    folded = _fold(body)
    targets = []
    for element in folded.get("mappings") or []:
        mapping = _fold(element)
        target = {
            "provider": mapping.get("provider"),
            "identity": f"{identity_type(str(mapping.get('type', 'USER'))) or 'user'}:{mapping.get('name')}",
        }
        if mapping.get("additionalinfo"):
            target["additionalInfo"] = mapping["additionalinfo"]
        targets.append(target)
    return {"of": _identity_entry(folded.get("identity")), "is": targets}


def _fold(value: Any) -> dict[str, Any]:
    """Return a mapping with its keys in lower case; anything else counts as empty."""
    if not isinstance(value, dict):
        return {}
    return {str(key).lower(): entry for key, entry in value.items()}
