"""How two environments differ, as JSON values, lines of text and Markdown. It knows no files and no project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change, FieldChange, field_changes
from reconciler.rendering.exposure import exposure_lines
from reconciler.rendering.fields import Reader, field_rows
from reconciler.rendering.markdown import code, escape, fenced
from reconciler.rendering.text import field_text
from reconciler.rendering.values import count, visible

FORMAT_VERSION = "1.0"
LISTED = 50  # of each kind, in text and Markdown; JSON has all
_ACCESS_LISTED = 20

Difference = tuple[str, str, Resource | None, Resource | None]
"""The address in the second environment, the one in the first, and the resource in the first and in the second."""


def difference_document(
    names: tuple[str, str],
    settings: Iterable[tuple[str, str, str, str]],
    pairs: Iterable[Difference],
    varying: Iterable[tuple[str, str]],
    equal: int,
    exposure: dict[str, Any],
    unsplit: str = "",
) -> dict[str, Any]:
    """Return how two environments differ as JSON values; lists are sorted by address in the second environment."""
    only: tuple[list[str], list[str]] = ([], [])
    differing = []
    for address, former, before, after in pairs:
        if before is None or after is None:
            only[0 if after is None else 1].append(address if before is None else former)
            continue
        change = Change(Address(address), Action.UPDATE, "changed", before, after)
        fields = [
            {"path": list(entry.path), "from": entry.before, "to": entry.after} for entry in field_changes(change)
        ]
        differing.append({"address": address, "from_address": former, "fields": fields})
    return {
        "format_version": FORMAT_VERSION,
        "from": names[0],
        "to": names[1],
        "settings": [
            {"what": what, "name": name, "from": before, "to": after} for what, name, before, after in settings
        ],
        "only_from": only[0],
        "only_to": only[1],
        "differing": differing,
        "by_variables": [{"from_address": former, "address": address} for former, address in varying],
        "unsplit": unsplit,
        "equal": equal,
        # Hazards are those of a plan, and this is none.
        "access": {key: value for key, value in exposure.items() if key != "hazards"},
    }


def difference_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield the differences as lines of text: a summary, settings, resources, who sees what."""
    yield f"From {visible(document['from'])} to {visible(document['to'])}: {_summary(document)}"
    yield from _settings(document)
    yield from _resources(document)
    yield from _access(document)


def difference_markdown(document: dict[str, Any]) -> str:
    """Return the differences as Markdown for a pull request; names and values stand in fenced blocks."""
    lines = [f"### From {code(document['from'])} to {code(document['to'])}", "", f"**{escape(_summary(document))}**"]
    for title, told in (
        ("Settings", list(_settings(document))),
        ("Resources", list(_resources(document))),
        ("Access", list(_access(document))),
    ):
        if told:
            lines += ["", f"#### {title}", "", *fenced(told, "diff" if title == "Resources" else "text")]
    return "\n".join(lines) + "\n"


def _summary(document: dict[str, Any]) -> str:
    differing, only_from, only_to = (len(document[key]) for key in ("differing", "only_from", "only_to"))
    parts = [f"{differing:,} differ"] if differing else []
    parts += [f"{only_from:,} only in {visible(document['from'])}"] if only_from else []
    parts += [f"{only_to:,} only in {visible(document['to'])}"] if only_to else []
    settings = sum(entry["what"] != "variable" for entry in document["settings"])
    parts += [f"{count(settings, 'setting')} not alike"] if settings else []
    told = ", ".join(parts) or "no difference but names and variables"
    by_variables = len(document["by_variables"])
    same = f"{count(document['equal'], 'resource')} alike"
    return f"{told}; {same}{f', {by_variables:,} but for variables' if by_variables else ''}."


def _settings(document: dict[str, Any]) -> Iterator[str]:
    for entry in document["settings"]:
        before, after = (visible(entry[side]) or '""' for side in ("from", "to"))
        yield f"{entry['what']} {visible(entry['name'])}: {before} -> {after}"
    if document["unsplit"]:
        yield f"what only variables make differ is not told apart: {visible(document['unsplit'])}"


def _resources(document: dict[str, Any]) -> Iterator[str]:
    for sign, key, where in (("-", "only_from", "from"), ("+", "only_to", "to")):
        addresses = document[key]
        for address in addresses[:LISTED]:
            yield f"{sign} {visible(address)} (only in {visible(document[where])})"
        yield from _more(sign, addresses)
    for entry in document["differing"][:LISTED]:
        former = entry["from_address"]
        yield f"~ {visible(entry['address'])}" + (f" (from {visible(former)})" if former != entry["address"] else "")
        yield from _fields(entry["fields"])
    yield from _more("~", document["differing"])


def _fields(fields: Sequence[dict[str, Any]]) -> Iterator[str]:
    changes = [FieldChange(tuple(entry["path"]), entry["from"], entry["to"]) for entry in fields]
    for row in field_rows(changes, Reader()):
        name, before, after = (visible(text) for text in field_text(row))
        said = f"{before} -> {after}" if before and after else after or f"{before} -> nothing"
        yield f"    {name}: {said}"


def _more(sign: str, entries: Sequence[Any]) -> Iterator[str]:
    if len(entries) > LISTED:
        yield f"{sign} and {len(entries) - LISTED:,} more"


def _access(document: dict[str, Any]) -> Iterator[str]:
    exposure = document["access"]
    if exposure["gained"] or exposure["lost"]:
        first, second = visible(document["from"]), visible(document["to"])
        yield f"Who sees what in {second} and not in {first} (+), or the other way (-):"
        yield from exposure_lines({**exposure, "hazards": []}, entries=_ACCESS_LISTED)
