"""The same shapes as `schema`, for the kinds of entry that come by the hundred thousand.

msgspec checks an entry in a microsecond or two; it is only ever asked "is this surely right?". What
it refuses goes to the pydantic models, which either accept it after all or say what is wrong. Both
give objects with the same attributes, so that there is one way to normalise them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class IdentityShape(Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    user: str | None = None
    group: str | None = None
    virtual_group: str | None = None
    unknown: str | None = None
    provider: str | None = None
    additional_info: dict[str, str] | None = None


class PermissionSetShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: str | None = None
    anonymous: bool = False
    allowed: list[str | IdentityShape] = []
    denied: list[str | IdentityShape] = []


class PermissionShape(Struct, forbid_unknown_fields=True, rename="camel"):
    anonymous: bool | None = None
    allowed: list[str | IdentityShape] | None = None
    denied: list[str | IdentityShape] | None = None
    sets: list[PermissionSetShape] | None = None
    levels: list[list[PermissionSetShape]] | None = None


class BodyShape(Struct, forbid_unknown_fields=True, gc=False):
    text: str | None = None
    file: str | None = None
    base64: str | None = None


class ItemShape(Struct, forbid_unknown_fields=True, rename="camel"):
    uri: str
    source: str | None = None
    title: str | None = None
    clickable_uri: str | None = None
    body: BodyShape | None = None
    file_extension: str | None = None
    parent: str | None = None
    permissions: str | PermissionShape | None = None
    permanent_id: str | None = None
    metadata: dict[str, Any] = {}
    protect: bool = False


class GroupShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    members: list[str | IdentityShape]
    provider: str | None = None
    well_knowns: list[str | IdentityShape] = []
    additional_info: dict[str, str] | None = None
    protect: bool = False


class UserShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    provider: str | None = None
    well_knowns: list[str | IdentityShape] = []
    additional_info: dict[str, str] | None = None
    protect: bool = False


class AliasTargetShape(Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    provider: str
    identity: str
    additional_info: dict[str, str] | None = None


class AliasShape(Struct, forbid_unknown_fields=True, rename={"is_": "is"}):
    is_: list[AliasTargetShape]
    of: str | IdentityShape
    provider: str | None = None
    protect: bool = False


SHAPES: dict[str, type[Struct]] = {
    "items": ItemShape,
    "groups": GroupShape,
    "virtualGroups": GroupShape,
    "users": UserShape,
    "aliases": AliasShape,
}


def fast_check(entry: Any, shape: type[Struct]) -> Any:
    """Return the entry as `shape`, or None when it takes a closer look to know."""
    try:
        return msgspec.convert(entry, shape)
    except msgspec.ValidationError:
        return None


def fast_check_all(entries: list[Any], section: str) -> list[Any] | None:
    """Return all entries of a section as shapes, or None when one of them takes a closer look."""
    try:
        specs: list[Any] = msgspec.convert(entries, _LISTS[section])
    except msgspec.ValidationError:
        return None
    return specs


_LISTS = {section: list[shape] for section, shape in SHAPES.items()}  # type: ignore[valid-type]
