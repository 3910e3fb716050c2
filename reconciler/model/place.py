"""A place in the manifests, named by what stands there: whoever holds the texts finds the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["", "members", "wellKnowns", "allowed", "denied", "anonymous"]

_NAMED = "permissions/"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The declaration at `address`, or what it says of `identity` in one of its lists.

    `address` is that of a resource, or `permissions/NAME` for a named permission model. `level` counts from 1
    and is 0 where there are no levels. `identity` is canonical.
    """

    address: str
    part: Part = ""
    level: int = 0
    identity: str = ""

    @property
    def model(self) -> str | None:
        """The name of the permission model that this is in, None in any other resource."""
        return self.address.removeprefix(_NAMED) if self.address.startswith(_NAMED) else None


def named_model(name: str) -> str:
    """Return the address under which a `Place` knows a named permission model."""
    return _NAMED + name
