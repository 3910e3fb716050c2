"""Entries in the shape of Push API bodies, turned into the shape that people write.

The documents, the seeds and existing push scripts hold items and identities as request bodies, in
PascalCase or camelCase (push-api.md 3: keys are case-insensitive). They are accepted wherever an
entry stands, and mean the same as the entry that this module returns. What is not understood is
left as it is, so that validation names it, or raises ValueError with a sentence: nothing is dropped.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Protocol

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


# No body of the wire has these, so that an entry with them is ours, with a mistake in another key.
_OWN_KEYS = frozenset({"body", "metadata", "permanentId", "parent"})


def is_wire_item(entry: Any) -> bool:
    """Whether an item entry is a Push API body: `DocumentId` instead of `uri`, or keys that only the wire has."""
    if not isinstance(entry, dict):
        return False
    lowered = {key.lower() for key in entry if isinstance(key, str)}
    if "documentid" in lowered:
        return True
    if not _OWN_KEYS.isdisjoint(entry):
        return False
    return any(key != "fileExtension" and key.lower() in _MARKS for key in entry if isinstance(key, str)) or (
        "Permissions" in entry
    )


def item_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Return the item entry that means the same as a DocumentBody (push-api.md 3.1).

    Raises ValueError with a sentence when it cannot be understood.
    """
    out: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    lowered = _fold(body)
    compression = lowered.pop("compressiontype", None)
    for key, value in lowered.items():
        if key in _ITEM_KEYS:
            name = _ITEM_KEYS[key]
            if name in out:
                raise ValueError(f'the item has both "{key}" and "{name}"')
            out[name] = value
        elif key in ("data", "compressedbinarydata"):
            if "body" in out:
                raise ValueError('the item has both "data" and "compressedBinaryData"')
            content = {"text": value} if key == "data" else {"base64": _decompressed(value, compression)}
            out["body"] = content
        elif key in ("uri", "source", "protect"):
            if key in out:
                raise ValueError(f'the item has both "{key}" and "documentId"')
            out[key] = value
        elif key != "metadata" or not isinstance(value, dict):
            metadata[key] = value
    own = lowered.get("metadata")
    if isinstance(own, dict):
        for name, value in own.items():
            if name.lower() in metadata:
                raise ValueError(f'the item has "{name}" beside its metadata and in it')
            metadata[name] = value
    if metadata:
        out["metadata"] = metadata
    return out


def _decompressed(text: Any, compression: Any) -> Any:
    if not isinstance(text, str):
        return text
    name = "ZLIB" if compression is None else str(compression).upper()
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("compressedBinaryData is not valid base64") from error
    try:
        content = _inflate(data, name)
    except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(f"compressedBinaryData is not {name} data") from error
    return base64.b64encode(content).decode()


def _inflate(data: bytes, compression: str) -> bytes:
    if compression == "UNCOMPRESSED":
        return data
    if compression == "GZIP":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(MAX_CONTENT + 1)
    elif compression == "LZMA":
        content = _whole(lzma.LZMADecompressor(), data)
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
        return _whole(zlib.decompressobj(), data)
    except (zlib.error, EOFError):
        if not raw:
            raise
        return _whole(zlib.decompressobj(-15), data)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _whole(stream: _Decompressor, data: bytes) -> bytes:
    """Return what a stream holds. Raises EOFError when it was cut off: the part would pass for the whole."""
    content = stream.decompress(data, MAX_CONTENT + 1)
    if not stream.eof and len(content) <= MAX_CONTENT:
        raise EOFError
    return content


def permission_entry(elements: list[Any]) -> Any:
    """Return the permission model that a wire `permissions` array means (push-api.md 3.4).

    Elements with `permissionSets` are levels, in order; all others are the sets of one level. An
    array that holds anything but objects is returned as it is. Raises ValueError as `item_entry` does.
    """
    if not all(isinstance(element, dict) for element in elements):
        return elements
    folded = [_fold(element) for element in elements]
    if not any("permissionsets" in element for element in folded):
        return {"sets": [_set_entry(element) for element in folded]}
    levels = []
    for element in folded:
        if "permissionsets" not in element:
            raise ValueError("permissions mix levels (with permissionSets) and sets (without)")
        sets = element.pop("permissionsets")
        level = {"sets": _each(sets, lambda entry: _set_entry(_fold(entry)))}
        levels.append({**level, **{key: value for key, value in element.items() if value is not None}})
    return {"levels": levels}


