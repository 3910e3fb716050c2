"""The same shapes as `schema`, for the kinds of entry that come by the hundred thousand.

msgspec checks an entry in a microsecond or two; it is only ever asked "is this surely right?". What
it refuses goes to the pydantic models, which either accept it after all or say what is wrong. Both
give objects with the same attributes, so that there is one way to normalise them. What a pattern or a
look-up decides is left to that: whatever normalises from a shape, the models accept.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]

NO_END: Any = None  # not of the type: what is written must be one (`schema.NO_END`)


class IdentityShape(Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    user: Text | None = None
    group: Text | None = None
    virtual_group: Text | None = None
    unknown: Text | None = None
    provider: Text | None = None
    additional_info: dict[str, str] | None = None
    expires: str = NO_END

    def __post_init__(self) -> None:
        if sum(name is not None for name in (self.user, self.group, self.virtual_group, self.unknown)) != 1:
            raise ValueError


class PermissionSetShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: str | None = None
    anonymous: bool = False
    allowed: list[str | IdentityShape] = []
    denied: list[str | IdentityShape] = []


class PermissionShape(Struct, forbid_unknown_fields=True, rename="camel"):
    anonymous: bool | None = None
    allowed: list[str | IdentityShape] | None = None
    denied: list[str | IdentityShape] | None = None
    sets: Annotated[list[PermissionSetShape], Meta(min_length=1)] | None = None
    levels: Annotated[list[Annotated[list[PermissionSetShape], Meta(min_length=1)]], Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        simple = self.allowed is not None or self.denied is not None or self.anonymous is not None
        if simple:
            if self.sets is None and self.levels is None:
                return
        elif (self.sets is None) != (self.levels is None):
            return
        raise ValueError


class BodyShape(Struct, forbid_unknown_fields=True, gc=False):
    text: str | None = None
    file: Text | None = None
    base64: str | None = None

    def __post_init__(self) -> None:
        if self.text is not None:
            if self.file is None and self.base64 is None:
                return
        elif (self.file is None) != (self.base64 is None):
            return
        raise ValueError


class ItemShape(Struct, forbid_unknown_fields=True, rename="camel"):
    uri: Text
    source: Text | None = None
    title: str | None = None
    clickable_uri: str | None = None
    body: BodyShape | None = None
    file_extension: str | None = None
    parent: Text | None = None
    permissions: str | PermissionShape | None = None
    permanent_id: Text | None = None
    metadata: dict[str, Any] = {}
    protect: bool = False


class GroupShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: Text
    members: list[str | IdentityShape]
    provider: Text | None = None
    well_knowns: list[str | IdentityShape] = []
    additional_info: dict[str, str] | None = None
    protect: bool = False


class UserShape(Struct, forbid_unknown_fields=True, rename="camel"):
    name: Text
    provider: Text | None = None
    well_knowns: list[str | IdentityShape] = []
    additional_info: dict[str, str] | None = None
    protect: bool = False


class AliasTargetShape(Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    provider: Text
    identity: str
    additional_info: dict[str, str] | None = None
    expires: str = NO_END


class AliasShape(Struct, forbid_unknown_fields=True, rename={"is_": "is"}):
    is_: Annotated[list[AliasTargetShape], Meta(min_length=1)]
    of: str | IdentityShape
    provider: Text | None = None
    protect: bool = False
    expires: str = NO_END


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
