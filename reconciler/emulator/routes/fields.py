"""Fields, and the mappings of sources, over HTTP (push-api.md 2.6, 4.4).

Fields are changed at once, unlike items. What the answers to bad requests are called is a guess.
"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.fields import FIELD_TYPES, Model, field_model
from reconciler.emulator.replies import Refusal, reply
from reconciler.emulator.wire import FIELD_NAME

_FLAGS = ("includeInQuery", "includeInResults", "mergeWithLexicon", "facet", "multiValueFacet", "sort", "ranking")
_MORE_FLAGS = ("stemming", "keyValue", "hierarchicalFacet", "smartDateFacet", "system")
_ORIGINS = ("ALL", "USER", "SYSTEM")


def field_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of fields and mappings."""
    fields = "/rest/organizations/{organization}/indexes/fields"
    mappings = "/rest/organizations/{organization}/sources/{source}/mappings"
    table: list[tuple[str, str, Handler, str]] = [
        ("POST", f"{fields}/search", search_fields, names.FIELD_VIEW),
        ("POST", fields, create_field, names.FIELD_CREATE),
        ("POST", f"{fields}/batch/create", create_fields, names.FIELD_CREATE),
        ("PUT", f"{fields}/batch/update", update_fields, names.FIELD_EDIT),
        ("DELETE", f"{fields}/batch/delete", delete_fields, names.FIELD_EDIT),
        ("GET", f"{fields}/{{field}}", one_field, names.FIELD_VIEW),
        ("PUT", f"{fields}/{{field}}", update_field, names.FIELD_EDIT),
        ("DELETE", f"{fields}/{{field}}", delete_field, names.FIELD_EDIT),
        ("GET", mappings, show_mappings, names.SOURCE_VIEW),
        ("PUT", mappings, replace_mappings, names.SOURCE_EDIT),
        ("GET", f"{mappings}/common/rules", common_rules, names.SOURCE_VIEW),
        ("POST", f"{mappings}/common/rules", add_common_rule, names.SOURCE_EDIT),
        ("GET", f"{mappings}/types/{{type}}/rules", type_rules, names.SOURCE_VIEW),
        ("POST", f"{mappings}/types/{{type}}/rules", add_type_rule, names.SOURCE_EDIT),
    ]
    return [
        Route(path, endpoint(engine, hooks, handler, privilege=privilege, observes=True), methods=[method])
        for method, path, handler, privilege in table
    ]


def _bad(why: str) -> Refusal:
    return Refusal(400, "INVALID_PARAMETER", why)


# Reading fields


