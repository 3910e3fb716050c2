"""Reads the JSON that clients send, whatever the case of its keys, and refuses what the documents refuse.

Keys are case-insensitive and may not repeat (push-api.md 3). What comes out has lower-case keys; nothing
here knows the organization, so whatever needs it (permissions, ordering ids) is judged later.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from reconciler.emulator.options import Doubts

IDENTITY_TYPES = {"user": "USER", "group": "GROUP", "virtualgroup": "VIRTUAL_GROUP", "unknown": "UNKNOWN"}
FILE_KEY = "compressedbinarydatafileid"
CONTENT_KEYS = ("data", "compressedbinarydata", FILE_KEY)
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,254}\Z")
RESERVED_KEYS = frozenset(
    {*CONTENT_KEYS, "documentid", "compressiontype", "fileextension", "parentid", "permissions", "orderingid"}
)
"""Keys of an item that are no metadata (push-api.md 3.1)."""
_PLAIN = frozenset({str, int, float, bool})


class BadJson(ValueError):
    """A body that is not what the documents describe; its text says where and why."""


@dataclass(frozen=True, slots=True)
class ItemBody:
    """One item as it was sent (push-api.md 3.1)."""

    document_id: str | None
    content_key: str | None
    content: str
    compression: str | None
    extension: str | None
    parent: str | None
    permissions: list[Any] | None
    metadata: dict[str, Any]
    nulls: frozenset[str] = frozenset()
    """The metadata keys that were sent as null."""
    ordering: int | None = None
    """What the reserved key `orderingId` said, where that is one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The name that a request gives to a security identity; `provider` is None where the path says it."""

    name: str
    type: str
    info: tuple[tuple[str, str], ...] = ()
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class IdentityBody:
    """An identity with its members or its mappings; None means that the key was not sent (push-api.md 3.5)."""

    identity: Identity
    members: tuple[Identity, ...]
    mappings: tuple[Identity, ...]
    well_knowns: tuple[Identity, ...]


def parse(raw: bytes) -> Any:
    """Return the JSON value of a request's body; repeated keys are refused at every depth."""
    try:
        value = orjson.loads(raw)
        _DISTINCT.decode(raw.decode())
    except BadJson:
        raise
    except (ValueError, RecursionError) as error:
        raise BadJson(str(error)[:200]) from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({key.lower() for key, _ in pairs}) != len(pairs):
        raise BadJson("A key is repeated (keys are case-insensitive).")


_DISTINCT = json.JSONDecoder(object_pairs_hook=_distinct)


def folded(value: Any, what: str) -> dict[str, Any]:
    """Return an object with its keys in lower case."""
    if not isinstance(value, dict):
        raise BadJson(f"{what} must be an object.")
    lower = {key.lower(): entry for key, entry in value.items()}
    if len(lower) != len(value):
        raise BadJson(f"A key of {what} is repeated (keys are case-insensitive).")
    return lower


def read_item(value: Any, doubts: Doubts, dictionaries: frozenset[str] = frozenset()) -> ItemBody:
    """Read a single item's body or an entry of a batch; the keys in `dictionaries` may hold objects."""
    keys = folded(value, "An item")
    content_keys = [key for key in keys if key in CONTENT_KEYS and keys[key] is not None]
    if len(content_keys) > 1 and doubts.content_keys == "refuse":
        raise BadJson(f"An item has one content key at most, not {', '.join(content_keys)}.")
    content_key = content_keys[-1] if content_keys else None
    content = text(keys, content_key) if content_key else None
    permissions = keys.get("permissions")
    if permissions is not None and not isinstance(permissions, list):
        raise BadJson("'permissions' must be an array.")
    metadata = {key: entry for key, entry in keys.items() if key not in RESERVED_KEYS and entry is not None}
    nulls = frozenset(key for key, entry in keys.items() if key not in RESERVED_KEYS and entry is None)
    if doubts.nested_metadata == "refuse":
        for key, entry in metadata.items():
            if type(entry) not in _PLAIN:
                check_value(key, entry, dictionary=key in dictionaries)
    return ItemBody(
        text(keys, "documentid"),
        content_key,
        content or "",
        text(keys, "compressiontype"),
        text(keys, "fileextension"),
        text(keys, "parentid"),
        permissions,
        metadata,
        nulls,
        _ordering(keys.get("orderingid")),
    )


def _ordering(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**64 else None


def check_value(key: str, entry: Any, *, dictionary: bool = False) -> None:
    """Refuse what no metadata value can be; a dictionary holds plain values (push-api.md 3.1, 4.4)."""
    if type(entry) in _PLAIN:
        return
    if dictionary and isinstance(entry, dict) and all(type(part) in _PLAIN for part in entry.values()):
        return
    if not isinstance(entry, list) or any(type(part) not in _PLAIN for part in entry):
        raise BadJson(f"Metadata '{key[:100]}': sub-objects are not supported.")


def text(keys: dict[str, Any], key: str) -> str | None:
    """Return a string property, or None when it is absent or null."""
    value = keys.get(key)
    if value is not None and not isinstance(value, str):
        raise BadJson(f"'{key}' must be a string.")
    return value


def identity_type(value: str) -> str | None:
    """Return the canonical spelling of an identity type (push-api.md 3.4, 3.5), or None for no such type."""
    return IDENTITY_TYPES.get(value.replace("_", "").lower())


def read_info(value: Any) -> tuple[tuple[str, str], ...]:
    """Return `additionalInfo` as sorted pairs; it is part of an identity's name."""
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
        raise BadJson("'additionalInfo' must map strings to strings.")
    return tuple(sorted(value.items()))


def read_identity(value: Any) -> Identity:
    """Read the name of an identity (model Identity or MappedIdentity, push-api.md 3.5)."""
    keys = folded(value, "An identity")
    name, kind = text(keys, "name"), text(keys, "type")
    if not name:
        raise BadJson("An identity needs a 'name'.")
    canonical = identity_type(kind or "unknown")
    if canonical is None:
        raise BadJson(f"'{(kind or '')[:100]}' is no identity type.")
    return Identity(name, canonical, read_info(keys.get("additionalinfo")), text(keys, "provider"))


def read_identity_body(value: Any) -> IdentityBody:
    """Read an IdentityBody, a MappedIdentityBody or a BaseIdentityBody (push-api.md 3.5)."""
    keys = folded(value, "The body")
    if keys.get("identity") is None:
        raise BadJson("'identity' is missing.")
    return IdentityBody(
        read_identity(keys["identity"]),
        _identities(keys, "members"),
        _identities(keys, "mappings"),
        _identities(keys, "wellknowns"),
    )


def _identities(keys: dict[str, Any], key: str) -> tuple[Identity, ...]:
    value = keys.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadJson(f"'{key}' must be an array.")
    return tuple(map(read_identity, value))