def _each(values: Any, convert: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a list with its objects converted; null means an empty one, anything else is left as it is."""
    if values is None:
        return []
    if not isinstance(values, list):
        return values
    return [convert(value) if isinstance(value, dict) else value for value in values]


def _set_entry(folded: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in folded.items():
        if key == "allowanonymous":
            out["anonymous"] = value
        elif key == "allowedpermissions":
            out["allowed"] = _each(value, _identity_entry)
        elif key == "deniedpermissions":
            out["denied"] = _each(value, _identity_entry)
        else:
            out[key] = value
    return out


def _identity_entry(element: dict[str, Any]) -> dict[str, Any]:
    """Return an identity in full; one in our own form, or without a name, is left as it is."""
    folded = _fold(element)
    name = folded.pop("identity", folded.pop("name", None))
    if not isinstance(name, str):
        return element
    word = folded.pop("identitytype", folded.pop("type", "unknown"))
    kind = identity_type(str(word))
    if kind is None:
        raise ValueError(f'"{word}" is no type of identity: User, Group, VirtualGroup or Unknown')
    out: dict[str, Any] = {"virtualGroup" if kind == "virtual-group" else kind: name}
    for wire, own in (("securityprovider", "provider"), ("provider", "provider"), ("additionalinfo", "additionalInfo")):
        value = folded.pop(wire, None)
        if value:
            out[own] = value
    return {**out, **{key: value for key, value in folded.items() if value is not None}}


def is_wire_identity(entry: Any) -> bool:
    """Whether an entry is an IdentityBody or MappedIdentityBody of the Push API (push-api.md 3.5)."""
    return isinstance(entry, dict) and any(isinstance(key, str) and key.lower() == "identity" for key in entry)


def identity_entry(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the group or user entry that means the same as an IdentityBody.

    `kind` is the type that the section is for. Raises ValueError as `item_entry` does.
    """
    folded = _fold(body)
    out = _subject(folded.pop("identity"), kind)
    if kind != "user":
        out["members"] = _each(folded.pop("members", None), _identity_entry)
    elif not folded.get("members"):
        folded.pop("members", None)
    well_knowns = folded.pop("wellknowns", None)
    if well_knowns:
        out["wellKnowns"] = _each(well_knowns, _identity_entry)
    return {**out, **_rest(folded)}


def _subject(identity: Any, kind: str) -> dict[str, Any]:
    if not isinstance(identity, dict):
        raise ValueError("identity is no object with name and type")
    folded = _fold(identity)
    if not isinstance(folded.get("name"), str):
        raise ValueError("identity has no name")
    word = folded.pop("type", kind)
    if identity_type(str(word)) != kind:
        raise ValueError(f'identity "{folded["name"]}" has the type {word}, and this section is for {kind}s')
    info = folded.pop("additionalinfo", None)
    unknown = folded.keys() - {"name"}
    if unknown:
        raise ValueError(f'identity has an unknown key "{min(unknown)}"')
    return {"name": folded["name"], **({"additionalInfo": info} if info else {})}


def _rest(folded: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that are left, for validation to judge; the API's own answer is none of them."""
    return {key: value for key, value in folded.items() if key != "result"}


def alias_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Return the alias entry that means the same as a MappedIdentityBody. Raises ValueError as `item_entry` does.

    Its well-knowns are those of the identity itself, which `users` and `groups` declare.
    """
    folded = _fold(body)
    identity = folded.pop("identity")
    if not isinstance(identity, dict) or not isinstance(_fold(identity).get("name"), str):
        raise ValueError("identity has no name")
    if folded.pop("wellknowns", None):
        raise ValueError("wellKnowns stand with the identity, under users or groups; its alias gets them from there")
    targets = _each(folded.pop("mappings", None), _target)
    return {"of": _identity_entry({"type": "USER", **_fold(identity)}), "is": targets, **_rest(folded)}


def _target(mapping: dict[str, Any]) -> dict[str, Any]:
    folded = _fold(mapping)
    name, word = folded.pop("name", None), folded.pop("type", "USER")
    kind = identity_type(str(word))
    if not isinstance(name, str):
        raise ValueError("a mapping has no name")
    if kind is None:
        raise ValueError(f'"{word}" is no type of identity: USER, GROUP, VIRTUAL_GROUP or UNKNOWN')
    info = folded.pop("additionalinfo", None)
    return {"identity": f"{kind}:{name}", **({"additionalInfo": info} if info else {}), **folded}


def _fold(value: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with its keys in lower case. Raises ValueError for keys that differ only in case."""
    out: dict[str, Any] = {}
    for key, entry in value.items():
        lower = str(key).lower()
        if lower in out:
            raise ValueError(f'the key "{key}" stands twice, differing only in case')
        out[lower] = entry
    return out
