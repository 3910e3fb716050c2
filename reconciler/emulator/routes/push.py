"""The write side over HTTP: items, containers, identities, status (push-api.md 2.1 to 2.3).

Both generations of paths answer alike: `/push/v1` of the current hosts and `/v1` of the legacy one (1.1).
"""

from __future__ import annotations

from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.index import Rejected
from reconciler.emulator.permissions import InvalidPermissions, read_levels
from reconciler.emulator.replies import reply
from reconciler.emulator.wire import FILE_KEY, BadJson, ItemBody, read_identity_body, read_item

STATUS_TYPES = ("REBUILD", "REFRESH", "INCREMENTAL", "IDLE")
COMPRESSION_TYPES = ("UNCOMPRESSED", "DEFLATE", "GZIP", "LZMA", "ZLIB")
_MOST_MINUTES = 10**9
_WAITING = 500


def push_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the Push API."""
    source = "/sources/{source}"
    provider = "/providers/{provider}"
    table: list[tuple[str, str, Handler, names.Needed]] = [
        ("PUT", f"{source}/documents", put_item, names.SOURCE_EDIT),
        ("DELETE", f"{source}/documents", delete_item, names.SOURCE_EDIT),
        ("PUT", f"{source}/documents/batch", put_batch, names.SOURCE_EDIT),
        ("DELETE", f"{source}/documents/olderthan", delete_older, names.SOURCE_EDIT),
        ("POST", f"{source}/status", set_status, names.SOURCE_EDIT),
        ("POST", "/files", create_container, names.ORGANIZATION_VIEW),
        ("PUT", f"{provider}/permissions", put_identity, names.PUSH_IDENTITIES),
        ("DELETE", f"{provider}/permissions", delete_identity, names.PUSH_IDENTITIES),
        ("PUT", f"{provider}/mappings", put_mapping, names.PUSH_IDENTITIES),
        ("PUT", f"{provider}/permissions/batch", put_identity_batch, names.PUSH_IDENTITIES),
        ("DELETE", f"{provider}/permissions/olderthan", disable_older, names.PUSH_IDENTITIES),
    ]
    return [
        Route(
            f"{prefix}/organizations/{{organization}}{path}",
            endpoint(engine, hooks, handler, privilege=privilege),
            methods=[method],
        )
        for prefix in ("/push/v1", "/v1")
        for method, path, handler, privilege in table
    ]


def _source(exchange: Exchange) -> tuple[int, names.SourceOptions]:
    name = exchange.segment("source")
    found = exchange.engine.source(exchange.organization, name)
    if found is None:
        raise replies.source_does_not_exist(name)
    if found[1].kind == "catalog" and exchange.engine.options.doubts.push_to_catalog == "refuse":
        raise replies.Refusal(412, "INVALID_PARAMETER", f"Source '{name}' is not push-enabled.")
    return found


def _provider(exchange: Exchange) -> int:
    name = exchange.segment("provider")
    found = exchange.engine.provider(exchange.organization, name)
    if found is None:
        raise replies.provider_does_not_exist(name)
    return found


def _accepted(exchange: Exchange, *, process: bool = False) -> Response:
    """Answer 202; what waits is processed after the answer when it is much, and else by the next read."""
    engine = exchange.engine
    response = reply({}, 202)
    if process or engine.requests.total % _WAITING == _WAITING - 1:
        response.background = BackgroundTask(engine.settle)
    return response


# Items


async def put_item(exchange: Exchange) -> Response:
    place, source = _source(exchange)
    document_id = exchange.required("documentId")
    ordering = exchange.ordering_id()
    compression = exchange.query.get("compressionType")
    if compression is not None and compression.upper() not in COMPRESSION_TYPES:
        raise replies.invalid_parameter("compressionType", compression)
    value = await exchange.json()
    body = _checked_item(exchange, value, source)
    doubts = exchange.engine.options.doubts
    if doubts.body_document_id == "must match" and body.document_id not in (None, document_id):
        raise replies.invalid_parameter("documentId", str(body.document_id))
    if compression is None and doubts.body_compression_type == "honour":
        compression = body.compression
    detail = {
        "documentId": document_id,
        "compressionType": compression,
        "fileId": body.content if body.content_key == FILE_KEY else None,
    }
    await exchange.accept("item.put", place, detail, ordering=ordering)
    return _accepted(exchange)


def _checked_item(exchange: Exchange, value: Any, source: names.SourceOptions) -> ItemBody:
    """Refuse bodies of another shape; values that only processing looks at pass (push-api.md 6, 9)."""
    try:
        dictionaries = exchange.engine.fields.dictionaries(exchange.organization)
        body = read_item(value, exchange.engine.options.doubts, dictionaries)
        if body.permissions:
            read_levels(body.permissions, source.provider)
    except BadJson as error:
        raise replies.invalid_json(str(error)) from None
    except (InvalidPermissions, Rejected):
        pass
    return body


async def delete_item(exchange: Exchange) -> Response:
    place, _ = _source(exchange)
    detail = {
        "documentId": exchange.required("documentId"),
        "deleteChildren": exchange.flag("deleteChildren"),
    }
    ordering = exchange.ordering_id()
    await exchange.read()
    await exchange.accept("item.delete", place, detail, ordering=ordering)
    return _accepted(exchange)


async def put_batch(exchange: Exchange) -> Response:
    place, _ = _source(exchange)
    return await _accept_batch(exchange, "item.batch", place)


async def _accept_batch(exchange: Exchange, kind: str, place: int) -> Response:
    file = exchange.required("fileId")
    await exchange.accept_file(kind, place, file, ordering=exchange.ordering_id())
    return _accepted(exchange, process=True)


async def delete_older(exchange: Exchange) -> Response:
    place, _ = _source(exchange)
    return await _accept_older(exchange, "item.olderthan", place)


async def _accept_older(exchange: Exchange, kind: str, place: int) -> Response:
    exchange.required("orderingId")
    ordering = exchange.ordering_id()
    minutes = exchange.number("queueDelay", 15, _MOST_MINUTES)
    await exchange.read()
    await exchange.accept(kind, place, {}, ordering=ordering, wait=minutes * 60)
    return _accepted(exchange)


async def set_status(exchange: Exchange) -> Response:
    place, _ = _source(exchange)
    status = exchange.required("statusType")
    if status.upper() not in STATUS_TYPES:
        raise replies.invalid_parameter("statusType", status)
    await exchange.read()
    exchange.admit()
    exchange.engine.database.connection.execute("UPDATE places SET status = ? WHERE id = ?", (status.upper(), place))
    return reply({}, 201)


async def create_container(exchange: Exchange) -> Response:
    """Answer a new file container.

    The style of its address does not change with `useVirtualHostedStyleUrl` (push-api.md 2.2): a bucket's name
    before that of a loopback host would lead nowhere. Clients follow the address as it is.
    """
    exchange.flag("useVirtualHostedStyleUrl")
    await exchange.read()
    exchange.admit()
    base = str(exchange.request.base_url).rstrip("/")
    return reply(exchange.engine.containers.issue(exchange.organization, base), 201)


# Identities


async def put_identity(exchange: Exchange) -> Response:
    return await _accept_identity(exchange, "identity.put")


async def put_mapping(exchange: Exchange) -> Response:
    return await _accept_identity(exchange, "identity.map")


async def delete_identity(exchange: Exchange) -> Response:
    return await _accept_identity(exchange, "identity.delete")


async def _accept_identity(exchange: Exchange, kind: str) -> Response:
    place = _provider(exchange)
    ordering = exchange.ordering_id()
    value = await exchange.json()
    try:
        body = read_identity_body(value)
        if kind == "identity.map":
            exchange.engine.identities.check_mappings(place, body.mappings)
    except BadJson as error:
        raise replies.invalid_json(str(error)) from None
    await exchange.accept(kind, place, {}, ordering=ordering)
    return _accepted(exchange)


async def put_identity_batch(exchange: Exchange) -> Response:
    return await _accept_batch(exchange, "identity.batch", _provider(exchange))


async def disable_older(exchange: Exchange) -> Response:
    return await _accept_older(exchange, "identity.olderthan", _provider(exchange))