async def search_fields(exchange: Exchange) -> Response:
    """Answer a page of fields; page, size, order and filters come in the body."""
    asked = _object(_given({"body": await exchange.json(required=False)}, "body", {}), "A search")
    filters = _object(_given(asked, "filters", {}), "'filters'")
    per_page, number = _count(asked, "perPage", 100, 1), _count(asked, "page", 0, 0)
    if per_page > 1000:
        raise _bad("'perPage' is 1000 at most.")
    found = [model for model in exchange.engine.fields.all(exchange.organization).values() if _wanted(model, filters)]
    key = str(asked.get("sortBy") or "name")
    found.sort(key=lambda model: (str(model.get(key, "")), model["name"]))
    if str(asked.get("order") or "ASC").upper() == "DESC":
        found.reverse()
    return reply(
        {
            "items": found[number * per_page : (number + 1) * per_page],
            "totalEntries": len(found),
            "totalPages": -(-len(found) // per_page),
        }
    )


def _wanted(model: Model, filters: dict[str, Any]) -> bool:
    kind, origin, listed = filters.get("type"), str(filters.get("origin") or "ALL").upper(), filters.get("fieldNames")
    if kind is not None and kind not in FIELD_TYPES:
        raise _bad(f"'{str(kind)[:100]}' is no type of a field.")
    if origin not in _ORIGINS:
        raise _bad(f"'{origin[:100]}' is no origin of a field.")
    if listed is not None and not isinstance(listed, list):
        raise _bad("'fieldNames' must be an array.")
    return (
        str(filters.get("name") or "").lower() in model["name"]
        and kind in (None, model["type"])
        and (origin == "ALL" or (origin == "SYSTEM") is model["system"])
        and (not listed or model["name"] in listed)
    )


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise replies.invalid_json(f"{what} must be an object.")
    return value


def _given(values: dict[str, Any], name: str, default: Any) -> Any:
    value = values.get(name)
    return default if value is None else value


def _count(asked: dict[str, Any], name: str, default: int, least: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if type(value) is not int or not least <= value < 10**9:
        raise _bad(f"'{name}' must be a number of at least {least}.")
    return value


async def one_field(exchange: Exchange) -> Response:
    return reply(_existing(exchange, exchange.segment("field")))


def _existing(exchange: Exchange, name: str) -> Model:
    found = exchange.engine.fields.all(exchange.organization).get(name)
    if found is None:
        raise replies.not_found(f"Field '{name}'")
    return found


# Changing fields


def _model(value: Any) -> Model:
    given = _object(value, "A field")
    name, kind = given.get("name"), given.get("type")
    if not isinstance(name, str) or not FIELD_NAME.match(name):
        raise _bad(f"'{str(name)[:100]}' cannot be the name of a field.")
    if kind not in FIELD_TYPES:
        raise _bad(f"Field '{name}': '{str(kind)[:100]}' is no type of a field.")
    for flag in (*_FLAGS, *_MORE_FLAGS):
        if given.get(flag) is not None and not isinstance(given[flag], bool):
            raise _bad(f"Field '{name}': '{flag}' must be true or false.")
    return field_model({key: entry for key, entry in given.items() if entry is not None})


async def _models(exchange: Exchange) -> list[Model]:
    value = await exchange.json()
    if not isinstance(value, list):
        raise replies.invalid_json("A batch of fields is an array.")
    models = list(map(_model, value))
    if len({model["name"] for model in models}) != len(models):
        raise _bad("A field is named twice.")
    return models


def _create(exchange: Exchange, models: list[Model]) -> Response:
    known = exchange.engine.fields.all(exchange.organization)
    for model in models:
        if model["name"] in known:
            status = exchange.engine.options.doubts.existing_field
            raise Refusal(status, "FIELD_ALREADY_EXISTS", f"Field '{model['name']}' already exists.")
    return _write(exchange, models)


def _update(exchange: Exchange, models: list[Model]) -> Response:
    for model in models:
        _own(exchange, model["name"])
    return _write(exchange, models)


def _own(exchange: Exchange, name: str) -> None:
    if _existing(exchange, name)["system"]:
        raise _bad(f"Field '{name}' is the system's.")


def _write(exchange: Exchange, models: list[Model]) -> Response:
    with exchange.engine.database.transaction():
        for model in models:
            exchange.engine.fields.put(exchange.organization, model)
    return Response(status_code=204)


async def create_field(exchange: Exchange) -> Response:
    return _create(exchange, [_model(await exchange.json())])


async def create_fields(exchange: Exchange) -> Response:
    return _create(exchange, await _models(exchange))


async def update_fields(exchange: Exchange) -> Response:
    return _update(exchange, await _models(exchange))


async def update_field(exchange: Exchange) -> Response:
    model = _model(await exchange.json())
    if model["name"] != exchange.segment("field"):
        raise _bad("The name in the path and the one in the body differ.")
    return _update(exchange, [model])


async def delete_field(exchange: Exchange) -> Response:
    return _delete(exchange, [exchange.segment("field")])


async def delete_fields(exchange: Exchange) -> Response:
    exchange.required("fields")
    listed = [name for key, value in exchange.query_pairs if key == "fields" for name in value.split(",")]
    return _delete(exchange, [name.strip() for name in listed if name.strip()])


def _delete(exchange: Exchange, listed: list[str]) -> Response:
    for name in listed:
        _own(exchange, name)
    with exchange.engine.database.transaction():
        for name in listed:
            exchange.engine.fields.delete(exchange.organization, name)
    return Response(status_code=204)


# Mappings


def _source(exchange: Exchange) -> int:
    name = exchange.segment("source")
    found = exchange.engine.source(exchange.organization, name)
    if found is None:
        raise Refusal(404, "SOURCE_NOT_FOUND", f"Source '{name}' does not exist.")
    return found[0]


def _rule(exchange: Exchange, value: Any) -> Model:
    given = _object(value, "A rule")
    field, content = given.get("field"), given.get("content")
    if not isinstance(field, str) or field not in exchange.engine.fields.all(exchange.organization):
        raise _bad(f"'{str(field)[:100]}' is no field.")
    if not isinstance(content, list) or not content or not all(isinstance(part, str) for part in content):
        raise _bad(f"Field '{field}': 'content' must be an array of statements.")
    name = given.get("id")
    return {"id": name if isinstance(name, str) and name else uuid.uuid4().hex, "field": field, "content": content}


def _rules(exchange: Exchange, value: Any, what: str) -> list[Model]:
    rules = _given(_object(value, what), "rules", [])
    if not isinstance(rules, list):
        raise replies.invalid_json("'rules' must be an array.")
    return [_rule(exchange, rule) for rule in rules]


async def show_mappings(exchange: Exchange) -> Response:
    return reply(exchange.engine.fields.mappings(_source(exchange)))


async def replace_mappings(exchange: Exchange) -> Response:
    place = _source(exchange)
    body = _object(await exchange.json(), "The mappings")
    types = _given(body, "types", [])
    if not isinstance(types, list):
        raise replies.invalid_json("'types' must be an array.")
    read = []
    for entry in types:
        kind = _object(entry, "A type").get("type") or entry.get("id")
        if not isinstance(kind, str) or not kind:
            raise _bad("A type of items needs its 'type'.")
        name = entry.get("id") if isinstance(entry.get("id"), str) else kind
        read.append({"id": name, "type": kind, "rules": _rules(exchange, entry, "A type")})
    mappings = {"common": {"rules": _rules(exchange, _given(body, "common", {}), "'common'")}, "types": read}
    return _changed(exchange, place, mappings, mappings, 200)


def _changed(exchange: Exchange, place: int, mappings: Model, answer: Any, status: int) -> Response:
    """Write mappings down; a source that is pushed to cannot rebuild itself, so `rebuild` does nothing more."""
    exchange.flag("rebuild")
    engine = exchange.engine
    engine.fields.set_mappings(place, mappings, engine.clock.now())
    return reply(answer, status)


async def common_rules(exchange: Exchange) -> Response:
    return reply(exchange.engine.fields.mappings(_source(exchange))["common"]["rules"])


async def add_common_rule(exchange: Exchange) -> Response:
    place = _source(exchange)
    rule = _rule(exchange, await exchange.json())
    mappings = exchange.engine.fields.mappings(place)
    rules = [*mappings["common"]["rules"], rule]
    return _changed(exchange, place, {**mappings, "common": {"rules": rules}}, rule, 201)


def _type(mappings: Model, name: str) -> Model | None:
    return next((entry for entry in mappings["types"] if entry["id"] == name), None)


async def type_rules(exchange: Exchange) -> Response:
    name = exchange.segment("type")
    found = _type(exchange.engine.fields.mappings(_source(exchange)), name)
    if found is None:
        raise replies.not_found(f"Mapping type '{name}'")
    return reply(found["rules"])


async def add_type_rule(exchange: Exchange) -> Response:
    """Add a rule for one type of items, which is made when it is new."""
    place, name = _source(exchange), exchange.segment("type")
    rule = _rule(exchange, await exchange.json())
    mappings = exchange.engine.fields.mappings(place)
    found = _type(mappings, name) or {"id": name, "type": name, "rules": []}
    others = [entry for entry in mappings["types"] if entry["id"] != name]
    types = [*others, {**found, "rules": [*found["rules"], rule]}]
    return _changed(exchange, place, {**mappings, "types": types}, rule, 201)
