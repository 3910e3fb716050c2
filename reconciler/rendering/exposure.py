"""Who gains and who loses sight of what, as a JSON document and as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyroaring import BitMap

from reconciler.model.identity import parse_identity
from reconciler.permissions.exposure import Exposure, Kind, Relations, Shift
from reconciler.rendering.values import count, visible

NAMES = 5  # people that are named in text; JSON names all

Names = Callable[[BitMap, int | None], list[str]]
"""People as canonical identities in order, at most so many (`permissions.relation.Relation.names`)."""

_HOW = {
    "created": "new",
    "deleted": "deleted",
    "edited": "with other permissions",
    "affected": "as they are",
}


def exposure_document(found: Exposure, names: Names) -> dict[str, Any]:
    """Return the exposure as JSON values: what is gained, what is lost, totals, and named hazards."""
    return {
        "gained": [_side(shift, shift.gained, shift.people_gained, names) for shift in found.shifts if shift.gained],
        "lost": [_side(shift, shift.lost, shift.people_lost, names) for shift in found.shifts if shift.lost],
        "totals": {
            "pairs_gained": found.pairs_gained,
            "pairs_lost": found.pairs_lost,
            "people_gained": found.people_gained,
            "people_lost": found.people_lost,
            "items_gained": found.items_gained,
            "items_lost": found.items_lost,
        },
        "causes": {
            str(address): {"gone": [_told(entry) for entry in said.gone], "new": [_told(entry) for entry in said.new]}
            for address, said in sorted(found.relations.items())
            if said.gone or said.new
        },
        "hazards": [{"name": name, **_where(shift)} for shift in found.shifts if (name := _hazard(shift))],
    }


def exposure_lines(found: Exposure, names: Names) -> Iterator[str]:
    """Yield the exposure as text: totals first, then what weighs most."""
    if not found.shifts:
        yield "Nobody gains or loses sight of anything."
        return
    yield (
        f"{count(found.people_gained, 'user')} will see {count(found.items_gained, 'item')} they do not see now "
        f"({found.pairs_gained:,} in pairs); {count(found.people_lost, 'user')} will no longer see "
        f"{count(found.items_lost, 'item')} ({found.pairs_lost:,} in pairs)."
    )
    for shift in found.shifts:
        yield ""
        yield f"{count(shift.items, 'item')} in {visible(shift.source)}, {_HOW[shift.kind.value]}"
        hazard = _hazard(shift)
        if hazard:
            yield f"  ! {_HAZARDS[hazard]}"
        for sign, people, number in (("+", shift.gained, shift.people_gained), ("-", shift.lost, shift.people_lost)):
            if people:
                yield f"  {sign} {count(number, 'user')}: {_named(people, number, names)}"
        for part in shift.parts:
            yield f"    because of {visible(part.address)}{_because(found.relations.get(part.address))}"
        more = f" and {shift.items - len(shift.examples):,} more" if shift.items > len(shift.examples) else ""
        yield f"    {', '.join(visible(example.split('/', 2)[2]) for example in shift.examples)}{more}"


_HAZARDS = {
    "item-public": "everybody will see them, also those who did not log in",
    "item-unseen": "nobody will see them any more",
}


def _hazard(shift: Shift) -> str:
    """Return the name of what must not happen unnoticed, or nothing."""
    if shift.kind is Kind.CREATED:
        return ""
    if shift.is_public and not shift.was_public:
        return "item-public"
    gone = shift.kind is Kind.DELETED
    unseen = not shift.seen_after and not shift.is_public and (shift.seen_before > 0 or shift.was_public)
    return "item-unseen" if unseen and not gone else ""


def _where(shift: Shift) -> dict[str, Any]:
    return {"source": shift.source, "items": shift.items, "examples": list(shift.examples)}


def _side(shift: Shift, people: BitMap, number: int, names: Names) -> dict[str, Any]:
    return {
        "kind": shift.kind.value,
        **_where(shift),
        "people": number,
        "identities": names(people, None),
        "because": [part.address for part in shift.parts if people & (part.gained | part.lost)],
    }


def _named(people: BitMap, number: int, names: Names) -> str:
    """Return some of the people; somebody who is called alike by several providers is named once."""
    shown = sorted({visible(parse_identity(name).short) for name in names(people, NAMES * 2)})[: min(NAMES, number)]
    rest = number - len(shown)
    return ", ".join(shown) + (f" and {count(rest, 'user')} more" if rest > 0 else "")


def _because(said: Relations | None) -> str:
    if said is None:
        return ""
    parts = [f"no longer {_told(entry)}" for entry in said.gone[:2]] + [f"now {_told(entry)}" for entry in said.new[:2]]
    return f": {visible('; '.join(parts))}" if parts else ""


def _told(relation: tuple[str, str, str]) -> str:
    start, how, end = relation
    return f"{parse_identity(start).short} {how} {parse_identity(end).short}"
