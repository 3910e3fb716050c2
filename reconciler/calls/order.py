"""The order of units within a stage, and which of them must not overtake which (push-api.md 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reconciler.calls.call import WHOLE, Verb
from reconciler.calls.units import Unit, members_of, parents_of
from reconciler.model.address import GROUP_KINDS, Address, Kind

_KIND_ORDER = {Kind.GROUP: 0, Kind.VIRTUAL_GROUP: 0, Kind.USER: 1, Kind.ALIAS: 2, Kind.ITEM: 3}


def items_in_order(units: Iterable[Unit]) -> list[Unit]:
    """Return items so that what is put comes first, parents before children, and deletions the other way round."""
    listed = list(units)
    puts = [unit for unit in listed if unit.verb in WHOLE or unit.verb is Verb.PATCH]
    deletes = [unit for unit in listed if unit.verb not in WHOLE and unit.verb is not Verb.PATCH]
    return _dependent_last(puts, parents_of) + _dependent_last(deletes, parents_of)[::-1]


def identities_in_order(units: Iterable[Unit]) -> list[Unit]:
    """Return identities so that groups come first, members before those that hold them, then users, then aliases."""
    listed = list(units)
    groups = [unit for unit in listed if unit.kind in GROUP_KINDS]
    others = [unit for unit in listed if unit.kind not in GROUP_KINDS]
    return _dependent_last(groups, members_of) + sorted(others, key=lambda unit: _KIND_ORDER[unit.kind])


def deletions_in_order(units: Iterable[Unit]) -> list[Unit]:
    """Return identities that go so that each list of a batch stands once: `members`, then `deleted`."""
    return sorted(units, key=lambda unit: unit.verb is Verb.DELETE)


def edges_between(ordered: Sequence[Unit]) -> list[tuple[int, int]]:
    """Return what must not come before what, as indexes: members, parents, and the new place of what moves."""
    position = {address: index for index, unit in enumerate(ordered) for address in (unit.address, *unit.swept)}
    edges = []
    for index, unit in enumerate(ordered):
        names: Iterable[str] = ()
        if unit.verb in WHOLE:
            names = parents_of(unit) if unit.kind is Kind.ITEM else members_of(unit)
        for name in names:
            needed = position.get(Address(name))
            if needed is not None and needed < index:
                edges.append((needed, index))
        if unit.moved_from is not None and position.get(unit.moved_from, -1) > index:
            edges.append((index, position[unit.moved_from]))
    return edges


def _dependent_last(units: list[Unit], needs: Callable[[Unit], Iterable[str]]) -> list[Unit]:
    """Return units so that each follows those it needs; a cycle is cut where the walk meets itself.

    Depth first from the first address on, without recursion: nesting may be as deep as it likes.
    """
    by_address: dict[str, Unit] = {unit.address: unit for unit in units}
    seen: set[str] = set()
    ordered: list[Unit] = []
    for unit in units:
        if unit.address in seen:
            continue
        seen.add(unit.address)
        walk = [(unit, iter(needs(unit)))]
        while walk:
            current, rest = walk[-1]
            for name in rest:
                found = by_address.get(name)
                if found is not None and name not in seen:
                    seen.add(name)
                    walk.append((found, iter(needs(found))))
                    break
            else:
                ordered.append(current)
                walk.pop()
    return ordered
