"""The key of a resource: its kind, the source or provider it lives in, and its name there.

An address is a string, so that a hundred thousand of them cost what strings cost; `Address` adds
the parts. It knows nothing of what a resource contains.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kinds of resource."""

    GROUP = "group"
    VIRTUAL_GROUP = "virtual-group"
    USER = "user"
    ALIAS = "alias"
    ITEM = "item"


GROUP_KINDS = (Kind.GROUP, Kind.VIRTUAL_GROUP)


class Address(str):
    """`kind/scope/name`, for example `item/handbook/file://folder/mytext.txt`.

    `scope` is the project's own name of a source (items) or of a provider (all other kinds); such
    names hold no slash, so the two first slashes always separate. The name of an alias is the
    identity that it is an alias of, as `type:name`. Addresses sort as strings.
    """

    __slots__ = ()

    @classmethod
    def of(cls, kind: Kind, scope: str, name: str) -> Address:
        """Return the address of the resource `name` of this kind in `scope`."""
        return cls(f"{kind.value}/{scope}/{name}")

    @property
    def kind(self) -> Kind:
        """The kind of the resource. Raises ValueError for a string that is no address."""
        return Kind(self.partition("/")[0])

    @property
    def scope(self) -> str:
        """The project's name of the source or provider."""
        return self.split("/", 2)[1]

    @property
    def name(self) -> str:
        """The uri of an item, the name of an identity."""
        return self.split("/", 2)[2]
