"""Metadata held against the fields and mappings of an organization: what nothing takes, what does not fit.

Pure. Fields and mapping rules come as the documents of push-api.md 2.6 and are somebody else's data:
what is not as documented there counts as absent. A key is taken by the field of its name (D115) or by
a mapping rule that mentions it and leads to a field that exists (push-api.md 4.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.metadata import WELL_KNOWN, FieldType, join
from reconciler.problems import Problem, Severity

# `%[key]`, or with the origin of the metadata: `%[key:crawler]`.
_MENTION = re.compile(r"%\[([^\]:]+)(?::[^\]]*)?\]")

# type of a key -> the types of fields that hold all its values as they are
_FITS: dict[FieldType, frozenset[str]] = {
    FieldType.LONG: frozenset({"LONG", "LONG_64", "DOUBLE", "STRING"}),
    FieldType.LONG_64: frozenset({"LONG_64", "DOUBLE", "STRING"}),
    FieldType.DOUBLE: frozenset({"DOUBLE", "STRING"}),
    FieldType.DATE: frozenset({"DATE", "STRING"}),
    FieldType.STRING: frozenset({"STRING"}),
    # A list of numbers may be meant for a VECTOR; which list it is, is not known here.
    FieldType.MULTI: frozenset({"STRING", "VECTOR"}),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the organization. `shown` says whether search results show it, `multi` whether a list fits."""

    name: str
    type: str
    multi: bool = False
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """A mapping rule: the first of `contents` that has a value fills `field`; `common` to all item types."""

    field: str
    contents: tuple[str, ...]
    common: bool = True

    def mentions(self, key: str) -> bool:
        """Whether the rule makes use of a metadata key."""
        return any(name.strip().lower() == key for content in self.contents for name in _MENTION.findall(content))

    def is_only(self, key: str) -> bool:
        """Whether the rule gives the field the key's value and never another."""
        return self.common and len(self.contents) == 1 and _plain(self.contents[0]) == key


def _plain(content: str) -> str:
    found = _MENTION.fullmatch(content.strip())
    return found[1].strip().lower() if found else ""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of an organization by name, and the mapping rules of each source by its name in the project."""

    fields: Mapping[str, Field]
    rules: Mapping[str, tuple[Rule, ...]]
    _holders: dict[tuple[str, str], Field | None] = field(default_factory=dict, repr=False, compare=False)

    def takers(self, source: str, key: str) -> tuple[Field, ...]:
        """Return the fields that a metadata key of a source leads to, by name."""
        names = {rule.field for rule in self.rules.get(source, ()) if rule.mentions(key)} | {key}
        return tuple(self.fields[name] for name in sorted(names) if name in self.fields)

    def holder(self, source: str, key: str) -> Field | None:
        """Return the field that shows the values of a key and of nothing else, if there is one for sure."""
        place = (source, key)
        if place not in self._holders:
            self._holders[place] = self._find_holder(source, key)
        return self._holders[place]

    def _find_holder(self, source: str, key: str) -> Field | None:
        rules = self.rules.get(source, ())
        for taker in self.takers(source, key):
            filling = [rule for rule in rules if rule.field == taker.name]
            own = taker.name == key and not filling
            if taker.shown and (own or (len(filling) == 1 and filling[0].is_only(key))):
                return taker
        return None

    def vanishes(self, source: str, key: str) -> bool:
        """Whether nothing takes a key. Well-known ones have a field in every organization (push-api.md 3.1)."""
        return key not in WELL_KNOWN and not self.takers(source, key)


def read_fields(documents: Iterable[Mapping[str, Any]]) -> dict[str, Field]:
    """Return fields by name from FieldModels (push-api.md 2.6)."""
    out = {}
    for document in documents:
        name, kind = document.get("name"), document.get("type")
        if isinstance(name, str) and isinstance(kind, str):
            multi = document.get("multiValueFacet") is True
            # A field is shown unless it says otherwise.
            out[name.lower()] = Field(name.lower(), kind.upper(), multi, document.get("includeInResults") is not False)
    return out


def read_rules(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the mapping rules of a source, those of item types among them (push-api.md 2.6)."""
    common = document.get("common")
    out = _rules(common.get("rules") if isinstance(common, dict) else None, common=True)
    types = document.get("types")
    for entry in types if isinstance(types, list) else ():
        if isinstance(entry, dict):
            out += _rules(entry.get("rules"), common=False)
    return tuple(out)


