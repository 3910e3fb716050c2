"""Who gains and who loses sight of what, from its JSON document (`rendering.exposuredoc`) to lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.model.identity import parse_identity
from reconciler.rendering.values import count, visible

NAMES = 5  # people, causes and items that are named; JSON names more
RELATIONS = 2

KINDS = {"created": "new", "deleted": "deleted", "edited": "other permissions", "affected": "unchanged"}


def exposure_lines(document: dict[str, Any], *, entries: int | None = None, hazards: bool = True) -> Iterator[str]:
    """Yield the exposure as text: totals, hazards, then what weighs most; `entries` bounds those of either side.

    A plan tells its hazards itself, with all others.
    """
    if not document["gained"] and not document["lost"] and not document["hazards"]:
        yield "Nobody gains or loses sight of anything."
        return
    totals = document["totals"]
    said = [_total(totals, side, verb) for side, verb in (("gained", "gain"), ("lost", "lose"))]
    said = [text for text in said if text]
    if said:
        yield "; ".join(said) + "."
    for hazard in document["hazards"] if hazards else ():
        yield _hazard(hazard)
    for sign, side in (("+", "gained"), ("-", "lost")):
        listed = document[side]
        for entry in listed[:entries]:
            yield from _entry(entry, sign, document["causes"])
        more = len(listed[entries:] if entries is not None else ()) + document.get("more", {}).get(side, 0)
        if more:
            yield f"{sign} and {more:,} more"


def _total(totals: dict[str, int], side: str, verb: str) -> str:
    people, items, pairs = (totals[f"{what}_{side}"] for what in ("people", "items", "pairs"))
    if not people:
        return ""
    who = count(people, f"user {verb}s", f"users {verb}")
    return f"{who} sight of {count(items, 'item')} ({pairs:,} in pairs of both)"


def _entry(entry: dict[str, Any], sign: str, causes: dict[str, Any]) -> Iterator[str]:
    yield f"{sign} {_people(entry)}: {_items(entry)} ({KINDS[entry['kind']]}): {_uris(entry)}"
    for address in entry["because"][:NAMES]:
        yield f"    because of {visible(address)}{_because(causes.get(address))}"
    more = max(0, len(entry["because"]) - NAMES) + entry.get("more_causes", 0)
    if more:
        yield f"    and of {more:,} more"


def _hazard(hazard: dict[str, Any]) -> str:
    subject = hazard.get("subject", "")
    name = f"{hazard['name']}:{subject}" if subject else hazard["name"]
    people = hazard.get("people", 0)
    about = f"{count(hazard['items'], 'item')}, {count(people, 'user')}" if people else count(hazard["items"], "item")
    return f"! {visible(name)}{' (allowed)' if hazard.get('allowed') else ''}: {about}: {_uris(hazard)}"


def _items(entry: dict[str, Any]) -> str:
    return f"{count(entry['items'], 'item')} in {visible(entry['source'])}"


def _uris(entry: dict[str, Any]) -> str:
    shown = entry["examples"][:NAMES]
    more = f" and {entry['items'] - len(shown):,} more" if entry["items"] > len(shown) else ""
    return ", ".join(visible(address.split("/", 2)[2]) for address in shown) + more


def _people(entry: dict[str, Any]) -> str:
    """Return some of the people; somebody who is called alike by several providers is named once."""
    if entry.get("public"):
        return "everybody, also whoever did not log in"
    domains = [f"everybody of {visible(domain.rpartition('@')[2])}" for domain in entry.get("domains", ())]
    if not entry["people"]:
        return ", ".join(domains)
    names = sorted({visible(parse_identity(name).short) for name in entry["identities"][: NAMES * 2]})
    shown = names[: min(NAMES, entry["people"])]
    rest = entry["people"] - len(shown)
    known = ", ".join(shown) + (f" and {count(rest, 'user')} more" if rest > 0 else "")
    return ", ".join((known, *domains))


def _because(said: dict[str, list[str]] | None) -> str:
    if said is None:
        return ""
    parts = [f"no longer {told}" for told in said["gone"][:RELATIONS]] + [
        f"now {told}" for told in said["new"][:RELATIONS]
    ]
    return f": {visible('; '.join(parts))}" if parts else ""
