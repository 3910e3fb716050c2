"""Search over HTTP, as far as a verification asks (push-api.md 2.6)."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.query import BadQuery, compile_order, compile_query
from reconciler.emulator.quickview import DATA_STREAMS, plain_text, quickview_page
from reconciler.emulator.replies import Refusal, reply
from reconciler.emulator.views import Access, search_result


def search_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the search API."""
    find = endpoint(engine, hooks, search, privilege=names.EXECUTE_QUERY, observes=True)
    single: list[tuple[str, Handler]] = [
        ("document", document),
        ("text", text),
        ("html", quickview),
        ("datastream", data_stream),
    ]
    return [
        Route("/rest/search/v2", find, methods=["GET", "POST"]),
        *(
            Route(
                f"/rest/search/v2/{name}",
                endpoint(engine, hooks, handler, privilege=names.EXECUTE_QUERY, observes=True),
                methods=["GET"],
            )
            for name, handler in single
        ),
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
    reach = engine.options.maximum_results
    if number > most or first + number > reach:
        # Beyond that one pages by a sort key and a range (push-api.md 2.6).
        raise Refusal(400, "INVALID_PARAMETER", f"At most {most} results, and none beyond the {reach}th.")
    dates = engine.fields.dates(organization)
    sources = engine.sources(organization)
    numbers = {source.id: place for place, source in sources}
    by_place = dict(sources)
    try:
        condition = compile_query(
            " ".join(f"({text})" for text in (_text(parameters, "q"), _text(parameters, "aq")) if text.strip()),
            numbers,
            dates,
        )
        order = compile_order(_text(parameters, "sortCriteria"), dates)
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


def _one(exchange: Exchange) -> tuple[Item, SourceOptions]:
    """Return the item that a request names by `uniqueId` or `primaryId`, one of them, if the key may see it."""
    engine, organization = exchange.engine, _organization(exchange)
    by_place = dict(engine.sources(organization))
    unique, primary = exchange.query.get("uniqueId"), exchange.query.get("primaryId")
    if bool(unique) is bool(primary):
        raise Refusal(400, "INVALID_PARAMETER", "Exactly one of 'uniqueId' and 'primaryId' is needed.")
    item = engine.items.one(by_place, unique) if unique else engine.items.by_primary_id(by_place, primary or "")
    if item is None:
        raise replies.not_found("The item")
    source = by_place[item.place]
    if not _sees_all(exchange, dict(exchange.query)) and not Access(engine, organization).public(item, source):
        raise replies.not_found("The item")
    return item, source


async def document(exchange: Exchange) -> Response:
    """Answer one item as a search would show it."""
    item, source = _one(exchange)
    return reply(search_result(item, source, None))


def _content(exchange: Exchange, item: Item) -> bytes:
    """Return the content of an item, or the beginning of one that was too large to keep whole."""
    kept = exchange.engine.items.body(item)
    return item.preview.encode() if kept is None else kept


async def text(exchange: Exchange) -> Response:
    """Answer the text that was extracted from an item's content."""
    item, _ = _one(exchange)
    return Response(plain_text(_content(exchange, item), item.extension), media_type="text/plain; charset=utf-8")


async def quickview(exchange: Exchange) -> Response:
    """Answer an item's content as a page that can be shown."""
    item, _ = _one(exchange)
    page = quickview_page(_content(exchange, item), item.extension)
    # What was pushed is nobody's to trust: it is shown, and does nothing.
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    return Response(page, headers=headers, media_type="text/html; charset=utf-8")


async def data_stream(exchange: Exchange) -> Response:
    """Answer a stored stream of an item; there is one, its content."""
    item, _ = _one(exchange)
    name = exchange.query.get("dataStream")
    if not name:
        raise Refusal(400, "INVALID_PARAMETER", "Parameter 'dataStream' is missing.")
    if item.body_key is None or name.strip("$").lower() not in DATA_STREAMS:
        raise replies.not_found(f"Data stream '{name}'")
    return Response(_content(exchange, item), media_type="application/octet-stream")
