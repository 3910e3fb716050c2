"""Who gains and who loses sight of what, from its JSON document (`rendering.exposuredoc`) to what a page lays out.

Nothing here is escaped. What text says of it in lines, `rendering.exposure` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.rendering.exposure import KINDS, NAMES, persons, strangers
from reconciler.rendering.values import count


@dataclass(frozen=True, slots=True)
class Listed:
    """Some names, what is said of others in words, and how many are neither; nothing when there are none."""

    names: Sequence[str]
    words: Sequence[str] = ()
    more: str = ""


@dataclass(frozen=True, slots=True)
class CauseView:
    """A changed identity, and what it says no longer and says now."""

    address: str
    said: str


@dataclass(frozen=True, slots=True)
class ShiftView:
    """What the same people gain or lose for the same reasons."""

    people: Listed
    number: str
    kind: str
    items: Listed
    causes: Sequence[CauseView]
    more_causes: int


@dataclass(frozen=True, slots=True)
class SideView:
    """All that is gained, or all that is lost: `pairs` of somebody and an item; `hidden` shifts are not shown."""

    name: str
    pairs: int
    told: str
    shifts: Sequence[ShiftView]
    hidden: int


@dataclass(frozen=True, slots=True)
class HazardView:
    """What of it must be allowed by name: how many items it is about and, where that matters, how many people."""

    name: str
    about: str
    items: Listed
    allowed: bool


def hazard_views(document: Mapping[str, Any]) -> list[HazardView]:
    """Return the hazards of an exposure, in its order."""
    return [
        HazardView(
            name=f"{hazard['name']}:{hazard['subject']}" if hazard["subject"] else hazard["name"],
            about=", ".join(
                [count(hazard["items"], "item"), *([count(hazard["people"], "user")] if hazard["people"] else ())]
            ),
            items=listed_items(hazard),
            allowed=hazard["allowed"],
        )
        for hazard in document["hazards"]
    ]


def exposure_view(document: Mapping[str, Any], shifts: int | None) -> tuple[SideView, ...]:
    """Return the sides on which anything happens; `shifts` bounds what is shown of each."""
    sides = (_side(document, name, verb, shifts) for name, verb in (("gained", "gain"), ("lost", "lose")))
    return tuple(side for side in sides if side.shifts or side.hidden)


def _side(document: Mapping[str, Any], name: str, verb: str, shifts: int | None) -> SideView:
    listed = document[name]
    shown = listed[:shifts]
    pairs, people, items = (document["totals"][f"{what}_{name}"] for what in ("pairs", "people", "items"))
    known = [f"{count(people, f'user {verb}s', f'users {verb}')} sight of {count(items, 'item')}"] if people else []
    told = "; ".join([*strangers(document, name, verb), *known])
    return SideView(
        name=name,
        pairs=pairs,
        told=told[:1].upper() + told[1:],
        shifts=[_shift(entry, document["causes"]) for entry in shown],
        hidden=len(listed) - len(shown) + document.get("more", {}).get(name, 0),
    )


def _shift(entry: Mapping[str, Any], causes: Mapping[str, Any]) -> ShiftView:
    because = entry["because"]
    return ShiftView(
        people=_people(entry),
        number=f"{count(entry['items'], 'item')} in {entry['source']}",
        kind=KINDS[entry["kind"]],
        items=listed_items(entry),
        causes=[CauseView(address, _said(causes.get(address))) for address in because[:NAMES]],
        more_causes=max(0, len(because) - NAMES) + entry.get("more_causes", 0),
    )


def _people(entry: Mapping[str, Any]) -> Listed:
    """Return some of the people, each person once."""
    if entry.get("public"):
        return Listed((), ("everybody, also whoever did not log in",))
    words = [f"everybody of {domain.rpartition('@')[2]}" for domain in entry.get("domains", ())]
    names = persons(entry)
    hidden = entry["people"] - len(names)
    return Listed(names, words, count(hidden, "user") if hidden > 0 else "")


def listed_items(entry: Mapping[str, Any]) -> Listed:
    """Return some of the items of a shift or a hazard."""
    shown = [address.split("/", 2)[2] for address in entry["examples"][:NAMES]]
    hidden = entry["items"] - len(shown)
    return Listed(shown, (), f"{hidden:,}" if hidden > 0 else "")


def _said(said: Mapping[str, Iterable[str]] | None) -> str:
    if said is None:
        return ""
    return "; ".join([*(f"no longer {told}" for told in said["gone"]), *(f"now {told}" for told in said["new"])])
