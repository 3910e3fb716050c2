"""A grant that ends by itself, as a manifest gives it: who is given what until when.

It knows nothing of files, nor of what is live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GrantKind = Literal["member", "allowed", "alias", "mapping", "each"]

MODELS = "permissions/"
"""What the name of a named permission model follows where an address is expected."""

EVERY = "*"
"""What the name ends with in the address of the aliases that `ofEach` makes."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A member of a group, an allowed entry of a permission model, an alias, one mapping of it, or of each of many.

    `address` is the resource that gives it, `permissions/NAME` for a named model, or for the aliases that
    `ofEach` makes `alias/provider/type:*`. `entry` is the identity that is given it, the aliased one for a whole
    alias; `{name}` in a mapping of each stands for the name of that one. `expires` is in seconds since 1970:
    from then on it is gone.
    """

    kind: GrantKind
    address: str
    entry: str
    expires: int
