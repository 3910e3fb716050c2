"""Fields and mappings: what an index keeps of an item's metadata (push-api.md 2.6, 4.4). Knows no HTTP.

Metadata goes to the field of its name, or to where a mapping rule routes it, when the item is processed: what
changes later counts for items that are pushed again (push-api.md 7, 14).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from reconciler.emulator.database import Database
from reconciler.emulator.dates import epoch
from reconciler.emulator.options import EmulatorOptions
from reconciler.emulator.wire import FIELD_NAME

FIELD_TYPES = ("LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR")
_REFERENCE = re.compile(r"%\[([^\]]*)\]")
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_PLAIN = frozenset({str, int, float, bool})

Model = dict[str, Any]
"""A field as the API shows it."""


class FieldTable:
    """The fields of every organization and the mappings of every source."""

    def __init__(self, options: EmulatorOptions, database: Database) -> None:
        self._options = options
        self._database = database
        self._connection = database.connection
        self._fields: dict[str, dict[str, Model]] = {}
        self._mappings: dict[int, Model | None] = {}

    def forget(self) -> None:
        """Drop what was derived from the rows."""
        self._fields.clear()
        self._mappings.clear()

    # Fields

    def all(self, organization: str) -> Mapping[str, Model]:
        """Return the fields of an organization by their names, those of the system first."""
        found = self._fields.get(organization)
        if found is None:
            found = {
                entry.name: field_model(
                    {"name": entry.name, "type": entry.type, "multiValueFacet": entry.multi_value}, system=True
                )
                for entry in self._options.system_fields
            }
            rows = self._connection.execute(
                "SELECT name, model FROM fields WHERE organization = ? ORDER BY name", (organization,)
            )
            found.update((name, orjson.loads(model)) for name, model in rows)
            self._fields[organization] = found
        return found

    def put(self, organization: str, model: Model) -> None:
        """Create a field or replace its settings."""
        self._connection.execute(
            "INSERT OR REPLACE INTO fields VALUES (?, ?, ?)",
            (organization, model["name"], orjson.dumps(model).decode()),
        )
        self._fields.clear()

    def delete(self, organization: str, name: str) -> None:
        """Delete a field, and with it what the index holds in it."""
        self._connection.execute("DELETE FROM fields WHERE organization = ? AND name = ?", (organization, name))
        self._connection.execute(
            "UPDATE items SET fields = json_remove(fields, ?) WHERE fields IS NOT NULL"
            " AND place IN (SELECT id FROM places WHERE organization = ?)",
            (f'$."{name}"', organization),
        )
        self._fields.clear()

    def dictionaries(self, organization: str) -> frozenset[str]:
        """Return the names of the fields that hold objects (`keyValue`, push-api.md 4.4)."""
        return frozenset(name for name, model in self.all(organization).items() if model["keyValue"])

    def dates(self, organization: str) -> frozenset[str]:
        """Return the names of the fields that hold points in time."""
        return frozenset(name for name, model in self.all(organization).items() if model["type"] == "DATE")

    # Mappings

    def mappings(self, place: int) -> Model:
        """Return the mappings of a source (push-api.md 2.6)."""
        return self._rules(place) or {"common": {"rules": []}, "types": []}

    def _rules(self, place: int) -> Model | None:
        if place not in self._mappings:
            row = self._connection.execute("SELECT mappings FROM rules WHERE place = ?", (place,)).fetchone()
            self._mappings[place] = orjson.loads(row[0]) if row else None
        return self._mappings[place]

    def set_mappings(self, place: int, mappings: Model, now: float) -> None:
        """Replace the mappings of a source; items that are pushed from now on follow them."""
        self._connection.execute(
            "INSERT OR REPLACE INTO rules VALUES (?, ?, ?)", (place, orjson.dumps(mappings).decode(), now)
        )
        self._mappings.pop(place, None)

    def outdated(self, place: int) -> bool:
        """Return whether a source holds items that were pushed before its mappings changed."""
        row = self._connection.execute(
            "SELECT 1 FROM rules JOIN items USING (place) WHERE place = ? AND pushed < changed LIMIT 1", (place,)
        ).fetchone()
        return row is not None

    # Processing

    def take(self, place: int, metadata: Mapping[str, Any]) -> str | None:
        """Return the fields that an item's metadata come to as JSON; None when each key is a field of its own."""
        mappings = self._rules(place)
        strict = self._options.fields == "strict"
        if not strict and mappings is None:
            return None
        known = self.all(self._database.owner(place))
        values: dict[str, Any] = {key: value for key, value in metadata.items() if FIELD_NAME.match(key)}
        if mappings is not None:
            values.update(mapped(self._applying(mappings, metadata), metadata))
        if not strict:
            return orjson.dumps(values).decode()
        fitting = {
            key: fit(value, known[key], self._options.doubts.fractional_long)
            for key, value in values.items()
            if key in known
        }
        return orjson.dumps({key: value for key, value in fitting.items() if value is not None}).decode()

    def _applying(self, mappings: Model, metadata: Mapping[str, Any]) -> list[Model]:
        """Return the rules for an item; those of its type come last, and thereby before the common ones."""
        kind = str(metadata.get(self._options.doubts.mapping_type_key, "")).casefold()
        rules = list(mappings["common"]["rules"])
        for entry in mappings["types"]:
            if kind and entry["type"].casefold() == kind:
                rules.extend(entry["rules"])
        return rules


