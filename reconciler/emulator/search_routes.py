"""Search over HTTP, as far as a verification asks (push-api.md 2.6)."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.query import BadQuery, compile_order, compile_query
from reconciler.emulator.replies import Refusal, reply
from reconciler.emulator.views import Access, search_result

MAXIMUM_RESULTS = 5000
"""How far paging reaches; beyond it one pages by a sort key (push-api.md 2.6)."""


def search_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the search API."""
    find = endpoint(engine, hooks, search, privilege=names.EXECUTE_QUERY, observes=True)
    one = endpoint(engine, hooks, document, privilege=names.EXECUTE_QUERY, observes=True)
    return [
        Route("/rest/search/v2", find, methods=["GET", "POST"]),
        Route("/rest/search/v2/document", one, methods=["GET"]),
    ]


def _organization(exchange: Exchange) -> str:
    return exchange.required("organizationId")


async def _parameters(exchange: Exchange) -> dict[str, Any]:
    """Return the parameters of a search, which may come in the query or in the body."""
    parameters: dict[str, Any] = dict(exchange.query)
    if exchange.method == "POST":
        value = await exchange.json(required=False)
        if value is not None and not isinstance(value, dict):
            raise replies.invalid_json("A search is an object.")
        parameters.update(value or {})
    return parameters


def _count(parameters: dict[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise Refusal(400, "INVALID_PARAMETER", f"Parameter '{name}' must be a number.")
    return value


def _text(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400, "INVALID_PARAMETER", f"Parameter '{name}' must be a string.")
    return value or ""


def _fields(parameters: dict[str, Any]) -> list[str] | None:
    value = parameters.get("fieldsToInclude")
    if value is None:
        return None
    if isinstance(value, str):
        value = value.strip("[]").replace('"', "").split(",")
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Refusal(400, "INVALID_PARAMETER", "Parameter 'fieldsToInclude' must be a list of names.")
    return [name.strip() for name in value]


def _sees_all(exchange: Exchange, parameters: dict[str, Any]) -> bool:
    asked = str(parameters.get("viewAllContent", "")).lower() in ("1", "true")
    return asked and names.VIEW_ALL_CONTENT in exchange.privileges


async def search(exchange: Exchange) -> Response:
    engine, organization = exchange.engine, _organization(exchange)
    parameters = await _parameters(exchange)
    most = engine.options.doubts.search_page
    number, first = _count(parameters, "numberOfResults", 10), _count(parameters, "firstResult", 0)
    if number > most or first + number > MAXIMUM_RESULTS:
        raise Refusal(400, "INVALID_PARAMETER", f"At most {most} results, and none beyond the {MAXIMUM_RESULTS}th.")
    sources = engine.sources(organization)
    numbers = {source.id: place for place, source in sources}
    by_place = dict(sources)
    try:
        condition = compile_query(
            " ".join(f"({text})" for text in (_text(parameters, "q"), _text(parameters, "aq")) if text.strip()),
            numbers,
        )
        order = compile_order(_text(parameters, "sortCriteria"))
    except BadQuery as error:
        raise Refusal(400, "INVALID_QUERY", str(error)) from None
    places = ", ".join(map(str, by_place)) or "NULL"
    where = f"place IN ({places}) AND ({condition.where})"
    if _sees_all(exchange, parameters):
        total = engine.items.matching(where, condition.values)
        found = engine.items.select(where, condition.values, order, number, first)
    else:
        access = Access(engine, organization)
        everything = engine.items.select(where, condition.values, order, -1, 0)
        visible = [item for item in everything if access.public(item, by_place[item.place])]
        total, found = len(visible), visible[first : first + number]
    wanted = _fields(parameters)
    return reply(
        {
            "totalCount": total,
            "totalCountFiltered": total,
            "duration": 1,
            "indexDuration": 1,
            "requestDuration": 1,
            "searchUid": str(uuid.uuid4()),
            "pipeline": _text(parameters, "pipeline") or "default",
            "results": [search_result(item, by_place[item.place], wanted) for item in found],
        }
    )


async def document(exchange: Exchange) -> Response:
    """Answer one item by its `uniqueId`, as a search would show it."""
    engine, organization = exchange.engine, _organization(exchange)
    by_place = dict(engine.sources(organization))
    item: Item | None = engine.items.one(by_place, exchange.required("uniqueId"))
    if item is None:
        raise replies.not_found("The item")
    source = by_place[item.place]
    if not _sees_all(exchange, dict(exchange.query)) and not Access(engine, organization).public(item, source):
        raise replies.not_found("The item")
    return reply(search_result(item, source, None))
