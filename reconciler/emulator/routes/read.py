"""Sources, indexes, item permissions and pipeline logs over HTTP (push-api.md 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.replies import reply
from reconciler.emulator.views import Access, identifier, iso, request_id

INDEX = "emulated-index-1"
_WEEK = 7 * 24 * 3600
_STATUS = {"REBUILD": "REFRESHING", "REFRESH": "REFRESHING", "INCREMENTAL": "REFRESHING", "IDLE": "PUSH_READY"}


def read_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes that show what was indexed, and why something was not."""
    base = "/rest/organizations/{organization}"
    document = f"{base}/indexes/{{index}}/documents/{{document}}/permissions"
    table: list[tuple[str, str, Handler, str]] = [
        ("GET", f"{base}/sources", list_sources, names.SOURCE_VIEW),
        ("GET", f"{base}/sources/pages", page_sources, names.SOURCE_VIEW),
        ("GET", f"{base}/sources/{{source}}", one_source, names.SOURCE_VIEW),
        ("GET", f"{base}/indexes", list_indexes, names.ORGANIZATION_VIEW),
        ("GET", document, item_permissions, names.SECURITY_CACHE_VIEW),
        ("GET", f"{document}/effective", effective_permissions, names.SECURITY_CACHE_VIEW),
        ("POST", "/logs/v1/organizations/{organization}", logs, names.LOGS_VIEW),
    ]
    return [
        Route(path, endpoint(engine, hooks, handler, privilege=privilege, observes=True), methods=[verb])
        for verb, path, handler, privilege in table
    ]