def field_model(given: Model, *, system: bool = False) -> Model:
    """Return the whole model of a field; what is not given has its default."""
    return {
        "description": "",
        "includeInQuery": True,
        "includeInResults": True,
        "mergeWithLexicon": False,
        "facet": False,
        "multiValueFacet": False,
        "multiValueFacetTokenizers": ";",
        "sort": False,
        "ranking": False,
        "stemming": False,
        "keyValue": False,
        "dateFormat": "",
        **given,
        "system": system,
    }


def mapped(rules: list[Model], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that mapping rules fill: the first statement that is not null wins (push-api.md 2.6)."""
    found: dict[str, Any] = {}
    for rule in rules:
        for statement in rule["content"]:
            value = _stated(statement, metadata)
            if value is not None:
                found[rule["field"]] = value
                break
    return found


def _stated(statement: str, metadata: Mapping[str, Any]) -> Any:
    whole = _REFERENCE.fullmatch(statement.strip())
    if whole:
        return _held(whole.group(1), metadata)
    references = _REFERENCE.findall(statement)
    if references and all(_held(key, metadata) is None for key in references):
        return None
    return _REFERENCE.sub(lambda match: _text(_held(match.group(1), metadata)), statement)


def _held(key: str, metadata: Mapping[str, Any]) -> Any:
    return metadata.get(key.strip().lower())


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ";".join(map(_text, value))
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def fit(value: Any, model: Model, fractions: str = "truncate") -> Any:
    """Return what a field holds for a metadata value, None for nothing: no error tells of it (push-api.md 4.4)."""
    if isinstance(value, dict):
        return value if model["keyValue"] else None
    return _FITTING[model["type"]](value, model, fractions)


def _fit_long(value: Any, model: Model, fractions: str) -> Any:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    number = _fit_double(value, model, fractions) if not isinstance(value, int) else value
    if isinstance(number, float):
        if not number.is_integer() and fractions == "drop":
            return None
        number = int(number)
    bits = 31 if model["type"] == "LONG" else 63
    return number if type(number) is int and -(2**bits) <= number < 2**bits else None


def _fit_double(value: Any, model: Model, fractions: str) -> Any:
    del model, fractions
    if isinstance(value, str) and len(value) < 400 and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if type(value) not in (int, float) or abs(value) > 1.7e308:
        return None
    return value


def _fit_date(value: Any, model: Model, fractions: str) -> Any:
    del model, fractions
    return epoch(value)


def _fit_string(value: Any, model: Model, fractions: str) -> Any:
    del fractions
    if isinstance(value, list):
        texts = [_text(part) for part in value if type(part) in _PLAIN]
        # Several values of one item are one text in the index, unless the field tells them apart.
        return texts if model["multiValueFacet"] else ";".join(texts)
    return _text(value)


def _fit_vector(value: Any, model: Model, fractions: str) -> Any:
    del model, fractions
    numeric = isinstance(value, list) and value and all(type(part) in (int, float) for part in value)
    return value if numeric else None


_FITTING: dict[str, Callable[[Any, Model, str], Any]] = {
    "LONG": _fit_long,
    "LONG_64": _fit_long,
    "DOUBLE": _fit_double,
    "DATE": _fit_date,
    "STRING": _fit_string,
    "VECTOR": _fit_vector,
}
