"""A grant that ends by itself, as a manifest gives it: who is given what until when.

It knows nothing of files, nor of what is live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

P = TypeVar("P")

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


def last_ends(ends: Sequence[tuple[P, Grant]], given: Sequence[str], as_of: int) -> list[tuple[P, Grant]]:
    """Return those ends in one list after which somebody is not given the same for longer by the rest of the list.

    `given` is who the list gives it to at `as_of`, as often as it does: more often than ends are to come says for good.
    """
    last: dict[str, int] = {}
    coming: Counter[str] = Counter()
    for _, grant in ends:
        last[grant.entry] = max(grant.expires, last.get(grant.entry, grant.expires))
        coming[grant.entry] += grant.expires > as_of
    times = Counter(entry for entry in given if entry in last)
    return [
        (place, grant)
        for place, grant in ends
        if grant.expires == last[grant.entry] and times[grant.entry] == coming[grant.entry]
    ]
