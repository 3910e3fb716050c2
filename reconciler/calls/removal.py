"""Deletions that one call can make by itself, where a source or provider is ours alone.

Pure. An item's deletion may take along every item below its uri, and a whole source or provider can
be emptied by age (push-api.md 2.1, 2.3). Both remove what we know nothing of as well, so they are
only for what the project declares as `exclusive`, and only where nothing below is meant to stay.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.calls.call import Verb
from reconciler.calls.units import Unit
from reconciler.calls.wire import Wire
from reconciler.model.address import Kind

IDENTITY_PREFIXES = tuple(f"{kind.value}/" for kind in Kind if kind is not Kind.ITEM)


class Standing:
    """The addresses that stay as they are, asked for only when something depends on them."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._sorted = sorted(addresses)

    def below(self, prefix: str) -> bool:
        """Whether an address that begins with `prefix` stays."""
        at = bisect.bisect_left(self._sorted, prefix)
        return at < len(self._sorted) and self._sorted[at].startswith(prefix)

    def items_of(self, source: str) -> bool:
        """Whether an item of this source stays."""
        return self.below(f"{Kind.ITEM.value}/{source}/")

    def identities_of(self, provider: str) -> bool:
        """Whether an identity or an alias of this provider stays."""
        return any(self.below(f"{prefix}{provider}/") for prefix in IDENTITY_PREFIXES)


def swept_by_uri(units: Sequence[Unit], standing: Standing, wire: Wire) -> list[Unit]:
    """Return the units of one source with each deletion left out that a deletion above it brings about.

    The API removes the item and whatever has a uri that begins with its own and a slash: a rule of
    prefixes, not of parents (push-api.md 2.1). An item that is put or stays below keeps all apart.
    """
    kept = [unit for unit in units if unit.verb is not Verb.DELETE]
    put = Standing(unit.address for unit in kept)
    roots: list[Unit] = []
    below: dict[str, list[Unit]] = {}
    root = ""
    # With a slash at its end each one sorts right before all that is below it.
    for unit in sorted((unit for unit in units if unit.verb is Verb.DELETE), key=lambda unit: unit.address + "/"):
        if root and unit.address.startswith(root + "/"):
            below[root].append(unit)
            continue
        roots.append(unit)
        below[unit.address] = []
        clear = not standing.below(unit.address + "/") and not put.below(unit.address + "/")
        root = unit.address if clear else ""
    out = list(kept)
    for unit in roots:
        swept = tuple(child.address for child in below[unit.address])
        if not swept:
            out.append(unit)
            continue
        tree = replace(unit, verb=Verb.DELETE_TREE, swept=swept)
        size = wire.batch_entry(tree.covers[0], None).size + 1
        out.append(replace(tree, size=size))
    return out
