"""Who gains and who loses sight of what, as JSON values: what a plan carries and `access diff` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyroaring import BitMap

from reconciler.model.identity import parse_identity
from reconciler.permissions.exposure import Exposure, Kind, Shift

EXAMPLES = 5  # items that are named of those that change alike

Names = Callable[[BitMap, int | None], list[str]]
"""People as canonical identities in order, at most so many (`permissions.relation.Relation.names`)."""


def exposure_document(found: Exposure, names: Names, *, most: int | None = None) -> dict[str, Any]:
    """Return the exposure: what is gained and lost, totals, what it comes from, and named hazards.

    `most` bounds how many identities an entry names and how many relations a cause lists; counts are always whole.
    """
    sides = (
        _alike((shift, shift.gained, shift.people_gained) for shift in found.shifts),
        _alike((shift, shift.lost, shift.people_lost) for shift in found.shifts),
    )
    gained, lost = ([_named(entry, people, names, most) for entry, people in side] for side in sides)
    causes = {address for entry in (*gained, *lost) for address in entry["because"]}
    return {
        "gained": gained,
        "lost": lost,
        "totals": {
            "pairs_gained": found.pairs_gained,
            "pairs_lost": found.pairs_lost,
            "people_gained": found.people_gained,
            "people_lost": found.people_lost,
            "items_gained": found.items_gained,
            "items_lost": found.items_lost,
        },
        "causes": {
            str(address): {
                "gone": [_told(entry) for entry in said.gone[:most]],
                "new": [_told(entry) for entry in said.new[:most]],
            }
            for address, said in sorted(found.relations.items())
            if address in causes
        },
        "hazards": [{"name": name, **_where(shift)} for shift in found.shifts if (name := _hazard(shift))],
    }


def _hazard(shift: Shift) -> str:
    """Return the name of what must not happen unnoticed, or nothing."""
    if shift.kind is Kind.CREATED:
        return ""
    if shift.is_public and not shift.was_public:
        return "item-public"
    unseen = not shift.seen_after and not shift.is_public and (shift.seen_before > 0 or shift.was_public)
    return "item-unseen" if unseen and shift.kind is not Kind.DELETED else ""


def _where(shift: Shift) -> dict[str, Any]:
    return {"source": shift.source, "items": shift.items, "examples": list(shift.examples)}


def _alike(sides: Iterable[tuple[Shift, BitMap, int]]) -> list[tuple[dict[str, Any], BitMap]]:
    """Return one entry for all items that the same people gain or lose for the same reason, what weighs most first."""
    entries: dict[tuple[object, ...], tuple[dict[str, Any], BitMap]] = {}
    for shift, people, number in sides:
        if not people:
            continue
        because = [str(part.address) for part in shift.parts if people & (part.gained | part.lost)]
        key = (shift.kind, shift.source, people.serialize(), *because)
        known = entries.get(key)
        if known is None:
            entry = {"kind": shift.kind.value, **_where(shift), "people": number, "because": because}
            entries[key] = entry, people
        else:
            entry = known[0]
            entry["items"] += shift.items
            entry["examples"] = sorted((*entry["examples"], *shift.examples))[:EXAMPLES]
    return sorted(entries.values(), key=lambda found: -found[0]["items"] * found[0]["people"])


def _named(entry: dict[str, Any], people: BitMap, names: Names, most: int | None) -> dict[str, Any]:
    return {**entry, "identities": names(people, most)}


def _told(relation: tuple[str, str, str]) -> str:
    start, how, end = relation
    return f"{parse_identity(start).short} {how} {parse_identity(end).short}"