def page(exchange: Exchange, items: Sequence[Any], size: str = "perPage") -> dict[str, Any]:
    """Return one page of `items`, counted from 0 (push-api.md 2.6)."""
    per_page = max(1, exchange.number(size, 100, 1000))
    number = exchange.number("page", 0, 10**9)
    return {
        "items": list(items[number * per_page : (number + 1) * per_page]),
        "totalEntries": len(items),
        "totalPages": -(-len(items) // per_page),
    }


def narrowed(exchange: Exchange, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the identities with one of `states` that were last updated between `from` and `to`, where given."""
    states = {part for key, value in exchange.query_pairs if key == "states" for part in value.upper().split(",")}
    start, end = (_moment(exchange, name) if exchange.query.get(name) else None for name in ("from", "to"))
    return [
        entry
        for entry in entries
        if (states <= {""} or entry["state"] in states)
        and (start is None or _updated(entry, float("-inf")) >= start)
        and (end is None or _updated(entry, float("inf")) <= end)
    ]


def _updated(entry: dict[str, Any], never: float) -> float:
    date = entry["lastUpdateDate"]
    return never if date is None else datetime.fromisoformat(date).timestamp()


# Sources


async def list_sources(exchange: Exchange) -> Response:
    return reply([_source(exchange, *found) for found in exchange.engine.sources(exchange.organization)])


async def page_sources(exchange: Exchange) -> Response:
    sources = [_source(exchange, *found) for found in exchange.engine.sources(exchange.organization)]
    shown = page(exchange, sources)
    return reply({**shown, "sourceModels": shown["items"]})


async def one_source(exchange: Exchange) -> Response:
    name = exchange.segment("source")
    found = exchange.engine.source(exchange.organization, name)
    if found is None:
        raise replies.Refusal(404, "SOURCE_NOT_FOUND", f"Source '{name}' does not exist.")
    return reply(_source(exchange, *found))


def _source(exchange: Exchange, place: int, source: SourceOptions) -> dict[str, Any]:
    engine = exchange.engine
    status, outdated = engine.database.status(place), engine.fields.outdated(place)
    return {
        "id": source.id,
        "name": source.id,
        "sourceType": "CATALOG" if source.kind == "catalog" else "PUSH",
        "sourceVisibility": source.visibility,
        "securityProviderReferences": [{"id": source.provider, "type": "EXPANDED"}] if source.provider else [],
        "pushEnabled": _takes_pushes(engine, source),
        "streamEnabled": source.kind == "catalog",
        "information": {
            "sourceStatus": {"type": _STATUS[status]},
            "lastOperation": _last_operation(engine, place, status),
            "numberOfDocuments": engine.items.count(place),
            "documentsTotalSize": engine.items.total_size(place),
            "rebuildRequired": outdated,
            "rebuildRequiredReasons": ["MAPPING"] if outdated else [],
        },
    }


def _takes_pushes(engine: Engine, source: SourceOptions) -> bool:
    return source.kind == "push" or engine.options.doubts.push_to_catalog == "accept"


def _last_operation(engine: Engine, place: int, status: str) -> dict[str, Any] | None:
    """Return what the source does, or when something was last processed for it."""
    row = engine.database.connection.execute("SELECT max(at) FROM logs WHERE place = ?", (place,)).fetchone()
    if row[0] is None and status == "IDLE":
        return None
    return {
        "operationType": "IDLE" if status == "IDLE" else status,
        "timestamp": None if row[0] is None else int(row[0] * 1000),
    }


# Item permissions


async def list_indexes(exchange: Exchange) -> Response:
    return reply([{"id": INDEX, "organizationId": exchange.organization}])


def _item(exchange: Exchange) -> tuple[Item, SourceOptions]:
    # The path was decoded once on its way in; the document id in it is encoded twice.
    name = unquote(exchange.segment("document"))
    by_place = dict(exchange.engine.sources(exchange.organization))
    item = exchange.engine.items.one(by_place, name) if exchange.segment("index") == INDEX else None
    if item is None:
        raise replies.not_found("The document")
    return item, by_place[item.place]


async def item_permissions(exchange: Exchange) -> Response:
    item, _ = _item(exchange)
    return reply(Access(exchange.engine, exchange.organization).permission_model(item))


async def effective_permissions(exchange: Exchange) -> Response:
    item, source = _item(exchange)
    access = Access(exchange.engine, exchange.organization)
    wanted = exchange.query.get("includedEntities", "ALL").upper()
    if wanted not in ("ALL", "ALLOWED", "DENIED"):
        raise replies.invalid_parameter("includedEntities", wanted)
    entries = [
        entry for entry in access.effective(item) if wanted == "ALL" or entry["allowed"] is (wanted == "ALLOWED")
    ]
    return reply({**page(exchange, narrowed(exchange, entries)), "anonymousAllowed": access.public(item, source)})


# Logs


async def logs(exchange: Exchange) -> Response:
    start, end = _moment(exchange, "from"), _moment(exchange, "to")
    if not start <= end <= start + _WEEK:
        raise replies.invalid_parameter("to", exchange.query["to"])
    body = await exchange.json(required=False)
    filters = {key.lower(): value for key, value in body.items()} if isinstance(body, dict) else {}
    per_page = max(1, exchange.number("perPage", 100, 1000))
    first = exchange.number("page", 0, 10**6) * per_page
    where, values = _log_filter(exchange, filters)
    rows = exchange.engine.database.connection.execute(
        "SELECT logs.id, at, operation, result, task, uri, meta, request, places.name, places.kind"  # noqa: S608
        " FROM logs JOIN places ON places.id = logs.place"
        f" WHERE places.organization = ? AND at >= ? AND at <= ?{where} ORDER BY logs.id LIMIT ? OFFSET ?",
        (exchange.organization, start, end, *values, per_page + 1, first),
    ).fetchall()
    return reply(
        {"documentLogEntries": [_log_entry(row) for row in rows[:per_page]], "hasNextPage": len(rows) > per_page}
    )


def _moment(exchange: Exchange, name: str) -> float:
    value = exchange.required(name)
    try:
        moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise replies.invalid_parameter(name, value) from None


def _log_filter(exchange: Exchange, filters: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the conditions of the body and of `documentId`; the name of one filter is spelled in two ways."""
    columns = {
        "sourcesids": "places.name",
        "sourceids": "places.name",
        "operations": "operation",
        "results": "result",
        "tasks": "task",
    }
    where, values = "", []
    for key, column in columns.items():
        for name, word in ((key, "IN"), (f"exclude{key}", "NOT IN")):
            listed = filters.get(name)
            if isinstance(listed, list) and listed:
                where += f" AND {column} {word} (SELECT value FROM json_each(?))"  # noqa: S608
                values.append(orjson.dumps(listed).decode())
    document = exchange.query.get("documentId")
    if document:
        condition, value = _document_condition(exchange, document)
        where += condition
        values.append(value)
    return where, values


def _document_condition(exchange: Exchange, document: str) -> tuple[str, str]:
    matching = exchange.query.get("documentIdMatching", "EXACT").upper()
    if matching == "PARTIAL":
        return " AND instr(uri, ?) > 0", document
    if matching == "WILDCARD":
        return " AND uri GLOB ?", document.replace("[", "[[]")
    if matching != "EXACT":
        raise replies.invalid_parameter("documentIdMatching", matching)
    return " AND uri = ?", document


def _log_entry(row: Sequence[Any]) -> dict[str, Any]:
    number, at, operation, result, task, uri, meta, request, place, kind = row
    return {
        "datetime": iso(at),
        "guid": identifier(1, number),
        "id": uri,
        "operation": operation,
        "result": result,
        "task": task,
        "sourceId": place if kind == "source" else None,
        "resourceId": place,
        "meta": orjson.loads(meta),
        "requestId": request_id(request),
    }
