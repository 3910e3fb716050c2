"""Who gains and who loses sight of what, from its JSON document (`rendering.exposuredoc`) to lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
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
    said = [text for side, verb in (("gained", "gain"), ("lost", "lose")) for text in _total(document, side, verb)]
    if said:
        text = "; ".join(said)
        yield f"{text[0].upper()}{text[1:]}."
    for hazard in document["hazards"] if hazards else ():
        yield _hazard(hazard)
    for sign, side in (("+", "gained"), ("-", "lost")):
        listed = document[side]
        for entry in listed[:entries]:
            yield from _entry(entry, sign, document["causes"])
        more = len(listed[entries:] if entries is not None else ()) + document.get("more", {}).get(side, 0)
        if more:
            yield f"{sign} and {more:,} more"


def _total(document: Mapping[str, Any], side: str, verb: str) -> Iterator[str]:
    yield from strangers(document, side, verb)
    people, items, pairs = (document["totals"][f"{what}_{side}"] for what in ("people", "items", "pairs"))
    if people:
        who = count(people, f"user {verb}s", f"users {verb}")
        yield f"{who} sight of {count(items, 'item')} ({pairs:,} in pairs of both)"


def strangers(document: Mapping[str, Any], side: str, verb: str) -> Iterator[str]:
    """Yield what people gain or lose of whom nothing is known, and who are therefore in no total."""
    listed = document[side]
    least = "at least " if document.get("more", {}).get(side, 0) else ""
    if public := sum(entry["items"] for entry in listed if entry.get("public")):
        yield f"everybody, also whoever did not log in, {verb}s sight of {least}{count(public, 'item')}"
    domains: Counter[str] = Counter()
    for entry in listed:
        for pattern in entry.get("domains", ()):
            domains[pattern.rpartition("@")[2]] += entry["items"]
    for domain in sorted(domains)[:NAMES]:
        yield f"everybody of {visible(domain)} {verb}s sight of {least}{count(domains[domain], 'item')}"
    if len(domains) > NAMES:
        yield f"everybody of {count(len(domains) - NAMES, 'domain')} more {verb}s sight of something"


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
    """Return some of the people, each person once."""
    if entry.get("public"):
        return "everybody, also whoever did not log in"
    domains = [f"everybody of {visible(domain.rpartition('@')[2])}" for domain in entry.get("domains", ())]
    if not entry["people"]:
        return ", ".join(domains)
    shown = [visible(name) for name in persons(entry)]
    rest = entry["people"] - len(shown)
    known = ", ".join(shown) + (f" and {count(rest, 'user')} more" if rest > 0 else "")
    return ", ".join((known, *domains))


def persons(entry: Mapping[str, Any]) -> list[str]:
    """Return the short names of the first persons of an entry."""
    # A plan of before persons were told names their identities alone.
    names = (entry.get("persons") or ())[:NAMES] or entry["identities"][: NAMES * 2]
    return sorted({parse_identity(name).short for name in names})[: min(NAMES, entry["people"])]


def _because(said: dict[str, list[str]] | None) -> str:
    if said is None:
        return ""
    parts = [f"no longer {told}" for told in said["gone"][:RELATIONS]] + [
        f"now {told}" for told in said["new"][:RELATIONS]
    ]
    return f": {visible('; '.join(parts))}" if parts else ""