def _rules(listed: Any, *, common: bool) -> list[Rule]:
    out = []
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("field"), str):
            continue
        content = entry.get("content")
        texts = content if isinstance(content, list) else [content]
        contents = tuple(text for text in texts if isinstance(text, str))
        out.append(Rule(entry["field"].lower(), contents, common))
    return out


# -- what is told ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A metadata key of a source, its type over all items, and an item that shows it."""

    source: str
    key: str
    type: FieldType
    example: str = ""


def problems_of(key: Key, known: Fields, *, create: bool) -> list[Problem]:
    """Return what the organization's fields make of a key; none when it arrives as it is.

    With `create` a missing field is one that apply makes.
    """
    takers = known.takers(key.source, key.key)
    if not takers:
        if key.key in WELL_KNOWN:
            return []
        return [_to_create(key) if create else _unmapped(key)]
    return [problem for taker in takers for problem in _fit(key, taker)]


def fields_to_create(keys: Iterable[Key], known: Fields) -> dict[str, FieldType]:
    """Return the fields to make so that no key vanishes, by name; a key of several sources takes all their values."""
    missing: set[str] = set()
    types: dict[str, FieldType] = {}
    for key in keys:
        if known.vanishes(key.source, key.key):
            missing.add(key.key)
        types[key.key] = join((key.type, types.get(key.key, key.type)))
    return {name: types[name] for name in sorted(missing)}


def _such_as(key: Key) -> str:
    return f", such as that of {key.example}" if key.example else ""


def _unmapped(key: Key) -> Problem:
    return Problem(
        "metadata-unmapped",
        f'no field and no mapping takes metadata "{key.key}" of source "{key.source}"{_such_as(key)}',
        why="it is accepted with the item and then vanishes: nobody can search for it or see it.",
        fix=f'add a field "{key.key}" of type {key.type}, or write `fields: create` in reconciler.yaml; '
        "items pushed before that must be pushed again.",
        severity=Severity.WARNING,
    )


def _to_create(key: Key) -> Problem:
    return Problem(
        "field-to-create",
        f'apply will create the field "{key.key}" of type {key.type} for metadata of source "{key.source}"'
        f"{_such_as(key)}",
        why="no field and no mapping takes it, and reconciler.yaml says `fields: create`.",
        severity=Severity.NOTE,
    )


def _fit(key: Key, taker: Field) -> list[Problem]:
    # A type that this tool does not know proves nothing.
    if taker.type in ("LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR") and taker.type not in _FITS[key.type]:
        return [
            Problem(
                "field-type-mismatch",
                f'metadata "{key.key}" of source "{key.source}" is {key.type}, the field "{taker.name}" that takes it '
                f"is {taker.type}{_such_as(key)}",
                why="values that do not fit the field are converted or dropped after they were accepted, "
                "without an error.",
                fix=f"change the values, or map them to a field of type {key.type}.",
                severity=Severity.WARNING,
            )
        ]
    # The documents' own samples give `language` as a list (push-api.md 3.1, seed1).
    if key.type is FieldType.MULTI and taker.type == "STRING" and not taker.multi and key.key not in WELL_KNOWN:
        return [
            Problem(
                "field-not-multi-value",
                f'metadata "{key.key}" of source "{key.source}" has several values, the field "{taker.name}" that '
                f"takes it is no multi-value facet{_such_as(key)}",
                why="the values are joined with semicolons, and a facet shows them as one.",
                fix="make the field a multi-value facet in the administration console.",
                severity=Severity.WARNING,
            )
        ]
    return []
